//! `file:///path`: a folder in which replicas meet, also one that Fireproof keeps a ledger in.
//!
//! The layout is the format's (§11), plus one file per writer in `meta/heads`:
//!
//! ```text
//! data/version   data/<CID>.car   data/<CID>        CARs, file CARs
//! meta/version   meta/main.json                     what JavaScript reads and writes
//! meta/heads/<slot>                                 what Firebrick's writers announce
//! ```
//!
//! Any number of processes and machines may use the folder at once, and a file-sync tool may
//! replicate it. So every file is written under a temporary name and renamed when it is complete;
//! names that mean nothing here are ignored; a copy of a slot that such a tool makes on a conflict
//! is read as one more slot.
//!
//! # Durability
//!
//! CARs are written without a sync. [`Gateway::announce`] and [`Gateway::write_pointer`] first sync
//! what this gateway has put and not yet synced, then write the slot or pointer durably: a slot
//! never survives a power loss that a CAR named by it doesn't survive. Syncing each CAR as it is
//! written costs as much (0.35 ms each on ext4), but then the caller waits for the disk between two
//! CARs.

mod files;
mod layout;
mod listing;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::Cid;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use self::files::Sync;
use self::layout::Layout;
use super::announcement::{Announcement, SlotId, check_slot_id, is_json};
use super::error::{GatewayError, GatewayErrorKind};
use super::url::Place;
use super::{Capabilities, CarEntry, Gateway, GatewayResult};
use crate::env::{Env, blocking};
use crate::lock::lock;

/// Reads of a half-written `main.json` before it is taken as it is. JavaScript doesn't replace the
/// file at once.
const POINTER_TRIES: u32 = 5;

/// How long a writer gets to finish `main.json`.
const POINTER_PAUSE: Duration = Duration::from_millis(4);

/// How often a folder is looked at for changes.
///
/// ```
/// use std::time::Duration;
/// use firebrick::gateway::PollInterval;
/// // For a network share, where looking is expensive.
/// let rarely = PollInterval { busy: Duration::from_secs(2), idle: Duration::from_secs(30) };
/// assert!(rarely.busy > PollInterval::default().busy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollInterval {
    /// While something happens.
    pub busy: Duration,
    /// After a while without changes.
    pub idle: Duration,
}

impl Default for PollInterval {
    fn default() -> Self {
        Self {
            busy: Duration::from_millis(50),
            idle: Duration::from_secs(1),
        }
    }
}

/// A folder as a remote. Clones share what they know of it.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::gateway::{Announcement, Gateway, GatewayError, GatewayErrorKind, MemoryRemote};
/// use firebrick::{env::RealEnv, gateway::FolderGateway};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let remote = MemoryRemote::unnamed();
/// # let car = bytes::Bytes::from("the bytes of a CAR");
/// # let cid = Cid::of(Codec::Car, &car);
/// # let slot = "a1".repeat(16);
/// let remote = FolderGateway::new(dir.path(), std::sync::Arc::new(RealEnv::new()));
/// remote.prepare().await?;
/// remote.put_car(&cid, car).await?;
/// assert!(dir.path().join(format!("data/{cid}.car")).exists());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct FolderGateway {
    url: Arc<str>,
    env: Arc<dyn Env>,
    poll: PollInterval,
    folder: Arc<Folder>,
}

/// The blocking half. Its methods run on threads that may wait for disks.
struct Folder {
    layout: Layout,
    env: Arc<dyn Env>,
    /// Why the folder can't be written, if it can't.
    read_only: Mutex<Option<GatewayError>>,
    /// CARs that were put and not yet synced.
    unsynced: Mutex<BTreeMap<PathBuf, Sync>>,
    /// Slots that were seen, as some file systems' listings skip a file that is being replaced.
    seen_slots: Mutex<BTreeSet<String>>,
    /// The pointer as this gateway last wrote it.
    pointer_written: Mutex<Option<Bytes>>,
}

impl FolderGateway {
    /// The gateway of the folder at `path`. Nothing is touched before [`Gateway::prepare`].
    ///
    /// ```
    /// use firebrick::{env::RealEnv, gateway::{FolderGateway, Gateway}};
    /// let path = std::path::Path::new("/mnt/hub");
    /// let remote = FolderGateway::new(path, std::sync::Arc::new(RealEnv::new()));
    /// assert_eq!(remote.url(), "file:///mnt/hub");
    /// ```
    #[must_use]
    pub fn new(path: &Path, env: Arc<dyn Env>) -> Self {
        Self {
            url: Place::Folder(path.to_owned()).url().into(),
            env: Arc::clone(&env),
            poll: PollInterval::default(),
            folder: Arc::new(Folder {
                layout: Layout::new(path),
                env,
                read_only: Mutex::default(),
                unsynced: Mutex::default(),
                seen_slots: Mutex::default(),
                pointer_written: Mutex::default(),
            }),
        }
    }

    /// Changes how often [`Gateway::watch`] looks for changes.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// use std::{sync::Arc, time::Duration};
    /// use firebrick::{env::RealEnv, gateway::{FolderGateway, PollInterval}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::memory("example").await?;
    /// let rarely = PollInterval { busy: Duration::from_secs(2), idle: Duration::from_secs(30) };
    /// let share = FolderGateway::new(dir.path(), Arc::new(RealEnv::new()));
    /// let share = share.with_poll_interval(rarely);
    /// db.attach(Remote::gateway(Arc::new(share)))?.synced().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn with_poll_interval(mut self, poll: PollInterval) -> Self {
        self.poll = poll;
        self
    }

    /// Runs a job of the blocking half.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Folder) -> GatewayResult<T> + Send + 'static,
    ) -> GatewayResult<T> {
        let folder = Arc::clone(&self.folder);
        let result = blocking(&*self.env, move || job(&folder)).await;
        result.unwrap_or_else(|lost| {
            let message = format!("{}: {lost}", self.url);
            Err(GatewayError::new(GatewayErrorKind::Unavailable, message).with_source(lost))
        })
    }

    /// Reads `main.json`, and waits a little for a writer that is in the middle of it.
    async fn whole_pointer(&self) -> GatewayResult<Option<Bytes>> {
        let mut pointer = self.run(Folder::read_pointer).await?;
        for _ in 1..POINTER_TRIES {
            if pointer.as_ref().is_none_or(|bytes| is_json(bytes)) {
                break;
            }
            self.env.sleep(POINTER_PAUSE).await;
            pointer = self.run(Folder::read_pointer).await?;
        }
        Ok(pointer)
    }
}

impl fmt::Debug for FolderGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FolderGateway").field(&self.url).finish()
    }
}

impl Folder {
    fn put(&self, name: &str, bytes: &[u8]) -> GatewayResult<()> {
        let path = self.layout.data.join(name);
        if !files::holds(&path, bytes) {
            self.replace(&path, bytes, Sync::Later)?;
        }
        // Also if it was there: whoever wrote it may have died before syncing it.
        lock(&self.unsynced).insert(path, Sync::Later);
        Ok(())
    }

    fn get(&self, name: &str) -> GatewayResult<Option<Bytes>> {
        let path = self.layout.data.join(name);
        let bytes = self.read(&path, layout::MAX_CAR_BYTES)?;
        if bytes.is_none() && !self.layout.data.is_dir() {
            return Err(self.gone());
        }
        Ok(bytes)
    }

    fn announce(&self, slot: &str, bytes: &[u8]) -> GatewayResult<()> {
        // The order is the point: first what the slot names, then the slot.
        self.sync_cars()?;
        self.replace(&self.layout.heads.join(slot), bytes, Sync::Now)?;
        lock(&self.seen_slots).insert(slot.to_owned());
        Ok(())
    }

    fn write_pointer(&self, bytes: Bytes) -> GatewayResult<()> {
        self.sync_cars()?;
        self.forget_index();
        self.replace(&self.layout.pointer, &bytes, Sync::Now)?;
        *lock(&self.pointer_written) = Some(bytes);
        Ok(())
    }

    /// Makes JavaScript build its indexes again. It would bring one that is of an older head up to
    /// date by adding to it, and then answer with rows of documents that were changed or deleted
    /// since. The index is only a cache; its trees stay where they are.
    fn forget_index(&self) {
        let index = &self.layout.index_pointer;
        if lock(&self.read_only).is_none()
            && index.exists()
            && let Err(error) = self.remove(index)
        {
            tracing::warn!(%error, "JavaScript may answer queries with rows that are gone");
        }
    }

    /// Whether the pointer was written after JavaScript last wrote its indexes.
    fn index_is_older(&self) -> bool {
        let written = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
        let (index, pointer) = (&self.layout.index_pointer, &self.layout.pointer);
        written(index).is_some_and(|index| written(pointer).is_some_and(|time| index <= time))
    }

    fn read_pointer(&self) -> GatewayResult<Option<Bytes>> {
        let pointer = self.read(&self.layout.pointer, layout::MAX_META_BYTES)?;
        if pointer.is_none() && !self.layout.meta.is_dir() {
            return Err(self.gone());
        }
        // Beside our pointer, the index may be by a process that knows only what was there before.
        let ours = pointer.is_some() && pointer == *lock(&self.pointer_written);
        if ours || self.index_is_older() {
            self.forget_index();
        }
        Ok(pointer)
    }
}

impl Gateway for FolderGateway {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Capabilities {
        let write = lock(&self.folder.read_only).is_none();
        Capabilities {
            write,
            notify: true,
            list: true,
            delete: write,
            shared_pointer: true,
            javascript: true,
            remove_slots: true,
        }
    }

    fn prepare(&self) -> BoxFuture<'_, GatewayResult<()>> {
        Box::pin(self.run(Folder::prepare))
    }

    fn put_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        let name = layout::car_name(cid, false);
        Box::pin(self.run(move |folder| folder.put(&name, &bytes)))
    }

    fn put_file_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        let name = layout::car_name(cid, true);
        Box::pin(self.run(move |folder| folder.put(&name, &bytes)))
    }

    fn get_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        let name = layout::car_name(cid, false);
        Box::pin(self.run(move |folder| folder.get(&name)))
    }

    fn get_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        let name = layout::car_name(cid, true);
        Box::pin(self.run(move |folder| folder.get(&name)))
    }

    fn delete_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        let name = layout::car_name(cid, false);
        Box::pin(self.run(move |folder| folder.remove(&folder.layout.data.join(name))))
    }

    fn delete_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        let name = layout::car_name(cid, true);
        Box::pin(self.run(move |folder| folder.remove(&folder.layout.data.join(name))))
    }

    fn list_cars(&self) -> BoxFuture<'_, GatewayResult<Option<Vec<CarEntry>>>> {
        Box::pin(self.run(|folder| folder.list_cars().map(Some)))
    }

    fn announce<'a>(
        &'a self,
        slot: &'a SlotId,
        announcement: &'a Announcement,
    ) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move {
            check_slot_id(slot)?;
            let (slot, bytes) = (slot.clone(), announcement.to_bytes()?);
            self.run(move |folder| folder.announce(&slot, &bytes)).await
        })
    }

    fn slots(&self) -> BoxFuture<'_, GatewayResult<Vec<(SlotId, Announcement)>>> {
        Box::pin(async {
            let pointer = self.whole_pointer().await?;
            let slots = self.run(Folder::list_slots).await?;
            Ok(listing::with_pointer(slots, pointer))
        })
    }

    fn remove_slot<'a>(&'a self, slot: &'a SlotId) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move {
            if !layout::is_slot_name(slot) {
                return check_slot_id(slot);
            }
            let slot = slot.clone();
            self.run(move |folder| folder.remove(&folder.layout.heads.join(slot)))
                .await
        })
    }

    fn read_pointer(&self) -> BoxFuture<'_, GatewayResult<Option<Bytes>>> {
        Box::pin(self.whole_pointer())
    }

    fn write_pointer(&self, bytes: Bytes) -> BoxFuture<'_, GatewayResult<()>> {
        Box::pin(self.run(move |folder| folder.write_pointer(bytes)))
    }

    fn watch(&self) -> BoxStream<'static, ()> {
        watch::hints(Arc::clone(&self.folder), Arc::clone(&self.env), self.poll)
    }
}
