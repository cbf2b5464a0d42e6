//! The versions of one key, and the keys that are in conflict.
//!
//! A *version* of a key is an event that sets it. One is *current* if no other descends from it.
//! A key is *in conflict* if its current versions differ: neither the pail nor an event that pins a
//! merge changes that, only a write that descends from all of them.
//!
//! Every walk goes down by generation, reads each event once, and keeps no more than the width of
//! the history and what it was asked for.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::{ClockError, Event, EventSource, Operation, sorted_events};
use crate::cid::Cid;
use crate::document::{GENESIS_KEY, TOMBSTONE};

/// An event that set a key.
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
/// let version = clock::current_versions(&blocks, &[first], "a")?.remove(0);
/// assert!(version.event == first && version.value.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The event.
    pub event: Cid,
    /// The link that it set; `None` if it deleted.
    pub value: Option<Cid>,
}

/// A version in its place in the history.
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
/// let second = put("a", "two", &[first]);
/// for version in clock::versions(&blocks, &[second], "a") {
///     let version = version?;
///     assert_eq!(version.current, version.event == second);
///     assert_eq!(version.parents.is_empty(), version.event == first);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastVersion {
    /// The event.
    pub event: Cid,
    /// The link that it set; `None` if it deleted.
    pub value: Option<Cid>,
    /// The versions that it replaced: those before it, without those before them.
    pub parents: Vec<Cid>,
    /// Whether no other version descends from it.
    pub current: bool,
}

/// What an event made of `key`; `None` if it left it alone.
///
/// ```
/// use firebrick_core::clock::{self, Event, Operation};
/// use firebrick_core::{document::TOMBSTONE, pail::EMPTY_ROOT};
///
/// let data = Operation::Put { key: "a".into(), value: TOMBSTONE.cid };
/// let event = Event::new(data, EMPTY_ROOT, []);
/// assert_eq!(clock::version_in(&event, "a"), Some(None)); // deleted
/// assert_eq!(clock::version_in(&event, "b"), None); // left alone
/// ```
#[must_use]
pub fn version_in(event: &Event, key: &str) -> Option<Option<Cid>> {
    match &event.data {
        Operation::Del { key: deleted } => (deleted == key).then_some(None),
        _ => {
            let (_, value) = event.puts().rev().find(|(set, _)| *set == key)?;
            Some(Some(value).filter(|value| *value != TOMBSTONE.cid))
        }
    }
}

/// The events that are next, each with what its descendants told it.
#[derive(Debug)]
struct Frontier<T> {
    heap: BinaryHeap<(u64, Cid)>,
    told: HashMap<Cid, T>,
}

impl<T: Default> Frontier<T> {
    fn new(source: &impl EventSource, head: &[Cid]) -> Result<Self, ClockError> {
        let mut frontier = Self {
            heap: BinaryHeap::new(),
            told: HashMap::new(),
        };
        for event in head {
            frontier.tell(source, event, u64::MAX, |_| {})?;
        }
        Ok(frontier)
    }

    /// The next event; all its descendants came before it.
    fn pop(&mut self) -> Option<(Cid, u64, T)> {
        let (generation, event) = self.heap.pop()?;
        let told = self.told.remove(&event).unwrap_or_default();
        Some((event, generation, told))
    }

    /// Passes something on to an event, which must be older than `below`.
    fn tell(
        &mut self,
        source: &impl EventSource,
        event: &Cid,
        below: u64,
        tell: impl FnOnce(&mut T),
    ) -> Result<(), ClockError> {
        if let Some(told) = self.told.get_mut(event) {
            tell(told);
            return Ok(());
        }
        let generation = source.generation(event)?;
        if generation >= below {
            return Err(ClockError::Invalid {
                cid: *event,
                reason: "its generation is not smaller than that of its child".into(),
            });
        }
        let mut told = T::default();
        tell(&mut told);
        self.told.insert(*event, told);
        self.heap.push((generation, *event));
        Ok(())
    }
}

/// The events of `head` and their past, newest first: each behind all that descend from it. With
/// its generation.
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
/// let second = put("a", "two", &[first]);
/// let mut past = clock::past(&blocks, &[second]);
/// for (expected, at) in [(second, 1), (first, 0)] {
///     let (cid, generation, _event) = past.next().expect("there are two")?;
///     assert_eq!((cid, generation), (expected, at));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The iterator gives [`ClockError`] if an event is missing or damaged, and ends.
pub fn past<S: EventSource>(source: S, head: &[Cid]) -> Past<S> {
    Past {
        frontier: Some(Frontier::new(&source, head)),
        source,
    }
}

/// The iterator of [`past`].
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
/// let mut past = clock::past(&blocks, &[first]);
/// assert!(past.next().is_some_and(|event| event.is_ok()));
/// assert!(past.next().is_none());
/// ```
#[derive(Debug)]
pub struct Past<S> {
    frontier: Option<Result<Frontier<()>, ClockError>>,
    source: S,
}

impl<S: EventSource> Iterator for Past<S> {
    type Item = Result<(Cid, u64, Arc<Event>), ClockError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut frontier = match self.frontier.take()? {
            Ok(frontier) => frontier,
            Err(error) => return Some(Err(error)),
        };
        let (cid, generation, ()) = frontier.pop()?;
        let event = self.source.event(&cid).and_then(|event| {
            for parent in &event.parents {
                frontier.tell(&self.source, parent, generation, |()| {})?;
            }
            Ok(event)
        });
        if event.is_ok() {
            self.frontier = Some(Ok(frontier));
        }
        Some(event.map(|event| (cid, generation, event)))
    }
}

/// All versions of `key` in the past of `head`, newest first: each behind all that descend from it.
///
/// A version is yielded once its parents are known. Reads events down to there, and to the first
/// event of the ledger for the last version.
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
/// let other = put("b", "two", &[first]);
/// let last = put("a", "three", &[other]);
/// let versions: Vec<_> = clock::versions(&blocks, &[last], "a").collect::<Result<_, _>>()?;
/// assert_eq!((versions[0].event, versions[1].event), (last, first));
/// assert_eq!(versions[0].parents, [first]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn versions<S: EventSource>(source: S, head: &[Cid], key: &str) -> Versions<S> {
    Versions {
        frontier: Some(Frontier::new(&source, head)),
        source,
        key: key.to_owned(),
        pending: VecDeque::new(),
        yielded: 0,
        walked: 0,
    }
}

/// The iterator of [`versions`]. It ends after the first error.
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
/// let mut versions = clock::versions(&blocks, &[first], "a");
/// assert!(versions.next().is_some_and(|version| version.is_ok()));
/// assert!(versions.next().is_none());
/// ```
#[derive(Debug)]
pub struct Versions<S> {
    frontier: Option<Result<Frontier<Above>, ClockError>>,
    source: S,
    key: String,
    /// Versions that were met and not yielded yet, numbered on from `yielded`.
    pending: VecDeque<Pending>,
    yielded: usize,
    walked: usize,
}

/// What an event knows of the versions above it, by number.
#[derive(Debug, Default)]
struct Above {
    /// A path leads here from them that passes no other version.
    open: Vec<usize>,
    /// A path leads here from them that passes another version.
    replaced: Vec<usize>,
}

#[derive(Debug)]
struct Pending {
    version: PastVersion,
    /// Events of the frontier for which this version is open.
    open: usize,
}

impl<S: EventSource> Versions<S> {
    /// How many events were read so far.
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
    /// let other = put("b", "two", &[first]);
    /// let mut versions = clock::versions(&blocks, &[other], "a");
    /// assert_eq!(versions.by_ref().count(), 1);
    /// assert_eq!(versions.walked(), 2);
    /// ```
    #[must_use]
    pub fn walked(&self) -> usize {
        self.walked
    }

    fn open(&mut self, version: usize) -> Option<&mut usize> {
        let at = version.checked_sub(self.yielded)?;
        self.pending.get_mut(at).map(|pending| &mut pending.open)
    }

    /// Reads one event; whether there was one.
    fn step(&mut self, frontier: &mut Frontier<Above>) -> Result<bool, ClockError> {
        let Some((cid, generation, mut above)) = frontier.pop() else {
            return Ok(false);
        };
        let event = self.source.event(&cid)?;
        self.walked += 1;
        for version in &above.open {
            if let Some(open) = self.open(*version) {
                *open -= 1;
            }
        }
        let Above { open, replaced } = &mut above;
        open.retain(|version| !replaced.contains(version));
        if let Some(value) = version_in(&event, &self.key) {
            for version in &*open {
                if let Some(pending) = version
                    .checked_sub(self.yielded)
                    .and_then(|at| self.pending.get_mut(at))
                {
                    pending.version.parents.push(cid);
                }
            }
            let version = PastVersion {
                event: cid,
                value,
                parents: Vec::new(),
                current: open.is_empty(),
            };
            replaced.append(open);
            open.push(self.yielded + self.pending.len());
            self.pending.push_back(Pending { version, open: 0 });
        }
        // Who is open nowhere else gets no more parents. That keeps the lists as short as the
        // history is wide.
        replaced.retain(|version| self.open(*version).is_some_and(|open| *open > 0));
        for parent in &event.parents {
            let mut opened = Vec::new();
            frontier.tell(&self.source, parent, generation, |told: &mut Above| {
                for version in &above.open {
                    if !told.open.contains(version) {
                        told.open.push(*version);
                        opened.push(*version);
                    }
                }
                for version in &above.replaced {
                    if !told.replaced.contains(version) {
                        told.replaced.push(*version);
                    }
                }
            })?;
            for version in opened {
                if let Some(open) = self.open(version) {
                    *open += 1;
                }
            }
        }
        Ok(true)
    }
}

impl<S: EventSource> Iterator for Versions<S> {
    type Item = Result<PastVersion, ClockError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut frontier = match self.frontier.take()? {
            Ok(frontier) => frontier,
            Err(error) => return Some(Err(error)),
        };
        while self.pending.front().is_none_or(|first| first.open > 0) {
            match self.step(&mut frontier) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        let first = self.pending.pop_front()?;
        self.yielded += 1;
        self.frontier = Some(Ok(frontier));
        Some(Ok(first.version))
    }
}

/// The current versions of `key` at `head`: none if it was never set, several if they are
/// concurrent.
///
/// Reads events until every path from the head has met a version: where branches lead to
/// the versions, about the events since their common ancestor; for a key that was never set, all.
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
/// let right = put("a", "three", &[first]);
/// assert_eq!(clock::current_versions(&blocks, &[left, right], "a")?.len(), 2);
/// let settled = put("a", "four", &[left, right]);
/// assert_eq!(clock::current_versions(&blocks, &[settled], "a")?[0].event, settled);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn current_versions(
    source: &impl EventSource,
    head: &[Cid],
    key: &str,
) -> Result<Vec<Version>, ClockError> {
    let mut frontier: Frontier<bool> = Frontier::new(source, head)?;
    let mut uncovered = frontier.heap.len();
    let mut current = Vec::new();
    while uncovered > 0
        && let Some((cid, generation, mut covered)) = frontier.pop()
    {
        let event = source.event(&cid)?;
        if !covered {
            uncovered -= 1;
            if let Some(value) = version_in(&event, key) {
                current.push(Version { event: cid, value });
                covered = true;
            }
        }
        for parent in &event.parents {
            let new = !frontier.told.contains_key(parent);
            frontier.tell(source, parent, generation, |told| {
                match (new, *told, covered) {
                    (true, _, false) => uncovered += 1,
                    (false, false, true) => uncovered -= 1,
                    _ => {}
                }
                *told |= covered;
            })?;
        }
    }
    Ok(current)
}

/// Whether versions differ in what they set.
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
/// let [left, right] = ["two", "three"].map(|value| put("a", value, &[first]));
/// let versions = clock::current_versions(&blocks, &[left, right], "a")?;
/// assert!(clock::differ(&versions));
/// assert!(!clock::differ(&versions[..1]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn differ(versions: &[Version]) -> bool {
    versions
        .windows(2)
        .any(|pair| pair[0].value != pair[1].value)
}

/// The keys that are in conflict.
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
/// let second = put("a", "two", &[first]);
/// let contested = clock::contested(&blocks, &[second], 1)?;
/// assert!(contested.keys.is_empty() && !contested.complete); // one event was left out
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contested {
    /// The keys, ascending.
    pub keys: Vec<String>,
    /// Whether the whole history was looked at.
    pub complete: bool,
}

/// The keys that are in conflict at `head`, as far as the newest `most` events show.
///
/// Reads those events once. Only where events are concurrent can a conflict begin; there, each key
/// that was set more than once costs another look at that part.
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
/// let right = put("a", "three", &[first]);
/// assert_eq!(clock::contested(&blocks, &[left, right], 100)?.keys, ["a"]);
/// let settled = put("a", "four", &[left, right]);
/// assert!(clock::contested(&blocks, &[settled], 100)?.keys.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn contested(
    source: &impl EventSource,
    head: &[Cid],
    most: usize,
) -> Result<Contested, ClockError> {
    let mut frontier: Frontier<()> = Frontier::new(source, head)?;
    let mut keys = Vec::new();
    let mut settled: HashSet<String> = HashSet::new();
    // A part of the history that begins below `top`, and how many of its events set which key.
    let mut top = head.to_vec();
    let mut part: HashMap<String, (usize, Cid)> = HashMap::new();
    let mut left = most;
    let mut ended = false;
    loop {
        // All that was read descends from an event that waits alone, unless a line ended elsewhere.
        let cut = match frontier.heap.len() {
            0 => true,
            1 => !part.is_empty() && !ended,
            _ => false,
        };
        if cut || left == 0 {
            for (key, (times, _)) in part.drain() {
                if times > 1 && differ(&current_versions(source, &top, &key)?) {
                    keys.push(key.clone());
                }
                settled.insert(key);
            }
            top = frontier.heap.iter().map(|(_, event)| *event).collect();
        }
        if left == 0 {
            break;
        }
        let Some((cid, generation, ())) = frontier.pop() else {
            break;
        };
        left -= 1;
        let event = source.event(&cid)?;
        ended |= event.parents.is_empty();
        let deleted = match &event.data {
            Operation::Del { key } => Some(key.as_str()),
            _ => None,
        };
        for key in event.puts().map(|(key, _)| key).chain(deleted) {
            if key == GENESIS_KEY || settled.contains(key) {
                continue;
            }
            let seen = part.entry_ref(key).or_insert((0, cid));
            if seen.0 == 0 || seen.1 != cid {
                *seen = (seen.0 + 1, cid);
            }
        }
        for parent in &event.parents {
            frontier.tell(source, parent, generation, |()| {})?;
        }
    }
    keys.sort_unstable();
    Ok(Contested {
        keys,
        complete: frontier.heap.is_empty(),
    })
}

/// How a merge decided between versions.
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
/// let heads = ["two", "three"].map(|value| put("a", value, &[first]));
/// let decision = clock::decision(&blocks, &heads, &heads)?.expect("they are concurrent");
/// assert_eq!(decision.ancestor, first);
/// let (winner, _weight) = decision.order[1];
/// assert!(heads.contains(&winner));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The heads that were merged.
    pub heads: Vec<Cid>,
    /// Their common ancestor.
    pub ancestor: Cid,
    /// The versions that took part in the order of application, each with its weight. The last one
    /// wins: the lightest, and of equally light ones that with the greatest CID text.
    pub order: Vec<(Cid, u128)>,
    /// Whether the weights are distances ([`Sorted::by_distance`](super::Sorted)).
    pub by_distance: bool,
}

/// The merge that decided between concurrent `versions`, the newest one in the past of `head`.
///
/// Reads the events since the common ancestor of that merge.
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
/// let [left, right] = ["two", "three"].map(|value| put("a", value, &[first]));
/// let later = put("b", "four", &[left, right]);
/// let decision = clock::decision(&blocks, &[later], &[left, right])?;
/// assert!(decision.is_some_and(|decision| decision.order.len() == 2));
/// assert_eq!(clock::decision(&blocks, &[left], &[left])?, None); // no merge
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn decision(
    source: &impl EventSource,
    head: &[Cid],
    versions: &[Cid],
) -> Result<Option<Decision>, ClockError> {
    let mut heads = head.to_vec();
    loop {
        match heads.as_slice() {
            [] => return Ok(None),
            [only] if versions.contains(only) => return Ok(None),
            [only] => heads.clone_from(&source.event(only)?.parents),
            _ => {
                let sorted = sorted_events(source, &heads)?;
                let mut order = sorted.events;
                order.retain(|(event, _)| versions.contains(event));
                if !order.is_empty() {
                    return Ok(Some(Decision {
                        heads,
                        ancestor: sorted.ancestor,
                        order,
                        by_distance: sorted.by_distance,
                    }));
                }
                heads = vec![sorted.ancestor];
            }
        }
    }
}
