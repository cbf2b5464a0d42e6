//! Edits: many at once, in one walk.

use super::node::{Child, ENTRY_BYTES, Node};
use super::{NodeSource, Tree, TreeError};

/// A node with more bytes is split, if it has enough entries.
const MAX_BYTES: usize = 8 << 10;
/// A changed node with fewer bytes is joined with a neighbour.
const MIN_BYTES: usize = 2 << 10;
/// What the nodes of a split get at most, so that the next edits do not split them again.
const FILL_BYTES: usize = 6 << 10;
/// An inner node has more children than this, whatever the size of their keys, before it is split.
const MIN_CHILDREN: usize = 4;

/// A change of one entry.
///
/// ```
/// # use firebrick_core::ordered::Edit;
/// let edit = Edit::put("a", "1");
/// assert_eq!((edit.key, edit.value), (b"a".to_vec(), Some(b"1".to_vec())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The key.
    pub key: Vec<u8>,
    /// The new value; `None` removes the entry.
    pub value: Option<Vec<u8>>,
}

impl Edit {
    /// Sets the value of a key.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let tree = tree.edit(&blocks, vec![Edit::put("a", "one")])?.tree;
    /// assert_eq!(tree.get(&blocks, b"a")?, Some(b"one".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// Removes a key.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let tree = tree.edit(&blocks, vec![Edit::remove("a")])?.tree;
    /// assert_eq!(tree.get(&blocks, b"a")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn remove(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: None,
        }
    }
}

/// What [`Tree::edit`] gives.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// let edited = tree.edit(&blocks, vec![Edit::remove("a"), Edit::remove("b")])?;
/// assert_eq!(edited.absent, 1); // there was no "b"
/// assert_eq!(edited.tree.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Edited {
    /// The new version.
    pub tree: Tree,
    /// Keys that were to be removed and were not there.
    pub absent: u64,
}

/// A node of the new version and the key that its parent knows it by.
struct Part {
    key: Vec<u8>,
    child: Child,
    /// Whether it is new, so that its size has to be looked at.
    is_new: bool,
}

struct Editor<'a, S> {
    source: &'a S,
    absent: u64,
}

impl Tree {
    /// Applies edits. Of several edits of one key the last one counts. On an empty tree this is the
    /// bulk build: sort, cut, build up.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let edits = vec![Edit::put("b", "2"), Edit::remove("c"), Edit::put("b", "two")];
    /// let edited = tree.edit(&blocks, edits)?.tree;
    /// assert_eq!(edited.get(&blocks, b"b")?, Some(b"two".to_vec()));
    /// assert_eq!(edited.get(&blocks, b"c")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TreeError`] if a node is missing or damaged, or an entry too large.
    pub fn edit(
        &self,
        source: &impl NodeSource,
        mut edits: Vec<Edit>,
    ) -> Result<Edited, TreeError> {
        if !edits.is_sorted_by(|a, b| a.key < b.key) {
            edits.sort_by(|a, b| a.key.cmp(&b.key));
            edits.dedup_by(|later, kept| {
                let same = later.key == kept.key;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        let mut editor = Editor { source, absent: 0 };
        if edits.is_empty() {
            return Ok(Edited {
                tree: self.clone(),
                absent: 0,
            });
        }
        let (mut parts, mut level) = match &self.root {
            None => (editor.leaf(&Node::leaf(), Vec::new(), &edits)?, 0),
            Some(root) => (editor.node(root, Vec::new(), &edits)?, root.level),
        };
        while parts.len() > 1 {
            level += 1;
            parts = build(level, parts)?;
        }
        let mut root = parts.pop().map(|part| part.child);
        while let Some(child) = &root
            && child.level > 0
        {
            let node = child.load(source)?;
            let [only] = node.children() else { break };
            root = Some(only.clone());
        }
        Ok(Edited {
            tree: Tree { root },
            absent: editor.absent,
        })
    }
}

impl<S: NodeSource> Editor<'_, S> {
    /// The nodes that take the place of `child`. Recursion is as deep as the tree is high.
    fn node(
        &mut self,
        child: &Child,
        key: Vec<u8>,
        edits: &[Edit],
    ) -> Result<Vec<Part>, TreeError> {
        let node = child.load(self.source)?;
        if child.level == 0 {
            return self.leaf(&node, key, edits);
        }
        let mut parts: Vec<Part> = Vec::with_capacity(node.len() + 1);
        let mut edits = edits;
        for (at, child) in node.children().iter().enumerate() {
            let count = match at + 1 < node.len() {
                true => edits.partition_point(|edit| &*edit.key < node.key(at + 1)),
                false => edits.len(),
            };
            let (here, later) = edits.split_at(count);
            edits = later;
            let own = if at == 0 { &key[..] } else { node.key(at) };
            if here.is_empty() {
                parts.push(Part {
                    key: own.to_vec(),
                    child: child.clone(),
                    is_new: false,
                });
            } else {
                parts.extend(self.node(child, own.to_vec(), here)?);
            }
        }
        let parts = self.join_small(parts)?;
        if parts.is_empty() {
            return Ok(parts);
        }
        build(child.level, parts)
    }

    fn leaf(&mut self, old: &Node, key: Vec<u8>, edits: &[Edit]) -> Result<Vec<Part>, TreeError> {
        let mut new = Node::leaf();
        let mut at = 0;
        for edit in edits {
            while at < old.len() && old.key(at) < &edit.key[..] {
                let (key, value) = old.entry(at);
                new.push(key, value)?;
                at += 1;
            }
            let was_there = at < old.len() && old.key(at) == edit.key;
            at += usize::from(was_there);
            match &edit.value {
                Some(value) => new.push(&edit.key, value)?,
                None => self.absent += u64::from(!was_there),
            }
        }
        for at in at..old.len() {
            let (key, value) = old.entry(at);
            new.push(key, value)?;
        }
        split_leaf(new, key)
    }

    /// Joins new nodes that are too small with a neighbour.
    fn join_small(&self, parts: Vec<Part>) -> Result<Vec<Part>, TreeError> {
        let mut out: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            let Some(before) = out.last() else {
                out.push(part);
                continue;
            };
            if !self.is_small(before)? && !self.is_small(&part)? {
                out.push(part);
                continue;
            }
            let (a, b) = (
                before.child.load(self.source)?,
                part.child.load(self.source)?,
            );
            let key = before.key.clone();
            out.pop();
            out.extend(join(&a, &b, key, &part.key)?);
        }
        Ok(out)
    }

    fn is_small(&self, part: &Part) -> Result<bool, TreeError> {
        Ok(part.is_new && part.child.load(self.source)?.memory() < MIN_BYTES)
    }
}

/// One or two nodes with the content of two neighbours.
fn join(a: &Node, b: &Node, key: Vec<u8>, key_of_b: &[u8]) -> Result<Vec<Part>, TreeError> {
    if a.level() == 0 {
        let mut leaf = Node::leaf();
        for node in [a, b] {
            for at in 0..node.len() {
                let (key, value) = node.entry(at);
                leaf.push(key, value)?;
            }
        }
        return split_leaf(leaf, key);
    }
    let mut parts = Vec::with_capacity(a.len() + b.len());
    for (node, first) in [(a, &key[..]), (b, key_of_b)] {
        for (at, child) in node.children().iter().enumerate() {
            parts.push(Part {
                key: if at == 0 { first } else { node.key(at) }.to_vec(),
                child: child.clone(),
                is_new: false,
            });
        }
    }
    build(a.level(), parts)
}

/// How many nodes to make of so many bytes.
fn pieces(bytes: usize) -> usize {
    if bytes <= MAX_BYTES {
        1
    } else {
        bytes.div_ceil(FILL_BYTES)
    }
}

fn split_leaf(leaf: Node, key: Vec<u8>) -> Result<Vec<Part>, TreeError> {
    if leaf.len() == 0 {
        return Ok(Vec::new());
    }
    let total = leaf.memory();
    let target = total.div_ceil(pieces(total));
    if target == total {
        return Ok(vec![Part {
            key,
            child: Child::memory(leaf),
            is_new: true,
        }]);
    }
    let mut parts = Vec::new();
    let (mut piece, mut piece_key) = (Node::leaf(), key);
    for at in 0..leaf.len() {
        let (key, value) = leaf.entry(at);
        let size = key.len() + value.len() + ENTRY_BYTES;
        // Whatever is nearer to the target.
        if piece.len() > 0 && piece.memory() + size / 2 > target {
            let next_key = separator(piece.key(piece.len() - 1), key);
            parts.push(Part {
                key: std::mem::replace(&mut piece_key, next_key),
                child: Child::memory(std::mem::replace(&mut piece, Node::leaf())),
                is_new: true,
            });
        }
        piece.push(key, value)?;
    }
    parts.push(Part {
        key: piece_key,
        child: Child::memory(piece),
        is_new: true,
    });
    Ok(parts)
}

/// The shortest key that is greater than `before` and not greater than `after`.
fn separator(before: &[u8], after: &[u8]) -> Vec<u8> {
    let shared = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    after[..after.len().min(shared + 1)].to_vec()
}

/// Inner nodes above these parts, which there are some of.
fn build(level: u8, parts: Vec<Part>) -> Result<Vec<Part>, TreeError> {
    let size = |part: &Part| part.key.len() + ENTRY_BYTES + size_of::<Child>();
    let total: usize = parts.iter().map(size).sum();
    let pieces = pieces(total).min(parts.len() / MIN_CHILDREN).max(1);
    let target = total.div_ceil(pieces);
    let mut left = parts.len();
    let mut out: Vec<Part> = Vec::with_capacity(pieces);
    let (mut node, mut key) = (Node::inner(level), Vec::new());
    for part in parts {
        let is_full = node.memory() + size(&part) / 2 > target;
        if node.len() >= MIN_CHILDREN && is_full && left >= MIN_CHILDREN {
            out.push(Part {
                key: std::mem::take(&mut key),
                child: Child::memory(std::mem::replace(&mut node, Node::inner(level))),
                is_new: true,
            });
        }
        left -= 1;
        if node.len() == 0 {
            key.clone_from(&part.key);
        }
        node.push_child(&part.key, part.child)?;
    }
    if node.len() > 0 {
        out.push(Part {
            key,
            child: Child::memory(node),
            is_new: true,
        });
    }
    Ok(out)
}
