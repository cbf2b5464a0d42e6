//! The parts of a backup file, as `docs/BACKUP-FORMAT.md` describes it.
//!
//! A preamble in the clear, then frames: a header, CARs and contents of files, a trailer. What a
//! frame holds is sealed in the envelope of [`crate::envelope`], unless the ledger is plain.

use serde::{Deserialize, Serialize};

use crate::cbor::{self, CborError};
use crate::cid::{BINARY_LEN, Cid};
use crate::keys::KeyId;

/// What every backup file begins with.
///
/// ```
/// use firebrick_core::backup::{MAGIC, Preamble};
///
/// assert!(Preamble { key: None }.encode().starts_with(MAGIC));
/// ```
pub const MAGIC: &[u8; 16] = b"FIREBRICK BACKUP";

/// The version that this library writes, and the newest that it reads.
///
/// ```
/// use firebrick_core::backup::{Preamble, PreambleError, VERSION};
///
/// let mut bytes = Preamble { key: None }.encode();
/// bytes[16..18].copy_from_slice(&(VERSION + 1).to_le_bytes());
/// assert_eq!(Preamble::decode(&bytes), Err(PreambleError::Newer(VERSION + 1)));
/// ```
pub const VERSION: u16 = 1;

/// Bytes of the preamble.
///
/// ```
/// use firebrick_core::backup::{PREAMBLE_LEN, Preamble};
///
/// assert_eq!(Preamble { key: None }.encode().len(), PREAMBLE_LEN);
/// ```
pub const PREAMBLE_LEN: usize = 56;

/// Bytes before the content of a frame: its kind and the length of the content.
///
/// ```
/// use firebrick_core::backup::{FRAME_HEAD_LEN, FrameKind, frame_head};
///
/// let head = frame_head(FrameKind::Car, 1000).expect("it is short enough");
/// assert_eq!(head.len(), FRAME_HEAD_LEN);
/// ```
pub const FRAME_HEAD_LEN: usize = 5;

/// Bytes of blocks from which a CAR is closed and another one begun.
///
/// ```
/// use firebrick_core::backup::{CAR_BYTES, FrameKind, frame_head};
///
/// assert_eq!(CAR_BYTES, 4 * 1024 * 1024);
/// assert!(frame_head(FrameKind::Car, CAR_BYTES).is_some()); // it fits in a frame
/// ```
pub const CAR_BYTES: usize = 4 << 20;

/// Bytes of a [`FrameKind::Part`], but for the last one of a content.
///
/// ```
/// use firebrick_core::backup::{FileHead, PART_BYTES};
/// # let cid = firebrick_core::file::block("").cid;
///
/// let file = FileHead { cid, len: 2_500_000 };
/// assert_eq!(file.len.div_ceil(PART_BYTES), 3); // two full parts and a shorter one
/// ```
pub const PART_BYTES: u64 = 1 << 20;

/// What a frame holds.
///
/// ```
/// use firebrick_core::backup::{FrameKind, read_frame_head};
///
/// let (kind, len) = read_frame_head(b"T\x09\0\0\0").expect("there is such a kind");
/// assert_eq!((kind, len), (FrameKind::Trailer, 9));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// The [`Header`], once, first.
    Header = b'H',
    /// A CAR without roots.
    Car = b'C',
    /// A [`FileHead`]: the content of a file follows.
    File = b'F',
    /// The next bytes of the content.
    Part = b'P',
    /// The content could not be read to its end: what came of it does not count.
    Abandoned = b'X',
    /// The [`Trailer`], once, last.
    Trailer = b'T',
}

impl FrameKind {
    /// The kind of a frame by its first byte.
    ///
    /// ```
    /// use firebrick_core::backup::FrameKind;
    ///
    /// assert_eq!(FrameKind::from_byte(b'C'), Some(FrameKind::Car));
    /// assert_eq!(FrameKind::from_byte(b'?'), None);
    /// ```
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'H' => Some(Self::Header),
            b'C' => Some(Self::Car),
            b'F' => Some(Self::File),
            b'P' => Some(Self::Part),
            b'X' => Some(Self::Abandoned),
            b'T' => Some(Self::Trailer),
            _ => None,
        }
    }
}

/// The first bytes of a frame.
///
/// `None` if the content is longer than a frame can be, 4 GiB.
///
/// ```
/// use firebrick_core::backup::{FrameKind, frame_head};
///
/// assert_eq!(frame_head(FrameKind::Car, 258), Some(*b"C\x02\x01\0\0"));
/// ```
#[must_use]
pub fn frame_head(kind: FrameKind, content: usize) -> Option<[u8; FRAME_HEAD_LEN]> {
    let mut head = [kind as u8; FRAME_HEAD_LEN];
    head[1..].copy_from_slice(&u32::try_from(content).ok()?.to_le_bytes());
    Some(head)
}

/// Reads the first bytes of a frame: its kind and the length of its content. `None` if there is no
/// such kind.
///
/// ```
/// use firebrick_core::backup::{FrameKind, read_frame_head};
///
/// assert_eq!(read_frame_head(b"C\x02\x01\0\0"), Some((FrameKind::Car, 258)));
/// assert_eq!(read_frame_head(b"?\x02\x01\0\0"), None);
/// ```
#[must_use]
pub fn read_frame_head(head: &[u8; FRAME_HEAD_LEN]) -> Option<(FrameKind, u32)> {
    let [kind, length @ ..] = head;
    Some((FrameKind::from_byte(*kind)?, u32::from_le_bytes(*length)))
}

/// Which content follows, and how long it is.
///
/// ```
/// use firebrick_core::backup::FileHead;
/// use firebrick_core::file;
///
/// let head = FileHead { cid: file::block("waves").cid, len: 5 };
/// assert_eq!(FileHead::decode(&head.encode()).map(|head| head.len), Some(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    /// Its raw block.
    pub cid: Cid,
    /// Its length in bytes.
    pub len: u64,
}

impl FileHead {
    /// The content of the frame: the CID in binary, then the length.
    ///
    /// ```
    /// use firebrick_core::backup::FileHead;
    /// use firebrick_core::file;
    ///
    /// let head = FileHead { cid: file::block("waves").cid, len: 5 };
    /// assert!(head.encode().ends_with(&[5, 0, 0, 0, 0, 0, 0, 0]));
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.cid.to_bytes().to_vec();
        out.extend_from_slice(&self.len.to_le_bytes());
        out
    }

    /// Reads the content of the frame; `None` if it is something else.
    ///
    /// ```
    /// use firebrick_core::backup::FileHead;
    /// use firebrick_core::file;
    ///
    /// let head = FileHead { cid: file::block("waves").cid, len: 5 };
    /// assert_eq!(FileHead::decode(&head.encode()), Some(head));
    /// assert_eq!(FileHead::decode(b"waves"), None);
    /// ```
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (cid, len) = bytes.split_first_chunk::<BINARY_LEN>()?;
        Some(Self {
            cid: Cid::from_bytes(cid).ok()?,
            len: u64::from_le_bytes(len.try_into().ok()?),
        })
    }
}

/// What the preamble says.
///
/// ```
/// use firebrick_core::backup::Preamble;
/// use firebrick_core::keys::Key;
///
/// let key = Key::generate([7; 32]);
/// let preamble = Preamble { key: Some(key.key_id()) };
/// assert_ne!(preamble.encode(), Preamble { key: None }.encode());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// The key that the frames are sealed with; `None` if they are plain.
    pub key: Option<KeyId>,
}

/// Why bytes are not the preamble of a backup that this library reads.
///
/// ```
/// use firebrick_core::backup::{PREAMBLE_LEN, Preamble, PreambleError};
///
/// assert_eq!(Preamble::decode(&[0; PREAMBLE_LEN]), Err(PreambleError::Foreign));
/// let mut bytes = Preamble { key: None }.encode();
/// bytes[18] = 9; // no such cipher
/// assert_eq!(Preamble::decode(&bytes), Err(PreambleError::Damaged));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// Another kind of file.
    #[error("it is not a backup of Firebrick")]
    Foreign,
    /// A newer version.
    #[error("it has format version {0}")]
    Newer(u16),
    /// Contradictory or unknown fields.
    #[error("its first bytes are damaged")]
    Damaged,
}

impl Preamble {
    /// `magic, version, cipher (0 none, 1 sealed), reserved, key id`; numbers little-endian.
    ///
    /// ```
    /// use firebrick_core::backup::Preamble;
    ///
    /// let bytes = Preamble { key: None }.encode();
    /// assert_eq!(bytes[..18], *b"FIREBRICK BACKUP\x01\0");
    /// ```
    #[must_use]
    pub fn encode(&self) -> [u8; PREAMBLE_LEN] {
        let mut out = [0; PREAMBLE_LEN];
        out[..16].copy_from_slice(MAGIC);
        out[16..18].copy_from_slice(&VERSION.to_le_bytes());
        if let Some(key) = &self.key {
            out[18] = 1;
            out[24..].copy_from_slice(&key.0);
        }
        out
    }

    /// Reads a preamble.
    ///
    /// ```
    /// use firebrick_core::backup::Preamble;
    /// use firebrick_core::keys::Key;
    ///
    /// let preamble = Preamble { key: Some(Key::generate([7; 32]).key_id()) };
    /// assert_eq!(Preamble::decode(&preamble.encode())?, preamble);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PreambleError`].
    pub fn decode(bytes: &[u8; PREAMBLE_LEN]) -> Result<Self, PreambleError> {
        if bytes[..16] != MAGIC[..] {
            return Err(PreambleError::Foreign);
        }
        let version = u16::from_le_bytes([bytes[16], bytes[17]]);
        if version > VERSION {
            return Err(PreambleError::Newer(version));
        }
        let mut id = [0; 32];
        id.copy_from_slice(&bytes[24..]);
        let preamble = match bytes[18] {
            0 => Self { key: None },
            1 => Self {
                key: Some(KeyId(id)),
            },
            _ => return Err(PreambleError::Damaged),
        };
        if preamble.encode() == *bytes {
            Ok(preamble)
        } else {
            Err(PreambleError::Damaged)
        }
    }
}

/// What a backup is of.
///
/// ```
/// use firebrick_core::backup::Header;
/// use firebrick_core::genesis::GENESIS;
///
/// let header = Header {
///     ledger: "notes".into(),
///     created_ms: 5,
///     head: vec![GENESIS.event.cid],
///     root: GENESIS.root.cid,
///     base: vec![], // a full backup
/// };
/// assert_eq!(Header::decode(&header.encode()?)?.ledger, "notes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The ledger's name.
    pub ledger: String,
    /// When it was made, in milliseconds of Unix time.
    pub created_ms: u64,
    /// The newest events.
    pub head: Vec<Cid>,
    /// The root of the documents at that head.
    pub root: Cid,
    /// The head from which an incremental backup goes on; empty in a full one.
    pub base: Vec<Cid>,
}

/// What a backup held, to compare with what was read.
///
/// ```
/// use firebrick_core::backup::Trailer;
///
/// let trailer = Trailer { cars: 1, events: 2, ..Trailer::default() };
/// assert!(trailer.missing.is_empty() && trailer.missing_files.is_empty());
/// assert_eq!(Trailer::decode(&trailer.encode()?)?.events, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// CARs.
    pub cars: u64,
    /// Events.
    pub events: u64,
    /// Blocks, events included.
    pub blocks: u64,
    /// Bytes of the blocks.
    pub bytes: u64,
    /// Contents of files that are not in a CAR.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Documents of the head that could not be read when the backup was made, by their ids.
    pub missing: Vec<String>,
    /// Files whose contents were not there, or not readable, when the backup was made: the
    /// document's id and the file's name.
    pub missing_files: Vec<(String, String)>,
    /// SHA-256 of everything before the trailer's frame.
    pub hash: [u8; 32],
}

impl Header {
    /// The content of the header's frame.
    ///
    /// ```
    /// # use firebrick_core::backup::Header;
    /// # use firebrick_core::genesis::GENESIS;
    /// # let header = Header {
    /// #     ledger: "notes".into(),
    /// #     created_ms: 5,
    /// #     head: vec![GENESIS.event.cid],
    /// #     root: GENESIS.root.cid,
    /// #     base: vec![],
    /// # };
    /// let bytes = header.encode()?;
    /// assert_eq!(Header::decode(&bytes)?, header);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Never in practice.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::to_vec(self)
    }

    /// Reads the content of the header's frame.
    ///
    /// ```
    /// # use firebrick_core::backup::Header;
    /// # use firebrick_core::genesis::GENESIS;
    /// # let header = Header {
    /// #     ledger: "notes".into(),
    /// #     created_ms: 5,
    /// #     head: vec![GENESIS.event.cid],
    /// #     root: GENESIS.root.cid,
    /// #     base: vec![],
    /// # };
    /// assert_eq!(Header::decode(&header.encode()?)?.root, GENESIS.root.cid);
    /// assert!(Header::decode(b"waves").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError`] if it is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::from_slice(bytes)
    }
}

impl Trailer {
    /// The content of the trailer's frame.
    ///
    /// ```
    /// use firebrick_core::backup::Trailer;
    ///
    /// let bytes = Trailer { files: 3, ..Trailer::default() }.encode()?;
    /// assert_ne!(bytes, Trailer::default().encode()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Never in practice.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::to_vec(self)
    }

    /// Reads the content of the trailer's frame.
    ///
    /// ```
    /// use firebrick_core::backup::Trailer;
    ///
    /// let trailer = Trailer { missing: vec!["note".into()], ..Trailer::default() };
    /// assert_eq!(Trailer::decode(&trailer.encode()?)?, trailer);
    /// assert!(Trailer::decode(b"waves").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError`] if it is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::Codec;

    #[test]
    fn preambles() {
        for key in [None, Some(KeyId([7; 32]))] {
            let bytes = Preamble { key }.encode();
            assert_eq!(Preamble::decode(&bytes), Ok(Preamble { key }));
            for at in 0..PREAMBLE_LEN {
                let mut changed = bytes;
                changed[at] ^= 1;
                // Another key is another key, and no key may become one.
                let is_key = if key.is_some() { at >= 24 } else { at == 18 };
                assert_eq!(Preamble::decode(&changed).is_ok(), is_key, "byte {at}");
            }
        }
        let mut newer = Preamble { key: None }.encode();
        newer[16] = 9;
        assert_eq!(Preamble::decode(&newer), Err(PreambleError::Newer(9)));
    }

    #[test]
    fn headers_and_trailers() {
        let cid = |n: u8| Cid::of(Codec::DagCbor, &[n]);
        let header = Header {
            ledger: "notes".into(),
            created_ms: 5,
            head: vec![cid(1), cid(2)],
            root: cid(3),
            base: vec![cid(4)],
        };
        assert_eq!(Header::decode(&header.encode().unwrap()), Ok(header));
        let trailer = Trailer {
            cars: 1,
            events: 2,
            blocks: 3,
            bytes: 4,
            files: 5,
            file_bytes: 6,
            missing: vec!["a".into()],
            missing_files: vec![("a".into(), "b.txt".into())],
            hash: [9; 32],
        };
        assert_eq!(Trailer::decode(&trailer.encode().unwrap()), Ok(trailer));
        assert!(Header::decode(b"\xa0").is_err());
        let head = FileHead {
            cid: Cid::of(Codec::Raw, b"x"),
            len: 1 << 40,
        };
        assert_eq!(FileHead::decode(&head.encode()), Some(head));
        assert_eq!(FileHead::decode(&head.encode()[1..]), None);
        assert_eq!(FileHead::decode(&[head.encode(), vec![0]].concat()), None);
    }

    #[test]
    fn frame_heads() {
        for kind in [
            FrameKind::Header,
            FrameKind::Car,
            FrameKind::File,
            FrameKind::Part,
            FrameKind::Abandoned,
            FrameKind::Trailer,
        ] {
            let head = frame_head(kind, 70_000).unwrap();
            assert_eq!(read_frame_head(&head), Some((kind, 70_000)));
        }
        assert_eq!(frame_head(FrameKind::Car, 5 << 30), None);
        assert_eq!(read_frame_head(b"Z1234"), None);
    }
}
