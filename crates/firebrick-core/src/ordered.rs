//! An ordered map from byte strings to byte strings as a persistent tree of blocks.
//!
//! A B+-tree whose nodes are never changed: an edit makes new nodes for the paths that it touches
//! and shares all others, so an older version stays readable, and two versions are compared at the
//! cost of what differs. New nodes are in memory until [`Tree::save`]. Inner nodes count the entries
//! below them, so counting a range and stepping over many entries cost one descent.
//!
//! This is local data, not part of the format: the shape depends on the history of edits.
//!
//! ```
//! use firebrick_core::memory::MemoryBlocks;
//! use firebrick_core::ordered::{Edit, Tree};
//! let blocks = MemoryBlocks::new();
//! let put = |key: &str| Edit::put(key, "");
//! let one = Tree::empty().edit(&blocks, vec![put("a"), put("b"), put("d")])?.tree;
//! let two = one.edit(&blocks, vec![put("c"), Edit::remove("a")])?.tree;
//! assert_eq!((one.len(), two.len()), (3, 3));
//! assert_eq!(two.rank(&blocks, b"c")?, 1);
//! assert_eq!(Tree::diff(&one, &two, &blocks)?.len(), 2);
//! # Ok::<(), firebrick_core::ordered::TreeError>(())
//! ```

mod cursor;
mod diff;
mod edit;
mod node;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;

pub use cursor::Cursor;
pub use diff::Change;
pub use edit::{Edit, Edited};
pub use node::Node;

use self::node::{Child, Link};
use crate::block::Block;
use crate::cid::Cid;

/// The first bytes of every node's block.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// # use firebrick_core::ordered::MARK;
/// let block = &tree.save().blocks[0];
/// assert!(block.bytes.starts_with(MARK));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MARK: &[u8; 4] = b"fbi1";

/// The longest key and value together, in bytes.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// # use firebrick_core::ordered::{MAX_ENTRY_BYTES, TreeError};
/// let edit = Edit::put("key", vec![0; MAX_ENTRY_BYTES]); // the key is too much
/// assert!(matches!(tree.edit(&blocks, vec![edit]), Err(TreeError::TooLarge(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_ENTRY_BYTES: usize = 64 << 20;

/// Where stored nodes come from: a block store, usually with a cache of decoded nodes.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// # use std::{collections::HashMap, sync::Arc};
/// # use firebrick_core::{Cid, ordered::{Node, NodeSource, TreeError}};
/// struct Nodes(HashMap<Cid, Arc<Node>>);
///
/// impl NodeSource for Nodes {
///     fn node(&self, cid: &Cid) -> Result<Arc<Node>, TreeError> {
///         self.0.get(cid).cloned().ok_or(TreeError::Missing(*cid))
///     }
/// }
/// let saved = tree.save();
/// let nodes = Nodes(saved.nodes.into_iter().collect());
/// assert_eq!(saved.tree.get(&nodes, b"a")?, Some(b"1".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait NodeSource {
    /// The node with this CID.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// # use firebrick_core::ordered::NodeSource;
    /// let saved = tree.save();
    /// blocks.insert(&saved.blocks[0]);
    /// let node = blocks.node(&saved.blocks[0].cid)?;
    /// assert_eq!(node.stored_children().count(), 0); // it is a leaf
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError::Missing`] if the source does not have it, [`TreeError::Invalid`] if the block is
    /// not a node, [`TreeError::Source`] if reading failed.
    fn node(&self, cid: &Cid) -> Result<Arc<Node>, TreeError>;
}

impl<S: NodeSource + ?Sized> NodeSource for &S {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>, TreeError> {
        (**self).node(cid)
    }
}

/// Why an operation on a tree failed.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// # use firebrick_core::ordered::TreeError;
/// let block = &tree.save().blocks[0]; // not stored yet
/// match Tree::at(&blocks, block.cid) {
///     Err(TreeError::Missing(cid)) => assert_eq!(cid, block.cid),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A node is not in the source.
    #[error("the node {0} is missing")]
    Missing(Cid),
    /// A block is not a node, or a node is not what its parent says.
    #[error("the block {cid} is not a valid node: {reason}")]
    Invalid {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The source failed.
    #[error("reading a node failed")]
    Source(#[source] Box<dyn Error + Send + Sync>),
    /// An entry is larger than [`MAX_ENTRY_BYTES`].
    #[error("an entry has {0} bytes, the limit is {MAX_ENTRY_BYTES}")]
    TooLarge(usize),
}

/// One immutable version. Cloning is cheap.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// let other = tree.edit(&blocks, vec![Edit::put("b", "2")])?.tree;
/// assert_eq!((tree.len(), other.len()), (2, 3)); // a version never changes
/// assert_eq!(other.get(&blocks, b"b")?, Some(b"2".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Option<Child>,
}

/// What [`Tree::save`] gives.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// let saved = tree.save();
/// for block in &saved.blocks {
///     blocks.insert(block);
/// }
/// assert_eq!(saved.tree.root(), Some(saved.nodes[0].0));
/// assert_eq!(saved.tree.get(&blocks, b"c")?, Some(b"3".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Saved {
    /// The same version, with nothing in memory.
    pub tree: Tree,
    /// The nodes to store, children before their parents.
    pub blocks: Vec<Block>,
    /// The same nodes decoded, for a cache.
    pub nodes: Vec<(Cid, Arc<Node>)>,
}

impl Tree {
    /// The tree without entries.
    ///
    /// ```
    /// # use firebrick_core::ordered::Tree;
    /// let tree = Tree::empty();
    /// assert!(tree.is_empty() && tree.root().is_none());
    /// ```
    #[must_use]
    pub const fn empty() -> Self {
        Self { root: None }
    }

    /// The stored version with this root.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let saved = tree.save();
    /// saved.blocks.iter().for_each(|block| blocks.insert(block));
    /// let root = saved.tree.root().expect("it has entries");
    /// assert_eq!(Tree::at(&blocks, root)?.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if the root is missing or damaged.
    pub fn at(source: &impl NodeSource, root: Cid) -> Result<Self, TreeError> {
        let node = source.node(&root)?;
        Ok(Self {
            root: Some(Child::stored(root, &node)),
        })
    }

    /// The number of entries.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// assert_eq!(tree.len(), 2);
    /// assert_eq!(tree.edit(&blocks, vec![Edit::remove("a")])?.tree.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.count)
    }

    /// Whether there are no entries.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let edits = vec![Edit::remove("a"), Edit::remove("c")];
    /// assert!(!tree.is_empty());
    /// assert!(tree.edit(&blocks, edits)?.tree.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The levels of nodes; 0 without entries.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let many = (0..1000_u16).map(|n| Edit::put(n.to_be_bytes(), [7; 100])).collect();
    /// assert_eq!((Tree::empty().height(), tree.height()), (0, 1));
    /// assert!(tree.edit(&blocks, many)?.tree.height() > 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn height(&self) -> usize {
        self.root
            .as_ref()
            .map_or(0, |root| usize::from(root.level) + 1)
    }

    /// The root's CID, if there are entries and the version is saved.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// assert_eq!(tree.root(), None); // not saved yet
    /// assert!(tree.save().tree.root().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn root(&self) -> Option<Cid> {
        match &self.root.as_ref()?.link {
            Link::Stored(cid) => Some(*cid),
            Link::Memory(_) => None,
        }
    }

    /// Bytes of the nodes that are in memory only.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// assert!(tree.unsaved_bytes() > 0);
    /// assert_eq!(tree.save().tree.unsaved_bytes(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unsaved_bytes(&self) -> usize {
        self.root.as_ref().map_or(0, Child::unsaved_bytes)
    }

    /// Encodes the nodes that are in memory only.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let saved = tree.save();
    /// assert_eq!(saved.blocks.len(), 1);
    /// assert!(saved.tree.save().blocks.is_empty()); // nothing is left to save
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn save(&self) -> Saved {
        let (mut blocks, mut nodes) = (Vec::new(), Vec::new());
        let root = self
            .root
            .as_ref()
            .map(|root| save(root, &mut blocks, &mut nodes));
        Saved {
            tree: Self { root },
            blocks,
            nodes,
        }
    }

    /// The CIDs of all nodes that are stored, parents before their children.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let saved = tree.save();
    /// let mut cids = Vec::new();
    /// saved.tree.nodes(&blocks, &mut |cid| cids.push(cid))?;
    /// assert_eq!(cids, [saved.blocks[0].cid]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node is missing or damaged.
    pub fn nodes(
        &self,
        source: &impl NodeSource,
        visit: &mut impl FnMut(Cid),
    ) -> Result<(), TreeError> {
        let mut stack: Vec<Child> = self.root.iter().cloned().collect();
        while let Some(child) = stack.pop() {
            if let Link::Stored(cid) = child.link {
                visit(cid);
            }
            // The leaves need not be read to be named.
            if child.level > 0 {
                stack.extend(child.load(source)?.children().iter().cloned());
            }
        }
        Ok(())
    }

    /// The value of a key.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// assert_eq!(tree.get(&blocks, b"c")?, Some(b"3".to_vec()));
    /// assert_eq!(tree.get(&blocks, b"b")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node on the way is missing or damaged.
    pub fn get(&self, source: &impl NodeSource, key: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        let cursor = self.cursor(source, self.rank(source, key)?)?;
        let found = cursor.entry().filter(|(found, _)| *found == key);
        Ok(found.map(|(_, value)| value.to_vec()))
    }

    /// How many entries have a key less than this one.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// assert_eq!(tree.rank(&blocks, b"a")?, 0);
    /// assert_eq!(tree.rank(&blocks, b"b")?, 1); // whether it is there or not
    /// assert_eq!(tree.rank(&blocks, b"d")?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node on the way is missing or damaged.
    pub fn rank(&self, source: &impl NodeSource, key: &[u8]) -> Result<u64, TreeError> {
        let mut rank = 0;
        let mut at = self.root.clone();
        while let Some(child) = at {
            let node = child.load(source)?;
            if node.level() == 0 {
                return Ok(rank + node.lower_bound(key) as u64);
            }
            let next = node.child_for(key);
            let before = &node.children()[..next];
            rank += before.iter().map(|child| child.count).sum::<u64>();
            at = node.children().get(next).cloned();
        }
        Ok(rank)
    }
}

/// The levels are bounded ([`node::MAX_LEVEL`]), so recursion is too.
fn save(child: &Child, blocks: &mut Vec<Block>, nodes: &mut Vec<(Cid, Arc<Node>)>) -> Child {
    let Link::Memory(node) = &child.link else {
        return child.clone();
    };
    let below: Vec<Child> = node
        .children()
        .iter()
        .map(|below| save(below, blocks, nodes))
        .collect();
    let node = if below.is_empty() {
        Arc::clone(node)
    } else {
        Arc::new(node.with_children(below))
    };
    let block = node.encode();
    let stored = Child {
        link: Link::Stored(block.cid),
        ..child.clone()
    };
    nodes.push((block.cid, node));
    blocks.push(block);
    stored
}
