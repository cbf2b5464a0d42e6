//! The loop of one remote: a round, then waiting for a reason for the next.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use firebrick_core::Cid;
use firebrick_core::clock;
use firebrick_core::header::CarHeader;
use futures_util::future::{Either, FutureExt as _, select, select_all};
use futures_util::stream::{BoxStream, StreamExt as _};
use hashbrown::{HashMap, HashSet};

use super::cars::{Trouble, TroubleKind};
use super::files::FileWork;
use super::pull::{Listing, Pulled};
use super::record::{CarRecord, Record, car_prefix, record_key};
use super::status::{Missing, Pending, State};
use super::timed::Timed;
use super::{Round, Shared, Stop, malformed};
use crate::env::backoff;
use crate::error::{Error, Result};
use crate::files::Peer;
use crate::gateway::{Gateway, GatewayError, GatewayErrorKind};
use crate::ledger::Ledger;
use crate::lock;

/// A look at the remote even if nothing hints at a change.
const LOOK_EVERY: Duration = Duration::from_secs(20);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long several heads stay before they are pinned by a merge event, plus as much at random:
/// whoever is first saves the others the work.
const QUIET: Duration = Duration::from_millis(150);
/// How long a slot stays after another one was seen to say more.
const SLOT_GRACE: Duration = Duration::from_secs(30);
/// Attempts at reading a CAR that no header lists before it is left alone: some three seconds.
const HALF_WRITTEN_TRIES: u32 = 6;
/// How often slots are compared.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How much later a CAR that somebody cannot read, and that is fine, is looked at again.
pub(super) const LOOK_AGAIN_AT_WHOLE: Duration = Duration::from_secs(55);
/// A CAR is not restored again sooner than this.
pub(super) const RESTORE_AGAIN: Duration = Duration::from_secs(5);

/// Counters of the present run of rounds, for the status.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) pushed: u64,
    pub(super) to_push: u64,
    pub(super) pulled: u64,
    pub(super) to_pull: u64,
    pub(super) bytes: u64,
}

/// The tracker of one remote.
pub(super) struct Task {
    pub(super) ledger: Arc<Ledger>,
    pub(super) gateway: Timed,
    pub(super) shared: Arc<Shared>,
    pub(super) record: Record,
    /// CARs of the remote whose blocks are here.
    pub(super) cars: HashMap<Cid, CarRecord>,
    pub(super) headers: HashMap<Cid, Arc<CarHeader>>,
    pub(super) troubles: HashMap<Cid, Trouble>,
    /// Groups whose headers were read into the list of live groups.
    pub(super) learned: HashSet<Cid>,
    /// Events known to be in the past of the local head.
    pub(super) applied: HashSet<Cid>,
    pub(super) missing: Vec<Missing>,
    pub(super) files: FileWork,
    /// This writer's slot: an id drawn at this opening, so that a copied store never shares it.
    pub(super) slot: String,
    /// Differs between writers, so that not all tidy up at the same moment.
    pub(super) patience: usize,
    pub(super) progress: Progress,
    pub(super) last_error: Option<String>,
    pub(super) wants_told: Vec<Cid>,
    /// The CARs that should be at the remote were looked for in this run.
    pub(super) audited: bool,
    pub(super) restored: HashMap<Cid, Duration>,
    /// CARs that hold blocks which were lost here, and that have not been read again yet.
    pub(super) healing: Vec<Cid>,
    /// The lost blocks that were looked for.
    pub(super) looked_for: HashSet<Cid>,
    /// The head that we last made the shared pointer show, and by which CAR.
    pub(super) pointed: Option<Vec<Cid>>,
    pub(super) pointed_at: Option<Cid>,
    /// The head for which JavaScript's walk of changes was last seen to find its documents.
    pub(super) walked: Option<Vec<Cid>>,
    /// Slots that say less than others, and since when.
    dominated: HashMap<String, Duration>,
    /// The CARs of the last listing, where JavaScript may have deleted some.
    pub(super) there: HashSet<Cid>,
    /// CARs without a slot whose head is applied.
    orphans_seen: HashSet<Cid>,
    tidied: Duration,
    /// When replaced CARs were looked through.
    pub(super) swept: Duration,
    prepared: bool,
    offline_since_ms: Option<u64>,
    failures: u32,
    /// Since when the head has been what it is.
    quiet_since: (Vec<Cid>, Duration),
}

impl Task {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        gateway: Arc<dyn Gateway>,
        shared: Arc<Shared>,
        record: Record,
    ) -> Result<Self> {
        let prefix = car_prefix(&shared.name);
        let mut cars = HashMap::new();
        for (key, bytes) in ledger.store().kv_prefix(&prefix) {
            if let (Ok(car), Ok(known)) = (key[prefix.len()..].parse(), CarRecord::decode(&bytes)) {
                cars.insert(car, known);
            }
        }
        let mut random = [0; 20];
        ledger.env.fill_random(&mut random);
        let gateway = Timed::new(gateway, Arc::clone(&ledger.env));
        let peer = Peer::new(shared.name.clone(), gateway.clone(), shared.wake.clone());
        let task = Self {
            slot: slot_id(&random),
            patience: usize::from(random[0] % 16),
            quiet_since: (Vec::new(), ledger.env.now()),
            gateway,
            ledger,
            shared,
            record,
            cars,
            headers: HashMap::new(),
            troubles: HashMap::new(),
            learned: HashSet::new(),
            applied: HashSet::new(),
            missing: Vec::new(),
            files: FileWork::new(peer),
            progress: Progress::default(),
            last_error: None,
            wants_told: Vec::new(),
            audited: false,
            restored: HashMap::new(),
            healing: Vec::new(),
            looked_for: HashSet::new(),
            pointed: None,
            pointed_at: None,
            walked: None,
            dominated: HashMap::new(),
            there: HashSet::new(),
            orphans_seen: HashSet::new(),
            tidied: Duration::ZERO,
            swept: Duration::ZERO,
            prepared: false,
            offline_since_ms: None,
            failures: 0,
        };
        task.write_record(&task.record)?;
        task.ledger.files.join(Arc::clone(&task.files.peer));
        Ok(task)
    }

    /// Syncs until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut moved = self.ledger.moved();
        let mut keys = self.ledger.keys.changed();
        let mut lost = self.ledger.source.lost_changed();
        let mut hints: BoxStream<'static, ()> = self.gateway.watch();
        while !self.shared.stopping() {
            let asked = self.shared.asked.load(Ordering::Acquire);
            moved.mark_unchanged();
            keys.mark_unchanged();
            lost.mark_unchanged();
            let shared = Arc::clone(&self.shared);
            let round = {
                let (round, stopped) = (self.round(), shared.stopped(Stop::Now));
                futures_util::pin_mut!(round, stopped);
                match select(round, stopped).await {
                    Either::Left((outcome, _)) => outcome,
                    // Whatever the remote does, a task that is told to stop stops. Every step of a
                    // round can be the last one: a process can be killed at any time too.
                    Either::Right(_) => break,
                }
            };
            let went_well = round.is_ok();
            let (state, clean, wait) = self.judge(round);
            let clean = clean && !self.pin_before_leaving();
            self.end_round(state, asked, clean, went_well);
            let ended = {
                let reasons = [
                    shared.stopped(Stop::Soon).map(|()| false).boxed(),
                    self.shared.wake.notified().map(|()| false).boxed(),
                    moved.changed().map(|_| false).boxed(),
                    keys.changed().map(|_| false).boxed(),
                    lost.changed().map(|_| false).boxed(),
                    hints.next().map(|hint| hint.is_none()).boxed(),
                    self.shared.env.sleep(wait).map(|()| false).boxed(),
                ];
                select_all(reasons).await.0
            };
            if ended {
                // The stream gave up; looking at intervals goes on, and it is tried again.
                hints = Box::pin(futures_util::stream::pending());
            }
            if !shared.stopping() {
                self.pin_if_quiet();
            }
        }
        self.leave();
    }

    /// List, pull, push, tidy.
    async fn round(&mut self) -> Result<Pulled> {
        self.files.begin();
        if !self.prepared {
            self.gateway.prepare().await?;
            self.prepared = true;
        }
        self.heal().await?;
        let listing = self.list().await?;
        let listing = self.with_orphans(listing).await?;
        let pulled = self.pull(&listing).await?;
        self.push(&listing, &pulled).await?;
        self.exchange_files().await?;
        self.tidy(&pulled).await?;
        self.delete_replaced(&pulled).await?;
        Ok(pulled)
    }

    /// What the round's outcome means: the state to show, whether everything is done, and how long
    /// to wait if nothing happens.
    fn judge(&mut self, outcome: Result<Pulled>) -> (State, bool, Duration) {
        let pulled = match outcome {
            Ok(pulled) => pulled,
            Err(error) => return self.judge_error(error),
        };
        self.failures = 0;
        self.files.peer.online.store(true, Ordering::Relaxed);
        self.offline_since_ms = None;
        let head = self.ledger.snapshot().head.clone();
        let pushed = head.iter().all(|event| self.record.acked.contains(event));
        let read_only = !pushed && !self.gateway.capabilities().write;
        let clean = pulled.pending.is_empty() && pushed && !self.files.more;
        let (needs_key, pending) = (pulled.needs_key, pulled.pending);
        let wait = self.next_look((!pushed && !read_only) || self.files.more);
        self.shared.status.send_if_modified(|status| {
            let changed = status.pending != pending;
            status.pending = pending;
            changed
        });
        let state = match needs_key {
            Some(key) => State::NeedsKey {
                fingerprint: key.to_string(),
            },
            None if read_only => self.failed(GatewayError::new(
                GatewayErrorKind::ReadOnly,
                format!(
                    "{} can only be read, so what was written here stays here; make it writable, or attach another remote as well",
                    self.shared.url
                ),
            )),
            None if clean && self.missing.is_empty() && self.record.owed.is_empty() => {
                State::UpToDate
            }
            None => self.syncing(),
        };
        (state, clean, wait)
    }

    fn judge_error(&mut self, error: Error) -> (State, bool, Duration) {
        self.ledger.source.note_unreadable(&error);
        let cause = error.to_string();
        tracing::debug!(remote = %self.shared.name, cause, "a round failed");
        self.last_error = Some(cause.clone());
        self.failures = self.failures.saturating_add(1);
        let wait = self.jitter(backoff(FIRST_RETRY, self.failures, LAST_RETRY));
        // A remote may come back as another one, or emptied.
        self.prepared = false;
        self.audited = false;
        self.files.forget();
        self.files.peer.online.store(false, Ordering::Relaxed);
        let state = match error {
            Error::NeedsMerge { .. } => State::NeedsMerge,
            Error::NeedsKey { fingerprint } => State::NeedsKey { fingerprint },
            Error::Gateway(error)
                if matches!(
                    error.kind(),
                    GatewayErrorKind::NeedsAuth | GatewayErrorKind::Denied
                ) =>
            {
                State::NeedsAuth { cause }
            }
            Error::Gateway(error) if error.is_retryable() => {
                let now = self.ledger.env.unix_ms();
                let since_ms = *self.offline_since_ms.get_or_insert(now);
                State::Offline {
                    since_ms,
                    retry_in_ms: wait.as_millis() as u64,
                    cause,
                }
            }
            Error::Gateway(error) => self.failed(error),
            _ => {
                *self.failure() = None;
                State::Failed { cause }
            }
        };
        (state, false, wait)
    }

    fn failure(&self) -> MutexGuard<'_, Option<GatewayError>> {
        lock::lock(&self.shared.failure)
    }

    fn failed(&self, error: GatewayError) -> State {
        let cause = error.to_string();
        *self.failure() = Some(error);
        State::Failed { cause }
    }

    fn next_look(&self, soon: bool) -> Duration {
        let now = self.shared.env.now();
        let owed = (!self.record.owed.is_empty()).then(|| self.files.again_at());
        let retry = self
            .troubles
            .values()
            .map(|trouble| trouble.retry_at)
            .chain(self.files.peer.retry_at())
            .chain(owed)
            .min()
            .map(|at| at.saturating_sub(now));
        let mut wait = self.jitter(LOOK_EVERY);
        if let Some(retry) = retry {
            wait = wait.min(retry.max(Duration::from_millis(5)));
        }
        if self.ledger.snapshot().head.len() > 1 {
            wait = wait.min(self.jitter(QUIET));
        }
        if soon { Duration::ZERO } else { wait }
    }

    /// Between one and two times `base`.
    fn jitter(&self, base: Duration) -> Duration {
        let mut random = [0; 2];
        self.shared.env.fill_random(&mut random);
        base + base.mul_f64(f64::from(u16::from_le_bytes(random)) / 65536.0)
    }

    /// Several heads that nobody has joined for a while get the merge event that any replica would
    /// make of them, so that later ones have a near ancestor.
    fn pin_if_quiet(&mut self) {
        let snapshot = self.ledger.snapshot();
        let now = self.shared.env.now();
        if self.quiet_since.0 != snapshot.head {
            self.quiet_since = (snapshot.head.clone(), now);
        }
        let up_to_date = self.shared.status.borrow().state == State::UpToDate;
        let quiet = now.saturating_sub(self.quiet_since.1) >= QUIET;
        if quiet && up_to_date {
            self.pin();
        }
    }

    /// Nobody may be here after us to join the heads, and JavaScript is shown only a single one.
    /// Whether something is left to push now.
    fn pin_before_leaving(&self) -> bool {
        self.shared.leaving.load(Ordering::Acquire)
            && self.gateway.capabilities().javascript
            && self.pin()
    }

    /// Makes one head of several; whether it did.
    fn pin(&self) -> bool {
        let head = &self.ledger.snapshot().head;
        if head.len() < 2 || !self.gateway.capabilities().write || self.ledger.read_only {
            return false;
        }
        match self.ledger.pin(head) {
            Ok(pinned) => pinned,
            Err(error) => {
                tracing::warn!(remote = %self.shared.name, %error, "pinning the merged head failed");
                false
            }
        }
    }

    fn syncing(&self) -> State {
        let Progress {
            pushed,
            to_push,
            pulled,
            to_pull,
            bytes,
        } = self.progress;
        let to_pull = to_pull.max((self.troubles.len() + self.missing.len()) as u64);
        State::Syncing {
            pushed,
            to_push,
            pulled,
            to_pull,
            bytes,
        }
    }

    /// Shows how far the present round has come.
    pub(super) fn show_progress(&self) {
        let (state, traffic, files) = (self.syncing(), self.record.traffic, self.file_status());
        self.shared.status.send_if_modified(|status| {
            let changed = status.state != state || status.files != files;
            status.state = state;
            status.traffic = traffic;
            status.files = files;
            changed
        });
    }

    fn end_round(&mut self, state: State, asked: u64, clean: bool, went_well: bool) {
        if clean {
            self.progress = Progress::default();
        }
        // A round that fails may have uploaded what it could not announce.
        if went_well {
            self.shared.acked.send_replace(self.record.acked.clone());
        }
        let (traffic, live, error) = (
            self.record.traffic,
            self.record.live.len(),
            self.last_error.clone(),
        );
        let (missing, joined) = (self.missing.clone(), self.record.began_apart);
        let files = self.file_status();
        self.shared.status.send_if_modified(|status| {
            let mut after = status.clone();
            after.state = state;
            after.traffic = traffic;
            after.live_groups = live;
            after.last_error = error;
            after.missing_documents = missing;
            after.files = files;
            after.joined = joined;
            let changed = *status != after;
            *status = after;
            changed
        });
        self.shared.rounds.send_replace(Round { asked, clean });
    }

    fn leave(&mut self) {
        self.ledger.files.leave(&self.files.peer);
        if let Err(error) = self.save() {
            tracing::debug!(remote = %self.shared.name, %error, "the record of the remote was not saved at the end");
        }
        self.shared
            .status
            .send_modify(|status| status.state = State::Detached);
        self.shared.ended.send_replace(true);
        let last = *self.shared.rounds.borrow();
        self.shared.rounds.send_replace(last);
    }

    /// Saves the record. Whether the remote is remembered was said by whoever attached it, or since
    /// then by [`Database::forget`](crate::Database::forget): what is stored counts.
    pub(super) fn save(&self) -> Result<()> {
        let _saving = self.shared.saving();
        let mut record = self.record.clone();
        let stored = self.ledger.store().kv(&record_key(&self.shared.name));
        if let Some(stored) = stored.and_then(|bytes| Record::decode(&bytes).ok()) {
            record.remembered = stored.remembered;
        }
        self.write_record(&record)
    }

    fn write_record(&self, record: &Record) -> Result<()> {
        let key = record_key(&self.shared.name);
        let bytes = record.encode().map_err(|error| malformed(&error))?;
        if self.ledger.store().kv(&key).as_ref() == Some(&bytes) || self.ledger.read_only {
            return Ok(());
        }
        self.ledger.record(&[(key, Some(bytes))])
    }

    /// Removes slots that say less than another one: writers that are gone leave them behind.
    ///
    /// A slot counts as dominated only by one that is readable and whose head strictly contains
    /// its head (of equals, the one with the smallest CAR stays), and only after a while.
    async fn tidy(&mut self, pulled: &Pulled) -> Result<()> {
        if !self.gateway.capabilities().write {
            return Ok(());
        }
        let now = self.shared.env.now();
        if now < self.tidied + TIDY_EVERY {
            return Ok(());
        }
        self.tidied = now;
        let mut doomed = Vec::new();
        let slots: Vec<_> = pulled
            .heads
            .iter()
            .filter(|(slot, ..)| !Self::is_pointer(slot) && !is_orphan(slot))
            .cloned()
            .collect();
        for (slot, car, head) in &slots {
            let mut dominated = false;
            for (other, other_car, other_head) in slots.iter().filter(|(other, ..)| other != slot) {
                dominated |= if other_head == head {
                    (other_car, other) < (car, slot)
                } else {
                    self.contains_all(other_head, head)?
                };
                if dominated {
                    break;
                }
            }
            if !dominated || *slot == self.slot {
                self.dominated.remove(slot);
            } else if now >= *self.dominated.entry(slot.clone()).or_insert(now) + SLOT_GRACE {
                doomed.push(slot.clone());
            }
        }
        for slot in doomed {
            self.gateway.remove_slot(&slot).await?;
            self.dominated.remove(&slot);
            self.record.slots.retain(|own| *own != slot);
        }
        Ok(())
    }

    fn contains_all(&self, head: &[Cid], events: &[Cid]) -> Result<bool> {
        for event in events {
            if !clock::contains(&self.ledger.source, head, event)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// On a folder that JavaScript writes to as well: CARs that no slot names, because another
    /// process has overwritten the pointer to them. Their heads are adopted like those of slots.
    async fn with_orphans(&mut self, mut listing: Listing) -> Result<Listing> {
        if !self.gateway.capabilities().shared_pointer {
            return Ok(listing);
        }
        let Some(there) = self.gateway.list_cars().await? else {
            return Ok(listing);
        };
        let announced: HashSet<Cid> = listing
            .announced
            .iter()
            .flat_map(|announced| announced.group.iter().copied())
            .collect();
        let listed: HashSet<Cid> = self
            .record
            .live
            .iter()
            .flat_map(|group| group.cars.iter().copied())
            .collect();
        let data = there.iter().filter(|entry| !entry.is_file);
        self.there = data.map(|entry| entry.cid).collect();
        let unknown = self.there.iter().copied();
        // A listed CAR that has not come yet is the pull's affair. One that is here stays a head
        // until it is applied: our own pointer may have taken its place.
        let unknown: Vec<Cid> = unknown
            .filter(|car| {
                !announced.contains(car)
                    && (self.cars.contains_key(car) || !listed.contains(car))
                    && !self.orphans_seen.contains(car)
            })
            .collect();
        let new: Vec<Cid> = unknown
            .iter()
            .filter(|car| !self.cars.contains_key(*car))
            .copied()
            .collect();
        self.fetch(new).await?;
        for car in unknown {
            if !self.cars.contains_key(&car) {
                listing.malformed.extend(self.half_written(&car));
                continue;
            }
            let head = self
                .header(&car)?
                .and_then(|header| header.head.clone())
                .unwrap_or_default();
            if head.is_empty() || self.is_applied(&head)? {
                self.orphans_seen.insert(car);
            } else {
                listing.announced.push(super::pull::Announced {
                    slot: format!("{ORPHAN}{car}"),
                    group: vec![car],
                });
            }
        }
        Ok(listing)
    }

    /// JavaScript writes its files in place, so a CAR that cannot be read may be one in the making,
    /// and the pointer to it may have been lost to ours. It counts as pending for a few attempts;
    /// after that it is taken for what nobody needs.
    fn half_written(&self, car: &Cid) -> Option<Pending> {
        let trouble = self.troubles.get(car)?;
        let fresh = trouble.tries <= HALF_WRITTEN_TRIES;
        let readable_later = !matches!(trouble.kind, TroubleKind::NeedsKey(_));
        (fresh && readable_later).then(|| Pending {
            slot: format!("{ORPHAN}{car}"),
            head: Vec::new(),
            missing: Vec::new(),
            cars: vec![*car],
            cause: trouble.kind.words(car),
        })
    }
}

/// A slot's name: 32 characters from random bytes.
fn slot_id(random: &[u8; 20]) -> String {
    data_encoding::BASE32HEX_NOPAD
        .encode(random)
        .to_ascii_lowercase()
}

/// Begins the name that stands for a slot where a CAR was found without one.
const ORPHAN: &str = "found:";

fn is_orphan(slot: &str) -> bool {
    slot.starts_with(ORPHAN)
}
