//! Where the ledger and its indexes meet: the commit, the checkpoint, and the queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::pail::Tree;

use super::definition::Index;
use super::registry::{Entry, IndexInfo, IndexStatus, RECORDS};
use super::state::{IndexSet, IndexState, Obstacle, Record};
use crate::error::{Error, Result};
use crate::ledger::{Ledger, Snapshot};
use crate::store::StoredBlock;

/// Changed documents that a commit looks at. Beyond, the index follows in the background, so that
/// the first sync of a large database does not hold up writers.
const CHANGES_PER_COMMIT: usize = 20_000;

/// Unsaved bytes of all indexes.
pub(crate) fn unsaved_bytes(indexes: &IndexSet) -> usize {
    let bytes = indexes.values().map(|state| state.entries.unsaved_bytes());
    bytes.sum()
}

impl Ledger {
    /// The indexes for the next version of the documents. One that cannot follow is left out; it is
    /// brought up to date in the background, or marked as failed.
    pub(crate) fn advance_indexes(
        &self,
        indexes: &IndexSet,
        to: &Tree,
        blocks: &[StoredBlock],
    ) -> IndexSet {
        if indexes.is_empty() {
            return Arc::clone(indexes);
        }
        let small = blocks.len() <= 4;
        let by_cid: hashbrown::HashMap<Cid, &Bytes> = blocks
            .iter()
            .filter(|_| !small)
            .map(|stored| (stored.block.cid, &stored.block.bytes))
            .collect();
        let fresh = |cid: &Cid| match small {
            true => {
                let found = blocks.iter().find(|stored| stored.block.cid == *cid);
                found.map(|stored| stored.block.bytes.clone())
            }
            false => by_cid.get(cid).map(|bytes| (*bytes).clone()),
        };
        let mut next = BTreeMap::new();
        for (id, state) in indexes.iter() {
            let Some(entry) = self.indexes.get(id) else {
                continue;
            };
            let advanced = state.advance(
                &entry.definition,
                &self.source,
                &fresh,
                to,
                CHANGES_PER_COMMIT,
            );
            match advanced {
                Ok(state) => {
                    next.insert(id.clone(), Arc::new(state));
                }
                Err(obstacle) => self.stop_following(&entry, state, obstacle),
            }
        }
        Arc::new(next)
    }

    fn stop_following(&self, entry: &Arc<Entry>, state: &Arc<IndexState>, obstacle: Obstacle) {
        match obstacle {
            Obstacle::Function(cause) => entry.fail(Error::IndexFailed {
                name: entry.name(),
                cause,
            }),
            Obstacle::Stale(cause) => {
                tracing::warn!(index = entry.name(), cause, "an index is made anew");
                entry.set_latest(None);
                self.start_build(entry, true);
            }
            Obstacle::TooMany => {
                entry.set_latest(Some(Arc::clone(state)));
                self.start_build(entry, true);
            }
            // What is missing may arrive, and then the next query finds the index as it was.
            Obstacle::Other(error) => {
                self.source.note_unreadable(&error);
                entry.set_latest(Some(Arc::clone(state)));
                entry.status.send_replace(IndexStatus::Idle);
            }
        }
    }

    /// What a checkpoint stores of the indexes, and the versions that have nothing in memory then.
    pub(crate) fn save_indexes(
        &self,
        indexes: &IndexSet,
        blocks: &mut Vec<StoredBlock>,
        kv: &mut Vec<(String, Option<Bytes>)>,
    ) -> IndexSet {
        let mut saved = BTreeMap::new();
        for (id, state) in indexes.iter() {
            let Some(entry) = self.indexes.get(id) else {
                continue;
            };
            let (state, nodes) = state.save(&self.source);
            blocks.extend(nodes.into_iter().map(StoredBlock::from));
            let record = state.record(entry.definition.version());
            kv.push((entry.key(), Some(record)));
            saved.insert(id.clone(), Arc::new(state));
        }
        Arc::new(saved)
    }

    /// The index as of `snapshot`, which may be older or newer than what the index has seen.
    pub(crate) fn index_at(
        &self,
        entry: &Arc<Entry>,
        snapshot: &Snapshot,
    ) -> Result<Arc<IndexState>> {
        if let Some(state) = snapshot.indexes.get(&entry.id) {
            return Ok(Arc::clone(state));
        }
        let Some(state) = entry.latest(&self.source) else {
            return Err(Error::IndexDamaged { name: entry.name() });
        };
        if state.covered.root() == snapshot.tree.root() {
            self.indexes.hold(&state);
            return Ok(state);
        }
        let moved = state.advance(
            &entry.definition,
            &self.source,
            &|_| None,
            &snapshot.tree,
            usize::MAX,
        );
        let moved = moved
            .map(Arc::new)
            .inspect(|state| self.indexes.hold(state));
        moved.map_err(|obstacle| match obstacle {
            Obstacle::Function(cause) => Error::IndexFailed {
                name: entry.name(),
                cause,
            },
            Obstacle::Other(error) => error,
            Obstacle::TooMany | Obstacle::Stale(_) => Error::IndexDamaged { name: entry.name() },
        })
    }

    /// What is known of the index, at whatever version.
    pub(crate) fn index_known(&self, entry: &Entry) -> Option<Arc<IndexState>> {
        let state = self.snapshot().indexes.get(&entry.id).cloned();
        state.or_else(|| entry.latest(&self.source))
    }

    /// Makes the indexes of the store's records follow the head again, after opening.
    pub(crate) fn start_indexes(self: &Arc<Self>) {
        // Fails only if it is there already.
        let _ = self.indexes.ledger.set(Arc::downgrade(self));
        if self.read_only {
            return;
        }
        for entry in self.indexes.all() {
            self.start_build(&entry, false);
        }
    }

    /// Gives an index up as it is, so that the next query makes it anew.
    pub(crate) fn forget_index(&self, entry: &Entry) -> Result<()> {
        entry.set_latest(None);
        entry.status.send_replace(IndexStatus::Idle);
        if self.read_only {
            return Ok(());
        }
        self.remove_index(&entry.id);
        self.record(&[(entry.key(), None)])
    }

    /// Forgets an index altogether; `false` if there was none.
    pub(crate) fn drop_index(&self, index: &Index) -> Result<bool> {
        self.ensure_writable()?;
        let mut ids = vec![];
        if let super::definition::Kind::Named(name) = &index.kind {
            ids.push(super::definition::map_id(name));
        }
        let kind = index.kind.clone();
        ids.push(super::definition::Definition::try_from(kind)?.id());
        for id in ids {
            if self.drop_index_of(&id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn drop_index_of(&self, id: &str) -> Result<bool> {
        let key = format!("{RECORDS}{id}");
        let entry = self.indexes.get(id);
        if entry.is_none() && self.store().kv(&key).is_none() {
            return Ok(false);
        }
        self.indexes.remove(id);
        self.remove_index(id);
        self.record(&[(key, None)])?;
        if let Some(entry) = entry {
            entry.set_latest(None);
            entry.status.send_replace(IndexStatus::Idle);
        }
        Ok(true)
    }

    /// The stored indexes: id, name and the root of the rows.
    fn stored_indexes(&self) -> impl Iterator<Item = (String, String, Option<Cid>)> {
        let records = self.store().kv_prefix(RECORDS).into_iter();
        records.map(|(key, record)| {
            let id = key[RECORDS.len()..].to_owned();
            let entry = self.indexes.get(&id);
            let name = entry.map_or_else(|| id.clone(), |entry| entry.name());
            let root = Record::decode(&record).ok();
            (id, name, root.and_then(|record| record.entries))
        })
    }

    /// The roots of the indexes as they are stored, by the names of the indexes.
    pub(crate) fn index_roots(&self) -> Vec<(String, Cid)> {
        let stored = self.stored_indexes();
        stored
            .filter_map(|(_, name, root)| Some((name, root?)))
            .collect()
    }

    /// Drops the stored indexes of this name; the next query makes them anew.
    pub(crate) fn give_up_index(&self, damaged: &str) -> Result<()> {
        let stored: Vec<_> = self.stored_indexes().collect();
        for (id, name, _) in stored {
            if name == damaged {
                self.drop_index_of(&id)?;
            }
        }
        Ok(())
    }

    /// All indexes: those of this session, and those that only the store knows.
    pub(crate) fn index_infos(&self) -> Vec<IndexInfo> {
        let mut infos: Vec<IndexInfo> = Vec::new();
        let entries = self.indexes.all();
        for entry in &entries {
            let state = self.index_known(entry);
            infos.push(IndexInfo {
                name: entry.name(),
                is_map: entry.is_map(),
                version: entry.definition.version(),
                status: entry.status.borrow().clone(),
                rows: state.as_ref().map_or(0, |state| state.entries.len()),
                blocks: state.as_ref().map_or(0, |state| state.blocks(&self.source)),
                skipped: state.as_ref().map_or(0, |state| state.skipped),
            });
        }
        for (key, record) in self.store().kv_prefix(RECORDS) {
            let id = &key[RECORDS.len()..];
            let Ok(record) = Record::decode(&record) else {
                continue;
            };
            if entries.iter().any(|entry| entry.id == id) {
                continue;
            }
            let state = record.state(&self.source).ok();
            infos.push(IndexInfo {
                name: id.strip_prefix("map:").unwrap_or(id).to_owned(),
                is_map: true,
                version: record.version,
                status: IndexStatus::Unregistered,
                rows: state.as_ref().map_or(0, |state| state.entries.len()),
                blocks: state.map_or(0, |state| state.blocks(&self.source)),
                skipped: record.skipped,
            });
        }
        infos
    }
}
