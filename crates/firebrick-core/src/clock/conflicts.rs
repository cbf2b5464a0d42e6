//! The keys that are in conflict, and how a merge decided.
//!
//! A key is *in conflict* if its current versions differ: neither the pail nor an event that pins a
//! merge changes that, only a write that descends from all of them.

use hashbrown::{HashMap, HashSet};

use super::past::Frontier;
use super::{ClockError, EventSource, Operation, Version, current_versions, sorted_events};
use crate::cid::Cid;
use crate::document::GENESIS_KEY;

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
