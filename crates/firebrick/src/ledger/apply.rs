//! The path of what a remote sent: blocks first, unreferenced; then, in one step, the head.

use bytes::Bytes;
use firebrick_core::cid::Codec;
use firebrick_core::clock::{self, Event, EventSource as _};
use firebrick_core::merge::{MergeError, merge_event};
use firebrick_core::pail::{PailError, Tree};
use firebrick_core::{Block, Cid};
use hashbrown::{HashMap, HashSet};

use super::origin::Mark;
use super::{Ledger, Writer};
use crate::error::{Error, Result};
use crate::lock;
use crate::store::{Commit, StoredBlock};
use crate::subscribe::Origin;

/// Private state that is saved together with blocks or a head.
pub(crate) type Records = [(String, Option<Bytes>)];

/// How the block of an event begins: a map of two, the first key `data`.
const EVENT_PREFIX: &[u8] = b"\xa2\x64data";

/// What a CAR brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ingested {
    /// Blocks that were not here before.
    pub(crate) fresh: usize,
    /// Documents and tombstones among them, as far as events name them: counted at apply.
    pub(crate) bytes: u64,
}

fn is_event(block: &Block) -> bool {
    block.cid.codec() == Codec::DagCbor && block.bytes.starts_with(EVENT_PREFIX)
}

impl Ledger {
    /// Stores verified blocks that nothing refers to yet, together with the record that says so.
    /// Events among them are marked as coming from this remote.
    pub(crate) fn ingest(
        &self,
        blocks: Vec<Block>,
        from: &str,
        records: &Records,
    ) -> Result<Ingested> {
        let from = self.mark_of(from)?;
        // A compaction that begins meanwhile waits until these are stored.
        let reclaiming = lock::read(&self.reclaiming);
        let mut done = Ingested::default();
        let mut stored = Vec::with_capacity(blocks.len());
        let mut generations: HashMap<Cid, u64> = HashMap::new();
        for block in blocks {
            let generation = self.generation_of(&block, &generations)?;
            if let Some(generation) = generation {
                generations.insert(block.cid, generation);
            }
            // An event that is here without a generation may get it now.
            let known = match generation {
                Some(_) => self.source.known_generation(&block.cid)?.is_some(),
                None => self.source.contains(&block.cid)?,
            };
            // A compaction drops no event.
            let stays = generation.is_some() || !*reclaiming;
            if known && stays && !self.source.is_lost(&block.cid) {
                continue;
            }
            done.fresh += 1;
            done.bytes += block.bytes.len() as u64;
            let generation = match generation {
                Some(generation) => from.with(generation),
                None if is_event(&block) => from.without_generation(),
                None => 0,
            };
            stored.push(StoredBlock { block, generation });
        }
        self.store().commit(&Commit {
            blocks: &stored,
            head: None,
            kv: records,
        })?;
        Ok(done)
    }

    /// The generation of a block that is an event whose parents are known: stored, or earlier in
    /// the same CAR.
    fn generation_of(&self, block: &Block, here: &HashMap<Cid, u64>) -> Result<Option<u64>> {
        if !is_event(block) {
            return Ok(None);
        }
        let Ok(event) = Event::decode(&block.bytes) else {
            return Ok(None);
        };
        let mut generation = 0;
        for parent in &event.parents {
            let known = match here.get(parent) {
                Some(known) => Some(*known),
                None => self.source.known_generation(parent)?,
            };
            let Some(known) = known else { return Ok(None) };
            generation = generation.max(known + 1);
        }
        Ok(Some(generation))
    }

    /// Saves private state alone.
    pub(crate) fn record(&self, records: &Records) -> Result<()> {
        Ok(self.store().commit(&Commit {
            blocks: &[],
            head: None,
            kv: records,
        })?)
    }

    /// Joins `heads` into the local head. Either all of it happens or nothing: if anything that
    /// the merge needs is missing, the error names the block and the ledger is as before.
    ///
    /// Returns whether the head moved.
    pub(crate) fn apply(&self, heads: &[Cid], origin: Origin, records: &Records) -> Result<bool> {
        self.ensure_writable()?;
        self.as_writer(|writer| {
            let head = writer.resolver.join(&self.source, &writer.head, heads)?;
            if head == writer.head {
                if !records.is_empty() {
                    self.record(records)?;
                }
                return Ok(false);
            }
            let reclaiming = lock::read(&self.reclaiming);
            let mut tree = self.tree_at(writer, &head)?;
            let shards = match self.shards_to_store(writer, &tree, *reclaiming) {
                Err(Error::MissingBlock { .. }) => {
                    // What the resolver remembers may lead to shards that a compaction took away.
                    writer.resolver.forget();
                    tree = self.tree_at(writer, &head)?;
                    self.shards_to_store(writer, &tree, *reclaiming)
                }
                outcome => outcome,
            }?;
            let mut blocks = self.late_generations(&head)?;
            blocks.extend(shards);
            writer.since_checkpoint = super::version::REPLAY_EVENTS_MAX;
            self.commit_version(writer, blocks, head, tree, records)?;
            self.publish(&self.snapshot_of(writer), origin);
            Ok(true)
        })
    }

    /// Makes `head` and the tree `root` those of a ledger that was empty. Checks that the events and
    /// every shard are here, and, as far as that can be told without the trees of earlier heads,
    /// that the events give the tree.
    pub(crate) fn begin_at(&self, head: &[Cid], root: Cid) -> Result<()> {
        self.ensure_writable()?;
        if head.is_empty() {
            return Ok(());
        }
        self.as_writer(|writer| {
            let given = match writer.resolver.resolve(&self.source, &self.source, head) {
                Err(MergeError::Pail(PailError::Missing(_))) => root,
                tree => tree?.root(),
            };
            if given != root {
                return Err(Error::Malformed {
                    what: "head",
                    cause: format!("its events give the root {given}, not {root}"),
                });
            }
            let tree = Tree::at(root);
            for shard in tree.shards_since(&self.source, None) {
                shard?;
            }
            let blocks = self.late_generations(head)?;
            writer.since_checkpoint = super::version::REPLAY_EVENTS_MAX;
            self.commit_version(writer, blocks, head.to_vec(), tree, &[])?;
            self.publish(&self.snapshot_of(writer), Origin::Local);
            Ok(())
        })
    }

    /// The documents at `head`, with every shard here or in memory.
    fn tree_at(&self, writer: &mut Writer, head: &[Cid]) -> Result<Tree> {
        let [only] = head else {
            // The store has the shards of checkpoints only; the writer's tree has the others.
            let own = (&writer.head[..], &writer.tree);
            let source = &self.source;
            return Ok(writer.resolver.resolve_from(source, source, head, &[own])?);
        };
        let root = self.source.event(only)?.root;
        if root == writer.tree.root() {
            return Ok(writer.tree.clone());
        }
        let tree = Tree::at(root);
        let complete = tree
            .shards_since(&self.source, Some(&writer.tree))
            .try_for_each(|shard| shard.map(drop));
        match complete {
            Ok(()) => Ok(tree),
            Err(PailError::Missing(shard)) => self.rebuild(writer, head, root, shard),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that every shard of a new tree is here, and answers those that have to be stored once
    /// more: only a cache has them, or a compaction is about to drop them.
    fn shards_to_store(
        &self,
        writer: &Writer,
        tree: &Tree,
        reclaiming: bool,
    ) -> Result<Vec<StoredBlock>> {
        let unsaved: HashSet<Cid> = tree.unsaved().iter().map(|block| block.cid).collect();
        let mut again = Vec::new();
        for shard in tree.shards_since(&self.source, Some(&writer.tree)) {
            let shard = shard?;
            if !unsaved.contains(&shard.cid) && (reclaiming || !self.source.contains(&shard.cid)?) {
                again.push(shard.into());
            }
        }
        Ok(again)
    }

    /// The tree is canonical, so the operations since the local head may give the same root even
    /// where a compaction or a lost CAR took shards away.
    fn rebuild(&self, writer: &Writer, head: &[Cid], root: Cid, missing: Cid) -> Result<Tree> {
        let mut tree = writer.tree.clone();
        for event in clock::difference(&self.source, head, &writer.head)? {
            let event = self.source.event(&event)?;
            tree = tree.batch(&self.source, event.puts())?;
        }
        if tree.root() == root {
            Ok(tree)
        } else {
            Err(Error::MissingBlock {
                cid: missing,
                id: None,
            })
        }
    }

    /// Events that came before their parents did, with the generation that is known by now.
    fn late_generations(&self, head: &[Cid]) -> Result<Vec<StoredBlock>> {
        for event in head {
            self.source.generation(event)?;
        }
        let mut blocks = Vec::new();
        for (cid, generation) in self.source.take_derived() {
            if let Some(bytes) = self.store().block(&cid)? {
                let mark = Mark::of(self.store().generation(&cid)?.unwrap_or_default());
                blocks.push(StoredBlock {
                    block: Block { cid, bytes },
                    generation: mark.with(generation),
                });
            }
        }
        Ok(blocks)
    }

    /// Replaces several heads by the one merge event that every replica would make of them
    /// (see [`merge_event`]), if they are still the head.
    pub(crate) fn pin(&self, heads: &[Cid]) -> Result<bool> {
        self.ensure_writable()?;
        self.as_writer(|writer| {
            if writer.head != heads || heads.len() < 2 {
                return Ok(false);
            }
            let mut generation = 0;
            for event in heads {
                generation = generation.max(self.source.generation(event)?);
            }
            let block = merge_event(heads, writer.tree.root()).encode();
            let (head, tree) = (vec![block.cid], writer.tree.clone());
            let blocks = vec![StoredBlock {
                block,
                generation: Mark::LOCAL.with(generation + 1),
            }];
            self.commit_version(writer, blocks, head, tree, &[])?;
            self.publish(&self.snapshot_of(writer), Origin::Local);
            Ok(true)
        })
    }
}
