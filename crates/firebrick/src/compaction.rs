//! Compaction: what it keeps, how it is asked for, what it did.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::ledger::Ledger;
use crate::store::Compaction;

/// Which earlier versions of documents a compaction keeps.
///
/// Whatever is chosen, a compaction keeps the present documents, the values that concurrent writes
/// left behind and that a late merge may bring back, what [`Database::changes`](crate::Database::changes)
/// shows from the beginning, and every event: who wrote which version, and when in the order of
/// events, stays known. What goes are values of versions that a later write has replaced.
///
/// ```
/// # use firebrick::{Database, Document, Error, Retention};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let db = Database::builder().retention(Retention::All).open().await?;
/// db.put(&note("a", "one")).await?;
/// db.put(&note("a", "two")).await?;
/// assert_eq!(db.compact().run().await?.dropped_blocks, 0);
/// assert!(db.compact().retention(Retention::Versions(1)).run().await?.dropped_blocks > 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retention {
    /// Every version.
    All,
    /// The newest versions of each document, so many of them; 1 keeps the present one only, as 0
    /// does.
    Versions(u32),
    /// What was present at any time within this span. Time is counted from when a version came into
    /// this database, in steps of about an hour; where that is not known the version is kept.
    Age(Duration),
}

impl Default for Retention {
    /// The present version only.
    fn default() -> Self {
        Self::Versions(1)
    }
}

/// How far a compaction has come.
///
/// ```
/// # use firebrick::{CompactProgress, Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let percent = |progress: CompactProgress| 100 * progress.blocks / progress.of.max(1);
/// db.compact().on_progress(move |progress| println!("{} %", percent(progress))).run().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactProgress {
    /// Blocks that were looked at.
    pub blocks: u64,
    /// Blocks that there are, about.
    pub of: u64,
}

/// What a compaction did, or would do.
///
/// ```
/// # use firebrick::{CompactReport, Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// for text in ["one", "two", "three"] {
///     db.put(&note("a", text)).await?;
/// }
/// let report: CompactReport = db.compact().run().await?;
/// assert!(report.dropped_blocks > 0 && report.reclaimable_bytes > 0);
/// assert_eq!(db.compact().run().await?.dropped_blocks, 0); // nothing is left to do
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Nothing was changed: the figures say what a compaction would do.
    pub dry_run: bool,
    /// Bytes of the blocks that are kept.
    pub live_bytes: u64,
    /// Bytes of the blocks that are not needed, second copies of kept ones included.
    pub reclaimable_bytes: u64,
    /// Blocks that are kept.
    pub kept_blocks: u64,
    /// Blocks that were given up.
    pub dropped_blocks: u64,
    /// Bytes of the database's log before.
    pub bytes_before: u64,
    /// Bytes of the log afterwards.
    pub bytes_after: u64,
}

impl CompactReport {
    pub(crate) fn new(done: &Compaction, dry_run: bool) -> Self {
        Self {
            dry_run,
            live_bytes: done.kept_bytes,
            reclaimable_bytes: done.dropped_bytes,
            kept_blocks: done.kept_blocks,
            dropped_blocks: done.dropped_blocks,
            bytes_before: done.bytes_before,
            bytes_after: done.bytes_after,
        }
    }
}

pub(crate) type OnProgress = Box<dyn FnMut(CompactProgress) + Send>;

/// A compaction to run. Made by [`Database::compact`](crate::Database::compact).
///
/// ```
/// # use firebrick::{Database, Document, Error, Retention};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let db = Database::memory("counter").await?;
/// for n in 0..100 {
///     db.put(&Document::new().with("_id", "n").with("value", n)).await?;
/// }
/// let report = db.compact().retention(Retention::Versions(1)).run().await?;
/// assert!(report.bytes_after < report.bytes_before);
/// # Ok(()) }
/// ```
#[must_use = "call run()"]
pub struct Compact {
    ledger: Arc<Ledger>,
    retention: Retention,
    dry_run: bool,
    progress: OnProgress,
}

impl Compact {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        let retention = ledger.retention;
        Self {
            ledger,
            retention,
            dry_run: false,
            progress: Box::new(|_| {}),
        }
    }

    /// Which earlier versions stay, instead of what the database was opened with.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Retention};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// for text in ["one", "two", "three"] {
    ///     db.put(&note("a", text)).await?;
    /// }
    /// db.compact().retention(Retention::Versions(2)).run().await?;
    /// let versions = db.history("a").collect::<Document>().await?;
    /// assert_eq!(versions[1].content.document(), Some(&note("a", "two")));
    /// assert_eq!(versions[2].content.document(), None);
    /// # Ok(()) }
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Changes nothing, and reports what a compaction would do.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("a", "two")).await?;
    /// let would = db.compact().dry_run(true).run().await?;
    /// let did = db.compact().run().await?;
    /// assert!(would.dry_run);
    /// assert_eq!(would.reclaimable_bytes, did.reclaimable_bytes);
    /// # Ok(()) }
    /// ```
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Is told now and then how far it has come, on the thread that does the work.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// db.put(&note("a", "one")).await?;
    /// db.compact().on_progress(move |at| drop(sender.send(at.blocks))).run().await?;
    /// assert!(receiver.iter().last() > Some(0));
    /// # Ok(()) }
    /// ```
    pub fn on_progress(mut self, tell: impl FnMut(CompactProgress) + Send + 'static) -> Self {
        self.progress = Box::new(tell);
        self
    }

    /// Compacts. Reading, writing and syncing go on meanwhile. Needs as much space again as what is
    /// kept; a crash at any time loses nothing. Dropping the future does not stop it.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("a", "two")).await?;
    /// let report = db.compact().run().await?;
    /// println!("{} of {} bytes are left", report.bytes_after, report.bytes_before);
    /// assert_eq!(db.get("a").await?, Some(note("a", "two")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ReadOnly`](crate::Error::ReadOnly), [`Closed`](crate::Error::Closed) if the database is
    /// closed meanwhile, [`MissingBlock`](crate::Error::MissingBlock) if a part of the history is
    /// not here, and the store's errors. Nothing is dropped then.
    pub async fn run(self) -> Result<CompactReport> {
        self.ledger.ensure_open()?;
        if !self.dry_run {
            self.ledger.ensure_writable()?;
        }
        let Self {
            ledger,
            retention,
            dry_run,
            progress,
        } = self;
        let of = Arc::clone(&ledger);
        let work = move || of.compact(retention, dry_run, progress);
        ledger.blocking(work).await
    }
}

impl std::fmt::Debug for Compact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compact")
            .field("retention", &self.retention)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}
