//! The store on disk.
//!
//! ```text
//! firebrick.json     what this is and how to open it
//! LOCK               held while the store is open for writing; names the holder
//! log/00000001.fbl   the log: one frame per commit, appended by one write
//! checkpoint         where the index ends, the head and the private state
//! index/00000001.run the block index: immutable sorted runs
//! files/<name>       large blocks, one each (see `blob`)
//! incoming/          those that are being written
//! ```
//!
//! The log is the truth, and everything else can be made again from it. A commit is one append and a
//! few entries in a hash map (the *delta*). Now and then [`maintain`](Store::maintain) writes the
//! delta as a sorted run and replaces the checkpoint; opening reads the checkpoint and the frames
//! after it, never the data before.

mod blobs;
mod compact;
mod maintain;
mod read;
#[cfg(test)]
mod tests;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use bytes::Bytes;
use firebrick_core::Cid;
use hashbrown::HashSet;

use super::descriptor::{self, Descriptor, Found};
use super::disk::{Disk, FileDisk, LOCK_FILE, Lock};
use super::frame::{MAX_SEGMENT_BYTES, Seed};
use super::index::{Delta, Index};
use super::recover::{Recovered, Source};
use super::vault::{Name, StoreKey, Vault};
use super::{
    Blob, BlobWriter, Commit, Compaction, Sieve, StagedBlob, Store, StoreError, StoreStats, memory,
};
use crate::lock::{self, lock};
use maintain::Maintenance;
use read::Segments;
pub use verify::Verification;
use write::{Tail, Writer};

/// How to open a [`LogStore`].
///
/// ```
/// use firebrick::store::{LogOptions, LogStore};
/// # let dir = tempfile::tempdir().unwrap();
/// let mut options = LogOptions::insecure();
/// options.segment_bytes = 16 << 20; // smaller files
/// let store = LogStore::open(dir.path().join("store"), &options)?;
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogOptions {
    /// The key that everything is sealed with, or `None` for a store without encryption.
    pub key: Option<StoreKey>,
    /// A new file of the log begins when one has this size.
    pub segment_bytes: u64,
    /// [`Store::maintenance_due`] when so many blocks are not in the index yet. Also bounds memory:
    /// at four times as many, a commit does the maintenance itself.
    pub checkpoint_entries: usize,
    /// [`Store::maintenance_due`] when so many bytes were committed since the last checkpoint. An
    /// open after a crash reads about as many.
    pub checkpoint_bytes: u64,
}

impl LogOptions {
    /// Everything is sealed with this key.
    ///
    /// ```
    /// use firebrick::store::{LogOptions, StoreKey};
    /// let options = LogOptions::sealed(StoreKey::new([7; 32]));
    /// assert!(options.key.is_some());
    /// ```
    #[must_use]
    pub fn sealed(key: StoreKey) -> Self {
        Self {
            key: Some(key),
            ..Self::insecure()
        }
    }

    /// No encryption: whoever can read the files can read the data.
    ///
    /// ```
    /// use firebrick::store::LogOptions;
    /// assert!(LogOptions::insecure().key.is_none());
    /// ```
    #[must_use]
    pub fn insecure() -> Self {
        Self {
            key: None,
            segment_bytes: 256 << 20,
            checkpoint_entries: 32 << 10,
            checkpoint_bytes: 16 << 20,
        }
    }
}

/// A [`Store`] in a directory.
///
/// ```
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{LogOptions, LogStore, Store};
/// use firebrick::store::Commit;
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
/// store.commit(&Commit { kv: &[("a".into(), Some("1".into()))], ..Commit::default() })?;
/// store.close()?;
/// let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
/// assert_eq!(store.kv("a").as_deref(), Some(&b"1"[..]));
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
pub struct LogStore {
    disk: Arc<dyn Disk>,
    vault: Vault,
    seed: Seed,
    descriptor: Descriptor,
    segment_bytes: u64,
    checkpoint_entries: usize,
    checkpoint_bytes: u64,
    read_only: bool,
    closed: AtomicBool,
    /// Why changes are refused.
    poison: OnceLock<String>,
    segments: Segments,

    // Locks are taken in this order. The last two are never held while another one is taken.
    /// Held by the one compaction that may run.
    compaction: Mutex<()>,
    maintenance: Mutex<Maintenance>,
    writer: Mutex<Writer>,
    state: RwLock<State>,
    syncing: Mutex<()>,
    tail: Mutex<Tail>,

    /// The last sequence number that is known to be synced.
    synced: AtomicU64,
    lock: Mutex<Option<Lock>>,
}

/// What readers see.
#[derive(Debug)]
struct State {
    head: Vec<Cid>,
    kv: BTreeMap<String, Bytes>,
    /// Places since the last checkpoint, and those that one in progress is writing.
    delta: Delta,
    frozen: Option<Arc<Delta>>,
    index: Arc<Index>,
    /// Blocks that turned out to be damaged.
    bad: HashSet<Name>,
    /// Segments before this one are being compacted; 0 at other times.
    compacting: u32,
    sequence: u64,
    /// Bytes of all frames that were ever appended.
    log_bytes: u64,
    /// Of these, what the last checkpoint covers.
    checkpointed_bytes: u64,
    /// Damage of the log that recovery found.
    log_damage: Vec<String>,
    /// Damaged blocks that reading found.
    block_damage: Vec<String>,
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore")
            .field("path", &self.disk.path())
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens the store in a directory, and makes it if there is none. Only one handle can have a
    /// store open for writing.
    ///
    /// ```
    /// use firebrick::store::{LogOptions, LogStore, StoreError, StoreKey};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("store");
    /// LogStore::open(&path, &LogOptions::insecure())?;
    /// let sealed = LogOptions::sealed(StoreKey::new([7; 32]));
    /// let other = LogStore::open(&path, &sealed);
    /// assert!(matches!(other, Err(StoreError::CipherMismatch { .. })));
    /// # Ok::<(), StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::WrongKey`], [`StoreError::CipherMismatch`],
    /// [`StoreError::Foreign`], [`StoreError::Newer`], or an error of the system.
    pub fn open(path: impl AsRef<Path>, options: &LogOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(FileDisk::new(path.as_ref().to_owned())), options)
    }

    /// Opens a store to read it, also while another process has it open for writing. It shows the
    /// state as of now; [`refresh`](Self::refresh) shows what was committed since.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// use firebrick::store::Commit;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let path = dir.path().join("store");
    /// let reader = LogStore::open_read_only(&path, &LogOptions::insecure())?; // beside a writer
    /// assert!(reader.commit(&Commit::default()).is_err());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NeedsUpgrade`], or as for [`open`](Self::open).
    pub fn open_read_only(
        path: impl AsRef<Path>,
        options: &LogOptions,
    ) -> Result<Self, StoreError> {
        Self::open_read_only_on(Arc::new(FileDisk::new(path.as_ref().to_owned())), options)
    }

    /// Removes a store and everything in it. Files of others in the directory stay.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let path = dir.path().join("store");
    /// assert!(LogStore::destroy(&path).is_err()); // it is open
    /// store.close()?;
    /// LogStore::destroy(&path)?;
    /// assert!(!path.exists());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Locked`] while it is open, [`StoreError::NotFound`] or [`StoreError::Foreign`]
    /// if there is no store.
    pub fn destroy(path: impl AsRef<Path>) -> Result<(), StoreError> {
        Self::destroy_on(&FileDisk::new(path.as_ref().to_owned()))
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, options: &LogOptions) -> Result<Self, StoreError> {
        // Look before making anything: a foreign directory must not be touched.
        descriptor::look(&*disk)?;
        disk.create_directories(&[])
            .map_err(|e| StoreError::io(format!("make {}", disk.path().display()), e))?;
        let lock = take_lock(&*disk)?;
        let found = match descriptor::look(&*disk)? {
            Found::Doomed => {
                erase(&*disk)?;
                Found::Nothing
            }
            found => found,
        };
        let random = fresh_random()?;
        let fingerprint = options.key.as_ref().and_then(StoreKey::fingerprint);
        let (descriptor, vault) = match found {
            Found::Store(candidates) => {
                let path = disk.path().to_owned();
                let (mut descriptor, vault) =
                    descriptor::unlock(path, &candidates, options.key.as_ref(), random)?;
                let intact = descriptor::is_written(&*disk, &descriptor);
                descriptor::upgrade(&*disk, &mut descriptor)?;
                if !intact {
                    tracing::warn!("restored {} from the log", descriptor::FILE);
                }
                let is_named =
                    fingerprint.is_none() || descriptor.fingerprint.as_deref() == fingerprint;
                if !is_named {
                    descriptor.fingerprint = fingerprint.map(str::to_owned);
                }
                if !intact || !is_named {
                    descriptor.write(&*disk)?;
                }
                (descriptor, vault)
            }
            _ => {
                let salt = fresh_random()?;
                let vault = Vault::new(options.key.as_ref(), &salt, random);
                let descriptor = Descriptor {
                    version: descriptor::VERSION,
                    sealed: options.key.is_some(),
                    salt,
                    check: *vault.check(),
                    fingerprint: fingerprint.map(str::to_owned),
                };
                descriptor.write(&*disk)?;
                (descriptor, vault)
            }
        };
        disk.create_directories(&["log", "index"])
            .map_err(|e| StoreError::io("make the directories of the store", e))?;
        blobs::remove_unfinished(&*disk)
            .map_err(|e| StoreError::io("remove files that were never finished", e))?;
        Self::start(disk, vault, descriptor, options, Some(lock))
    }

    pub(crate) fn open_read_only_on(
        disk: Arc<dyn Disk>,
        options: &LogOptions,
    ) -> Result<Self, StoreError> {
        let path = disk.path().to_owned();
        let Found::Store(candidates) = descriptor::look(&*disk)? else {
            return Err(StoreError::NotFound { path });
        };
        let (descriptor, vault) =
            descriptor::unlock(path.clone(), &candidates, options.key.as_ref(), [0; 12])?;
        if descriptor.version < descriptor::VERSION {
            let found = descriptor.version;
            return Err(StoreError::NeedsUpgrade { path, found });
        }
        Self::start(disk, vault, descriptor, options, None)
    }

    fn start(
        disk: Arc<dyn Disk>,
        vault: Vault,
        descriptor: Descriptor,
        options: &LogOptions,
        lock: Option<Lock>,
    ) -> Result<Self, StoreError> {
        let read_only = lock.is_none();
        let seed = Seed::new(&descriptor.salt);
        let mut recovered = Source {
            disk: &*disk,
            vault: &vault,
            seed,
            spill: (!read_only).then_some(options.checkpoint_entries),
        }
        .recover()
        .map_err(|e| StoreError::io("read the store", e))?;
        let writer = if read_only {
            Writer::none(&recovered)
        } else {
            Writer::start(&*disk, &descriptor, &mut recovered)
                .map_err(|e| StoreError::io("repair the end of the log", e))?
        };
        let segments = Segments::new(disk.clone());
        let tail = Tail::of(&writer);
        let maintenance = Maintenance::new(&recovered);
        let synced = AtomicU64::new(recovered.synced);
        let log_is_behind = recovered.log_is_behind;
        let rebuilt = recovered.rebuilt && recovered.next_sequence > 1;
        let store = Self {
            disk,
            vault,
            seed,
            descriptor,
            segment_bytes: options.segment_bytes.clamp(1 << 12, MAX_SEGMENT_BYTES),
            checkpoint_entries: options.checkpoint_entries.max(1),
            checkpoint_bytes: options.checkpoint_bytes,
            read_only,
            closed: AtomicBool::new(false),
            poison: OnceLock::new(),
            segments,
            compaction: Mutex::new(()),
            maintenance: Mutex::new(maintenance),
            writer: Mutex::new(writer),
            state: RwLock::new(State::new(recovered)),
            syncing: Mutex::new(()),
            tail: Mutex::new(tail),
            synced,
            lock: Mutex::new(lock),
        };
        if log_is_behind && !read_only {
            store.append_state(None)?;
        }
        // So that it has not to be done again.
        if rebuilt && !read_only && store.maintenance_due() {
            store.checkpoint()?;
        }
        Ok(store)
    }

    pub(crate) fn destroy_on(disk: &dyn Disk) -> Result<(), StoreError> {
        let missing = || StoreError::NotFound {
            path: disk.path().to_owned(),
        };
        if matches!(descriptor::look(disk)?, Found::Nothing) {
            return Err(missing());
        }
        let _lock = take_lock(disk)?;
        match descriptor::look(disk)? {
            Found::Nothing => return Err(missing()),
            Found::Doomed => {}
            Found::Store(candidates) => descriptor::doom(disk, &candidates)?,
        }
        erase(disk)
    }

    /// What stands in the way of changes.
    fn usable(&self) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        match self.poison.get() {
            Some(cause) => Err(StoreError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Refuses changes from now on.
    fn poisoned(&self, error: StoreError) -> StoreError {
        tracing::error!(%error, "the store refuses changes until it is opened again");
        // The first cause is the one that matters.
        let _ = self.poison.set(error.to_string());
        error
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        lock::read(&self.state)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        lock::write(&self.state)
    }
}

impl State {
    fn new(recovered: Recovered) -> Self {
        Self {
            head: recovered.head,
            kv: recovered.kv,
            delta: recovered.delta,
            frozen: None,
            index: Arc::new(recovered.index),
            bad: HashSet::new(),
            compacting: 0,
            sequence: recovered.next_sequence - 1,
            log_bytes: recovered.log_bytes,
            checkpointed_bytes: recovered.checkpoint_bytes,
            log_damage: recovered.damage,
            block_damage: Vec::new(),
        }
    }
}

fn take_lock(disk: &dyn Disk) -> Result<Lock, StoreError> {
    match disk.lock() {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(holder)) => Err(StoreError::Locked {
            path: disk.path().to_owned(),
            holder,
        }),
        Err(error) => Err(StoreError::io("lock the store", error)),
    }
}

fn fresh_random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut random = [0; N];
    getrandom::fill(&mut random)
        .map_err(|e| StoreError::io("get random bytes", std::io::Error::other(e.to_string())))?;
    Ok(random)
}

/// Removes the files of a store whose description is gone already.
fn erase(disk: &dyn Disk) -> Result<(), StoreError> {
    let erase = || {
        for (directory, suffix) in [
            ("log", ".fbl"),
            ("index", ".run"),
            (blobs::DIRECTORY, ""),
            (blobs::UNFINISHED, ""),
        ] {
            for name in disk.list(directory)? {
                if name.ends_with(suffix) {
                    disk.remove(&format!("{directory}/{name}"))?;
                }
            }
            match disk.sync_directory(directory) {
                // A store without large blocks has no directory for them.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                synced => synced?,
            }
            disk.remove_directory(directory)?;
        }
        for file in [super::checkpoint::FILE, descriptor::FILE] {
            disk.remove(file)?;
            disk.remove(&format!("{file}.tmp"))?;
        }
        // From here on the directory is an ordinary one.
        disk.sync_directory("")?;
        disk.remove(descriptor::DOOMED_FILE)?;
        disk.remove(LOCK_FILE)?;
        disk.sync_directory("")?;
        disk.remove_directory("")
    };
    erase().map_err(|e| StoreError::io("remove the store", e))
}

impl Store for LogStore {
    fn head(&self) -> Vec<Cid> {
        self.state().head.clone()
    }

    fn kv(&self, key: &str) -> Option<Bytes> {
        self.state().kv.get(key).cloned()
    }

    fn kv_prefix(&self, prefix: &str) -> Vec<(String, Bytes)> {
        memory::kv_prefix(&self.state().kv, prefix)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.read_one(cid)
    }

    fn generation(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.find_generation(cid)
    }

    fn contains(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.is_here(cid)
    }

    fn blocks(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.read_many(cids)
    }

    fn keeps_files_apart(&self) -> bool {
        true
    }

    fn stage_blob(&self) -> Result<Option<BlobWriter>, StoreError> {
        self.stage().map(Some)
    }

    fn show_blobs(&self, blobs: Vec<StagedBlob>) -> Result<(), StoreError> {
        self.show(blobs)
    }

    fn sync_blobs(&self) -> Result<(), StoreError> {
        self.sync_names()
    }

    fn blob(&self, cid: &Cid) -> Result<Option<Blob>, StoreError> {
        self.open_blob(cid)
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let overdue = self.append(commit)?;
        if overdue && let Err(error) = self.checkpoint() {
            // The commit itself is done; the next one finds a poisoned store, if it is one.
            tracing::warn!(%error, "maintenance failed");
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.usable()?;
        self.sync_log()
    }

    fn maintenance_due(&self) -> bool {
        if self.usable().is_err() {
            return false;
        }
        let state = self.state();
        state.frozen.is_none()
            && (state.delta.len() >= self.checkpoint_entries
                || state.log_bytes - state.checkpointed_bytes >= self.checkpoint_bytes)
    }

    fn maintain(&self) -> Result<(), StoreError> {
        self.checkpoint()
    }

    fn reclaim(
        &self,
        sieve: &mut dyn Sieve,
        dry_run: bool,
    ) -> Result<Option<Compaction>, StoreError> {
        match dry_run {
            true => self.survey(sieve),
            false => self.compact_with(sieve),
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        if self.read_only || self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.sync().and_then(|()| self.checkpoint());
        // Whatever else is under way on other threads ends at its next change, and only then may
        // another process have the store.
        self.closed.store(true, Ordering::Release);
        let _compaction = lock(&self.compaction);
        let _maintenance = lock(&self.maintenance);
        lock(&self.writer).finish();
        lock(&self.lock).take();
        result
    }

    fn stats(&self) -> StoreStats {
        let state = self.state();
        let delta = state.delta.len() + state.frozen.as_ref().map_or(0, |frozen| frozen.len());
        let (log_segments, log_bytes) = self.segments.sizes();
        StoreStats {
            sequence: state.sequence,
            synced_sequence: self.synced.load(Ordering::Acquire),
            blocks: state.index.entries() + delta as u64,
            kv_entries: state.kv.len() as u64,
            kv_bytes: memory::kv_bytes(&state.kv),
            log_bytes,
            log_segments,
            delta_entries: delta as u64,
            delta_bytes: state.log_bytes - state.checkpointed_bytes,
            index_runs: state.index.runs(),
            index_bytes: state.index.bytes(),
            damage: [&state.log_damage[..], &state.block_damage[..]].concat(),
            poisoned: self.poison.get().cloned(),
        }
    }
}
