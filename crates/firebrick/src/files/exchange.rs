//! Contents that are not here, from whichever remote has them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::envelope::EnvelopeError;
use hashbrown::HashMap;
use tokio::sync::Notify;

use super::local::{self, Item};
use crate::env::backoff;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::lock::lock;
use crate::tracker::Timed;

/// Contents that a remote is asked for again and again; more are looked for when they are read.
const MISSING_MAX: usize = 1000;
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Who wants a content, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) item: Item,
}

/// A content that a remote does not have, or not in a readable form.
#[derive(Clone, Debug)]
pub(crate) struct Lack {
    pub(crate) wanted: Wanted,
    pub(crate) cause: String,
    tries: u32,
    retry_at: Duration,
}

/// A remote as a source of contents. Its task has it too.
pub(crate) struct Peer {
    pub(crate) name: String,
    gateway: Timed,
    pub(crate) online: AtomicBool,
    /// By the name of the CAR.
    missing: Mutex<BTreeMap<Cid, Lack>>,
    /// Bytes of file CARs that came from here.
    pub(crate) bytes_down: AtomicU64,
    /// Told when something else is missing.
    wake: Arc<Notify>,
}

impl Peer {
    pub(crate) fn new(name: String, gateway: Timed, wake: Arc<Notify>) -> Self {
        Self {
            name,
            gateway,
            online: AtomicBool::new(true),
            missing: Mutex::default(),
            bytes_down: AtomicU64::new(0),
            wake,
        }
    }

    pub(crate) fn missing(&self) -> Vec<Lack> {
        lock(&self.missing).values().cloned().collect()
    }

    fn found(&self, car: &Cid) {
        lock(&self.missing).remove(car);
    }

    fn lacks(&self, wanted: &Wanted, cause: &str, now: Duration) {
        let mut missing = lock(&self.missing);
        let car = wanted.item.car;
        let tries = missing.get(&car).map_or(0, |lack| lack.tries);
        if tries == 0 && missing.len() >= MISSING_MAX {
            return;
        }
        let wait = backoff(FIRST_RETRY, tries, LAST_RETRY);
        missing.insert(
            car,
            Lack {
                wanted: wanted.clone(),
                cause: cause.to_owned(),
                tries: tries + 1,
                retry_at: now + wait,
            },
        );
        drop(missing);
        if tries == 0 {
            self.wake.notify_one();
        }
    }

    /// When the next of the missing contents is worth another look.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        lock(&self.missing).values().map(|lack| lack.retry_at).min()
    }

    /// Those whose time has come.
    pub(crate) fn due(&self, now: Duration) -> Vec<Wanted> {
        let missing = lock(&self.missing);
        let due = missing.values().filter(|lack| lack.retry_at <= now);
        due.map(|lack| lack.wanted.clone()).collect()
    }
}

/// The remotes of a ledger as sources of contents.
#[derive(Default)]
pub(crate) struct Exchange {
    peers: Mutex<Vec<Arc<Peer>>>,
    /// Contents on their way, so that each is fetched once.
    fetching: Mutex<HashMap<Cid, Arc<tokio::sync::Mutex<()>>>>,
}

impl Exchange {
    pub(crate) fn join(&self, peer: Arc<Peer>) {
        lock(&self.peers).push(peer);
    }

    pub(crate) fn leave(&self, peer: &Arc<Peer>) {
        lock(&self.peers).retain(|known| !Arc::ptr_eq(known, peer));
    }

    /// Those that answered last time first.
    fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers = lock(&self.peers).clone();
        peers.sort_by_key(|peer| !peer.online.load(Ordering::Relaxed));
        peers
    }

    /// Brings a content here, unless it is. With `damaged`, what is here does not count.
    ///
    /// # Errors
    /// [`Error::MissingFile`] if no remote has it, with what each of them said.
    pub(crate) async fn fetch(
        &self,
        ledger: &Arc<Ledger>,
        wanted: &Wanted,
        damaged: bool,
    ) -> Result<()> {
        let one = Arc::clone(lock(&self.fetching).entry(wanted.item.cid).or_default());
        let result = {
            let _turn = one.lock().await;
            self.fetch_alone(ledger, wanted, damaged).await
        };
        let mut fetching = lock(&self.fetching);
        // Whoever still waits for its turn has a clone.
        if Arc::strong_count(&one) == 2 {
            fetching.remove(&wanted.item.cid);
        }
        result
    }

    async fn fetch_alone(
        &self,
        ledger: &Arc<Ledger>,
        wanted: &Wanted,
        damaged: bool,
    ) -> Result<()> {
        let (item, of) = (wanted.item, Arc::clone(ledger));
        if !damaged && ledger.blocking(move || local::is_here(&of, &item)).await? {
            for peer in self.peers() {
                peer.found(&item.car);
            }
            return Ok(());
        }
        ledger.ensure_open()?;
        let (mut tried, mut needs_key) = (Vec::new(), None);
        for peer in self.peers() {
            let answer = match peer.gateway.get_file_car(&item.car).await {
                Ok(Some(sealed)) => {
                    let len = sealed.len() as u64;
                    let of = Arc::clone(ledger);
                    let taken = ledger.blocking(move || Ok(take_in(&of, &item, sealed)));
                    taken.await?.map(|()| len)
                }
                Ok(None) => Err(Refusal::Because("it is not there".to_owned())),
                Err(error) => {
                    peer.online.store(false, Ordering::Relaxed);
                    tried.push(format!("{}: {error}", peer.name));
                    continue;
                }
            };
            match answer {
                Ok(len) => {
                    peer.bytes_down.fetch_add(len, Ordering::Relaxed);
                    for peer in self.peers() {
                        peer.found(&item.car);
                    }
                    return Ok(());
                }
                Err(Refusal::Fatal(error)) => return Err(error),
                Err(Refusal::NeedsKey(fingerprint)) => {
                    tried.push(format!("{}: the key {fingerprint} is missing", peer.name));
                    needs_key = Some(fingerprint);
                }
                Err(Refusal::Because(cause)) => {
                    peer.lacks(wanted, &cause, ledger.env.now());
                    tried.push(format!("{}: {cause}", peer.name));
                }
            }
        }
        if let Some(fingerprint) = needs_key {
            return Err(Error::NeedsKey { fingerprint });
        }
        if tried.is_empty() {
            tried.push("no remote is attached".to_owned());
        }
        Err(Error::MissingFile {
            id: wanted.id.clone(),
            name: wanted.name.clone(),
            cid: item.cid,
            tried: tried.join("; "),
        })
    }

    /// A CAR as another remote holds it, checked, to hand it on.
    pub(crate) async fn pass_on(
        &self,
        ledger: &Arc<Ledger>,
        item: &Item,
        to: &Arc<Peer>,
    ) -> Result<Option<Bytes>> {
        for peer in self.peers() {
            if Arc::ptr_eq(&peer, to) {
                continue;
            }
            let Ok(Some(sealed)) = peer.gateway.get_file_car(&item.car).await else {
                continue;
            };
            let (of, car, copy) = (Arc::clone(ledger), item.car, sealed.clone());
            let good = ledger.blocking(move || Ok(of.keys.opens_as(&car, copy)));
            if good.await? {
                peer.bytes_down
                    .fetch_add(sealed.len() as u64, Ordering::Relaxed);
                return Ok(Some(sealed));
            }
        }
        Ok(None)
    }
}

enum Refusal {
    Because(String),
    NeedsKey(String),
    Fatal(Error),
}

/// Checks a CAR and stores what it holds.
fn take_in(ledger: &Ledger, item: &Item, sealed: Bytes) -> Result<(), Refusal> {
    let blocks = local::unpack(ledger, sealed).map_err(|error| match error {
        EnvelopeError::UnknownKey { key_id } => Refusal::NeedsKey(key_id.to_string()),
        other => Refusal::Because(format!("it is damaged: {other}")),
    })?;
    if !blocks.iter().any(|block| block.cid == item.cid) {
        return Err(Refusal::Because(
            "it is damaged: the content is not in it".into(),
        ));
    }
    let held = blocks.into_iter().filter_map(|block| {
        let one = Item {
            cid: block.cid,
            car: item.car,
            len: block.bytes.len() as u64,
        };
        // JavaScript puts all files of a document into one CAR: the others will be wanted next.
        match one.cid == item.cid {
            true => Some(local::write(ledger, &one, &[block.bytes])),
            false => {
                (one.cid.codec() == Codec::Raw).then(|| local::hold(ledger, &one, &[block.bytes]))
            }
        }
    });
    held.map(|held| held?.sync())
        .collect::<Result<Vec<_>>>()
        .and_then(|ready| local::show(ledger, ready))
        .map_err(Refusal::Fatal)
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}
