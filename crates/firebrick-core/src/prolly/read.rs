//! Reading a tree lazily, in order.

use std::vec;

use bytes::Bytes;

use super::{Entry, ProllyError, TreeKey};
use crate::cbor::{CborError, Reader, Token};
use crate::cid::Cid;

/// A tree higher than this cannot come from any number of entries that fits into memory.
const MAX_HEIGHT: u64 = 32;

/// The entries of a tree in order, from the first key that is at least `from`. `get` gives a node's
/// bytes, already verified. Ends after the first error.
///
/// Node boundaries may be anywhere: trees that JavaScript updated in place are not canonical.
///
/// ```
/// # use firebrick_core::{Cid, cbor, prolly::{self, Entry}};
/// # let entry = |n: u8| Ok(Entry { key: format!("{n:03}"), value: cbor::to_vec(&n)?.into() });
/// # let all = (0..100).map(entry).collect::<Result<Vec<_>, cbor::CborError>>()?;
/// let blocks = prolly::build(all.clone());
/// let root = blocks.last().expect("there are entries").cid;
/// let get = |cid: &Cid| blocks.iter().find(|b| b.cid == *cid).map(|b| b.bytes.clone());
/// let from = Some("042".to_string());
/// let found: Result<Vec<_>, _> = prolly::entries(root, get, from).collect();
/// assert_eq!(found?, all[42..]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn entries<K: TreeKey, G: FnMut(&Cid) -> Option<Bytes>>(
    root: Cid,
    get: G,
    from: Option<K>,
) -> Entries<K, G> {
    Entries {
        get,
        from,
        root: Some(root),
        path: Vec::new(),
        leaf: Vec::new().into_iter(),
        leaf_cid: root,
        last: None,
    }
}

/// The iterator of [`entries`].
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, prolly};
/// let root = Cid::of(Codec::DagCbor, b"no such node");
/// let mut entries = prolly::entries::<String, _>(root, |_| None, None);
/// assert!(entries.next().is_some_and(|entry| entry.is_err()));
/// assert_eq!(entries.next(), None); // it ends after an error
/// ```
#[derive(Debug)]
pub struct Entries<K, G> {
    get: G,
    from: Option<K>,
    root: Option<Cid>,
    /// Branches from the root down, with what is left of them.
    path: Vec<(u64, vec::IntoIter<(K, Cid)>)>,
    leaf: vec::IntoIter<Entry<K>>,
    leaf_cid: Cid,
    last: Option<K>,
}

enum Node<K> {
    Leaf(Vec<Entry<K>>),
    Branch(u64, Vec<(K, Cid)>),
}

impl<K: TreeKey, G: FnMut(&Cid) -> Option<Bytes>> Entries<K, G> {
    fn advance(&mut self) -> Result<Option<Entry<K>>, ProllyError> {
        loop {
            if let Some(entry) = self.leaf.next() {
                if self
                    .last
                    .as_ref()
                    .is_some_and(|last| last.order(&entry.key).is_gt())
                {
                    return Err(ProllyError::Order(self.leaf_cid));
                }
                self.last = Some(entry.key.clone());
                let is_before = |from: &K| entry.key.order(from).is_lt();
                if !self.from.as_ref().is_some_and(is_before) {
                    return Ok(Some(entry));
                }
            } else if let Some(root) = self.root.take() {
                self.load(root, None, None)?;
            } else if let Some((distance, children)) = self.path.last_mut() {
                match children.next() {
                    Some((first, cid)) => {
                        let below = *distance - 1;
                        self.load(cid, Some(&first), Some(below))?;
                    }
                    None => {
                        self.path.pop();
                    }
                }
            } else {
                return Ok(None);
            }
        }
    }

    /// Reads a node that should begin with a key, and have a height.
    fn load(
        &mut self,
        cid: Cid,
        first: Option<&K>,
        height: Option<u64>,
    ) -> Result<(), ProllyError> {
        let bytes = (self.get)(&cid).ok_or(ProllyError::Missing(cid))?;
        let node = node::<K>(&bytes).map_err(|source| ProllyError::Node { cid, source })?;
        let (actual, begin) = match &node {
            Node::Leaf(entries) => (0, entries.first().map(|e| &e.key)),
            Node::Branch(distance, children) => (*distance, children.first().map(|c| &c.0)),
        };
        if height.is_some_and(|height| height != actual) || actual > MAX_HEIGHT {
            return Err(ProllyError::Height(cid));
        }
        if begin.is_none() || (first.is_some() && first != begin) {
            return Err(ProllyError::Order(cid));
        }
        match node {
            Node::Leaf(entries) => {
                self.leaf = entries.into_iter();
                self.leaf_cid = cid;
            }
            Node::Branch(distance, mut children) => {
                if let Some(from) = &self.from {
                    // The last child that begins before `from` can still hold it; equal keys may
                    // go on from one node to the next.
                    let skip = children.partition_point(|(key, _)| key.order(from).is_lt());
                    children.drain(..skip.saturating_sub(1));
                }
                self.path.push((distance, children.into_iter()));
            }
        }
        Ok(())
    }
}

impl<K: TreeKey, G: FnMut(&Cid) -> Option<Bytes>> Iterator for Entries<K, G> {
    type Item = Result<Entry<K>, ProllyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.root = None;
            self.path.clear();
            self.leaf = Vec::new().into_iter();
        }
        next.transpose()
    }
}

fn node<K: TreeKey>(bytes: &Bytes) -> Result<Node<K>, CborError> {
    let mut reader = Reader::new(bytes);
    reader.map(2)?;
    let at = reader.position();
    let node = match reader.text()? {
        "leaf" => {
            let mut entries = Vec::new();
            for _ in 0..reader.list()? {
                pair(&mut reader)?;
                let key = K::read(&mut reader)?;
                let start = reader.position();
                skip(&mut reader)?;
                let value = bytes.slice(start..reader.position());
                entries.push(Entry { key, value });
            }
            Node::Leaf(entries)
        }
        "branch" => {
            pair(&mut reader)?;
            let at = reader.position();
            let distance = match reader.token()? {
                Token::Int(n) if n > 0 => u64::try_from(n).unwrap_or(u64::MAX),
                _ => {
                    return Err(CborError::Expected {
                        expected: "a height",
                        at,
                    });
                }
            };
            let mut children = Vec::new();
            for _ in 0..reader.list()? {
                pair(&mut reader)?;
                children.push((K::read(&mut reader)?, reader.link()?));
            }
            Node::Branch(distance, children)
        }
        _ => {
            return Err(CborError::Expected {
                expected: "a leaf or a branch",
                at,
            });
        }
    };
    reader.key("closed")?;
    reader.token()?;
    reader.finish()?;
    Ok(node)
}

fn pair(reader: &mut Reader<'_>) -> Result<(), CborError> {
    let at = reader.position();
    match reader.list()? {
        2 => Ok(()),
        _ => Err(CborError::Expected {
            expected: "a pair",
            at,
        }),
    }
}

/// Passes over one value.
fn skip(reader: &mut Reader<'_>) -> Result<(), CborError> {
    let mut left = 1usize;
    while left > 0 {
        left -= 1;
        match reader.token()? {
            Token::List(items) => left += items,
            Token::Map(entries) => left += 2 * entries,
            _ => {}
        }
    }
    Ok(())
}
