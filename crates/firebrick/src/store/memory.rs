//! A store without a disk.

use std::collections::BTreeMap;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use firebrick_core::Cid;
use hashbrown::{HashMap, HashSet};

use super::{Commit, Compaction, Fate, Sieve, Store, StoreError, StoreStats};
use crate::lock;

/// A [`Store`] in memory: for tests, for throw-away databases, and as the simplest model of what a
/// store does.
///
/// ```
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// store.commit(&Commit { head: Some(&[block.cid]), ..Commit::default() })?;
/// assert_eq!(store.head(), [block.cid]);
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
#[derive(Default, Debug)]
pub struct MemoryStore {
    state: RwLock<State>,
}

/// The content of a store, as plain as it can be.
#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    pub(crate) head: Vec<Cid>,
    pub(crate) kv: BTreeMap<String, Bytes>,
    pub(crate) blocks: HashMap<Cid, (Bytes, u64)>,
    pub(crate) sequence: u64,
    /// What was committed since a run of [`Store::reclaim`] began.
    pub(crate) fresh: Option<HashSet<Cid>>,
    closed: bool,
}

impl MemoryStore {
    /// An empty store.
    ///
    /// ```
    /// use firebrick::store::{MemoryStore, Store};
    /// assert_eq!(MemoryStore::new().stats().blocks, 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An open store with the same content, independent from now on: what a copied directory is on
    /// disk, and the way to "reopen" a closed one.
    ///
    /// ```
    /// # use firebrick::core::Block;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{Commit, MemoryStore, Store};
    /// # let store = MemoryStore::new();
    /// # let block = Block::new(Codec::Raw, "hello");
    /// store.close()?;
    /// let copy = store.copy();
    /// copy.commit(&Commit { head: Some(&[block.cid]), ..Commit::default() })?; // it is open
    /// assert!(store.head().is_empty());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = State {
            closed: false,
            ..self.read().clone()
        };
        Self {
            state: RwLock::new(state),
        }
    }

    // A panic elsewhere cannot leave the state half changed: `apply` does not panic.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        lock::read(&self.state)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        lock::write(&self.state)
    }
}

impl State {
    pub(crate) fn apply(&mut self, commit: &Commit<'_>) {
        for stored in commit.blocks {
            let entry = self
                .blocks
                .entry(stored.block.cid)
                .or_insert_with(|| (stored.block.bytes.clone(), stored.generation));
            entry.1 = entry.1.max(stored.generation);
            if let Some(fresh) = &mut self.fresh {
                fresh.insert(stored.block.cid);
            }
        }
        if let Some(head) = commit.head {
            self.head = head.to_vec();
        }
        apply_kv(&mut self.kv, commit.kv);
        self.sequence += 1;
    }

    /// Removes blocks, unless they were committed again meanwhile.
    pub(crate) fn remove(&mut self, doomed: &[Cid]) {
        let fresh = self.fresh.take().unwrap_or_default();
        for cid in doomed.iter().filter(|cid| !fresh.contains(*cid)) {
            self.blocks.remove(cid);
        }
    }

    fn block_bytes(&self) -> u64 {
        self.blocks
            .values()
            .map(|(bytes, _)| bytes.len() as u64)
            .sum()
    }

    pub(crate) fn stats(&self) -> StoreStats {
        StoreStats {
            sequence: self.sequence,
            synced_sequence: self.sequence,
            blocks: self.blocks.len() as u64,
            kv_entries: self.kv.len() as u64,
            kv_bytes: kv_bytes(&self.kv),
            log_bytes: self.block_bytes(),
            ..StoreStats::default()
        }
    }
}

/// Asks a sieve about blocks; those to remove, or `None` if it ends the run.
pub(crate) fn sift(
    sieve: &mut dyn Sieve,
    blocks: impl IntoIterator<Item = (Cid, Bytes)>,
) -> Option<(Vec<Cid>, Compaction)> {
    let mut done = Compaction::default();
    let mut doomed = Vec::new();
    for (cid, bytes) in blocks {
        let kept = match sieve.fate(&cid) {
            Fate::Keep => true,
            Fate::Drop => false,
            Fate::Look => sieve.keeps(&cid, &bytes),
            Fate::Stop => return None,
        };
        let len = bytes.len() as u64;
        if kept {
            done.kept_blocks += 1;
            done.kept_bytes += len;
        } else {
            done.dropped_blocks += 1;
            done.dropped_bytes += len;
            doomed.push(cid);
        }
    }
    done.bytes_before = done.kept_bytes + done.dropped_bytes;
    done.bytes_after = done.bytes_before;
    Some((doomed, done))
}

/// Sets and removes.
pub(crate) fn apply_kv(kv: &mut BTreeMap<String, Bytes>, changes: &[(String, Option<Bytes>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => {
                kv.insert(key.clone(), value.clone());
            }
            None => {
                kv.remove(key);
            }
        }
    }
}

/// All entries whose key begins with `prefix`.
pub(crate) fn kv_prefix(kv: &BTreeMap<String, Bytes>, prefix: &str) -> Vec<(String, Bytes)> {
    kv.range::<str, _>((
        std::ops::Bound::Included(prefix),
        std::ops::Bound::Unbounded,
    ))
    .take_while(|(key, _)| key.starts_with(prefix))
    .map(|(key, value)| (key.clone(), value.clone()))
    .collect()
}

/// Bytes of keys and values.
pub(crate) fn kv_bytes(kv: &BTreeMap<String, Bytes>) -> u64 {
    kv.iter()
        .map(|(key, value)| (key.len() + value.len()) as u64)
        .sum()
}

impl Store for MemoryStore {
    fn head(&self) -> Vec<Cid> {
        self.read().head.clone()
    }

    fn kv(&self, key: &str) -> Option<Bytes> {
        self.read().kv.get(key).cloned()
    }

    fn kv_prefix(&self, prefix: &str) -> Vec<(String, Bytes)> {
        kv_prefix(&self.read().kv, prefix)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().blocks.get(cid).map(|(bytes, _)| bytes.clone()))
    }

    fn generation(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(self
            .read()
            .blocks
            .get(cid)
            .map(|(_, generation)| *generation))
    }

    fn contains(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.read().blocks.contains_key(cid))
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let mut state = self.write();
        if state.closed {
            return Err(StoreError::Closed);
        }
        state.apply(commit);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        if self.read().closed {
            return Err(StoreError::Closed);
        }
        Ok(())
    }

    fn maintain(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reclaim(
        &self,
        sieve: &mut dyn Sieve,
        dry_run: bool,
    ) -> Result<Option<Compaction>, StoreError> {
        if self.read().closed {
            return Err(StoreError::Closed);
        }
        self.write().fresh = Some(HashSet::new());
        let blocks: Vec<(Cid, Bytes)> = {
            let state = self.read();
            let blocks = state.blocks.iter();
            blocks
                .map(|(cid, (bytes, _))| (*cid, bytes.clone()))
                .collect()
        };
        let sifted = sieve.begin().then(|| sift(sieve, blocks)).flatten();
        let mut state = self.write();
        let Some((doomed, mut done)) = sifted else {
            state.fresh = None;
            return Ok(None);
        };
        state.remove(if dry_run { &[] } else { &doomed });
        if !dry_run {
            done.bytes_after = state.block_bytes();
        }
        Ok(Some(done))
    }

    fn close(&self) -> Result<(), StoreError> {
        self.write().closed = true;
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        self.read().stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredBlock;
    use firebrick_core::{Block, cid::Codec};

    #[test]
    fn a_commit_changes_everything_it_names() {
        let store = MemoryStore::new();
        let block = Block::new(Codec::Raw, "hello");
        let kv = [
            ("a/1".to_owned(), Some(Bytes::from("x"))),
            ("a/2".to_owned(), Some(Bytes::from("y"))),
            ("b".to_owned(), Some(Bytes::from("z"))),
        ];
        store
            .commit(&Commit {
                blocks: &[StoredBlock {
                    block: block.clone(),
                    generation: 3,
                }],
                head: Some(&[block.cid]),
                kv: &kv,
            })
            .unwrap();
        assert_eq!(store.head(), [block.cid]);
        assert_eq!(store.block(&block.cid).unwrap(), Some(block.bytes.clone()));
        assert_eq!(store.generation(&block.cid).unwrap(), Some(3));
        assert_eq!(store.kv_prefix("a/").len(), 2);

        // A later generation of 0 means "not known" and does not replace the known one.
        store
            .commit(&Commit {
                blocks: &[block.clone().into()],
                kv: &[("a/1".to_owned(), None)],
                ..Commit::default()
            })
            .unwrap();
        assert_eq!(store.generation(&block.cid).unwrap(), Some(3));
        assert_eq!(store.head(), [block.cid]);
        assert_eq!(store.kv_prefix("a/").len(), 1);
    }
}
