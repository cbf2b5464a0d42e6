//! Where metas and keys are kept.

mod postgres;
#[cfg(test)]
pub(crate) mod samples;
mod sqlite;

use std::collections::HashMap;
use std::fmt;

use firebrick_core::cloud::{Conn, KeyText, MetaEntry};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use zeroize::Zeroizing;

use crate::ids::LedgerId;

pub use postgres::Postgres;
pub use sqlite::Sqlite;

/// Why metas cannot be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaStoreError {
    /// The database fails; what was acknowledged before is not lost.
    #[error("the server cannot store or read metas now; try again later")]
    Unavailable {
        /// For the log, not for clients.
        cause: String,
    },
    /// The ledger has too many, or too long ones.
    #[error("the ledger has more metas or keys than this server allows; go on in another ledger")]
    Full,
}

/// Metas that a connection publishes.
#[derive(Clone, Debug)]
pub struct MetaPut {
    /// The connection.
    pub owner: Conn,
    /// The metas, each with the name it goes by.
    pub metas: Vec<MetaEntry>,
    /// Keys of the ledger.
    pub keys: Vec<KeyText>,
    /// Whether the connection's earlier metas go.
    pub supersede: bool,
    /// What the ledger may have afterwards.
    pub limit: MetaLimit,
}

/// The most that a ledger may have: everybody who binds is sent all of it in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaLimit {
    /// Metas, and as many keys.
    pub entries: usize,
    /// Length of all metas and keys as JSON, in bytes.
    pub bytes: usize,
}

/// A meta and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMeta {
    /// Grows with each meta of the ledger.
    pub position: i64,
    /// The connection that published it.
    pub owner: Conn,
    /// The meta.
    pub entry: MetaEntry,
}

/// Metas and keys of a ledger.
#[derive(Clone, Debug, Default)]
pub struct MetaView {
    /// The metas that were asked for, in order.
    pub metas: Vec<StoredMeta>,
    /// All keys.
    pub keys: Vec<KeyText>,
    /// Whether a key is among them that was not there before, or came after the position.
    pub new_keys: bool,
    /// After a put: the ledger's position before it, if others write to the same store; else 0. Who
    /// has read less lacks what others put.
    pub before: i64,
    /// Up to where this reads.
    pub position: i64,
}

/// What others may have written to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A ledger has something at this position.
    Ledger {
        /// Which.
        ledger: LedgerId,
        /// Where it is now.
        position: i64,
    },
    /// Anything may have changed: for a while nobody was listening.
    Unknown,
}

/// What a ledger has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaUsage {
    /// How many metas.
    pub metas: u64,
    /// When the newest came, in seconds since 1970.
    pub last_write: u64,
}

/// Keeps the metas and keys of all ledgers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use firebrick_core::cloud::{Conn, MetaEntry};
/// use firebrick_core::genesis::GENESIS;
/// use firebrick_core::meta::MetaEvent;
/// use firebrick_server::ids::LedgerId;
/// use firebrick_server::metas::{MetaLimit, MetaPut, MetaStore, Sqlite};
///
/// let store = Sqlite::open(&dir.path().join("metas.sqlite"))?;
/// let ledger = LedgerId::new("acme", "notes")?;
/// let event = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
/// let put = MetaPut {
///     owner: Conn { req_id: "a".into(), res_id: "b".into() },
///     metas: vec![MetaEntry::new(&event)],
///     keys: vec![],
///     supersede: true,
///     limit: MetaLimit { entries: 1000, bytes: 1 << 20 },
/// };
/// let added = store.put(ledger.clone(), put).await?;
/// let all = store.after(ledger, 0).await?;
/// assert_eq!((added.metas.len(), all.metas), (1, added.metas));
/// # Ok(()) }
/// ```
pub trait MetaStore: Send + Sync + fmt::Debug + 'static {
    /// Adds metas and keys, and returns the metas that were not there before. When it returns, they
    /// survive a crash. It happens as a whole or not at all.
    fn put(
        &self,
        ledger: LedgerId,
        put: MetaPut,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>>;

    /// The metas after a position; 0 is before all. So is a position that the ledger has not reached.
    fn after(
        &self,
        ledger: LedgerId,
        position: i64,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>>;

    /// Counts what each ledger has. This may take long.
    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, MetaUsage>, MetaStoreError>>;

    /// Whether it works.
    fn check(&self) -> BoxFuture<'_, Result<(), MetaStoreError>>;

    /// What is written to the store, by this server and by others, if there can be others. It begins with
    /// [`Change::Unknown`], and says so again whenever something may have been missed. It ends with its
    /// reader.
    fn changes(&self) -> Option<BoxStream<'static, Change>> {
        None
    }

    /// A secret that all servers of this store share: the one that it has, else `fresh`. Nothing if each
    /// server keeps its own.
    fn secret(
        &self,
        _name: &'static str,
        _fresh: Zeroizing<Vec<u8>>,
    ) -> BoxFuture<'_, Result<Option<Zeroizing<Vec<u8>>>, MetaStoreError>> {
        async { Ok(None) }.boxed()
    }
}
