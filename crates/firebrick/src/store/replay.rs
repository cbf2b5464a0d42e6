//! Reading the log frame by frame, and finding the next good frame after a bad one.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::frame::{
    FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, FrameHeader, Position, SEGMENT_HEADER_BYTES, Seed,
};
use super::vault::Vault;

/// Bytes read ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// The file of a segment.
pub(crate) fn segment_name(segment: u32) -> String {
    format!("log/{segment:08}.fbl")
}

/// Numbers of the segments that are there, ascending.
pub(crate) fn segments(disk: &dyn Disk) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = disk
        .list("log")?
        .iter()
        .filter_map(|name| name.strip_suffix(".fbl")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads the segments of a log in order.
#[derive(Debug)]
pub(crate) struct LogReader<'a> {
    disk: &'a dyn Disk,
    vault: &'a Vault,
    seed: Seed,
    segments: Vec<u32>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    segment: u32,
    file: Arc<dyn DiskFile>,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Open {
    /// `length` bytes at `offset`, or fewer where the file ends.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = (offset + length as u64).min(self.len);
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || end > window_end {
            let wanted = length.max(WINDOW_BYTES) as u64;
            let wanted = wanted.min(self.len.saturating_sub(offset)) as usize;
            self.window.resize(wanted, 0);
            let read = self.file.read_at(&mut self.window, offset)?;
            self.window.truncate(read);
            self.window_at = offset;
        }
        let start = ((offset - self.window_at) as usize).min(self.window.len());
        let stop = self.window.len().min(start + length);
        Ok(&self.window[start..stop])
    }
}

impl<'a> LogReader<'a> {
    pub(crate) fn new(
        disk: &'a dyn Disk,
        vault: &'a Vault,
        seed: Seed,
        segments: Vec<u32>,
    ) -> Self {
        Self {
            disk,
            vault,
            seed,
            segments,
            open: None,
        }
    }

    fn open(&mut self, segment: u32) -> io::Result<Option<&mut Open>> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.segment != segment)
        {
            self.open = match self.disk.open(&segment_name(segment), false)? {
                Some(file) => Some(Open {
                    segment,
                    len: file.len()?,
                    file,
                    window: Vec::new(),
                    window_at: 0,
                }),
                None => None,
            };
        }
        Ok(self.open.as_mut())
    }

    /// Length of a segment; 0 if it is missing.
    pub(crate) fn segment_len(&mut self, segment: u32) -> io::Result<u64> {
        Ok(self.open(segment)?.map_or(0, |open| open.len))
    }

    /// The frame at a position, if there is a good one.
    pub(crate) fn frame(&mut self, at: Position) -> io::Result<Option<Frame>> {
        let (vault, seed) = (self.vault, self.seed);
        let Some(open) = self.open(at.segment)? else {
            return Ok(None);
        };
        let Some(header) = FrameHeader::read(open.bytes(at.offset, FRAME_HEADER_BYTES)?) else {
            return Ok(None);
        };
        let bytes = open.bytes(at.offset, header.total)?;
        if !header.matches(seed, at, bytes) {
            return Ok(None);
        }
        Ok(Frame::open(vault, &header, at, bytes))
    }

    /// A frame whose checksum is wrong, but whose metadata is authentic: some of its blocks are
    /// damaged, and what it says is true. Without encryption nothing tells that.
    pub(crate) fn damaged_frame(&mut self, at: Position) -> io::Result<Option<Frame>> {
        let vault = self.vault;
        if !vault.is_sealed() {
            return Ok(None);
        }
        let Some(open) = self.open(at.segment)? else {
            return Ok(None);
        };
        let Some(header) = FrameHeader::read(open.bytes(at.offset, FRAME_HEADER_BYTES)?) else {
            return Ok(None);
        };
        let bytes = open.bytes(at.offset, header.total)?;
        Ok(Frame::open(vault, &header, at, bytes).map(|frame| Frame {
            intact: false,
            ..frame
        }))
    }

    /// Reads on from `from`: the frame there, damaged or not, or the next good one.
    pub(crate) fn any_frame(&mut self, from: Position) -> io::Result<Option<Frame>> {
        if let Some(frame) = self.frame(from)? {
            return Ok(Some(frame));
        }
        if let Some(frame) = self.damaged_frame(from)? {
            return Ok(Some(frame));
        }
        self.next_frame(from, 0)
    }

    /// The first good frame at `from` or later, wherever it begins, whose sequence number is at least
    /// `least`.
    pub(crate) fn next_frame(&mut self, from: Position, least: u64) -> io::Result<Option<Frame>> {
        let later: Vec<u32> = self
            .segments
            .iter()
            .copied()
            .filter(|segment| *segment >= from.segment)
            .collect();
        for segment in later {
            let mut offset = SEGMENT_HEADER_BYTES as u64;
            if segment == from.segment {
                offset = offset.max(from.offset);
            }
            while let Some(found) = self.magic(segment, offset)? {
                let at = Position {
                    segment,
                    offset: found,
                };
                match self.frame(at)? {
                    Some(frame) if frame.sequence >= least => return Ok(Some(frame)),
                    // A good frame of the past is skipped as a whole.
                    Some(frame) => offset = found + frame.length as u64,
                    None => offset = found + 1,
                }
            }
        }
        Ok(None)
    }

    /// Where the magic of a frame stands next.
    fn magic(&mut self, segment: u32, mut offset: u64) -> io::Result<Option<u64>> {
        let Some(open) = self.open(segment)? else {
            return Ok(None);
        };
        while offset + FRAME_HEADER_BYTES as u64 <= open.len {
            let wanted = WINDOW_BYTES.min((open.len - offset) as usize);
            let bytes = open.bytes(offset, wanted)?;
            if bytes.len() < FRAME_MAGIC.len() {
                break;
            }
            let mut at = leading_zeros(bytes);
            while let Some(next) = bytes[at..].iter().position(|byte| *byte == FRAME_MAGIC[0]) {
                at += next;
                if bytes[at..].starts_with(&FRAME_MAGIC) {
                    return Ok(Some(offset + at as u64));
                }
                at += 1;
            }
            // The magic may straddle the border.
            offset += (bytes.len() - FRAME_MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }

    /// Whether anything but zeros lies at `from` or later in its segment.
    pub(crate) fn is_dirty(&mut self, from: Position) -> io::Result<bool> {
        let Some(open) = self.open(from.segment)? else {
            return Ok(false);
        };
        let mut offset = from.offset;
        while offset < open.len {
            let bytes = open.bytes(offset, WINDOW_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if leading_zeros(bytes) < bytes.len() {
                return Ok(true);
            }
            offset += bytes.len() as u64;
        }
        Ok(false)
    }
}

/// How many zeros `bytes` begin with, fast where there are many: the space ahead of the log is made
/// of them.
fn leading_zeros(bytes: &[u8]) -> usize {
    const STRIDE: usize = 256;
    let whole = bytes
        .chunks(STRIDE)
        .take_while(|chunk| chunk.iter().fold(0, |or, byte| or | byte) == 0)
        .count();
    let start = (whole * STRIDE).min(bytes.len());
    let rest = bytes[start..].iter().take_while(|byte| **byte == 0).count();
    start + rest
}
