//! The pail: a trie from document ids to links, stored as immutable shards (format §5).
//!
//! A [`Tree`] is one immutable version. Changing it gives a new version that shares what did not
//! change; shards that no [`ShardSource`] has yet are held in memory until [`Tree::saved`].
//!
//! The tree of a set of keys reached by puts alone is canonical: the order of the puts, and how
//! they were grouped, leave no trace. Everything here that applies many changes at once rests on
//! that.
//!
//! ```
//! use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{Range, Tree}};
//! let blocks = MemoryBlocks::new();
//! let value = |n: u8| Cid::of(Codec::Raw, &[n]);
//! let one = Tree::empty().put(&blocks, "apple", value(1))?;
//! let two = one.batch(&blocks, [("apricot", value(2)), ("beet", value(3))])?;
//! assert_eq!(one.get(&blocks, "beet")?, None);
//! assert_eq!(two.get(&blocks, "beet")?, Some(value(3)));
//! let fruit: Result<Vec<_>, _> = two.entries(&blocks, Range::prefix("ap")).collect();
//! assert_eq!(fruit?.len(), 2);
//! # Ok::<(), firebrick_core::pail::PailError>(())
//! ```

mod cursor;
mod del;
mod diff;
mod edit;
mod key;
mod range;
mod shard;
mod since;
mod tree;

pub use diff::{Change, Diff};
pub use edit::Edited;
pub use key::{KeyError, MAX_KEY_BYTES, check_key};
pub use range::{Entries, Range};
pub use shard::{Chain, Entry, Shard};
pub use since::ShardsSince;
pub use tree::{EMPTY_ROOT, Tree};

use std::error::Error;
use std::sync::Arc;

use crate::cid::Cid;

/// Where stored shards come from: a block store, usually with a cache of decoded shards.
///
/// The source answers for the bytes: they must have the CID that was asked for.
///
/// ```
/// # use std::collections::HashMap;
/// # use firebrick_core::{Cid, cid::Codec, pail::{PailError, Shard, ShardSource, Tree}};
/// struct Shards(HashMap<Cid, Shard>);
///
/// impl ShardSource for Shards {
///     fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
///         self.0.get(cid).cloned().ok_or(PailError::Missing(*cid))
///     }
/// }
/// # let mut shards = Shards(HashMap::new());
/// # let value = Cid::of(Codec::Raw, b"1");
/// # let tree = Tree::empty().put(&shards, "apple", value)?;
/// # for block in tree.unsaved() {
/// #     shards.0.insert(block.cid, Shard::decode(&block.bytes)?);
/// # }
/// assert_eq!(tree.saved().get(&shards, "apple")?, Some(value));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ShardSource {
    /// The shard with this CID.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// let root = blocks.shard(&tree.root())?;
    /// assert_eq!(root.prefix(), b"");
    /// assert_eq!(blocks.shard(&value(1)).unwrap_err().missing(), Some(value(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PailError::Missing`] if the source does not have it, [`PailError::Invalid`] if the block
    /// is not a shard, [`PailError::Source`] if reading failed.
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError>;

    /// The chain that begins with the shard with this CID. A source with a cache may remember it, so
    /// that lookups jump to its end: the CIDs in a shard fix all that is below it.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::{ShardSource, Tree}};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # let ops = [("apple", value(1)), ("beet", value(2)), ("berry", value(3))];
    /// # let tree = blocks.save(&Tree::empty().batch(&blocks, ops)?);
    /// # let shard = blocks.shard(&tree.root())?;
    /// // "beet" and "berry" begin with "be", so nothing but one child is in the shard of "b".
    /// let below = shard.find(b'b').and_then(|entry| entry.child).expect("there are keys below");
    /// assert_eq!(blocks.shard(&below)?.prefix(), b"b");
    /// assert_eq!(blocks.chain(&below)?.end().prefix(), b"be");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::shard`].
    fn chain(&self, cid: &Cid) -> Result<Chain, PailError> {
        Ok(Chain::follow(self.shard(cid)?, self))
    }
}

impl<S: ShardSource + ?Sized> ShardSource for &S {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        (**self).shard(cid)
    }

    fn chain(&self, cid: &Cid) -> Result<Chain, PailError> {
        (**self).chain(cid)
    }
}

impl<S: ShardSource + ?Sized> ShardSource for Arc<S> {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        (**self).shard(cid)
    }

    fn chain(&self, cid: &Cid) -> Result<Chain, PailError> {
        (**self).chain(cid)
    }
}

/// Why a pail operation failed.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// # use firebrick_core::pail::{KeyError, PailError};
/// match Tree::empty().put(&blocks, "", value(1)) {
///     Err(PailError::Key(error)) => assert_eq!(error, KeyError::Empty),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PailError {
    /// A shard is not in the source.
    #[error("the shard {0} is missing")]
    Missing(Cid),
    /// A block is not a shard, or a shard is not what its parent says.
    #[error("the block {cid} is not a valid shard: {reason}")]
    Invalid {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The source failed.
    #[error("reading a shard failed")]
    Source(#[source] Box<dyn Error + Send + Sync>),
    /// A key that the format does not allow.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl PailError {
    /// The missing block, if that is what went wrong.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let lost = Tree::at(value(9));
    /// let error = lost.get(&blocks, "apple").unwrap_err();
    /// assert_eq!(error.missing(), Some(lost.root()));
    /// ```
    #[must_use]
    pub fn missing(&self) -> Option<Cid> {
        match self {
            PailError::Missing(cid) => Some(*cid),
            _ => None,
        }
    }
}
