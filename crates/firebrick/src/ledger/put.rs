//! What is written, and what came of it.

use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::{Block, Cid, document};

use super::Ledger;
use crate::error::Result;

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The documents' ids, in the order of the call.
    pub ids: Vec<String>,
    /// The head that the write produced. A put that changed nothing names the unchanged head.
    pub head: Vec<Cid>,
    /// The position of the head in this handle's run of commits.
    pub sequence: u64,
}

impl Written {
    /// The id of the only or first document.
    #[must_use]
    pub fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }
}

/// One document to write, or the tombstone in its place.
pub(crate) struct Put {
    pub(crate) id: String,
    pub(crate) block: Block,
    /// The block's bytes, which the cache will hold: made by the caller's thread, as allocators
    /// give memory back to the thread that it came from.
    pub(super) held: Arc<[u8]>,
}

impl Put {
    pub(crate) fn new(id: String, block: &Block) -> Self {
        let held: Arc<[u8]> = block.bytes.as_ref().into();
        let block = Block {
            cid: block.cid,
            bytes: Bytes::from_owner(Arc::clone(&held)),
        };
        Self { id, block, held }
    }

    /// A document under its own id, or under a generated one.
    pub(crate) fn encode<T: serde::Serialize + ?Sized>(ledger: &Ledger, value: &T) -> Result<Self> {
        let generate = || {
            let mut random = [0; 10];
            ledger.env.fill_random(&mut random);
            document::generate_id(ledger.env.unix_ms(), random)
        };
        let (id, block) = document::encode_own(value, generate)?;
        Ok(Self::new(id, &block))
    }

    /// The tombstone.
    pub(crate) fn delete(id: &str) -> Result<Self> {
        document::check_id(id)?;
        Ok(Self::new(id.to_owned(), &document::TOMBSTONE))
    }
}
