//! A block: bytes and the CID that names them.

use bytes::Bytes;

use crate::cid::{Cid, Codec};

/// Immutable bytes with their CID. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The name.
    pub cid: Cid,
    /// The content.
    pub bytes: Bytes,
}

impl Block {
    /// Hashes `bytes` and makes the block.
    #[must_use]
    pub fn new(codec: Codec, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            cid: Cid::of(codec, &bytes),
            bytes,
        }
    }

    /// Makes the block if `bytes` really have this CID.
    #[must_use]
    pub fn verified(cid: Cid, bytes: Bytes) -> Option<Self> {
        cid.matches(&bytes).then_some(Self { cid, bytes })
    }
}
