//! One shard in its encoded form.
//!
//! No two entries of a shard begin with the same character, so a 128-bit mask of the characters
//! and the positions of the entries are all the index that is needed.

mod encode;

pub(super) use encode::NewEntry;

use bytes::Bytes;

use super::key::{MAX_KEY_BYTES, is_printable};
use crate::cid::{Cid, Codec};

/// What precedes the prefix, the entries, and what follows them.
const HEAD: &[u8] = b"\xa5\x66prefix";
const ENTRIES: &[u8] = b"\x67entries";
const TAIL: &[u8] = b"\x67version\x01\x68keyChars\x65ascii\x6amaxKeySize\x19\x10\x00";
/// An encoded link: tag 42 and 37 bytes, the first of them zero.
const LINK: &[u8] = &[0xd8, 0x2a, 0x58, 0x25, 0x00];
const LINK_LEN: usize = 41;

/// A decoded shard: its encoded bytes and a small index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    bytes: Bytes,
    /// Bit `c` is set if an entry begins with the character `c`.
    mask: u128,
    /// Where each entry begins, and at last where the tail begins.
    starts: Box<[u32]>,
    prefix_start: u8,
    prefix_len: u16,
}

/// One entry of a shard.
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
    /// # Errors
    /// What is wrong, in a few words.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        decode(bytes)
    }

    /// The encoded form.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// About how many bytes of memory this shard takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + size_of_val(&*self.starts)
    }

    /// What all keys in and below this shard begin with.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        let start = usize::from(self.prefix_start);
        &self.bytes[start..start + usize::from(self.prefix_len)]
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry at `index`.
    ///
    /// # Panics
    /// If `index` is not less than [`Self::len`].
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry<'_> {
        // Everything was checked when the shard was made.
        let at = self.starts[index] as usize + 1;
        let bytes = &self.bytes[..];
        let (key_at, key_len) = match bytes[at] {
            0x78 => (at + 2, usize::from(bytes[at + 1])),
            0x79 => (
                at + 3,
                usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2]),
            ),
            short => (at + 1, usize::from(short & 31)),
        };
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
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.len()).map(|index| self.entry(index))
    }

    /// The entry whose key begins with `first`.
    #[must_use]
    pub fn find(&self, first: u8) -> Option<Entry<'_>> {
        self.has(first).then(|| self.entry(self.lower_bound(first)))
    }

    /// Whether an entry's key begins with `first`.
    pub(super) fn has(&self, first: u8) -> bool {
        self.mask >> first & 1 == 1
    }

    /// The index of the first entry whose key begins with `first` or a later character.
    pub(super) fn lower_bound(&self, first: u8) -> usize {
        (self.mask & ((1 << first) - 1)).count_ones() as usize
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
    let prefix_start = input.at - prefix_len;
    input.expect(ENTRIES)?;
    let count = match input.byte()? {
        few @ 0x80..=0x97 => few & 31,
        0x98 => match input.byte()? {
            count @ 24.. => count,
            _ => return Err("a length is not in its shortest form"),
        },
        _ => return Err("the entries are not a list of at most 95 items"),
    };
    let mut starts = Vec::with_capacity(usize::from(count) + 1);
    let (mut mask, mut last) = (0_u128, 0);
    for _ in 0..count {
        starts.push(offset(input.at)?);
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
    starts.push(offset(input.at)?);
    input.expect(TAIL)?;
    if input.at != bytes.len() {
        return Err("bytes follow it");
    }
    Ok(Shard {
        bytes: Bytes::copy_from_slice(bytes),
        mask,
        starts: starts.into_boxed_slice(),
        prefix_start: prefix_start as u8,
        prefix_len: prefix_len as u16,
    })
}

fn offset(at: usize) -> Result<u32, &'static str> {
    u32::try_from(at).map_err(|_| "it is too long")
}
