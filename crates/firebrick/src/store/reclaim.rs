//! Giving back the space of blocks that nobody needs any more.

use firebrick_core::Cid;

/// What becomes of a block in [`Store::reclaim`](super::Store::reclaim).
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// use firebrick::store::{Fate, Sieve};
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// struct Nothing;
/// impl Sieve for Nothing {
///     fn fate(&mut self, _: &Cid) -> Fate {
///         Fate::Stop // somebody changed his mind
///     }
/// }
/// store.commit(&Commit { blocks: &[block.into()], ..Commit::default() })?;
/// assert!(store.reclaim(&mut Nothing, false)?.is_none());
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
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
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// use firebrick::store::{Fate, Sieve};
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// /// Keeps short blocks.
/// struct Short;
/// impl Sieve for Short {
///     fn fate(&mut self, _: &Cid) -> Fate {
///         Fate::Look
///     }
///     fn keeps(&mut self, _: &Cid, bytes: &[u8]) -> bool {
///         bytes.len() < 3
///     }
/// }
/// store.commit(&Commit { blocks: &[block.clone().into()], ..Commit::default() })?;
/// store.reclaim(&mut Short, false)?;
/// assert!(!store.contains(&block.cid)?);
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
pub trait Sieve {
    /// Called once, before everything else. What is committed from now on stays, whatever the sieve
    /// says later, also if it was in the store before. `false` ends the run.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// use firebrick::store::{Fate, Sieve};
    /// // A function is a sieve that always begins.
    /// let mut all = |_: &Cid| true;
    /// assert!(all.begin());
    /// ```
    fn begin(&mut self) -> bool {
        true
    }

    /// What becomes of a block.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// use firebrick::core::cid::Codec;
    /// use firebrick::store::{Fate, Sieve};
    /// let needed = Cid::of(Codec::Raw, b"needed");
    /// let mut sieve = |cid: &Cid| *cid == needed;
    /// assert_eq!(sieve.fate(&needed), Fate::Keep);
    /// assert_eq!(sieve.fate(&Cid::of(Codec::Raw, b"other")), Fate::Drop);
    /// ```
    fn fate(&mut self, cid: &Cid) -> Fate;

    /// Whether a block with this content is kept, after [`Fate::Look`].
    ///
    /// ```
    /// # use firebrick::Cid;
    /// use firebrick::core::cid::Codec;
    /// use firebrick::store::Sieve;
    /// // Unless a sieve says otherwise, what it looks at is kept.
    /// let mut none = |_: &Cid| false;
    /// assert!(none.keeps(&Cid::of(Codec::Raw, b"a"), b"a"));
    /// ```
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
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::Block;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{Commit, MemoryStore, Store};
/// # let store = MemoryStore::new();
/// # let block = Block::new(Codec::Raw, "hello");
/// store.commit(&Commit { blocks: &[block.into()], ..Commit::default() })?;
/// let would = store.reclaim(&mut |_: &Cid| false, true)?.expect("it was not stopped");
/// assert_eq!((would.dropped_blocks, would.dropped_bytes), (1, 5));
/// assert_eq!(would.bytes_after, would.bytes_before); // it was a dry run
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
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
