//! Nodes: sorted entries in one buffer, and their encoded form.
//!
//! Encoded: a mark, the level, the number of entries, then for each how many bytes of its key are
//! those of the key before, the other bytes, and the value (leaves) or digest and count (inner
//! nodes). Numbers are LEB128.

use std::sync::Arc;

use super::{MARK, MAX_ENTRY_BYTES, NodeSource, TreeError};
use crate::block::Block;
use crate::cid::{Cid, Codec};

/// Levels above the leaves at most. With four children per node at least, never reached.
pub(super) const MAX_LEVEL: u8 = 31;

/// What an entry costs in memory beside its bytes.
pub(super) const ENTRY_BYTES: usize = 8;

/// What a child costs in memory beside its key.
const CHILD_BYTES: usize = size_of::<Child>();

/// Where a node is.
#[derive(Clone, Debug)]
pub(super) enum Link {
    Stored(Cid),
    Memory(Arc<Node>),
}

/// A node as its parent knows it.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) link: Link,
    pub(super) level: u8,
    /// Entries in its leaves.
    pub(super) count: u64,
}

impl Child {
    pub(super) fn stored(cid: Cid, node: &Node) -> Self {
        Self {
            link: Link::Stored(cid),
            level: node.level,
            count: node.count(),
        }
    }

    pub(super) fn memory(node: Node) -> Self {
        Self {
            level: node.level,
            count: node.count(),
            link: Link::Memory(Arc::new(node)),
        }
    }

    pub(super) fn load(&self, source: &impl NodeSource) -> Result<Arc<Node>, TreeError> {
        let cid = match &self.link {
            Link::Memory(node) => return Ok(Arc::clone(node)),
            Link::Stored(cid) => cid,
        };
        let node = source.node(cid)?;
        if node.level != self.level || node.count() != self.count {
            return Err(TreeError::Invalid {
                cid: *cid,
                reason: "it is not the node that its parent describes",
            });
        }
        Ok(node)
    }

    pub(super) fn unsaved_bytes(&self) -> usize {
        match &self.link {
            Link::Stored(_) => 0,
            Link::Memory(node) => node.unsaved,
        }
    }

    /// Whether both are the same node; `false` may also mean that nobody knows.
    pub(super) fn is(&self, other: &Child) -> bool {
        match (&self.link, &other.link) {
            (Link::Stored(a), Link::Stored(b)) => a == b,
            (Link::Memory(a), Link::Memory(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A node of the tree.
///
/// ```
/// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
/// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
/// let saved = tree.save();
/// let (cid, node) = &saved.nodes[0];
/// assert_eq!(*cid, saved.blocks[0].cid);
/// assert!(node.memory() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Node {
    level: u8,
    /// Key and value of each entry, one after the other. In an inner node a key is at most the first
    /// one below the child and greater than all before; that of the first child is not used.
    bytes: Vec<u8>,
    /// Where key and value end.
    ends: Vec<(u32, u32)>,
    children: Vec<Child>,
    /// Bytes of this node and of the unsaved ones below.
    unsaved: usize,
}

impl Node {
    pub(super) fn leaf() -> Self {
        Self::default()
    }

    pub(super) fn inner(level: u8) -> Self {
        Self {
            level,
            ..Self::default()
        }
    }

    /// The blocks of the children, as far as they are stored.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let many = (0..1000_u16).map(|n| Edit::put(n.to_be_bytes(), [7; 100])).collect();
    /// let saved = tree.edit(&blocks, many)?.tree.save();
    /// let (_, root) = saved.nodes.last().expect("the root comes last");
    /// let first = root.stored_children().next();
    /// assert_eq!(first, Some(saved.blocks[0].cid));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stored_children(&self) -> impl Iterator<Item = Cid> {
        self.children.iter().filter_map(|child| match child.link {
            Link::Stored(cid) => Some(cid),
            Link::Memory(_) => None,
        })
    }

    /// Adds an entry behind the last.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), TreeError> {
        let length = key.len() + value.len();
        if length > MAX_ENTRY_BYTES {
            return Err(TreeError::TooLarge(length));
        }
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let end = |at: usize| u32::try_from(at).map_err(|_| TreeError::TooLarge(at));
        self.ends.push((end(key_end)?, end(self.bytes.len())?));
        self.unsaved += length + ENTRY_BYTES;
        Ok(())
    }

    /// Adds a child behind the last.
    pub(super) fn push_child(&mut self, key: &[u8], child: Child) -> Result<(), TreeError> {
        self.unsaved += child.unsaved_bytes() + CHILD_BYTES;
        self.children.push(child);
        self.push(key, &[])
    }

    /// The same keys with these children.
    pub(super) fn with_children(&self, children: Vec<Child>) -> Self {
        Self {
            level: self.level,
            bytes: self.bytes.clone(),
            ends: self.ends.clone(),
            children,
            unsaved: 0,
        }
    }

    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// Entries, or children.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn children(&self) -> &[Child] {
        &self.children
    }

    /// Entries in this leaf or below.
    pub(super) fn count(&self) -> u64 {
        match self.level {
            0 => self.ends.len() as u64,
            _ => self.children.iter().map(|child| child.count).sum(),
        }
    }

    /// What the node takes in memory, in bytes.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// let more = tree.edit(&blocks, vec![Edit::put("b", "2")])?.tree;
    /// assert!(more.save().nodes[0].1.memory() > tree.save().nodes[0].1.memory());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.ends.len() * ENTRY_BYTES + self.children.len() * CHILD_BYTES
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1)
            .map_or(0, |before| self.ends[before].1 as usize)
    }

    pub(super) fn key(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.ends[at].0 as usize]
    }

    pub(super) fn entry(&self, at: usize) -> (&[u8], &[u8]) {
        let (key, end) = self.ends[at];
        (self.key(at), &self.bytes[key as usize..end as usize])
    }

    /// The first entry whose key is not less.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        self.search(|at| self.key(at) < key)
    }

    /// The child that holds a key if any does.
    pub(super) fn child_for(&self, key: &[u8]) -> usize {
        self.search(|at| self.key(at) <= key).saturating_sub(1)
    }

    fn search(&self, is_before: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// All children must be stored.
    pub(super) fn encode(&self) -> Block {
        let mut out = Vec::with_capacity(self.bytes.len() / 2 + self.ends.len() * 4 + 16);
        out.extend_from_slice(MARK);
        out.push(self.level);
        write_number(self.ends.len() as u64, &mut out);
        let mut before: &[u8] = &[];
        for at in 0..self.ends.len() {
            let (key, value) = self.entry(at);
            let pairs = before.iter().zip(key);
            let shared = pairs.take_while(|(a, b)| a == b).count();
            write_number(shared as u64, &mut out);
            write_number((key.len() - shared) as u64, &mut out);
            out.extend_from_slice(&key[shared..]);
            before = key;
            match self.children.get(at) {
                None => {
                    write_number(value.len() as u64, &mut out);
                    out.extend_from_slice(value);
                }
                Some(child) => {
                    if let Link::Stored(cid) = &child.link {
                        out.extend_from_slice(cid.digest());
                    }
                    write_number(child.count, &mut out);
                }
            }
        }
        Block::new(Codec::Raw, out)
    }

    /// Reads the block of a node.
    ///
    /// ```
    /// # use firebrick_core::{memory::MemoryBlocks, ordered::{Edit, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let edits = vec![Edit::put("a", "1"), Edit::put("c", "3")];
    /// # let tree = Tree::empty().edit(&blocks, edits)?.tree;
    /// # use firebrick_core::ordered::Node;
    /// let saved = tree.save();
    /// let node = Node::decode(&saved.blocks[0].bytes)?;
    /// assert_eq!(node.memory(), saved.nodes[0].1.memory());
    /// assert!(Node::decode(b"something else").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let rest = bytes.strip_prefix(MARK).ok_or("it has another form")?;
        let (&level, rest) = rest.split_first().ok_or(CUT)?;
        if level > MAX_LEVEL {
            return Err("its level is too high");
        }
        let mut rest = rest;
        let count = read_number(&mut rest)?;
        let mut node = Node::inner(level);
        let mut key = Vec::new();
        for at in 0..count {
            let shared = read_number(&mut rest)?;
            let suffix = read_bytes(&mut rest)?;
            if shared > key.len() {
                return Err("a key shares more than there is");
            }
            // What a key shares costs no input, so hostile input could ask for any amount.
            if node.bytes.len() + shared > 4 * MAX_ENTRY_BYTES {
                return Err("its keys are too long");
            }
            let ascends = suffix > &key[shared..];
            // An inner node's first key may be empty.
            if at > 0 && !ascends {
                return Err("its keys do not ascend");
            }
            key.truncate(shared);
            key.extend_from_slice(suffix);
            let value: &[u8] = if level == 0 {
                read_bytes(&mut rest)?
            } else {
                let (digest, after) = rest.split_first_chunk().ok_or(CUT)?;
                rest = after;
                let count = read_number(&mut rest)?;
                node.children.push(Child {
                    link: Link::Stored(Cid::from_digest(Codec::Raw, *digest)),
                    level: level - 1,
                    count: count as u64,
                });
                &[]
            };
            node.push(&key, value).map_err(|_| "an entry is too long")?;
        }
        if !rest.is_empty() || count == 0 {
            return Err("it has the wrong length");
        }
        let total = |sum: u64, child: &Child| sum.checked_add(child.count);
        if node.children.iter().try_fold(0, total).is_none() {
            return Err("its counts are too high");
        }
        node.unsaved = 0;
        Ok(node)
    }
}

const CUT: &str = "it is cut off";

fn write_number(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_number(input: &mut &[u8]) -> Result<usize, &'static str> {
    let mut value = 0_usize;
    for shift in (0..usize::BITS - 7).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(CUT)?;
        *input = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is too large")
}

fn read_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let length = read_number(input)?;
    let (bytes, rest) = input.split_at_checked(length).ok_or(CUT)?;
    *input = rest;
    Ok(bytes)
}
