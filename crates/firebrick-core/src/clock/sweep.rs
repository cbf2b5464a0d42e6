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
pub(crate) trait Weigh {
    /// What is kept for each event. Zeros at first, as a kind of number of which large vectors come
    /// from the system without being written to: a sweep costs what it visits.
    type Cell: Copy + Default;

    /// A path that ends here, at a head.
    fn start(cell: &mut Self::Cell);

    /// The paths into an event go on to a parent.
    fn pass(from: Self::Cell, parent: &mut Self::Cell);

    /// Whether the weight is exact.
    fn in_range(cell: Self::Cell) -> bool;

    /// The weight, once all paths were passed on to here.
    fn weight(cell: Self::Cell) -> u128;
}

/// The number of paths from the heads and the sum of their lengths, in a few bits: enough for long
/// histories as long as they seldom fork, and the memory is what such a sweep costs.
pub(crate) enum Paths {}

/// The same, exact up to 2^120.
pub(crate) enum WidePaths {}

/// The length of the longest path, for histories whose path counts are out of range.
pub(crate) enum Longest {}

impl Weigh for Paths {
    type Cell = [u32; 2];

    fn start([count, _]: &mut [u32; 2]) {
        *count += 1;
    }

    fn pass([count, lengths]: [u32; 2], parent: &mut [u32; 2]) {
        parent[0] = parent[0].saturating_add(count);
        parent[1] = parent[1].saturating_add(lengths.saturating_add(count));
    }

    fn in_range([_, lengths]: [u32; 2]) -> bool {
        // Below a head, the sum of the lengths is no less than the count.
        lengths < u32::MAX
    }

    fn weight([_, lengths]: [u32; 2]) -> u128 {
        u128::from(lengths)
    }
}

/// The greatest weight that is used. Whoever reads the same history must draw the same line.
const WEIGHT_MAX: u128 = 1 << 120;

impl Weigh for WidePaths {
    type Cell = [u128; 2];

    fn start([count, _]: &mut [u128; 2]) {
        *count += 1;
    }

    fn pass([count, lengths]: [u128; 2], parent: &mut [u128; 2]) {
        parent[0] = parent[0].saturating_add(count);
        parent[1] = parent[1].saturating_add(lengths.saturating_add(count));
    }

    fn in_range([_, lengths]: [u128; 2]) -> bool {
        lengths <= WEIGHT_MAX
    }

    fn weight([_, lengths]: [u128; 2]) -> u128 {
        lengths
    }
}

impl Weigh for Longest {
    type Cell = u32;

    fn start(_: &mut u32) {}

    fn pass(length: u32, parent: &mut u32) {
        *parent = (*parent).max(length.saturating_add(1));
    }

    fn in_range(_: u32) -> bool {
        true
    }

    fn weight(length: u32) -> u128 {
        u128::from(length)
    }
}

/// What a merge of several heads replays.
pub(crate) struct Region<W: Weigh> {
    /// The common ancestor.
    pub(crate) ancestor: u32,
    /// By event.
    pub(crate) weights: Vec<W::Cell>,
    flags: Vec<u8>,
    /// Whether the ancestor itself, and with it everything below, is replayed.
    pub(crate) below: bool,
}

/// How a sweep ended.
pub(crate) enum Outcome<W: Weigh> {
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
    mut visit: impl FnMut(&Graph, u32, &[W::Cell], Option<&Event>),
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
        if !W::in_range(sweep.weights[id as usize]) {
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

impl<W: Weigh> Region<W> {
    /// Whether an event is replayed.
    pub(crate) fn replays(&self, id: u32) -> bool {
        let seen = self.flags.get(id as usize).is_some_and(|flags| *flags != 0);
        seen && (self.below || id != self.ancestor)
    }
}

/// The state of a sweep.
struct Sweep<W: Weigh> {
    weights: Vec<W::Cell>,
    flags: Vec<u8>,
    /// The next event unless `waiting` holds a later one: so a chain needs no queue.
    next: Option<u64>,
    waiting: BinaryHeap<u64>,
    /// Visited events with several parents.
    joints: Vec<u32>,
}

impl<W: Weigh> Sweep<W> {
    fn new(graph: &Graph, heads: &[u32]) -> Self {
        let room = graph.len() + graph.len() / 8 + 64;
        let mut sweep = Self {
            weights: vec![W::Cell::default(); room],
            flags: vec![0; room],
            next: None,
            waiting: BinaryHeap::with_capacity(heads.len()),
            joints: Vec::new(),
        };
        for head in heads {
            sweep.flags[*head as usize] = SEEN | KEPT;
            W::start(&mut sweep.weights[*head as usize]);
            sweep.waiting.push(graph.rank(*head));
        }
        sweep
    }

    fn grow(&mut self, events: usize) {
        if events > self.flags.len() {
            let room = events + events / 2;
            self.weights.resize(room, W::Cell::default());
            self.flags.resize(room, 0);
        }
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
            W::pass(own, &mut self.weights[*parent as usize]);
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
        let mut weight = W::Cell::default();
        if head {
            W::start(&mut weight);
        }
        for joint in &self.joints {
            if graph.parents(*joint).contains(&ancestor) {
                W::pass(self.weights[*joint as usize], &mut weight);
            }
        }
        self.weights[ancestor as usize] = weight;
    }
}
