//! Pushing: from the difference of heads to CARs and an announcement.

use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::header::CarHeader;
use firebrick_core::meta::MetaEvent;
use firebrick_core::pail::{PailError, Tree};
use firebrick_core::{Block, Cid, car, cid::Codec, document, genesis, group};
use futures_util::StreamExt as _;
use hashbrown::{HashMap, HashSet};

use super::cars::FETCH_AT_ONCE;
use super::files::{Owed, files_of};
use super::groups::{self, Group};
use super::pull::{Listing, Pulled};
use super::record::{CarRecord, car_key, encode_list};
use super::task::Task;
use crate::env;
use crate::error::{Error, Result};
use crate::gateway::Announcement;
use crate::ledger::Snapshot;

/// A push of more than this is cut into several CARs, so that memory stays bounded and a restart
/// does not begin at zero.
const CAR_BYTES: usize = 8 << 20;
/// Events gathered between two looks at what other tasks want.
const EVENTS_AT_ONCE: usize = 512;
/// Replaced CARs that a header names, for writers that still list them.
const REPLACED_TOLD: usize = 48;
/// CARs that one writer asks for at once.
const WANTS_MAX: usize = 64;

/// Blocks on their way into CARs, each once.
#[derive(Default)]
pub(super) struct Parcel {
    blocks: Vec<Block>,
    bytes: usize,
    seen: HashSet<Cid>,
    documents: u64,
    /// Of the documents that were added lately.
    files: Vec<Owed>,
}

impl Parcel {
    pub(super) fn add(&mut self, block: Block) {
        if self.seen.insert(block.cid) {
            self.bytes += car::section_len(&block);
            self.blocks.push(block);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether it is time for a CAR.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= CAR_BYTES
    }

    pub(super) fn take(&mut self) -> Vec<Block> {
        self.bytes = 0;
        std::mem::take(&mut self.blocks)
    }
}

impl Task {
    /// Sends what the remote's heads lack, documents and events first, the announcement last.
    pub(super) async fn push(&mut self, listing: &Listing, pulled: &Pulled) -> Result<()> {
        if !self.gateway.capabilities().write || self.ledger.read_only {
            self.record.acked.clone_from(&pulled.covered);
            return Ok(());
        }
        let lost = self.confirm(listing, pulled).await?;
        let completed = self.complete_walk().await?;
        let again = lost || completed;
        let snapshot = self.ledger.snapshot();
        let lacking = self.lacking(&snapshot).await?;
        let wants = self.wants();
        if !lacking.is_empty() {
            if let Some((car, _)) = self.send().await? {
                self.announce(Some(car), wants).await?;
            }
        } else if again && !snapshot.head.is_empty() {
            let car = match self.announced_with(&snapshot.head)? {
                Some(car) => car,
                None => match self.send().await? {
                    Some((car, _)) => car,
                    None => return Ok(()),
                },
            };
            self.announce(Some(car), wants).await?;
        } else if wants != self.wants_told {
            self.announce(self.record.announced, wants).await?;
        }
        self.point(pulled, completed).await
    }

    async fn lacking(&self, snapshot: &Snapshot) -> Result<Vec<Cid>> {
        if snapshot
            .head
            .iter()
            .all(|event| self.record.acked.contains(event))
        {
            return Ok(Vec::new());
        }
        Ok(clock::difference(
            &self.ledger.source,
            &snapshot.head,
            &self.record.acked,
        )?)
    }

    /// Compares what the remote shows with what it was seen to hold. A listing that shows less may
    /// be stale, or the remote has lost something: the CARs are looked at, lost ones are restored,
    /// and the announcement is made again. Returns whether it has to be.
    async fn confirm(&mut self, listing: &Listing, pulled: &Pulled) -> Result<bool> {
        let mut held = true;
        for event in &self.record.acked {
            held = held
                && (pulled.covered.contains(event)
                    || clock::contains(&self.ledger.source, &pulled.covered, event)?);
        }
        let mut lost: Vec<Cid> = listing
            .wants
            .iter()
            .filter(|car| self.cars.contains_key(*car))
            .copied()
            .collect();
        if !held || !self.audited {
            lost.extend(self.audit().await?);
            self.audited = true;
        } else if self.gateway.capabilities().shared_pointer {
            // A compaction by JavaScript deletes CARs that other processes still list.
            let live = self.record.live.iter().flat_map(|group| &group.cars);
            let gone = |car: &&Cid| !self.there.contains(*car) && self.cars.contains_key(*car);
            lost.extend(live.filter(gone).copied());
        }
        self.restore_files(&listing.wants).await?;
        let (mut complete, mut remade) = (true, false);
        for car in lost {
            let now = self.shared.env.now();
            if self
                .restored
                .get(&car)
                .is_some_and(|at| now < *at + super::task::RESTORE_AGAIN)
            {
                continue;
            }
            // Whoever asks may only lack the key, or somebody else was faster.
            if listing.wants.contains(&car) && self.is_whole(&car).await? {
                self.restored
                    .insert(car, now + super::task::LOOK_AGAIN_AT_WHOLE);
                continue;
            }
            if !self.restore(car).await? {
                // One that was replaced is of use to nobody who has the rest.
                let groups = &self.record.live;
                let is_live = groups.iter().any(|group| group.cars.contains(&car));
                let again = is_live && self.remake(car).await?;
                remade |= again;
                complete &= again || !is_live;
            }
            self.restored.insert(car, now);
        }
        if held || !complete {
            self.record.acked.clone_from(&pulled.covered);
        }
        if !complete {
            self.record.base = None;
        }
        Ok(!held || remade)
    }

    /// The live CARs that are not at the remote any more, or not wholly.
    pub(super) async fn audit(&self) -> Result<Vec<Cid>> {
        let live = self
            .record
            .live
            .iter()
            .flat_map(|group| &group.cars)
            .copied();
        // Sealed it is longer than plain: one that is shorter was cut by a failed upload.
        let is_whole = |car: &Cid, len: u64| {
            let plain = self.cars.get(car).map_or(0, |known| known.bytes);
            len >= plain
        };
        match self.gateway.list_cars().await? {
            Some(there) => {
                let there = there.into_iter().map(|entry| (entry.cid, entry.len));
                let there: HashMap<Cid, u64> = there.collect();
                let whole = |car: &Cid| there.get(car).is_some_and(|len| is_whole(car, *len));
                Ok(live.filter(|car| !whole(car)).collect())
            }
            None => {
                let (gateway, live) = (self.gateway.clone(), live.collect::<Vec<Cid>>());
                let mut looks = futures_util::stream::iter(live)
                    .map(move |car| {
                        let gateway = gateway.clone();
                        async move { (car, gateway.car_len(&car).await) }
                    })
                    .buffered(FETCH_AT_ONCE);
                let mut lost = Vec::new();
                while let Some((car, len)) = looks.next().await {
                    if len?.is_none_or(|len| !is_whole(&car, len)) {
                        lost.push(car);
                    }
                }
                Ok(lost)
            }
        }
    }

    /// CARs that cannot be read at the second attempt either: whoever has their blocks may help.
    fn wants(&self) -> Vec<Cid> {
        // A CAR whose key is unknown may be one whose key's name is damaged.
        let asking = self
            .troubles
            .iter()
            .filter(|(_, trouble)| trouble.tries >= 2);
        let files = self.files.peer.missing().into_iter();
        let files = files.map(|lack| lack.wanted.item.car);
        let mut wants: Vec<Cid> = asking.map(|(car, _)| *car).chain(files).collect();
        wants.sort_unstable();
        wants.truncate(WANTS_MAX);
        wants
    }

    /// Our last group that is still live, if its head is this one; not necessarily the one that was
    /// announced, as the process may have ended before. `None` if everything has to be listed anew.
    fn announced_with(&mut self, head: &[Cid]) -> Result<Option<Cid>> {
        if self.record.announced.is_none() {
            return Ok(None);
        }
        let own = self.record.live.iter().filter(|group| group.ours);
        let own: Vec<Cid> = own
            .filter_map(|group| group.cars.first().copied())
            .collect();
        for car in own {
            let is_it = self
                .header(&car)?
                .is_some_and(|header| header.head.as_deref() == Some(head));
            if is_it {
                return Ok(Some(car));
            }
        }
        Ok(None)
    }

    /// Uploads the events that the remote lacks and the shards of the tree; the last CAR has the
    /// header that lists everything. Returns that CAR, which nothing refers to yet, and its head.
    /// `None` if so many contents of files go first that the rest is for the next round.
    ///
    /// The snapshot is taken here: what is lacking must be asked of the very version that is sent,
    /// as writers go on meanwhile.
    async fn send(&mut self) -> Result<Option<(Cid, Vec<Cid>)>> {
        let snapshot = &*self.ledger.saved_snapshot()?;
        let lacking = self.lacking(snapshot).await?;
        self.progress.to_push = lacking.len() as u64;
        self.show_progress();
        let mut parcel = Parcel::default();
        for car in &self.record.staged {
            parcel.seen.extend(self.blocks_of(car)?);
        }
        for events in lacking.chunks(EVENTS_AT_ONCE) {
            self.gather(events, &mut parcel)?;
            if !self.send_files(std::mem::take(&mut parcel.files)).await? {
                return Ok(None);
            }
            if parcel.is_full() {
                self.stage(parcel.take()).await?;
            } else {
                env::yield_now().await;
            }
            self.progress.pushed += events.len() as u64;
            self.progress.to_push = self.progress.to_push.saturating_sub(events.len() as u64);
            self.show_progress();
        }
        let base = self.record.base.map(Tree::at);
        match self
            .gather_shards(snapshot, base.as_ref(), &mut parcel)
            .await
        {
            // The base's shards may be gone here; then the remote gets the whole tree.
            Err(Error::MissingBlock { .. }) if base.is_some() => {
                self.gather_shards(snapshot, None, &mut parcel).await?;
            }
            outcome => outcome?,
        }
        self.record.traffic.documents_up += parcel.documents;
        let car = self.commit(snapshot, parcel).await?;
        self.record.acked = clock::join(&self.ledger.source, &self.record.acked, &snapshot.head)?;
        self.record.base = Some(snapshot.tree.root());
        Ok(Some((car, snapshot.head.clone())))
    }

    /// Documents and events. A document that never arrived here cannot be sent; its event goes all
    /// the same, and whoever has the document sends it.
    fn gather(&self, events: &[Cid], parcel: &mut Parcel) -> Result<()> {
        for cid in events {
            let event = self.ledger.source.event(cid)?;
            for (id, value) in event.puts() {
                if parcel.seen.contains(&value) {
                    continue;
                }
                if let Some(bytes) = self.ledger.source.document(&value)? {
                    parcel.documents += u64::from(
                        document::fields_of(&bytes).is_ok() || document::is_tombstone(&bytes),
                    );
                    parcel.files.extend(files_of(id, &bytes));
                    parcel.add(Block { cid: value, bytes });
                }
            }
            if *cid == genesis::GENESIS.event.cid {
                // Where merges of ledgers that began apart start. No other root leads to it.
                parcel.add(genesis::GENESIS.root.clone());
            }
            let bytes = self.ledger.store().block(cid)?.ok_or(Error::MissingBlock {
                cid: *cid,
                id: None,
            })?;
            parcel.add(Block { cid: *cid, bytes });
        }
        Ok(())
    }

    async fn gather_shards(
        &mut self,
        snapshot: &Snapshot,
        base: Option<&Tree>,
        parcel: &mut Parcel,
    ) -> Result<()> {
        let ledger = std::sync::Arc::clone(&self.ledger);
        let mut full = Vec::new();
        let mut shards = snapshot.tree.shards_since(&ledger.source, base);
        loop {
            let next: Option<Result<Block, PailError>> = shards.next();
            match next.transpose()? {
                Some(shard) => parcel.add(shard),
                None => break,
            }
            if parcel.is_full() {
                full.push(parcel.take());
            }
        }
        drop(shards);
        for blocks in full {
            self.stage(blocks).await?;
        }
        Ok(())
    }

    /// Uploads a CAR that only carries blocks. Its header claims nothing new, so it does no harm if
    /// the rest never follows; it is remembered, so that the rest need not carry them again.
    pub(super) async fn stage(&mut self, blocks: Vec<Block>) -> Result<()> {
        let header = CarHeader {
            head: Some(self.record.acked.clone()),
            ..CarHeader::default()
        };
        let car = self.write_car(header, &blocks).await?;
        self.record.staged.push(car);
        self.save()
    }

    /// The last CAR of a push: its header lists every live group.
    async fn commit(&mut self, snapshot: &Snapshot, mut parcel: Parcel) -> Result<Cid> {
        let gone = self.merge_groups(parcel.bytes as u64).await?;
        let staged: Vec<Cid> = self.record.staged.iter().rev().copied().collect();
        let staged = staged.into_iter().map(|car| self.own_group(car));
        let is_gone = |group: &Group| group.cars.iter().any(|car| gone.contains(car));
        let (merged, kept): (Vec<Group>, Vec<Group>) =
            self.record.live.iter().cloned().partition(is_gone);
        let mut live: Vec<Group> = staged.chain(kept).collect();
        let mut replaced: Vec<Cid> = gone.iter().chain(&self.record.replaced).copied().collect();
        replaced.truncate(REPLACED_TOLD);
        let header = CarHeader {
            cars: live.iter().map(|group| group.cars.clone()).collect(),
            head: Some(snapshot.head.clone()),
            replaced: replaced.clone(),
            ..CarHeader::default()
        };
        let blocks = parcel.take();
        let car = self.write_car(header, &blocks).await?;
        merged.iter().for_each(|group| self.retire(group));
        for old in &gone {
            self.mark_replaced(*old)?;
        }
        live.retain(|group| group.cars != [car]);
        live.insert(0, self.own_group(car));
        self.record.live = live;
        self.record.replaced = replaced;
        self.record.staged.clear();
        Ok(car)
    }

    fn own_group(&self, car: Cid) -> Group {
        let bytes = self.cars.get(&car).map_or(0, |known| known.bytes);
        Group {
            cars: vec![car],
            bytes,
            ours: true,
        }
    }

    /// Merges groups that are due into one CAR of their own, which goes the way of a staged one:
    /// whoever has its blocks never needs to read it. Returns the CARs that it replaces.
    async fn merge_groups(&mut self, bytes: u64) -> Result<Vec<Cid>> {
        let reserved = self.record.staged.len() + 1;
        let due = groups::to_merge(&self.record.live, bytes, reserved, self.patience);
        if due.len() < 2 {
            return Ok(Vec::new());
        }
        let due: Vec<Vec<Cid>> = due
            .into_iter()
            .map(|at| self.record.live[at].cars.clone())
            .collect();
        self.fetch(due.iter().flatten().copied().collect::<Vec<_>>())
            .await?;
        let (mut parcel, mut gone) = (Parcel::default(), Vec::new());
        for cars in due {
            let mut content = Some(Vec::new());
            for car in &cars {
                let blocks = self.content_of(car).await?;
                content = content.zip(blocks).map(|(mut all, blocks)| {
                    all.extend(blocks);
                    all
                });
            }
            if let Some(blocks) = content {
                blocks.into_iter().for_each(|block| parcel.add(block));
                gone.extend(cars);
            }
        }
        self.stage(parcel.take()).await?;
        Ok(gone)
    }

    /// Makes a CAR, uploads it unless the remote has it, and remembers what is in it.
    async fn write_car(&mut self, header: CarHeader, blocks: &[Block]) -> Result<Cid> {
        let salt = self
            .ledger
            .keys
            .salt_key()
            .map(|key| group::salt(&key, blocks.iter().map(|block| &block.cid)));
        let header = CarHeader { salt, ..header }.encode();
        let plain = bytes::Bytes::from(car::encode(
            &[header.cid],
            std::iter::once(&header).chain(blocks),
        ));
        let (cid, len) = (Cid::of(Codec::Car, &plain), plain.len() as u64);
        if !self.cars.contains_key(&cid) {
            self.upload(&cid, plain).await?;
            let list = Block::new(
                Codec::Raw,
                encode_list(
                    std::iter::once(&header)
                        .chain(blocks)
                        .map(|block| &block.cid),
                ),
            );
            let record = CarRecord {
                list: list.cid,
                bytes: len,
                replaced: false,
            };
            // Recorded before it is announced: after a crash it is not uploaded again.
            self.ledger.ingest(
                vec![header, list],
                &self.shared.name,
                &[(car_key(&self.shared.name, &cid), Some(record.encode()))],
            )?;
            self.cars.insert(cid, record);
            // Equal states make equal CARs: another writer may have announced this one before it was
            // there, and nothing fetches it now.
            self.troubles.remove(&cid);
        }
        Ok(cid)
    }

    /// Puts our group, and what we cannot read, into our slot.
    async fn announce(&mut self, car: Option<Cid>, wants: Vec<Cid>) -> Result<()> {
        if !self.record.slots.contains(&self.slot) {
            self.record.slots.push(self.slot.clone());
            self.save()?;
        }
        let meta = car.map_or_else(|| "[]".to_owned(), meta_of);
        let announcement = Announcement {
            meta: meta.into(),
            wants: wants.clone(),
        };
        self.gateway.announce(&self.slot, &announcement).await?;
        self.wants_told = wants;
        self.record.announced = car;
        self.record.traffic.announces += 1;
        self.save()
    }

    /// Keeps the one pointer that JavaScript reads on a CAR whose head holds everything from here.
    /// Only one head is ever shown there: resolving several can take JavaScript minutes.
    ///
    /// `anew`: not even one that shows the same head will do, as it lists too little.
    async fn point(&mut self, pulled: &Pulled, anew: bool) -> Result<()> {
        let head = self.ledger.snapshot().head.clone();
        let pushed = head.iter().all(|event| self.record.acked.contains(event));
        if !self.gateway.capabilities().shared_pointer || head.len() != 1 || !pushed {
            return Ok(());
        }
        for (slot, car, shown) in &pulled.heads {
            if !anew
                && Self::is_pointer(slot)
                && clock::contains(&self.ledger.source, shown, &head[0]).unwrap_or(false)
                && self.goes_on_from(car)?
            {
                return Ok(());
            }
        }
        if !anew && self.pointed.as_ref() == Some(&head) && !self.pointer_differs().await? {
            return Ok(());
        }
        let car = match self.announced_with(&head)? {
            Some(car) => car,
            None => match pulled
                .heads
                .iter()
                .find(|(slot, _, shown)| !Self::is_pointer(slot) && *shown == head)
            {
                Some((_, car, _)) => *car,
                None => {
                    let Some((car, sent)) = self.send().await? else {
                        return Ok(());
                    };
                    self.announce(Some(car), self.wants_told.clone()).await?;
                    if sent != head {
                        // Somebody wrote meanwhile: the next round points.
                        return Ok(());
                    }
                    car
                }
            },
        };
        self.gateway.write_pointer(meta_of(car).into()).await?;
        self.pointed = Some(head);
        self.pointed_at = Some(car);
        Ok(())
    }

    /// Whether JavaScript can read as much from this CAR as from one of ours: it needs the CARs that
    /// the header lists, and ignores those that it calls compacted, even if a write was lost on the
    /// way. What ours would list in vain as well is no reason to replace it.
    fn goes_on_from(&mut self, car: &Cid) -> Result<bool> {
        let Some(header) = self.header(car)? else {
            return Ok(false);
        };
        let live = |cars: &Vec<Cid>| self.record.live.iter().any(|group| group.cars == *cars);
        let there = |cars: &Vec<Cid>| cars.iter().all(|car| self.there.contains(car));
        Ok(header.cars.iter().all(|cars| there(cars) || live(cars))
            && !header.compact.iter().any(live))
    }

    /// Whether someone has written the pointer since we did.
    async fn pointer_differs(&self) -> Result<bool> {
        let shown = self.gateway.read_pointer().await?;
        Ok(shown.is_none_or(|shown| {
            self.pointed_at
                .is_none_or(|car| shown != meta_of(car).as_bytes())
        }))
    }
}

/// The meta event that names a group, in the form of `main.json`. It names no parents, so equal
/// states make equal bytes.
fn meta_of(car: Cid) -> String {
    MetaEvent {
        cars: vec![car],
        parents: Vec::new(),
    }
    .to_main_json()
}
