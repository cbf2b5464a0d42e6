//! A store for the simulator: it crashes and fails on demand.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use firebrick_core::Cid;
use hashbrown::HashSet;

use super::memory::{State, kv_prefix, sift};
use super::{Commit, Compaction, Sieve, Store, StoreError, StoreStats, StoredBlock};
use crate::lock;

/// A [`Store`] in memory that distinguishes what was committed from what was synced.
///
/// A `SimStore` is a handle on a simulated disk. [`crash`](Self::crash) takes the power away: a random
/// part of the newest commits that were not synced is lost, never one before another that stays. A
/// handle from before is dead then, as a killed process is: it fails every change, so that a task
/// which was not stopped in time does no harm. [`reopen`](Self::reopen) is the next process.
///
/// ```
/// use firebrick::store::{Commit, SimStore, Store};
/// let store = SimStore::new();
/// let commit = |key: &str| {
///     let kv = [(key.to_owned(), Some("1".into()))];
///     store.commit(&Commit { kv: &kv, ..Commit::default() })
/// };
/// commit("synced")?;
/// store.sync()?;
/// commit("lost")?;
/// store.crash(0);
/// assert!(commit("late").is_err());
/// let store = store.reopen();
/// assert!(store.kv("synced").is_some() && store.kv("lost").is_none());
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct SimStore {
    disk: Arc<Mutex<Disk>>,
    epoch: u64,
}

/// What goes wrong at a call of [`Store::commit`], [`Store::sync`] or [`Store::maintain`].
///
/// ```
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// use firebrick::store::{SimFault, SimStore, StoreError};
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// let store = SimStore::new();
/// store.fail_call(0, SimFault::Io);
/// assert!(store.commit(&Commit::default()).is_err());
/// assert!(matches!(store.sync(), Err(StoreError::Poisoned { .. })));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SimFault {
    /// No space at this call, nor later until [`SimStore::heal`]. Nothing is changed.
    Full,
    /// The system refuses. The store is poisoned, as after a failed write or sync.
    Io,
    /// The system refuses, although the commit can be found after reopening.
    IoAfter,
    /// The process dies before the call does anything.
    CrashBefore,
    /// The process dies after the call did its work and before the caller learns of it.
    CrashAfter,
}

#[derive(Default, Debug)]
struct Disk {
    /// What a loss of power cannot take.
    durable: State,
    live: State,
    /// What leads from the one to the other.
    unsynced: Vec<Owned>,
    /// Handles of another epoch are dead.
    epoch: u64,
    calls: u64,
    plan: Option<(u64, SimFault)>,
    full: bool,
    poison: Option<String>,
    damaged: BTreeSet<Cid>,
}

/// A [`Commit`] to keep.
#[derive(Clone, Debug)]
struct Owned {
    blocks: Vec<StoredBlock>,
    head: Option<Vec<Cid>>,
    kv: Vec<(String, Option<Bytes>)>,
}

impl Owned {
    fn new(commit: &Commit<'_>) -> Self {
        Self {
            blocks: commit.blocks.to_vec(),
            head: commit.head.map(<[Cid]>::to_vec),
            kv: commit.kv.to_vec(),
        }
    }

    fn as_commit(&self) -> Commit<'_> {
        Commit {
            blocks: &self.blocks,
            head: self.head.as_deref(),
            kv: &self.kv,
        }
    }
}

impl Disk {
    /// What the next call has to do: nothing but fail, or its work and then perhaps fail.
    fn begin(&mut self, grows: bool) -> Result<Option<SimFault>, StoreError> {
        if let Some(cause) = &self.poison {
            return Err(StoreError::Poisoned {
                cause: cause.clone(),
            });
        }
        let now = self.calls;
        self.calls += 1;
        let fault = self.plan.filter(|(at, _)| *at == now).map(|(_, f)| f);
        match fault {
            Some(SimFault::Full) => self.full = true,
            Some(SimFault::Io) => return Err(self.refuse()),
            Some(SimFault::CrashBefore) => {
                self.epoch += 1;
                return Err(StoreError::Closed);
            }
            _ => {}
        }
        if self.full && grows {
            let error = std::io::ErrorKind::StorageFull.into();
            return Err(StoreError::io("write", error));
        }
        Ok(fault)
    }

    fn end(&mut self, fault: Option<SimFault>) -> Result<(), StoreError> {
        match fault {
            Some(SimFault::IoAfter) => Err(self.refuse()),
            Some(SimFault::CrashAfter) => {
                self.epoch += 1;
                Err(StoreError::Closed)
            }
            _ => Ok(()),
        }
    }

    fn refuse(&mut self) -> StoreError {
        let error = StoreError::io("write", std::io::Error::other("injected"));
        self.poison = Some(error.to_string());
        error
    }

    fn sync(&mut self) {
        for commit in self.unsynced.drain(..) {
            self.durable.apply(&commit.as_commit());
        }
    }
}

impl Default for SimStore {
    fn default() -> Self {
        Self::new()
    }
}

impl SimStore {
    /// A handle on a new, empty disk.
    ///
    /// ```
    /// use firebrick::store::{SimStore, Store};
    /// let store = SimStore::new();
    /// assert!(store.head().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            disk: Arc::default(),
            epoch: 0,
        }
    }

    /// A new handle on the same disk, as after a restart. The old one is dead, a failure is
    /// forgotten, and everything that can be read is durable: opening a store sees to that.
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
    /// let next = store.reopen();
    /// assert_eq!(next.head(), [block.cid]);
    /// assert!(store.commit(&Commit::default()).is_err()); // the old handle is dead
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut disk = self.disk();
        disk.epoch += 1;
        disk.poison = None;
        disk.sync();
        Self {
            disk: self.disk.clone(),
            epoch: disk.epoch,
        }
    }

    /// An open store with the same content on a disk of its own: a copied directory.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::SimStore;
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// let copy = store.copy();
    /// store.commit(&Commit { head: Some(&[block.cid]), ..Commit::default() })?;
    /// assert!(copy.head().is_empty());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn copy(&self) -> Self {
        let disk = self.disk();
        let copy = Disk {
            durable: disk.live.clone(),
            live: disk.live.clone(),
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(copy)),
            epoch: 0,
        }
    }

    /// Takes the power away. Of `n` commits that were not synced, the first `random % (n + 1)` stay;
    /// so 0 loses all of them.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::SimStore;
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// let commit = || store.commit(&Commit { head: Some(&[block.cid]), ..Commit::default() });
    /// commit()?; // and no sync
    /// store.crash(0);
    /// assert!(store.reopen().head().is_empty());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    pub fn crash(&self, random: u64) {
        let mut disk = self.disk();
        let disk = &mut *disk;
        disk.epoch += 1;
        let keep = random % (disk.unsynced.len() as u64 + 1);
        disk.unsynced.truncate(keep as usize);
        disk.sync();
        disk.live = disk.durable.clone();
    }

    /// Kills the process: nothing is lost, but the handle is dead.
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
    /// store.kill();
    /// assert!(store.sync().is_err());
    /// assert_eq!(store.reopen().head(), [block.cid]); // nothing is lost
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    pub fn kill(&self) {
        self.disk().epoch += 1;
    }

    /// Lets a call fail; 0 is the next one that changes something.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::{SimFault, SimStore};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// store.fail_call(1, SimFault::Full);
    /// store.commit(&Commit::default())?; // call 0
    /// assert!(store.commit(&Commit { blocks: &[block.into()], ..Commit::default() }).is_err());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    pub fn fail_call(&self, after: u64, fault: SimFault) {
        let mut disk = self.disk();
        disk.plan = Some((disk.calls + after, fault));
    }

    /// Makes space again and forgets a planned failure.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::{SimFault, SimStore};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// let blocks = [block.clone().into()];
    /// let commit = || store.commit(&Commit { blocks: &blocks, ..Commit::default() });
    /// store.fail_call(0, SimFault::Full);
    /// assert!(commit().is_err());
    /// store.heal();
    /// commit()?;
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.full = false;
        disk.plan = None;
    }

    /// Damages a block on the disk. Committing it again heals it.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::{SimStore, StoreError};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// let blocks = [block.clone().into()];
    /// let commit = || store.commit(&Commit { blocks: &blocks, ..Commit::default() });
    /// commit()?;
    /// store.damage(&block.cid);
    /// assert!(matches!(store.block(&block.cid), Err(StoreError::Corrupt { .. })));
    /// commit()?; // heals it
    /// assert!(store.block(&block.cid)?.is_some());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    pub fn damage(&self, cid: &Cid) {
        self.disk().damaged.insert(*cid);
    }

    /// How many calls that change something there were, for loops over all of them.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::SimStore;
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// store.commit(&Commit::default())?;
    /// store.sync()?;
    /// assert_eq!(store.calls(), 2);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// How many commits a crash could lose.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// use firebrick::store::SimStore;
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// let store = SimStore::new();
    /// store.commit(&Commit::default())?;
    /// assert_eq!(store.unsynced(), 1);
    /// store.sync()?;
    /// assert_eq!(store.unsynced(), 0);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.disk().unsynced.len()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock::lock(&self.disk)
    }

    fn alive(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let disk = self.disk();
        if disk.epoch == self.epoch {
            Ok(disk)
        } else {
            Err(StoreError::Closed)
        }
    }
}

impl Store for SimStore {
    fn head(&self) -> Vec<Cid> {
        self.disk().live.head.clone()
    }

    fn kv(&self, key: &str) -> Option<Bytes> {
        self.disk().live.kv.get(key).cloned()
    }

    fn kv_prefix(&self, prefix: &str) -> Vec<(String, Bytes)> {
        kv_prefix(&self.disk().live.kv, prefix)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let disk = self.disk();
        match disk.live.blocks.get(cid) {
            Some(_) if disk.damaged.contains(cid) => Err(StoreError::Corrupt {
                cid: *cid,
                place: "simulated".to_owned(),
            }),
            found => Ok(found.map(|(bytes, _)| bytes.clone())),
        }
    }

    fn generation(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        let disk = self.disk();
        let found = disk.live.blocks.get(cid);
        Ok(found.map(|(_, generation)| *generation))
    }

    fn contains(&self, cid: &Cid) -> Result<bool, StoreError> {
        let disk = self.disk();
        Ok(disk.live.blocks.contains_key(cid) && !disk.damaged.contains(cid))
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let mut disk = self.alive()?;
        let fault = disk.begin(true)?;
        disk.live.apply(commit);
        disk.unsynced.push(Owned::new(commit));
        if !disk.damaged.is_empty() {
            for stored in commit.blocks {
                disk.damaged.remove(&stored.block.cid);
            }
        }
        disk.end(fault)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut disk = self.alive()?;
        let fault = disk.begin(false)?;
        disk.sync();
        disk.end(fault)
    }

    fn maintain(&self) -> Result<(), StoreError> {
        let mut disk = self.alive()?;
        let fault = disk.begin(true)?;
        disk.sync();
        disk.end(fault)
    }

    /// Two calls that can fail: in the first, what is to stay is made durable, as the store on disk
    /// does by writing it once more; in the second, the rest goes.
    fn reclaim(
        &self,
        sieve: &mut dyn Sieve,
        dry_run: bool,
    ) -> Result<Option<Compaction>, StoreError> {
        let blocks: Vec<(Cid, Bytes)> = {
            let mut disk = self.alive()?;
            let fault = disk.begin(true)?;
            disk.sync();
            disk.end(fault)?;
            disk.live.fresh = Some(HashSet::new());
            let blocks = disk.live.blocks.iter();
            blocks
                .map(|(cid, (bytes, _))| (*cid, bytes.clone()))
                .collect()
        };
        let sifted = sieve.begin().then(|| sift(sieve, blocks)).flatten();
        let mut disk = self.alive()?;
        let Some((doomed, done)) = sifted else {
            disk.live.fresh = None;
            return Ok(None);
        };
        if dry_run {
            disk.live.fresh = None;
            return Ok(Some(done));
        }
        let fault = disk.begin(true)?;
        disk.sync();
        disk.live.remove(&doomed);
        disk.durable = disk.live.clone();
        disk.end(fault)?;
        Ok(Some(Compaction {
            bytes_after: disk.live.stats().log_bytes,
            ..done
        }))
    }

    fn close(&self) -> Result<(), StoreError> {
        // What is closed already needs no closing.
        let Ok(mut disk) = self.alive() else {
            return Ok(());
        };
        let result = disk.begin(false).and_then(|fault| {
            disk.sync();
            disk.end(fault)
        });
        disk.epoch += 1;
        result
    }

    fn stats(&self) -> StoreStats {
        let disk = self.disk();
        StoreStats {
            synced_sequence: disk.durable.sequence,
            poisoned: disk.poison.clone(),
            damage: disk.damaged.iter().map(ToString::to_string).collect(),
            ..disk.live.stats()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firebrick_core::{Block, cid::Codec};

    fn commit(store: &SimStore, n: u64) -> Result<(), StoreError> {
        let kv = [("n".to_owned(), Some(Bytes::from(n.to_string())))];
        store.commit(&Commit {
            kv: &kv,
            ..Commit::default()
        })
    }

    fn last(store: &SimStore) -> u64 {
        store.kv("n").map_or(0, |n| {
            std::str::from_utf8(&n).unwrap().parse::<u64>().unwrap()
        })
    }

    #[test]
    fn a_crash_keeps_a_prefix_that_includes_what_was_synced() {
        for random in 0..7 {
            let store = SimStore::new();
            for n in 1..=5 {
                commit(&store, n).unwrap();
                if n == 2 {
                    store.sync().unwrap();
                }
            }
            assert_eq!(store.unsynced(), 3);
            store.crash(random);
            assert!(matches!(commit(&store, 9), Err(StoreError::Closed)));
            let store = store.reopen();
            assert_eq!(last(&store), 2 + random % 4);
            commit(&store, 6).unwrap();
        }
        let store = SimStore::new();
        commit(&store, 1).unwrap();
        store.kill();
        assert_eq!(last(&store.reopen()), 1);
    }

    #[test]
    fn every_fault_at_every_call() {
        let faults = [
            SimFault::Full,
            SimFault::Io,
            SimFault::IoAfter,
            SimFault::CrashBefore,
            SimFault::CrashAfter,
        ];
        for fault in faults {
            for at in 0..12 {
                for power in [true, false] {
                    let store = SimStore::new();
                    store.fail_call(at, fault);
                    let (mut tried, mut done, mut synced) = (0, 0, 0);
                    for n in 1..=5 {
                        tried = n;
                        if commit(&store, n).is_err() {
                            break;
                        }
                        done = n;
                        if store.sync().is_err() {
                            break;
                        }
                        synced = n;
                    }
                    let poisoned = matches!(commit(&store, 8), Err(StoreError::Poisoned { .. }));
                    let refused = matches!(fault, SimFault::Io | SimFault::IoAfter);
                    assert_eq!(poisoned, refused && at < 10);
                    if power && at < 10 {
                        store.crash(at);
                    }
                    store.heal();
                    let store = store.reopen();
                    if at < 10 {
                        let least = if power { synced } else { done };
                        assert!((least..=tried).contains(&last(&store)));
                    }
                    commit(&store, 9).unwrap();
                }
            }
        }
    }

    #[test]
    fn damage_and_copies() {
        let store = SimStore::new();
        let block = Block::new(Codec::Raw, "x");
        let put = || {
            store.commit(&Commit {
                blocks: &[block.clone().into()],
                ..Commit::default()
            })
        };
        put().unwrap();
        store.damage(&block.cid);
        assert!(store.block(&block.cid).is_err());
        assert!(!store.contains(&block.cid).unwrap());
        let copy = store.copy();
        put().unwrap();
        assert!(store.block(&block.cid).unwrap().is_some());
        commit(&store, 1).unwrap();
        assert_eq!(last(&copy), 0);
    }
}
