//! Looking at every block that the head needs, and mending what can be mended.

mod repair;
mod walk;

use std::sync::Arc;

use firebrick_core::Cid;
use serde::Serialize;

pub(crate) use self::repair::repair;

use crate::error::Result;
use crate::files::Wanted;
use crate::ledger::Ledger;
use crate::tracker::Trackers;

/// Looks at everything that the present head needs, and at what is kept beside it.
pub(crate) async fn verify(
    ledger: &Arc<Ledger>,
    trackers: &Trackers,
    mut progress: impl FnMut(VerifyProgress) + Send + 'static,
) -> Result<VerifyReport> {
    ledger.ensure_open()?;
    let of = Arc::clone(ledger);
    let walk = move || walk::walk(&of, &mut progress);
    let mut report = ledger.blocking(walk).await?;
    trackers.name_holders(&mut report.findings)?;
    Ok(report)
}

/// How far a verification is.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// db.verify_with(|now| println!("{} blocks, {} faults", now.blocks, now.findings)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Blocks looked at.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong so far.
    pub findings: u64,
}

/// How far a repair is.
///
/// ```
/// # use firebrick::{Database, Document, Error, RepairProgress};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// let show = |now| match now {
///     RepairProgress::Verifying(now) => println!("looked at {} blocks", now.blocks),
///     RepairProgress::Fetching { lacking, remotes } => {
///         println!("asking {remotes} remotes for {lacking} blocks");
///     }
///     other => println!("{other:?}"),
/// };
/// db.repair_with(show).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
#[non_exhaustive]
pub enum RepairProgress {
    /// Every block is looked at: before, and again after each step that mended something.
    Verifying(VerifyProgress),
    /// Remotes are asked for what is lacking.
    Fetching {
        /// Blocks and contents that are missing or damaged.
        lacking: u64,
        /// Attached remotes that are known to have some of the blocks, and are waited for.
        remotes: u64,
    },
    /// Shards are computed from the events.
    Rebuilding,
}

/// What a block holds, and for whom.
///
/// ```
/// # use firebrick::{Database, Document, Error, Held};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// for finding in db.verify().await?.findings {
///     match &finding.held {
///         Held::Document { id } => println!("document {id} cannot be read"),
///         Held::IndexNode { index } => println!("index {index} is made anew by a repair"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "holds")]
#[non_exhaustive]
pub enum Held {
    /// An event of the history. What only it leads to was not looked at.
    Event,
    /// A part of the tree of documents: those whose ids begin like this. What is below it was not
    /// looked at.
    Shard {
        /// How the ids begin.
        prefix: String,
    },
    /// The present value of a document.
    Document {
        /// The document's id.
        id: String,
    },
    /// An earlier value of a document.
    Version {
        /// The document's id.
        id: String,
    },
    /// The content of a file, a piece of it, or the list of its pieces.
    File {
        /// The document's id.
        id: String,
        /// The file's name.
        name: String,
    },
    /// A node of an index, which can be made anew.
    IndexNode {
        /// The index' name.
        index: String,
    },
    /// The list of the blocks that a CAR at a remote holds.
    CarList {
        /// The remote's name.
        remote: String,
    },
}

/// What is wrong with a block.
///
/// ```
/// # use firebrick::{Database, Document, Error, Fault};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// for finding in db.verify().await?.findings {
///     match finding.fault {
///         Fault::Damaged { cause } => println!("{}: {cause}", finding.cid),
///         _ => println!("{} is missing", finding.cid),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
#[non_exhaustive]
pub enum Fault {
    /// It is not here.
    Missing,
    /// It is here, but its bytes are not the right ones.
    Damaged {
        /// Where it lies and what does not fit.
        cause: String,
    },
}

/// A block that is missing or damaged.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// for finding in db.verify().await?.findings {
///     println!("{:?} can be had from {:?}", finding.held, finding.remotes);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The block.
    pub cid: Cid,
    /// What it holds.
    #[serde(flatten)]
    pub held: Held,
    /// What is wrong with it.
    #[serde(flatten)]
    pub fault: Fault,
    /// Remotes, attached or remembered, that hold it as far as is known here:
    /// [`Database::repair`](crate::Database::repair) fetches it from them.
    pub remotes: Vec<String>,
    /// How to ask for it, if it is a content of a file.
    #[serde(skip)]
    pub(crate) wanted: Option<Wanted>,
}

/// How large an index is.
///
/// ```
/// # use firebrick::{Database, Document, Error, Index};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// db.query(Index::field("text")).collect::<Document>().await?;
/// let index = &db.verify().await?.indexes[0];
/// assert!(index.name == "text" && index.nodes > 0 && index.bytes > 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IndexSize {
    /// Its name.
    pub name: String,
    /// Its nodes.
    pub nodes: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a verification found.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// let report = db.verify().await?;
/// assert_eq!((report.documents, report.deleted), (1, 0));
/// assert!(report.findings.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The head that was looked at.
    pub head: Vec<Cid>,
    /// Events that are good.
    pub events: u64,
    /// Shards of the tree that are good.
    pub shards: u64,
    /// Present documents whose values are good.
    pub documents: u64,
    /// Of these, deleted ones.
    pub deleted: u64,
    /// Earlier values that are good.
    pub versions: u64,
    /// Earlier values that are not kept here. That is no fault.
    pub versions_not_kept: u64,
    /// Contents of files that are good, and pieces of contents.
    pub contents: u64,
    /// Those that are at remotes only. That is no fault.
    pub contents_not_here: u64,
    /// The indexes, with their nodes that are good.
    pub indexes: Vec<IndexSize>,
    /// All good blocks and contents, those of remotes' lists included.
    pub blocks: u64,
    /// Bytes of all good blocks and contents.
    pub bytes: u64,
    /// What is wrong, nothing else.
    pub findings: Vec<Finding>,
    /// Damage that the store has noticed in its files and that hit none of these blocks, each with
    /// its place.
    pub store_damage: Vec<String>,
}

impl VerifyReport {
    /// Whether everything that is needed is here and good. Damage of the files that hit nothing of it
    /// is in `store_damage`.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.put(&Document::new().with("text", "one")).await?;
    /// assert!(db.verify().await?.is_good());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// What a repair did.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// let report = db.repair().await?;
/// assert!(report.before.is_empty() && report.fetched.is_empty());
/// assert_eq!(report.after.documents, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was wrong before.
    pub before: Vec<Finding>,
    /// Blocks that came from remotes, each verified by its hash.
    pub fetched: Vec<Cid>,
    /// Shards that were computed from events, and have the hash that they must have.
    pub rebuilt: Vec<Cid>,
    /// Indexes that were given up, so that the next query makes them anew.
    pub indexes: Vec<String>,
    /// How it is now; what is still wrong is in its findings.
    pub after: VerifyReport,
}
