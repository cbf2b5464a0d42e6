//! A block: bytes and the CID that names them.

use bytes::Bytes;

use crate::cid::{Cid, Codec};

/// Immutable bytes with their CID. Cloning shares the bytes.
///
/// ```
/// use firebrick_core::{Block, cid::Codec};
/// let block = Block::new(Codec::Raw, "content");
/// assert_eq!(block.bytes, "content");
/// assert!(block.cid.matches(&block.bytes));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The name.
    pub cid: Cid,
    /// The content.
    pub bytes: Bytes,
}

impl Block {
    /// Hashes `bytes` and makes the block.
    ///
    /// ```
    /// use firebrick_core::{Block, Cid, cid::Codec};
    /// let block = Block::new(Codec::Raw, vec![1, 2, 3]);
    /// assert_eq!(block.cid, Cid::of(Codec::Raw, &[1, 2, 3]));
    /// ```
    #[must_use]
    pub fn new(codec: Codec, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            cid: Cid::of(codec, &bytes),
            bytes,
        }
    }

    /// Makes the block if `bytes` really have this CID.
    ///
    /// ```
    /// use firebrick_core::{Block, Cid, cid::Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// assert!(Block::verified(cid, "content".into()).is_some());
    /// assert!(Block::verified(cid, "something else".into()).is_none());
    /// ```
    #[must_use]
    pub fn verified(cid: Cid, bytes: Bytes) -> Option<Self> {
        cid.matches(&bytes).then_some(Self { cid, bytes })
    }
}
