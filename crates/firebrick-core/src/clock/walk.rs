//! Heads and the past of events: membership, union, difference.
//!
//! Every walk goes down by generation and stops at the generation of what it looks for. None
//! recurses.

use std::collections::BinaryHeap;

use super::{ClockError, EventSource, Graph};
use crate::cid::Cid;

/// The head after `event` is added to `head` (format §6.2): without the events that `event`
/// descends from, and without `event` if it lies in the past of the head.
///
/// No event of `head` may lie in the past of another, as is true of every head made this way.
///
/// ```
/// use firebrick_core::clock;
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
/// let left = put("a", "two", &[first]);
/// let right = put("b", "three", &[first]);
/// assert_eq!(clock::advance(&blocks, &[first], left)?, [left]);
/// assert_eq!(clock::advance(&blocks, &[left], right)?, [left, right]);
/// assert_eq!(clock::advance(&blocks, &[left], first)?, [left]); // nothing new
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn advance(
    source: &impl EventSource,
    head: &[Cid],
    event: Cid,
) -> Result<Vec<Cid>, ClockError> {
    Graph::new().advance(source, head, event)
}

/// The head of the union of two histories: the events of both heads that lie in the past of no
/// other, ascending by CID text.
///
/// ```
/// use firebrick_core::clock;
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
/// let left = put("a", "two", &[first]);
/// let right = put("b", "three", &[first]);
/// assert_eq!(clock::join(&blocks, &[first], &[left])?, [left]);
/// assert_eq!(clock::join(&blocks, &[left], &[right])?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn join(source: &impl EventSource, a: &[Cid], b: &[Cid]) -> Result<Vec<Cid>, ClockError> {
    Graph::new().join(source, a, b)
}

/// Whether `event` is one of `heads` or lies in their past.
///
/// ```
/// use firebrick_core::clock;
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
/// let left = put("a", "two", &[first]);
/// let right = put("b", "three", &[first]);
/// assert!(clock::contains(&blocks, &[left], &first)?);
/// assert!(!clock::contains(&blocks, &[left], &right)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn contains(source: &impl EventSource, heads: &[Cid], event: &Cid) -> Result<bool, ClockError> {
    Graph::new().contains(source, heads, event)
}

/// The events of `of` and their past without those of `known` and their past; parents come before
/// their children.
///
/// ```
/// use firebrick_core::clock;
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
/// let left = put("a", "two", &[first]);
/// let right = put("b", "three", &[first]);
/// assert_eq!(clock::difference(&blocks, &[left, right], &[left])?, [right]);
/// assert_eq!(clock::difference(&blocks, &[left], &[])?, [first, left]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn difference(
    source: &impl EventSource,
    of: &[Cid],
    known: &[Cid],
) -> Result<Vec<Cid>, ClockError> {
    Graph::new().difference(source, of, known)
}

/// The nearest event that all paths from `heads` pass through (format §6.3); none if they lead to
/// unrelated first events.
///
/// ```
/// use firebrick_core::clock;
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
/// let left = put("a", "two", &[first]);
/// let right = put("b", "three", &[first]);
/// assert_eq!(clock::common_ancestor(&blocks, &[left, right])?, Some(first));
/// let other = put("a", "four", &[]);
/// assert_eq!(clock::common_ancestor(&blocks, &[left, other])?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn common_ancestor(
    source: &impl EventSource,
    heads: &[Cid],
) -> Result<Option<Cid>, ClockError> {
    Graph::new().common_ancestor(source, heads)
}

/// One byte of flags per event.
#[derive(Default)]
struct Flags(Vec<u8>);

impl Flags {
    fn of(&self, id: u32) -> u8 {
        self.0.get(id as usize).copied().unwrap_or(0)
    }

    /// Sets flags; tells those that were set before.
    fn set(&mut self, id: u32, flags: u8) -> u8 {
        let id = id as usize;
        if id >= self.0.len() {
            self.0.resize((id + 1).next_power_of_two(), 0);
        }
        let before = self.0[id];
        self.0[id] |= flags;
        before
    }
}

impl Graph {
    pub(crate) fn intern_all(
        &mut self,
        source: &impl EventSource,
        cids: &[Cid],
    ) -> Result<Vec<u32>, ClockError> {
        let mut ids = Vec::with_capacity(cids.len());
        let mut seen = Flags::default();
        for cid in cids {
            let id = self.intern(source, cid)?;
            if seen.set(id, 1) == 0 {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// [`advance`], remembering what was read.
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
    /// assert_eq!(graph.advance(&blocks, &[first], second)?, [second]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`advance`].
    pub fn advance(
        &mut self,
        source: &impl EventSource,
        head: &[Cid],
        event: Cid,
    ) -> Result<Vec<Cid>, ClockError> {
        if head.contains(&event) {
            return Ok(head.to_vec());
        }
        let heads = self.intern_all(source, head)?;
        let id = self.intern(source, &event)?;
        let covered = self.past(source, &[id], &heads)?;
        let mut new: Vec<Cid> = heads
            .iter()
            .filter(|head| covered.of(**head) == 0)
            .map(|head| *self.cid(*head))
            .collect();
        if new.len() == head.len() && self.contains(source, head, &event)? {
            return Ok(head.to_vec());
        }
        new.push(event);
        Ok(new)
    }

    /// Flags of the past of `of`, as far as needed to know which of `wanted` are part of it. What
    /// lies below one of those is not looked at.
    fn past(
        &mut self,
        source: &impl EventSource,
        of: &[u32],
        wanted: &[u32],
    ) -> Result<Flags, ClockError> {
        let mut flags = Flags::default();
        let mut stops = Flags::default();
        let mut least = u32::MAX;
        for id in wanted {
            stops.set(*id, 1);
            least = least.min(self.generation(*id));
        }
        let mut left = wanted.len();
        let mut stack = of.to_vec();
        for id in of {
            flags.set(*id, 1);
        }
        while let Some(id) = stack.pop() {
            if stops.of(id) != 0 {
                left -= 1;
                if left == 0 {
                    break;
                }
                continue;
            }
            if self.generation(id) <= least {
                continue;
            }
            self.read(source, id)?;
            for parent in self.parents(id) {
                if flags.set(*parent, 1) == 0 {
                    stack.push(*parent);
                }
            }
        }
        Ok(flags)
    }

    /// [`contains`], remembering what was read.
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
    /// assert!(graph.contains(&blocks, &[second], &first)?);
    /// assert!(!graph.contains(&blocks, &[first], &second)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`contains`].
    pub fn contains(
        &mut self,
        source: &impl EventSource,
        heads: &[Cid],
        event: &Cid,
    ) -> Result<bool, ClockError> {
        if heads.contains(event) {
            return Ok(true);
        }
        let heads = self.intern_all(source, heads)?;
        let id = self.intern(source, event)?;
        Ok(self.past(source, &heads, &[id])?.of(id) != 0)
    }

    /// [`join`], remembering what was read.
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
    /// assert_eq!(graph.join(&blocks, &[first], &[second])?, [second]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`join`].
    pub fn join(
        &mut self,
        source: &impl EventSource,
        a: &[Cid],
        b: &[Cid],
    ) -> Result<Vec<Cid>, ClockError> {
        const CANDIDATE: u8 = 1;
        const COVERED: u8 = 2;
        let both: Vec<Cid> = a.iter().chain(b).copied().collect();
        let candidates = self.intern_all(source, &both)?;
        let mut flags = Flags::default();
        let mut heap = BinaryHeap::with_capacity(candidates.len());
        for id in &candidates {
            flags.set(*id, CANDIDATE);
            heap.push(self.rank(*id));
        }
        let mut left = candidates.len();
        let mut head = Vec::new();
        while left > 0
            && let Some(top) = heap.pop()
        {
            let id = top as u32;
            if flags.of(id) & CANDIDATE != 0 {
                left -= 1;
                if flags.of(id) & COVERED == 0 {
                    head.push(*self.cid(id));
                }
                if left == 0 {
                    break;
                }
            }
            self.read(source, id)?;
            for parent in self.parents(id) {
                if flags.set(*parent, COVERED) == 0 {
                    heap.push(self.rank(*parent));
                }
            }
        }
        head.sort_unstable_by(Cid::cmp_text);
        Ok(head)
    }

    /// [`difference`], remembering what was read.
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
    /// assert_eq!(graph.difference(&blocks, &[second], &[first])?, [second]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`difference`].
    pub fn difference(
        &mut self,
        source: &impl EventSource,
        of: &[Cid],
        known: &[Cid],
    ) -> Result<Vec<Cid>, ClockError> {
        const NEW: u8 = 1;
        const KNOWN: u8 = 2;
        let mut flags = Flags::default();
        let mut heap = BinaryHeap::new();
        // Events in the heap that are not known to be known.
        let mut open = 0;
        for (cids, flag) in [(known, KNOWN), (of, NEW)] {
            for id in self.intern_all(source, cids)? {
                if flags.set(id, flag) == 0 {
                    open += usize::from(flag == NEW);
                    heap.push(self.rank(id));
                }
            }
        }
        let mut found = Vec::new();
        while open > 0
            && let Some(top) = heap.pop()
        {
            let id = top as u32;
            let flag = if flags.of(id) & KNOWN != 0 {
                KNOWN
            } else {
                open -= 1;
                found.push(*self.cid(id));
                NEW
            };
            self.read(source, id)?;
            for parent in self.parents(id) {
                match flags.set(*parent, flag) {
                    0 => {
                        open += usize::from(flag == NEW);
                        heap.push(self.rank(*parent));
                    }
                    NEW if flag == KNOWN => open -= 1,
                    _ => {}
                }
            }
        }
        found.reverse();
        Ok(found)
    }

    /// [`common_ancestor`], remembering what was read.
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
    /// let heads = [put("a", "two", &[first]), put("b", "three", &[first])];
    /// let mut graph = Graph::new();
    /// assert_eq!(graph.common_ancestor(&blocks, &heads)?, Some(first));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`common_ancestor`].
    pub fn common_ancestor(
        &mut self,
        source: &impl EventSource,
        heads: &[Cid],
    ) -> Result<Option<Cid>, ClockError> {
        let mut flags = Flags::default();
        let mut heap = BinaryHeap::new();
        for id in self.intern_all(source, heads)? {
            flags.set(id, 1);
            heap.push(self.rank(id));
        }
        while let Some(top) = heap.pop() {
            let id = top as u32;
            if heap.is_empty() {
                return Ok(Some(*self.cid(id)));
            }
            self.read(source, id)?;
            if self.parents(id).is_empty() {
                return Ok(None);
            }
            for parent in self.parents(id) {
                if flags.set(*parent, 1) == 0 {
                    heap.push(self.rank(*parent));
                }
            }
        }
        Ok(None)
    }
}
