//! The shards that one version has and another lacks.

use super::tree::Handle;
use super::{PailError, ShardSource, Tree};
use crate::block::Block;

impl Tree {
    /// The shards of this version that `base` does not share, children before their parents; all
    /// of them without a base. Both trees are walked side by side, and what they share is skipped.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let old = Tree::empty().batch(&blocks, [("beet", value(1)), ("berry", value(2))])?;
    /// let new = old.put(&blocks, "cherry", value(3))?;
    /// let blocks_of = |base| new.shards_since(&blocks, base).collect::<Result<Vec<_>, _>>();
    /// assert_eq!(blocks_of(None)?.len(), 3); // the root, "b" and "be"
    /// assert_eq!(blocks_of(Some(&old))?.len(), 1); // only the root is new
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shards_since<S: ShardSource>(&self, source: S, base: Option<&Tree>) -> ShardsSince<S> {
        ShardsSince {
            start: Some((self.clone(), base.cloned())),
            levels: Vec::new(),
            prefix: Vec::new(),
            source,
        }
    }
}

/// The iterator of [`Tree::shards_since`]. It ends after the first error.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
/// let mut shards = tree.shards_since(&blocks, None);
/// assert_eq!(shards.next().transpose()?.map(|block| block.cid), Some(tree.root()));
/// assert!(shards.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShardsSince<S> {
    start: Option<(Tree, Option<Tree>)>,
    levels: Vec<Level>,
    prefix: Vec<u8>,
    source: S,
}

#[derive(Debug)]
struct Level {
    at: Handle,
    /// The shard at the same place of the base.
    base: Option<Handle>,
    index: usize,
}

impl<S: ShardSource> ShardsSince<S> {
    fn advance(&mut self) -> Result<Option<Block>, PailError> {
        if let Some((tree, base)) = self.start.take() {
            if base.as_ref().is_some_and(|base| base.root() == tree.root()) {
                return Ok(None);
            }
            self.levels.push(Level {
                at: tree.handle(&self.source)?,
                base: base.map(|base| base.handle(&self.source)).transpose()?,
                index: 0,
            });
        }
        while let Some(level) = self.levels.last_mut() {
            let shard = level.at.shard();
            if level.index == shard.len() {
                let block = level.at.block();
                self.levels.pop();
                self.prefix.pop();
                return Ok(Some(block));
            }
            let entry = shard.entry(level.index);
            level.index += 1;
            let Some(child) = entry.child else { continue };
            let first = entry.key[0];
            let below = level.base.as_ref().and_then(|base| {
                let child = base.shard().find(first)?.child?;
                Some((base, child))
            });
            if below.is_some_and(|(_, base)| base == child) {
                continue;
            }
            self.prefix.push(first);
            let base = match below {
                Some((at, base)) => Some(at.child(&self.source, first, base, &self.prefix)?),
                None => None,
            };
            let at = level.at.child(&self.source, first, child, &self.prefix)?;
            self.levels.push(Level { at, base, index: 0 });
        }
        Ok(None)
    }
}

impl<S: ShardSource> Iterator for ShardsSince<S> {
    type Item = Result<Block, PailError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.levels.clear();
        }
        next
    }
}

impl<S: ShardSource> std::iter::FusedIterator for ShardsSince<S> {}
