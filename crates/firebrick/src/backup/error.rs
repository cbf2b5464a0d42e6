//! How making, reading and restoring backups fails.

use std::path::PathBuf;

use firebrick_core::Cid;

/// Why a backup cannot be made or used. Nothing was changed then, and nothing restored.
///
/// ```
/// # use firebrick::{BackupError, Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
/// # let db = open("notes").open().await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let file = dir.path().join("notes.fbk");
/// db.put(&note("a", "one")).await?;
/// db.backup().to_file(&file).await?;
/// std::fs::write(&file, &std::fs::read(&file).unwrap()[..100]).unwrap();
/// match open("notes").inspect_backup(&file).await {
///     Err(Error::Backup(cut @ BackupError::Truncated { .. })) => println!("{cut}"),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Another kind of file.
    #[error("{} is not a backup of Firebrick; check the path", .file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// Made by a newer version of this library.
    #[error("the backup {} has format version {version}, newer than this program knows; update the program", .file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u16,
    },
    /// The file ends too early: a copy that was not finished, for instance.
    #[error("the backup {} is cut off at byte {at}; copy it again, or take another one", .file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Where it ends.
        at: u64,
    },
    /// The file was changed after it was made.
    #[error("the backup {} is damaged near byte {at} ({what}); copy it again, or take another one", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the damage was noticed.
        at: u64,
        /// What does not fit.
        what: String,
    },
    /// The key that it is encrypted with is not here.
    #[error("the backup {} is encrypted with the key {fingerprint}, which is not {}; give that key, or the keybag that has it", .file.display(), looked_in(.looked))]
    WrongKey {
        /// The file.
        file: PathBuf,
        /// The key's fingerprint.
        fingerprint: String,
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// The keys under the new database's name belong to another ledger.
    #[error(
        "the key {fingerprint} of the backup is not among those that are kept for the name {name:?}; restore under another name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// A plain backup for an encrypted database, or the other way round.
    #[error("the backup {} is {}, and the database to restore is not; choose `insecure` as it was in the original", .file.display(), if *.plain { "not encrypted" } else { "encrypted" })]
    CipherMismatch {
        /// The file.
        file: PathBuf,
        /// The backup is not encrypted.
        plain: bool,
    },
    /// An incremental backup without what it goes on from.
    #[error("the backup {} goes on from {}, which the files before it do not hold; give the full backup first, then each incremental one in the order they were made", .file.display(), heads(.base))]
    MissingBase {
        /// The file.
        file: PathBuf,
        /// The head from which it goes on.
        base: Vec<Cid>,
    },
    /// A backup that is older than one before it, or of something else.
    #[error("the backup {} does not hold what the files before it hold; give the files in the order they were made, all of one database", .file.display())]
    WrongOrder {
        /// The file.
        file: PathBuf,
    },
    /// No file was given.
    #[error("no backup file was given")]
    Nothing,
    /// There is something where the database should go.
    #[error("{} is not empty; restore into a new directory", .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There is a file where the backup should go.
    #[error("{} exists; choose another name, or ask for it to be replaced", .file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// An incremental backup was asked for from a head that this database does not hold.
    #[error("the head {} to go on from is not in the history of this database; make a full backup", heads(.base))]
    UnknownBase {
        /// The head.
        base: Vec<Cid>,
    },
}

fn heads(head: &[Cid]) -> String {
    let texts: Vec<String> = head.iter().map(Cid::to_string).collect();
    texts.join(", ")
}

fn looked_in(places: &[String]) -> String {
    match places {
        [] => "here".to_owned(),
        places => format!("in {}", places.join(" or ")),
    }
}
