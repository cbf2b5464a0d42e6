//! Which event sets each key last.

use hashbrown::HashMap;

use crate::cid::Cid;
use crate::clock::{ClockError, Event, EventSource, Graph, Outcome, Region, Weigh, sweep};

/// The place of a value that is not known yet.
const NONE: u32 = u32::MAX;

/// For each key the event that wins it.
#[derive(Debug, Default)]
pub(super) struct Winners {
    /// By key: one more than the number of the winning event, or zero.
    events: Vec<u32>,
    /// The keys that any event sets.
    keys: Vec<u32>,
    /// Where to find the winning value in `values`, as far as it is known: of keys that were new in
    /// this sweep, counted from the first of them, and of others.
    new_places: Vec<u32>,
    first_new: u32,
    old_places: HashMap<u32, u32>,
    values: Vec<Cid>,
    /// Whether a pail delete is among the events, so that winners do not tell the result.
    pub(super) deletes: bool,
}

impl Winners {
    /// Sweeps from `heads` and finds the winners; none if weights of this kind are out of range.
    pub(super) fn find<W: Weigh>(
        graph: &mut Graph,
        source: &impl EventSource,
        heads: &[u32],
        limit: usize,
    ) -> Result<Option<(Self, Region<W>)>, ClockError> {
        let mut winners = Winners {
            events: vec![0; graph.key_count() + graph.key_count() / 8],
            first_new: graph.key_count() as u32,
            ..Winners::default()
        };
        let outcome = sweep(graph, source, heads, limit, |graph, id, weights, event| {
            winners.deletes |= graph.is_delete(id);
            winners.visit::<W>(graph, id, weights, event);
        })?;
        Ok(match outcome {
            Outcome::Done(region) => Some((winners, region)),
            Outcome::OutOfRange => None,
        })
    }

    fn visit<W: Weigh>(
        &mut self,
        graph: &Graph,
        id: u32,
        weights: &[W::Cell],
        event: Option<&Event>,
    ) {
        if self.events.len() < graph.key_count() {
            let room = graph.key_count() + graph.key_count() / 2;
            self.events.resize(room, 0);
        }
        let mut puts = event.map(Event::puts);
        for key in graph.keys_of(id) {
            let value = puts.as_mut().and_then(Iterator::next);
            let winner = &mut self.events[*key as usize];
            match winner.checked_sub(1) {
                None => self.keys.push(*key),
                // Of several puts of one event the last counts.
                Some(winner) if winner == id => {}
                Some(winner) if beats::<W>(graph, weights, id, winner) => {}
                Some(_) => continue,
            }
            *winner = id + 1;
            self.set_value(*key, value.map(|(_, value)| value));
        }
    }

    fn set_value(&mut self, key: u32, value: Option<Cid>) {
        let place = match value {
            Some(value) => {
                self.values.push(value);
                self.values.len() as u32 - 1
            }
            None => NONE,
        };
        if let Some(new) = key.checked_sub(self.first_new) {
            let new = new as usize;
            if self.new_places.len() <= new {
                self.new_places.resize(new + 1, NONE);
            }
            self.new_places[new] = place;
        } else if place != NONE {
            self.old_places.insert(key, place);
        } else if !self.old_places.is_empty() {
            self.old_places.remove(&key);
        }
    }

    /// The winning value of a key, if it is known.
    pub(super) fn value(&self, key: u32) -> Option<Cid> {
        let place = match key.checked_sub(self.first_new) {
            Some(new) => self.new_places.get(new as usize),
            None => self.old_places.get(&key),
        };
        self.values.get(*place? as usize).copied()
    }

    /// The keys that any event sets.
    pub(super) fn keys(&self) -> &[u32] {
        &self.keys
    }

    /// The keys that another event wins than in `before`, or that nobody won then.
    pub(super) fn changed(&self, before: &[u32]) -> Vec<u32> {
        let differs = |key: &u32| {
            let at = *key as usize;
            before.get(at) != Some(&self.events[at])
        };
        self.keys.iter().copied().filter(differs).collect()
    }

    /// Makes sure that the values of `keys` are known.
    pub(super) fn read(
        &mut self,
        graph: &Graph,
        source: &impl EventSource,
        keys: &[u32],
    ) -> Result<(), ClockError> {
        let mut events: Vec<u32> = keys
            .iter()
            .filter(|key| self.value(**key).is_none())
            .map(|key| self.events[*key as usize] - 1)
            .collect();
        events.sort_unstable();
        events.dedup();
        for id in events {
            let event = source.event(graph.cid(id))?;
            for (key, (_, value)) in graph.keys_of(id).iter().zip(event.puts()) {
                if self.events[*key as usize] == id + 1 {
                    self.set_value(*key, Some(value));
                }
            }
        }
        Ok(())
    }

    /// The winning event of each key, for [`Self::changed`].
    pub(super) fn into_events(mut self) -> Vec<u32> {
        self.events.shrink_to_fit();
        self.events
    }
}

/// Whether `a` is applied after `b`: it has the smaller weight, or the greater CID text.
fn beats<W: Weigh>(graph: &Graph, weights: &[W::Cell], a: u32, b: u32) -> bool {
    let weight = |id: u32| W::weight(weights[id as usize]);
    let (x, y) = (weight(a), weight(b));
    x < y || x == y && graph.cid(a).cmp_text(graph.cid(b)).is_gt()
}
