//! The bytes of the log.
//!
//! A segment is a header of 128 bytes and then frames, one per commit, without gaps. What follows the
//! last frame is zeros: space that was written ahead of time, because overwriting is cheaper to sync
//! than growing. All integers are little-endian.
//!
//! ```text
//! segment header                            frame
//!   0   4  "FBLG"                             0   4  "FBFR"
//!   4   4  CRC-32 of the rest                 4   4  CRC-32 of the rest of the frame
//!   8   4  version                            8   4  length of the frame
//!  12   4  number of this segment            12   4  length of the sealed metadata
//!  16   8  sequence number of the            16   8  sequence number
//!          first frame                       24  12  nonce of the metadata
//!  24   1  cipher (0 none, 1 AES-256-GCM)    36   m  sealed metadata; bytes 8..24 are
//!  25   7  0                                         associated data
//!  32  32  salt                             36+m     the sealed blocks
//!  64  16  check value of the key
//!  80  48  0
//!
//! metadata
//!   1  flags: 1 head given, 2 the head and all private state are given,
//!             4 compacted: segments before a given one do not count
//!   8  the last sequence number known to be synced when this frame was written
//!   compacted: 4 the first segment that counts
//!   head: 4 count, then 33 each: codec, digest
//!   4  entries of private state: 4 length, key, 1 present, then 4 length, value
//!   4  blocks: 1 codec (bit 7: a generation follows), 32 digest, 4 length, 8 generation
//! ```
//!
//! Events are stored in a [shorter form](super::pack); the length is that of the stored form.
//!
//! The CRC of a frame starts from the salt, the segment and the offset, so that bytes which look like
//! a frame count as one only where they were written as one.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes};
use firebrick_core::Cid;
use firebrick_core::cid::Codec;

use super::descriptor::Descriptor;
use super::pack::pack;
use super::run::Place;
use super::vault::{NONCE_BYTES, Name, Vault};
use super::{Commit, StoredBlock};

pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;
pub(crate) const FRAME_HEADER_BYTES: usize = 36;
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"FBFR";
const SEGMENT_MAGIC: [u8; 4] = *b"FBLG";

/// The largest frame. Offsets in a segment then fit into 32 bits, see [`MAX_SEGMENT_BYTES`].
pub(crate) const MAX_FRAME_BYTES: u64 = 1 << 30;

/// A new segment begins at the latest when one has this size.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 1 << 31;

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// What frames of one store have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(salt: &[u8; 32]) -> Self {
        Self(crc32fast::hash(salt))
    }

    fn crc(self, at: Position, frame: &[u8]) -> u32 {
        let mut place = [0; 12];
        place[..4].copy_from_slice(&at.segment.to_le_bytes());
        place[4..].copy_from_slice(&at.offset.to_le_bytes());
        let mut crc = crc32fast::Hasher::new_with_initial(self.0);
        crc.update(&place);
        crc.update(&frame[8..]);
        crc.finalize()
    }
}

/// The first bytes of a segment. They repeat what opening the store needs, so that a lost
/// `firebrick.json` is not a lost store.
pub(crate) fn segment_header(
    descriptor: &Descriptor,
    segment: u32,
    first_sequence: u64,
) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let mut out = &mut header[..];
    out.put_slice(&SEGMENT_MAGIC);
    out.put_u32_le(0);
    out.put_u32_le(descriptor.version);
    out.put_u32_le(segment);
    out.put_u64_le(first_sequence);
    out.put_u8(u8::from(descriptor.sealed));
    out.put_slice(&[0; 7]);
    out.put_slice(&descriptor.salt);
    out.put_slice(&descriptor.check);
    let crc = crc32fast::hash(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Reads what [`segment_header`] wrote: how to open the store, and the segment's number.
pub(crate) fn read_segment_header(header: &[u8]) -> Option<(Descriptor, u32)> {
    let mut input = header.get(..SEGMENT_HEADER_BYTES)?;
    if input[..4] != SEGMENT_MAGIC || input[4..8] != crc32fast::hash(&input[8..]).to_le_bytes() {
        return None;
    }
    input.advance(8);
    let version = input.try_get_u32_le().ok()?;
    let segment = input.try_get_u32_le().ok()?;
    input.advance(8);
    let sealed = input.try_get_u8().ok()? != 0;
    input.advance(7);
    let mut descriptor = Descriptor {
        version,
        sealed,
        salt: [0; 32],
        check: [0; 16],
        fingerprint: None,
    };
    input.try_copy_to_slice(&mut descriptor.salt).ok()?;
    input.try_copy_to_slice(&mut descriptor.check).ok()?;
    Some((descriptor, segment))
}

/// Where a frame goes and what it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) at: Position,
    pub(crate) sequence: u64,
    /// The last sequence number that is known to be synced.
    pub(crate) synced: u64,
    /// Whether the commit gives the whole state rather than changes of it.
    pub(crate) resets: bool,
    /// After a compaction, the first segment that counts.
    pub(crate) compacted: Option<u32>,
}

/// Replaces `out` by the frame of a commit with only the blocks that `chosen` names, and `placed` by
/// where they will lie.
pub(crate) fn encode(
    vault: &Vault,
    seed: Seed,
    slot: Slot,
    commit: &Commit<'_>,
    chosen: &[(Name, u32)],
    out: &mut Vec<u8>,
    placed: &mut Vec<(Name, Place)>,
) {
    out.clear();
    placed.clear();
    out.resize(FRAME_HEADER_BYTES, 0);
    let packed: Vec<Packed<'_>> = chosen
        .iter()
        .map(|(_, at)| Packed::new(&commit.blocks[*at as usize]))
        .collect();
    put_metadata(out, slot, commit, &packed);

    let overhead = vault.overhead();
    let sealed_meta = out.len() - FRAME_HEADER_BYTES + overhead;
    let sealed_blocks: usize = packed.iter().map(|b| b.bytes.len() + overhead).sum();
    let total = FRAME_HEADER_BYTES + sealed_meta + sealed_blocks;
    out.reserve(total - out.len());

    let nonce = vault.fresh_nonce();
    let mut header = &mut out[..FRAME_HEADER_BYTES];
    header.put_slice(&FRAME_MAGIC);
    header.put_u32_le(0);
    header.put_u32_le(total as u32);
    header.put_u32_le(sealed_meta as u32);
    header.put_u64_le(slot.sequence);
    header.put_slice(&nonce);
    let mut associated = [0; 16];
    associated.copy_from_slice(&out[8..24]);
    vault.seal_meta(&nonce, &associated, out, FRAME_HEADER_BYTES);

    for (block, (name, _)) in packed.iter().zip(chosen) {
        let place = Place {
            segment: slot.at.segment,
            offset: (slot.at.offset + out.len() as u64) as u32,
            length: block.bytes.len() as u32,
            generation: block.generation,
        };
        placed.push((*name, place));
        vault.seal_block(&block.cid, *name, &block.bytes, out);
    }
    let crc = seed.crc(slot.at, out);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A block in the form that is stored.
struct Packed<'a> {
    cid: Cid,
    generation: u64,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Packed<'a> {
    fn new(stored: &'a StoredBlock) -> Self {
        Self {
            cid: stored.block.cid,
            generation: stored.generation,
            bytes: pack(&stored.block.cid, &stored.block.bytes),
        }
    }
}

const HAS_HEAD: u8 = 1;
const RESETS: u8 = 2;
const COMPACTED: u8 = 4;
const HAS_GENERATION: u8 = 0x80;

fn put_metadata(out: &mut Vec<u8>, slot: Slot, commit: &Commit<'_>, blocks: &[Packed<'_>]) {
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    out.put_u8(
        flag(commit.head.is_some(), HAS_HEAD)
            | flag(slot.resets, RESETS)
            | flag(slot.compacted.is_some(), COMPACTED),
    );
    out.put_u64_le(slot.synced);
    if let Some(segment) = slot.compacted {
        out.put_u32_le(segment);
    }
    if let Some(head) = commit.head {
        put_head(out, head);
    }
    out.put_u32_le(commit.kv.len() as u32);
    for (key, value) in commit.kv {
        put_bytes(out, key.as_bytes());
        out.put_u8(u8::from(value.is_some()));
        if let Some(value) = value {
            put_bytes(out, value);
        }
    }
    out.put_u32_le(blocks.len() as u32);
    for block in blocks {
        let generation = block.generation;
        let flag = if generation == 0 { 0 } else { HAS_GENERATION };
        out.put_u8(block.cid.codec() as u8 | flag);
        out.put_slice(block.cid.digest());
        out.put_u32_le(block.bytes.len() as u32);
        if generation != 0 {
            out.put_u64_le(generation);
        }
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

pub(crate) fn get_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = input.try_get_u32_le().ok()? as usize;
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

pub(crate) fn put_head(out: &mut Vec<u8>, head: &[Cid]) {
    out.put_u32_le(head.len() as u32);
    for cid in head {
        out.put_u8(cid.codec() as u8);
        out.put_slice(cid.digest());
    }
}

pub(crate) fn get_head(input: &mut &[u8]) -> Option<Vec<Cid>> {
    let count = input.try_get_u32_le().ok()?;
    (0..count).map(|_| get_cid(input)).collect()
}

fn get_cid(input: &mut &[u8]) -> Option<Cid> {
    let codec = input.try_get_u8().ok()? & !HAS_GENERATION;
    let mut digest = [0; 32];
    input.try_copy_to_slice(&mut digest).ok()?;
    Some(Cid::from_digest(Codec::from_number(codec).ok()?, digest))
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    crc: u32,
    /// Length of the whole frame.
    pub(crate) total: usize,
    meta: usize,
    /// Sequence number.
    pub(crate) sequence: u64,
    nonce: [u8; NONCE_BYTES],
}

impl FrameHeader {
    /// Reads a header whose lengths are plausible.
    pub(crate) fn read(mut input: &[u8]) -> Option<Self> {
        if input.len() < FRAME_HEADER_BYTES || input[..4] != FRAME_MAGIC {
            return None;
        }
        input.advance(4);
        let crc = input.try_get_u32_le().ok()?;
        let total = input.try_get_u32_le().ok()? as usize;
        let meta = input.try_get_u32_le().ok()? as usize;
        let sequence = input.try_get_u64_le().ok()?;
        let mut nonce = [0; NONCE_BYTES];
        input.try_copy_to_slice(&mut nonce).ok()?;
        let fits =
            total as u64 <= MAX_FRAME_BYTES && meta.checked_add(FRAME_HEADER_BYTES)? <= total;
        fits.then_some(Self {
            crc,
            total,
            meta,
            sequence,
            nonce,
        })
    }

    /// Whether the bytes of the frame are the ones that were written at this place.
    pub(crate) fn matches(&self, seed: Seed, at: Position, frame: &[u8]) -> bool {
        frame.len() == self.total && seed.crc(at, frame) == self.crc
    }
}

/// What a frame says.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) at: Position,
    pub(crate) length: usize,
    pub(crate) sequence: u64,
    pub(crate) synced: u64,
    /// Whether the checksum was right.
    pub(crate) intact: bool,
    pub(crate) resets: bool,
    pub(crate) compacted: Option<u32>,
    pub(crate) head: Option<Vec<Cid>>,
    pub(crate) kv: Vec<(String, Option<Bytes>)>,
    pub(crate) blocks: Vec<(Cid, Place)>,
}

impl Frame {
    /// Where the next frame begins.
    pub(crate) fn end(&self) -> Position {
        Position {
            segment: self.at.segment,
            offset: self.at.offset + self.length as u64,
        }
    }

    /// Opens the metadata of a frame whose checksum matched; `None` if it is not authentic.
    pub(crate) fn open(
        vault: &Vault,
        header: &FrameHeader,
        at: Position,
        frame: &[u8],
    ) -> Option<Self> {
        let blocks_at = FRAME_HEADER_BYTES + header.meta;
        let mut meta = frame.get(FRAME_HEADER_BYTES..blocks_at)?.to_vec();
        let mut input = vault.open_meta(&header.nonce, &frame[8..24], &mut meta)?;
        let input = &mut input;
        let flags = input.try_get_u8().ok()?;
        let synced = input.try_get_u64_le().ok()?;
        let compacted = if flags & COMPACTED == 0 {
            None
        } else {
            Some(input.try_get_u32_le().ok()?)
        };
        let head = if flags & HAS_HEAD == 0 {
            None
        } else {
            Some(get_head(input)?)
        };
        let mut kv = Vec::new();
        for _ in 0..input.try_get_u32_le().ok()? {
            let key = String::from_utf8(get_bytes(input)?.to_vec()).ok()?;
            let value = match input.try_get_u8().ok()? {
                0 => None,
                _ => Some(Bytes::copy_from_slice(get_bytes(input)?)),
            };
            kv.push((key, value));
        }
        let mut blocks = Vec::new();
        let mut offset = at.offset + blocks_at as u64;
        for _ in 0..input.try_get_u32_le().ok()? {
            let has_generation = input.first()? & HAS_GENERATION != 0;
            let cid = get_cid(input)?;
            let length = input.try_get_u32_le().ok()?;
            let generation = if has_generation {
                input.try_get_u64_le().ok()?
            } else {
                0
            };
            let place = Place {
                segment: at.segment,
                offset: u32::try_from(offset).ok()?,
                length,
                generation,
            };
            blocks.push((cid, place));
            offset += u64::from(length) + vault.overhead() as u64;
        }
        let complete = input.is_empty() && offset == at.offset + header.total as u64;
        complete.then_some(Self {
            at,
            length: header.total,
            sequence: header.sequence,
            synced,
            intact: true,
            resets: flags & RESETS != 0,
            compacted,
            head,
            kv,
            blocks,
        })
    }
}
