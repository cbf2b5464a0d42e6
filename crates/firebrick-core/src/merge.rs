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
#[must_use]
pub fn merge_event(head: &[Cid], root: Cid) -> Event {
    Event::new(Operation::Batch(Vec::new()), root, head.iter().copied())
}
