//! The difference of two versions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::node::{Child, Node};
use super::{NodeSource, Tree, TreeError};

/// One key on which two versions differ.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// let other = tree.edit(&blocks, vec![Edit::put("a", "one")])?.tree;
/// let change = &Tree::diff(&tree, &other, &blocks)?[0];
/// assert_eq!(change.key, b"a");
/// assert_eq!(change.old.as_deref(), Some(&b"1"[..]));
/// assert_eq!(change.new.as_deref(), Some(&b"one"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// Its value in the old version.
    pub old: Option<Vec<u8>>,
    /// Its value in the new version.
    pub new: Option<Vec<u8>>,
}

impl Tree {
    /// The keys on which `old` and `new` differ, ascending. Nodes that both have are not looked
    /// into, so the cost follows the difference, not the size.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let other = tree.edit(&blocks, vec![Edit::put("b", "2"), Edit::remove("c")])?.tree;
    /// let changes = Tree::diff(&tree, &other, &blocks)?;
    /// let keys: Vec<_> = changes.iter().map(|change| &change.key[..]).collect();
    /// assert_eq!(keys, [b"b", b"c"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node is missing or damaged.
    pub fn diff(
        old: &Tree,
        new: &Tree,
        source: &impl NodeSource,
    ) -> Result<Vec<Change>, TreeError> {
        let (mut a, mut b) = (Walk::new(old), Walk::new(new));
        let mut changes = Vec::new();
        loop {
            // Both have passed the same keys, so equal subtrees hold the same keys next.
            match (a.here(), b.here()) {
                (None, None) => return Ok(changes),
                (Some(Here::Below(x)), Some(Here::Below(y))) => {
                    let (x, y) = (x.clone(), y.clone());
                    if x.is(&y) {
                        a.step();
                        b.step();
                        continue;
                    }
                    let (x_level, y_level) = (x.level, y.level);
                    if x_level >= y_level {
                        a.enter(&x, source)?;
                    }
                    if y_level >= x_level {
                        b.enter(&y, source)?;
                    }
                }
                (Some(Here::Below(x)), _) => {
                    let x = x.clone();
                    a.enter(&x, source)?;
                }
                (_, Some(Here::Below(y))) => {
                    let y = y.clone();
                    b.enter(&y, source)?;
                }
                (Some(Here::Entry(key, value)), None) => {
                    changes.push(change(key, Some(value), None));
                    a.step();
                }
                (None, Some(Here::Entry(key, value))) => {
                    changes.push(change(key, None, Some(value)));
                    b.step();
                }
                (Some(Here::Entry(key, old)), Some(Here::Entry(other, new))) => {
                    let order = key.cmp(other);
                    match order {
                        Ordering::Less => changes.push(change(key, Some(old), None)),
                        Ordering::Greater => changes.push(change(other, None, Some(new))),
                        Ordering::Equal if old != new => {
                            changes.push(change(key, Some(old), Some(new)));
                        }
                        Ordering::Equal => {}
                    }
                    if order.is_le() {
                        a.step();
                    }
                    if order.is_ge() {
                        b.step();
                    }
                }
            }
        }
    }
}

fn change(key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Change {
    Change {
        key: key.to_vec(),
        old: old.map(<[u8]>::to_vec),
        new: new.map(<[u8]>::to_vec),
    }
}

enum Here<'a> {
    Below(&'a Child),
    Entry(&'a [u8], &'a [u8]),
}

struct Walk {
    root: Option<Child>,
    path: Vec<(Arc<Node>, usize)>,
}

impl Walk {
    fn new(tree: &Tree) -> Self {
        Self {
            root: tree.root.clone(),
            path: Vec::new(),
        }
    }

    fn here(&self) -> Option<Here<'_>> {
        let Some((node, at)) = self.path.last() else {
            return self.root.as_ref().map(Here::Below);
        };
        Some(match node.children().get(*at) {
            Some(child) => Here::Below(child),
            None => {
                let (key, value) = node.entry(*at);
                Here::Entry(key, value)
            }
        })
    }

    /// Passes what is here.
    fn step(&mut self) {
        if self.path.is_empty() {
            self.root = None;
        }
        while let Some((node, at)) = self.path.last_mut() {
            *at += 1;
            if *at < node.len() {
                return;
            }
            self.path.pop();
            self.root = self.root.take().filter(|_| !self.path.is_empty());
        }
    }

    fn enter(&mut self, child: &Child, source: &impl NodeSource) -> Result<(), TreeError> {
        self.path.push((child.load(source)?, 0));
        Ok(())
    }
}
