//! Walking the entries in order, either way, from any position.

use std::sync::Arc;

use super::node::Node;
use super::{NodeSource, Tree, TreeError};

/// A place in a version of the tree. It holds the nodes on its path, nothing else.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// let mut cursor = tree.cursor(&blocks, 0)?;
/// let mut keys = Vec::new();
/// while let Some((key, _value)) = cursor.entry() {
///     keys.push(key.to_vec());
///     cursor.next(&blocks)?;
/// }
/// assert_eq!(keys, [b"a", b"c"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cursor {
    /// From the root to the leaf, with the position in each; empty beyond the ends.
    path: Vec<(Arc<Node>, usize)>,
}

impl Tree {
    /// A cursor at the entry that has so many before it; beyond the end if there are not as many.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let rank = tree.rank(&blocks, b"b")?;
    /// let cursor = tree.cursor(&blocks, rank)?; // at "b", or at the next key
    /// assert_eq!(cursor.entry(), Some((&b"c"[..], &b"3"[..])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node on the way is missing or damaged.
    pub fn cursor(&self, source: &impl NodeSource, rank: u64) -> Result<Cursor, TreeError> {
        let mut cursor = Cursor { path: Vec::new() };
        if rank >= self.len() {
            return Ok(cursor);
        }
        let mut left = rank;
        let mut next = self.root.clone();
        while let Some(child) = next {
            let node = child.load(source)?;
            if node.level() == 0 {
                cursor.path.push((node, left as usize));
                break;
            }
            let mut at = 0;
            for child in node.children() {
                if left < child.count {
                    break;
                }
                left -= child.count;
                at += 1;
            }
            next = node.children().get(at).cloned();
            cursor.path.push((node, at));
        }
        Ok(cursor)
    }
}

impl Cursor {
    /// The entry that is here; `None` beyond the ends.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// assert_eq!(tree.cursor(&blocks, 0)?.entry(), Some((&b"a"[..], &b"1"[..])));
    /// assert_eq!(tree.cursor(&blocks, 2)?.entry(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        let (leaf, at) = self.path.last()?;
        Some(leaf.entry(*at))
    }

    /// Goes to the next entry.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let mut cursor = tree.cursor(&blocks, 0)?;
    /// cursor.next(&blocks)?;
    /// assert_eq!(cursor.entry(), Some((&b"c"[..], &b"3"[..])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node is missing or damaged.
    pub fn next(&mut self, source: &impl NodeSource) -> Result<(), TreeError> {
        self.step(source, true)
    }

    /// Goes to the entry before.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let mut cursor = tree.cursor(&blocks, 1)?;
    /// cursor.previous(&blocks)?;
    /// assert_eq!(cursor.entry(), Some((&b"a"[..], &b"1"[..])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node is missing or damaged.
    pub fn previous(&mut self, source: &impl NodeSource) -> Result<(), TreeError> {
        self.step(source, false)
    }

    fn step(&mut self, source: &impl NodeSource, forward: bool) -> Result<(), TreeError> {
        while let Some((node, at)) = self.path.last_mut() {
            let next = match forward {
                true => Some(*at + 1).filter(|next| *next < node.len()),
                false => at.checked_sub(1),
            };
            let Some(next) = next else {
                self.path.pop();
                continue;
            };
            *at = next;
            let mut below = node.children().get(next).cloned();
            while let Some(child) = below {
                let node = child.load(source)?;
                let at = if forward { 0 } else { node.len() - 1 };
                below = node.children().get(at).cloned();
                self.path.push((node, at));
            }
            return Ok(());
        }
        Ok(())
    }
}
