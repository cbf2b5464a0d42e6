//! The local store: blocks by CID, the head of the ledger, and a little private state, all changed
//! together by atomic commits.
//!
//! [`Store`] is the only thing that the rest of the library knows about local storage.
//! [`MemoryStore`] keeps everything in memory, [`LogStore`] in a directory, and [`SimStore`] is for
//! tests: it crashes and fails on demand.

mod blob;
mod checkpoint;
mod descriptor;
mod disk;
#[cfg(test)]
mod disk_memory;
mod error;
mod frame;
mod holder;
mod index;
mod log;
mod memory;
mod pack;
mod reclaim;
mod recover;
mod replay;
mod run;
mod sim;
mod vault;

use std::fmt;

use bytes::Bytes;
use firebrick_core::{Block, Cid};

pub use blob::{Blob, BlobWriter, StagedBlob};
pub(crate) use descriptor::fingerprint;
pub(crate) use disk::sync_directory;
pub use error::StoreError;
pub use log::{LogOptions, LogStore, Verification};
pub use memory::MemoryStore;
pub use reclaim::{Compaction, Fate, Sieve};
pub use sim::{SimFault, SimStore};
pub use vault::StoreKey;

/// A block on its way into the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredBlock {
    /// The block.
    pub block: Block,
    /// The generation of an event: one more than the greatest of its parents'. 0 for every other
    /// block, and for an event whose parents are not known yet. It is a fact about the block, so it
    /// never changes from one number to another, only from 0 to the right one.
    ///
    /// The ledger keeps the generation in the low 32 bits and, above them, a number for where the
    /// event first came from. A store holds 40 bits and does not look inside.
    pub generation: u64,
}

impl From<Block> for StoredBlock {
    fn from(block: Block) -> Self {
        Self {
            block,
            generation: 0,
        }
    }
}

/// One atomic change of a store: everything in it happens, or nothing.
#[derive(Clone, Copy, Default)]
pub struct Commit<'a> {
    /// Blocks to add. A block that is there already may be given again; its generation then replaces
    /// one that was stored as 0.
    pub blocks: &'a [StoredBlock],
    /// The new head, or `None` to leave it.
    pub head: Option<&'a [Cid]>,
    /// Private state to set, or to remove with `None`. All of it is held in memory, so keep it
    /// small.
    pub kv: &'a [(String, Option<Bytes>)],
}

impl fmt::Debug for Commit<'_> {
    // Counts only: documents and private state do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("blocks", &self.blocks.len())
            .field("head", &self.head)
            .field("kv", &self.kv.len())
            .finish()
    }
}

/// Local storage of one ledger.
///
/// All calls may block on the disk and may come from several threads. Commits are ordered: after a
/// crash the store holds a prefix of them, which includes everything before the last successful
/// [`sync`](Store::sync).
pub trait Store: Send + Sync + 'static {
    /// The head of the ledger as of the last commit.
    fn head(&self) -> Vec<Cid>;

    /// A value of the private state.
    fn kv(&self, key: &str) -> Option<Bytes>;

    /// All private state whose key begins with `prefix`, by ascending key.
    fn kv_prefix(&self, prefix: &str) -> Vec<(String, Bytes)>;

    /// The bytes of a block, verified to be the ones that were stored under this CID.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they are damaged: from then on [`contains`](Store::contains)
    /// denies the block, so that it is fetched again from a remote, and committing it heals it.
    fn block(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError>;

    /// The generation that a block was stored with, without reading the block.
    ///
    /// # Errors
    /// If the index cannot be read.
    fn generation(&self, cid: &Cid) -> Result<Option<u64>, StoreError>;

    /// Whether the block is here.
    ///
    /// # Errors
    /// If the index cannot be read.
    fn contains(&self, cid: &Cid) -> Result<bool, StoreError>;

    /// Many blocks at once, in the order asked for. On disk this reads neighbours together.
    ///
    /// # Errors
    /// As for [`block`](Store::block), for the first block that fails.
    fn blocks(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        cids.iter().map(|cid| self.block(cid)).collect()
    }

    /// Whether [`stage_blob`](Store::stage_blob) gives a place apart from the other blocks.
    fn keeps_files_apart(&self) -> bool {
        false
    }

    /// Begins to write a large block in a place of its own, so that it need not be in memory as a
    /// whole; `None` if this store keeps all blocks alike.
    ///
    /// # Errors
    /// If the disk fails, or the store can't be changed.
    fn stage_blob(&self) -> Result<Option<BlobWriter>, StoreError> {
        Ok(None)
    }

    /// Makes blobs visible under their CIDs. When it returns, they survive a loss of power, so
    /// what refers to them may be committed.
    ///
    /// # Errors
    /// If the disk fails; some may be visible then, which does no harm.
    fn keep_blobs(&self, _blobs: Vec<StagedBlob>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Opens a block that was written as a blob.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is damaged; writing it again heals it.
    fn blob(&self, _cid: &Cid) -> Result<Option<Blob>, StoreError> {
        Ok(None)
    }

    /// Applies a commit. When it returns, the commit is visible to readers and survives the death
    /// of the process, but not yet a loss of power.
    ///
    /// # Errors
    /// [`StoreError::Full`] leaves the store as it was and usable. Any other failed write poisons
    /// it: every later commit fails with [`StoreError::Poisoned`] until the store is reopened.
    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError>;

    /// Waits until everything committed before the call would survive a loss of power.
    ///
    /// # Errors
    /// A failure poisons the store, because the system may have dropped what it could not write.
    fn sync(&self) -> Result<(), StoreError>;

    /// Whether calling [`maintain`](Store::maintain) would be useful now. Cheap.
    fn maintenance_due(&self) -> bool {
        false
    }

    /// Moves what only memory and the log hold into the index. Meant for a background thread:
    /// reads and commits go on meanwhile.
    ///
    /// # Errors
    /// If the disk fails. Nothing is lost then; it can be called again.
    fn maintain(&self) -> Result<(), StoreError>;

    /// Gives back the space of the blocks that the sieve does not keep, or only counts them with
    /// `dry_run`. Reads and commits go on. `None` if the sieve ended the run.
    ///
    /// A crash at any time leaves a store with at least the blocks to keep.
    ///
    /// # Errors
    /// If the disk fails or the log is damaged. Nothing is lost then.
    fn reclaim(
        &self,
        sieve: &mut dyn Sieve,
        dry_run: bool,
    ) -> Result<Option<Compaction>, StoreError>;

    /// Syncs, maintains and releases the store. Later calls that change it fail with
    /// [`StoreError::Closed`].
    ///
    /// # Errors
    /// If the last sync or maintenance fails; the store is released nevertheless.
    fn close(&self) -> Result<(), StoreError>;

    /// Sizes and counters.
    fn stats(&self) -> StoreStats;
}

/// Sizes and counters of a store. What a kind of store does not have is 0.
#[derive(Clone, Default, PartialEq, Eq, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct StoreStats {
    /// Commits since the store was made.
    pub sequence: u64,
    /// The last of them that is known to survive a loss of power.
    pub synced_sequence: u64,
    /// Blocks, counting one that was stored twice as two until the index merges them.
    pub blocks: u64,
    /// Entries of the private state.
    pub kv_entries: u64,
    /// Bytes of the private state, keys and values.
    pub kv_bytes: u64,
    /// Bytes of the log, space written ahead included.
    pub log_bytes: u64,
    /// Files of the log.
    pub log_segments: u64,
    /// Blocks whose place is known only in memory so far.
    pub delta_entries: u64,
    /// Bytes of commits that an open after a crash would have to read.
    pub delta_bytes: u64,
    /// Files of the block index.
    pub index_runs: u64,
    /// Bytes of the block index.
    pub index_bytes: u64,
    /// Damage that was found, each with its place. Nothing here was deleted.
    pub damage: Vec<String>,
    /// Why the store refuses changes, if it does.
    pub poisoned: Option<String>,
}
