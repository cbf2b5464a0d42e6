//! Pulling: from the slots of a listing to the local head.

use std::sync::Arc;

use firebrick_core::clock::{self, Event, EventSource as _};
use firebrick_core::header::CarHeader;
use firebrick_core::keys::KeyId;
use firebrick_core::meta::MetaFile;
use firebrick_core::{Cid, genesis};
use hashbrown::HashSet;

use super::cars::TroubleKind;
use super::groups::Group;
use super::status::{Missing, Pending};
use super::task::Task;
use crate::error::{Error, Result};
use crate::gateway::{MAIN_SLOT, SlotId};
use crate::ledger::Ledger;
use crate::subscribe::Origin;

/// Documents named in the status as missing; beyond that the first ones stand for all.
const MISSING_SHOWN: usize = 1000;

/// One group that a slot announces.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) slot: SlotId,
    /// The CARs of the group, at least one.
    pub(super) group: Vec<Cid>,
}

/// What the remote's slots said in one listing.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) announced: Vec<Announced>,
    /// Slots that could not be read as such.
    pub(super) malformed: Vec<Pending>,
    /// CARs that other writers cannot read.
    pub(super) wants: Vec<Cid>,
}

/// What a pull left.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// The heads of the listing that are applied here, joined.
    pub(super) covered: Vec<Cid>,
    pub(super) pending: Vec<Pending>,
    pub(super) needs_key: Option<KeyId>,
    /// Per announced group that is here: its slot, its first CAR, its head.
    pub(super) heads: Vec<(SlotId, Cid, Vec<Cid>)>,
}

impl Task {
    pub(super) async fn list(&mut self) -> Result<Listing> {
        let mut listing = Listing::default();
        for (slot, announcement) in self.gateway.slots().await? {
            let file = match MetaFile::parse(&announcement.meta) {
                Ok(file) => file,
                Err(error) => {
                    listing
                        .malformed
                        .push(pending(&slot, format!("the slot cannot be read: {error}")));
                    continue;
                }
            };
            listing
                .malformed
                .extend(file.damaged.iter().map(|(_, error)| {
                    pending(&slot, format!("a part of the slot cannot be read: {error}"))
                }));
            let groups = file
                .events
                .into_iter()
                .map(|(_, event)| event.cars)
                .filter(|group| !group.is_empty());
            listing.announced.extend(groups.map(|group| Announced {
                slot: slot.clone(),
                group,
            }));
            if slot != self.slot {
                listing.wants.extend(announcement.wants);
            }
        }
        Ok(listing)
    }

    /// Brings every head of the listing here that can be had, and applies them all at once; one
    /// that lacks something does not keep back the others.
    pub(super) async fn pull(&mut self, listing: &Listing) -> Result<Pulled> {
        let mut pulled = Pulled {
            pending: listing.malformed.clone(),
            ..Pulled::default()
        };
        self.fetch(
            listing
                .announced
                .iter()
                .flat_map(|announced| announced.group.iter().copied()),
        )
        .await?;
        let mut fresh: Vec<(SlotId, Arc<CarHeader>, Vec<Cid>)> = Vec::new();
        for Announced { slot, group } in &listing.announced {
            if let Some(waiting) = self.in_trouble(slot, group, &mut pulled.needs_key) {
                pulled.pending.push(waiting);
                continue;
            }
            let Some(header) = self.header(&group[0])? else {
                pulled
                    .pending
                    .push(pending(slot, format!("CAR {} has no header", group[0])));
                continue;
            };
            self.learn_groups(group, &header)?;
            let Some(head) = header.head.clone() else {
                continue;
            };
            if !self.is_applied(&head)? {
                fresh.push((slot.clone(), header, head.clone()));
            }
            pulled.heads.push((slot.clone(), group[0], head));
        }
        if !fresh.is_empty() {
            self.pull_fresh(&fresh, &mut pulled).await?;
        }
        if !self.missing.is_empty() {
            self.fetch_missing().await?;
        }
        let mut applied = Vec::new();
        for (_, _, head) in &pulled.heads {
            if self.is_applied(head)? {
                applied.extend(head.iter().copied());
            }
        }
        applied.sort_unstable();
        applied.dedup();
        let local = self.ledger.snapshot().head.clone();
        // Everything applied is in the past of the local head.
        pulled.covered = match local
            .iter()
            .all(|event| applied.binary_search(event).is_ok())
        {
            true => local,
            false => clock::join(&self.ledger.source, &[], &applied)?,
        };
        Ok(pulled)
    }

    /// Fetches what new heads need, oldest CARs first, and moves the local head.
    async fn pull_fresh(
        &mut self,
        fresh: &[(SlotId, Arc<CarHeader>, Vec<Cid>)],
        pulled: &mut Pulled,
    ) -> Result<()> {
        let all: Vec<Cid> = fresh
            .iter()
            .flat_map(|(_, _, head)| head.iter().copied())
            .collect();
        self.check_join(&all)?;
        // What is new stands in the announced CAR itself, unless this database was away.
        match self.apply(all.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if error.missing().is_some() => {}
            Err(error) => return Err(error),
        }
        let listed = fresh
            .iter()
            .flat_map(|(_, header, _)| header.cars.iter().rev().flatten().copied());
        let wanted: Vec<Cid> = listed
            .filter(|car| !self.cars.get(car).is_some_and(|known| known.replaced))
            .collect();
        self.fetch(wanted).await?;
        self.check_join(&all)?;
        if fresh.len() > 1 && self.apply(all).await.is_ok() {
            return Ok(());
        }
        for (slot, header, head) in fresh {
            let outcome = match self.apply(head.clone()).await {
                // A JavaScript compaction can lose what was written while it ran; the CARs that
                // it replaced still have it.
                Err(error) if error.missing().is_some() && !header.compact.is_empty() => {
                    self.fetch(header.compact.iter().flatten().copied().collect::<Vec<_>>())
                        .await?;
                    self.apply(head.clone()).await
                }
                outcome => outcome,
            };
            let Err(error) = outcome else { continue };
            let Some(missing) = error.missing() else {
                return Err(error);
            };
            // A compaction may have dropped what came before its head did: then it is read again. A
            // block that is here is not what stands in the way, and noting it would wake every task
            // at once, again and again.
            if !self.ledger.source.contains(&missing)? {
                self.ledger.source.note_unreadable(&error);
            }
            let cars: Vec<Cid> = header
                .cars
                .iter()
                .flatten()
                .filter(|car| self.troubles.contains_key(*car))
                .copied()
                .collect();
            let cause = match cars
                .first()
                .and_then(|car| Some((car, self.troubles.get(car)?)))
            {
                Some((car, trouble)) => trouble.kind.words(car),
                None => format!("block {missing} is in none of the CARs that are there"),
            };
            for car in &cars {
                if let Some(TroubleKind::NeedsKey(key)) =
                    self.troubles.get(car).map(|trouble| &trouble.kind)
                {
                    pulled.needs_key = Some(*key);
                }
            }
            pulled.pending.push(Pending {
                slot: slot.clone(),
                head: head.clone(),
                missing: vec![missing],
                cars,
                cause,
            });
        }
        Ok(())
    }

    fn in_trouble(
        &self,
        slot: &SlotId,
        group: &[Cid],
        needs_key: &mut Option<KeyId>,
    ) -> Option<Pending> {
        let (car, trouble) = group
            .iter()
            .find_map(|car| Some((car, self.troubles.get(car)?)))?;
        if let TroubleKind::NeedsKey(key) = &trouble.kind {
            *needs_key = Some(*key);
        }
        Some(Pending {
            cars: group.to_vec(),
            ..pending(slot, trouble.kind.words(car))
        })
    }

    /// Whether the local head contains all of these events. Remembered, because it stays so.
    pub(super) fn is_applied(&mut self, head: &[Cid]) -> Result<bool> {
        let local = self.ledger.snapshot().head.clone();
        for event in head {
            if self.applied.contains(event) {
                continue;
            }
            let here = local.contains(event)
                || (self.ledger.source.known_generation(event)?.is_some()
                    && clock::contains(&self.ledger.source, &local, event)?);
            if !here {
                return Ok(false);
            }
            self.applied.insert(*event);
        }
        Ok(true)
    }

    async fn apply(&mut self, head: Vec<Cid>) -> Result<()> {
        let (ledger, origin) = (
            Arc::clone(&self.ledger),
            Origin::Remote(self.shared.name.clone()),
        );
        let missing = self.blocking(move || apply(&ledger, &head, origin)).await?;
        for document in missing {
            if self.missing.len() < MISSING_SHOWN && !self.missing.contains(&document) {
                self.missing.push(document);
            }
        }
        Ok(())
    }

    /// Documents whose block did not come with their event may be in any CAR of the remote.
    async fn fetch_missing(&mut self) -> Result<()> {
        let live: Vec<Cid> = self
            .record
            .live
            .iter()
            .flat_map(|group| group.cars.iter().copied())
            .collect();
        self.fetch(live).await?;
        let mut still = Vec::new();
        let tree = self.ledger.snapshot().tree.clone();
        for document in std::mem::take(&mut self.missing) {
            let wanted = tree.get(&self.ledger.source, &document.id)? == Some(document.cid);
            if wanted && !self.ledger.source.contains(&document.cid)? {
                let missing = crate::ledger::missing_document(document.cid, &document.id);
                self.ledger.source.note_unreadable(&missing);
                still.push(document);
            }
        }
        self.missing = still;
        Ok(())
    }

    /// Two ledgers that share nothing but the constant first event are joined only if that is
    /// allowed. Asked once per remote: later, JavaScript may begin anew on a folder that it could
    /// not read, and that belongs to the same ledger.
    fn check_join(&mut self, theirs: &[Cid]) -> Result<()> {
        let ours = self.ledger.snapshot().head.clone();
        if self.record.joined || ours.is_empty() {
            self.record.joined = true;
            return Ok(());
        }
        let source = &self.ledger.source;
        let first = genesis::GENESIS.event.cid;
        let only_genesis = |head: &[Cid]| head == [first];
        if only_genesis(&ours) || only_genesis(theirs) {
            return Ok(());
        }
        if theirs.iter().any(|event| source.generation(event).is_err()) {
            // Not all of it is here; the pull will say what is missing.
            return Ok(());
        }
        let mut shared = false;
        for event in theirs {
            shared |= clock::contains(source, &ours, event)?;
        }
        if !shared {
            let both: Vec<Cid> = ours.iter().chain(theirs).copied().collect();
            shared =
                clock::common_ancestor(source, &both)?.is_some_and(|ancestor| ancestor != first);
        }
        if !shared && !self.record.merge {
            return Err(Error::NeedsMerge {
                remote: self.shared.name.clone(),
            });
        }
        if !shared {
            tracing::warn!(remote = %self.shared.name, "joining two ledgers that began apart");
            self.record.began_apart = true;
        }
        self.record.joined = true;
        Ok(())
    }

    /// Keeps the list of live groups: what headers list, less what merged groups replaced.
    fn learn_groups(&mut self, group: &[Cid], header: &CarHeader) -> Result<()> {
        if !self.learned.insert(group[0]) {
            return Ok(());
        }
        for car in &header.replaced {
            self.mark_replaced(*car)?;
        }
        for compacted in &header.compact {
            if self.is_held_by(compacted, group)? {
                self.record.compacted_by_others = true;
                self.walked = None;
                for car in compacted {
                    self.mark_replaced(*car)?;
                }
            }
        }
        let listed = std::iter::once(group).chain(header.cars.iter().map(Vec::as_slice));
        let live = &self.record.live;
        let fresh: Vec<Group> = listed
            .filter(|cars| !cars.is_empty() && !live.iter().any(|known| known.cars == *cars))
            .map(|cars| Group {
                cars: cars.to_vec(),
                bytes: 0,
                ours: false,
            })
            .collect();
        self.record.live.splice(0..0, fresh);
        let (cars, replaced) = (&self.cars, &self.record.replaced);
        let live = std::mem::take(&mut self.record.live);
        let (live, gone): (Vec<Group>, Vec<Group>) = live.into_iter().partition(|group| {
            !group.cars.iter().any(|car| {
                replaced.contains(car) || cars.get(car).is_some_and(|known| known.replaced)
            })
        });
        self.record.live = live;
        gone.iter().for_each(|group| self.retire(group));
        let cars = &self.cars;
        for group in &mut self.record.live {
            if group.bytes == 0 {
                group.bytes = group
                    .cars
                    .iter()
                    .filter_map(|car| cars.get(car))
                    .map(|car| car.bytes)
                    .sum();
            }
        }
        Ok(())
    }

    /// Whether a compaction really kept every event of a group that it says it replaces: a write
    /// that was committed while JavaScript compacted is named there, but was not copied.
    fn is_held_by(&self, compacted: &[Cid], by: &[Cid]) -> Result<bool> {
        if compacted
            .iter()
            .all(|car| self.cars.get(car).is_some_and(|known| known.replaced))
        {
            return Ok(false);
        }
        let mut held: HashSet<Cid> = HashSet::new();
        for car in by {
            held.extend(self.blocks_of(car)?);
        }
        for car in compacted {
            for block in self.blocks_of(car)? {
                // An event whose parents have not come yet has no generation, so look at the block.
                if !held.contains(&block)
                    && let Some(bytes) = self.ledger.store().block(&block)?
                    && Event::decode(&bytes).is_ok()
                {
                    return Ok(false);
                }
            }
        }
        // One that is not here can still be read at the remote; one that is not there is lost.
        Ok(compacted
            .iter()
            .all(|car| self.cars.contains_key(car) || !self.there.contains(car)))
    }

    pub(super) fn mark_replaced(&mut self, car: Cid) -> Result<()> {
        match self.cars.get_mut(&car) {
            Some(known) if known.replaced => {}
            Some(known) => {
                known.replaced = true;
                let record = (
                    super::record::car_key(&self.shared.name, &car),
                    Some(known.encode()),
                );
                self.ledger.record(&[record])?;
            }
            None if !self.record.replaced.contains(&car) => self.record.replaced.push(car),
            None => {}
        }
        Ok(())
    }

    /// Whether a slot's name is that of the pointer that JavaScript reads.
    pub(super) fn is_pointer(slot: &str) -> bool {
        slot == MAIN_SLOT
    }
}

fn pending(slot: &str, cause: String) -> Pending {
    Pending {
        slot: slot.to_owned(),
        head: Vec::new(),
        missing: Vec::new(),
        cars: Vec::new(),
        cause,
    }
}

/// Joins a head and tells which of the documents that it brought have no block here.
fn apply(ledger: &Ledger, head: &[Cid], origin: Origin) -> Result<Vec<Missing>> {
    let before = ledger.snapshot();
    if !ledger.apply(head, origin, &[])? {
        return Ok(Vec::new());
    }
    let tree = &ledger.snapshot().tree;
    let mut missing = Vec::new();
    for event in clock::difference(&ledger.source, head, &before.head)? {
        for (key, value) in ledger.source.event(&event)?.puts() {
            if missing.len() < MISSING_SHOWN
                && !ledger.source.contains(&value)?
                && tree.get(&ledger.source, key)? == Some(value)
            {
                missing.push(Missing {
                    id: key.to_owned(),
                    cid: value,
                });
            }
        }
    }
    Ok(missing)
}
