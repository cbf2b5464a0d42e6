//! Where CARs are kept.

mod bucket;
mod disk;
mod incoming;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::cloud::Verb;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::ids::{LedgerId, ObjectId};

pub use bucket::Bucket;
pub use disk::Disk;
pub(crate) use incoming::discard;

/// Why a CAR cannot be stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarStoreError {
    /// The store fails.
    #[error("the server cannot store or read CARs now: {0}")]
    Io(#[from] io::Error),
    /// The store is elsewhere and cannot be used.
    #[error("the server cannot store or read CARs now; try again later")]
    Unavailable {
        /// For the log, not for clients.
        cause: String,
    },
    /// The settings of the store make no sense.
    #[error("{0}")]
    Config(String),
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
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use firebrick_core::genesis::GENESIS;
/// use firebrick_server::cars::{CarStore, Disk};
/// use firebrick_server::ids::{LedgerId, ObjectId};
/// use futures_util::{StreamExt, stream};
///
/// let store = Disk::open(dir.path())?;
/// let ledger = LedgerId::new("acme", "notes")?;
/// let object = ObjectId::new(ledger, "car", &GENESIS.car.cid.to_string())?;
/// let body = stream::iter([Ok(GENESIS.car_bytes())]).boxed();
/// store.put(object.clone(), body, 1 << 20).await?;
/// let found = store.get(object).await?.expect("it is there");
/// assert_eq!(found.len, GENESIS.car_bytes().len() as u64);
/// # Ok(()) }
/// ```
pub trait CarStore: Send + Sync + fmt::Debug + 'static {
    /// Stores a CAR unless there is one of that name. When it returns, it survives a crash. The
    /// server asks [`contains`](Self::contains) before, so there is one only if another copy comes
    /// at the same time.
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

    /// A URL of the store's own, by which a client does one thing with one CAR for some time. Without one
    /// the client gets a URL of the server, which carries the bytes.
    fn presign(
        &self,
        _object: ObjectId,
        _verb: Verb,
        _valid: Duration,
    ) -> BoxFuture<'_, Option<String>> {
        async { None }.boxed()
    }

    /// Whether CARs can be read.
    fn check(&self) -> BoxFuture<'_, Result<(), CarStoreError>> {
        async { Ok(()) }.boxed()
    }
}
