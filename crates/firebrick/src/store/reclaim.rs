//! Giving back the space of blocks that nobody needs any more.

use firebrick_core::Cid;

/// What becomes of a block in [`Store::reclaim`](super::Store::reclaim).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// Its space is given back.
    Drop,
    /// Its content decides: see [`Sieve::keeps`].
    Look,
    /// Nothing is given back, and the run ends.
    Stop,
}

/// Decides which blocks are kept. None of its methods is called while the store holds a lock, so
/// they may use the store.
pub trait Sieve {
    /// Called once, before everything else. What is committed from now on stays, whatever the sieve
    /// says later, also if it was in the store before. `false` ends the run.
    fn begin(&mut self) -> bool {
        true
    }

    /// What becomes of a block.
    fn fate(&mut self, cid: &Cid) -> Fate;

    /// Whether a block with this content is kept, after [`Fate::Look`].
    fn keeps(&mut self, _cid: &Cid, _bytes: &[u8]) -> bool {
        true
    }
}

/// Keeps what the function answers `true` for.
impl<F: FnMut(&Cid) -> bool> Sieve for F {
    fn fate(&mut self, cid: &Cid) -> Fate {
        match self(cid) {
            true => Fate::Keep,
            false => Fate::Drop,
        }
    }
}

/// What [`Store::reclaim`](super::Store::reclaim) did, or what it would do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Compaction {
    /// Blocks that were kept.
    pub kept_blocks: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Blocks that were left behind, copies of kept ones included.
    pub dropped_blocks: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// Bytes of the log before.
    pub bytes_before: u64,
    /// Bytes of the log afterwards; as before in a dry run.
    pub bytes_after: u64,
}
