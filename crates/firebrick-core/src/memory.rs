//! Blocks in memory, as a source of shards and events: for tests, benches and small tools.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hashbrown::HashMap;

use crate::block::Block;
use crate::cid::Cid;
use crate::clock::{ClockError, Event, EventSource};
use crate::ordered::{Node, NodeSource, TreeError};
use crate::pail::{PailError, Shard, ShardSource, Tree};

/// A set of blocks that answers as [`ShardSource`] and as [`EventSource`].
///
/// Blocks come in any order; a generation is computed when somebody asks for it and the events
/// that it needs are there.
#[derive(Debug, Default)]
pub struct MemoryBlocks {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    blocks: HashMap<Cid, Stored>,
    generations: HashMap<Cid, u64>,
}

#[derive(Debug)]
enum Stored {
    Shard(Shard),
    /// With its bytes if encoding the event gives others.
    Event(Arc<Event>, Option<Bytes>),
    Other(Bytes),
}

impl MemoryBlocks {
    /// No blocks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a block.
    pub fn insert(&self, block: &Block) {
        let stored = if let Ok(shard) = Shard::decode(&block.bytes) {
            Stored::Shard(shard)
        } else if let Ok(event) = Event::decode(&block.bytes) {
            let bytes = (!event.parents.is_sorted()).then(|| block.bytes.clone());
            Stored::Event(Arc::new(event), bytes)
        } else {
            Stored::Other(block.bytes.clone())
        };
        self.inner().blocks.insert(block.cid, stored);
    }

    /// Adds an event and tells its CID.
    pub fn add(&self, event: Event) -> Cid {
        let cid = event.encode().cid;
        let mut inner = self.inner();
        inner
            .blocks
            .insert(cid, Stored::Event(Arc::new(event), None));
        cid
    }

    /// Stores the unsaved shards of `tree` and returns the saved version.
    pub fn save(&self, tree: &Tree) -> Tree {
        for block in tree.unsaved() {
            self.insert(&block);
        }
        tree.saved()
    }

    /// Forgets a block. Tells whether it was there.
    pub fn remove(&self, cid: &Cid) -> bool {
        self.inner().blocks.remove(cid).is_some()
    }

    /// The block with this CID.
    #[must_use]
    pub fn block(&self, cid: &Cid) -> Option<Block> {
        let bytes = match self.inner().blocks.get(cid)? {
            Stored::Shard(shard) => shard.to_bytes(),
            Stored::Event(event, bytes) => match bytes {
                Some(bytes) => bytes.clone(),
                None => event.encode().bytes,
            },
            Stored::Other(bytes) => bytes.clone(),
        };
        Some(Block { cid: *cid, bytes })
    }

    /// The number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner().blocks.len()
    }

    /// Whether there are no blocks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ShardSource for MemoryBlocks {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        match self.inner().blocks.get(cid) {
            Some(Stored::Shard(shard)) => Ok(shard.clone()),
            Some(_) => Err(PailError::Invalid {
                cid: *cid,
                reason: "it is another kind of block",
            }),
            None => Err(PailError::Missing(*cid)),
        }
    }
}

impl NodeSource for MemoryBlocks {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>, TreeError> {
        let block = self.block(cid).ok_or(TreeError::Missing(*cid))?;
        let node = Node::decode(&block.bytes);
        node.map(Arc::new)
            .map_err(|reason| TreeError::Invalid { cid: *cid, reason })
    }
}

impl Inner {
    fn event(&self, cid: &Cid) -> Result<&Arc<Event>, ClockError> {
        match self.blocks.get(cid) {
            Some(Stored::Event(event, _)) => Ok(event),
            Some(Stored::Shard(_) | Stored::Other(_)) => Err(ClockError::Invalid {
                cid: *cid,
                reason: "it is another kind of block".into(),
            }),
            None => Err(ClockError::Missing(*cid)),
        }
    }
}

impl EventSource for MemoryBlocks {
    fn event(&self, cid: &Cid) -> Result<Arc<Event>, ClockError> {
        self.inner().event(cid).cloned()
    }

    fn generation(&self, cid: &Cid) -> Result<u64, ClockError> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        if let Some(known) = inner.generations.get(cid) {
            return Ok(*known);
        }
        let mut stack = vec![*cid];
        while let Some(top) = stack.last().copied() {
            if inner.generations.contains_key(&top) {
                stack.pop();
                continue;
            }
            let before = stack.len();
            let mut generation = 0;
            for parent in &inner.event(&top)?.parents {
                match inner.generations.get(parent) {
                    Some(known) => generation = generation.max(known + 1),
                    None => stack.push(*parent),
                }
            }
            if stack.len() == before {
                inner.generations.insert(top, generation);
                stack.pop();
            }
        }
        inner
            .generations
            .get(cid)
            .copied()
            .ok_or(ClockError::Missing(*cid))
    }
}
