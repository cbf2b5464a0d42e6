//! The order in which concurrent events are replayed (format §6.4).

use super::sweep::{Longest, Outcome, Paths, Region, Weigh, WidePaths, sweep};
use super::{ClockError, EventSource, Graph};
use crate::cid::Cid;

/// What a merge of several heads replays, in order.
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
/// let right = put("b", "three", &[first]);
/// let sorted = clock::sorted_events(&blocks, &[left, right])?;
/// assert_eq!(sorted.ancestor, first);
/// assert!(!sorted.by_distance); // that takes far more paths
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorted {
    /// The event whose root the replay starts from.
    pub ancestor: Cid,
    /// The events in order of application, each with its weight. Of two that set the same key the
    /// later one wins.
    pub events: Vec<(Cid, u128)>,
    /// Whether the weights are distances: the longest paths from the heads. So it is where the sum
    /// over all paths exceeds 2^120 for any event.
    pub by_distance: bool,
}

/// The events to replay for the state of several heads, with their weights.
///
/// Events are applied by descending weight, of equal weights by ascending CID text. An event always
/// weighs more than its descendants, so causes come before effects. A single head has nothing to
/// replay.
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
/// let later = put("a", "three", &[left]);
/// let right = put("b", "four", &[first]);
/// let sorted = clock::sorted_events(&blocks, &[later, right])?;
/// let place = |event| sorted.events.iter().position(|(cid, _)| *cid == event);
/// assert!(place(left) < place(later)); // causes come before effects
/// assert!(clock::sorted_events(&blocks, &[later])?.events.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ClockError::Unrelated`] if the heads have no common ancestor, else whatever prevents reading.
pub fn sorted_events(source: &impl EventSource, heads: &[Cid]) -> Result<Sorted, ClockError> {
    let mut graph = Graph::new();
    let ids = graph.intern_all(source, heads)?;
    if let [head] = ids.as_slice() {
        return Ok(Sorted {
            ancestor: *graph.cid(*head),
            events: Vec::new(),
            by_distance: false,
        });
    }
    if let Some(sorted) = sorted::<Paths>(&mut graph, source, &ids)? {
        return Ok(sorted);
    }
    if let Some(sorted) = sorted::<WidePaths>(&mut graph, source, &ids)? {
        return Ok(sorted);
    }
    let sorted = sorted::<Longest>(&mut graph, source, &ids)?.ok_or(ClockError::Unrelated)?;
    Ok(Sorted {
        by_distance: true,
        ..sorted
    })
}

fn sorted<W: Weigh>(
    graph: &mut Graph,
    source: &impl EventSource,
    heads: &[u32],
) -> Result<Option<Sorted>, ClockError> {
    let Some(Replayed { region, events }) = replayed::<W>(graph, source, heads, usize::MAX)? else {
        return Ok(None);
    };
    let weight = |id: &u32| (*graph.cid(*id), W::weight(region.weights[*id as usize]));
    Ok(Some(Sorted {
        ancestor: *graph.cid(region.ancestor),
        events: events.iter().map(weight).collect(),
        by_distance: false,
    }))
}

/// A region with its events in the order of application.
pub(crate) struct Replayed<W: Weigh> {
    pub(crate) region: Region<W>,
    pub(crate) events: Vec<u32>,
}

/// The events to replay in the order of application; none if a weight is out of range.
pub(crate) fn replayed<W: Weigh>(
    graph: &mut Graph,
    source: &impl EventSource,
    heads: &[u32],
    limit: usize,
) -> Result<Option<Replayed<W>>, ClockError> {
    let mut events = Vec::new();
    let outcome = sweep(graph, source, heads, limit, |_, id, _, _| events.push(id))?;
    let Outcome::Done(region) = outcome else {
        return Ok(None);
    };
    let weight = |id: &u32| W::weight(region.weights[*id as usize]);
    events.sort_unstable_by(|a, b| {
        let by_text = || graph.cid(*a).cmp_text(graph.cid(*b));
        weight(b).cmp(&weight(a)).then_with(by_text)
    });
    Ok(Some(Replayed { region, events }))
}
