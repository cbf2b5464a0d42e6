//! The list of pieces of a large file.

use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::cbor::{self, CborError, Link};
use crate::cid::{Cid, Codec};

/// The longest piece in bytes.
///
/// ```
/// use firebrick_core::file::{MAX_PIECE_BYTES, Manifest, ManifestError};
///
/// let manifest = |piece_bytes| Manifest { size: 0, piece_bytes, pieces: vec![] };
/// assert!(manifest(MAX_PIECE_BYTES).encode().is_ok());
/// assert_eq!(manifest(MAX_PIECE_BYTES + 1).encode(), Err(ManifestError::Limit));
/// ```
pub const MAX_PIECE_BYTES: u64 = 64 << 20;

/// The most pieces of a file.
///
/// ```
/// # use firebrick_core::cid::{Cid, Codec};
/// # use firebrick_core::file::Piece;
/// # let piece = |n: u8| Piece { cid: Cid::of(Codec::Raw, &[n]), car: Cid::of(Codec::Car, &[n]) };
/// use firebrick_core::file::{MAX_PIECES, Manifest, ManifestError};
///
/// let pieces = vec![piece(0); MAX_PIECES + 1];
/// let manifest = Manifest { size: pieces.len() as u64, piece_bytes: 1, pieces };
/// assert_eq!(manifest.encode(), Err(ManifestError::Limit));
/// ```
pub const MAX_PIECES: usize = 1 << 16;

/// One piece: a raw block in a file CAR of its own.
///
/// ```
/// use firebrick_core::file::{self, Piece};
///
/// let block = file::block("the first megabytes");
/// let piece = Piece { cid: block.cid, car: file::car(&[block.cid], [&block]).cid };
/// assert_ne!(piece.cid, piece.car);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The block.
    pub cid: Cid,
    /// The CAR that holds it.
    pub car: Cid,
}

/// The pieces of a file, all of the same length but the last.
///
/// Its block stands in place of the content. It is dag-cbor, so a reader that knows single blocks
/// only refuses it instead of taking it for the content, and a document that such a reader writes
/// again loses nothing.
///
/// ```
/// # use firebrick_core::cid::{Cid, Codec};
/// # use firebrick_core::file::Piece;
/// # let piece = |n: u8| Piece { cid: Cid::of(Codec::Raw, &[n]), car: Cid::of(Codec::Car, &[n]) };
/// use firebrick_core::file::Manifest;
///
/// let manifest = Manifest { size: 25, piece_bytes: 10, pieces: vec![piece(0), piece(1), piece(2)] };
/// let block = manifest.encode()?;
/// assert_eq!(Manifest::decode(&block.bytes)?.pieces.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Length of the file in bytes.
    pub size: u64,
    /// Length of each piece but the last.
    pub piece_bytes: u64,
    /// The pieces in order.
    pub pieces: Vec<Piece>,
}

/// Why a block is not a manifest.
///
/// ```
/// # use firebrick_core::cid::{Cid, Codec};
/// # use firebrick_core::file::Piece;
/// # let piece = |n: u8| Piece { cid: Cid::of(Codec::Raw, &[n]), car: Cid::of(Codec::Car, &[n]) };
/// use firebrick_core::file::{Manifest, ManifestError};
///
/// let two_of_three = Manifest { size: 25, piece_bytes: 10, pieces: vec![piece(0), piece(1)] };
/// assert_eq!(two_of_three.encode(), Err(ManifestError::Contradiction));
/// assert!(matches!(Manifest::decode(b"waves"), Err(ManifestError::Cbor(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Other fields than a manifest's.
    #[error("not a list of pieces: {0}")]
    Cbor(#[from] CborError),
    /// A form that this version does not know.
    #[error("the list of pieces has version {0}, this program reads version 1; update it")]
    Version(u64),
    /// Lengths that do not fit each other, or links to something that is no piece.
    #[error("the list of pieces contradicts itself")]
    Contradiction,
    /// More than the limits allow.
    #[error("a file has at most {MAX_PIECES} pieces of at most {MAX_PIECE_BYTES} bytes")]
    Limit,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u64,
    size: u64,
    piece: u64,
    pieces: Vec<(Link, Link)>,
}

impl Manifest {
    /// The block that lists them.
    ///
    /// ```
    /// # use firebrick_core::cid::{Cid, Codec};
    /// # use firebrick_core::file::Piece;
    /// # let piece = |n: u8| Piece { cid: Cid::of(Codec::Raw, &[n]), car: Cid::of(Codec::Car, &[n]) };
    /// use firebrick_core::file::Manifest;
    ///
    /// let manifest = Manifest { size: 9, piece_bytes: 10, pieces: vec![piece(0)] };
    /// assert_eq!(manifest.encode()?.cid.codec(), Codec::DagCbor);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ManifestError`] if [`decode`](Self::decode) would refuse it.
    pub fn encode(&self) -> Result<Block, ManifestError> {
        self.check()?;
        let pieces = self.pieces.iter();
        let wire = Wire {
            version: 1,
            size: self.size,
            piece: self.piece_bytes,
            pieces: pieces
                .map(|piece| (piece.cid.into(), piece.car.into()))
                .collect(),
        };
        Ok(Block::new(Codec::DagCbor, cbor::to_vec(&wire)?))
    }

    /// Reads the block's bytes.
    ///
    /// ```
    /// # use firebrick_core::cid::{Cid, Codec};
    /// # use firebrick_core::file::Piece;
    /// # let piece = |n: u8| Piece { cid: Cid::of(Codec::Raw, &[n]), car: Cid::of(Codec::Car, &[n]) };
    /// use firebrick_core::file::Manifest;
    ///
    /// let manifest = Manifest { size: 9, piece_bytes: 10, pieces: vec![piece(0)] };
    /// assert_eq!(Manifest::decode(&manifest.encode()?.bytes)?, manifest);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let wire: Wire = cbor::from_slice(bytes)?;
        if wire.version != 1 {
            return Err(ManifestError::Version(wire.version));
        }
        let piece = |(cid, car): (Link, Link)| {
            let piece = Piece {
                cid: cid.cid()?,
                car: car.cid()?,
            };
            let kinds = (piece.cid.codec(), piece.car.codec());
            (kinds == (Codec::Raw, Codec::Car)).then_some(piece)
        };
        let pieces: Option<Vec<Piece>> = wire.pieces.into_iter().map(piece).collect();
        let manifest = Self {
            size: wire.size,
            piece_bytes: wire.piece,
            pieces: pieces.ok_or(ManifestError::Contradiction)?,
        };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.pieces.len() > MAX_PIECES || self.piece_bytes > MAX_PIECE_BYTES {
            return Err(ManifestError::Limit);
        }
        let fits = self.piece_bytes > 0
            && self.size.div_ceil(self.piece_bytes) == self.pieces.len() as u64;
        fits.then_some(()).ok_or(ManifestError::Contradiction)
    }

    /// Where a piece begins in the file, and its length.
    ///
    /// ```
    /// # use firebrick_core::cid::{Cid, Codec};
    /// # use firebrick_core::file::Piece;
    /// # let piece = |n: u8| Piece { cid: Cid::of(Codec::Raw, &[n]), car: Cid::of(Codec::Car, &[n]) };
    /// use firebrick_core::file::Manifest;
    ///
    /// let manifest = Manifest { size: 25, piece_bytes: 10, pieces: vec![piece(0), piece(1), piece(2)] };
    /// assert_eq!(manifest.place(1), (10, 10));
    /// assert_eq!(manifest.place(2), (20, 5)); // the last piece is shorter
    /// ```
    #[must_use]
    pub fn place(&self, piece: usize) -> (u64, u64) {
        let start = (piece as u64).saturating_mul(self.piece_bytes);
        (start, self.size.saturating_sub(start).min(self.piece_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(size: u64, pieces: u8) -> Manifest {
        let piece = |n| Piece {
            cid: Cid::of(Codec::Raw, &[n]),
            car: Cid::of(Codec::Car, &[n]),
        };
        Manifest {
            size,
            piece_bytes: 10,
            pieces: (0..pieces).map(piece).collect(),
        }
    }

    #[test]
    fn there_and_back() {
        for (size, pieces) in [(0, 0), (1, 1), (10, 1), (11, 2), (25, 3)] {
            let manifest = manifest(size, pieces);
            let block = manifest.encode().unwrap();
            assert_eq!(Manifest::decode(&block.bytes), Ok(manifest));
        }
        assert_eq!(manifest(25, 3).place(1), (10, 10));
        assert_eq!(manifest(25, 3).place(2), (20, 5));
        assert_eq!(manifest(25, 3).place(9), (90, 0));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (size, pieces) in [(0, 1), (10, 2), (11, 1), (u64::MAX, 3)] {
            assert_eq!(
                manifest(size, pieces).encode(),
                Err(ManifestError::Contradiction)
            );
        }
        let huge = Manifest {
            piece_bytes: MAX_PIECE_BYTES + 1,
            ..manifest(1, 1)
        };
        assert_eq!(huge.encode(), Err(ManifestError::Limit));
        let wire = |version, cid: Cid, car: Cid| {
            let wire = Wire {
                version,
                size: 1,
                piece: 1,
                pieces: vec![(cid.into(), car.into())],
            };
            Manifest::decode(&cbor::to_vec(&wire).unwrap())
        };
        let (raw, car) = (Cid::of(Codec::Raw, b"x"), Cid::of(Codec::Car, b"x"));
        assert!(wire(1, raw, car).is_ok());
        assert_eq!(wire(2, raw, car), Err(ManifestError::Version(2)));
        assert_eq!(wire(1, car, car), Err(ManifestError::Contradiction));
        assert_eq!(wire(1, raw, raw), Err(ManifestError::Contradiction));
        assert!(matches!(
            Manifest::decode(b"\xa0"),
            Err(ManifestError::Cbor(_))
        ));
    }
}
