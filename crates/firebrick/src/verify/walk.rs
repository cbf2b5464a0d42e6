//! The walk: shards and documents from the root, events and versions from the head, then indexes and
//! what is known of remotes.

use std::collections::VecDeque;

use bytes::Bytes;
use firebrick_core::clock::Event;
use firebrick_core::file::{self, Entry};
use firebrick_core::ordered::Node;
use firebrick_core::pail::{EMPTY_ROOT, Shard};
use firebrick_core::{Cid, document, genesis};
use hashbrown::{HashMap, HashSet};
use sha2::{Digest as _, Sha256};

use super::{Fault, Finding, Held, IndexSize, VerifyProgress, VerifyReport};
use crate::error::{Error, Result};
use crate::files::{self, Item, PART_BYTES, Wanted};
use crate::ledger::Ledger;
use crate::store::{Blob, StoreError};
use crate::tracker;

/// Blocks between two reports of progress.
const REPORT_EVERY: u64 = 1024;

struct Walk<'a> {
    ledger: &'a Ledger,
    /// Shards that are in memory only, which is as good.
    unsaved: HashMap<Cid, Bytes>,
    report: VerifyReport,
    seen: HashSet<Cid>,
    progress: &'a mut dyn FnMut(VerifyProgress),
}

/// What reading a block gave.
enum Found {
    Good(Bytes),
    /// Not here, and that was no fault, or it is noted.
    Nothing,
}

/// Memory grows with the number of blocks, not with their size.
pub(super) fn walk(
    ledger: &Ledger,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport> {
    // What a compaction drops meanwhile would seem to be missing.
    let _still = ledger.keep_still();
    let snapshot = ledger.snapshot();
    let unsaved = snapshot.tree.unsaved().into_iter();
    let mut walk = Walk {
        ledger,
        unsaved: unsaved.map(|block| (block.cid, block.bytes)).collect(),
        report: VerifyReport {
            head: snapshot.head.clone(),
            ..VerifyReport::default()
        },
        seen: HashSet::new(),
        progress,
    };
    walk.shards(snapshot.tree.root())?;
    walk.events(&snapshot.head)?;
    for (index, root) in ledger.index_roots() {
        walk.index(&index, root)?;
    }
    for (remote, list) in tracker::stored_lists(ledger) {
        if walk.seen.insert(list) {
            walk.read(list, || Held::CarList { remote }, true)?;
        }
    }
    walk.tell();
    let mut report = walk.report;
    report.store_damage = ledger.store().stats().damage;
    let found: Vec<String> = report.findings.iter().map(|f| f.cid.to_string()).collect();
    report
        .store_damage
        .retain(|text| !found.iter().any(|cid| text.contains(cid.as_str())));
    Ok(report)
}

impl Walk<'_> {
    /// Reads a block and notes what is wrong with it. With `needed`, being absent is a fault.
    fn read(&mut self, cid: Cid, held: impl FnOnce() -> Held, needed: bool) -> Result<Found> {
        let fault = match self.ledger.store().block(&cid) {
            Ok(Some(bytes)) if cid.matches(&bytes) => {
                self.count(bytes.len() as u64)?;
                return Ok(Found::Good(bytes));
            }
            Ok(Some(_)) => wrong_hash(),
            Ok(None) => {
                if let Some(bytes) = self.unsaved.get(&cid).cloned() {
                    self.count(bytes.len() as u64)?;
                    return Ok(Found::Good(bytes));
                }
                if !needed {
                    return Ok(Found::Nothing);
                }
                Fault::Missing
            }
            Err(StoreError::Corrupt { place, .. }) => Fault::Damaged { cause: place },
            Err(error) => return Err(error.into()),
        };
        self.note(cid, held(), fault, None);
        Ok(Found::Nothing)
    }

    fn count(&mut self, bytes: u64) -> Result<()> {
        self.report.blocks += 1;
        self.report.bytes += bytes;
        if self.report.blocks.is_multiple_of(REPORT_EVERY) {
            self.ledger.ensure_open()?;
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        (self.progress)(VerifyProgress {
            blocks: self.report.blocks,
            bytes: self.report.bytes,
            findings: self.report.findings.len() as u64,
        });
    }

    fn note(&mut self, cid: Cid, held: Held, fault: Fault, wanted: Option<Wanted>) {
        self.report.findings.push(Finding {
            cid,
            held,
            fault,
            remotes: Vec::new(),
            wanted,
        });
    }

    fn malformed(&mut self, cid: Cid, held: Held, cause: impl Into<String>) {
        let cause = cause.into();
        self.note(cid, held, Fault::Damaged { cause }, None);
    }

    fn shards(&mut self, root: Cid) -> Result<()> {
        let mut next = vec![(Vec::new(), root)];
        while let Some((prefix, cid)) = next.pop() {
            // The same in every ledger, and nobody needs to store them.
            let known = cid == EMPTY_ROOT || cid == genesis::GENESIS.root.cid;
            if !self.seen.insert(cid) || (known && !self.ledger.source.contains(&cid)?) {
                continue;
            }
            let held = || Held::Shard {
                prefix: String::from_utf8_lossy(&prefix).into_owned(),
            };
            let Found::Good(bytes) = self.read(cid, held, true)? else {
                continue;
            };
            let shard = match Shard::decode(&bytes) {
                Ok(shard) if shard.prefix() == prefix => shard,
                Ok(_) => {
                    self.malformed(cid, held(), "its prefix is not the one of its place");
                    continue;
                }
                Err(cause) => {
                    self.malformed(cid, held(), cause.to_string());
                    continue;
                }
            };
            self.report.shards += 1;
            for entry in shard.entries() {
                let key = [&prefix[..], entry.key].concat();
                if let Some(value) = entry.value {
                    self.document(value, &String::from_utf8_lossy(&key))?;
                }
                if let Some(child) = entry.child {
                    next.push((key, child));
                }
            }
        }
        Ok(())
    }

    fn document(&mut self, cid: Cid, id: &str) -> Result<()> {
        if id == document::GENESIS_KEY && cid == genesis::GENESIS.document.cid {
            return Ok(());
        }
        let is_new = self.seen.insert(cid);
        if !is_new && cid == document::TOMBSTONE.cid {
            // All deleted documents share it.
            self.report.documents += 1;
            self.report.deleted += 1;
            return Ok(());
        }
        let held = || Held::Document { id: id.to_owned() };
        if let Found::Good(bytes) = self.read(cid, held, true)? {
            self.report.documents += 1;
            self.report.deleted += u64::from(document::is_tombstone(&bytes));
            self.files(id, &bytes)?;
        }
        Ok(())
    }

    fn events(&mut self, head: &[Cid]) -> Result<()> {
        let mut next = head.to_vec();
        while let Some(cid) = next.pop() {
            if !self.seen.insert(cid) {
                continue;
            }
            let Found::Good(bytes) = self.read(cid, || Held::Event, true)? else {
                continue;
            };
            let event = match Event::decode(&bytes) {
                Ok(event) => event,
                Err(error) => {
                    self.malformed(cid, Held::Event, error.to_string());
                    continue;
                }
            };
            self.report.events += 1;
            next.extend(event.parents.iter().copied());
            for (id, value) in event.puts() {
                if self.seen.insert(value) {
                    self.version(value, id)?;
                }
            }
        }
        Ok(())
    }

    fn version(&mut self, cid: Cid, id: &str) -> Result<()> {
        if cid == genesis::GENESIS.document.cid {
            return Ok(());
        }
        let before = self.report.findings.len();
        let held = || Held::Version { id: id.to_owned() };
        match self.read(cid, held, false)? {
            Found::Good(bytes) => {
                self.report.versions += 1;
                self.files(id, &bytes)?;
            }
            Found::Nothing if self.report.findings.len() == before => {
                self.report.versions_not_kept += 1;
            }
            Found::Nothing => {}
        }
        Ok(())
    }

    /// The contents of a document's files, as far as they are here.
    fn files(&mut self, id: &str, document: &[u8]) -> Result<()> {
        for entry in file::entries(document) {
            match files::items(self.ledger, &entry) {
                Ok(Some(items)) => {
                    for item in items {
                        self.content(&item, id, &entry)?;
                    }
                }
                Ok(None) => self.report.contents_not_here += 1,
                Err(Error::Store(StoreError::Corrupt { .. })) => {
                    if let Some(list) = files::own_item(&entry) {
                        self.content(&list, id, &entry)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn content(&mut self, item: &Item, id: &str, entry: &Entry) -> Result<()> {
        if !self.seen.insert(item.cid) {
            return Ok(());
        }
        let store = self.ledger.store();
        let checked = match store.blob(&item.cid) {
            Ok(Some(blob)) => check(&blob).map(Some),
            Ok(None) => match store.block(&item.cid) {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes.len() as u64, item.cid.matches(&bytes)))),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let fault = match checked {
            Ok(Some((len, true))) => {
                self.report.contents += 1;
                return self.count(len);
            }
            Ok(None) => {
                self.report.contents_not_here += 1;
                return Ok(());
            }
            Ok(Some((_, false))) => wrong_hash(),
            Err(StoreError::Corrupt { place, .. }) => Fault::Damaged { cause: place },
            Err(error) => return Err(error.into()),
        };
        let (id, name) = (id.to_owned(), entry.name.clone());
        let held = Held::File {
            id: id.clone(),
            name: name.clone(),
        };
        let wanted = Wanted {
            id,
            name,
            item: *item,
        };
        self.note(item.cid, held, fault, Some(wanted));
        Ok(())
    }

    fn index(&mut self, name: &str, root: Cid) -> Result<()> {
        let mut next = VecDeque::from([root]);
        let mut size = IndexSize {
            name: name.to_owned(),
            nodes: 0,
            bytes: 0,
        };
        while let Some(cid) = next.pop_front() {
            if !self.seen.insert(cid) {
                continue;
            }
            let held = || Held::IndexNode {
                index: name.to_owned(),
            };
            let Found::Good(bytes) = self.read(cid, held, true)? else {
                continue;
            };
            match Node::decode(&bytes) {
                Ok(node) => {
                    size.nodes += 1;
                    size.bytes += bytes.len() as u64;
                    next.extend(node.stored_children());
                }
                Err(cause) => self.malformed(cid, held(), cause),
            }
        }
        self.report.indexes.push(size);
        Ok(())
    }
}

fn wrong_hash() -> Fault {
    Fault::Damaged {
        cause: "its bytes do not have its hash".to_owned(),
    }
}

/// Reads a content to its end: its length, and whether it has its hash.
fn check(blob: &Blob) -> Result<(u64, bool), StoreError> {
    let (mut hash, mut at) = (Sha256::new(), 0);
    while at < blob.len() {
        let part = blob.read(at..at + PART_BYTES)?;
        hash.update(&part);
        at += part.len() as u64;
    }
    let digest: [u8; 32] = hash.finalize().into();
    Ok((at, digest == *blob.cid().digest()))
}
