//! Backups: one file that holds a head with everything below it.
//!
//! [`Backup`] writes one of a live database, [`Builder::restore_backup`] makes a database of one or
//! several. The format is in `docs/BACKUP-FORMAT.md`, its pure part in
//! [`firebrick_core::backup`].

mod error;
mod read;
mod restore;
mod write;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebrick_core::Cid;
use firebrick_core::backup::{Header, Preamble, Trailer};
use serde::Serialize;

pub use self::error::BackupError;
pub(crate) use self::restore::{inspect, restore};

use crate::Builder;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::sync_directory;
use write::Plan;

/// How far a backup or a restore is.
///
/// ```
/// # use firebrick::{BackupProgress, Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let show = |at: BackupProgress| println!("{} of {} events", at.events, at.events_total);
/// db.backup().on_progress(show).to_writer(Vec::new()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Events done.
    pub events: u64,
    /// Events in all; 0 while that is not known.
    pub events_total: u64,
    /// Bytes of blocks and contents done.
    pub bytes: u64,
}

/// What a backup file holds.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let (info, bytes) = db.backup().to_writer(Vec::new()).await?;
/// assert_eq!((info.head, info.root), (db.head(), db.root()));
/// assert_eq!(info.key, db.keys().fingerprint());
/// assert_eq!(info.file_bytes, bytes.len() as u64);
/// assert!(info.base.is_empty() && info.missing.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupInfo {
    /// The ledger's name.
    pub ledger: String,
    /// When it was made, in milliseconds of Unix time.
    pub created_ms: u64,
    /// The newest events.
    pub head: Vec<Cid>,
    /// The root of the documents at that head.
    pub root: Cid,
    /// The head from which it goes on; empty in a full backup.
    pub base: Vec<Cid>,
    /// The fingerprint of the key that it is encrypted with.
    pub key: Option<String>,
    /// Events in it.
    pub events: u64,
    /// Blocks in it, events included.
    pub blocks: u64,
    /// Bytes of the blocks.
    pub block_bytes: u64,
    /// Contents of files beside the blocks; short ones are blocks.
    pub contents: u64,
    /// Their bytes.
    pub content_bytes: u64,
    /// Bytes of the backup.
    pub file_bytes: u64,
    /// Ids of documents that could not be read when it was made. Everything else is in it.
    pub missing: Vec<String>,
    /// Files whose contents were only at a remote, or not readable: the document's id and the
    /// file's name.
    pub missing_files: Vec<(String, String)>,
}

/// A backup about to be written. See [`Database::backup`](crate::Database::backup).
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
/// let db = open("notes").open().await?;
/// db.put(&Document::new().with("_id", "a").with("n", 1)).await?;
/// let full = dir.path().join("monday.fbk");
/// db.backup().to_file(&full).await?;
///
/// // Only what came since.
/// db.put(&Document::new().with("_id", "b").with("n", 2)).await?;
/// let more = dir.path().join("tuesday.fbk");
/// db.backup().since_backup(&full).to_file(&more).await?;
///
/// let (copy, _) = open("copy").restore_backup([&full, &more]).await?;
/// assert_eq!(copy.root(), db.root());
/// # Ok(()) }
/// ```
#[must_use = "call to_file() or to_writer()"]
pub struct Backup {
    ledger: Arc<Ledger>,
    since: Since,
    replace: bool,
    progress: Progress,
}

/// What is told how far it is.
type Progress = Box<dyn FnMut(BackupProgress) + Send>;

enum Since {
    Nothing,
    Head(Vec<Cid>),
    File(PathBuf),
}

impl Backup {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            since: Since::Nothing,
            replace: false,
            progress: Box::new(|_| {}),
        }
    }

    /// Only what the history of this head lacks.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let monday = db.put(&note("a", "one")).await?.head;
    /// db.put(&note("b", "two")).await?;
    /// let (info, _) = db.backup().since(&monday).to_writer(Vec::new()).await?;
    /// assert_eq!((info.base, info.events), (monday, 1));
    /// # Ok(()) }
    /// ```
    pub fn since(mut self, head: &[Cid]) -> Self {
        self.since = Since::Head(head.to_vec());
        self
    }

    /// Only what this earlier backup, and those that it goes on from, lack.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let monday = dir.path().join("monday.fbk");
    /// let full = db.backup().to_file(&monday).await?;
    /// db.put(&note("b", "two")).await?;
    /// let more = db.backup().since_backup(&monday).to_file(dir.path().join("tuesday.fbk")).await?;
    /// assert_eq!((more.base, more.events), (full.head, 1));
    /// # Ok(()) }
    /// ```
    pub fn since_backup(mut self, file: impl AsRef<Path>) -> Self {
        self.since = Since::File(file.as_ref().to_owned());
        self
    }

    /// Replaces a file that is there already.
    ///
    /// ```
    /// # use firebrick::{BackupError, Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::memory("example").await?;
    /// let file = dir.path().join("newest.fbk");
    /// db.backup().to_file(&file).await?;
    /// let again = db.backup().to_file(&file).await;
    /// assert!(matches!(again, Err(Error::Backup(BackupError::Exists { .. }))));
    /// db.backup().replace(true).to_file(&file).await?;
    /// # Ok(()) }
    /// ```
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// Calls this now and then while the backup is written.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// db.put(&note("a", "one")).await?;
    /// db.backup().on_progress(move |at| drop(sender.send(at))).to_writer(Vec::new()).await?;
    /// let last = receiver.iter().last().expect("it is told at least once");
    /// assert_eq!(last.events, last.events_total);
    /// # Ok(()) }
    /// ```
    pub fn on_progress(mut self, progress: impl FnMut(BackupProgress) + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Writes a file. It appears under its name when it is complete and on the disk, or not at all.
    /// Reads and writes of the database go on; the backup is of the head at the call.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let file = dir.path().join("notes.fbk");
    /// let info = db.backup().to_file(&file).await?;
    /// assert_eq!(info.file_bytes, file.metadata().unwrap().len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Backup`] if the file exists or the base is unknown, [`Error::Io`] for the file,
    /// [`Error::MissingBlock`] or [`Error::Store`] if an event or a shard cannot be read. A document
    /// or file that cannot be read is named in the result, and everything else is in the backup.
    pub async fn to_file(self, file: impl AsRef<Path>) -> Result<BackupInfo> {
        let file = file.as_ref().to_owned();
        let replace = self.replace;
        self.run(move |plan| {
            if !replace && file.exists() {
                return Err(BackupError::Exists { file }.into());
            }
            let folder = folder_of(&file);
            let what = || format!("writing the backup {}", file.display());
            let temporary = tempfile::Builder::new()
                .prefix(".backup-")
                .tempfile_in(folder)
                .map_err(Error::io(what()))?;
            let mut out = std::io::BufWriter::new(temporary);
            let info = plan.write(&mut out, &what())?;
            let temporary = out
                .into_inner()
                .map_err(|error| Error::io(what())(error.into_error()))?;
            temporary.as_file().sync_all().map_err(Error::io(what()))?;
            let named = match replace {
                true => temporary.persist(&file),
                false => temporary.persist_noclobber(&file),
            };
            named.map_err(|error| Error::io(what())(error.error))?;
            sync_directory(folder).map_err(Error::io(what()))?;
            Ok(info)
        })
        .await
    }

    /// Writes to anything; returns it, flushed.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let (info, bytes) = db.backup().to_writer(Vec::new()).await?;
    /// assert_eq!(bytes.len() as u64, info.file_bytes);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`Backup::to_file`]. What was written until then is of no use.
    pub async fn to_writer<W: Write + Send + 'static>(
        self,
        mut writer: W,
    ) -> Result<(BackupInfo, W)> {
        self.run(move |plan| {
            let what = "writing the backup";
            let info = plan.write(&mut writer, what)?;
            writer.flush().map_err(Error::io(what))?;
            Ok((info, writer))
        })
        .await
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(Plan) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ledger.ensure_open()?;
        let ledger = Arc::clone(&self.ledger);
        let job = move || {
            let key = self.ledger.keys.default_key();
            let base = match self.since {
                Since::Nothing => Vec::new(),
                Since::Head(head) => head,
                Since::File(file) => read::header(&file, key.as_ref(), &self.ledger)?.head,
            };
            work(Plan {
                snapshot: self.ledger.snapshot(),
                ledger: self.ledger,
                key,
                base,
                progress: self.progress,
            })
        };
        ledger.blocking(job).await
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("ledger", &self.ledger.name)
            .finish_non_exhaustive()
    }
}

/// What a restore did.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let db = open("notes").open().await?;
/// db.put(&note("a", "one")).await?;
/// let file = dir.path().join("notes.fbk");
/// db.backup().to_file(&file).await?;
/// let (copy, report) = open("copy").restore_backup([&file]).await?;
/// assert_eq!((&report.head, report.root), (&copy.head(), copy.root()));
/// assert_eq!(report.files[0].ledger, "notes");
/// assert!(report.missing_files.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RestoreReport {
    /// What each file held, in their order.
    pub files: Vec<BackupInfo>,
    /// The newest events of the restored database.
    pub head: Vec<Cid>,
    /// The root of its documents.
    pub root: Cid,
    /// Ids of documents that no backup holds, because they could not be read when it was made.
    /// Attach a remote, and they arrive.
    pub missing: Vec<String>,
    /// Files whose contents no backup holds: the document's id and the file's name. They are
    /// fetched from a remote when they are read.
    pub missing_files: Vec<(String, String)>,
}

impl BackupInfo {
    fn new(header: Header, trailer: Trailer, preamble: Preamble, file_bytes: u64) -> Self {
        Self {
            ledger: header.ledger,
            created_ms: header.created_ms,
            head: header.head,
            root: header.root,
            base: header.base,
            key: preamble.key.map(|key| key.to_string()),
            events: trailer.events,
            blocks: trailer.blocks,
            block_bytes: trailer.bytes,
            contents: trailer.files,
            content_bytes: trailer.file_bytes,
            file_bytes,
            missing: trailer.missing,
            missing_files: trailer.missing_files,
        }
    }
}

/// Where a file or directory is, or is to be.
fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// A builder as it was given, for another directory.
fn at(options: &Builder, path: &Path, name: &str) -> Builder {
    let mut options = options.clone().path(path).name(name);
    options.indexes.clear();
    // Nothing refers to the blocks before the last one is here: a compaction would drop some.
    let options = options.auto_compact(None);
    options.remembered(false).read_only(false)
}
