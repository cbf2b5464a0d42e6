//! One merge: from the winners to the tree.

use std::cmp::Reverse;

use super::MergeError;
use super::base::{apply_to, apply_to_later};
use super::resolver::{Last, Resolver};
use super::winners::Winners;
use crate::cid::Cid;
use crate::clock::{
    ClockError, EventSource, Longest, Operation, Paths, Region, Weigh, WidePaths, replayed,
};
use crate::pail::{PailError, ShardSource, Tree};

/// One merge in the making.
pub(super) struct Merging<'a, E, S> {
    pub(super) resolver: &'a mut Resolver,
    pub(super) events: &'a E,
    pub(super) shards: &'a S,
    pub(super) heads: &'a [u32],
    /// Trees that are known, by their heads.
    pub(super) at_hand: &'a [(Vec<Cid>, Tree)],
}

impl<E: EventSource, S: ShardSource> Merging<'_, E, S> {
    /// The tree of the merge.
    pub(super) fn finish(mut self) -> Result<Tree, MergeError> {
        if let Some(tree) = self.weigh::<Paths>()? {
            return Ok(tree);
        }
        if let Some(tree) = self.weigh::<WidePaths>()? {
            return Ok(tree);
        }
        self.weigh::<Longest>()?
            .ok_or(MergeError::Clock(ClockError::Unrelated))
    }

    /// The merge with weights of this kind; none if they are out of range.
    fn weigh<W: Weigh>(&mut self) -> Result<Option<Tree>, MergeError> {
        let limit = self.resolver.limits.events;
        let graph = &mut self.resolver.graph;
        let found = Winners::find::<W>(graph, self.events, self.heads, limit)?;
        let Some((mut winners, region)) = found else {
            return Ok(None);
        };
        if winners.deletes {
            return self.replay::<W>();
        }
        let tree = match self.onto_last(&mut winners, &region)? {
            Some(tree) => tree,
            None => self.onto_known(&mut winners, &region)?,
        };
        self.keep(winners, &region, &tree);
        Ok(Some(tree))
    }

    /// Remembers this merge for the next one, unless a larger one from elsewhere is remembered: that
    /// would be dear to do again.
    fn keep<W: Weigh>(&mut self, winners: Winners, region: &Region<W>, tree: &Tree) {
        let larger =
            |last: &Last| last.ancestor != region.ancestor && last.keys > winners.keys().len();
        if self.resolver.last.as_ref().is_some_and(larger) {
            return;
        }
        self.resolver.last = Some(Last {
            ancestor: region.ancestor,
            below: region.below,
            heads: self.heads.to_vec(),
            keys: winners.keys().len(),
            winners: winners.into_events(),
            tree: tree.clone(),
        });
    }

    /// Goes on from the last merge, if this one replays all that it did, from the same ancestor.
    fn onto_last<W: Weigh>(
        &self,
        winners: &mut Winners,
        region: &Region<W>,
    ) -> Result<Option<Tree>, MergeError> {
        let continues = |last: &&Last| {
            last.ancestor == region.ancestor
                && last.heads.iter().all(|head| region.replays(*head))
                && (region.below || !last.below)
        };
        let Some(last) = self.resolver.last.as_ref().filter(continues) else {
            return Ok(None);
        };
        let mut keys = winners.changed(&last.winners);
        self.sort_keys(&mut keys);
        winners.read(&self.resolver.graph, self.events, &keys)?;
        match self.apply_to(&last.tree, winners, &keys) {
            // The last tree was not stored after all.
            Err(PailError::Missing(_)) => Ok(None),
            answer => Ok(Some(answer?)),
        }
    }

    /// Starts from a tree that is at hand or belongs to a head, or from that of the ancestor.
    fn onto_known<W: Weigh>(
        &self,
        winners: &mut Winners,
        region: &Region<W>,
    ) -> Result<Tree, MergeError> {
        let graph = &self.resolver.graph;
        let mut keys = winners.keys().to_vec();
        self.sort_keys(&mut keys);
        winners.read(graph, self.events, &keys)?;
        let old = self.tree_of(region.ancestor)?;
        let later = self.later(region)?;
        for (new, _) in later.iter().take(2) {
            match apply_to_later(&old, new, self.shards, graph, winners, &keys) {
                Ok(Some(tree)) => return Ok(tree),
                // It is not what the replay makes, or something is missing: so do without it.
                Ok(None) | Err(PailError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut missing = match self.apply_to(&old, winners, &keys) {
            Err(PailError::Missing(cid)) => cid,
            answer => return Ok(answer?),
        };
        // The ancestor's shards are gone, or were never stored. Where every replayed event descends
        // from the ancestor, a later tree agrees with the ancestor's on all keys that no event sets.
        // Trees at hand come first: they lack no shard, and nobody else vouches for them.
        if !region.below {
            let (at_hand, others): (Vec<_>, Vec<_>) = later.iter().partition(|later| later.1);
            for (at, (new, _)) in at_hand.into_iter().chain(others).enumerate() {
                match self.apply_to(new, winners, &keys) {
                    Err(PailError::Missing(cid)) if at == 0 => missing = cid,
                    Err(PailError::Missing(_)) => {}
                    answer => return Ok(answer?),
                }
            }
        }
        Err(PailError::Missing(missing).into())
    }

    /// Trees that hold a part of what is replayed, the one with the longest history first, and
    /// whether they are at hand.
    fn later<W: Weigh>(&self, region: &Region<W>) -> Result<Vec<(Tree, bool)>, MergeError> {
        let graph = &self.resolver.graph;
        let rank = |heads: &[Cid]| {
            let mut best = 0;
            if heads.is_empty() {
                return None;
            }
            for head in heads {
                let id = graph.known(head).filter(|id| region.replays(*id))?;
                best = best.max(graph.rank(id));
            }
            Some((best, heads.len()))
        };
        let mut later: Vec<((u64, usize), Option<&Tree>)> = self
            .at_hand
            .iter()
            .filter_map(|(heads, tree)| Some((rank(heads)?, Some(tree))))
            .chain(self.heads.iter().map(|id| ((graph.rank(*id), 1), None)))
            .collect();
        later.sort_by_key(|(rank, tree)| (Reverse(*rank), tree.is_none()));
        later.dedup_by_key(|(rank, _)| *rank);
        later.truncate(8);
        let mut trees = Vec::with_capacity(later.len());
        for ((rank, _), tree) in later {
            trees.push(match tree {
                Some(tree) => (tree.clone(), true),
                None => (self.tree_of(rank as u32)?, false),
            });
        }
        Ok(trees)
    }

    /// Applies the operations one after the other: the only way if a key was really deleted.
    fn replay<W: Weigh>(&mut self) -> Result<Option<Tree>, MergeError> {
        let limit = self.resolver.limits.events;
        let graph = &mut self.resolver.graph;
        let Some(replayed) = replayed::<W>(graph, self.events, self.heads, limit)? else {
            return Ok(None);
        };
        let mut tree = self.tree_of(replayed.region.ancestor)?;
        let mut puts: Vec<(String, Cid)> = Vec::new();
        for id in replayed.events {
            let event = self.events.event(self.resolver.graph.cid(id))?;
            if let Operation::Del { key } = &event.data {
                tree = tree.batch(self.shards, puts.drain(..))?;
                tree = tree.del(self.shards, key)?;
            }
            puts.extend(event.puts().map(|(key, value)| (key.to_owned(), value)));
        }
        Ok(Some(tree.batch(self.shards, puts)?))
    }

    /// The tree of a single event, as it is at hand or else as the source has it.
    fn tree_of(&self, id: u32) -> Result<Tree, MergeError> {
        let cid = self.resolver.graph.cid(id);
        let known = self.at_hand.iter().find(|(heads, _)| *heads == [*cid]);
        match known {
            Some((_, tree)) => Ok(tree.clone()),
            None => Ok(Tree::at(self.events.event(cid)?.root)),
        }
    }

    fn apply_to(&self, tree: &Tree, winners: &Winners, keys: &[u32]) -> Result<Tree, PailError> {
        apply_to(tree, self.shards, &self.resolver.graph, winners, keys)
    }

    fn sort_keys(&self, keys: &mut [u32]) {
        let graph = &self.resolver.graph;
        keys.sort_unstable_by(|a, b| graph.key(*a).cmp(graph.key(*b)));
    }
}
