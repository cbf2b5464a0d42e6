//! The writer's version: how it moves, and when all of it is in the store.
//!
//! A commit stores documents and events. Shards and index nodes stay in memory until a checkpoint,
//! which stores them together with the head, the root and the indexes that belong to them; opening
//! replays the events since. Every commit, local or from a remote, moves the version here.

use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::pail::Tree;

use super::recover::{CHECKPOINT, Checkpoint};
use super::{Ledger, Snapshot, Writer};
use crate::error::Result;
use crate::index::{self, Entry, IndexSet, IndexState, Obstacle};
use crate::store::{Commit, StoredBlock};

/// Shards that may be in memory only before a commit saves them.
const UNSAVED_BYTES_MAX: usize = 2 << 20;
/// Events that opening may have to replay after a crash.
pub(super) const REPLAY_EVENTS_MAX: u64 = 4096;

impl Ledger {
    /// Makes `head` and `tree` the writer's version, in one atomic append to the store.
    pub(super) fn commit_version(
        &self,
        writer: &mut Writer,
        mut blocks: Vec<StoredBlock>,
        head: Vec<Cid>,
        tree: Tree,
        kv: &[(String, Option<Bytes>)],
    ) -> Result<()> {
        let replayable = writer.since_checkpoint < REPLAY_EVENTS_MAX && head.len() == 1;
        let indexes = self.advance_indexes(&writer.indexes, &tree, &blocks);
        let unsaved = tree.unsaved_bytes() + index::unsaved_bytes(&indexes);
        let checkpoint = !replayable || unsaved > UNSAVED_BYTES_MAX;
        let mut kv = kv.to_vec();
        let (tree, indexes) = if checkpoint {
            self.save_version(&head, &tree, &indexes, &mut blocks, &mut kv)
        } else {
            (tree, indexes)
        };
        self.store().commit(&Commit {
            blocks: &blocks,
            head: Some(&head),
            kv: &kv,
        })?;
        writer.since_checkpoint = if checkpoint {
            0
        } else {
            writer.since_checkpoint + 1
        };
        writer.head = head;
        writer.tree = tree;
        writer.indexes = indexes;
        writer.sequence += 1;
        Ok(())
    }

    pub(super) fn snapshot_of(&self, writer: &Writer) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            head: writer.head.clone(),
            tree: writer.tree.clone(),
            sequence: writer.sequence,
            indexes: Arc::clone(&writer.indexes),
        })
    }

    /// The newest version, with every shard in the store: what a remote is told of must not hang
    /// on this process's memory, and the next opening replays nothing.
    pub(crate) fn saved_snapshot(&self) -> Result<Arc<Snapshot>> {
        self.as_writer(|writer| {
            if writer.since_checkpoint > 0 {
                self.checkpoint(writer)?;
            }
            Ok(self.snapshot_of(writer))
        })
    }

    /// Stores what the writer's version has in memory only.
    fn checkpoint(&self, writer: &mut Writer) -> Result<()> {
        let (mut blocks, mut kv) = (Vec::new(), Vec::new());
        let (tree, indexes) = self.save_version(
            &writer.head,
            &writer.tree,
            &writer.indexes,
            &mut blocks,
            &mut kv,
        );
        self.store().commit(&Commit {
            blocks: &blocks,
            head: None,
            kv: &kv,
        })?;
        writer.since_checkpoint = 0;
        writer.tree = tree;
        writer.indexes = indexes;
        Ok(())
    }

    /// Adds to a commit what a checkpoint of this version stores. Returns the tree and the indexes
    /// as they are then: with nothing in memory only.
    fn save_version(
        &self,
        head: &[Cid],
        tree: &Tree,
        indexes: &IndexSet,
        blocks: &mut Vec<StoredBlock>,
        kv: &mut Vec<(String, Option<Bytes>)>,
    ) -> (Tree, IndexSet) {
        blocks.extend(tree.unsaved().into_iter().map(StoredBlock::from));
        let record = Checkpoint {
            head: head.to_vec(),
            root: tree.root(),
        };
        self.mark_age(head, kv);
        kv.push((CHECKPOINT.to_owned(), Some(record.encode())));
        let indexes = self.save_indexes(indexes, blocks, kv);
        (tree.saved(), indexes)
    }

    /// Lets an index follow every commit from now on. `bring` gets it from where it is to the
    /// newest documents, while the writer waits.
    pub(crate) fn adopt_index(
        &self,
        entry: &Entry,
        bring: impl FnOnce(&Tree) -> Result<IndexState, Obstacle>,
    ) -> Result<(), Obstacle> {
        self.as_writer(|writer| {
            if !self.indexes.has(entry) {
                return Err(Obstacle::Function("it was dropped".into()));
            }
            let state = Arc::new(bring(&writer.tree)?);
            let is_new = !entry.is_stored(&state, self.store());
            let before = Arc::clone(&writer.indexes);
            let mut indexes = (*before).clone();
            indexes.insert(entry.id.clone(), Arc::clone(&state));
            writer.indexes = Arc::new(indexes);
            if is_new && let Err(error) = self.checkpoint(writer) {
                writer.indexes = before;
                return Err(Obstacle::Other(error));
            }
            entry.set_ready(writer.indexes.get(&entry.id).cloned());
            self.publish_indexes(writer.sequence, &writer.indexes);
            Ok(())
        })
    }

    /// Lets no commit be followed by this index any more.
    pub(crate) fn remove_index(&self, id: &str) {
        self.as_writer(|writer| {
            if writer.indexes.contains_key(id) {
                let mut indexes = (*writer.indexes).clone();
                indexes.remove(id);
                writer.indexes = Arc::new(indexes);
                self.publish_indexes(writer.sequence, &writer.indexes);
            }
        });
    }
}
