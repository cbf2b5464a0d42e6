//! One pass over the events that a merge replays: the common ancestor, and a weight for each.
//!
//! Events are visited by descending generation, so each comes after all its descendants. As soon as
//! a single event is left to visit, all paths pass through it, and no nearer event has that
//! property: it is the common ancestor that the format defines by growing lists of candidates
//! (format §6.3; the tests hold the two against each other). What was visited until then is what
//! the merge replays, and because every path into an event was counted before it is visited, its
//! weight (format §6.4) is final at that moment.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::{ClockError, Event, EventSource, Graph};

/// How events are weighed. The greater weight is applied first.
pub(crate) trait Weigh: Copy + Default {
    /// A path that ends here, at a head.
    fn start(&mut self);

    /// The paths into `self` go on to a parent.
    fn pass(&self, parent: &mut Self);

    /// Whether the weight is exact.
    fn in_range(&self) -> bool {
        true
    }

    /// The weight, once all paths were passed on to here.
    fn weight(&self) -> u128;
}

/// The number of paths from the heads and the sum of their lengths, in a few bits: enough for long
/// histories as long as they seldom fork, and the memory is what such a sweep costs.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Paths {
    count: u32,
    lengths: u32,
}

/// The same, exact up to 2^120.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct WidePaths {
    count: u128,
    lengths: u128,
}

/// The length of the longest path, for histories whose path counts are out of range.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Longest(u32);

impl Weigh for Paths {
    fn start(&mut self) {
        self.count += 1;
    }

    fn pass(&self, parent: &mut Self) {
        parent.count = parent.count.saturating_add(self.count);
        parent.lengths = parent
            .lengths
            .saturating_add(self.lengths.saturating_add(self.count));
    }

    fn in_range(&self) -> bool {
        // Below a head, the sum of the lengths is no less than the count.
        self.lengths < u32::MAX
    }

    fn weight(&self) -> u128 {
        u128::from(self.lengths)
    }
}

impl WidePaths {
    /// The greatest weight that is used; any reader of the DAG must use the same limit.
    const LIMIT: u128 = 1 << 120;
}

impl Weigh for WidePaths {
    fn start(&mut self) {
        self.count += 1;
    }

    fn pass(&self, parent: &mut Self) {
        parent.count = parent.count.saturating_add(self.count);
        parent.lengths = parent
            .lengths
            .saturating_add(self.lengths.saturating_add(self.count));
    }

    fn in_range(&self) -> bool {
        self.lengths <= Self::LIMIT
    }

    fn weight(&self) -> u128 {
        self.lengths
    }
}

impl Weigh for Longest {
    fn start(&mut self) {}

    fn pass(&self, parent: &mut Self) {
        parent.0 = parent.0.max(self.0.saturating_add(1));
    }

    fn weight(&self) -> u128 {
        u128::from(self.0)
    }
}

/// What a merge of several heads replays.
#[derive(Debug)]
pub(crate) struct Region<W> {
    /// The common ancestor.
    pub(crate) ancestor: u32,
    /// By event.
    pub(crate) weights: Vec<W>,
    flags: Vec<u8>,
    /// Whether the ancestor itself, and with it everything below, is replayed.
    pub(crate) below: bool,
}

/// How a sweep ended.
#[derive(Debug)]
pub(crate) enum Outcome<W> {
    Done(Region<W>),
    /// A weight is out of range.
    OutOfRange,
}

const SEEN: u8 = 1;
/// A head, or a parent of an event with several parents: its edge from above counts even if it
/// turns out to be the ancestor.
const KEPT: u8 = 2;

/// Sweeps from `heads`, which are at least two different events, down to their common ancestor.
///
/// `visit` gets every event to replay, behind all its descendants, with its final weight, and its
/// block if that was just read.
pub(crate) fn sweep<W: Weigh, S: EventSource>(
    graph: &mut Graph,
    source: &S,
    heads: &[u32],
    limit: usize,
    mut visit: impl FnMut(&Graph, u32, &[W], Option<&Event>),
) -> Result<Outcome<W>, ClockError> {
    let mut sweep = Sweep::<W>::new(graph, heads);
    let mut visited = 0;
    let mut ancestor = None;
    while let Some((id, last)) = sweep.pop() {
        if last && ancestor.is_none() {
            ancestor = Some(id);
            if sweep.flags[id as usize] & KEPT == 0 {
                break;
            }
            sweep.count_again(graph, id, heads.contains(&id));
        }
        if !sweep.weights[id as usize].in_range() {
            return Ok(Outcome::OutOfRange);
        }
        if visited == limit {
            return Err(ClockError::TooMany(limit));
        }
        visited += 1;
        let event = graph.read(source, id)?;
        if event.is_some() {
            sweep.grow(graph.len());
        }
        visit(graph, id, &sweep.weights, event.as_deref());
        sweep.pass_on(graph, id);
        if ancestor.is_none() && graph.parents(id).is_empty() {
            return Err(ClockError::Unrelated);
        }
    }
    let Some(ancestor) = ancestor else {
        return Err(ClockError::Unrelated);
    };
    Ok(Outcome::Done(Region {
        ancestor,
        below: sweep.flags[ancestor as usize] & KEPT != 0,
        weights: sweep.weights,
        flags: sweep.flags,
    }))
}

impl<W> Region<W> {
    /// Whether an event is replayed.
    pub(crate) fn replays(&self, id: u32) -> bool {
        let seen = self.flags.get(id as usize).is_some_and(|flags| *flags != 0);
        seen && (self.below || id != self.ancestor)
    }
}

/// The state of a sweep.
struct Sweep<W> {
    weights: Vec<W>,
    flags: Vec<u8>,
    /// The next event unless `waiting` holds a later one: so a chain needs no queue.
    next: Option<u64>,
    waiting: BinaryHeap<u64>,
    /// Visited events with several parents.
    joints: Vec<u32>,
}

impl<W: Weigh> Sweep<W> {
    fn new(graph: &Graph, heads: &[u32]) -> Self {
        let mut sweep = Self {
            weights: vec![W::default(); graph.len()],
            flags: vec![0; graph.len()],
            next: None,
            waiting: BinaryHeap::with_capacity(heads.len()),
            joints: Vec::new(),
        };
        for head in heads {
            sweep.flags[*head as usize] = SEEN | KEPT;
            sweep.weights[*head as usize].start();
            sweep.waiting.push(graph.rank(*head));
        }
        sweep
    }

    fn grow(&mut self, events: usize) {
        self.weights.resize(events, W::default());
        self.flags.resize(events, 0);
    }

    /// The event of the highest rank, and whether no other is left.
    fn pop(&mut self) -> Option<(u32, bool)> {
        let top = match (self.next.take(), self.waiting.peek_mut()) {
            (Some(next), Some(mut first)) if *first > next => std::mem::replace(&mut *first, next),
            (Some(next), _) => next,
            (None, Some(first)) => PeekMut::pop(first),
            (None, None) => return None,
        };
        Some((top as u32, self.waiting.is_empty()))
    }

    /// Passes the weight of a visited event on to its parents.
    fn pass_on(&mut self, graph: &Graph, id: u32) {
        let own = self.weights[id as usize];
        let parents = graph.parents(id);
        let mut flag = SEEN;
        if parents.len() > 1 {
            flag |= KEPT;
            self.joints.push(id);
        }
        for parent in parents {
            own.pass(&mut self.weights[*parent as usize]);
            let flags = &mut self.flags[*parent as usize];
            let new = *flags & SEEN == 0;
            *flags |= flag;
            if new && let Some(other) = self.next.replace(graph.rank(*parent)) {
                self.waiting.push(other);
            }
        }
    }

    /// Weighs the ancestor where it is replayed itself: an event whose only parent is the ancestor
    /// does not lead to it, so those paths do not count.
    fn count_again(&mut self, graph: &Graph, ancestor: u32, head: bool) {
        let mut weight = W::default();
        if head {
            weight.start();
        }
        for joint in &self.joints {
            if graph.parents(*joint).contains(&ancestor) {
                self.weights[*joint as usize].pass(&mut weight);
            }
        }
        self.weights[ancestor as usize] = weight;
    }
}
