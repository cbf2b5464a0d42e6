//! The shape of a part of the event DAG, as dense arrays.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{ClockError, Event, EventSource};
use crate::cid::Cid;

/// Parents of an event whose block was not read yet, and of one without any.
const UNREAD: u32 = u32::MAX;
const NONE: u32 = u32::MAX - 1;
/// Marks a position in the lists instead of a single item.
const LIST: u32 = 1 << 31;
/// Keys of an event: no puts, and a delete.
const NO_KEYS: u32 = u32::MAX - 1;
const DELETE: u32 = u32::MAX;

/// Events that were seen, numbered from zero, with their parents and generations.
///
/// An event takes about 60 bytes, and with keys about the length of each new key
/// more. Nothing is read twice.
///
/// ```
/// use firebrick_core::clock::Graph;
/// # use firebrick_core::clock::{Event, Operation};
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::EMPTY_ROOT};
/// # let blocks = MemoryBlocks::new();
/// # let put = |key: &str, text: &str, parents: &[Cid]| {
/// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
/// #     let data = Operation::Put { key, value };
/// #     blocks.add(Event::new(data, EMPTY_ROOT, parents.iter().copied()))
/// # };
///
/// let first = put("a", "one", &[]); // key, value, parents
/// let second = put("a", "two", &[first]);
/// let mut graph = Graph::new();
/// assert_eq!(graph.difference(&blocks, &[second], &[])?, [first, second]);
/// blocks.remove(&first); // the graph has seen it
/// assert!(graph.contains(&blocks, &[second], &first)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Graph {
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    cids: Vec<Cid>,
    generations: Vec<u32>,
    /// One parent, or a position in `lists` of a count and so many parents.
    parents: Vec<u32>,
    lists: Vec<u32>,
    keys: Option<Keys>,
}

/// The keys that events set, numbered from zero.
#[derive(Debug, Default)]
struct Keys {
    ids: HashTable<u32>,
    text: Vec<u8>,
    ends: Vec<u32>,
    /// For each event one key, or a position in `lists` of a count and so many keys.
    of_event: Vec<u32>,
    lists: Vec<u32>,
}

impl Graph {
    /// A graph that knows no event.
    ///
    /// ```
    /// use firebrick_core::clock::Graph;
    ///
    /// assert_eq!(Graph::new().len(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A graph that also remembers which keys an event sets.
    pub(crate) fn with_keys() -> Self {
        Self {
            keys: Some(Keys::default()),
            ..Self::default()
        }
    }

    /// The number of events seen.
    ///
    /// ```
    /// use firebrick_core::clock::Graph;
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::EMPTY_ROOT};
    /// # let blocks = MemoryBlocks::new();
    /// # let put = |key: &str, text: &str, parents: &[Cid]| {
    /// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
    /// #     let data = Operation::Put { key, value };
    /// #     blocks.add(Event::new(data, EMPTY_ROOT, parents.iter().copied()))
    /// # };
    ///
    /// let first = put("a", "one", &[]); // key, value, parents
    /// let second = put("a", "two", &[first]);
    /// let mut graph = Graph::new();
    /// graph.difference(&blocks, &[second], &[])?;
    /// assert_eq!(graph.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.cids.len()
    }

    /// Whether no event was seen.
    ///
    /// ```
    /// use firebrick_core::clock::Graph;
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::EMPTY_ROOT};
    /// # let blocks = MemoryBlocks::new();
    /// # let put = |key: &str, text: &str, parents: &[Cid]| {
    /// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
    /// #     let data = Operation::Put { key, value };
    /// #     blocks.add(Event::new(data, EMPTY_ROOT, parents.iter().copied()))
    /// # };
    ///
    /// let first = put("a", "one", &[]); // key, value, parents
    /// let mut graph = Graph::new();
    /// assert!(graph.is_empty());
    /// graph.difference(&blocks, &[first], &[])?;
    /// assert!(!graph.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cids.is_empty()
    }

    /// About how many bytes of memory the graph takes.
    ///
    /// ```
    /// use firebrick_core::clock::Graph;
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::EMPTY_ROOT};
    /// # let blocks = MemoryBlocks::new();
    /// # let put = |key: &str, text: &str, parents: &[Cid]| {
    /// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
    /// #     let data = Operation::Put { key, value };
    /// #     blocks.add(Event::new(data, EMPTY_ROOT, parents.iter().copied()))
    /// # };
    ///
    /// let first = put("a", "one", &[]); // key, value, parents
    /// let mut graph = Graph::new();
    /// let before = graph.memory();
    /// graph.difference(&blocks, &[first], &[])?;
    /// assert!(graph.memory() > before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> usize {
        let events = self.cids.capacity() * size_of::<Cid>()
            + (self.generations.capacity() + self.parents.capacity() + self.lists.capacity()) * 4
            + self.ids.capacity() * 5;
        let keys = self.keys.as_ref().map_or(0, |keys| {
            keys.text.capacity()
                + (keys.ends.capacity() + keys.of_event.capacity() + keys.lists.capacity()) * 4
                + keys.ids.capacity() * 5
        });
        events + keys
    }

    pub(crate) fn cid(&self, id: u32) -> &Cid {
        &self.cids[id as usize]
    }

    pub(crate) fn generation(&self, id: u32) -> u32 {
        self.generations[id as usize]
    }

    /// The order in which sweeps go: an event comes behind all its descendants.
    pub(crate) fn rank(&self, id: u32) -> u64 {
        u64::from(self.generation(id)) << 32 | u64::from(id)
    }

    /// The parents of an event that was read.
    pub(crate) fn parents(&self, id: u32) -> &[u32] {
        items(&self.parents, &self.lists, id)
    }

    /// The number of an event that was seen.
    pub(crate) fn known(&self, cid: &Cid) -> Option<u32> {
        let hash = self.hasher.hash_one(cid);
        self.ids
            .find(hash, |id| self.cids[*id as usize] == *cid)
            .copied()
    }

    /// The number of an event.
    pub(crate) fn intern(
        &mut self,
        source: &impl EventSource,
        cid: &Cid,
    ) -> Result<u32, ClockError> {
        if let Some(id) = self.known(cid) {
            return Ok(id);
        }
        let generation =
            u32::try_from(source.generation(cid)?).map_err(|_| ClockError::Invalid {
                cid: *cid,
                reason: "its generation is beyond all reason".into(),
            })?;
        let id = self.cids.len() as u32;
        if id >= LIST {
            return Err(ClockError::TooMany(LIST as usize));
        }
        self.cids.push(*cid);
        self.generations.push(generation);
        self.parents.push(UNREAD);
        if let Some(keys) = &mut self.keys {
            keys.of_event.push(NO_KEYS);
        }
        let (cids, hasher) = (&self.cids, &self.hasher);
        self.ids.insert_unique(hasher.hash_one(cid), id, |id| {
            hasher.hash_one(cids[*id as usize])
        });
        Ok(id)
    }

    /// Reads an event if it was not read yet; then the answer is that event.
    #[inline]
    pub(crate) fn read(
        &mut self,
        source: &impl EventSource,
        id: u32,
    ) -> Result<Option<Arc<Event>>, ClockError> {
        if self.parents[id as usize] != UNREAD {
            return Ok(None);
        }
        self.read_block(source, id).map(Some)
    }

    fn read_block(&mut self, source: &impl EventSource, id: u32) -> Result<Arc<Event>, ClockError> {
        let event = source.event(&self.cids[id as usize])?;
        let parents = match event.parents.as_slice() {
            [] => NONE,
            [parent] => self.intern(source, parent)?,
            parents => {
                let mut list = Vec::with_capacity(parents.len() + 1);
                list.push(parents.len() as u32);
                for parent in parents {
                    list.push(self.intern(source, parent)?);
                }
                append(&mut self.lists, list)?
            }
        };
        let generation = self.generation(id);
        self.parents[id as usize] = parents;
        if self
            .parents(id)
            .iter()
            .any(|parent| self.generation(*parent) >= generation)
        {
            self.parents[id as usize] = UNREAD;
            return Err(ClockError::Invalid {
                cid: *self.cid(id),
                reason: "its generation is not greater than those of its parents".into(),
            });
        }
        if let Some(keys) = &mut self.keys {
            keys.of_event[id as usize] = keys.add(&self.hasher, &event)?;
        }
        Ok(event)
    }

    /// The number of different keys.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.as_ref().map_or(0, |keys| keys.ends.len())
    }

    pub(crate) fn key(&self, key: u32) -> &[u8] {
        self.keys.as_ref().map_or(&[], |keys| keys.key(key))
    }

    /// The keys that an event sets; they may repeat.
    pub(crate) fn keys_of(&self, id: u32) -> &[u32] {
        match &self.keys {
            Some(keys) => items(&keys.of_event, &keys.lists, id),
            None => &[],
        }
    }

    /// Whether an event is a pail delete.
    pub(crate) fn is_delete(&self, id: u32) -> bool {
        self.keys
            .as_ref()
            .is_some_and(|keys| keys.of_event[id as usize] == DELETE)
    }
}

/// The single item of `id`, or its list.
fn items<'a>(direct: &'a [u32], lists: &'a [u32], id: u32) -> &'a [u32] {
    let direct = &direct[id as usize..=id as usize];
    match direct[0] {
        NONE | UNREAD => &[],
        list if list >= LIST => {
            let at = (list - LIST) as usize;
            &lists[at + 1..at + 1 + lists[at] as usize]
        }
        _ => direct,
    }
}

fn append(lists: &mut Vec<u32>, list: Vec<u32>) -> Result<u32, ClockError> {
    let at = lists.len() as u32 | LIST;
    if lists.len() + list.len() >= (LIST - 2) as usize {
        return Err(ClockError::TooMany(LIST as usize));
    }
    lists.extend(list);
    Ok(at)
}

impl Keys {
    fn key(&self, key: u32) -> &[u8] {
        text(&self.text, &self.ends, key)
    }

    /// Numbers the keys of an event.
    fn add(&mut self, hasher: &DefaultHashBuilder, event: &Event) -> Result<u32, ClockError> {
        let mut puts = event.puts();
        if matches!(event.data, super::Operation::Del { .. }) {
            return Ok(DELETE);
        }
        match puts.len() {
            0 => Ok(NO_KEYS),
            1 => puts
                .next()
                .map_or(Ok(NO_KEYS), |(key, _)| self.intern(hasher, key)),
            count => {
                let mut list = Vec::with_capacity(count + 1);
                list.push(count as u32);
                for (key, _) in puts {
                    list.push(self.intern(hasher, key)?);
                }
                append(&mut self.lists, list)
            }
        }
    }

    fn intern(&mut self, hasher: &DefaultHashBuilder, key: &str) -> Result<u32, ClockError> {
        let key = key.as_bytes();
        let hash = hasher.hash_one(key);
        if let Some(id) = self.ids.find(hash, |id| self.key(*id) == key) {
            return Ok(*id);
        }
        let id = self.ends.len() as u32;
        let end = u32::try_from(self.text.len() + key.len())
            .ok()
            .filter(|_| id < LIST)
            .ok_or(ClockError::TooMany(id as usize))?;
        self.text.extend_from_slice(key);
        self.ends.push(end);
        let (bytes, ends) = (&self.text, &self.ends);
        self.ids
            .insert_unique(hash, id, |id| hasher.hash_one(text(bytes, ends, *id)));
        Ok(id)
    }
}

/// The text of a key, from the texts of all keys and where each ends.
fn text<'a>(bytes: &'a [u8], ends: &[u32], key: u32) -> &'a [u8] {
    let at = key as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &bytes[start as usize..ends[at] as usize]
}
