//! Gateways: the places where replicas meet.
//!
//! A remote is dumb and untrusted storage for CARs plus a few small slots in which writers announce
//! their heads. A [`Gateway`] is a connection to one. It moves bytes and knows nothing of keys,
//! events or documents; whoever calls it checks every hash.
//!
//! | scheme | remote | feature |
//! |---|---|---|
//! | `memory://name` | a registry inside this process | `memory` |
//! | `file:///path`, or a plain path | a directory, also one of Fireproof | `folder` |
//! | `fpcloud://host` | a sync server, also for JavaScript clients | `cloud` |
//!
//! [`Faulty`] wraps any gateway and makes it misbehave on purpose; [`conformance`] is the suite that
//! every gateway passes.

mod announcement;
#[cfg(feature = "cloud")]
pub mod cloud;
pub mod conformance;
mod error;
mod faulty;
#[cfg(feature = "folder")]
pub mod folder;
#[cfg(feature = "memory")]
pub mod memory;
mod open;
mod url;

use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cloud::KeyText;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub use announcement::{Announcement, MAIN_SLOT, SlotId, check_slot_id};
#[cfg(feature = "cloud")]
pub use cloud::{CloudGateway, FixedToken, TokenFile, TokenProvider};
pub use error::{GatewayError, GatewayErrorKind};
pub use faulty::{Call, CallKind, CarFault, FaultCounters, FaultPlan, Faulty, Phase, Step};
#[cfg(feature = "folder")]
pub use folder::{FolderGateway, PollInterval};
#[cfg(feature = "memory")]
pub use memory::{MemoryBackup, MemoryCounters, MemoryRemote};
pub use open::{open, open_with};
pub use url::{Place, RemoteUrl};

/// The answer of a gateway call.
///
/// ```
/// use firebrick::gateway::{Gateway, GatewayResult, MemoryRemote};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), firebrick::gateway::GatewayError> {
/// async fn slots(remote: &dyn Gateway) -> GatewayResult<usize> {
///     Ok(remote.slots().await?.len())
/// }
/// assert_eq!(slots(&MemoryRemote::unnamed()).await?, 0);
/// # Ok(()) }
/// ```
pub type GatewayResult<T> = Result<T, GatewayError>;

/// What a remote can do. Probed by [`Gateway::prepare`], never assumed.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
/// # let remote = MemoryRemote::unnamed();
/// # let car = bytes::Bytes::from("the bytes of a CAR");
/// # let cid = Cid::of(Codec::Car, &car);
/// # let slot = "a1".repeat(16);
/// remote.prepare().await?;
/// let can = remote.capabilities();
/// assert!(can.write && can.list && can.notify);
/// assert!(!can.shared_pointer); // nothing that JavaScript reads
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Accepts writes. False for a folder that can only be read.
    pub write: bool,
    /// [`Gateway::watch`] is told of announcements at once, without polling.
    pub notify: bool,
    /// [`Gateway::list_cars`] answers with a list.
    pub list: bool,
    /// CARs can be deleted.
    pub delete: bool,
    /// Has the one pointer that JavaScript reads (`meta/main.json`).
    pub shared_pointer: bool,
    /// JavaScript clients read here. They need more than Firebrick does: a single head to begin with,
    /// and every document that their walk of the changes meets.
    pub javascript: bool,
    /// A removed slot is gone for all. Otherwise [`Gateway::remove_slot`] only leaves it out of the
    /// listings of this gateway.
    pub remove_slots: bool,
}

impl Capabilities {
    /// A remote that can do everything except show a pointer to JavaScript.
    ///
    /// ```
    /// use firebrick::gateway::Capabilities;
    /// assert!(Capabilities::FULL.write && !Capabilities::FULL.shared_pointer);
    /// ```
    pub const FULL: Self = Self {
        write: true,
        notify: true,
        list: true,
        delete: true,
        shared_pointer: false,
        javascript: false,
        remove_slots: true,
    };
}

/// One CAR of a listing.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
/// # let remote = MemoryRemote::unnamed();
/// # let car = bytes::Bytes::from("the bytes of a CAR");
/// # let cid = Cid::of(Codec::Car, &car);
/// # let slot = "a1".repeat(16);
/// remote.put_car(&cid, car.clone()).await?;
/// let listed = remote.list_cars().await?.expect("it can list");
/// assert_eq!((listed[0].cid, listed[0].len), (cid, car.len() as u64));
/// assert!(!listed[0].is_file);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarEntry {
    /// Its name. It is a hash of the plain CAR, so the stored bytes can't be checked against it
    /// before they are decrypted.
    pub cid: Cid,
    /// Stored length in bytes.
    pub len: u64,
    /// Whether it is a file CAR.
    pub is_file: bool,
}

/// A connection to one remote.
///
/// Every call may fail, be slow, or have happened although it answered with an error; every call is
/// idempotent, so the cure is to repeat it. What is read may be stale, incomplete or wrong. The one
/// promise a remote must keep is order: once [`announce`](Gateway::announce) has returned, the CARs
/// put before it through the same gateway survive whatever the announcement survives.
///
/// Dropping a call's future leaves the call done or not done.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
/// # let remote = MemoryRemote::unnamed();
/// # let car = bytes::Bytes::from("the bytes of a CAR");
/// # let cid = Cid::of(Codec::Car, &car);
/// # let slot = "a1".repeat(16);
/// remote.prepare().await?;
/// remote.put_car(&cid, car.clone()).await?;
/// remote.announce(&slot, &Announcement::new("[]")).await?; // after the CARs that it names
/// assert_eq!(remote.get_car(&cid).await?, Some(car));
/// # Ok(()) }
/// ```
pub trait Gateway: Send + Sync + 'static {
    /// The URL, normalised, without secrets.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// assert_eq!(MemoryRemote::named("hub").url(), "memory://hub");
    /// ```
    fn url(&self) -> &str;

    /// What the remote can do, as far as known now.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// if remote.capabilities().write {
    ///     remote.put_car(&cid, car).await?;
    /// }
    /// # Ok(()) }
    /// ```
    fn capabilities(&self) -> Capabilities;

    /// Makes the remote ready for use: creates directories, probes capabilities. Called at every
    /// attach, before anything else.
    ///
    /// ```
    /// use firebrick::{env::RealEnv, gateway::{FolderGateway, Gateway}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), firebrick::gateway::GatewayError> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("hub");
    /// let remote = FolderGateway::new(&path, std::sync::Arc::new(RealEnv::new()));
    /// assert!(!path.exists());
    /// remote.prepare().await?;
    /// assert!(path.is_dir());
    /// # Ok(()) }
    /// ```
    fn prepare(&self) -> BoxFuture<'_, GatewayResult<()>>;

    /// Stores a CAR under its name. Storing it again does no harm, and repairs a damaged copy.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.put_car(&cid, car.clone()).await?;
    /// remote.put_car(&cid, car.clone()).await?; // does no harm
    /// assert_eq!(remote.list_cars().await?.map(|cars| cars.len()), Some(1));
    /// # Ok(()) }
    /// ```
    fn put_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>>;

    /// Stores a file CAR under its name.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.put_file_car(&cid, car.clone()).await?;
    /// assert_eq!(remote.get_car(&cid).await?, None); // a place of their own
    /// assert_eq!(remote.get_file_car(&cid).await?, Some(car));
    /// # Ok(()) }
    /// ```
    fn put_file_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>>;

    /// Reads a CAR; `None` if it isn't there (now).
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// assert_eq!(remote.get_car(&cid).await?, None);
    /// remote.put_car(&cid, car.clone()).await?;
    /// let read = remote.get_car(&cid).await?.expect("it was put");
    /// assert!(cid.matches(&read)); // whoever reads checks
    /// # Ok(()) }
    /// ```
    fn get_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>>;

    /// Reads a file CAR; `None` if it isn't there (now).
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// assert_eq!(remote.get_file_car(&cid).await?, None);
    /// # Ok(()) }
    /// ```
    fn get_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>>;

    /// The stored length in bytes of a CAR; `None` if it isn't there (now). Less work than reading it,
    /// where a remote that cannot list can do that.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.put_car(&cid, car.clone()).await?;
    /// assert_eq!(remote.car_len(&cid).await?, Some(car.len() as u64));
    /// # Ok(()) }
    /// ```
    fn car_len<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<u64>>> {
        Box::pin(async move {
            let found = self.get_car(cid).await?;
            Ok(found.map(|bytes| bytes.len() as u64))
        })
    }

    /// Deletes a CAR. Deleting one that isn't there is fine.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.put_car(&cid, car).await?;
    /// remote.delete_car(&cid).await?;
    /// remote.delete_car(&cid).await?; // is fine, too
    /// assert_eq!(remote.get_car(&cid).await?, None);
    /// # Ok(()) }
    /// ```
    fn delete_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>>;

    /// Deletes a file CAR. Deleting one that isn't there is fine.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.put_file_car(&cid, car).await?;
    /// remote.delete_file_car(&cid).await?;
    /// assert_eq!(remote.get_file_car(&cid).await?, None);
    /// # Ok(()) }
    /// ```
    fn delete_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>>;

    /// Lists all CARs in no particular order; `None` if this remote can't.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.put_file_car(&cid, car).await?;
    /// match remote.list_cars().await? {
    ///     Some(cars) => assert!(cars.iter().any(|entry| entry.cid == cid && entry.is_file)),
    ///     None => println!("this remote cannot say"),
    /// }
    /// # Ok(()) }
    /// ```
    fn list_cars(&self) -> BoxFuture<'_, GatewayResult<Option<Vec<CarEntry>>>>;

    /// Replaces the content of a writer's own slot. What was put before is durable first.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.announce(&slot, &Announcement::new("[1]")).await?;
    /// remote.announce(&slot, &Announcement::new("[2]")).await?; // takes its place
    /// assert_eq!(remote.slots().await?, [(slot, Announcement::new("[2]"))]);
    /// # Ok(()) }
    /// ```
    fn announce<'a>(
        &'a self,
        slot: &'a SlotId,
        announcement: &'a Announcement,
    ) -> BoxFuture<'a, GatewayResult<()>>;

    /// Reads all slots, sorted by id. A slot that can't be read now is left out; absence is no
    /// information. On remotes with a shared pointer, [`MAIN_SLOT`] stands for that pointer, which
    /// may hold any number of events.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// for slot in ["b2".repeat(16), "a1".repeat(16)] {
    ///     remote.announce(&slot, &Announcement::new("[]")).await?;
    /// }
    /// let slots = remote.slots().await?;
    /// assert!(slots.is_sorted_by_key(|(id, _)| id));
    /// # Ok(()) }
    /// ```
    fn slots(&self) -> BoxFuture<'_, GatewayResult<Vec<(SlotId, Announcement)>>>;

    /// Removes a slot. Removing one that isn't there is fine.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// remote.announce(&slot, &Announcement::new("[]")).await?;
    /// remote.remove_slot(&slot).await?;
    /// assert!(remote.slots().await?.is_empty());
    /// # Ok(()) }
    /// ```
    fn remove_slot<'a>(&'a self, slot: &'a SlotId) -> BoxFuture<'a, GatewayResult<()>>;

    /// Reads the pointer that JavaScript reads; `None` if there is none.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// assert!(remote.read_pointer().await.is_err() || remote.read_pointer().await?.is_none());
    /// # Ok(()) }
    /// ```
    fn read_pointer(&self) -> BoxFuture<'_, GatewayResult<Option<Bytes>>>;

    /// Replaces the pointer that JavaScript reads, CARs first as with `announce`.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// let remote = remote.with_pointer(); // as a folder has one
    /// remote.write_pointer("[]".into()).await?;
    /// assert_eq!(remote.read_pointer().await?.as_deref(), Some(&b"[]"[..]));
    /// # Ok(()) }
    /// ```
    fn write_pointer(&self, bytes: Bytes) -> BoxFuture<'_, GatewayResult<()>>;

    /// A stream of "something may have been announced since the last item, or since this call".
    ///
    /// A hint only: it can come too often, late or never, and the stream may end.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
    /// use futures_util::StreamExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// # let slot = "a1".repeat(16);
    /// let mut hints = remote.watch();
    /// remote.announce(&slot, &Announcement::new("[]")).await?;
    /// assert_eq!(hints.next().await, Some(())); // now it is worth a look
    /// assert_eq!(remote.slots().await?.len(), 1);
    /// # Ok(()) }
    /// ```
    fn watch(&self) -> BoxStream<'static, ()>;

    /// Offers the keys of the ledger, at each attach, to a remote whose clients exchange keys. Whether it
    /// takes them; then whoever runs the remote can read the ledger.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use firebrick::gateway::{Gateway, KeyExchange, MemoryRemote};
    /// # use firebrick::core::cloud::KeyText;
    /// struct NoKeys;
    /// impl KeyExchange for NoKeys {
    ///     fn keys(&self) -> Vec<KeyText> {
    ///         Vec::new()
    ///     }
    ///     fn learn(&self, _keys: &[KeyText]) {}
    /// }
    /// assert!(!MemoryRemote::unnamed().share_keys(Arc::new(NoKeys))); // as almost all
    /// ```
    fn share_keys(&self, _exchange: Arc<dyn KeyExchange>) -> bool {
        false
    }
}

/// The keys of a ledger, for a remote whose clients exchange keys. See [`Gateway::share_keys`].
pub trait KeyExchange: Send + Sync + 'static {
    /// All keys of the ledger. They are the secret.
    fn keys(&self) -> Vec<KeyText>;

    /// Keys that others use. They are kept for reading; nothing is encrypted with them.
    fn learn(&self, keys: &[KeyText]);
}
