//! Secondary indexes.
//!
//! An index is a function of its definition and a root of the document tree, kept as an
//! [ordered tree](firebrick_core::ordered) of blocks. Whatever moved the root, local writes, merges,
//! many events at once, the index follows by the *difference of two roots*; there is no other way in
//! which it changes. A pair of roots that belong together, the documents' and the index', is saved
//! with every checkpoint of the ledger, in the same commit. After a crash the pair is older than the
//! head, and catches up.
//!
//! - [`definition`]: what an index is about, and the rows that a document has in it;
//! - [`state`]: one version of an index, and the step to the next;
//! - [`registry`]: the indexes of a database, and how each is doing;
//! - [`build`]: the background work that makes an index and brings it up to date;
//! - [`reclaim`]: what a compaction keeps.

mod build;
mod definition;
mod ledger;
mod reclaim;
mod registry;
mod state;

pub use definition::{Emit, Index};
pub use registry::{IndexInfo, IndexStatus};

pub(crate) use definition::decode_value;
pub(crate) use ledger::unsaved_bytes;
pub(crate) use reclaim::IndexRoots;
pub(crate) use registry::{Entry, Indexes};
pub(crate) use state::{IndexSet, IndexState, Obstacle, damage};
