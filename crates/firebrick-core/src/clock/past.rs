//! The past of a head, newest first.

use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{ClockError, Event, EventSource};
use crate::cid::Cid;

/// The events that are next, each with what its descendants told it.
#[derive(Debug)]
pub(super) struct Frontier<T> {
    pub(super) heap: BinaryHeap<(u64, Cid)>,
    pub(super) told: HashMap<Cid, T>,
}

impl<T: Default> Frontier<T> {
    pub(super) fn new(source: &impl EventSource, head: &[Cid]) -> Result<Self, ClockError> {
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
    pub(super) fn pop(&mut self) -> Option<(Cid, u64, T)> {
        let (generation, event) = self.heap.pop()?;
        let told = self.told.remove(&event).unwrap_or_default();
        Some((event, generation, told))
    }

    /// Passes something on to an event, which must be older than `below`.
    pub(super) fn tell(
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
