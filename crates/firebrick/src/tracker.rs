//! The peer tracker: one task per attached remote, which knows what the remote has and what it
//! lacks, and closes the gap in both directions.
//!
//! What a remote lacks is never a list that could get lost: it is the difference between the local
//! head and the heads that the remote was seen to hold. So a write that was acknowledged here
//! reaches every attached remote after any crash and any time offline.
//!
//! [`task`] is the loop; a round of it lists the slots, [pulls](pull), [pushes](push) and tidies.

mod attachment;
mod cars;
mod complete;
mod files;
mod groups;
mod holders;
mod pull;
mod push;
mod reclaim;
mod record;
mod remote;
mod roots;
mod status;
mod task;
mod timed;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use firebrick_core::Cid;
use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::cloud::KeyText;

use tokio::sync::{Notify, watch};

pub use self::attachment::{Attachment, CloseReport, DetachReport, Receipt};
pub use self::remote::{Join, Remote};
pub use self::status::{FileStatus, Missing, MissingFile, Pending, RemoteStatus, State, Traffic};

pub(crate) use self::timed::Timed;

pub(crate) use self::record::stored_lists;

use self::record::{RECORDS, Record, record_key};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::gateway::{Gateway, GatewayError, KeyExchange};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::lock;

/// How long `close` and `detach` wait for what is still to be pushed.
const FLUSH: Duration = Duration::from_secs(5);

/// What a task and its handles share.
struct Shared {
    name: String,
    url: String,
    env: Arc<dyn Env>,
    status: watch::Sender<RemoteStatus>,
    /// Rounds that were asked for, by number.
    asked: AtomicU64,
    /// How the last round ended.
    rounds: watch::Sender<Round>,
    /// Heads that the remote holds, as of the last round that went well.
    acked: watch::Sender<Vec<Cid>>,
    /// The error behind [`State::Failed`], if a gateway gave it.
    failure: Mutex<Option<GatewayError>>,
    wake: Arc<Notify>,
    /// Contents of files are fetched without being asked for.
    prefetch: bool,
    /// About to stop: what is left behind is to be readable for everybody.
    leaving: AtomicBool,
    stop: watch::Sender<Stop>,
    ledger: Weak<Ledger>,
    ended: watch::Sender<bool>,
    saving: Arc<Mutex<()>>,
}

/// What a task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Run,
    /// Stop after the round that is under way.
    Soon,
    /// Stop at once, whatever the remote does.
    Now,
}

/// The end of a round.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// What was asked for before it began.
    asked: u64,
    /// All was pushed, and every head of the listing is applied.
    clean: bool,
}

impl Shared {
    /// Held from reading a remote's record to writing it back.
    fn saving(&self) -> MutexGuard<'_, ()> {
        lock::lock(&self.saving)
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow() > Stop::Run
    }

    fn stop(&self, how: Stop) {
        self.stop.send_modify(|stop| *stop = how.max(*stop));
    }

    /// Ends when the task is told to stop like this, or harder.
    async fn stopped(&self, how: Stop) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self.stop.subscribe().wait_for(|stop| *stop >= how).await;
    }

    /// Local events that the remote is not known to hold. Those that only join others do not
    /// count: every replica makes them by itself.
    fn lacking(&self) -> usize {
        let Some(ledger) = self.ledger.upgrade() else {
            return 0;
        };
        let (head, acked) = (ledger.snapshot().head.clone(), self.acked.borrow().clone());
        let Ok(events) = clock::difference(&ledger.source, &head, &acked) else {
            return 1;
        };
        let says_something = |cid: &&Cid| {
            let event = ledger.source.event(cid);
            event.map_or(true, |event| event.puts().next().is_some())
        };
        events.iter().filter(says_something).count()
    }

    /// Whether the remote is known to hold these events.
    fn holds(&self, events: &[Cid]) -> Result<bool> {
        let acked = self.acked.borrow().clone();
        if events.iter().all(|event| acked.contains(event)) {
            return Ok(true);
        }
        let Some(ledger) = self.ledger.upgrade() else {
            return Err(Error::Closed);
        };
        for event in events {
            if !clock::contains(&ledger.source, &acked, event)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The attached remotes of a database.
pub(crate) struct Trackers {
    ledger: Arc<Ledger>,
    attached: Mutex<Vec<Attachment>>,
    /// Held from reading a remote's record to writing it back: its task and the callers of
    /// [`Self::forget`] both do that.
    saving: Arc<Mutex<()>>,
}

impl Trackers {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        ledger.keep_alive(Arc::new(roots::RemoteRoots));
        Self {
            ledger: Arc::clone(ledger),
            attached: Mutex::default(),
            saving: Arc::default(),
        }
    }

    fn saving(&self) -> MutexGuard<'_, ()> {
        lock::lock(&self.saving)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attachment>> {
        lock::lock(&self.attached)
    }

    pub(crate) fn all(&self) -> Vec<Attachment> {
        let mut attached = self.lock();
        attached.retain(|attachment| !attachment.is_detached());
        attached.clone()
    }

    /// Starts the task of a remote, unless it runs already.
    pub(crate) fn attach(&self, remote: &Remote) -> Result<Attachment> {
        let gateway = remote.connect(&self.ledger.env)?;
        let url = gateway.url().to_owned();
        let mut attached = self.lock();
        attached.retain(|attachment| !attachment.shared().stopping());
        if let Some(known) = attached.iter().find(|attachment| attachment.url() == url) {
            if remote.remember {
                self.remember(known.name(), true)?;
            }
            return Ok(known.clone());
        }
        let name = remote.name.clone().unwrap_or_else(|| url.clone());
        if attached.iter().any(|attachment| attachment.name() == name) {
            return Err(Error::Config(format!(
                "another remote is attached under the name {name:?}; give this one a name of its own"
            )));
        }
        let attachment = self.start(&name, &url, gateway, remote)?;
        attached.push(attachment.clone());
        Ok(attachment)
    }

    fn start(
        &self,
        name: &str,
        url: &str,
        gateway: Arc<dyn Gateway>,
        remote: &Remote,
    ) -> Result<Attachment> {
        let _saving = self.saving();
        let mut record = self
            .record(name)?
            .filter(|record| record.url == url)
            .unwrap_or_default();
        record.url = url.to_owned();
        record.remembered |= remote.remember;
        record.merge |= remote.join == Join::Merge;
        record.prefetch = remote.prefetch;
        let mut status = RemoteStatus::new(name.to_owned(), url.to_owned());
        let exchange = LedgerKeys(Arc::downgrade(&self.ledger));
        status.shares_keys = gateway.share_keys(Arc::new(exchange));
        if status.shares_keys {
            tracing::warn!(remote = %name, "the keys of the ledger are given to this remote; whoever runs it can read everything");
        }
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            url: url.to_owned(),
            env: Arc::clone(&self.ledger.env),
            status: watch::Sender::new(status),
            asked: AtomicU64::new(0),
            rounds: watch::Sender::new(Round::default()),
            acked: watch::Sender::new(record.acked.clone()),
            failure: Mutex::default(),
            wake: Arc::new(Notify::new()),
            prefetch: remote.prefetch,
            leaving: AtomicBool::new(false),
            stop: watch::Sender::new(Stop::Run),
            ledger: Arc::downgrade(&self.ledger),
            ended: watch::Sender::new(false),
            saving: Arc::clone(&self.saving),
        });
        let task = task::Task::new(
            Arc::clone(&self.ledger),
            gateway,
            Arc::clone(&shared),
            record,
        )?;
        self.ledger
            .env
            .spawn(&format!("sync {name}"), Box::pin(task.run()));
        Ok(Attachment::new(shared))
    }

    fn record(&self, name: &str) -> Result<Option<Record>> {
        let bytes = self.ledger.store().kv(&record_key(name));
        bytes
            .map(|bytes| Record::decode(&bytes))
            .transpose()
            .map_err(|error| malformed(&error))
    }

    /// Attaches what earlier openings were told to remember.
    pub(crate) fn attach_remembered(&self) -> Result<()> {
        for (name, record) in self.records() {
            let join = if record.merge {
                Join::Merge
            } else {
                Join::Refuse
            };
            let remote = Remote::url(&record.url)?
                .name(name)
                .remember(true)
                .prefetch_files(record.prefetch)
                .join(join);
            self.attach(&remote)?;
        }
        Ok(())
    }

    fn records(&self) -> Vec<(String, Record)> {
        let stored = self.ledger.store().kv_prefix(RECORDS);
        let records = stored.into_iter().filter_map(|(key, bytes)| {
            Some((
                key.strip_prefix(RECORDS)?.to_owned(),
                Record::decode(&bytes).ok()?,
            ))
        });
        records.filter(|(_, record)| record.remembered).collect()
    }

    pub(crate) fn remembered(&self) -> Vec<(String, String)> {
        self.records()
            .into_iter()
            .map(|(name, record)| (name, record.url))
            .collect()
    }

    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        self.remember(name, false)
    }

    fn remember(&self, name: &str, remembered: bool) -> Result<()> {
        let _saving = self.saving();
        let mut record = self
            .record(name)?
            .filter(|record| record.remembered || remembered)
            .ok_or_else(|| Error::NoRemote(name.to_owned()))?;
        if record.remembered == remembered {
            return Ok(());
        }
        record.remembered = remembered;
        let bytes = record.encode().map_err(|error| malformed(&error))?;
        self.ledger.record(&[(record_key(name), Some(bytes))])
    }

    /// Pushes what can be pushed within some seconds, then stops every task.
    pub(crate) async fn close(&self) -> CloseReport {
        let attachments = self.all();
        let flushes = attachments.iter().map(Attachment::detach);
        let reports = futures_util::future::join_all(flushes).await;
        let left = reports
            .into_iter()
            .filter(|report| report.unpushed > 0)
            .map(|report| (report.remote, report.unpushed));
        self.lock().clear();
        CloseReport {
            unpushed: left.collect(),
        }
    }

    /// Tells every task to stop: the last handle of a database takes its tasks along.
    pub(crate) fn stop(&self) {
        for attachment in self.lock().drain(..) {
            attachment.shared().stop(Stop::Now);
        }
    }

    /// Stops every task at once.
    pub(crate) async fn abort(&self) {
        for attachment in self.all() {
            attachment.end(Stop::Now).await;
        }
    }
}

/// The keys of the ledger, for a remote to which they may be given.
struct LedgerKeys(Weak<Ledger>);

impl KeyExchange for LedgerKeys {
    fn keys(&self) -> Vec<KeyText> {
        let ledger = self.0.upgrade();
        ledger.map_or_else(Vec::new, |ledger| ledger.keys.shared())
    }

    fn learn(&self, keys: &[KeyText]) {
        let Some(ledger) = self.0.upgrade() else {
            return;
        };
        let keys: Vec<_> = keys.iter().filter_map(|key| key.key().ok()).collect();
        if let Err(error) = Keys::new(&ledger).learn(&keys) {
            tracing::warn!(%error, "keys that came from a remote were not kept");
        }
    }
}

fn malformed(error: &firebrick_core::cbor::CborError) -> Error {
    Error::Malformed {
        what: "record of a remote",
        cause: error.to_string(),
    }
}
