//! Running a compaction, on request and by policy.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::clock::Event;
use firebrick_core::pail::Shard;

use super::Ledger;
use super::live::{Live, LiveRoots};
use crate::compaction::{CompactProgress, CompactReport, OnProgress, Retention};
use crate::error::{Error, Result};
use crate::lock;
use crate::store::{Fate, Sieve};

/// Where the store keeps the size of its log after the last look at what could be given back.
const LOOKED: &str = "ledger/compaction";
/// There if a compaction has ever run.
const COMPACTED: &str = "ledger/compacted";
/// Blocks between two reports of progress.
const TELL_EVERY: u64 = 4096;

struct Sifter<'a> {
    ledger: &'a Ledger,
    retention: Retention,
    live: Live,
    owners: Vec<Arc<dyn LiveRoots>>,
    failure: Option<Error>,
    seen: CompactProgress,
    progress: OnProgress,
}

impl Sieve for Sifter<'_> {
    fn begin(&mut self) -> bool {
        match self.ledger.mark(self.retention) {
            Ok(live) => self.live = live,
            Err(error) => self.failure = Some(error),
        }
        self.failure.is_none()
    }

    fn fate(&mut self, cid: &Cid) -> Fate {
        self.seen.blocks += 1;
        self.seen.of = self.seen.of.max(self.seen.blocks);
        if self.seen.blocks.is_multiple_of(TELL_EVERY) {
            (self.progress)(self.seen);
            if let Err(closed) = self.ledger.ensure_open() {
                self.failure = Some(closed);
                return Fate::Stop;
            }
        }
        if self.live.is_kept(cid) {
            Fate::Keep
        } else if self.live.is_replaced(cid) {
            Fate::Drop
        } else if cid.codec() == Codec::DagCbor || !self.owners.is_empty() {
            Fate::Look
        } else {
            Fate::Keep
        }
    }

    fn keeps(&mut self, cid: &Cid, bytes: &[u8]) -> bool {
        let is_structured = cid.codec() == Codec::DagCbor;
        if is_structured && Event::decode(bytes).is_ok() {
            // Its head may not be applied yet.
            return true;
        }
        let is_shard = is_structured && Shard::decode(&Bytes::copy_from_slice(bytes)).is_ok();
        !is_shard && !self.owners.iter().any(|owner| owner.owns(cid, bytes))
    }
}

/// While it lives, what is stored does not rely on what is in the store already.
struct Reclaiming<'a>(&'a Ledger);

impl<'a> Reclaiming<'a> {
    fn new(ledger: &'a Ledger) -> Self {
        ledger.set_reclaiming(true);
        Self(ledger)
    }
}

impl Drop for Reclaiming<'_> {
    fn drop(&mut self) {
        self.0.set_reclaiming(false);
    }
}

impl Ledger {
    fn set_reclaiming(&self, reclaiming: bool) {
        *lock::write(&self.reclaiming) = reclaiming;
    }

    /// While it is held, no compaction runs.
    pub(crate) fn keep_still(&self) -> MutexGuard<'_, ()> {
        lock::lock(&self.compaction)
    }

    /// Drops what nothing needs. One compaction runs at a time.
    pub(crate) fn compact(
        &self,
        retention: Retention,
        dry_run: bool,
        progress: OnProgress,
    ) -> Result<CompactReport> {
        let _only_one = self.keep_still();
        self.ensure_open()?;
        let mut sifter = Sifter {
            ledger: self,
            retention,
            live: Live::default(),
            owners: self.live_roots(),
            failure: None,
            seen: CompactProgress {
                blocks: 0,
                of: self.store().stats().blocks,
            },
            progress,
        };
        let reclaiming = (!dry_run).then(|| Reclaiming::new(self));
        let done = self.store().reclaim(&mut sifter, dry_run)?;
        let Some(done) = done else {
            return Err(sifter.failure.unwrap_or(Error::Closed));
        };
        sifter.seen.of = sifter.seen.blocks;
        (sifter.progress)(sifter.seen);
        if !dry_run {
            // What was remembered may lead to shards that are gone.
            self.as_writer(|writer| writer.resolver.forget());
            self.source.forget(sifter.live.replaced());
            let looked = done.bytes_after.to_le_bytes().to_vec();
            self.record(&[
                (LOOKED.to_owned(), Some(looked.into())),
                (COMPACTED.to_owned(), Some(Bytes::new())),
            ])?;
        }
        drop(reclaiming);
        Ok(CompactReport::new(&done, dry_run))
    }

    /// Whether a compaction has ever run here.
    pub(crate) fn was_compacted(&self) -> bool {
        self.store().kv(COMPACTED).is_some()
    }

    /// Compacts if more bytes are of no use than of use. Looking means reading the whole log, so it
    /// is done only when the log has doubled since.
    pub(super) fn compact_if_due(&self) -> Result<bool> {
        let Some(least) = self.auto_compact.filter(|_| !self.read_only) else {
            return Ok(false);
        };
        let looked = self.store().kv(LOOKED);
        let looked = looked.and_then(|bytes| Some(u64::from_le_bytes(bytes[..].try_into().ok()?)));
        let looked = looked.unwrap_or(0);
        let now = self.store().stats().log_bytes;
        if now < looked.saturating_mul(2) || now < looked.saturating_add(least) {
            return Ok(false);
        }
        let found = self.compact(self.retention, true, Box::new(|_| {}))?;
        let due = found.reclaimable_bytes > found.live_bytes && found.reclaimable_bytes >= least;
        if due {
            let done = self.compact(self.retention, false, Box::new(|_| {}))?;
            tracing::info!(
                before = done.bytes_before,
                after = done.bytes_after,
                "compacted"
            );
        } else {
            let looked = now.to_le_bytes().to_vec();
            self.record(&[(LOOKED.to_owned(), Some(looked.into()))])?;
        }
        Ok(due)
    }
}
