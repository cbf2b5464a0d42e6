//! Walking the entries in order, either way, from any position.

use std::sync::Arc;

use super::node::Node;
use super::{NodeSource, Tree, TreeError};

/// A place in a version of the tree. It holds the nodes on its path, nothing else.
#[derive(Debug)]
pub struct Cursor {
    /// From the root to the leaf, with the position in each; empty beyond the ends.
    path: Vec<(Arc<Node>, usize)>,
}

impl Tree {
    /// A cursor at the entry that has so many before it; beyond the end if there are not as many.
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
    #[must_use]
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        let (leaf, at) = self.path.last()?;
        Some(leaf.entry(*at))
    }

    /// Goes to the next entry.
    ///
    /// # Errors
    /// [`TreeError`] if a node is missing or damaged.
    pub fn next(&mut self, source: &impl NodeSource) -> Result<(), TreeError> {
        self.step(source, true)
    }

    /// Goes to the entry before.
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
