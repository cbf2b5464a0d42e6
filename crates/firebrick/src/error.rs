//! The error that the public API returns.

use std::time::Duration;

use firebrick_core::Cid;
use firebrick_core::charwise::CharwiseError;
use firebrick_core::clock::ClockError;
use firebrick_core::document::DocumentError;
use firebrick_core::keys::wrapped::WrapError;
use firebrick_core::merge::MergeError;
use firebrick_core::ordered::TreeError;
use firebrick_core::pail::PailError;

use crate::backup::BackupError;
use crate::gateway::GatewayError;
use crate::store::StoreError;

/// A result of this crate.
///
/// ```
/// # use firebrick::{Database, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// async fn first(db: &Database) -> firebrick::Result<Option<String>> {
///     Ok(db.all_docs().limit(1).ids().await?.pop())
/// }
/// assert_eq!(first(&db).await?, None);
/// # Ok(()) }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call on a database failed: the cause, and the way out.
///
/// ```
/// # use firebrick::{Database, Document, Error, Expected};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put_if(&note("a", "one"), Expected::Absent).await?;
/// match db.put_if(&note("a", "two"), Expected::Absent).await {
///     Err(Error::Conflict { id }) => println!("{id} was changed; read it again"),
///     other => panic!("{other:?}"),
/// }
/// db.close().await?;
/// let closed = db.put(&note("b", "two")).await.unwrap_err();
/// assert_eq!(closed.to_string(), "the database is closed");
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The document cannot be stored, or the stored one does not fit the type it was read into.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A remote failed.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// A block is neither here nor, so far, at an attached remote. Everything else stays readable.
    #[error("block {cid} is missing here{}; attach a remote that has it", of(.id.as_deref()))]
    MissingBlock {
        /// The block.
        cid: Cid,
        /// The document that it belongs to, if it is a document's.
        id: Option<String>,
    },
    /// The source of a file failed. Nothing of it was stored.
    #[error(
        "the source of file {name:?} failed after {after} bytes: {source}; nothing of it was stored, so it can be tried again"
    )]
    FileSource {
        /// The file's name.
        name: String,
        /// Bytes that it gave before.
        after: u64,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file is longer than its form allows. Nothing of it was stored.
    #[error("file {name:?} is longer than the {limit} bytes that {form} can hold")]
    FileTooLarge {
        /// The file's name.
        name: String,
        /// The most bytes.
        limit: u64,
        /// The form: a single block, or pieces.
        form: &'static str,
    },
    /// The content of a file is neither here nor, at the moment, at an attached remote.
    #[error(
        "the content of file {name:?} of document {id:?} is not here ({tried}); attach a remote that has it, and read again"
    )]
    MissingFile {
        /// The document.
        id: String,
        /// The file's name.
        name: String,
        /// The block that is missing.
        cid: Cid,
        /// What each remote said.
        tried: String,
    },
    /// The value of an earlier version of a document: a later write has replaced it, and a compaction
    /// dropped it, here or where it was written. The document's present value is not affected.
    #[error(
        "an earlier version of document {id:?} (block {cid}) was dropped by a compaction; open with a longer retention to keep such versions from now on"
    )]
    Compacted {
        /// The block that held the value.
        cid: Cid,
        /// The document.
        id: String,
    },
    /// Data that passed its hash but does not have the form that it must have.
    #[error("the ledger holds a malformed {what}: {cause}")]
    Malformed {
        /// What kind of block.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// Data is encrypted with a key that this database does not have.
    #[error("no key with fingerprint {fingerprint}; export it where it exists and import it here")]
    NeedsKey {
        /// The missing key's fingerprint.
        fingerprint: String,
    },
    /// A database's keys are not where they were looked for.
    #[error(
        "the database at {} needs the key {} ({name}), which is not in {}; name the keybag it was made with, or restore the key",
        .database.display(), .fingerprint.as_deref().unwrap_or("that it was made with"), .looked.join(" or ")
    )]
    MissingKey {
        /// The name that the key goes by.
        name: String,
        /// The fingerprint, if the database knows it.
        fingerprint: Option<String>,
        /// The database's directory.
        database: std::path::PathBuf,
        /// Where it was looked for: key files, items of a keychain.
        looked: Vec<String>,
    },
    /// Keys under a passphrase could not be made or read.
    #[error(transparent)]
    WrappedKeys(#[from] WrapError),
    /// A backup cannot be made, read or restored.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The text is not a key, or the keybag cannot be used.
    #[error("{0}")]
    Keys(String),
    /// The local ledger and the remote's began apart, and joining them was not allowed.
    #[error(
        "remote {remote} holds another ledger with documents of its own; joining the two cannot be undone, so it must be allowed explicitly (Join::Merge, or --merge)"
    )]
    NeedsMerge {
        /// The remote's name.
        remote: String,
    },
    /// A remote refused the credentials.
    #[error("remote {remote} refused access: {cause}")]
    NeedsAuth {
        /// The remote's name.
        remote: String,
        /// What it answered.
        cause: String,
    },
    /// A remote's name that is not attached.
    #[error("no remote named {0:?} is attached")]
    NoRemote(String),
    /// The remote was detached, or the database closed, before the wait ended.
    #[error("remote {0:?} was detached")]
    Detached(String),
    /// The wait ended at its deadline.
    #[error("{what} did not end within {:.1} s: {cause}", .after.as_secs_f64())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The wait.
        after: Duration,
        /// What stands in the way, as far as known.
        cause: String,
    },
    /// A document was written since it was read, so a write that rests on it was not done.
    #[error("document {id:?} was changed meanwhile; read it again and decide anew")]
    Conflict {
        /// The document, or one of a listing.
        id: String,
    },
    /// An event that this database does not have.
    #[error("no event {cid} is known here; `log` lists the events, a sync may bring it")]
    UnknownEvent {
        /// The event.
        cid: Cid,
    },
    /// An event that is not a version of the document.
    #[error("event {event} did not write document {id:?}; its history lists the events that did")]
    NoVersion {
        /// The document.
        id: String,
        /// The event.
        event: Cid,
    },
    /// The handle was closed.
    #[error("the database is closed")]
    Closed,
    /// A write to a database that was opened for reading.
    #[error("the database was opened read-only")]
    ReadOnly,
    /// The index cannot be made: its function panicked, or contradicts itself.
    #[error(
        "the index {name:?} failed: {cause}; the database is fine, mend the definition and reopen it"
    )]
    IndexFailed {
        /// The index.
        name: String,
        /// What went wrong.
        cause: String,
    },
    /// A part of an index cannot be read. It is made anew from the documents.
    #[error("a part of the index {name:?} is damaged; the next query makes it anew")]
    IndexDamaged {
        /// The index.
        name: String,
    },
    /// A value that a query was given and that cannot be an index key.
    #[error(
        "this cannot be looked up in an index: {0}; keys are null, booleans, numbers, text, and lists of these"
    )]
    QueryKey(#[from] CharwiseError),
    /// An option that makes no sense.
    #[error("{0}")]
    Config(String),
    /// A call of the operating system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

fn of(id: Option<&str>) -> String {
    id.map_or_else(String::new, |id| format!(" (of document {id:?})"))
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same error once more, for each writer of a group that failed as a whole.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Store(error) => Self::Store(error.clone()),
            Self::MissingBlock { cid, id } => Self::MissingBlock {
                cid: *cid,
                id: id.clone(),
            },
            Self::Malformed { what, cause } => Self::Malformed {
                what,
                cause: cause.clone(),
            },
            Self::Conflict { id } => Self::Conflict { id: id.clone() },
            Self::IndexFailed { name, cause } => Self::IndexFailed {
                name: name.clone(),
                cause: cause.clone(),
            },
            Self::IndexDamaged { name } => Self::IndexDamaged { name: name.clone() },
            Self::Closed => Self::Closed,
            Self::Compacted { cid, id } => Self::Compacted {
                cid: *cid,
                id: id.clone(),
            },
            other => Self::Config(other.to_string()),
        }
    }

    /// The block that is not here, or cannot be read any more, if that is the cause.
    pub(crate) fn unreadable(&self) -> Option<Cid> {
        match self {
            Self::Store(StoreError::Corrupt { cid, .. }) => Some(*cid),
            other => other.missing(),
        }
    }

    /// The block whose absence is the cause, if it is one.
    pub(crate) fn missing(&self) -> Option<Cid> {
        match self {
            Self::MissingBlock { cid, .. } => Some(*cid),
            _ => None,
        }
    }
}

/// `attach` takes whatever converts into a `Remote`, a `Remote` itself included.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<PailError> for Error {
    fn from(error: PailError) -> Self {
        match error {
            PailError::Missing(cid) => Self::MissingBlock { cid, id: None },
            PailError::Source(source) => from_source(source),
            other => Self::Malformed {
                what: "shard",
                cause: other.to_string(),
            },
        }
    }
}

impl From<ClockError> for Error {
    fn from(error: ClockError) -> Self {
        match error {
            ClockError::Missing(cid) => Self::MissingBlock { cid, id: None },
            ClockError::Source(source) => from_source(source),
            other => Self::Malformed {
                what: "event",
                cause: other.to_string(),
            },
        }
    }
}

impl From<MergeError> for Error {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Pail(error) => error.into(),
            MergeError::Clock(error) => error.into(),
            other => Self::Malformed {
                what: "history",
                cause: other.to_string(),
            },
        }
    }
}

impl From<TreeError> for Error {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Source(source) => from_source(source),
            other => Self::Malformed {
                what: "index",
                cause: other.to_string(),
            },
        }
    }
}

/// A failure of the store, on its way through the core.
fn from_source(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match source.downcast::<StoreError>() {
        Ok(error) => Error::Store(*error),
        Err(other) => Error::Malformed {
            what: "block",
            cause: other.to_string(),
        },
    }
}
