//! CARv1 files (format §7.1).
//!
//! ```
//! use firebrick_core::{Block, car, cid::Codec};
//! let block = Block::new(Codec::Raw, "content");
//! let bytes = car::encode(&[block.cid], [&block]);
//! let mut reader = car::CarReader::new(bytes.into())?;
//! assert_eq!(reader.roots(), [block.cid]);
//! assert_eq!(reader.next(), Some(Ok(block)));
//! # Ok::<(), car::CarError>(())
//! ```

use bytes::Bytes;

use crate::block::Block;
use crate::cbor::{CborError, Reader, Token, Writer};
use crate::cid::{self, Cid, CidError};

/// Why bytes are not a CAR of this format.
///
/// ```
/// use firebrick_core::car::{CarError, CarReader};
/// let error = CarReader::new("\u{11}too short".into()).unwrap_err();
/// assert_eq!(error, CarError::Truncated(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarError {
    /// The bytes end inside the header or a block.
    #[error("the CAR ends inside its header or a block, at byte {0}")]
    Truncated(usize),
    /// A length that is not a varint, or one with needless bytes.
    #[error("not a length at byte {0}")]
    Length(usize),
    /// The header is not the dag-cbor that it should be.
    #[error("the CAR's header cannot be read: {0}")]
    Header(#[from] CborError),
    /// Another version than 1.
    #[error("CAR version {0} is not supported")]
    Version(i128),
    /// A block without a CID of this format.
    #[error("the block at byte {at} has no CID: {source}")]
    Cid {
        /// Where its CID begins.
        at: usize,
        /// Why.
        source: CidError,
    },
    /// A block whose bytes do not have its CID.
    #[error("the bytes of block {0} do not have this hash")]
    Hash(Cid),
}

/// Writes a CAR.
///
/// ```
/// use firebrick_core::{Block, car, cid::Codec};
/// let blocks = ["one", "two"].map(|text| Block::new(Codec::Raw, text));
/// let bytes = car::encode(&[blocks[1].cid], &blocks);
/// let read: Vec<Block> = car::CarReader::new(bytes.into())?.collect::<Result<_, _>>()?;
/// assert_eq!(read, blocks);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn encode<'a>(roots: &[Cid], blocks: impl IntoIterator<Item = &'a Block>) -> Vec<u8> {
    let mut header = Writer::with_capacity(17 + 41 * roots.len());
    header.map(2);
    header.text("roots");
    header.list(roots.len());
    for root in roots {
        header.link(root);
    }
    header.text("version");
    header.uint(1);
    let header = header.into_vec();

    let blocks = blocks.into_iter();
    let mut out = Vec::with_capacity(header.len() + 5 + 512 * blocks.size_hint().0);
    write_varint(&mut out, header.len());
    out.extend_from_slice(&header);
    for block in blocks {
        write_section_head(&mut out, &block.cid, block.bytes.len());
        out.extend_from_slice(&block.bytes);
    }
    out
}

/// What stands before the bytes of a block.
pub(crate) fn write_section_head(out: &mut Vec<u8>, cid: &Cid, len: usize) {
    write_varint(out, cid::BINARY_LEN + len);
    out.extend_from_slice(&cid.to_bytes());
}

/// What a block adds to the length of a CAR.
///
/// ```
/// use firebrick_core::{Block, car, cid::Codec};
/// let block = Block::new(Codec::Raw, "content");
/// let (empty, one) = (car::encode(&[], []), car::encode(&[], [&block]));
/// assert_eq!(one.len(), empty.len() + car::section_len(&block));
/// ```
#[must_use]
pub fn section_len(block: &Block) -> usize {
    let length = cid::BINARY_LEN + block.bytes.len();
    let varint = (usize::BITS - length.leading_zeros()).div_ceil(7) as usize;
    varint + length
}

fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a CAR block by block without copying; the iterator ends after the first error.
///
/// ```
/// use firebrick_core::{Block, car, cid::Codec};
/// # let blocks = ["one", "two"].map(|text| Block::new(Codec::Raw, text));
/// # let bytes = car::encode(&[], &blocks);
/// let mut sizes = Vec::new();
/// for block in car::CarReader::new(bytes.into())? {
///     sizes.push(block?.bytes.len());
/// }
/// assert_eq!(sizes, [3, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CarReader {
    bytes: Bytes,
    roots: Vec<Cid>,
    at: usize,
    verify: bool,
    survive: bool,
}

impl CarReader {
    /// Reads the header.
    ///
    /// ```
    /// use firebrick_core::car;
    /// let reader = car::CarReader::new(car::encode(&[], []).into())?;
    /// assert_eq!(reader.count(), 0);
    /// assert!(car::CarReader::new("not a CAR".into()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CarError`] if it is not one of version 1.
    pub fn new(bytes: Bytes) -> Result<Self, CarError> {
        let mut reader = Self {
            bytes,
            roots: Vec::new(),
            at: 0,
            verify: true,
            survive: false,
        };
        let header = reader.section()?;
        reader.roots = roots(&header)?;
        Ok(reader)
    }

    /// Leaves out the check of each block's hash, for bytes that were checked as a whole.
    ///
    /// ```
    /// use firebrick_core::{Block, car, cid::Codec};
    /// # let mut bytes = car::encode(&[], [&Block::new(Codec::Raw, "content")]);
    /// *bytes.last_mut().unwrap() ^= 1; // the block's last byte
    /// let reader = car::CarReader::new(bytes.into())?;
    /// assert!(reader.clone().all(|block| block.is_err()));
    /// assert!(reader.trusting().all(|block| block.is_ok()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn trusting(self) -> Self {
        Self {
            verify: false,
            ..self
        }
    }

    /// Goes on behind a block whose hash is wrong. The error is still yielded; errors that leave no
    /// way to find the next block still end the iteration.
    ///
    /// ```
    /// use firebrick_core::{Block, car, cid::Codec};
    /// let [one, two] = ["one", "two"].map(|text| Block::new(Codec::Raw, text));
    /// let mut bytes = car::encode(&[], [&one, &two]);
    /// let before_two = bytes.len() - car::section_len(&two);
    /// bytes[before_two - 1] ^= 1; // the last byte of `one`
    /// let mut reader = car::CarReader::new(bytes.into())?.surviving();
    /// assert_eq!(reader.next(), Some(Err(car::CarError::Hash(one.cid))));
    /// assert_eq!(reader.next(), Some(Ok(two)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn surviving(self) -> Self {
        Self {
            survive: true,
            ..self
        }
    }

    /// The roots.
    ///
    /// ```
    /// use firebrick_core::{Cid, car, cid::Codec};
    /// let root = Cid::of(Codec::Raw, b"content");
    /// let reader = car::CarReader::new(car::encode(&[root], []).into())?;
    /// assert_eq!(reader.roots(), [root]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// Where the next block's section begins.
    ///
    /// ```
    /// use firebrick_core::{Block, car, cid::Codec};
    /// # let block = Block::new(Codec::Raw, "content");
    /// # let bytes = car::encode(&[], [&block]);
    /// let mut reader = car::CarReader::new(bytes.into())?;
    /// let start = reader.position(); // behind the header
    /// reader.next();
    /// assert_eq!(reader.position(), start + car::section_len(&block));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    fn section(&mut self) -> Result<Bytes, CarError> {
        let length = self.varint()?;
        let end = self.at.checked_add(length);
        let Some(end) = end.filter(|end| *end <= self.bytes.len()) else {
            return Err(CarError::Truncated(self.at));
        };
        let section = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(section)
    }

    fn varint(&mut self) -> Result<usize, CarError> {
        let start = self.at;
        let mut value = 0usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = *self
                .bytes
                .get(self.at)
                .ok_or(CarError::Truncated(self.at))?;
            self.at += 1;
            let bits = usize::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(CarError::Length(start));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CarError::Length(start))
    }

    fn block(&mut self) -> Result<Block, CarError> {
        let section = self.section()?;
        let at = self.at - section.len();
        let cid = section.get(..cid::BINARY_LEN).unwrap_or(&section);
        let cid = Cid::from_bytes(cid).map_err(|source| CarError::Cid { at, source })?;
        let bytes = section.slice(cid::BINARY_LEN..);
        if self.verify && !cid.matches(&bytes) {
            return Err(CarError::Hash(cid));
        }
        Ok(Block { cid, bytes })
    }
}

/// The roots in a header `{roots: […], version: 1}`.
fn roots(header: &[u8]) -> Result<Vec<Cid>, CarError> {
    let mut reader = Reader::new(header);
    reader.map(2)?;
    reader.key("roots")?;
    let roots = (0..reader.list()?)
        .map(|_| reader.link())
        .collect::<Result<_, _>>()?;
    reader.key("version")?;
    let at = reader.position();
    match reader.token()? {
        Token::Int(1) => {}
        Token::Int(other) => return Err(CarError::Version(other)),
        _ => {
            return Err(CarError::Header(CborError::Expected {
                expected: "a version",
                at,
            }));
        }
    }
    reader.finish()?;
    Ok(roots)
}

impl Iterator for CarReader {
    type Item = Result<Block, CarError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let block = self.block();
        match &block {
            Ok(_) => {}
            Err(CarError::Hash(_) | CarError::Cid { .. }) if self.survive => {}
            Err(_) => self.at = self.bytes.len(),
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::Codec;

    fn sample() -> (Vec<Block>, Bytes) {
        let blocks: Vec<_> = [0, 1, 91, 92, 20_000]
            .map(|length| Block::new(Codec::Raw, vec![7; length]))
            .into();
        let bytes = encode(&[blocks[0].cid, blocks[1].cid], &blocks);
        (blocks, bytes.into())
    }

    #[test]
    fn both_ways() {
        let (blocks, bytes) = sample();
        let reader = CarReader::new(bytes.clone()).unwrap();
        assert_eq!(reader.roots(), [blocks[0].cid, blocks[1].cid]);
        let header = reader.position();
        let read: Result<Vec<_>, _> = reader.collect();
        assert_eq!(read.unwrap(), blocks);
        let sections: usize = blocks.iter().map(section_len).sum();
        assert_eq!(header + sections, bytes.len());
    }

    #[test]
    fn every_cut_is_noticed() {
        let (blocks, bytes) = sample();
        for end in 0..300 {
            let read =
                CarReader::new(bytes.slice(..end)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            // A cut between blocks is a shorter CAR.
            if let Ok(read) = read {
                assert!(blocks.starts_with(&read));
            }
        }
    }

    #[test]
    fn changed_bytes_are_noticed() {
        let (_, bytes) = sample();
        let mut changed = bytes.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let reader = CarReader::new(changed.into()).unwrap();
        assert!(matches!(
            reader.clone().last(),
            Some(Err(CarError::Hash(_)))
        ));
        assert!(reader.trusting().all(|block| block.is_ok()));
    }

    #[test]
    fn odd_lengths() {
        for bytes in [
            &[0x80u8, 0][..],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 1],
            &[],
        ] {
            assert!(CarReader::new(Bytes::copy_from_slice(bytes)).is_err());
        }
    }
}
