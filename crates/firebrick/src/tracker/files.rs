//! Contents of files: sent before the documents that refer to them, and fetched when they are
//! wanted.
//!
//! What is at the remote is looked up in its listing, so nothing is sent twice, also after a crash.
//! A content that is not here when its document is sent is *owed*: it follows when it comes, or is
//! passed on from another remote.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::file::{self, Entry, FileMeta};
use firebrick_core::pail::Range;
use firebrick_core::{Cid, document};
use futures_util::stream::{self, StreamExt as _};
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::status::{FileStatus, MissingFile};
use super::task::Task;
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::files::{self, Item, Peer, Wanted};
use crate::ledger::Ledger;

/// Bytes of files that one round sends or fetches, so that the rest of syncing is never kept
/// waiting for long.
const ROUND_BYTES: u64 = 64 << 20;
/// File CARs that are sent at the same time, so that one is sealed while the other is written. Each
/// is in memory twice.
const AT_ONCE: usize = 2;
/// How often owed contents are looked for.
const OWED_AGAIN: Duration = Duration::from_secs(5);
/// Owed contents that one round looks for: each look asks the disk and all other remotes.
const OWED_AT_ONCE: usize = 500;
/// Missing contents that one round looks for.
const MISSING_AT_ONCE: usize = 16;
/// Files shown in the status.
const SHOWN: usize = 100;

/// A file of a document that was sent, whose content was not here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Owed {
    id: String,
    name: String,
    meta: FileMeta,
}

impl Owed {
    /// Whether it is this file.
    pub(super) fn is_of(&self, id: &str, name: &str) -> bool {
        self.id == id && self.name == name
    }

    fn entry(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            public: false,
            meta: self.meta.clone(),
        }
    }
}

/// The files that a document refers to.
pub(super) fn files_of(id: &str, document: &[u8]) -> impl Iterator<Item = Owed> {
    let entries = file::entries(document).into_iter();
    entries.map(move |entry| Owed {
        id: id.to_owned(),
        name: entry.name,
        meta: entry.meta,
    })
}

/// What a task knows of files.
pub(super) struct FileWork {
    /// This remote as the readers see it.
    pub(super) peer: Arc<Peer>,
    /// File CARs at the remote with their stored lengths, once they were listed.
    there: Option<HashMap<Cid, u64>>,
    /// What this round may still move.
    budget: u64,
    /// The round stopped at its budget.
    pub(super) more: bool,
    owed_again: Duration,
    /// The owed content that was looked for last.
    owed_after: Option<Owed>,
    status: FileStatus,
}

/// How far sending came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// Some of it is not here.
    Lacking,
    /// The rest is for the next round.
    Paused,
}

impl FileWork {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer: Arc::new(peer),
            there: None,
            budget: 0,
            more: false,
            owed_again: Duration::ZERO,
            owed_after: None,
            status: FileStatus::default(),
        }
    }

    /// A new round begins.
    pub(super) fn begin(&mut self) {
        self.budget = ROUND_BYTES;
        self.more = false;
    }

    /// When owed contents are looked for again.
    pub(super) fn again_at(&self) -> Duration {
        self.owed_again
    }

    /// The remote failed, and may come back as another one.
    pub(super) fn forget(&mut self) {
        self.there = None;
    }
}

impl Task {
    /// Sends the contents of files whose documents are about to be sent. `false`: there are more
    /// of them than a round takes.
    pub(super) async fn send_files(&mut self, files: Vec<Owed>) -> Result<bool> {
        for file in files {
            match self.send_file(&file, false).await? {
                Sent::All => {}
                Sent::Paused => return Ok(false),
                Sent::Lacking => {
                    self.record.owed.insert(file);
                }
            }
        }
        Ok(true)
    }

    /// Sends what the remote lacks of a file; with `elsewhere`, also what other remotes have.
    async fn send_file(&mut self, file: &Owed, elsewhere: bool) -> Result<Sent> {
        let (ledger, entry) = (Arc::clone(&self.ledger), file.entry());
        let list = self.file_items(&file.id, &entry, elsewhere).await?;
        let Some(items) = list else {
            return Ok(Sent::Lacking);
        };
        self.list_files().await?;
        let mut lacking: Vec<Item> = items;
        let there = self.files.there.get_or_insert_default();
        // Sealed it is longer than plain: one that is shorter was cut by a failed upload.
        lacking.retain(|item| there.get(&item.car).is_none_or(|len| *len < item.len));
        let total: u64 = lacking.iter().map(|item| item.len).sum();
        let mut paused = false;
        if total > self.files.budget {
            let mut left = self.files.budget;
            let fits = |item: &Item| {
                let fits = left > 0;
                left = left.saturating_sub(item.len);
                fits
            };
            let count = lacking.iter().map(fits).take_while(|fits| *fits).count();
            paused = count < lacking.len();
            lacking.truncate(count);
        }
        self.files.more |= paused;
        self.files.status.bytes_to_push = total;
        self.show_progress();
        let (gateway, peer) = (self.gateway.clone(), Arc::clone(&self.files.peer));
        // So that one CAR takes the memory of another.
        let _buffers = Buffers::shared();
        let mut sends = stream::iter(lacking)
            .map(|item| {
                let (ledger, gateway, peer) = (ledger.clone(), gateway.clone(), peer.clone());
                async move {
                    let to = elsewhere.then_some(&peer);
                    let Some(sealed) = sealed(&ledger, item, to).await? else {
                        return Ok((item, 0));
                    };
                    let len = sealed.len() as u64;
                    gateway.put_file_car(&item.car, sealed).await?;
                    Ok::<_, Error>((item, len))
                }
            })
            .buffered(AT_ONCE);
        let mut sent = if paused { Sent::Paused } else { Sent::All };
        while let Some(done) = sends.next().await {
            let (item, len) = done?;
            if len == 0 {
                sent = if paused { sent } else { Sent::Lacking };
                continue;
            }
            self.files
                .there
                .get_or_insert_default()
                .insert(item.car, len);
            self.files.budget = self.files.budget.saturating_sub(item.len);
            self.record.traffic.bytes_up += len;
            self.record.traffic.cars_up += 1;
            self.progress.bytes += len;
            let status = &mut self.files.status;
            status.bytes_pushed += item.len;
            status.bytes_to_push = status.bytes_to_push.saturating_sub(item.len);
            self.show_progress();
        }
        Ok(sent)
    }

    /// The blocks of a file, the list of pieces last; `None` if that list is not to be had.
    async fn file_items(
        &self,
        id: &str,
        entry: &Entry,
        elsewhere: bool,
    ) -> Result<Option<Vec<Item>>> {
        let items = files::items(&self.ledger, entry)?;
        if items.is_some() || !elsewhere {
            return Ok(items);
        }
        match files::fetch_list(&self.ledger, id, entry).await {
            Ok(_) => files::items(&self.ledger, entry),
            Err(error) if is_of_content(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks which file CARs the remote has, once per run. One that cannot list gets them again.
    async fn list_files(&mut self) -> Result<()> {
        if self.files.there.is_none() {
            let listed = self.gateway.list_cars().await?.unwrap_or_default();
            let files = listed.into_iter().filter(|entry| entry.is_file);
            self.files.there = Some(files.map(|entry| (entry.cid, entry.len)).collect());
        }
        Ok(())
    }

    /// Contents beyond those that go with their documents: owed ones, missing ones, and all, if
    /// that was asked for.
    pub(super) async fn exchange_files(&mut self) -> Result<()> {
        if self.gateway.capabilities().write && !self.ledger.read_only {
            self.pay_owed().await?;
        }
        let now = self.shared.env.now();
        for wanted in self.files.peer.due(now).into_iter().take(MISSING_AT_ONCE) {
            self.fetch_file(&wanted).await?;
        }
        if self.shared.prefetch {
            self.prefetch().await?;
        }
        Ok(())
    }

    async fn pay_owed(&mut self) -> Result<()> {
        let now = self.shared.env.now();
        if self.record.owed.is_empty() || now < self.files.owed_again {
            return Ok(());
        }
        let after = self.files.owed_after.clone();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.record.owed.range((begin, Bound::Unbounded));
        let next: Vec<Owed> = next.take(OWED_AT_ONCE).cloned().collect();
        let (is_end, mut paid, mut paused) = (next.len() < OWED_AT_ONCE, false, false);
        for file in next {
            match self.send_file(&file, true).await? {
                Sent::All => paid |= self.record.owed.remove(&file),
                Sent::Lacking => {}
                Sent::Paused => {
                    paused = true;
                    break;
                }
            }
            self.files.owed_after = Some(file);
        }
        if is_end && !paused {
            self.files.owed_after = None;
        }
        // While there is something to send, it goes on at once.
        match paused || paid && !is_end {
            true => self.files.more = true,
            false => self.files.owed_again = now + OWED_AGAIN,
        }
        if paid {
            self.save()?;
        }
        Ok(())
    }

    /// Fetches a content from whoever has it; whether it is here now.
    async fn fetch_file(&mut self, wanted: &Wanted) -> Result<bool> {
        let fetched = self.ledger.files.fetch(&self.ledger, wanted, false).await;
        match fetched {
            Ok(()) => Ok(true),
            Err(error) if is_of_content(&error) => {
                self.last_error = Some(error.to_string());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Brings the contents of all present documents here, those of new events first.
    async fn prefetch(&mut self) -> Result<()> {
        let snapshot = self.ledger.snapshot();
        if self.record.prefetched == snapshot.head {
            return Ok(());
        }
        let _buffers = Buffers::shared();
        let source = &self.ledger.source;
        let events = clock::difference(source, &snapshot.head, &self.record.prefetched)?;
        let mut seen = HashSet::new();
        for event in events {
            let event = self.ledger.source.event(&event)?;
            for (id, value) in event.puts() {
                let source = &self.ledger.source;
                if !seen.insert(value) || snapshot.tree.get(source, id)? != Some(value) {
                    continue;
                }
                let Some(document) = source.document(&value)? else {
                    continue;
                };
                for file in files_of(id, &document) {
                    if !self.prefetch_file(&file).await? {
                        return Ok(());
                    }
                }
            }
        }
        if !self.ledger.read_only {
            let ledger = Arc::clone(&self.ledger);
            self.blocking(move || Ok(ledger.store().sync_blobs()?))
                .await?;
        }
        self.record.prefetched.clone_from(&snapshot.head);
        self.save()
    }

    /// `false`: the round's budget is used up.
    async fn prefetch_file(&mut self, file: &Owed) -> Result<bool> {
        let entry = file.entry();
        let Some(items) = self.file_items(&file.id, &entry, true).await? else {
            return Ok(true);
        };
        for item in items {
            let ledger = Arc::clone(&self.ledger);
            if self
                .blocking(move || files::is_here(&ledger, &item))
                .await?
            {
                continue;
            }
            if self.files.budget == 0 {
                self.files.more = true;
                return Ok(false);
            }
            self.files.budget = self.files.budget.saturating_sub(item.len);
            let wanted = Wanted {
                id: file.id.clone(),
                name: file.name.clone(),
                item,
            };
            self.fetch_file(&wanted).await?;
            self.show_progress();
        }
        Ok(true)
    }

    /// File CARs that others cannot read, and that are fine here, are put back.
    pub(super) async fn restore_files(&mut self, wants: &[Cid]) -> Result<()> {
        let now = self.shared.env.now();
        let due = |car: &&Cid| {
            !self.cars.contains_key(*car) && self.restored.get(*car).is_none_or(|at| now >= *at)
        };
        let wanted: HashSet<Cid> = wants.iter().filter(due).copied().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        for car in &wanted {
            let again = now + super::task::LOOK_AGAIN_AT_WHOLE;
            self.restored.insert(*car, again);
        }
        let ledger = Arc::clone(&self.ledger);
        let found = self
            .blocking(move || items_of_cars(&ledger, &wanted))
            .await?;
        for item in found {
            if self.is_whole_file(&item).await? {
                continue;
            }
            let to = Arc::clone(&self.files.peer);
            if let Some(sealed) = sealed(&self.ledger, item, Some(&to)).await? {
                self.gateway.put_file_car(&item.car, sealed).await?;
                tracing::info!(remote = %self.shared.name, car = %item.car, "uploaded a file again that the remote had lost");
            }
        }
        Ok(())
    }

    /// Whether the remote has a readable copy.
    async fn is_whole_file(&self, item: &Item) -> Result<bool> {
        match self.gateway.get_file_car(&item.car).await {
            Ok(Some(sealed)) => {
                let (ledger, car) = (Arc::clone(&self.ledger), item.car);
                self.blocking(move || Ok(ledger.keys.opens_as(&car, sealed)))
                    .await
            }
            Ok(None) => Ok(false),
            Err(error) if error.is_retryable() => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// What the status says of files.
    pub(super) fn file_status(&self) -> FileStatus {
        let missing = self.files.peer.missing().into_iter();
        let missing = missing.map(|lack| MissingFile {
            id: lack.wanted.id,
            name: lack.wanted.name,
            cid: lack.wanted.item.cid,
            cause: lack.cause,
        });
        let owed = self.record.owed.iter().filter_map(|file| {
            Some(MissingFile {
                id: file.id.clone(),
                name: file.name.clone(),
                cid: file.meta.content()?,
                cause: "neither this machine nor the remote has it".into(),
            })
        });
        FileStatus {
            bytes_fetched: self.files.peer.bytes_down.load(Ordering::Relaxed),
            missing: missing.chain(owed).take(SHOWN).collect(),
            ..self.files.status.clone()
        }
    }
}

/// Whether an error is about one content, and nothing else is kept back by it.
fn is_of_content(error: &Error) -> bool {
    matches!(
        error,
        Error::MissingFile { .. } | Error::NeedsKey { .. } | Error::Malformed { .. }
    )
}

/// The sealed CAR of a content that is here, or that another remote than `to` has.
async fn sealed(ledger: &Arc<Ledger>, item: Item, to: Option<&Arc<Peer>>) -> Result<Option<Bytes>> {
    let of = Arc::clone(ledger);
    let made = ledger.blocking(move || files::sealed_car(&of, &item));
    match (made.await?, to) {
        (Some(sealed), _) => Ok(Some(sealed)),
        (None, Some(to)) => ledger.files.pass_on(ledger, &item, to).await,
        (None, None) => Ok(None),
    }
}

/// Looks through all present documents for the contents that these CARs hold. Rare: only when
/// somebody cannot read a CAR that nothing else here knows.
fn items_of_cars(ledger: &Ledger, cars: &HashSet<Cid>) -> Result<Vec<Item>> {
    let snapshot = ledger.snapshot();
    let mut found = Vec::new();
    for entry in snapshot
        .tree
        .entries(ledger.source.scanning(), Range::default())
    {
        let (id, value) = entry?;
        if id == document::GENESIS_KEY {
            continue;
        }
        let Some(block) = ledger.source.document(&value)? else {
            continue;
        };
        for entry in file::entries(&block) {
            let items = files::items(ledger, &entry)?.unwrap_or_default();
            found.extend(items.into_iter().filter(|item| cars.contains(&item.car)));
        }
    }
    Ok(found)
}
