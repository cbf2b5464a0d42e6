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

pub use blob::{Blob, BlobWriter, StagedBlob, WrittenBlob};
pub(crate) use descriptor::fingerprint;
pub(crate) use disk::sync_directory;
pub use error::StoreError;
pub use log::{LogOptions, LogStore, Verification};
pub use memory::MemoryStore;
pub use reclaim::{Compaction, Fate, Sieve};
pub use sim::{SimFault, SimStore};
pub use vault::StoreKey;

/// A block on its way into the store.
///
/// ```
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// use firebrick::store::StoredBlock;
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// let event = StoredBlock { block, generation: 3 };
/// store.commit(&Commit { blocks: &[event.clone()], ..Commit::default() })?;
/// assert_eq!(store.generation(&event.block.cid)?, Some(3));
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
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
///
/// ```
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// let commit = Commit {
///     blocks: &[block.clone().into()],
///     head: Some(&[block.cid]),
///     kv: &[("seen".into(), Some("yes".into()))],
/// };
/// store.commit(&commit)?;
/// assert_eq!(store.head(), [block.cid]);
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
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
///
/// ```
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// fn remember(store: &dyn Store, key: &str) -> Result<(), firebrick::store::StoreError> {
///     store.commit(&Commit { kv: &[(key.into(), Some("yes".into()))], ..Commit::default() })?;
///     store.sync() // from here on it survives a loss of power
/// }
/// remember(&store, "seen")?;
/// assert!(store.kv("seen").is_some());
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
pub trait Store: Send + Sync + 'static {
    /// The head of the ledger as of the last commit.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// assert!(store.head().is_empty());
    /// store.commit(&Commit { head: Some(&[block.cid]), ..Commit::default() })?;
    /// assert_eq!(store.head(), [block.cid]);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    fn head(&self) -> Vec<Cid>;

    /// A value of the private state.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// store.commit(&Commit { kv: &[("a".into(), Some("1".into()))], ..Commit::default() })?;
    /// assert_eq!(store.kv("a").as_deref(), Some(&b"1"[..]));
    /// assert_eq!(store.kv("b"), None);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    fn kv(&self, key: &str) -> Option<Bytes>;

    /// All private state whose key begins with `prefix`, by ascending key.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let kv = ["b/1", "a/2", "a/1"].map(|key| (key.to_owned(), Some("".into())));
    /// store.commit(&Commit { kv: &kv, ..Commit::default() })?;
    /// let keys: Vec<_> = store.kv_prefix("a/").into_iter().map(|(key, _)| key).collect();
    /// assert_eq!(keys, ["a/1", "a/2"]);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    fn kv_prefix(&self, prefix: &str) -> Vec<(String, Bytes)>;

    /// The bytes of a block, verified to be the ones that were stored under this CID.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// assert_eq!(store.block(&block.cid)?, None);
    /// store.commit(&Commit { blocks: &[block.clone().into()], ..Commit::default() })?;
    /// assert_eq!(store.block(&block.cid)?, Some(block.bytes));
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they are damaged: from then on [`contains`](Store::contains)
    /// denies the block, so that it is fetched again from a remote, and committing it heals it.
    fn block(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError>;

    /// The generation that a block was stored with, without reading the block.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// store.commit(&Commit { blocks: &[block.clone().into()], ..Commit::default() })?;
    /// assert_eq!(store.generation(&block.cid)?, Some(0)); // no event, or not known yet
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the index cannot be read.
    fn generation(&self, cid: &Cid) -> Result<Option<u64>, StoreError>;

    /// Whether the block is here.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// assert!(!store.contains(&block.cid)?);
    /// store.commit(&Commit { blocks: &[block.clone().into()], ..Commit::default() })?;
    /// assert!(store.contains(&block.cid)?);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the index cannot be read.
    fn contains(&self, cid: &Cid) -> Result<bool, StoreError>;

    /// Many blocks at once, in the order asked for. On disk this reads neighbours together.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let absent = Cid::of(Codec::Raw, b"absent");
    /// store.commit(&Commit { blocks: &[block.clone().into()], ..Commit::default() })?;
    /// assert_eq!(store.blocks(&[absent, block.cid])?, [None, Some(block.bytes)]);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`block`](Store::block), for the first block that fails.
    fn blocks(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        cids.iter().map(|cid| self.block(cid)).collect()
    }

    /// Whether [`stage_blob`](Store::stage_blob) gives a place apart from the other blocks.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// use firebrick::store::MemoryStore;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// assert!(store.keeps_files_apart()); // a directory
    /// assert!(!MemoryStore::new().keeps_files_apart());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    fn keeps_files_apart(&self) -> bool {
        false
    }

    /// Begins to write a large block in a place of its own, so that it need not be in memory as a
    /// whole; `None` if this store keeps all blocks alike.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// writer.write(b"waves and ")?;
    /// writer.write(b"sand")?;
    /// let cid = Cid::of(Codec::Raw, b"waves and sand");
    /// store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
    /// assert!(store.blob(&cid)?.is_some());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails, or the store can't be changed.
    fn stage_blob(&self) -> Result<Option<BlobWriter>, StoreError> {
        Ok(None)
    }

    /// Makes blobs visible under their CIDs. A loss of power may take them away again as a whole,
    /// before [`sync_blobs`](Store::sync_blobs).
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let cid = Cid::of(Codec::Raw, b"waves");
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// writer.write(b"waves")?;
    /// let staged = writer.finish(cid)?.sync()?;
    /// assert!(store.blob(&cid)?.is_none());
    /// store.show_blobs(vec![staged])?;
    /// assert!(store.blob(&cid)?.is_some());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails; some may be visible then, which does no harm.
    fn show_blobs(&self, _blobs: Vec<StagedBlob>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Waits until all visible blobs would survive a loss of power, so that what refers to them may
    /// be committed.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let cid = Cid::of(Codec::Raw, b"waves");
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// writer.write(b"waves")?;
    /// store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
    /// store.sync_blobs()?; // now a document may name it
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails.
    fn sync_blobs(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Opens a block that was written as a blob.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// # let cid = Cid::of(Codec::Raw, b"waves and sand");
    /// # let mut writer = store.stage_blob()?.unwrap();
    /// # writer.write(b"waves and sand")?;
    /// # store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
    /// let blob = store.blob(&cid)?.expect("it was kept");
    /// assert_eq!(blob.read(10..14)?, "sand");
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is damaged; writing it again heals it.
    fn blob(&self, _cid: &Cid) -> Result<Option<Blob>, StoreError> {
        Ok(None)
    }

    /// Applies a commit. When it returns, the commit is visible to readers and survives the death
    /// of the process, but not yet a loss of power.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// store.commit(&Commit { kv: &[("a".into(), Some("1".into()))], ..Commit::default() })?;
    /// store.commit(&Commit { kv: &[("a".into(), None)], ..Commit::default() })?;
    /// assert_eq!(store.kv("a"), None);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Full`] leaves the store as it was and usable. Any other failed write poisons
    /// it: every later commit fails with [`StoreError::Poisoned`] until the store is reopened.
    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError>;

    /// Waits until everything committed before the call would survive a loss of power.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::SimStore;
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// store.commit(&Commit { head: Some(&[block.cid]), ..Commit::default() })?;
    /// store.sync()?;
    /// store.crash(0); // the power fails
    /// assert_eq!(store.reopen().head(), [block.cid]);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// A failure poisons the store, because the system may have dropped what it could not write.
    fn sync(&self) -> Result<(), StoreError>;

    /// Whether calling [`maintain`](Store::maintain) would be useful now. Cheap.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// store.commit(&Commit { blocks: &[block.into()], ..Commit::default() })?;
    /// assert!(!store.maintenance_due()); // one block is not worth it
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    fn maintenance_due(&self) -> bool {
        false
    }

    /// Moves what only memory and the log hold into the index. Meant for a background thread:
    /// reads and commits go on meanwhile.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// use firebrick::{core::Block, store::Commit};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let block = Block::new(Codec::Raw, "hello");
    /// store.commit(&Commit { blocks: &[block.into()], ..Commit::default() })?;
    /// assert_eq!(store.stats().delta_entries, 1);
    /// store.maintain()?;
    /// assert_eq!(store.stats().delta_entries, 0);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails. Nothing is lost then; it can be called again.
    fn maintain(&self) -> Result<(), StoreError>;

    /// Gives back the space of the blocks that the sieve does not keep, or only counts them with
    /// `dry_run`. Reads and commits go on. `None` if the sieve ended the run.
    ///
    /// A crash at any time leaves a store with at least the blocks to keep.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let other = Block::new(Codec::Raw, "not needed");
    /// let blocks = [block.clone().into(), other.clone().into()];
    /// store.commit(&Commit { blocks: &blocks, ..Commit::default() })?;
    /// let mut keep = |cid: &Cid| *cid == block.cid;
    /// let done = store.reclaim(&mut keep, false)?.expect("it was not stopped");
    /// assert_eq!((done.kept_blocks, done.dropped_blocks), (1, 1));
    /// assert!(!store.contains(&other.cid)?);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
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
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::StoreError;
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// store.close()?;
    /// assert!(matches!(store.commit(&Commit::default()), Err(StoreError::Closed)));
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the last sync or maintenance fails; the store is released nevertheless.
    fn close(&self) -> Result<(), StoreError>;

    /// Sizes and counters.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// store.commit(&Commit { blocks: &[block.into()], ..Commit::default() })?;
    /// let stats = store.stats();
    /// assert_eq!((stats.sequence, stats.blocks), (1, 1));
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    fn stats(&self) -> StoreStats;
}

/// Sizes and counters of a store. What a kind of store does not have is 0.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// db.put(&Document::new().with("text", "one")).await?;
/// let stats = db.stats().store;
/// assert!(stats.blocks > 0 && stats.damage.is_empty());
/// if let Some(cause) = stats.poisoned {
///     println!("nothing can be written until it is opened again: {cause}");
/// }
/// # Ok(()) }
/// ```
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
