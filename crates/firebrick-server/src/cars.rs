//! Where CARs are kept.

mod disk;

use std::collections::HashMap;
use std::fmt;
use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::ids::{LedgerId, ObjectId};

pub use disk::Disk;

/// Why a CAR cannot be stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarStoreError {
    /// The store fails.
    #[error("the server cannot store or read CARs now: {0}")]
    Io(#[from] io::Error),
    /// The body ended early or failed.
    #[error("the body did not arrive: {0}")]
    Body(io::Error),
    /// Longer than the server allows.
    #[error("a CAR has at most {0} bytes here")]
    TooLong(u64),
}

/// A CAR's bytes.
pub struct Object {
    /// How many.
    pub len: u64,
    /// Piece by piece.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// What a ledger stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarUsage {
    /// How many CARs.
    pub cars: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Keeps the CARs of all ledgers.
///
/// A CAR's name is a hash of what is inside its encryption, so a server cannot check it, and clients
/// may send the same CAR with other bytes. The first copy stays: the key of a later one may not be known
/// to all yet. Who wants to replace it deletes it first.
pub trait CarStore: Send + Sync + fmt::Debug + 'static {
    /// Stores a CAR unless there is one of that name. When it returns, it survives a crash.
    fn put(
        &self,
        object: ObjectId,
        body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> BoxFuture<'_, Result<(), CarStoreError>>;

    /// A CAR, or nothing.
    fn get(&self, object: ObjectId) -> BoxFuture<'_, Result<Option<Object>, CarStoreError>>;

    /// Whether there is a CAR of that name.
    fn contains(&self, object: ObjectId) -> BoxFuture<'_, Result<bool, CarStoreError>>;

    /// Counts what each ledger stores. This may take long.
    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, CarUsage>, CarStoreError>>;

    /// Deletes a CAR; one that is not there is no error.
    fn delete(&self, object: ObjectId) -> BoxFuture<'_, Result<(), CarStoreError>>;
}
