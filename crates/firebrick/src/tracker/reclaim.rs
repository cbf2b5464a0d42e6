//! Giving back space at a remote, and carrying on where a compaction here left too little to make a
//! lost CAR again.

use std::time::Duration;

use firebrick_core::{Block, Cid};
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use super::groups::Group;
use super::pull::{Listing, Pulled};
use super::push::Parcel;
use super::record::car_key;
use super::task::Task;
use crate::error::Result;

/// How long a replaced CAR stays: whoever read a header that lists it has read it by then, and
/// whoever lists it has heard what replaced it.
const GRACE_MS: u64 = 15 * 60 * 1000;
/// How often replaced CARs are looked through.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// CARs deleted in one go.
const DELETED_AT_ONCE: usize = 64;

/// A CAR of our own that a merged one has replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retired {
    pub(super) car: Cid,
    /// Since when, in milliseconds since 1970.
    pub(super) since_ms: u64,
}

impl Task {
    /// Notes which CARs of a group may be deleted once nobody lists them.
    pub(super) fn retire(&mut self, group: &Group) {
        if !group.ours {
            return;
        }
        let since_ms = self.ledger.env.unix_ms();
        for car in &group.cars {
            if !self
                .record
                .retired
                .iter()
                .any(|retired| retired.car == *car)
            {
                let car = *car;
                self.record.retired.push(Retired { car, since_ms });
            }
        }
    }

    /// Deletes replaced CARs of our own from the remote.
    ///
    /// Only after a while, only while every live CAR was seen to be there in full, and only what
    /// neither a slot's header nor we ourselves list. A listing that shows something unreadable or
    /// changes meanwhile tells nothing. Where JavaScript reads, nothing is deleted: a client that
    /// is away keeps a list of its own.
    pub(super) async fn delete_replaced(&mut self, pulled: &Pulled) -> Result<()> {
        let can = self.gateway.capabilities();
        let now = self.shared.env.now();
        if !can.write || !can.delete || !can.list || can.javascript || now < self.swept + LOOK_EVERY
        {
            return Ok(());
        }
        let now_ms = self.ledger.env.unix_ms();
        let due = |retired: &Retired| retired.since_ms.saturating_add(GRACE_MS) <= now_ms;
        if !self.record.retired.iter().any(due) {
            return Ok(());
        }
        self.swept = now;
        if !pulled.pending.is_empty() || !self.audit().await?.is_empty() {
            return Ok(());
        }
        // Listed after the look at the live CARs, so that it shows what took the place of the others.
        let listing = self.list().await?;
        let Some(listed) = self.listed(&listing)? else {
            return Ok(());
        };
        let doomed: Vec<Cid> = self
            .record
            .retired
            .iter()
            .filter(|retired| due(retired) && !listed.contains(&retired.car))
            .map(|retired| retired.car)
            .take(DELETED_AT_ONCE)
            .collect();
        let mut records = Vec::new();
        for car in &doomed {
            self.gateway.delete_car(car).await?;
            self.cars.remove(car);
            self.headers.remove(car);
            records.push((car_key(&self.shared.name, car), None));
        }
        self.record
            .retired
            .retain(|retired| !doomed.contains(&retired.car));
        self.ledger.record(&records)?;
        self.save()
    }

    /// Every CAR that somebody lists; `None` if that cannot be told.
    fn listed(&mut self, listing: &Listing) -> Result<Option<HashSet<Cid>>> {
        if !listing.malformed.is_empty() || listing.announced.is_empty() {
            return Ok(None);
        }
        let mut listed: HashSet<Cid> = HashSet::new();
        for announced in &listing.announced {
            let Some(header) = self.header(&announced.group[0])? else {
                return Ok(None);
            };
            listed.extend(&announced.group);
            listed.extend(header.cars.iter().chain(&header.compact).flatten());
        }
        let live = self.record.live.iter().flat_map(|group| &group.cars);
        listed.extend(live);
        listed.extend(&self.record.staged);
        listed.extend(self.record.announced);
        listed.extend(&listing.wants);
        Ok(Some(listed))
    }

    /// The blocks of a CAR without its header: those here, or if a compaction has dropped some, all
    /// as the remote has them. `None` if neither has all.
    pub(super) async fn content_of(&self, car: &Cid) -> Result<Option<Vec<Block>>> {
        if !self.cars.contains_key(car) {
            return Ok(None);
        }
        let blocks: Option<Vec<Block>> = self.stored_blocks_of(car)?.into_iter().skip(1).collect();
        match blocks.filter(|blocks| !blocks.is_empty()) {
            Some(blocks) => Ok(Some(blocks)),
            None => self.read_there(car).await,
        }
    }

    /// Puts what is here of a lost CAR's group into a new one, if a compaction left too little to
    /// make it again as it was. Answers whether that was possible; then the group is to be announced.
    pub(super) async fn remake(&mut self, lost: Cid) -> Result<bool> {
        let group = self
            .record
            .live
            .iter()
            .find(|group| group.cars.contains(&lost));
        let Some(group) = group.cloned() else {
            return Ok(false);
        };
        let mut parcel = Parcel::default();
        for car in &group.cars {
            let blocks = self.stored_blocks_of(car)?;
            // The first is the header.
            if blocks.len() < 2 {
                return Ok(false);
            }
            let here = blocks.into_iter().skip(1).flatten();
            here.for_each(|block| parcel.add(block));
        }
        tracing::info!(remote = %self.shared.name, car = %lost, "put what is left of a lost CAR into a new one");
        self.stage(parcel.take()).await?;
        for car in &group.cars {
            self.mark_replaced(*car)?;
            self.record.replaced.insert(0, *car);
        }
        self.record.live.retain(|live| *live != group);
        self.record.announced = None;
        self.save()?;
        Ok(true)
    }
}
