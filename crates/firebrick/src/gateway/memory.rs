//! `memory://name`: a remote inside this process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use firebrick_core::Cid;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;

use super::announcement::{Announcement, MAIN_SLOT, SlotId, check_slot_id};
use super::error::{GatewayError, GatewayErrorKind};
use super::{Capabilities, CarEntry, Gateway, GatewayResult};
use crate::env::yield_now;
use crate::lock::lock;

/// A remote that lives in this process. Clones are handles to the same remote.
///
/// Everything that goes through it is copied, so that replicas share no memory by accident.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// use firebrick::gateway::MemoryRemote;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// db.attach("memory://looked-at")?.synced().await?;
/// let remote = MemoryRemote::named("looked-at");
/// assert!(remote.counters().puts > 0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryRemote {
    url: Arc<str>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    announced: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// By name and whether it is a file CAR.
    cars: BTreeMap<(Cid, bool), Vec<u8>>,
    slots: BTreeMap<SlotId, Announcement>,
    /// `Some(None)`: there can be a pointer, but there is none.
    pointer: Option<Option<Vec<u8>>>,
    counters: MemoryCounters,
}

/// What has happened to a [`MemoryRemote`] so far.
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
/// remote.put_car(&cid, car.clone()).await?;
/// let counters = remote.counters();
/// assert_eq!((counters.puts, counters.duplicate_puts), (2, 1));
/// assert_eq!(counters.bytes_in, 2 * car.len() as u64);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryCounters {
    /// CARs and file CARs put, duplicates included.
    pub puts: u64,
    /// Puts of a CAR that was there already.
    pub duplicate_puts: u64,
    /// Reads of CARs, misses included.
    pub gets: u64,
    /// Reads of CARs that weren't there.
    pub misses: u64,
    /// CARs deleted.
    pub deletes: u64,
    /// Bytes of the CARs put.
    pub bytes_in: u64,
    /// Bytes of the CARs read.
    pub bytes_out: u64,
    /// Slots written.
    pub announces: u64,
    /// Listings of the slots.
    pub slot_listings: u64,
    /// Slots removed.
    pub slot_removals: u64,
    /// Listings of the CARs.
    pub car_listings: u64,
}

static REGISTRY: Mutex<BTreeMap<String, Arc<Shared>>> = Mutex::new(BTreeMap::new());

impl MemoryRemote {
    /// The remote of this name, made when first asked for. It lives as long as the process, or until
    /// [`MemoryRemote::forget`].
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
    /// let (one, same) = (MemoryRemote::named("hub"), MemoryRemote::named("hub"));
    /// one.put_car(&cid, car.clone()).await?;
    /// assert_eq!(same.get_car(&cid).await?, Some(car));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Self {
        let shared = Arc::clone(
            lock(&REGISTRY)
                .entry(name.to_owned())
                .or_insert_with(Shared::new),
        );
        Self {
            url: format!("memory://{name}").into(),
            shared,
        }
    }

    /// A remote that no URL leads to.
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
    /// let (one, other) = (MemoryRemote::unnamed(), MemoryRemote::unnamed());
    /// one.put_car(&cid, car).await?;
    /// assert_eq!(other.get_car(&cid).await?, None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn unnamed() -> Self {
        Self {
            url: "memory://".into(),
            shared: Shared::new(),
        }
    }

    /// Takes the name out of the registry. Handles that exist keep working.
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
    /// MemoryRemote::named("hub").put_car(&cid, car).await?;
    /// MemoryRemote::forget("hub");
    /// assert_eq!(MemoryRemote::named("hub").get_car(&cid).await?, None); // another one
    /// # Ok(()) }
    /// ```
    pub fn forget(name: &str) {
        lock(&REGISTRY).remove(name);
    }

    /// Gives the remote a pointer as folders have it, and with it the capability `shared_pointer`.
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
    /// let remote = remote.with_pointer();
    /// assert!(remote.capabilities().shared_pointer);
    /// assert_eq!(remote.read_pointer().await?, None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_pointer(self) -> Self {
        self.state().pointer.get_or_insert_default();
        self
    }

    /// The counters since the start or the last [`MemoryRemote::reset_counters`].
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
    /// remote.get_car(&cid).await?;
    /// assert_eq!((remote.counters().gets, remote.counters().misses), (1, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn counters(&self) -> MemoryCounters {
        self.state().counters
    }

    /// Sets all counters to zero.
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
    /// remote.reset_counters();
    /// assert_eq!(remote.counters().puts, 0);
    /// # Ok(()) }
    /// ```
    pub fn reset_counters(&self) {
        self.state().counters = MemoryCounters::default();
    }

    /// Forgets all CARs, slots and the pointer, as a server does that lost its disk.
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
    /// remote.announce(&slot, &Announcement::new("[]")).await?;
    /// remote.clear();
    /// assert!(remote.dump_cars().is_empty() && remote.slots().await?.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn clear(&self) {
        let mut state = self.state();
        state.cars.clear();
        state.slots.clear();
        if let Some(pointer) = &mut state.pointer {
            *pointer = None;
        }
    }

    /// Removes a CAR or file CAR behind everybody's back; whether it was there.
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
    /// assert!(remote.remove_car(&cid));
    /// assert!(!remote.remove_car(&cid)); // gone already
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remove_car(&self, cid: &Cid) -> bool {
        let mut state = self.state();
        let car = state.cars.remove(&(*cid, false)).is_some();
        state.cars.remove(&(*cid, true)).is_some() || car
    }

    /// Changes the stored bytes of a CAR or file CAR behind everybody's back; whether it was there.
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
    /// remote.corrupt_car(&cid, |bytes| bytes[0] ^= 1);
    /// assert!(!cid.matches(&remote.get_car(&cid).await?.expect("it is there")));
    /// # Ok(()) }
    /// ```
    pub fn corrupt_car(&self, cid: &Cid, how: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state();
        let key = [(*cid, false), (*cid, true)]
            .into_iter()
            .find(|key| state.cars.contains_key(key));
        let bytes = key.and_then(|key| state.cars.get_mut(&key));
        bytes.map(how).is_some()
    }

    /// All CARs and file CARs with their bytes, to look at in a test.
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
    /// let (entry, bytes) = &remote.dump_cars()[0];
    /// assert_eq!((entry.cid, bytes), (cid, &car));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn dump_cars(&self) -> Vec<(CarEntry, Bytes)> {
        let state = self.state();
        let entries = state.cars.iter();
        entries
            .map(|(key, bytes)| (entry(key, bytes), Bytes::copy_from_slice(bytes)))
            .collect()
    }

    /// Puts everything back as it was at the time of `backup`, as a server does that was restored.
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
    /// let backup = remote.backup();
    /// remote.put_car(&cid, car).await?;
    /// remote.restore(&backup); // an older state comes back
    /// assert_eq!(remote.get_car(&cid).await?, None);
    /// # Ok(()) }
    /// ```
    pub fn restore(&self, backup: &MemoryBackup) {
        {
            let mut state = self.state();
            state.cars.clone_from(&backup.cars);
            state.slots.clone_from(&backup.slots);
            state.pointer.clone_from(&backup.pointer);
        }
        self.publish();
    }

    /// A copy of everything, for [`MemoryRemote::restore`].
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
    /// let backup = remote.backup();
    /// remote.clear();
    /// remote.restore(&backup);
    /// assert_eq!(remote.get_car(&cid).await?, Some(car));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn backup(&self) -> MemoryBackup {
        let state = self.state();
        MemoryBackup {
            cars: state.cars.clone(),
            slots: state.slots.clone(),
            pointer: state.pointer.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    fn publish(&self) {
        self.shared
            .announced
            .send_modify(|n| *n = n.wrapping_add(1));
    }

    async fn put(&self, cid: &Cid, is_file: bool, bytes: &[u8]) -> GatewayResult<()> {
        yield_now().await;
        let mut state = self.state();
        state.counters.puts += 1;
        state.counters.bytes_in += bytes.len() as u64;
        if state.cars.insert((*cid, is_file), bytes.to_vec()).is_some() {
            state.counters.duplicate_puts += 1;
        }
        Ok(())
    }

    async fn get(&self, cid: &Cid, is_file: bool) -> GatewayResult<Option<Bytes>> {
        yield_now().await;
        let mut state = self.state();
        let found = state.cars.get(&(*cid, is_file));
        let found = found.map(|bytes| Bytes::copy_from_slice(bytes));
        state.counters.gets += 1;
        match &found {
            Some(bytes) => state.counters.bytes_out += bytes.len() as u64,
            None => state.counters.misses += 1,
        }
        Ok(found)
    }

    async fn delete(&self, cid: &Cid, is_file: bool) -> GatewayResult<()> {
        yield_now().await;
        let mut state = self.state();
        if state.cars.remove(&(*cid, is_file)).is_some() {
            state.counters.deletes += 1;
        }
        Ok(())
    }
}

/// Everything that a [`MemoryRemote`] held at one moment.
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
/// let backup = remote.backup();
/// // Also into another remote.
/// let copy = MemoryRemote::unnamed();
/// copy.restore(&backup);
/// assert_eq!(copy.dump_cars().len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryBackup {
    cars: BTreeMap<(Cid, bool), Vec<u8>>,
    slots: BTreeMap<SlotId, Announcement>,
    pointer: Option<Option<Vec<u8>>>,
}

impl fmt::Debug for MemoryBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackup")
            .field("cars", &self.cars.len())
            .field("slots", &self.slots.len())
            .finish()
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            announced: watch::Sender::new(0),
        })
    }
}

impl fmt::Debug for MemoryRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryRemote").field(&self.url).finish()
    }
}

fn entry((cid, is_file): &(Cid, bool), bytes: &[u8]) -> CarEntry {
    CarEntry {
        cid: *cid,
        len: bytes.len() as u64,
        is_file: *is_file,
    }
}

impl Gateway for MemoryRemote {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Capabilities {
        let has_pointer = self.state().pointer.is_some();
        Capabilities {
            shared_pointer: has_pointer,
            javascript: has_pointer,
            ..Capabilities::FULL
        }
    }

    fn prepare(&self) -> BoxFuture<'_, GatewayResult<()>> {
        Box::pin(async {
            yield_now().await;
            Ok(())
        })
    }

    fn put_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move { self.put(cid, false, &bytes).await })
    }

    fn put_file_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move { self.put(cid, true, &bytes).await })
    }

    fn get_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        Box::pin(self.get(cid, false))
    }

    fn get_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        Box::pin(self.get(cid, true))
    }

    fn delete_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(self.delete(cid, false))
    }

    fn delete_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(self.delete(cid, true))
    }

    fn list_cars(&self) -> BoxFuture<'_, GatewayResult<Option<Vec<CarEntry>>>> {
        Box::pin(async {
            yield_now().await;
            let mut state = self.state();
            state.counters.car_listings += 1;
            let entries = state.cars.iter().map(|(key, bytes)| entry(key, bytes));
            Ok(Some(entries.collect()))
        })
    }

    fn announce<'a>(
        &'a self,
        slot: &'a SlotId,
        announcement: &'a Announcement,
    ) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move {
            yield_now().await;
            check_slot_id(slot)?;
            let copy = Announcement {
                meta: Bytes::copy_from_slice(&announcement.meta),
                wants: announcement.wants.clone(),
            };
            {
                let mut state = self.state();
                state.counters.announces += 1;
                state.slots.insert(slot.clone(), copy);
            }
            self.publish();
            Ok(())
        })
    }

    fn slots(&self) -> BoxFuture<'_, GatewayResult<Vec<(SlotId, Announcement)>>> {
        Box::pin(async {
            yield_now().await;
            let mut state = self.state();
            state.counters.slot_listings += 1;
            let mut slots: BTreeMap<SlotId, Announcement> = state.slots.clone();
            if let Some(Some(pointer)) = &state.pointer {
                slots.insert(MAIN_SLOT.to_owned(), Announcement::new(pointer.clone()));
            }
            Ok(slots.into_iter().collect())
        })
    }

    fn remove_slot<'a>(&'a self, slot: &'a SlotId) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move {
            yield_now().await;
            let mut state = self.state();
            if state.slots.remove(slot).is_some() {
                state.counters.slot_removals += 1;
            }
            Ok(())
        })
    }

    fn read_pointer(&self) -> BoxFuture<'_, GatewayResult<Option<Bytes>>> {
        Box::pin(async {
            yield_now().await;
            let state = self.state();
            let pointer = state.pointer.as_ref().ok_or_else(no_pointer)?;
            Ok(pointer.clone().map(Bytes::from))
        })
    }

    fn write_pointer(&self, bytes: Bytes) -> BoxFuture<'_, GatewayResult<()>> {
        Box::pin(async move {
            yield_now().await;
            let mut state = self.state();
            *state.pointer.as_mut().ok_or_else(no_pointer)? = Some(bytes.to_vec());
            drop(state);
            self.publish();
            Ok(())
        })
    }

    fn watch(&self) -> BoxStream<'static, ()> {
        let receiver = self.shared.announced.subscribe();
        stream::unfold(receiver, |mut receiver| async {
            receiver.changed().await.ok()?;
            Some(((), receiver))
        })
        .boxed()
    }
}

fn no_pointer() -> GatewayError {
    GatewayError::new(
        GatewayErrorKind::Unsupported,
        "a memory remote has no pointer for JavaScript",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use firebrick_core::cid::Codec;

    use super::*;
    use crate::env::sim::{Executor, check_replay};
    use crate::gateway::conformance;

    const LIMIT: Duration = Duration::from_secs(1000);

    #[test]
    fn conforms() {
        for (seed, remote) in [
            (1, MemoryRemote::unnamed()),
            (2, MemoryRemote::unnamed().with_pointer()),
        ] {
            let counters = check_replay(seed, |executor: &Executor| {
                remote.clear();
                remote.reset_counters();
                let env = executor.process("suite");
                let suite = conformance::check(&env, || Arc::new(remote.clone()));
                executor.run_until(suite, LIMIT).unwrap().unwrap();
                remote.counters()
            });
            let counters = counters.unwrap();
            assert_eq!(counters.puts, 6 + 1 + 80);
            assert_eq!(counters.duplicate_puts, 3);
        }
    }

    #[tokio::test]
    async fn is_found_by_name_and_forgets() {
        let name = "is_found_by_name_and_forgets";
        let (a, b) = (MemoryRemote::named(name), MemoryRemote::named(name));
        let cid = Cid::of(Codec::Car, b"x");
        a.put_car(&cid, Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(b.get_car(&cid).await.unwrap().unwrap(), "x");
        assert!(b.corrupt_car(&cid, |bytes| bytes.push(1)));
        assert_eq!(a.get_car(&cid).await.unwrap().unwrap(), "x\u{1}");
        let backup = a.backup();
        assert!(a.remove_car(&cid));
        assert!(!a.remove_car(&cid));
        assert_eq!(b.get_car(&cid).await.unwrap(), None);
        b.restore(&backup);
        assert_eq!(a.dump_cars().len(), 1);
        let (gets, misses) = (a.counters().gets, a.counters().misses);
        assert_eq!((gets, misses), (3, 1));
        a.clear();
        assert_eq!(b.dump_cars(), []);
        MemoryRemote::forget(name);
        a.put_car(&cid, Bytes::new()).await.unwrap();
        assert_eq!(MemoryRemote::named(name).dump_cars(), []);
    }
}
