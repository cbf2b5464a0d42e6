//! What changed since a head, in the order of the JavaScript implementation (format §14.3).
//!
//! This is for compatibility. Code that wants to know what really changed compares two versions of
//! the pail: with several heads this walk may report a value that lost.

use std::sync::Arc;

use hashbrown::HashSet;

use super::{ClockError, Event, EventSource};
use crate::cid::Cid;
use crate::document::GENESIS_KEY;

/// One key that changed.
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
/// let changes = clock::changes_since(&blocks, &[first], &[], None)?;
/// assert_eq!((changes[0].key.as_str(), changes[0].event), ("a", first));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// The key.
    pub key: String,
    /// The link that the event set.
    pub value: Cid,
    /// The event.
    pub event: Cid,
}

/// A list of links in the middle of being walked.
struct Level {
    links: Links,
    next: usize,
    limit: usize,
}

enum Links {
    Head(Vec<Cid>),
    Parents(Arc<Event>),
}

impl Links {
    fn list(&self) -> &[Cid] {
        match self {
            Links::Head(head) => head,
            Links::Parents(event) => &event.parents,
        }
    }
}

/// The keys changed by the events of `head` and their past, oldest first, each key once, at its
/// newest place along the walk.
///
/// The walk goes depth first along the parents in their order. It does not follow a list of parents
/// that names an event of `since`. `limit` is checked between events only, so that a batch may
/// exceed it; what is left out is the oldest.
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
/// let second = put("b", "two", &[first]);
/// let third = put("c", "three", &[second]);
/// let changes = clock::changes_since(&blocks, &[third], &[first], None)?;
/// let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
/// assert_eq!(keys, ["b", "c"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError`] if an event on the way is missing or damaged.
pub fn changes_since(
    source: &impl EventSource,
    head: &[Cid],
    since: &[Cid],
    limit: Option<usize>,
) -> Result<Vec<ChangedKey>, ClockError> {
    let since: HashSet<Cid> = since.iter().copied().collect();
    let stops = |links: &[Cid]| !since.is_empty() && links.iter().any(|link| since.contains(link));
    let mut changes = Vec::new();
    let mut keys = HashSet::new();
    let mut seen = HashSet::new();
    let mut levels = Vec::new();
    let limit = limit.unwrap_or(usize::MAX);
    if limit > 0 && !stops(head) {
        levels.push(Level {
            links: Links::Head(head.to_vec()),
            next: 0,
            limit,
        });
    }
    while let Some(level) = levels.last_mut() {
        let Some(link) = level.links.list().get(level.next).copied() else {
            levels.pop();
            continue;
        };
        level.next += 1;
        let mut limit = level.limit;
        let done = level.next == level.links.list().len();
        if !seen.insert(link) {
            continue;
        }
        let event = source.event(&link)?;
        for (key, value) in event.puts().rev() {
            if key == GENESIS_KEY || keys.contains(key) {
                continue;
            }
            keys.insert(key.to_owned());
            limit = limit.saturating_sub(1);
            changes.push(ChangedKey {
                key: key.to_owned(),
                value,
                event: link,
            });
        }
        // The limit that is left goes down with the walk; what is used up there is not missing here.
        level.limit = limit;
        if done {
            // So that a long chain of single parents needs no memory.
            levels.pop();
        }
        if limit > 0 && !stops(&event.parents) {
            levels.push(Level {
                links: Links::Parents(event),
                next: 0,
                limit,
            });
        }
    }
    changes.reverse();
    Ok(changes)
}
