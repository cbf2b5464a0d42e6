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

/// The number of paths from the heads and the sum of their lengths, in as few bits as nearly always
/// suffice.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Paths {
    count: u64,
    lengths: u64,
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
        self.lengths < u64::MAX
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
    /// The events to replay, each behind all its descendants.
    pub(crate) events: Vec<u32>,
    /// By event.
    pub(crate) weights: Vec<W>,
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
/// `visit` gets every event with its final weight, and its block if that was just read.
pub(crate) fn sweep<W: Weigh, S: EventSource>(
    graph: &mut Graph,
    source: &S,
    heads: &[u32],
    limit: usize,
    mut visit: impl FnMut(&Graph, u32, &[W], Option<&Event>),
) -> Result<Outcome<W>, ClockError> {
    let mut weights = vec![W::default(); graph.len()];
    let mut flags = vec![0_u8; graph.len()];
    let mut heap = BinaryHeap::with_capacity(heads.len() + 1);
    for head in heads {
        if flags[*head as usize] == 0 {
            flags[*head as usize] = SEEN | KEPT;
            weights[*head as usize].start();
            heap.push(graph.rank(*head));
        }
    }
    let mut events = Vec::new();
    let mut ancestor = None;
    while let Some(top) = heap.peek().copied() {
        let id = top as u32;
        if ancestor.is_none() && heap.len() == 1 {
            ancestor = Some(id);
            if flags[id as usize] & KEPT == 0 {
                break;
            }
            let head = heads.contains(&id);
            weights[id as usize] = counted(graph, &events, &weights, id, head);
        }
        if !weights[id as usize].in_range() {
            return Ok(Outcome::OutOfRange);
        }
        if events.len() == limit {
            return Err(ClockError::TooMany(limit));
        }
        let event = graph.read(source, id)?;
        weights.resize(graph.len(), W::default());
        flags.resize(graph.len(), 0);
        visit(graph, id, &weights, event.as_deref());
        events.push(id);

        let parents = graph.parents(id);
        if parents.is_empty() && ancestor.is_none() {
            return Err(ClockError::Unrelated);
        }
        let kept = if parents.len() > 1 { KEPT } else { 0 };
        let own = weights[id as usize];
        // Passes the weight on; tells whether the parent is met for the first time.
        let mut reach = |parent: &&u32| {
            own.pass(&mut weights[**parent as usize]);
            let flag = &mut flags[**parent as usize];
            let new = *flag & SEEN == 0;
            *flag |= SEEN | kept;
            new
        };
        let mut parents = parents.iter();
        // The first new parent takes the place of its child in the heap.
        match (heap.peek_mut(), parents.by_ref().find(&mut reach)) {
            (Some(mut place), Some(parent)) => *place = graph.rank(*parent),
            (Some(place), None) => drop(PeekMut::pop(place)),
            (None, _) => {}
        }
        heap.extend(parents.filter(reach).map(|parent| graph.rank(*parent)));
    }
    let Some(ancestor) = ancestor else {
        return Err(ClockError::Unrelated);
    };
    Ok(Outcome::Done(Region {
        ancestor,
        below: flags[ancestor as usize] & KEPT != 0,
        events,
        weights,
    }))
}

/// The weight of the ancestor where it is replayed itself: an event whose only parent is the
/// ancestor does not lead to it, so those paths do not count.
fn counted<W: Weigh>(graph: &Graph, events: &[u32], weights: &[W], ancestor: u32, head: bool) -> W {
    let mut weight = W::default();
    if head {
        weight.start();
    }
    for event in events {
        let parents = graph.parents(*event);
        if parents.len() > 1 {
            for _ in parents.iter().filter(|parent| **parent == ancestor) {
                weights[*event as usize].pass(&mut weight);
            }
        }
    }
    weight
}
