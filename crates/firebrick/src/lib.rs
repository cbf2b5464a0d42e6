//! Firebrick: a local-first, end-to-end-encrypted document database that syncs through anything.
//!
//! An app opens a [`Database`] on its own disk, works offline, and attaches it to one or more
//! remotes. Every database attached to a common remote ends up with every document, whatever the
//! order, the timing, the crashes and the concurrent writers.
//!
//! ```
//! use firebrick::{Database, Document, Error};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
//! let alice = Database::memory("alice").await?;
//! let bob = Database::memory("bob").await?;
//! bob.keys().import(&alice.keys().export()?)?;
//!
//! alice.put(&Document::new().with("_id", "hello").with("from", "alice")).await?;
//! alice.attach("memory://doc-example")?.synced().await?;
//! bob.attach("memory://doc-example")?.synced().await?;
//!
//! let doc: Document = bob.get("hello").await?.expect("it has arrived");
//! assert_eq!(doc.to_json(), serde_json::json!({"_id": "hello", "from": "alice"}));
//! # Ok(()) }
//! ```
//!
//! The layers, from the handle down: [`Database`] → the ledger (one writer, immutable snapshots) →
//! the local [`store`]; beside it one tracker per attached remote, over a [`gateway`]. All formats
//! and the merge live in [`firebrick_core`], which does no I/O.

mod backup;
mod buffers;
mod compaction;
mod conflict;
mod database;
mod document;
pub mod env;
mod error;
mod files;
pub mod gateway;
mod history;
mod index;
mod keys;
mod ledger;
mod lock;
mod opaque;
mod options;
mod query;
mod read;
mod stats;
pub mod store;
mod subscribe;
mod tracker;
mod transaction;
mod verify;
mod view;

pub use firebrick_core as core;
pub use firebrick_core::Cid;
pub use firebrick_core::cbor::{Link, Value};

pub use backup::{Backup, BackupError, BackupInfo, BackupProgress, RestoreReport};
pub use compaction::{Compact, CompactProgress, CompactReport, Retention};
pub use conflict::{Conflict, ConflictVersion, Conflicted, Why};
pub use database::Database;
pub use document::Document;
pub use error::{Error, Result};
pub use files::{FileInfo, FileReader, FileSource, Files};
pub use history::{Content, Events, History, Log, LogEntry, Version, Versions};
pub use index::{Emit, Index, IndexInfo, IndexStatus};
pub use keys::{KeyInfo, KeyOrigin, KeyStore, Keybag, Keys, MemoryKeyStore};
pub use ledger::Written;
pub use options::{Builder, Durability};
pub use query::{Delta, Explain, IndexRow, LiveQuery, Page, Query, QueryRows};
pub use read::{AllDocs, Change, Changes, Row, Rows};
pub use stats::{FullStats, RemoteLag, Stats};
pub use subscribe::{ChangeSet, DocChange, Event, Origin, Subscription};
pub use tracker::{
    Attachment, CloseReport, DetachReport, FileStatus, Join, Missing, MissingFile, Pending,
    Receipt, Remote, RemoteStatus, State, Traffic,
};
pub use transaction::{Expected, Transaction, Versioned};
pub use verify::{
    Fault, Finding, Held, IndexSize, RepairProgress, RepairReport, VerifyProgress, VerifyReport,
};
pub use view::{Diff, Diffs, DocDiff, View};

/// The code in the guide runs as doctests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../docs/guide/src/start.md")]
    mod start {}
    #[doc = include_str!("../../../docs/guide/src/documents.md")]
    mod documents {}
    #[doc = include_str!("../../../docs/guide/src/transactions.md")]
    mod transactions {}
    #[doc = include_str!("../../../docs/guide/src/conflicts.md")]
    mod conflicts {}
    #[doc = include_str!("../../../docs/guide/src/queries.md")]
    mod queries {}
    #[doc = include_str!("../../../docs/guide/src/backup.md")]
    mod backup {}
    #[doc = include_str!("../../../docs/guide/src/check.md")]
    mod check {}
    #[doc = include_str!("../../../docs/guide/src/compaction.md")]
    mod compaction {}
    #[doc = include_str!("../../../docs/guide/src/sync.md")]
    mod sync {}
    #[doc = include_str!("../../../docs/guide/src/files.md")]
    mod files {}
}
