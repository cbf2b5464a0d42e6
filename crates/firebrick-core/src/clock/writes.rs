//! Which values of a history can still matter.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::{ClockError, Event, EventSource, difference};
use crate::cid::Cid;

/// Numbers of keys held at once for branches that have not met yet. Beyond that some values count
/// as current which are not.
const BRANCH_KEYS_MAX: usize = 4 << 20;

/// One value that an event gave to a key.
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
/// clock::writes(&blocks, &[first], |_event, writes| {
///     assert_eq!((writes[0].key, writes[0].superseded), ("a", false));
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: Cid,
    /// A later event, one that descends from this one, set the key again. Only then can no merge,
    /// with whatever arrives, bring this value back.
    pub superseded: bool,
}

/// Visits every event of `head` and its past, children before their parents, with the values that
/// it wrote, the last one first.
///
/// A value that lost a merge is not superseded: an event that arrives later can make it win after
/// all, as it changes the order of the concurrent ones.
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
/// let mut seen = Vec::new();
/// clock::writes(&blocks, &[second], |event, writes| {
///     seen.push((*event, writes[0].superseded));
/// })?;
/// assert_eq!(seen, [(second, false), (first, true)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event is missing or damaged.
pub fn writes(
    source: &impl EventSource,
    head: &[Cid],
    mut visit: impl FnMut(&Cid, &[Write<'_>]),
) -> Result<(), ClockError> {
    let events = difference(source, head, &[])?;
    let mut walk = Walk::default();
    for cid in head {
        walk.reach(*cid, None);
    }
    for cid in events.into_iter().rev() {
        let event = source.event(&cid)?;
        let flags = walk.enter(&cid, &event);
        let puts = event.puts().rev().zip(flags);
        let writes: Vec<Write<'_>> = puts
            .map(|((key, value), superseded)| Write {
                key,
                value,
                superseded,
            })
            .collect();
        visit(&cid, &writes);
    }
    Ok(())
}

#[derive(Default)]
struct Walk {
    numbers: HashMap<String, u32>,
    /// Keys set by events that descend from everything that is left.
    later: HashSet<u32>,
    /// By event that was reached and not visited: the keys that its descendants set, but for those
    /// in `later`.
    open: HashMap<Cid, HashSet<u32>>,
    held: usize,
}

impl Walk {
    /// An event that something visited descends from.
    fn reach(&mut self, event: Cid, keys: Option<HashSet<u32>>) {
        let known = self.open.entry(event).or_default();
        let Some(mut keys) = keys else { return };
        self.held = self.held.saturating_sub(known.len() + keys.len());
        if known.len() > keys.len() {
            std::mem::swap(known, &mut keys);
        }
        known.extend(keys);
        self.held += known.len();
    }

    /// Visits an event: for each of its puts, from the last to the first, whether it is superseded.
    fn enter(&mut self, cid: &Cid, event: &Arc<Event>) -> Vec<bool> {
        let mut keys = self.open.remove(cid).unwrap_or_default();
        self.held = self.held.saturating_sub(keys.len());
        // All that is left lies in the past of this event, and so of everything visited.
        let alone = self.open.is_empty();
        if alone {
            self.later.extend(keys.drain());
        }
        let mut flags = Vec::with_capacity(event.puts().len());
        for (key, _) in event.puts().rev() {
            let next = self.numbers.len() as u32;
            let number = *self.numbers.entry_ref(key).or_insert(next);
            let known = self.later.contains(&number) || keys.contains(&number);
            flags.push(known);
            if !known {
                let set = if alone { &mut self.later } else { &mut keys };
                set.insert(number);
            }
        }
        let mut parents = event.parents.iter().peekable();
        let mut keys = Some(keys);
        while let Some(parent) = parents.next() {
            let passed = match (parents.peek(), &keys) {
                (None, _) => keys.take(),
                (Some(_), Some(keys)) if self.held + keys.len() <= BRANCH_KEYS_MAX => {
                    self.held += keys.len();
                    Some(keys.clone())
                }
                _ => None,
            };
            if parents.peek().is_none() {
                self.held += passed.as_ref().map_or(0, HashSet::len);
            }
            self.reach(*parent, passed);
        }
        flags
    }
}
