//! What the JavaScript client needs for its walk of `changes`, where its own compaction dropped too
//! much.
//!
//! Its compaction keeps the earlier documents that the walk met at that time, and deletes the CARs
//! with the others. An event that comes late changes where the walk goes, and the client cannot
//! read its own ledger any more. What is still here of such documents is sent again.

use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::{Block, Cid};
use hashbrown::HashSet;

use super::push::Parcel;
use super::task::Task;
use crate::error::Result;

impl Task {
    /// Stages the documents that the walk meets now and that no live CAR has. Whether there were
    /// any; then the CARs are to be listed anew.
    pub(super) async fn complete_walk(&mut self) -> Result<bool> {
        if !self.gateway.capabilities().javascript || !self.record.compacted_by_others {
            return Ok(false);
        }
        let head = self.ledger.snapshot().head.clone();
        let lacking = match self.lacking_for_walk(&head) {
            Ok(lacking) => lacking,
            // Looked at again when all of it is here.
            Err(error) if error.unreadable().is_some() => return Ok(false),
            Err(error) => return Err(error),
        };
        let (mut parcel, mut count) = (Parcel::default(), 0);
        for cid in lacking {
            if let Some(bytes) = self.ledger.source.document(&cid)? {
                parcel.add(Block { cid, bytes });
                count += 1;
            }
            if parcel.is_full() {
                self.stage(parcel.take()).await?;
            }
        }
        if !parcel.is_empty() {
            self.stage(parcel.take()).await?;
        }
        self.walked = Some(head);
        if count == 0 {
            return Ok(false);
        }
        tracing::info!(remote = %self.shared.name, count, "sent documents again that a compaction by JavaScript had dropped");
        self.record.announced = None;
        Ok(true)
    }

    fn lacking_for_walk(&self, head: &[Cid]) -> Result<Vec<Cid>> {
        let source = &self.ledger.source;
        if let Some(walked) = &self.walked {
            let (mut merged, fresh) = (false, clock::difference(source, head, walked)?);
            for event in &fresh {
                merged |= source.event(event)?.parents.len() > 1;
            }
            // Events in a row only go before what was walked.
            if !merged && head.len() <= 1 {
                return Ok(Vec::new());
            }
        }
        let mut there: HashSet<Cid> = HashSet::new();
        for car in self.record.live.iter().flat_map(|group| &group.cars) {
            there.extend(self.blocks_of(car)?);
        }
        let walk = clock::changes_since(source, head, &[], None)?.into_iter();
        let met = walk.map(|change| change.value);
        Ok(met.filter(|cid| there.insert(*cid)).collect())
    }
}
