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
pub trait ShardSource {
    /// The shard with this CID.
    ///
    /// # Errors
    /// [`PailError::Missing`] if the source does not have it, [`PailError::Invalid`] if the block
    /// is not a shard, [`PailError::Source`] if reading failed.
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError>;

    /// The chain that begins with the shard with this CID. A source with a cache may remember it, so
    /// that lookups jump to its end: the CIDs in a shard fix all that is below it.
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
    #[must_use]
    pub fn missing(&self) -> Option<Cid> {
        match self {
            PailError::Missing(cid) => Some(*cid),
            _ => None,
        }
    }
}
