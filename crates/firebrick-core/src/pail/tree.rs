//! A version of the tree, and the nodes that hold its unsaved shards.

use std::sync::Arc;

use super::{Chain, PailError, Shard, ShardSource, check_key};
use crate::block::Block;
use crate::cid::{Cid, Codec};

/// The root of the tree without keys, `bafyreihh6nbfbhgkf5lz7hhsscjgiquw426rxzr3fprbgonekzmyvirrhe`.
///
/// ```
/// use firebrick_core::pail::{EMPTY_ROOT, Tree};
///
/// assert_eq!(Tree::empty().root(), EMPTY_ROOT);
/// ```
pub const EMPTY_ROOT: Cid = Cid::from_digest(
    Codec::DagCbor,
    [
        0xe7, 0xf3, 0x42, 0x50, 0x9c, 0xca, 0x2f, 0x57, 0x9f, 0x9c, 0xf2, 0x90, 0x92, 0x64, 0x42,
        0x96, 0xe6, 0xbd, 0x1b, 0xe6, 0x3b, 0x2b, 0xe2, 0x13, 0x39, 0xa4, 0x56, 0x59, 0x8a, 0xa2,
        0x31, 0x39,
    ],
);

/// One immutable version of the pail.
///
/// Cloning is cheap. The version stays readable for as long as the source keeps the shards that
/// were saved when it was made; its unsaved shards are part of it.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
/// let saved = blocks.save(&tree);
/// assert_eq!(saved.root(), tree.root());
/// assert_eq!(saved.get(&blocks, "apple")?, Some(value(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tree {
    root: Cid,
    /// The root's node, if the root is not in the source yet.
    node: Option<Arc<Node>>,
}

/// A shard that is not in the source yet, with those of its children that are not either.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) cid: Cid,
    pub(super) shard: Shard,
    /// Ascending by the first character of the entry.
    children: Vec<(u8, Arc<Node>)>,
    /// Encoded bytes of this shard and of those below that are not in the source.
    bytes: usize,
}

impl Node {
    pub(super) fn new(shard: Shard, children: Vec<(u8, Arc<Node>)>) -> Arc<Self> {
        let cid = Cid::of(Codec::DagCbor, shard.bytes());
        let below: usize = children.iter().map(|(_, child)| child.bytes).sum();
        Arc::new(Self {
            cid,
            bytes: shard.bytes().len() + below,
            shard,
            children,
        })
    }

    fn child(&self, first: u8) -> Option<&Arc<Node>> {
        let at = self
            .children
            .binary_search_by_key(&first, |(c, _)| *c)
            .ok()?;
        Some(&self.children[at].1)
    }

    fn block(&self) -> Block {
        Block {
            cid: self.cid,
            bytes: self.shard.to_bytes(),
        }
    }
}

impl Drop for Node {
    /// A chain of nodes can be 4096 long: too long for the recursion that would be the default.
    fn drop(&mut self) {
        if self.children.is_empty() {
            return;
        }
        let mut below = std::mem::take(&mut self.children);
        while let Some((_, node)) = below.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                below.append(&mut node.children);
            }
        }
    }
}

/// What a shard says of a key.
enum Found {
    /// It is known below this child, if at all.
    Below(Cid),
    Value(Option<Cid>),
}

/// Looks up `key`, which begins with the shard's prefix, of `depth` characters, and is longer.
fn look_up(shard: &Shard, key: &[u8], depth: usize) -> Found {
    let Some(entry) = shard.find(key[depth]) else {
        return Found::Value(None);
    };
    match entry.child {
        Some(child) if depth + 1 < key.len() => Found::Below(child),
        Some(_) => Found::Value(entry.value),
        None => Found::Value(entry.value.filter(|_| entry.key == &key[depth..])),
    }
}

/// A shard that can be read, from memory or from the source.
#[derive(Clone, Debug)]
pub(super) enum Handle {
    Unsaved(Arc<Node>),
    Stored(Cid, Shard),
}

impl Handle {
    /// The shard `cid` from the source; its prefix must be the one that its place demands.
    pub(super) fn load(
        source: &impl ShardSource,
        cid: Cid,
        prefix: &[u8],
    ) -> Result<Self, PailError> {
        let shard = match source.shard(&cid) {
            // Nobody needs to store the empty tree to read it.
            Err(PailError::Missing(_)) if cid == EMPTY_ROOT => empty_shard(),
            answer => answer?,
        };
        if shard.prefix() != prefix {
            return Err(misplaced(cid));
        }
        Ok(Handle::Stored(cid, shard))
    }

    pub(super) fn cid(&self) -> Cid {
        match self {
            Handle::Unsaved(node) => node.cid,
            Handle::Stored(cid, _) => *cid,
        }
    }

    pub(super) fn shard(&self) -> &Shard {
        match self {
            Handle::Unsaved(node) => &node.shard,
            Handle::Stored(_, shard) => shard,
        }
    }

    /// The unsaved children.
    pub(super) fn nodes(&self) -> &[(u8, Arc<Node>)] {
        match self {
            Handle::Unsaved(node) => &node.children,
            Handle::Stored(..) => &[],
        }
    }

    /// The child `cid` of the entry that begins with `first`; its prefix must be `prefix`.
    pub(super) fn child(
        &self,
        source: &impl ShardSource,
        first: u8,
        cid: Cid,
        prefix: &[u8],
    ) -> Result<Self, PailError> {
        if let Handle::Unsaved(node) = self
            && let Some(child) = node.child(first)
        {
            return Ok(Handle::Unsaved(Arc::clone(child)));
        }
        Handle::load(source, cid, prefix)
    }

    pub(super) fn block(&self) -> Block {
        Block {
            cid: self.cid(),
            bytes: self.shard().to_bytes(),
        }
    }
}

fn misplaced(cid: Cid) -> PailError {
    PailError::Invalid {
        cid,
        reason: "its prefix is not the one of its place in the tree",
    }
}

pub(super) fn empty_shard() -> Shard {
    Shard::build(b"", [].into_iter())
}

impl Default for Tree {
    fn default() -> Self {
        Self::empty()
    }
}

impl Tree {
    /// The tree without keys.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::pail::Range;
    /// assert_eq!(Tree::empty().get(&blocks, "apple")?, None);
    /// assert_eq!(Tree::empty().entries(&blocks, Range::all()).count(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn empty() -> Self {
        Self::at(EMPTY_ROOT)
    }

    /// The version with this root, whose shards are in the source.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let root = blocks.save(&Tree::empty().put(&blocks, "apple", value(1))?).root();
    /// let tree = Tree::at(root);
    /// assert_eq!(tree.get(&blocks, "apple")?, Some(value(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn at(root: Cid) -> Self {
        Self { root, node: None }
    }

    pub(super) fn of(node: Arc<Node>) -> Self {
        Self {
            root: node.cid,
            node: Some(node),
        }
    }

    /// The CID of the root shard: it stands for the whole version.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let ab = Tree::empty().put(&blocks, "a", value(1))?.put(&blocks, "b", value(2))?;
    /// let ba = Tree::empty().put(&blocks, "b", value(2))?.put(&blocks, "a", value(1))?;
    /// assert_eq!(ab.root(), ba.root()); // the order of puts leaves no trace
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn root(&self) -> Cid {
        self.root
    }

    pub(super) fn handle(&self, source: &impl ShardSource) -> Result<Handle, PailError> {
        match &self.node {
            Some(node) => Ok(Handle::Unsaved(Arc::clone(node))),
            None => Handle::load(source, self.root, b""),
        }
    }

    /// The value of `key`. A key that the format does not allow has none.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
    /// assert_eq!(tree.get(&blocks, "apple")?, Some(value(1)));
    /// assert_eq!(tree.get(&blocks, "app")?, None);
    /// assert_eq!(tree.get(&blocks, "café")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PailError`] if a shard on the way is missing or damaged.
    pub fn get(&self, source: &impl ShardSource, key: &str) -> Result<Option<Cid>, PailError> {
        if check_key(key).is_err() {
            return Ok(None);
        }
        let key = key.as_bytes();
        let (mut cid, mut depth) = (self.root, 0);
        let mut node = self.node.as_ref();
        while let Some(unsaved) = node {
            match look_up(&unsaved.shard, key, depth) {
                Found::Below(child) => (cid, node) = (child, unsaved.child(key[depth])),
                Found::Value(value) => return Ok(value),
            }
            depth += 1;
        }
        loop {
            let Chain { start, end } = match source.chain(&cid) {
                // Nobody needs to store the empty tree to read it.
                Err(PailError::Missing(_)) if cid == EMPTY_ROOT => return Ok(None),
                answer => answer?,
            };
            let prefix = end.prefix();
            if start != depth || !prefix.starts_with(&key[..depth]) {
                return Err(misplaced(cid));
            }
            // The shards that were passed have no values.
            if key.len() <= prefix.len() || !key.starts_with(prefix) {
                return Ok(None);
            }
            depth = prefix.len();
            match look_up(&end, key, depth) {
                Found::Below(child) => cid = child,
                Found::Value(value) => return Ok(value),
            }
            depth += 1;
        }
    }

    /// The shards of this version that are not in the source, children before their parents, in
    /// the order in which the format emits them (format §5.3).
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
    /// let shards = tree.unsaved();
    /// assert_eq!(shards.last().map(|block| block.cid), Some(tree.root()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unsaved(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let Some(root) = &self.node else {
            return blocks;
        };
        let mut stack = vec![(&**root, 0)];
        while let Some((node, next)) = stack.last_mut() {
            if let Some((_, child)) = node.children.get(*next) {
                *next += 1;
                stack.push((child, 0));
            } else {
                blocks.push(node.block());
                stack.pop();
            }
        }
        blocks
    }

    /// The encoded bytes of the shards that are not in the source.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
    /// let bytes: usize = tree.unsaved().iter().map(|block| block.bytes.len()).sum();
    /// assert_eq!(tree.unsaved_bytes(), bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unsaved_bytes(&self) -> usize {
        self.node.as_ref().map_or(0, |node| node.bytes)
    }

    /// The same version with nothing in memory, for use once [`Self::unsaved`] is stored.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
    /// for block in tree.unsaved() {
    ///     blocks.insert(&block);
    /// }
    /// let tree = tree.saved();
    /// assert!(tree.unsaved().is_empty());
    /// assert_eq!(tree.get(&blocks, "apple")?, Some(value(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn saved(&self) -> Self {
        Self::at(self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_root_is_the_formats() {
        assert_eq!(Cid::of(Codec::DagCbor, empty_shard().bytes()), EMPTY_ROOT);
        assert_eq!(
            EMPTY_ROOT.to_string(),
            "bafyreihh6nbfbhgkf5lz7hhsscjgiquw426rxzr3fprbgonekzmyvirrhe"
        );
    }
}
