//! What is written, and what came of it.

use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::{Block, Cid, document};

use super::Ledger;
use crate::env::Env;
use crate::error::Result;

/// What a write did.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let written = db.bulk(&[note("a", "one"), note("b", "two")]).await?;
/// assert_eq!(written.ids, ["a", "b"]);
/// assert_eq!((written.head, written.sequence), (db.head(), db.sequence()));
/// # Ok(()) }
/// ```
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
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let written = db.put(&Document::new().with("text", "without an id")).await?;
    /// assert!(db.get::<Document>(written.id()).await?.is_some());
    /// # Ok(()) }
    /// ```
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
        Self::encode_with(&mut Ids::new(&*ledger.env, 1), value)
    }

    /// The documents of one write.
    pub(crate) fn encode_all<'a, T: serde::Serialize + 'a>(
        ledger: &Ledger,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Result<Vec<Self>> {
        let mut ids = Ids::new(&*ledger.env, IDS_AT_ONCE);
        let values = values.into_iter();
        values
            .map(|value| Self::encode_with(&mut ids, value))
            .collect()
    }

    fn encode_with<T: serde::Serialize + ?Sized>(ids: &mut Ids<'_>, value: &T) -> Result<Self> {
        let (id, block) = document::encode_own(value, || ids.next())?;
        Ok(Self::new(id, &block))
    }

    /// The tombstone.
    pub(crate) fn delete(id: &str) -> Result<Self> {
        document::check_id(id)?;
        Ok(Self::new(id.to_owned(), &document::TOMBSTONE))
    }
}

/// Ids that a bulk write generates from one portion of random bytes.
const IDS_AT_ONCE: usize = 64;

/// Makes the ids of one write. The system takes its time for each question for random bytes, so it is
/// asked for those of several ids at once; none are kept for the next write.
struct Ids<'a> {
    env: &'a dyn Env,
    at_once: usize,
    random: Vec<[u8; 10]>,
}

impl<'a> Ids<'a> {
    const fn new(env: &'a dyn Env, at_once: usize) -> Self {
        Self {
            env,
            at_once,
            random: Vec::new(),
        }
    }

    fn next(&mut self) -> String {
        if self.random.is_empty() {
            self.random.resize(self.at_once, [0; 10]);
            self.env.fill_random(self.random.as_flattened_mut());
        }
        let random = self.random.pop().unwrap_or_default();
        document::generate_id(self.env.unix_ms(), random)
    }
}
