//! The trees of an index (format §13.3).
//!
//! Entries end a node by the hash of the entry alone, so equal entries give equal nodes whatever the
//! order of changes was. Firebrick always builds a tree from scratch.

use std::cmp::Ordering;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::block::Block;
use crate::cbor::{CborError, Reader, Writer};
use crate::charwise;
use crate::cid::{Cid, Codec};

mod read;

pub use read::{Entries, entries};

/// Why a tree cannot be read.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, prolly::{self, ProllyError}};
/// let root = Cid::of(Codec::DagCbor, b"no such node");
/// let mut entries = prolly::entries::<String, _>(root, |_| None, None);
/// assert_eq!(entries.next(), Some(Err(ProllyError::Missing(root))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProllyError {
    /// A node is not there.
    #[error("the index node {0} is missing")]
    Missing(Cid),
    /// A node is not what it should be.
    #[error("the index node {cid} cannot be read: {source}")]
    Node {
        /// Its name.
        cid: Cid,
        /// Why.
        source: CborError,
    },
    /// The entries of the tree are not in order, or a node does not begin as its parent says.
    #[error("the index node {0} is out of order")]
    Order(Cid),
    /// A node at another height than its parent says.
    #[error("the index node {0} has the wrong height")]
    Height(Cid),
}

/// What a tree is sorted by.
///
/// ```
/// # use firebrick_core::{cbor::{Reader, Writer}, prolly::TreeKey};
/// fn written<K: TreeKey>(key: &K) -> Vec<u8> {
///     let mut out = Writer::new();
///     key.write(&mut out);
///     out.into_vec()
/// }
/// let key = "note-1".to_string();
/// assert_eq!(String::read(&mut Reader::new(&written(&key)))?, key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TreeKey: Clone + Eq {
    /// Writes it.
    ///
    /// ```
    /// # use firebrick_core::{cbor::{self, Writer}, prolly::TreeKey};
    /// let mut out = Writer::new();
    /// "note-1".to_string().write(&mut out);
    /// assert_eq!(out.into_vec(), cbor::to_vec("note-1")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn write(&self, out: &mut Writer);
    /// Reads it.
    ///
    /// ```
    /// # use firebrick_core::{cbor::{self, Reader}, prolly::{RowKey, TreeKey}};
    /// let bytes = cbor::to_vec(&("red", "note-1"))?;
    /// let key = RowKey::read(&mut Reader::new(&bytes))?;
    /// assert_eq!((key.key.as_str(), key.id.as_str()), ("red", "note-1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError`] for anything else.
    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError>;
    /// The order of the tree.
    ///
    /// ```
    /// # use firebrick_core::prolly::{RowKey, TreeKey};
    /// let row = |key: &str, id: &str| RowKey { key: key.into(), id: id.into() };
    /// assert!(row("blue", "b").order(&row("red", "a")).is_lt());
    /// assert!(row("red", "b").order(&row("red", "a")).is_gt());
    /// ```
    fn order(&self, other: &Self) -> Ordering;
}

/// The key of the tree by document id.
impl TreeKey for String {
    fn write(&self, out: &mut Writer) {
        out.text(self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.text().map(Into::into)
    }

    fn order(&self, other: &Self) -> Ordering {
        charwise::cmp(self, other)
    }
}

/// The key of the tree by key: the encoded index key, then the document id.
///
/// ```
/// # use firebrick_core::{charwise, prolly::{RowKey, TreeKey}};
/// let row = |n: f64| RowKey { key: charwise::encode(&n.into()), id: "note-1".into() };
/// assert!(row(9.0).order(&row(10.0)).is_lt());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// The index key, see [`charwise`].
    pub key: String,
    /// The document id.
    pub id: String,
}

impl TreeKey for RowKey {
    fn write(&self, out: &mut Writer) {
        out.list(2);
        out.text(&self.key);
        out.text(&self.id);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let at = reader.position();
        if reader.list()? != 2 {
            return Err(CborError::Expected {
                expected: "a key and an id",
                at,
            });
        }
        Ok(Self {
            key: reader.text()?.into(),
            id: reader.text()?.into(),
        })
    }

    fn order(&self, other: &Self) -> Ordering {
        charwise::cmp(&self.key, &other.key).then_with(|| charwise::cmp(&self.id, &other.id))
    }
}

/// An entry of a tree.
///
/// ```
/// # use firebrick_core::{cbor, prolly::{self, Entry}};
/// let entry = Entry { key: "note-1".to_string(), value: cbor::to_vec(&5)?.into() };
/// let root = &prolly::build(vec![entry.clone()])[0];
/// let mut entries = prolly::entries(root.cid, |_| Some(root.bytes.clone()), None);
/// assert_eq!(entries.next(), Some(Ok(entry)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<K> {
    /// The key.
    pub key: K,
    /// The value, as dag-cbor.
    pub value: Bytes,
}

/// Entries end a node if the end of their hash is at most this: one in 30.
const BOUNDARY: u32 = u32::MAX / 30;

/// Builds a tree. Entries need not be sorted; those with equal keys keep their order. Returns the
/// blocks in the order they are written, the root last; none if there are no entries.
///
/// ```
/// # use firebrick_core::{cbor, prolly::{self, Entry}};
/// let null = cbor::to_vec(&())?;
/// let entry = |key: &str| Entry { key: key.to_string(), value: null.clone().into() };
/// let blocks = prolly::build(vec![entry("b"), entry("a")]);
/// assert_eq!(blocks, prolly::build(vec![entry("a"), entry("b")]));
/// assert!(prolly::build::<String>(Vec::new()).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn build<K: TreeKey>(mut entries: Vec<Entry<K>>) -> Vec<Block> {
    entries.sort_by(|a, b| a.key.order(&b.key));
    let mut blocks = Vec::new();
    let mut scratch = Vec::new();
    let mut level = cut(&entries, &mut scratch, |nodes, first, closed, content| {
        let mut out = Writer::with_capacity(content.bytes + 16);
        out.map(2);
        out.text("leaf");
        content.write(&mut out);
        out.text("closed");
        out.bool(closed);
        push(&mut blocks, nodes, first, out);
    });
    let mut distance = 1;
    while level.len() > 1 {
        level = cut(&level, &mut scratch, |nodes, first, closed, content| {
            let mut out = Writer::with_capacity(content.bytes + 20);
            out.map(2);
            out.text("branch");
            out.list(2);
            out.uint(distance);
            content.write(&mut out);
            out.text("closed");
            out.bool(closed);
            push(&mut blocks, nodes, first, out);
        });
        distance += 1;
    }
    blocks
}

/// Adds a node, and the entry for it in the level above.
fn push<K: TreeKey>(blocks: &mut Vec<Block>, nodes: &mut Vec<Entry<K>>, first: &K, out: Writer) {
    let block = Block::new(Codec::DagCbor, out.into_vec());
    let mut link = Writer::with_capacity(41);
    link.link(&block.cid);
    nodes.push(Entry {
        key: first.clone(),
        value: link.into_vec().into(),
    });
    blocks.push(block);
}

/// The encoded entries of one node.
struct Content<'a> {
    count: usize,
    encoded: &'a [u8],
    bytes: usize,
}

impl Content<'_> {
    fn write(&self, out: &mut Writer) {
        out.list(self.count);
        out.buffer().extend_from_slice(self.encoded);
    }
}

/// Cuts sorted entries into nodes and gives the entries of the level above.
fn cut<K: TreeKey>(
    entries: &[Entry<K>],
    scratch: &mut Vec<u8>,
    mut node: impl FnMut(&mut Vec<Entry<K>>, &K, bool, &Content<'_>),
) -> Vec<Entry<K>> {
    let mut nodes = Vec::new();
    scratch.clear();
    let mut first = 0;
    for (at, entry) in entries.iter().enumerate() {
        let start = scratch.len();
        let mut out = Writer::from(std::mem::take(scratch));
        out.list(2);
        entry.key.write(&mut out);
        out.buffer().extend_from_slice(&entry.value);
        *scratch = out.into_vec();
        let closed = is_boundary(&scratch[start..]);
        if closed || at + 1 == entries.len() {
            let content = Content {
                count: at + 1 - first,
                encoded: scratch,
                bytes: scratch.len(),
            };
            node(&mut nodes, &entries[first].key, closed, &content);
            scratch.clear();
            first = at + 1;
        }
    }
    nodes
}

/// Whether the entry with these bytes ends its node.
fn is_boundary(entry: &[u8]) -> bool {
    let digest: [u8; 32] = Sha256::digest(entry).into();
    let [.., a, b, c, d] = digest;
    u32::from_le_bytes([a, b, c, d]) <= BOUNDARY
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn entry(n: usize) -> Entry<RowKey> {
        Entry {
            key: RowKey {
                key: charwise::encode(&(n as f64).into()),
                id: format!("d{n}"),
            },
            value: Bytes::from_static(b"\xf6"),
        }
    }

    #[test]
    fn what_is_built_can_be_read() {
        for count in [1, 2, 40, 3000] {
            let all: Vec<_> = (0..count).map(entry).collect();
            let blocks = build(all.iter().rev().cloned().collect());
            let root = blocks.last().unwrap().cid;
            let store: HashMap<_, _> = blocks.iter().map(|b| (b.cid, b.bytes.clone())).collect();
            let get = |cid: &Cid| store.get(cid).cloned();
            let read: Result<Vec<_>, _> = entries(root, get, None).collect();
            assert_eq!(read.unwrap(), all);
            for from in [0, 1, count / 2, count - 1] {
                let read: Result<Vec<_>, _> = entries(root, get, Some(entry(from).key)).collect();
                assert_eq!(read.unwrap(), all[from..]);
            }
            assert_eq!(build(all), blocks);
        }
        assert!(build::<String>(Vec::new()).is_empty());
    }

    #[test]
    fn a_missing_or_odd_node_is_an_error() {
        let blocks = build((0..300).map(entry).collect());
        let root = blocks.last().unwrap().cid;
        let lost = blocks[2].cid;
        let get = |cid: &Cid| {
            let block = blocks.iter().find(|b| b.cid == *cid && b.cid != lost);
            block.map(|b| b.bytes.clone())
        };
        let read: Vec<_> = entries::<RowKey, _>(root, get, None).collect();
        assert_eq!(read.last(), Some(&Err(ProllyError::Missing(lost))));
        // Another node in the place of one is noticed by its first key.
        let get = |cid: &Cid| {
            let cid = if *cid == lost { &blocks[0].cid } else { cid };
            blocks
                .iter()
                .find(|b| b.cid == *cid)
                .map(|b| b.bytes.clone())
        };
        let read: Vec<_> = entries::<RowKey, _>(root, get, None).collect();
        assert_eq!(read.last(), Some(&Err(ProllyError::Order(lost))));
    }
}
