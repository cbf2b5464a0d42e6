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
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// # use firebrick_core::pail::ShardSource;
/// let tree = blocks.save(&Tree::empty().put(&blocks, "apple", value(1))?);
/// assert_eq!(blocks.len(), 1);
/// assert_eq!(blocks.shard(&tree.root())?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    ///
    /// ```
    /// # use firebrick_core::memory::MemoryBlocks;
    /// assert!(MemoryBlocks::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a block.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::Block;
    /// let block = Block::new(Codec::Raw, "waves");
    /// blocks.insert(&block);
    /// assert_eq!(blocks.block(&block.cid), Some(block));
    /// ```
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
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::clock::{Event, EventSource, Operation};
    /// # let root = Tree::empty().root();
    /// let first = blocks.add(Event::new(Operation::Batch(Vec::new()), root, []));
    /// let second = blocks.add(Event::new(Operation::Batch(Vec::new()), root, [first]));
    /// assert_eq!(blocks.event(&second)?.parents, [first]);
    /// assert_eq!(blocks.generation(&second)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&self, event: Event) -> Cid {
        let cid = event.encode().cid;
        let mut inner = self.inner();
        inner
            .blocks
            .insert(cid, Stored::Event(Arc::new(event), None));
        cid
    }

    /// Stores the unsaved shards of `tree` and returns the saved version.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
    /// let saved = blocks.save(&tree);
    /// assert_eq!(saved.unsaved_bytes(), 0);
    /// assert!(blocks.block(&tree.root()).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&self, tree: &Tree) -> Tree {
        for block in tree.unsaved() {
            self.insert(&block);
        }
        tree.saved()
    }

    /// Forgets a block. Tells whether it was there.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::Block;
    /// let block = Block::new(Codec::Raw, "waves");
    /// blocks.insert(&block);
    /// assert!(blocks.remove(&block.cid));
    /// assert!(!blocks.remove(&block.cid));
    /// ```
    pub fn remove(&self, cid: &Cid) -> bool {
        self.inner().blocks.remove(cid).is_some()
    }

    /// The block with this CID.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::Block;
    /// blocks.insert(&Block::new(Codec::Raw, "waves"));
    /// let found = blocks.block(&Cid::of(Codec::Raw, b"waves")).expect("it was inserted");
    /// assert_eq!(found.bytes, "waves");
    /// assert!(blocks.block(&value(1)).is_none());
    /// ```
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
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::Block;
    /// for _ in 0..2 {
    ///     blocks.insert(&Block::new(Codec::Raw, "waves"));
    /// }
    /// assert_eq!(blocks.len(), 1); // the same block
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner().blocks.len()
    }

    /// Whether there are no blocks.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::Block;
    /// assert!(blocks.is_empty());
    /// blocks.insert(&Block::new(Codec::Raw, "waves"));
    /// assert!(!blocks.is_empty());
    /// ```
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
