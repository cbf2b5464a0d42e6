//! Where the core finds shards and events: a byte-bounded cache over the store.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use firebrick_core::clock::{ClockError, Event, EventSource};
use firebrick_core::ordered::{Node, NodeSource, TreeError};
use firebrick_core::pail::{Chain, PailError, Shard, ShardSource};
use firebrick_core::{Cid, genesis};
use hashbrown::{HashMap, HashSet};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::error::Error;
use crate::lock;
use crate::store::{Store, StoreError};

#[derive(Clone)]
struct BytesHeld;

/// Derived generations held at most; they can be derived again.
const MOST_DERIVED: usize = 1 << 20;

/// Documents of a large read that are looked up to see how many of them the cache holds.
const SAMPLE: usize = 32;

/// What an entry costs beside its content: key, counters, the hash table's share.
const ENTRY_BYTES: u64 = 96;

/// A block in memory, in the form in which it is used.
#[derive(Clone)]
enum Held {
    Document(Arc<[u8]>),
    Shard(Shard),
    Chain(Chain),
    Event(Arc<Event>),
    /// Of an index.
    Node(Arc<Node>),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    cid: Cid,
    /// Not the block itself, but the chain that begins with it.
    chain: bool,
}

impl Key {
    fn of(cid: &Cid) -> Self {
        Self {
            cid: *cid,
            chain: false,
        }
    }
}

impl Weighter<Key, Held> for BytesHeld {
    fn weight(&self, _: &Key, held: &Held) -> u64 {
        let bytes = match held {
            Held::Document(bytes) => bytes.len(),
            Held::Shard(shard) => shard.memory(),
            Held::Chain(chain) => chain.memory(),
            Held::Node(node) => node.memory(),
            Held::Event(event) => {
                let ops = event.puts().map(|(key, _)| key.len() + 64).sum::<usize>();
                ops + event.parents.len() * 36 + 64
            }
        };
        bytes as u64 + ENTRY_BYTES
    }
}

impl Weighter<Cid, u64> for BytesHeld {
    fn weight(&self, _: &Cid, _: &u64) -> u64 {
        ENTRY_BYTES
    }
}

/// The store seen through a cache. Only hits are cached, never misses: a block that is missing now
/// may arrive with the next pull.
pub(crate) struct Source {
    store: Arc<dyn Store>,
    /// Documents, shards, events and nodes of indexes share one budget: what share each needs depends
    /// on the ids, on the size of the documents, on the queries, and on whether a remote syncs.
    held: Cache<Key, Held, BytesHeld>,
    /// Generations are asked for far more often than events: every walk looks at them first.
    generations: Cache<Cid, u64, BytesHeld>,
    /// Generations of events that arrived before their parents, until their head is applied.
    derived: Mutex<HashMap<Cid, u64>>,
    lost: Lost,
}

/// Blocks that belong here and could not be read. Whatever remote has them brings them back.
struct Lost {
    blocks: Mutex<HashSet<Cid>>,
    /// Counts the additions.
    changed: watch::Sender<u64>,
}

/// Lost blocks remembered at most; the others are noticed again when they are read.
const MOST_LOST: usize = 10_000;

impl Source {
    /// Caches `budget` bytes in all.
    pub(crate) fn new(store: Arc<dyn Store>, budget: usize) -> Self {
        let budget = budget.max(1 << 20) as u64;
        Self {
            store,
            held: cache(budget * 97 / 100, 600),
            generations: cache(budget * 3 / 100, ENTRY_BYTES),
            derived: Mutex::default(),
            lost: Lost {
                blocks: Mutex::default(),
                changed: watch::Sender::new(0),
            },
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn held_document(&self, cid: &Cid) -> Option<Bytes> {
        match self.held.get(&Key::of(cid))? {
            Held::Document(bytes) => Some(Bytes::from_owner(bytes)),
            _ => None,
        }
    }

    /// A document's block.
    pub(crate) fn document(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.held_document(cid) {
            return Ok(Some(bytes));
        }
        let bytes = self.store.block(cid)?;
        if let Some(bytes) = &bytes {
            self.remember_document(*cid, bytes.as_ref().into());
        }
        Ok(bytes)
    }

    /// Many documents' blocks, read from the store in one call as far as the cache lacks them.
    /// A scan does not push out what single reads have cached.
    pub(crate) fn documents(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if !self.holds_nearly_all(cids) {
            return self.store.blocks(cids);
        }
        let mut found: Vec<Option<Bytes>> =
            cids.iter().map(|cid| self.held_document(cid)).collect();
        let absent: Vec<usize> = (0..cids.len()).filter(|at| found[*at].is_none()).collect();
        if !absent.is_empty() {
            let wanted: Vec<Cid> = absent.iter().map(|at| cids[*at]).collect();
            for (at, bytes) in absent.into_iter().zip(self.store.blocks(&wanted)?) {
                found[at] = bytes;
            }
        }
        Ok(found)
    }

    /// Whether the cache helps with reading these documents, judged by a sample. The store reads
    /// neighbours together, so a cache that lacks some of many spares it little, and each look into a
    /// large cache is a walk through cold memory.
    fn holds_nearly_all(&self, cids: &[Cid]) -> bool {
        let step = cids.len() / SAMPLE;
        if step < 8 {
            return true;
        }
        let sample = cids.iter().step_by(step).take(SAMPLE);
        let held = sample.filter(|cid| self.held.peek(&Key::of(cid)).is_some());
        held.count() * 10 >= SAMPLE * 9
    }

    /// Keeps a document that was just written: it is likely to be read next.
    pub(crate) fn remember_document(&self, cid: Cid, bytes: Arc<[u8]>) {
        self.held.insert(Key::of(&cid), Held::Document(bytes));
    }

    /// Keeps a node that was just written.
    pub(crate) fn remember_node(&self, cid: Cid, node: Arc<Node>) {
        self.held.insert(Key::of(&cid), Held::Node(node));
    }

    pub(crate) fn remember_event(&self, cid: Cid, event: Arc<Event>) {
        self.held.insert(Key::of(&cid), Held::Event(event));
    }

    /// Forgets documents that are not in the store any more.
    pub(crate) fn forget<'a>(&self, documents: impl Iterator<Item = &'a Cid>) {
        for cid in documents {
            self.held.remove(&Key::of(cid));
        }
    }

    fn lost(&self) -> MutexGuard<'_, HashSet<Cid>> {
        lock::lock(&self.lost.blocks)
    }

    /// Remembers which block an error is about, so that a remote is asked for it.
    pub(crate) fn note_unreadable(&self, error: &Error) {
        let Some(cid) = error.unreadable() else {
            return;
        };
        let mut lost = self.lost();
        if lost.len() < MOST_LOST && lost.insert(cid) {
            drop(lost);
            self.lost.changed.send_modify(|count| *count += 1);
        }
    }

    pub(crate) fn is_lost(&self, cid: &Cid) -> bool {
        let lost = self.lost();
        !lost.is_empty() && lost.contains(cid)
    }

    /// The blocks that were noted and are still not here.
    pub(crate) fn still_lost(&self) -> Result<Vec<Cid>, StoreError> {
        let noted: Vec<Cid> = self.lost().iter().copied().collect();
        let mut still = Vec::new();
        for cid in noted {
            if self.contains(&cid)? {
                self.lost().remove(&cid);
            } else {
                still.push(cid);
            }
        }
        Ok(still)
    }

    /// Wakes when another block is found to be lost.
    pub(crate) fn lost_changed(&self) -> watch::Receiver<u64> {
        self.lost.changed.subscribe()
    }

    /// Whether the block is here, without reading it.
    pub(crate) fn contains(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.store.contains(cid)
    }
}

/// A cache of `bytes` in all, in entries of about `entry` bytes. The cache also remembers half as many
/// keys of what it let go, beside its budget: a guess that is too high saves memory.
fn cache<K: Eq + Hash, V: Clone>(bytes: u64, entry: u64) -> Cache<K, V, BytesHeld>
where
    BytesHeld: Weighter<K, V>,
{
    Cache::with_weighter((bytes / entry) as usize, bytes, BytesHeld)
}

impl Source {
    fn held_shard(&self, cid: &Cid) -> Option<Shard> {
        match self.held.get(&Key::of(cid))? {
            Held::Shard(shard) => Some(shard),
            _ => None,
        }
    }

    fn stored_shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        let bytes = self
            .store
            .block(cid)
            .map_err(|error| PailError::Source(Box::new(error)))?;
        let bytes = bytes.or_else(|| {
            // The same in every ledger, and a remote need not have it.
            let root = &genesis::GENESIS.root;
            (*cid == root.cid).then(|| root.bytes.clone())
        });
        Shard::decode(&bytes.ok_or(PailError::Missing(*cid))?)
            .map_err(|reason| PailError::Invalid { cid: *cid, reason })
    }
}

/// Reads the shards of a chain, which nobody needs again once its end is known.
struct Passing<'a>(&'a Source);

impl ShardSource for Passing<'_> {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        let held = self.0.held_shard(cid);
        held.map_or_else(|| self.0.stored_shard(cid), Ok)
    }
}

/// Reads all shards of a range, each once. They fill a cache that has room and push nothing out of it.
pub(crate) struct Scanning<'a>(&'a Source);

impl ShardSource for Scanning<'_> {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        self.0.find_shard(cid, || self.0.has_room())
    }

    fn chain(&self, cid: &Cid) -> Result<Chain, PailError> {
        self.0.find_chain(cid, || self.0.has_room())
    }
}

impl ShardSource for Source {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        self.find_shard(cid, || true)
    }

    fn chain(&self, cid: &Cid) -> Result<Chain, PailError> {
        self.find_chain(cid, || true)
    }
}

impl Source {
    /// The shards of a listing.
    pub(crate) const fn scanning(&self) -> Scanning<'_> {
        Scanning(self)
    }

    fn has_room(&self) -> bool {
        self.held.weight() < self.held.capacity() / 10 * 9
    }

    fn find_shard(&self, cid: &Cid, keep: impl FnOnce() -> bool) -> Result<Shard, PailError> {
        if let Some(shard) = self.held_shard(cid) {
            return Ok(shard);
        }
        let shard = self.stored_shard(cid)?;
        if keep() {
            self.held.insert(Key::of(cid), Held::Shard(shard.clone()));
        }
        Ok(shard)
    }

    fn find_chain(&self, cid: &Cid, keep: impl FnOnce() -> bool) -> Result<Chain, PailError> {
        let key = Key {
            cid: *cid,
            chain: true,
        };
        // Most shards are chains of their own, and held as shards.
        let held = match self.held_shard(cid).map(Chain::single) {
            Some(Ok(chain)) => return Ok(chain),
            Some(Err(first)) => Some(first),
            None => None,
        };
        if let Some(Held::Chain(chain)) = self.held.get(&key) {
            return Ok(chain);
        }
        let first = held.map_or_else(|| self.stored_shard(cid), Ok)?;
        match Chain::single(first) {
            Ok(chain) => {
                if keep() {
                    let end = Held::Shard(chain.end().clone());
                    self.held.insert(Key::of(cid), end);
                }
                Ok(chain)
            }
            Err(first) => {
                let chain = Chain::follow(first, &Passing(self));
                if chain.is_whole() && keep() {
                    self.held.insert(key, Held::Chain(chain.clone()));
                }
                Ok(chain)
            }
        }
    }
}

impl NodeSource for Source {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>, TreeError> {
        if let Some(Held::Node(node)) = self.held.get(&Key::of(cid)) {
            return Ok(node);
        }
        let bytes = self.store.block(cid);
        let bytes = bytes
            .map_err(|error| TreeError::Source(Box::new(error)))?
            .ok_or(TreeError::Missing(*cid))?;
        let node = Node::decode(&bytes);
        let node = Arc::new(node.map_err(|reason| TreeError::Invalid { cid: *cid, reason })?);
        self.remember_node(*cid, Arc::clone(&node));
        Ok(node)
    }
}

impl EventSource for Source {
    fn event(&self, cid: &Cid) -> Result<Arc<Event>, ClockError> {
        if let Some(Held::Event(event)) = self.held.get(&Key::of(cid)) {
            return Ok(event);
        }
        let bytes = self
            .store
            .block(cid)
            .map_err(|error| ClockError::Source(Box::new(error)))?;
        let event = Arc::new(
            Event::decode(&bytes.ok_or(ClockError::Missing(*cid))?).map_err(|error| {
                ClockError::Invalid {
                    cid: *cid,
                    reason: error.to_string(),
                }
            })?,
        );
        self.remember_event(*cid, Arc::clone(&event));
        Ok(event)
    }

    fn generation(&self, cid: &Cid) -> Result<u64, ClockError> {
        match self.known_generation(cid)? {
            Some(generation) => Ok(generation),
            None => self.derive_generation(cid),
        }
    }
}

impl Source {
    /// The stored generation. The store keeps it one higher, so that 0 can mean "not known yet".
    pub(crate) fn known_generation(&self, cid: &Cid) -> Result<Option<u64>, ClockError> {
        if let Some(generation) = self.generations.get(cid) {
            return Ok(Some(generation));
        }
        let stored = self
            .store
            .generation(cid)
            .map_err(|error| ClockError::Source(Box::new(error)))?;
        let generation = stored.and_then(super::origin::generation);
        if let Some(generation) = generation {
            self.generations.insert(*cid, generation);
        }
        Ok(generation)
    }

    /// The generation of an event that arrived before its parents did.
    fn derive_generation(&self, cid: &Cid) -> Result<u64, ClockError> {
        let mut derived = lock::lock(&self.derived);
        if derived.len() > MOST_DERIVED {
            derived.clear();
        }
        let mut stack = vec![*cid];
        while let Some(top) = stack.last().copied() {
            let event = self.event(&top)?;
            let mut generation = 0;
            let depth = stack.len();
            for parent in &event.parents {
                let known = match derived.get(parent) {
                    Some(generation) => Some(*generation),
                    None => self.known_generation(parent)?,
                };
                match known {
                    Some(of_parent) => generation = generation.max(of_parent + 1),
                    None => stack.push(*parent),
                }
            }
            if stack.len() == depth {
                derived.insert(top, generation);
                stack.pop();
            }
        }
        derived.get(cid).copied().ok_or(ClockError::Missing(*cid))
    }

    /// Takes the generations that the store does not know yet, to be stored with the next head.
    pub(crate) fn take_derived(&self) -> Vec<(Cid, u64)> {
        std::mem::take(&mut *lock::lock(&self.derived))
            .into_iter()
            .collect()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// The error for a document's block that is not here.
pub(crate) fn missing_document(cid: Cid, id: &str) -> Error {
    Error::MissingBlock {
        cid,
        id: Some(id.to_owned()),
    }
}
