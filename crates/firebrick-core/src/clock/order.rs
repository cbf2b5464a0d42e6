//! The order in which concurrent events are replayed (format §6.4).

use super::sweep::{Longest, Outcome, Paths, Region, Weigh, WidePaths, sweep};
use super::{ClockError, EventSource, Graph};
use crate::cid::Cid;

/// What a merge of several heads replays, in order.
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
    let mut region: Region<W> = match sweep(graph, source, heads, usize::MAX, |_, _, _, _| {})? {
        Outcome::Done(region) => region,
        Outcome::OutOfRange => return Ok(None),
    };
    region.sort(graph);
    let weight = |id: &u32| (*graph.cid(*id), region.weights[*id as usize].weight());
    Ok(Some(Sorted {
        ancestor: *graph.cid(region.ancestor),
        events: region.events.iter().map(weight).collect(),
        by_distance: false,
    }))
}

impl<W: Weigh> Region<W> {
    /// Puts the events in the order of application.
    pub(crate) fn sort(&mut self, graph: &Graph) {
        let weights = &self.weights;
        self.events.sort_unstable_by(|a, b| {
            let (x, y) = (&weights[*a as usize], &weights[*b as usize]);
            y.weight()
                .cmp(&x.weight())
                .then_with(|| graph.cid(*a).cmp_text(graph.cid(*b)))
        });
    }
}
