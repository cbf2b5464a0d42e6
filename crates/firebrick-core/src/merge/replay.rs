//! The replay of a merge, operation by operation, and the shards that it leaves (format §6.4).

use hashbrown::HashSet;

use super::MergeError;
use crate::block::Block;
use crate::cid::Cid;
use crate::clock::{Event, EventSource, Operation, sorted_events};
use crate::pail::{Edited, PailError, ShardSource, Tree};

/// A merge done literally, with a record of the shards made and replaced on the way.
///
/// It costs a tree operation per event. Use [`super::Resolver`] for the result alone.
///
/// ```
/// use firebrick_core::merge::{Limits, Replay, Resolver};
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
/// let replay = Replay::of(&blocks, &blocks, &[left, right])?;
/// let resolved = Resolver::new(Limits::default()).resolve(&blocks, &blocks, &[left, right])?;
/// assert_eq!(replay.tree().root(), resolved.root());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    tree: Tree,
    /// Every shard made, in the order of its first making.
    made: Vec<Block>,
    known: HashSet<Cid>,
    replaced: HashSet<Cid>,
}

impl Replay {
    /// Replays the merge of `heads`. Of one head nothing is replayed, of none the tree is empty.
    ///
    /// ```
    /// use firebrick_core::pail::EMPTY_ROOT;
    /// use firebrick_core::merge::Replay;
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
    /// assert!(Replay::of(&blocks, &blocks, &[first])?.shards().is_empty());
    /// assert_eq!(Replay::of(&blocks, &blocks, &[])?.tree().root(), EMPTY_ROOT);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MergeError`] if a block is missing or damaged, or the heads are unrelated.
    pub fn of(
        events: &impl EventSource,
        shards: &impl ShardSource,
        heads: &[Cid],
    ) -> Result<Self, MergeError> {
        let mut replay = Self {
            tree: Tree::empty(),
            made: Vec::new(),
            known: HashSet::new(),
            replaced: HashSet::new(),
        };
        if heads.is_empty() {
            return Ok(replay);
        }
        let sorted = sorted_events(events, heads)?;
        replay.tree = Tree::at(events.event(&sorted.ancestor)?.root);
        for (event, _) in sorted.events {
            let event = events.event(&event)?;
            replay.apply(shards, &event)?;
        }
        Ok(replay)
    }

    /// The state.
    ///
    /// ```
    /// use firebrick_core::merge::Replay;
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
    /// let replay = Replay::of(&blocks, &blocks, &[left, right])?;
    /// for key in ["a", "b", "c"] {
    ///     assert!(replay.tree().get(&blocks, key)?.is_some());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The shards made and not replaced again, in the order of their making: what a commit of the
    /// merge alone stores.
    ///
    /// ```
    /// use firebrick_core::merge::Replay;
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
    /// let replay = Replay::of(&blocks, &blocks, &[left, right])?;
    /// let cids: Vec<_> = replay.shards().iter().map(|shard| shard.cid).collect();
    /// assert_eq!(cids, [replay.tree().root()]); // so small a tree is one shard
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn shards(&self) -> Vec<Block> {
        let survives = |block: &&Block| !self.replaced.contains(&block.cid);
        self.made.iter().filter(survives).cloned().collect()
    }

    fn apply(&mut self, shards: &impl ShardSource, event: &Event) -> Result<(), PailError> {
        match &event.data {
            Operation::Del { key } => {
                let edited = self.tree.del_traced(shards, key)?;
                self.record(edited);
            }
            Operation::Put { .. } | Operation::Batch(_) => {
                let edited = self.tree.edit(shards, event.puts())?;
                self.record(edited);
            }
        }
        Ok(())
    }

    fn record(&mut self, edited: Edited) {
        self.tree = edited.tree;
        for block in edited.added {
            if self.known.insert(block.cid) {
                self.made.push(block);
            }
        }
        self.replaced.extend(edited.removed);
    }

    /// The state after a put on top of the merge, and the shards that its commit stores.
    ///
    /// ```
    /// use firebrick_core::merge::Replay;
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
    /// # let value = Cid::of(Codec::DagCbor, b"a document");
    /// let replay = Replay::of(&blocks, &blocks, &[left, right])?;
    /// let (tree, shards) = replay.put(&blocks, "d", value)?;
    /// assert_eq!(tree.get(&blocks, "d")?, Some(value));
    /// assert!(shards.iter().any(|shard| shard.cid == tree.root()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn put(
        mut self,
        shards: &impl ShardSource,
        key: &str,
        value: Cid,
    ) -> Result<(Tree, Vec<Block>), PailError> {
        let edited = self.tree.edit(shards, [(key, value)])?;
        self.record(edited);
        Ok((self.tree.clone(), self.shards()))
    }

    /// The state after a batch on top of the merge, and the shards that its commit stores.
    ///
    /// ```
    /// use firebrick_core::merge::Replay;
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
    /// # let value = Cid::of(Codec::DagCbor, b"a document");
    /// let replay = Replay::of(&blocks, &blocks, &[left, right])?;
    /// let (tree, shards) = replay.batch(&blocks, [("d", value), ("e", value)])?;
    /// assert_eq!(tree.get(&blocks, "e")?, Some(value));
    /// assert!(shards.iter().any(|shard| shard.cid == tree.root()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tree::batch`].
    pub fn batch<K: AsRef<str>>(
        self,
        shards: &impl ShardSource,
        ops: impl IntoIterator<Item = (K, Cid)>,
    ) -> Result<(Tree, Vec<Block>), PailError> {
        let edited = self.tree.edit(shards, ops)?;
        let mut blocks = self.shards();
        let kept: HashSet<Cid> = blocks.iter().map(|block| block.cid).collect();
        let new = edited.added.into_iter();
        blocks.extend(new.filter(|block| !kept.contains(&block.cid)));
        let replaced: HashSet<Cid> = edited.removed.into_iter().collect();
        blocks.retain(|block| !replaced.contains(&block.cid));
        Ok((edited.tree, blocks))
    }
}
