//! The versions of one key.
//!
//! A *version* of a key is an event that sets it. One is *current* if no other descends from it.
//!
//! Every walk goes down by generation, reads each event once, and keeps no more than the width of
//! the history and what it was asked for.

use std::collections::VecDeque;

use super::past::Frontier;
use super::{ClockError, Event, EventSource, Operation};
use crate::cid::Cid;
use crate::document::TOMBSTONE;

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
