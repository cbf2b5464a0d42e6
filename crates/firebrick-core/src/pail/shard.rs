//! One shard in its encoded form.
//!
//! No two entries of a shard begin with the same character, so a 128-bit mask of the characters
//! and the positions of the entries are all the index that is needed. Index and bytes lie in one
//! piece of memory: trees of many small shards fit into caches better, and a lookup waits for
//! memory once.

mod encode;

pub(super) use encode::NewEntry;

use std::sync::Arc;

use bytes::Bytes;

use super::ShardSource;
use super::key::{MAX_KEY_BYTES, is_printable};
use crate::cid::{Cid, Codec};

/// What precedes the prefix, the entries, and what follows them.
const HEAD: &[u8] = b"\xa5\x66prefix";
const ENTRIES: &[u8] = b"\x67entries";
const TAIL: &[u8] = b"\x67version\x01\x68keyChars\x65ascii\x6amaxKeySize\x19\x10\x00";
/// An encoded link: tag 42 and 37 bytes, the first of them zero.
const LINK: &[u8] = &[0xd8, 0x2a, 0x58, 0x25, 0x00];
const LINK_LEN: usize = 41;

/// A decoded shard: its encoded bytes and a small index. Cloning is cheap.
///
/// ```text
/// 16 mask: bit c is set if an entry begins with the character c
///  4 each: where each entry begins, and at last where the tail begins
///    the encoded bytes, to which these positions refer
/// ```
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
/// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
/// # let shard = blocks.shard(&tree.root())?;
/// assert_eq!(shard.len(), 2); // "apple", and all that begins with "b"
/// assert_eq!(Cid::of(Codec::DagCbor, shard.bytes()), tree.root());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    data: Arc<[u8]>,
}

const MASK_BYTES: usize = 16;
const START_BYTES: usize = 4;

/// Where the encoded bytes begin in a shard of `count` entries.
fn index_bytes(count: usize) -> usize {
    MASK_BYTES + START_BYTES * (count + 1)
}

/// One entry of a shard.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
/// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
/// # let shard = blocks.shard(&tree.root())?;
/// let apple = shard.entry(0);
/// assert_eq!(apple.key, b"apple");
/// assert_eq!((apple.child, apple.value), (None, Some(value(1))));
/// let below = shard.entry(1);
/// assert!(below.key == b"b" && below.child.is_some() && below.value.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key, relative to the shard's prefix.
    pub key: &'a [u8],
    /// The child shard, for keys that begin with `key` (then one character).
    pub child: Option<Cid>,
    /// The value of exactly `key`.
    pub value: Option<Cid>,
}

impl Shard {
    /// Reads a shard, strictly: only the canonical encoding of a well-formed shard is accepted.
    /// The bytes are copied, so that a shard does not keep a whole CAR in memory.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// # use firebrick_core::pail::Shard;
    /// let block = blocks.block(&tree.root()).expect("it was saved");
    /// assert_eq!(Shard::decode(&block.bytes)?, shard);
    /// assert!(Shard::decode(b"something else").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong, in a few words.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        decode(bytes)
    }

    fn mask(&self) -> u128 {
        let mut mask = [0; MASK_BYTES];
        mask.copy_from_slice(&self.data[..MASK_BYTES]);
        u128::from_le_bytes(mask)
    }

    fn start(&self, index: usize) -> usize {
        let at = MASK_BYTES + START_BYTES * index;
        let mut start = [0; START_BYTES];
        start.copy_from_slice(&self.data[at..at + START_BYTES]);
        u32::from_le_bytes(start) as usize
    }

    /// The encoded form.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// # use firebrick_core::pail::Shard;
    /// assert_eq!(Shard::decode(shard.bytes())?, shard);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.data[index_bytes(self.len())..]
    }

    /// The encoded form as shared bytes, which are not copied.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// let shared = shard.to_bytes();
    /// assert_eq!(shared.as_ptr(), shard.bytes().as_ptr()); // not a copy
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        struct Encoded(Shard);
        impl AsRef<[u8]> for Encoded {
            fn as_ref(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        Bytes::from_owner(Encoded(self.clone()))
    }

    /// How many bytes of memory this shard takes.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// assert!(shard.memory() > shard.bytes().len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> usize {
        // The counters of the `Arc` lie before the data.
        self.data.len() + 2 * size_of::<usize>()
    }

    /// What all keys in and below this shard begin with.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// assert_eq!(shard.prefix(), b"");
    /// let below = shard.entry(1).child.expect("there are keys below");
    /// assert_eq!(blocks.shard(&below)?.prefix(), b"b");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        let bytes = self.bytes();
        let (start, len) = text_at(bytes, HEAD.len());
        &bytes[start..start + len]
    }

    /// The number of entries.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// assert_eq!(shard.len(), shard.entries().count());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.mask().count_ones() as usize
    }

    /// Whether there are no entries.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// assert!(!shard.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry at `index`.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// let last = shard.entry(shard.len() - 1);
    /// assert_eq!(last.key, b"b");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `index` is not less than [`Self::len`].
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry<'_> {
        // Everything was checked when the shard was made.
        let bytes = self.bytes();
        let (key_at, key_len) = text_at(bytes, self.start(index) + 1);
        let value_at = key_at + key_len;
        let key = &bytes[key_at..value_at];
        let (child, value) = match bytes[value_at] {
            0x81 => (Some(link_at(bytes, value_at + 1)), None),
            0x82 => (
                Some(link_at(bytes, value_at + 1)),
                Some(link_at(bytes, value_at + 1 + LINK_LEN)),
            ),
            _ => (None, Some(link_at(bytes, value_at))),
        };
        Entry { key, child, value }
    }

    /// All entries, in order.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// let keys: Vec<&[u8]> = shard.entries().map(|entry| entry.key).collect();
    /// assert_eq!(keys, [&b"apple"[..], b"b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.len()).map(|index| self.entry(index))
    }

    /// The entry whose key begins with `first`.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// let apple = shard.find(b'a').expect("one begins so");
    /// assert_eq!(apple.value, Some(value(1)));
    /// assert!(shard.find(b'c').is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn find(&self, first: u8) -> Option<Entry<'_>> {
        self.has(first).then(|| self.entry(self.lower_bound(first)))
    }

    fn next_in_chain(&self) -> Option<Cid> {
        if self.len() != 1 {
            return None;
        }
        let only = self.entry(0);
        only.child.filter(|_| only.value.is_none())
    }

    /// Whether an entry's key begins with `first`.
    pub(super) fn has(&self, first: u8) -> bool {
        self.mask() >> first & 1 == 1
    }

    /// The index of the first entry whose key begins with `first` or a later character.
    pub(super) fn lower_bound(&self, first: u8) -> usize {
        (self.mask() & ((1 << first) - 1)).count_ones() as usize
    }
}

/// A *chain* of shards: each has nothing but one child, which is the next shard, up to the last one.
/// Keys that begin alike make long chains; a shard that holds more is a chain of its own.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
/// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
/// # let shard = blocks.shard(&tree.root())?;
/// let below = shard.entry(1).child.expect("there are keys below");
/// let chain = blocks.chain(&below)?;
/// assert!(chain.is_whole());
/// assert_eq!(chain.end().prefix(), b"be"); // the shard of "b" holds nothing else
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The length of the prefix of the first shard.
    pub(super) start: usize,
    /// The last shard.
    pub(super) end: Shard,
}

impl Chain {
    /// The chain that begins with `first`, as far as its shards can be read and are in their place.
    /// Whoever needs the next one gets the error.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// # use firebrick_core::pail::Chain;
    /// let chain = Chain::follow(shard.clone(), &blocks);
    /// assert_eq!(chain.end(), &shard); // it has two entries, so nothing follows it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow(first: Shard, source: &(impl ShardSource + ?Sized)) -> Self {
        let start = first.prefix().len();
        let mut end = first;
        while let Some(Ok(next)) = end.next_in_chain().map(|cid| source.shard(&cid)) {
            let place = [end.prefix(), end.entry(0).key];
            if !next.prefix().iter().eq(place.iter().copied().flatten()) {
                break;
            }
            end = next;
        }
        Self { start, end }
    }

    /// Whether nothing kept [`Self::follow`] from the last shard.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// # use firebrick_core::pail::Chain;
    /// let below = shard.entry(1).child.expect("there are keys below");
    /// let first = blocks.shard(&below)?;
    /// assert!(Chain::follow(first.clone(), &blocks).is_whole());
    /// assert!(!Chain::follow(first, &MemoryBlocks::new()).is_whole()); // the next shard is lacking
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.end.next_in_chain().is_none()
    }

    /// `shard` as a chain of its own, or back again if it is not one.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// # use firebrick_core::pail::Chain;
    /// let below = shard.entry(1).child.expect("there are keys below");
    /// assert!(Chain::single(shard).is_ok());
    /// assert!(Chain::single(blocks.shard(&below)?).is_err()); // another follows this one
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The shard, if others follow it.
    pub fn single(shard: Shard) -> Result<Self, Shard> {
        if shard.next_in_chain().is_some() {
            return Err(shard);
        }
        Ok(Self {
            start: shard.prefix().len(),
            end: shard,
        })
    }

    /// The last shard.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// let chain = blocks.chain(&tree.root())?;
    /// assert_eq!(chain.end().find(b'a').and_then(|entry| entry.value), Some(value(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn end(&self) -> &Shard {
        &self.end
    }

    /// How many bytes of memory it takes beside the size of this type.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// let chain = blocks.chain(&tree.root())?;
    /// assert_eq!(chain.memory(), chain.end().memory()); // only the last shard is kept
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> usize {
        self.end.memory()
    }
}

/// Where the text begins whose head is at `at`, and its length.
fn text_at(bytes: &[u8], at: usize) -> (usize, usize) {
    match bytes[at] {
        0x78 => (at + 2, usize::from(bytes[at + 1])),
        0x79 => (
            at + 3,
            usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2]),
        ),
        short => (at + 1, usize::from(short & 31)),
    }
}

fn link_at(bytes: &[u8], at: usize) -> Cid {
    let mut digest = [0; 32];
    digest.copy_from_slice(&bytes[at + 9..at + LINK_LEN]);
    // The codec was checked when the shard was made.
    let codec = match bytes[at + 6] {
        0x18 => Codec::Car,
        0x55 => Codec::Raw,
        _ => Codec::DagCbor,
    };
    Cid::from_digest(codec, digest)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at + len;
        let taken = self.bytes.get(self.at..end).ok_or("it ends too early")?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    fn expect(&mut self, what: &[u8]) -> Result<(), &'static str> {
        if self.take(what.len())? == what {
            Ok(())
        } else {
            Err("it has not the fields of a shard")
        }
    }

    /// Text of printable ASCII; its length has the shortest form.
    fn text(&mut self) -> Result<&'a [u8], &'static str> {
        let len = match self.byte()? {
            short @ 0x60..=0x77 => usize::from(short & 31),
            0x78 => match self.byte()? {
                len @ 24.. => usize::from(len),
                _ => return Err("a length is not in its shortest form"),
            },
            0x79 => match self.take(2)? {
                [0, _] => return Err("a length is not in its shortest form"),
                long => usize::from(long[0]) << 8 | usize::from(long[1]),
            },
            _ => return Err("a key is not text of at most 4096 characters"),
        };
        if len > MAX_KEY_BYTES {
            return Err("a key is not text of at most 4096 characters");
        }
        let text = self.take(len)?;
        if !is_printable(text) {
            return Err("a key is not printable ASCII");
        }
        Ok(text)
    }

    /// The rest of a link whose first byte was read.
    fn link(&mut self) -> Result<Codec, &'static str> {
        match self.take(LINK_LEN - 1)? {
            [0x2a, 0x58, 0x25, 0x00, 0x01, codec, 0x12, 0x20, ..] => {
                Codec::from_number(*codec).map_err(|_| "a link has an unknown codec")
            }
            _ => Err("a link is not a CIDv1 with sha2-256"),
        }
    }

    fn child(&mut self) -> Result<(), &'static str> {
        if self.byte()? != LINK[0] || self.link()? != Codec::DagCbor {
            return Err("a child is not a link to a shard");
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<Shard, &'static str> {
    let mut input = Input { bytes, at: 0 };
    input.expect(HEAD)?;
    let prefix_len = input.text()?.len();
    if prefix_len >= MAX_KEY_BYTES {
        return Err("the prefix leaves no room for a key");
    }
    input.expect(ENTRIES)?;
    let count = match input.byte()? {
        few @ 0x80..=0x97 => few & 31,
        0x98 => match input.byte()? {
            count @ 24.. => count,
            _ => return Err("a length is not in its shortest form"),
        },
        _ => return Err("the entries are not a list of at most 95 items"),
    };
    let mut data = Vec::with_capacity(index_bytes(usize::from(count)) + bytes.len());
    data.extend_from_slice(&[0; MASK_BYTES]);
    let (mut mask, mut last) = (0_u128, 0);
    for _ in 0..count {
        data.extend_from_slice(&offset(input.at)?);
        if input.byte()? != 0x82 {
            return Err("an entry is not a pair");
        }
        let key = input.text()?;
        let Some(first) = key.first() else {
            return Err("an entry's key is empty");
        };
        if *first <= last {
            return Err("the entries are not in order, or two begin with the same character");
        }
        last = *first;
        mask |= 1 << first;
        if prefix_len + key.len() > MAX_KEY_BYTES {
            return Err("a key is not text of at most 4096 characters");
        }
        let kind = input.byte()?;
        if kind == LINK[0] {
            input.link()?;
            continue;
        }
        if key.len() != 1 {
            return Err("a child's key is not one character");
        }
        match kind {
            0x81 => input.child()?,
            0x82 => {
                input.child()?;
                if input.byte()? != LINK[0] {
                    return Err("a value is not a link");
                }
                input.link()?;
            }
            _ => return Err("an entry's value is neither a link nor a child"),
        }
    }
    data.extend_from_slice(&offset(input.at)?);
    input.expect(TAIL)?;
    if input.at != bytes.len() {
        return Err("bytes follow it");
    }
    data[..MASK_BYTES].copy_from_slice(&mask.to_le_bytes());
    data.extend_from_slice(bytes);
    Ok(Shard { data: data.into() })
}

fn offset(at: usize) -> Result<[u8; START_BYTES], &'static str> {
    let at = u32::try_from(at).map_err(|_| "it is too long")?;
    Ok(at.to_le_bytes())
}
