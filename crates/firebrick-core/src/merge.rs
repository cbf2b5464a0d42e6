//! The state that several heads stand for (format §6.4).
//!
//! The format defines it as a replay: take the root of the common ancestor, apply the operations of
//! all events since then in their order. Only puts occur, and the tree depends on the last value of
//! each key alone, so [`Resolver`] finds the winner of each key and applies the winners at once, to
//! the known tree that is nearest to the result. [`Replay`] does it literally, for writers that
//! reproduce the blocks of a commit exactly.

mod base;
mod merging;
mod replay;
mod resolver;
mod winners;

pub use replay::Replay;
pub use resolver::{Limits, Resolver};

use crate::cid::Cid;
use crate::clock::{ClockError, Event, Operation};
use crate::pail::PailError;

/// Why the state of several heads could not be computed.
///
/// ```
/// use firebrick_core::clock::ClockError;
/// use firebrick_core::merge::{Limits, MergeError, Resolver};
/// # use firebrick_core::clock::{Event, EventSource, Operation};
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let commit = |key: &str, text: &str, parent: Option<Cid>| {
/// #     let before = match parent {
/// #         Some(parent) => Tree::at(blocks.event(&parent)?.root),
/// #         None => Tree::empty(),
/// #     };
/// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
/// #     let tree = blocks.save(&before.put(&blocks, &key, value)?);
/// #     let data = Operation::Put { key, value };
/// #     Ok::<Cid, firebrick_core::merge::MergeError>(blocks.add(Event::new(data, tree.root(), parent)))
/// # };
///
/// let heads = [commit("a", "one", None)?, commit("a", "two", None)?]; // both without parents
/// match Resolver::new(Limits::default()).resolve(&blocks, &blocks, &heads) {
///     Err(MergeError::Clock(ClockError::Unrelated)) => {}
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// An event is missing or damaged, or the heads are unrelated.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// A shard is missing or damaged.
    #[error(transparent)]
    Pail(#[from] PailError),
}

impl MergeError {
    /// The missing block, if that is what went wrong.
    ///
    /// ```
    /// use firebrick_core::merge::{Limits, Resolver};
    /// # use firebrick_core::clock::{Event, EventSource, Operation};
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let commit = |key: &str, text: &str, parent: Option<Cid>| {
    /// #     let before = match parent {
    /// #         Some(parent) => Tree::at(blocks.event(&parent)?.root),
    /// #         None => Tree::empty(),
    /// #     };
    /// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
    /// #     let tree = blocks.save(&before.put(&blocks, &key, value)?);
    /// #     let data = Operation::Put { key, value };
    /// #     Ok::<Cid, firebrick_core::merge::MergeError>(blocks.add(Event::new(data, tree.root(), parent)))
    /// # };
    ///
    /// let first = commit("a", "one", None)?; // key, value, parent
    /// blocks.remove(&first);
    /// let error = Resolver::new(Limits::default()).resolve(&blocks, &blocks, &[first]);
    /// assert_eq!(error.expect_err("it is gone").missing(), Some(first));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn missing(&self) -> Option<Cid> {
        match self {
            MergeError::Clock(error) => error.missing(),
            MergeError::Pail(error) => error.missing(),
        }
    }
}

/// The event that pins the merge of `head`, whose state has the root `root`.
///
/// It depends on nothing else, so everybody who merges the same heads makes the same event, and
/// making it settles matters instead of starting another round.
///
/// ```
/// use firebrick_core::merge::{Limits, Resolver, merge_event};
/// # use firebrick_core::clock::{Event, EventSource, Operation};
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let commit = |key: &str, text: &str, parent: Option<Cid>| {
/// #     let before = match parent {
/// #         Some(parent) => Tree::at(blocks.event(&parent)?.root),
/// #         None => Tree::empty(),
/// #     };
/// #     let (key, value) = (key.to_owned(), Cid::of(Codec::DagCbor, text.as_bytes()));
/// #     let tree = blocks.save(&before.put(&blocks, &key, value)?);
/// #     let data = Operation::Put { key, value };
/// #     Ok::<Cid, firebrick_core::merge::MergeError>(blocks.add(Event::new(data, tree.root(), parent)))
/// # };
///
/// let first = commit("a", "one", None)?; // key, value, parent
/// let left = commit("b", "two", Some(first))?;
/// let right = commit("c", "three", Some(first))?;
/// let root = Resolver::new(Limits::default()).resolve(&blocks, &blocks, &[left, right])?.root();
/// let event = merge_event(&[left, right], root);
/// assert_eq!(event.puts().len(), 0);
/// assert_eq!(event, merge_event(&[right, left], root)); // whoever makes it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn merge_event(head: &[Cid], root: Cid) -> Event {
    Event::new(Operation::Batch(Vec::new()), root, head.iter().copied())
}
