//! The ledger: one Merkle CRDT in one local store, with one writer and any number of readers.
//!
//! The path of a write is [`commit`]; the path of what a remote sent is [`apply`]; both end in
//! [`publish`](Ledger::publish), the only place from which anyone hears of a change.

mod ages;
mod ahead;
mod apply;
mod commit;
mod compact;
mod condition;
mod live;
mod origin;
mod put;
mod recover;
mod source;
mod version;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::merge::Resolver;
use firebrick_core::pail::Tree;
use tokio::sync::{broadcast, watch};

pub(crate) use self::ahead::Ahead;
pub(crate) use self::commit::Pipeline;
pub(crate) use self::condition::{Conditions, present};
pub(crate) use self::live::{Live, LiveRoots, is_waiting_event};
pub(crate) use self::put::Put;
pub use self::put::Written;
pub(crate) use self::source::{Source, missing_document};
use crate::compaction::Retention;
use crate::env::{self, Env};
use crate::error::{Error, Result};
use crate::files::Exchange;
use crate::index::{IndexRoots, IndexSet, Indexes};
use crate::keys::KeyRing;
use crate::lock;
use crate::store::Store;
use crate::subscribe::{Origin, Published};

/// An immutable version of the ledger: whoever holds it reads from it, whatever is written later.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The newest events, sorted by text.
    pub(crate) head: Vec<Cid>,
    /// The documents at that head.
    pub(crate) tree: Tree,
    /// How many times the head moved since the database was opened.
    pub(crate) sequence: u64,
    /// The indexes of these documents that were up to date when it was made.
    pub(crate) indexes: IndexSet,
}

/// What only the one writer touches.
struct Writer {
    head: Vec<Cid>,
    tree: Tree,
    sequence: u64,
    /// Commits since every shard was last in the store.
    since_checkpoint: u64,
    resolver: Resolver,
    /// The indexes that follow every commit; they reflect `tree`.
    indexes: IndexSet,
}

/// How many published changes a subscriber may lag behind before it is told so.
const SUBSCRIBER_BACKLOG: usize = 256;

/// The shared state behind every handle.
pub(crate) struct Ledger {
    pub(crate) name: String,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) source: Source,
    pub(crate) keys: KeyRing,
    pub(crate) read_only: bool,
    pub(crate) pipeline: Pipeline,
    /// Held by a transaction that tries again, so that those which lost go one after the other.
    pub(crate) turn: tokio::sync::Mutex<()>,
    origins: Mutex<Option<Vec<String>>>,
    pub(crate) indexes: Indexes,
    /// Where contents of files come from that are not here.
    pub(crate) files: Exchange,
    writer: Mutex<Writer>,
    snapshot: RwLock<Arc<Snapshot>>,
    moved: watch::Sender<u64>,
    /// Gone once the database is closed, so that every subscription ends.
    published: RwLock<Option<broadcast::Sender<Arc<Published>>>>,
    closed: AtomicBool,
    pub(crate) retention: Retention,
    /// Bytes to give back from which on that happens by itself.
    auto_compact: Option<u64>,
    live_roots: RwLock<Vec<Arc<dyn LiveRoots>>>,
    /// Earlier versions that somebody may still read.
    held: Mutex<Vec<Weak<Snapshot>>>,
    /// A compaction runs: a block that is here may be on its way out.
    reclaiming: RwLock<bool>,
    compaction: Mutex<()>,
    next_mark_ms: AtomicU64,
}

/// What a ledger is opened with.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: KeyRing,
    pub(crate) read_only: bool,
    pub(crate) memory: usize,
    pub(crate) pipeline: Pipeline,
    pub(crate) indexes: Vec<crate::Index>,
    pub(crate) retention: Retention,
    pub(crate) auto_compact: Option<u64>,
}

impl Ledger {
    /// Reads the head and what was committed after the last checkpoint; never the data.
    pub(crate) fn open(parts: Parts) -> Result<Arc<Self>> {
        let source = Source::new(Arc::clone(&parts.store), parts.memory);
        let mut resolver = Resolver::new(resolver_limits(parts.memory));
        let (head, tree) = recover::recover(&source, &mut resolver)?;
        let since_checkpoint = u64::from(tree.unsaved_bytes() > 0);
        let snapshot = Arc::new(Snapshot {
            head: head.clone(),
            tree: tree.clone(),
            sequence: 0,
            indexes: IndexSet::default(),
        });
        let ledger = Arc::new(Self {
            name: parts.name,
            env: parts.env,
            source,
            keys: parts.keys,
            read_only: parts.read_only,
            pipeline: parts.pipeline,
            turn: tokio::sync::Mutex::default(),
            origins: Mutex::default(),
            indexes: Indexes::load(parts.indexes, &parts.store)?,
            files: Exchange::default(),
            writer: Mutex::new(Writer {
                head,
                tree,
                sequence: 0,
                since_checkpoint,
                resolver,
                indexes: IndexSet::default(),
            }),
            snapshot: RwLock::new(snapshot),
            moved: watch::Sender::new(0),
            published: RwLock::new(Some(broadcast::Sender::new(SUBSCRIBER_BACKLOG))),
            closed: AtomicBool::new(false),
            retention: parts.retention,
            auto_compact: parts.auto_compact,
            live_roots: RwLock::default(),
            held: Mutex::default(),
            reclaiming: RwLock::new(false),
            compaction: Mutex::default(),
            next_mark_ms: AtomicU64::new(0),
        });
        ledger.keep_alive(Arc::new(IndexRoots::default()));
        ledger.pipeline.start(&ledger);
        ledger.start_indexes();
        Ok(ledger)
    }

    /// The newest published version.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock::read(&self.snapshot))
    }

    /// The writer's version, which may be ahead of the published one by what is not synced yet.
    pub(crate) fn newest(&self) -> Arc<Snapshot> {
        self.as_writer(|writer| self.snapshot_of(writer))
    }

    /// The block of a document's present version; `None` if there is none.
    pub(crate) fn document(&self, id: &str) -> Result<Option<Bytes>> {
        self.ensure_open()?;
        match self.link(&self.snapshot(), id)? {
            Some(cid) => self.read(id, cid).map(Some),
            None => Ok(None),
        }
    }

    /// The link of a document in this version, also that of a tombstone.
    pub(crate) fn link(&self, snapshot: &Snapshot, id: &str) -> Result<Option<Cid>> {
        let link = snapshot.tree.get(&self.source, id);
        link.map_err(|error| self.noted(error.into()))
    }

    /// The block of a document that a version links to, so that it belongs here.
    pub(crate) fn read(&self, id: &str, cid: Cid) -> Result<Bytes> {
        match self.source.document(&cid) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(self.noted(self.absent(cid, id)?)),
            Err(error) => Err(self.noted(error.into())),
        }
    }

    /// The error for a document that is not here.
    fn absent(&self, cid: Cid, id: &str) -> Result<Error> {
        match self.was_compacted() {
            true => self.absent_version(&self.snapshot(), id, cid),
            false => Ok(missing_document(cid, id)),
        }
    }

    /// If the error is about a block that cannot be read, a remote is asked for it.
    pub(crate) fn noted(&self, error: Error) -> Error {
        self.source.note_unreadable(&error);
        error
    }

    /// Runs what reads, computes or writes for long, away from the tasks.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        env::blocking(&*self.env, job)
            .await
            .map_err(|_| Error::Closed)?
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.source.store()
    }

    /// Wakes whenever the head has moved.
    pub(crate) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// The steps from now on; `None` after the database was closed.
    pub(crate) fn published(&self) -> Option<broadcast::Receiver<Arc<Published>>> {
        let published = lock::read(&self.published);
        published.as_ref().map(broadcast::Sender::subscribe)
    }

    pub(crate) fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn ensure_writable(&self) -> Result<()> {
        self.ensure_open()?;
        if self.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        lock::lock(&self.writer)
    }

    /// Makes a version visible: to readers, to subscribers, to the trackers. Every change of the
    /// head, local or remote, passes here.
    fn publish(&self, snapshot: &Arc<Snapshot>, origin: Origin) {
        let mut current = lock::write(&self.snapshot);
        if snapshot.sequence <= current.sequence {
            return;
        }
        let before = std::mem::replace(&mut *current, Arc::clone(snapshot));
        self.hold(&before);
        let published = lock::read(&self.published);
        if let Some(published) = published
            .as_ref()
            .filter(|published| published.receiver_count() > 0)
        {
            // Fails only when the last subscriber has just gone.
            let _ = published.send(Arc::new(Published {
                before,
                after: Arc::clone(snapshot),
                origin,
            }));
        }
        drop(current);
        self.moved.send_replace(snapshot.sequence);
    }

    /// Gives the newest version an index that was not there when it was published.
    fn publish_indexes(&self, sequence: u64, indexes: &IndexSet) {
        let mut current = lock::write(&self.snapshot);
        if current.sequence == sequence {
            let with_indexes = Arc::new(Snapshot {
                indexes: Arc::clone(indexes),
                ..(**current).clone()
            });
            let before = std::mem::replace(&mut *current, with_indexes);
            self.hold(&before);
        }
    }

    /// Refuses what comes, lets the pipeline finish what was accepted, saves what is only in
    /// memory, and gives the store up.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.pipeline.stop(self);
        *lock::write(&self.published) = None;
        let result = if self.read_only {
            Ok(())
        } else {
            self.saved_snapshot().map(drop)
        };
        self.store().close()?;
        result
    }

    /// What dropping the last handle of a database does that was not closed: everything that was
    /// accepted goes to the disk, and the directory can be opened again at once, although tasks
    /// and threads that are about to end still hold the ledger. In a simulation nothing is done: a
    /// crash drops the handle too.
    pub(crate) fn abandon(&self) {
        if self.pipeline.is_threaded()
            && let Err(error) = self.close()
        {
            tracing::warn!(%error, "a database that was dropped without being closed");
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("name", &self.name)
            .field("head", &self.snapshot().head)
            .finish_non_exhaustive()
    }
}

/// The resolver keeps the history between heads and their ancestor, as long as that is small.
fn resolver_limits(memory: usize) -> firebrick_core::merge::Limits {
    firebrick_core::merge::Limits {
        memo_bytes: memory,
        ..Default::default()
    }
}
