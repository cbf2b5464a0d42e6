//! Events: the nodes of the Merkle clock (format §6.1).

use crate::block::Block;
use crate::cbor::{CborError, Reader, Writer};
use crate::cid::{Cid, Codec};
use crate::pail::{KeyError, check_key};

/// One write, and the events that it came after.
///
/// ```
/// use firebrick_core::clock::{Event, Operation};
/// # use firebrick_core::{Cid, cid::Codec, pail::EMPTY_ROOT};
/// # let value = Cid::of(Codec::DagCbor, b"a document");
///
/// let data = Operation::Put { key: "a".into(), value };
/// let first = Event::new(data.clone(), EMPTY_ROOT, []);
/// let second = Event::new(data, EMPTY_ROOT, [first.encode().cid]);
/// assert!(first.parents.is_empty());
/// assert_eq!(second.parents, [first.encode().cid]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was written.
    pub data: Operation,
    /// The root of the pail after the write.
    pub root: Cid,
    /// The head at the time of writing.
    pub parents: Vec<Cid>,
}

/// What an event did to the pail.
///
/// ```
/// use firebrick_core::clock::{Event, Operation};
/// # use firebrick_core::{Cid, cid::Codec, pail::EMPTY_ROOT};
/// # let value = Cid::of(Codec::DagCbor, b"a document");
/// # let data = Operation::Put { key: "a".into(), value };
/// # let block = Event::new(data, EMPTY_ROOT, []).encode();
///
/// match Event::decode(&block.bytes)?.data {
///     Operation::Put { key, .. } => assert_eq!(key, "a"),
///     Operation::Del { key } => panic!("{key} was deleted"),
///     Operation::Batch(ops) => panic!("{} keys were set", ops.len()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One key was set. A deleted document is a key set to the tombstone.
    Put {
        /// The key.
        key: String,
        /// The link to the document.
        value: Cid,
    },
    /// The pail's own delete, which only foreign data has.
    Del {
        /// The key.
        key: String,
    },
    /// Several keys were set, in this order. Without any, the event only pins a merge.
    Batch(Vec<Op>),
}

/// One put of a batch.
///
/// ```
/// use firebrick_core::clock::{Event, Op, Operation};
/// # use firebrick_core::{Cid, cid::Codec, pail::EMPTY_ROOT};
/// # let value = Cid::of(Codec::DagCbor, b"a document");
///
/// let ops = ["a", "b"].map(|key| Op { key: key.into(), value });
/// let event = Event::new(Operation::Batch(ops.into()), EMPTY_ROOT, []);
/// assert_eq!(event.puts().len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The key.
    pub key: String,
    /// The link to the document.
    pub value: Cid,
}

/// Why a block is not an event.
///
/// ```
/// use firebrick_core::clock::{Event, EventError};
///
/// match Event::decode(b"no event") {
///     Err(EventError::Cbor(cause)) => println!("{cause}"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Not dag-cbor, or not the fields of an event.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// A key that the pail does not allow.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An unknown kind of operation.
    #[error("unknown operation {0:?}")]
    Operation(String),
    /// The same parent twice.
    #[error("a parent is named twice")]
    Parents,
    /// A link that should lead to a structured block does not.
    #[error("{0} cannot be an event or a shard")]
    Codec(Cid),
}

impl Event {
    /// An event; the parents are put in the order that the format wants.
    ///
    /// ```
    /// use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::{Cid, cid::Codec, pail::EMPTY_ROOT};
    /// # let [a, b] = ["a", "b"].map(|text| Cid::of(Codec::DagCbor, text.as_bytes()));
    ///
    /// let pin = || Operation::Batch(Vec::new());
    /// let event = Event::new(pin(), EMPTY_ROOT, [a, b]);
    /// assert_eq!(event, Event::new(pin(), EMPTY_ROOT, [b, a, b]));
    /// ```
    #[must_use]
    pub fn new(data: Operation, root: Cid, parents: impl IntoIterator<Item = Cid>) -> Self {
        let mut parents: Vec<Cid> = parents.into_iter().collect();
        parents.sort_unstable();
        parents.dedup();
        Self {
            data,
            root,
            parents,
        }
    }

    /// The keys and values that this event sets, in order. Of a delete: none.
    ///
    /// ```
    /// use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::{Cid, cid::Codec, pail::EMPTY_ROOT};
    /// # let value = Cid::of(Codec::DagCbor, b"a document");
    ///
    /// let put = Operation::Put { key: "a".into(), value };
    /// assert!(Event::new(put, EMPTY_ROOT, []).puts().eq([("a", value)]));
    /// let del = Operation::Del { key: "a".into() };
    /// assert_eq!(Event::new(del, EMPTY_ROOT, []).puts().len(), 0);
    /// ```
    pub fn puts(&self) -> impl ExactSizeIterator<Item = (&str, Cid)> + DoubleEndedIterator {
        Puts {
            data: &self.data,
            next: 0,
            end: match &self.data {
                Operation::Put { .. } => 1,
                Operation::Del { .. } => 0,
                Operation::Batch(ops) => ops.len(),
            },
        }
    }

    /// The block of this event. The parents are written in the order of their bytes.
    ///
    /// ```
    /// use firebrick_core::cid::Codec;
    /// use firebrick_core::clock::{Event, Operation};
    /// use firebrick_core::pail::EMPTY_ROOT;
    ///
    /// let block = Event::new(Operation::Batch(Vec::new()), EMPTY_ROOT, []).encode();
    /// assert_eq!(block.cid.codec(), Codec::DagCbor);
    /// assert!(block.cid.matches(&block.bytes));
    /// ```
    #[must_use]
    pub fn encode(&self) -> Block {
        let mut out = Writer::with_capacity(128 + 42 * self.parents.len());
        out.map(2);
        out.text("data");
        match &self.data {
            Operation::Put { key, value } => {
                out.map(4);
                out.text("key");
                out.text(key);
                out.text("root");
                out.link(&self.root);
                out.text("type");
                out.text("put");
                out.text("value");
                out.link(value);
            }
            Operation::Del { key } => {
                out.map(3);
                out.text("key");
                out.text(key);
                out.text("root");
                out.link(&self.root);
                out.text("type");
                out.text("del");
            }
            Operation::Batch(ops) => {
                out.map(3);
                out.text("ops");
                out.list(ops.len());
                for Op { key, value } in ops {
                    out.map(3);
                    out.text("key");
                    out.text(key);
                    out.text("type");
                    out.text("put");
                    out.text("value");
                    out.link(value);
                }
                out.text("root");
                out.link(&self.root);
                out.text("type");
                out.text("batch");
            }
        }
        out.text("parents");
        out.list(self.parents.len());
        if self.parents.is_sorted() {
            self.parents.iter().for_each(|parent| out.link(parent));
        } else {
            let mut parents = self.parents.clone();
            parents.sort_unstable();
            parents.iter().for_each(|parent| out.link(parent));
        }
        Block::new(Codec::DagCbor, out.into_vec())
    }

    /// Reads an event, strictly. Parents may come in any order and are kept as they are.
    ///
    /// ```
    /// use firebrick_core::clock::{Event, Operation};
    /// use firebrick_core::pail::EMPTY_ROOT;
    ///
    /// let event = Event::new(Operation::Batch(Vec::new()), EMPTY_ROOT, []);
    /// let block = event.encode();
    /// assert_eq!(Event::decode(&block.bytes)?, event);
    /// assert!(Event::decode(&block.bytes[1..]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EventError`] says why the bytes are not an event.
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        let mut input = Reader::new(bytes);
        input.map(2)?;
        input.key("data")?;
        let (data, root) = operation(&mut input)?;
        input.key("parents")?;
        let count = input.list()?;
        // A link takes 41 bytes, so the count cannot make this larger than the input.
        let mut parents = Vec::with_capacity(count.min(bytes.len() / 41));
        for _ in 0..count {
            parents.push(structured(input.link()?)?);
        }
        input.finish()?;
        if !parents.is_sorted_by(|a, b| a < b) {
            let mut sorted = parents.clone();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(EventError::Parents);
            }
        }
        Ok(Self {
            data,
            root,
            parents,
        })
    }
}

fn operation(input: &mut Reader<'_>) -> Result<(Operation, Cid), EventError> {
    let mut fork = input.clone();
    // The number of fields and the first of them tell the kinds apart: a put has four fields.
    if fork.map(4).is_ok() {
        *input = fork;
        input.key("key")?;
        let key = key(input)?;
        input.key("root")?;
        let root = structured(input.link()?)?;
        input.key("type")?;
        kind(input, "put")?;
        input.key("value")?;
        let value = input.link()?;
        return Ok((Operation::Put { key, value }, root));
    }
    input.map(3)?;
    match input.text()? {
        "key" => {
            let key = key(input)?;
            input.key("root")?;
            let root = structured(input.link()?)?;
            input.key("type")?;
            kind(input, "del")?;
            Ok((Operation::Del { key }, root))
        }
        "ops" => {
            let count = input.list()?;
            let mut ops = Vec::new();
            for _ in 0..count {
                input.map(3)?;
                input.key("key")?;
                let key = key(input)?;
                input.key("type")?;
                kind(input, "put")?;
                input.key("value")?;
                let value = input.link()?;
                ops.push(Op { key, value });
            }
            input.key("root")?;
            let root = structured(input.link()?)?;
            input.key("type")?;
            kind(input, "batch")?;
            Ok((Operation::Batch(ops), root))
        }
        other => Err(EventError::Operation(other.chars().take(32).collect())),
    }
}

fn key(input: &mut Reader<'_>) -> Result<String, EventError> {
    let key = input.text()?;
    check_key(key)?;
    Ok(key.to_owned())
}

fn kind(input: &mut Reader<'_>, wanted: &str) -> Result<(), EventError> {
    match input.text()? {
        kind if kind == wanted => Ok(()),
        other => Err(EventError::Operation(other.chars().take(32).collect())),
    }
}

fn structured(cid: Cid) -> Result<Cid, EventError> {
    if cid.codec() == Codec::DagCbor {
        Ok(cid)
    } else {
        Err(EventError::Codec(cid))
    }
}

struct Puts<'a> {
    data: &'a Operation,
    next: usize,
    end: usize,
}

impl<'a> Puts<'a> {
    fn at(&self, index: usize) -> Option<(&'a str, Cid)> {
        match self.data {
            Operation::Put { key, value } => Some((key, *value)),
            Operation::Del { .. } => None,
            Operation::Batch(ops) => ops.get(index).map(|op| (op.key.as_str(), op.value)),
        }
    }
}

impl<'a> Iterator for Puts<'a> {
    type Item = (&'a str, Cid);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        self.at(self.next - 1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl DoubleEndedIterator for Puts<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        self.end -= 1;
        self.at(self.end)
    }
}

impl ExactSizeIterator for Puts<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn cid(n: u8) -> Cid {
        Cid::of(Codec::DagCbor, &[n])
    }

    #[test]
    fn every_kind_survives_a_round_trip() {
        let ops = |n: u8| {
            (0..n)
                .map(|n| Op {
                    key: format!("k{n}"),
                    value: cid(n),
                })
                .collect()
        };
        for data in [
            Operation::Put {
                key: "k".into(),
                value: Cid::of(Codec::Raw, b""),
            },
            Operation::Del { key: "k".into() },
            Operation::Batch(ops(0)),
            Operation::Batch(ops(30)),
        ] {
            for parents in [vec![], vec![cid(1)], (0..30).map(cid).collect()] {
                let event = Event::new(data.clone(), cid(9), parents);
                let block = event.encode();
                assert_eq!(Event::decode(&block.bytes), Ok(event.clone()));
                assert_eq!(event.puts().rev().len(), event.puts().count());
                for end in 0..block.bytes.len() {
                    assert!(Event::decode(&block.bytes[..end]).is_err());
                }
            }
        }
    }

    #[test]
    fn bad_keys_and_repeated_parents_are_refused() {
        let put = |key: &str| Operation::Put {
            key: key.into(),
            value: cid(0),
        };
        let event = Event::new(put("a\n"), cid(1), []);
        assert!(matches!(
            Event::decode(&event.encode().bytes),
            Err(EventError::Key(_))
        ));
        let event = Event {
            data: put("a"),
            root: cid(1),
            parents: vec![cid(2), cid(2)],
        };
        assert_eq!(
            Event::decode(&event.encode().bytes),
            Err(EventError::Parents)
        );
    }
}
