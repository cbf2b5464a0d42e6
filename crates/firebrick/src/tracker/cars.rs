//! CARs: fetching those of others, checking every hash, and making one again that a remote lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::car::{self, CarReader};
use firebrick_core::cid::Codec;
use firebrick_core::envelope::EnvelopeError;
use firebrick_core::header::CarHeader;
use firebrick_core::keys::KeyId;
use firebrick_core::{Block, Cid, document};
use futures_util::StreamExt as _;
use hashbrown::HashSet;

use super::record::{CarRecord, car_key, decode_list, encode_list};
use super::task::Task;
use crate::env::backoff;
use crate::error::Result;
use crate::keys::KeyRing;
use crate::ledger::Ledger;

/// CARs that are asked for at the same time.
pub(super) const FETCH_AT_ONCE: usize = 8;
/// Bytes from which checking a CAR is not done on the thread of other tasks.
const LARGE: usize = 128 << 10;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(20);

/// Why a CAR is not here although a header lists it.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) kind: TroubleKind,
    pub(super) tries: u32,
    pub(super) retry_at: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TroubleKind {
    Missing,
    Damaged(String),
    NeedsKey(KeyId),
}

impl TroubleKind {
    pub(super) fn words(&self, car: &Cid) -> String {
        match self {
            Self::Missing => format!("CAR {car} is not there (yet)"),
            Self::Damaged(cause) => format!("CAR {car} is damaged: {cause}"),
            Self::NeedsKey(key) => {
                format!("CAR {car} is encrypted with the key {key}, which is not here")
            }
        }
    }
}

/// A CAR that was decrypted and whose every hash is right.
struct Opened {
    blocks: Vec<Block>,
    bytes: u64,
    documents: u64,
}

impl Task {
    /// Brings CARs here, in the order given, as far as they can be had; what cannot is in
    /// `troubles` and is tried again later.
    ///
    /// Fails only when the remote as a whole does.
    pub(super) async fn fetch(&mut self, cars: impl IntoIterator<Item = Cid>) -> Result<()> {
        let now = self.shared.env.now();
        let mut wanted: Vec<Cid> = Vec::new();
        for car in cars {
            let waits = self
                .troubles
                .get(&car)
                .is_some_and(|trouble| trouble.retry_at > now && !self.has_key_now(trouble));
            if !self.cars.contains_key(&car) && !waits && !wanted.contains(&car) {
                wanted.push(car);
            }
        }
        self.progress.to_pull += wanted.len() as u64;
        self.show_progress();
        let gateway = self.gateway.clone();
        let mut answers = futures_util::stream::iter(wanted)
            .map(|car| {
                let gateway = gateway.clone();
                async move { (car, gateway.get_car(&car).await) }
            })
            .buffered(FETCH_AT_ONCE);
        let (mut arrived, mut failure) = (false, None);
        while let Some((car, answer)) = answers.next().await {
            let outcome = match answer {
                Ok(Some(bytes)) => self.take_in(car, bytes).await?,
                Ok(None) => Err(TroubleKind::Missing),
                // One CAR that cannot be read keeps nothing else back.
                Err(error) if error.is_retryable() => {
                    let kind = TroubleKind::Damaged(error.to_string());
                    failure = Some(error);
                    Err(kind)
                }
                Err(error) => return Err(error.into()),
            };
            self.progress.to_pull = self.progress.to_pull.saturating_sub(1);
            match outcome {
                Ok(()) => {
                    arrived = true;
                    self.troubles.remove(&car);
                    self.progress.pulled += 1;
                }
                Err(kind) => self.note_trouble(car, kind),
            }
            self.show_progress();
        }
        match failure {
            // Nothing came through: the remote is away.
            Some(error) if !arrived => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn has_key_now(&self, trouble: &Trouble) -> bool {
        matches!(&trouble.kind, TroubleKind::NeedsKey(key) if self.ledger.keys.has(key))
    }

    fn note_trouble(&mut self, car: Cid, kind: TroubleKind) {
        let tries = self.troubles.get(&car).map_or(0, |trouble| trouble.tries);
        let wait = backoff(FIRST_RETRY, tries, LAST_RETRY);
        let words = kind.words(&car);
        tracing::debug!(remote = %self.shared.name, "{words}");
        self.last_error = Some(words);
        self.troubles.insert(
            car,
            Trouble {
                kind,
                tries: tries + 1,
                retry_at: self.shared.env.now() + wait,
            },
        );
    }

    /// Checks a CAR and stores its blocks, with the record of it, in one commit.
    async fn take_in(&mut self, car: Cid, sealed: Bytes) -> Result<Result<(), TroubleKind>> {
        let (len, ledger, key) = (
            sealed.len(),
            Arc::clone(&self.ledger),
            car_key(&self.shared.name, &car),
        );
        let from = self.shared.name.clone();
        let work = move || -> Result<Result<(CarRecord, u64), TroubleKind>> {
            let opened = match open(&ledger.keys, &car, sealed) {
                Ok(opened) => opened,
                Err(kind) => return Ok(Err(kind)),
            };
            let record = store(&ledger, key, &from, opened.blocks, opened.bytes)?;
            Ok(Ok((record, opened.documents)))
        };
        let outcome = if len < LARGE {
            work()?
        } else {
            self.blocking(work).await?
        };
        Ok(outcome.map(|(record, documents)| {
            self.cars.insert(car, record);
            self.record.traffic.cars_down += 1;
            self.record.traffic.bytes_down += len as u64;
            self.record.traffic.documents_down += documents;
            self.progress.bytes += len as u64;
        }))
    }

    /// Work that takes its time, where it disturbs no other task.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ledger.blocking(work).await
    }

    /// Reads again those CARs that hold blocks which were here and cannot be read any more.
    pub(super) async fn heal(&mut self) -> Result<()> {
        let lost: HashSet<Cid> = self.ledger.source.still_lost()?.into_iter().collect();
        if !lost.is_subset(&self.looked_for) {
            for car in self.cars.keys().copied().collect::<Vec<_>>() {
                // What is in it may be lost too; then it has to be looked at.
                let holds = self.blocks_of(&car).map_or(true, |blocks| {
                    blocks.is_empty() || blocks.iter().any(|block| lost.contains(block))
                });
                if holds && !self.healing.contains(&car) {
                    self.healing.push(car);
                }
            }
        }
        self.looked_for = lost;
        for car in std::mem::take(&mut self.healing) {
            let known = self.cars.remove(&car);
            self.fetch([car]).await?;
            if !self.cars.contains_key(&car) {
                self.healing.push(car);
                self.cars.extend(known.map(|known| (car, known)));
            } else if known.is_some_and(|known| known.replaced) {
                self.mark_replaced(car)?;
            }
        }
        Ok(())
    }

    /// The header of a CAR that is here.
    pub(super) fn header(&mut self, car: &Cid) -> Result<Option<Arc<CarHeader>>> {
        if let Some(header) = self.headers.get(car) {
            return Ok(Some(Arc::clone(header)));
        }
        let Some(first) = self.blocks_of(car)?.first().copied() else {
            return Ok(None);
        };
        let Some(bytes) = self.ledger.store().block(&first)? else {
            return Ok(None);
        };
        let Ok(header) = CarHeader::decode(&bytes) else {
            return Ok(None);
        };
        let header = Arc::new(header);
        if self.headers.len() > 1024 {
            self.headers.clear();
        }
        self.headers.insert(*car, Arc::clone(&header));
        Ok(Some(header))
    }

    /// The blocks of a CAR that is or was here, in its order.
    pub(super) fn blocks_of(&self, car: &Cid) -> Result<Vec<Cid>> {
        let Some(record) = self.cars.get(car) else {
            return Ok(Vec::new());
        };
        Ok(self
            .ledger
            .store()
            .block(&record.list)?
            .map_or_else(Vec::new, |list| decode_list(&list)))
    }

    /// [`blocks_of`](Self::blocks_of), each as far as it is here.
    pub(super) fn stored_blocks_of(&self, car: &Cid) -> Result<Vec<Option<Block>>> {
        let cids = self.blocks_of(car)?;
        let stored = self.ledger.store().blocks(&cids)?;
        let blocks = cids.into_iter().zip(stored);
        Ok(blocks
            .map(|(cid, bytes)| Some(Block { cid, bytes: bytes? }))
            .collect())
    }

    /// A CAR's blocks as the remote has them, without the header.
    pub(super) async fn read_there(&self, car: &Cid) -> Result<Option<Vec<Block>>> {
        match self.gateway.get_car(car).await {
            Ok(Some(bytes)) => {
                let opened = open(&self.ledger.keys, car, bytes).ok();
                Ok(opened.map(|opened| opened.blocks.into_iter().skip(1).collect()))
            }
            Ok(None) => Ok(None),
            Err(error) if error.is_retryable() => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// Whether a CAR can be read at the remote.
    pub(super) async fn is_whole(&self, car: &Cid) -> Result<bool> {
        Ok(self.read_there(car).await?.is_some())
    }

    /// Puts a CAR back that the remote has lost or damaged. All its blocks are here, so it can be
    /// made again byte for byte, whoever wrote it.
    pub(super) async fn restore(&mut self, car: Cid) -> Result<bool> {
        let blocks: Option<Vec<Block>> = self.stored_blocks_of(&car)?.into_iter().collect();
        let Some(blocks) = blocks.filter(|blocks| !blocks.is_empty()) else {
            return Ok(false);
        };
        let plain = Bytes::from(car::encode(&[blocks[0].cid], &blocks));
        if !car.matches(&plain) {
            return Ok(false);
        }
        self.upload(&car, plain).await?;
        tracing::info!(remote = %self.shared.name, %car, "uploaded a CAR again that the remote had lost");
        Ok(true)
    }

    /// Seals and stores a CAR at the remote.
    pub(super) async fn upload(&mut self, car: &Cid, plain: Bytes) -> Result<()> {
        let sealed = self.ledger.keys.seal(plain);
        let len = sealed.len() as u64;
        self.gateway.put_car(car, sealed).await?;
        self.record.traffic.cars_up += 1;
        self.record.traffic.bytes_up += len;
        self.progress.bytes += len;
        Ok(())
    }
}

/// Stores the blocks of a CAR and the record that it is here.
pub(super) fn store(
    ledger: &Ledger,
    key: String,
    from: &str,
    mut blocks: Vec<Block>,
    bytes: u64,
) -> Result<CarRecord> {
    let list = Block::new(
        Codec::Raw,
        encode_list(blocks.iter().map(|block| &block.cid)),
    );
    let record = CarRecord {
        list: list.cid,
        bytes,
        replaced: false,
    };
    blocks.push(list);
    ledger.ingest(blocks, from, &[(key, Some(record.encode()))])?;
    Ok(record)
}

/// Decrypts a CAR and checks its name and the hash of every block.
fn open(keys: &KeyRing, car: &Cid, sealed: Bytes) -> Result<Opened, TroubleKind> {
    let plain = keys.open_car(sealed).map_err(|error| match error {
        EnvelopeError::UnknownKey { key_id } => TroubleKind::NeedsKey(key_id),
        other => TroubleKind::Damaged(other.to_string()),
    })?;
    if !car.matches(&plain) {
        return Err(TroubleKind::Damaged(
            "its content does not have its name".into(),
        ));
    }
    let bytes = plain.len() as u64;
    let damaged = |error: car::CarError| TroubleKind::Damaged(error.to_string());
    let blocks = CarReader::new(plain)
        .map_err(damaged)?
        .collect::<Result<Vec<Block>, _>>()
        .map_err(damaged)?;
    let is_document = |block: &&Block| {
        document::is_tombstone(&block.bytes) || document::fields_of(&block.bytes).is_ok()
    };
    let documents = blocks.iter().filter(is_document).count() as u64;
    Ok(Opened {
        blocks,
        bytes,
        documents,
    })
}
