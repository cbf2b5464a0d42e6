//! The resolver and what it remembers.

use std::collections::VecDeque;

use super::MergeError;
use super::merging::Merging;
use crate::cid::Cid;
use crate::clock::{ClockError, EventSource, Graph};
use crate::pail::{ShardSource, Tree};

/// How much a [`Resolver`] may remember and take on.
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
/// let left = commit("b", "two", Some(first))?;
/// let right = commit("c", "three", Some(first))?;
/// let tight = Limits { events: 1, ..Limits::default() };
/// assert!(Resolver::new(tight).resolve(&blocks, &blocks, &[left, right]).is_err());
/// assert!(Resolver::new(Limits::default()).resolve(&blocks, &blocks, &[left, right]).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
/// It answers questions about heads as well, at the speed of memory where it has seen the events
/// before: asking whether a late event is new means going through all that was written since.
///
/// All of it can be forgotten at any time without changing a result.
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
/// let left = commit("b", "two", Some(first))?;
/// let right = commit("c", "three", Some(first))?;
/// let mut resolver = Resolver::new(Limits::default());
/// let tree = resolver.resolve(&blocks, &blocks, &[left, right])?;
/// assert!(tree.get(&blocks, "b")?.is_some() && tree.get(&blocks, "c")?.is_some());
/// assert!(resolver.contains(&blocks, &[left, right], &first)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Resolver {
    pub(super) limits: Limits,
    pub(super) graph: Graph,
    pub(super) last: Option<Last>,
    /// Newest first.
    trees: VecDeque<(Vec<Cid>, Tree)>,
}

/// The last merge: a later one with the same ancestor that replays at least the same events differs
/// from it only in keys that other events win.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) ancestor: u32,
    pub(super) below: bool,
    pub(super) heads: Vec<u32>,
    /// How many keys were set.
    pub(super) keys: usize,
    /// By key, see [`super::winners`].
    pub(super) winners: Vec<u32>,
    pub(super) tree: Tree,
}

impl Resolver {
    /// A resolver that remembers nothing yet.
    ///
    /// ```
    /// use firebrick_core::merge::{Limits, Resolver};
    ///
    /// let frugal = Limits { memo_bytes: 1 << 20, ..Limits::default() };
    /// let resolver = Resolver::new(frugal);
    /// assert!(resolver.memory() < 1 << 20);
    /// ```
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
    /// ```
    /// use firebrick_core::pail::EMPTY_ROOT;
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// let merged = resolver.resolve(&blocks, &blocks, &[left, right])?;
    /// assert_eq!(resolver.resolve(&blocks, &blocks, &[right, left])?.root(), merged.root());
    /// assert_eq!(resolver.resolve(&blocks, &blocks, &[])?.root(), EMPTY_ROOT);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MergeError`] if a block is missing or damaged, if the events are unrelated, or if more of
    /// them take part than [`Limits::events`] allows. What was learned so far is kept within the
    /// limits, so trying again is cheap.
    pub fn resolve(
        &mut self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        head: &[Cid],
    ) -> Result<Tree, MergeError> {
        self.resolve_from(events, shards, head, &[])
    }

    /// [`Self::resolve`], with the help of trees that the caller has at hand, each with the head
    /// that it belongs to. Their unsaved shards need not be in the source; all others must.
    ///
    /// If one of them holds a part of what is replayed, no shard of the result is missing as long as
    /// the ancestor's are in the source; else the result may share shards with a head's tree that
    /// were not looked at.
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// # let state = Resolver::new(Limits::default()).resolve(&blocks, &blocks, &[left])?;
    /// # let expected = Resolver::new(Limits::default()).resolve(&blocks, &blocks, &[left, right])?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// let known = [(&[left][..], &state)]; // a tree at hand, with its head
    /// let merged = resolver.resolve_from(&blocks, &blocks, &[left, right], &known)?;
    /// assert_eq!(merged.root(), expected.root());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_from(
        &mut self,
        events: &impl EventSource,
        shards: &impl ShardSource,
        head: &[Cid],
        known: &[(&[Cid], &Tree)],
    ) -> Result<Tree, MergeError> {
        let heads = normal(head);
        let given = known.iter().map(|(head, tree)| (normal(head), *tree));
        let at_hand: Vec<(Vec<Cid>, Tree)> = given
            .chain(self.trees.iter().map(|(heads, tree)| (heads.clone(), tree)))
            .map(|(heads, tree)| (heads, tree.clone()))
            .collect();
        if let Some((_, tree)) = at_hand.iter().find(|(known, _)| *known == heads) {
            return Ok(tree.clone());
        }
        match heads.as_slice() {
            [] => Ok(Tree::empty()),
            [head] => Ok(Tree::at(events.event(head)?.root)),
            _ => {
                let merged = self.merge(events, shards, &heads, &at_hand);
                if let Ok(tree) = &merged {
                    self.remember(&heads, tree);
                }
                self.trim();
                merged
            }
        }
    }

    /// Tells that `head` stands for `tree`. Its unsaved shards are then at hand where this state
    /// takes part in a merge.
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
    /// let mut resolver = Resolver::new(Limits::default());
    /// let tree = resolver.resolve(&blocks, &blocks, &[first])?;
    /// resolver.remember(&[first], &tree);
    /// blocks.remove(&first); // nobody needs to read it
    /// assert_eq!(resolver.resolve(&blocks, &blocks, &[first])?.root(), tree.root());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remember(&mut self, head: &[Cid], tree: &Tree) {
        let heads = normal(head);
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// let tree = resolver.resolve(&blocks, &blocks, &[left, right])?;
    /// let before = resolver.memory();
    /// blocks.save(&tree);
    /// resolver.saved(&tree.root());
    /// assert!(resolver.memory() < before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn saved(&mut self, root: &Cid) {
        let last = self.last.iter_mut().map(|last| &mut last.tree);
        let trees = self.trees.iter_mut().map(|(_, tree)| tree);
        for tree in last.chain(trees).filter(|tree| tree.root() == *root) {
            *tree = tree.saved();
        }
    }

    /// Forgets everything.
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// resolver.resolve(&blocks, &blocks, &[left, right])?;
    /// let before = resolver.memory();
    /// resolver.forget();
    /// assert!(resolver.memory() < before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forget(&mut self) {
        *self = Self::new(self.limits);
    }

    /// About how many bytes of memory are in use.
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// let before = resolver.memory();
    /// resolver.resolve(&blocks, &blocks, &[left, right])?;
    /// assert!(resolver.memory() > before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> usize {
        let trees = self.trees.iter().map(|(_, tree)| tree.unsaved_bytes());
        self.memo_bytes() + trees.sum::<usize>()
    }

    /// [`clock::advance`](crate::clock::advance) with the help of what is remembered.
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// assert_eq!(resolver.advance(&blocks, &[first], left)?, [left]);
    /// assert_eq!(resolver.advance(&blocks, &[left], right)?, [left, right]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn advance(
        &mut self,
        events: &impl EventSource,
        head: &[Cid],
        event: Cid,
    ) -> Result<Vec<Cid>, ClockError> {
        let answer = self.graph.advance(events, head, event);
        self.trim();
        answer
    }

    /// [`clock::join`](crate::clock::join) with the help of what is remembered.
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// assert_eq!(resolver.join(&blocks, &[first], &[left])?, [left]);
    /// assert_eq!(resolver.join(&blocks, &[left], &[right])?.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn join(
        &mut self,
        events: &impl EventSource,
        a: &[Cid],
        b: &[Cid],
    ) -> Result<Vec<Cid>, ClockError> {
        let answer = self.graph.join(events, a, b);
        self.trim();
        answer
    }

    /// [`clock::contains`](crate::clock::contains) with the help of what is remembered.
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// assert!(resolver.contains(&blocks, &[left], &first)?);
    /// assert!(!resolver.contains(&blocks, &[left], &right)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn contains(
        &mut self,
        events: &impl EventSource,
        heads: &[Cid],
        event: &Cid,
    ) -> Result<bool, ClockError> {
        let answer = self.graph.contains(events, heads, event);
        self.trim();
        answer
    }

    /// [`clock::difference`](crate::clock::difference) with the help of what is remembered.
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
    /// let left = commit("b", "two", Some(first))?;
    /// let right = commit("c", "three", Some(first))?;
    /// let mut resolver = Resolver::new(Limits::default());
    /// assert_eq!(resolver.difference(&blocks, &[left, right], &[left])?, [right]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn difference(
        &mut self,
        events: &impl EventSource,
        of: &[Cid],
        known: &[Cid],
    ) -> Result<Vec<Cid>, ClockError> {
        let answer = self.graph.difference(events, of, known);
        self.trim();
        answer
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
        at_hand: &[(Vec<Cid>, Tree)],
    ) -> Result<Tree, MergeError> {
        let ids = self.graph.intern_all(events, heads)?;
        let merging = Merging {
            resolver: self,
            events,
            shards,
            heads: &ids,
            at_hand,
        };
        merging.finish()
    }
}

/// A head as a set.
fn normal(head: &[Cid]) -> Vec<Cid> {
    let mut heads = head.to_vec();
    heads.sort_unstable();
    heads.dedup();
    heads
}
