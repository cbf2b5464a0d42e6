//! What a database holds and costs.

use serde::Serialize;

use crate::store::StoreStats;
use crate::verify::{IndexSize, VerifyReport};

/// What a database holds and costs, as far as that is known without reading.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// let stats = db.stats();
/// assert_eq!((stats.sequence, stats.heads), (1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// How many times the head has moved since the opening.
    pub sequence: u64,
    /// Concurrent events at the head; more than one until the next write or merge.
    pub heads: usize,
    /// The local store.
    pub store: StoreStats,
}

/// How far a remote and this database are apart, as of the last contact.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// let remote = db.attach("memory://lags")?;
/// remote.synced().await?;
/// let lag = &db.full_stats().await?.remotes[0];
/// assert!(lag.attached && lag.events_to_push == Some(0));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemoteLag {
    /// The remote's name.
    pub remote: String,
    /// Whether it is attached now. Of one that is only remembered, nobody knows what it has that is
    /// not here.
    pub attached: bool,
    /// Events that it lacks. `None` if damage here keeps it from being known.
    pub events_to_push: Option<u64>,
    /// Documents that these events wrote. `None` if damage here keeps it from being known.
    pub documents_to_push: Option<u64>,
    /// Heads there that cannot be applied here yet.
    pub heads_to_pull: u64,
    /// Documents that are known here and whose values have not arrived.
    pub documents_to_pull: u64,
}

/// [`Stats`], and what only a walk over everything tells.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// let stats = db.full_stats().await?;
/// assert_eq!((stats.documents, stats.faults), (1, 0));
/// assert!(stats.live_bytes > 0 && stats.reclaimable_bytes.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FullStats {
    /// What is known without reading.
    #[serde(flatten)]
    pub stats: Stats,
    /// Documents that are not deleted.
    pub documents: u64,
    /// Deleted documents, whose tombstones are kept.
    pub deleted: u64,
    /// Events of the history.
    pub events: u64,
    /// Shards of the tree.
    pub shards: u64,
    /// Earlier values of documents that are kept.
    pub versions: u64,
    /// Contents of files, and pieces of contents.
    pub contents: u64,
    /// Blocks and contents that are needed or kept, in all.
    pub live_blocks: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// The indexes.
    pub indexes: Vec<IndexSize>,
    /// Bytes of the log: blocks, their seals, and space written ahead.
    pub log_bytes: u64,
    /// Bytes of blocks that a compaction would drop: earlier versions beyond what the database was
    /// opened to keep, and what nothing needs. `None` if damage keeps it from being known.
    pub reclaimable_bytes: Option<u64>,
    /// Blocks that are missing or damaged; [`Database::verify`](crate::Database::verify) names them.
    pub faults: u64,
    /// How far each attached or remembered remote is apart.
    pub remotes: Vec<RemoteLag>,
}

impl FullStats {
    pub(crate) fn new(
        stats: Stats,
        report: &VerifyReport,
        reclaimable_bytes: Option<u64>,
        remotes: Vec<RemoteLag>,
    ) -> Self {
        Self {
            documents: report.documents - report.deleted,
            deleted: report.deleted,
            events: report.events,
            shards: report.shards,
            versions: report.versions,
            contents: report.contents,
            live_blocks: report.blocks,
            live_bytes: report.bytes,
            indexes: report.indexes.clone(),
            log_bytes: stats.store.log_bytes,
            reclaimable_bytes,
            faults: report.findings.len() as u64,
            remotes,
            stats,
        }
    }
}
