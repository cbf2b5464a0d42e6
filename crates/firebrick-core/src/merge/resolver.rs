//! The resolver and what it remembers.

use std::collections::VecDeque;

use super::MergeError;
use super::base::{apply_to, apply_to_head};
use super::winners::Winners;
use crate::cid::Cid;
use crate::clock::{
    ClockError, EventSource, Graph, Longest, Operation, Paths, Region, Weigh, WidePaths, replayed,
};
use crate::pail::{PailError, ShardSource, Tree};

/// How much a [`Resolver`] may remember and take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory kept between calls for the shape of the history and the last winners. A
    /// merge of more takes more while it runs and then forgets it.
    pub memo_bytes: usize,
    /// Events that one merge may replay.
    pub events: usize,
    /// Head sets whose trees are remembered.
    pub trees: usize,
    /// Bytes of unsaved shards held by remembered trees.
    pub tree_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memo_bytes: 256 << 20,
            events: 16_000_000,
            trees: 8,
            tree_bytes: 16 << 20,
        }
    }
}

/// Computes the state of head sets, and remembers what makes the next one cheap.
///
/// All of it can be forgotten at any time without changing a result.
#[derive(Debug)]
pub struct Resolver {
    limits: Limits,
    graph: Graph,
    last: Option<Last>,
    /// Newest first.
    trees: VecDeque<(Vec<Cid>, Tree)>,
}

/// The last merge: a later one with the same ancestor that replays at least the same events differs
/// from it only in keys that other events win.
#[derive(Debug)]
struct Last {
    ancestor: u32,
    below: bool,
    heads: Vec<u32>,
    winners: Vec<u32>,
    tree: Tree,
}

impl Resolver {
    /// A resolver that remembers nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            graph: Graph::with_keys(),
            last: None,
            trees: VecDeque::new(),
        }
    }

    /// The tree that `head` stands for: of one event its root, of several the result of the
    /// format's replay, of none the empty tree.
    ///
    /// The result holds its new shards in memory ([`Tree::unsaved`]).
    ///
    /// # Errors
    /// [`MergeError`] if a block is missing or damaged, if the events are unrelated, or if more of
    /// them take part than [`Limits::events`] allows. What was learned so far is kept, so trying
    /// again is cheap.
    pub fn resolve(
        &mut self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        head: &[Cid],
    ) -> Result<Tree, MergeError> {
        let mut heads = head.to_vec();
        heads.sort_unstable();
        heads.dedup();
        if let Some(at) = self.trees.iter().position(|(known, _)| *known == heads) {
            return Ok(self.trees[at].1.clone());
        }
        let tree = match heads.as_slice() {
            [] => return Ok(Tree::empty()),
            [head] => return Ok(Tree::at(events.event(head)?.root)),
            _ => self.merge(events, shards, &heads)?,
        };
        self.remember(&heads, &tree);
        self.trim();
        Ok(tree)
    }

    /// Tells that `head` stands for `tree`. Its unsaved shards are then at hand where this state
    /// takes part in a merge.
    pub fn remember(&mut self, head: &[Cid], tree: &Tree) {
        let mut heads = head.to_vec();
        heads.sort_unstable();
        heads.dedup();
        self.trees.retain(|(known, _)| *known != heads);
        self.trees.push_front((heads, tree.clone()));
        self.trees.truncate(self.limits.trees);
        let mut bytes = 0;
        self.trees.retain(|(_, tree)| {
            bytes += tree.unsaved_bytes();
            bytes <= self.limits.tree_bytes
        });
    }

    /// Tells that all shards of the version `root` are stored, so that none need be held here.
    pub fn saved(&mut self, root: &Cid) {
        let last = self.last.iter_mut().map(|last| &mut last.tree);
        let trees = self.trees.iter_mut().map(|(_, tree)| tree);
        for tree in last.chain(trees).filter(|tree| tree.root() == *root) {
            *tree = tree.saved();
        }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        *self = Self::new(self.limits);
    }

    /// About how many bytes of memory are in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        let trees = self.trees.iter().map(|(_, tree)| tree.unsaved_bytes());
        self.memo_bytes() + trees.sum::<usize>()
    }

    /// The history seen so far, for questions about heads: its answers are the quicker for it.
    pub fn graph(&mut self) -> &mut Graph {
        &mut self.graph
    }

    fn memo_bytes(&self) -> usize {
        let last = self.last.as_ref();
        self.graph.memory()
            + last.map_or(0, |last| {
                last.winners.capacity() * size_of::<u32>() + last.tree.unsaved_bytes()
            })
    }

    fn trim(&mut self) {
        if self.memo_bytes() > self.limits.memo_bytes {
            self.graph = Graph::with_keys();
            self.last = None;
        }
    }

    fn merge(
        &mut self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        heads: &[Cid],
    ) -> Result<Tree, MergeError> {
        let ids = self.graph.intern_all(events, heads)?;
        if let Some(tree) = self.weigh::<Paths>(events, shards, &ids)? {
            return Ok(tree);
        }
        if let Some(tree) = self.weigh::<WidePaths>(events, shards, &ids)? {
            return Ok(tree);
        }
        self.weigh::<Longest>(events, shards, &ids)?
            .ok_or(MergeError::Clock(ClockError::Unrelated))
    }

    fn weigh<W: Weigh>(
        &mut self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        heads: &[u32],
    ) -> Result<Option<Tree>, MergeError> {
        let mut marked = Vec::new();
        if let Some(last) = &self.last {
            marked.resize(self.graph.len(), false);
            for head in &last.heads {
                marked[*head as usize] = true;
            }
        }
        let limit = self.limits.events;
        let found = Winners::find::<W>(&mut self.graph, events, heads, limit, &marked)?;
        let Some((mut winners, region)) = found else {
            return Ok(None);
        };
        if winners.deletes {
            return self.replay::<W>(events, shards, heads);
        }
        let tree = match self.onto_last(events, shards, &mut winners, &region)? {
            Some(tree) => tree,
            None => self.onto_base(events, shards, &mut winners, &region, heads)?,
        };
        self.last = Some(Last {
            ancestor: region.ancestor,
            below: region.below,
            heads: heads.to_vec(),
            winners: winners.into_events(),
            tree: tree.clone(),
        });
        Ok(Some(tree))
    }

    /// Starts from the last merge, if this one goes on from it.
    fn onto_last<W>(
        &self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        winners: &mut Winners,
        region: &Region<W>,
    ) -> Result<Option<Tree>, MergeError> {
        let Some(last) = &self.last else {
            return Ok(None);
        };
        let continues = last.ancestor == region.ancestor
            && winners.found == last.heads.len()
            && (region.below || !last.below);
        if !continues {
            return Ok(None);
        }
        let mut keys = winners.changed(&last.winners);
        self.sort_keys(&mut keys);
        winners.read(&self.graph, events, &keys)?;
        match apply_to(&last.tree, shards, &self.graph, winners, &keys) {
            // The last tree was not stored after all.
            Err(PailError::Missing(_)) => Ok(None),
            answer => Ok(Some(answer?)),
        }
    }

    /// Starts from the tree of the longest head, or from that of the ancestor.
    fn onto_base<W>(
        &self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        winners: &mut Winners,
        region: &Region<W>,
        heads: &[u32],
    ) -> Result<Tree, MergeError> {
        let graph = &self.graph;
        let mut keys = winners.keys();
        self.sort_keys(&mut keys);
        winners.read(graph, events, &keys)?;
        let old = self.tree_of(events, region.ancestor)?;
        let longest = heads.iter().max_by_key(|head| graph.rank(**head));
        let new = match longest {
            Some(head) => self.tree_of(events, *head)?,
            None => old.clone(),
        };
        match apply_to_head(&old, &new, shards, graph, winners, &keys) {
            Ok(Some(tree)) => return Ok(tree),
            Ok(None) | Err(PailError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let missing = match apply_to(&old, shards, graph, winners, &keys) {
            Err(PailError::Missing(cid)) => cid,
            answer => return Ok(answer?),
        };
        // A compaction dropped the ancestor's shards. Where every replayed event descends from the
        // ancestor, a head's tree agrees with the ancestor's on all keys that no event sets.
        if !region.below {
            match apply_to(&new, shards, graph, winners, &keys) {
                Err(PailError::Missing(_)) => {}
                answer => return Ok(answer?),
            }
        }
        Err(PailError::Missing(missing).into())
    }

    /// Applies the operations one after the other: the only way if a key was really deleted.
    fn replay<W: Weigh>(
        &mut self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        heads: &[u32],
    ) -> Result<Option<Tree>, MergeError> {
        let limit = self.limits.events;
        let Some(replayed) = replayed::<W>(&mut self.graph, events, heads, limit)? else {
            return Ok(None);
        };
        let mut tree = self.tree_of(events, replayed.region.ancestor)?;
        let mut puts: Vec<(String, Cid)> = Vec::new();
        for id in replayed.events {
            let event = events.event(self.graph.cid(id))?;
            if let Operation::Del { key } = &event.data {
                tree = tree.batch(shards, puts.drain(..))?.del(shards, key)?;
            }
            puts.extend(event.puts().map(|(key, value)| (key.to_owned(), value)));
        }
        Ok(Some(tree.batch(shards, puts)?))
    }

    /// The tree of a single event, with its unsaved shards if it is remembered.
    fn tree_of(&self, events: &impl EventSource, id: u32) -> Result<Tree, MergeError> {
        let cid = self.graph.cid(id);
        let known = self.trees.iter().find(|(heads, _)| *heads == [*cid]);
        match known {
            Some((_, tree)) => Ok(tree.clone()),
            None => Ok(Tree::at(events.event(cid)?.root)),
        }
    }

    fn sort_keys(&self, keys: &mut [u32]) {
        keys.sort_unstable_by(|a, b| self.graph.key(*a).cmp(self.graph.key(*b)));
    }
}
