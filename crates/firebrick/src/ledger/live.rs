//! Which blocks are needed: the mark of a compaction.

use std::sync::Arc;

use firebrick_core::clock::{self, EventSource};
use firebrick_core::pail::{PailError, Shard, Tree};
use firebrick_core::{Cid, document, genesis};
use hashbrown::{HashMap, HashSet};

use super::{Ledger, Snapshot};
use crate::compaction::Retention;
use crate::error::Result;
use crate::lock;

/// A part of the library that needs blocks beyond documents, events and their trees. Blocks of kinds
/// that nobody owns are never dropped.
pub(crate) trait LiveRoots: Send + Sync {
    /// Names the blocks that are needed. Called while writers go on, after the compaction has begun:
    /// what is committed from then on stays by itself.
    fn mark(&self, ledger: &Ledger, live: &mut Live) -> Result<()>;

    /// Whether a block is of the kind that [`mark`](Self::mark) names where it is needed, so that
    /// one which was not named can go.
    fn owns(&self, cid: &Cid, bytes: &[u8]) -> bool {
        let _ = (cid, bytes);
        false
    }
}

/// What a compaction keeps.
#[derive(Default)]
pub(crate) struct Live {
    events: HashSet<Cid>,
    keep: HashSet<Cid>,
    /// Values of replaced versions. What is kept is kept nevertheless.
    replaced: HashSet<Cid>,
}

impl Live {
    /// Keeps a block.
    pub(crate) fn keep(&mut self, cid: Cid) {
        self.keep.insert(cid);
    }

    /// Keeps all shards of a tree, as far as they are here, and what they refer to.
    pub(crate) fn keep_tree(&mut self, ledger: &Ledger, tree: &Tree, beside: &Tree) -> Result<()> {
        for shard in tree.shards_since(&ledger.source, Some(beside)) {
            match shard {
                Ok(shard) => self.keep_shard(shard.cid, &shard.bytes),
                // It was not complete before either.
                Err(PailError::Missing(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether an event is in the past of the head.
    pub(crate) fn is_applied(&self, event: &Cid) -> bool {
        self.events.contains(event)
    }

    pub(crate) fn is_kept(&self, cid: &Cid) -> bool {
        self.events.contains(cid) || self.keep.contains(cid)
    }

    pub(crate) fn is_replaced(&self, cid: &Cid) -> bool {
        self.replaced.contains(cid)
    }

    pub(crate) fn replaced(&self) -> impl Iterator<Item = &Cid> {
        self.replaced.iter().filter(|cid| !self.is_kept(cid))
    }

    fn keep_shard(&mut self, cid: Cid, bytes: &bytes::Bytes) {
        self.keep.insert(cid);
        if let Ok(shard) = Shard::decode(bytes) {
            let values = shard.entries().filter_map(|entry| entry.value);
            self.keep.extend(values);
        }
    }
}

impl Ledger {
    /// Lets a part of the library keep its blocks.
    pub(crate) fn keep_alive(&self, roots: Arc<dyn LiveRoots>) {
        lock::write(&self.live_roots).push(roots);
    }

    pub(super) fn live_roots(&self) -> Vec<Arc<dyn LiveRoots>> {
        lock::read(&self.live_roots).clone()
    }

    /// Everything that a compaction has to keep as of now.
    pub(super) fn mark(&self, retention: Retention) -> Result<Live> {
        let mut live = Live::default();
        let snapshot = match self.read_only {
            true => self.snapshot(),
            false => self.saved_snapshot()?,
        };
        for block in [
            &genesis::GENESIS.document,
            &genesis::GENESIS.root,
            &document::TOMBSTONE,
        ] {
            live.keep(block.cid);
        }
        for shard in snapshot.tree.shards_since(&self.source, None) {
            let shard = shard?;
            live.keep_shard(shard.cid, &shard.bytes);
        }
        self.mark_versions(&snapshot.head, retention, &mut live)?;
        // What the walk of `changes` shows, here and where JavaScript reads what is pushed.
        for change in clock::changes_since(&self.source, &snapshot.head, &[], None)? {
            live.keep(change.value);
        }
        for held in self.held_snapshots() {
            self.mark_held(&held, &snapshot, &mut live)?;
        }
        for roots in self.live_roots() {
            roots.mark(self, &mut live)?;
        }
        Ok(live)
    }

    fn mark_versions(&self, head: &[Cid], retention: Retention, live: &mut Live) -> Result<()> {
        let (limit, since) = match retention {
            Retention::All => (u32::MAX, None),
            Retention::Versions(count) => (count, None),
            Retention::Age(age) => match self.head_before(age)? {
                None => (u32::MAX, None),
                Some(head) => (1, Some(head)),
            },
        };
        let recent: HashSet<Cid> = match &since {
            None => HashSet::new(),
            Some(since) => clock::difference(&self.source, head, since)?
                .into_iter()
                .collect(),
        };
        let mut counts: HashMap<String, u32> = HashMap::new();
        clock::writes(&self.source, head, |event, versions| {
            live.events.insert(*event);
            for version in versions {
                let mut kept = !version.superseded || limit == u32::MAX || recent.contains(event);
                if limit > 1 && limit < u32::MAX {
                    let count = counts.entry_ref(version.key).or_default();
                    kept |= *count < limit;
                    *count += 1;
                }
                let set = if kept {
                    &mut live.keep
                } else {
                    &mut live.replaced
                };
                set.insert(version.value);
            }
        })?;
        if let Some(since) = since {
            // What was present when the span began.
            clock::writes(&self.source, &since, |_, versions| {
                let present = versions.iter().filter(|version| !version.superseded);
                live.keep.extend(present.map(|version| version.value));
            })?;
        }
        Ok(())
    }

    /// What readers of an earlier version may still ask for.
    fn mark_held(&self, held: &Snapshot, newest: &Snapshot, live: &mut Live) -> Result<()> {
        for state in held.indexes.values() {
            live.keep_index(self, state)?;
        }
        live.keep_tree(self, &held.tree, &newest.tree)
    }

    /// Remembers a version that somebody goes on reading although a newer one is published.
    pub(super) fn hold(&self, snapshot: &Arc<Snapshot>) {
        // The ledger's own reference does not count.
        if Arc::strong_count(snapshot) > 1 {
            let mut held = lock::lock(&self.held);
            held.retain(|snapshot| snapshot.strong_count() > 0);
            held.push(Arc::downgrade(snapshot));
        }
    }

    fn held_snapshots(&self) -> Vec<Arc<Snapshot>> {
        let held = lock::lock(&self.held);
        let mut snapshots: Vec<_> = held.iter().filter_map(std::sync::Weak::upgrade).collect();
        drop(held);
        snapshots.push(self.snapshot());
        snapshots
    }

    /// The error for a version's value that is not here: dropped, if another one has taken its
    /// place.
    pub(crate) fn absent_version(
        &self,
        snapshot: &Snapshot,
        id: &str,
        cid: Cid,
    ) -> Result<crate::Error> {
        let present = snapshot.tree.get(&self.source, id)?;
        Ok(match present == Some(cid) {
            true => super::missing_document(cid, id),
            false => crate::Error::Compacted {
                cid,
                id: id.to_owned(),
            },
        })
    }
}

/// Whether an event is here, with all that came before it, and not yet part of the ledger.
pub(crate) fn is_waiting_event(ledger: &Ledger, live: &Live, cid: &Cid) -> bool {
    !live.is_applied(cid)
        && ledger
            .source
            .known_generation(cid)
            .is_ok_and(|generation| generation.is_some())
        && ledger.source.event(cid).is_ok()
}
