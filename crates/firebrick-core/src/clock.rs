//! The Merkle clock: events, heads, and questions about their order (format §6).
//!
//! The functions here answer one question each and forget what they read. A [`Graph`] answers the
//! same questions and remembers the shape of what it has seen, so that the next answer needs no
//! reading; [`crate::merge::Resolver`] holds one.

mod changes;
mod conflicts;
mod event;
mod graph;
mod order;
mod past;
mod sweep;
mod versions;
mod walk;
mod writes;

pub use changes::{ChangedKey, changes_since};
pub use conflicts::{Contested, Decision, contested, decision, differ};
pub use event::{Event, EventError, Op, Operation};
pub use graph::Graph;
pub use order::{Sorted, sorted_events};
pub use past::{Past, past};
pub use versions::{PastVersion, Version, Versions, current_versions, version_in, versions};
pub use walk::{advance, common_ancestor, contains, difference, join};
pub use writes::{Write, writes};

pub(crate) use order::replayed;
pub(crate) use sweep::{Longest, Outcome, Paths, Region, Weigh, WidePaths, sweep};

use std::error::Error;
use std::sync::Arc;

use crate::cid::Cid;

/// Where events come from.
///
/// The source answers for the blocks: they must have the CID that was asked for. With that, no
/// event can be its own ancestor.
///
/// ```
/// use firebrick_core::Cid;
/// use firebrick_core::clock::{self, ClockError, Event, EventSource};
///
/// /// Says what is read.
/// struct Told<S>(S);
///
/// impl<S: EventSource> EventSource for Told<S> {
///     fn event(&self, cid: &Cid) -> Result<std::sync::Arc<Event>, ClockError> {
///         println!("reads {cid}");
///         self.0.event(cid)
///     }
///
///     fn generation(&self, cid: &Cid) -> Result<u64, ClockError> {
///         self.0.generation(cid)
///     }
/// }
/// # use firebrick_core::memory::MemoryBlocks;
/// # use firebrick_core::pail::EMPTY_ROOT;
/// # let blocks = MemoryBlocks::new();
/// # let pin = || clock::Operation::Batch(Vec::new());
/// # let first = blocks.add(Event::new(pin(), EMPTY_ROOT, []));
/// # let second = blocks.add(Event::new(pin(), EMPTY_ROOT, [first]));
///
/// assert!(clock::contains(&Told(blocks), &[second], &first)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait EventSource {
    /// The event with this CID.
    ///
    /// ```
    /// use firebrick_core::clock::EventSource;
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
    /// assert_eq!(blocks.event(&second)?.parents, [first]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ClockError::Missing`] if the source does not have it, [`ClockError::Invalid`] if the block
    /// is not an event, [`ClockError::Source`] if reading failed.
    fn event(&self, cid: &Cid) -> Result<Arc<Event>, ClockError>;

    /// The length of the longest path from this event to one without parents: 0 for an event
    /// without parents, else one more than the greatest of its parents.
    ///
    /// ```
    /// use firebrick_core::clock::EventSource;
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
    /// assert_eq!((blocks.generation(&first)?, blocks.generation(&second)?), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::event`].
    fn generation(&self, cid: &Cid) -> Result<u64, ClockError>;
}

impl<S: EventSource + ?Sized> EventSource for &S {
    fn event(&self, cid: &Cid) -> Result<Arc<Event>, ClockError> {
        (**self).event(cid)
    }

    fn generation(&self, cid: &Cid) -> Result<u64, ClockError> {
        (**self).generation(cid)
    }
}

impl<S: EventSource + ?Sized> EventSource for Arc<S> {
    fn event(&self, cid: &Cid) -> Result<Arc<Event>, ClockError> {
        (**self).event(cid)
    }

    fn generation(&self, cid: &Cid) -> Result<u64, ClockError> {
        (**self).generation(cid)
    }
}

/// Why a question about events has no answer.
///
/// ```
/// use firebrick_core::clock::{self, ClockError};
/// # use firebrick_core::clock::{Event, Operation};
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::EMPTY_ROOT};
/// # let blocks = MemoryBlocks::new();
/// # let put = |key: &str, text: &str, parents: &[Cid]| {
/// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
/// #     let data = Operation::Put { key, value };
/// #     blocks.add(Event::new(data, EMPTY_ROOT, parents.iter().copied()))
/// # };
///
/// let heads = [put("a", "one", &[]), put("a", "two", &[])]; // both without parents
/// match clock::sorted_events(&blocks, &heads) {
///     Err(ClockError::Unrelated) => {}
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// An event is not in the source.
    #[error("the event {0} is missing")]
    Missing(Cid),
    /// A block is not an event.
    #[error("the block {cid} is not a valid event: {reason}")]
    Invalid {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        reason: String,
    },
    /// More events than the limit allows take part.
    #[error("more than {0} events take part")]
    TooMany(usize),
    /// The events have no ancestor in common: they belong to unrelated ledgers.
    #[error("the events have no common ancestor: they belong to unrelated ledgers")]
    Unrelated,
    /// The source failed.
    #[error("reading an event failed")]
    Source(#[source] Box<dyn Error + Send + Sync>),
}

impl ClockError {
    /// The missing block, if that is what went wrong.
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
    /// blocks.remove(&first);
    /// let error = clock::difference(&blocks, &[second], &[]).expect_err("one is gone");
    /// assert_eq!(error.missing(), Some(first));
    /// ```
    #[must_use]
    pub fn missing(&self) -> Option<Cid> {
        match self {
            ClockError::Missing(cid) => Some(*cid),
            _ => None,
        }
    }
}
