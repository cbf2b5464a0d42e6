//! Writing a backup, one CAR after the other.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::backup::{
    CAR_BYTES, FileHead, FrameKind, Header, PART_BYTES, Preamble, Trailer, frame_head,
};
use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::keys::Key;
use firebrick_core::pail::Tree;
use firebrick_core::{Block, Cid, car, envelope, file, genesis};
use hashbrown::HashSet;
use sha2::{Digest, Sha256};

use super::{BackupError, BackupInfo, BackupProgress, Progress};
use crate::error::{Error, Result};
use crate::files::{self, Item};
use crate::ledger::{Ledger, Snapshot};
use crate::store::{Blob, StoreError};

/// Events whose documents are read in one call.
const EVENTS_AT_ONCE: usize = 256;

/// What is to be written.
pub(super) struct Plan {
    pub(super) ledger: Arc<Ledger>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) key: Option<Key>,
    /// The head that whoever restores has already.
    pub(super) base: Vec<Cid>,
    pub(super) progress: Progress,
}

/// The file while it grows.
struct Sink<'a> {
    out: &'a mut dyn Write,
    what: &'a str,
    key: Option<&'a Key>,
    hash: Sha256,
    written: u64,
}

impl Sink<'_> {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::io(self.what))
    }

    fn frame(&mut self, kind: FrameKind, plain: &[u8]) -> Result<()> {
        let sealed = self.key.map(|key| envelope::seal(plain, key));
        let content = sealed.as_deref().unwrap_or(plain);
        let head = frame_head(kind, content.len()).ok_or_else(|| {
            Error::Config("a block of more than 4 GiB cannot be in a backup".into())
        })?;
        self.raw(&head)?;
        self.raw(content)
    }
}

/// What is being written: the file, and the blocks that wait for the next CAR.
struct Parcel<'a> {
    sink: Sink<'a>,
    blocks: Vec<Block>,
    seen: HashSet<Cid>,
    bytes: usize,
    /// Contents of files that are done.
    contents: HashSet<Cid>,
    missing: BTreeSet<String>,
    missing_files: BTreeSet<(String, String)>,
    totals: Trailer,
}

impl Parcel<'_> {
    fn add(&mut self, cid: Cid, bytes: Bytes) -> Result<()> {
        if self.seen.insert(cid) {
            self.bytes += bytes.len();
            self.totals.blocks += 1;
            self.totals.bytes += bytes.len() as u64;
            self.blocks.push(Block { cid, bytes });
        }
        match self.bytes < CAR_BYTES {
            true => Ok(()),
            false => self.flush(),
        }
    }

    fn flush(&mut self) -> Result<()> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let car = car::encode(&[], &self.blocks);
        self.blocks.clear();
        self.seen.clear();
        self.bytes = 0;
        self.totals.cars += 1;
        self.sink.frame(FrameKind::Car, &car)
    }

    /// Writes a content that lies in a file of its own; whether it could be read.
    fn content(&mut self, blob: &Blob) -> Result<bool> {
        let (cid, len) = (blob.cid(), blob.len());
        self.sink
            .frame(FrameKind::File, &FileHead { cid, len }.encode())?;
        let mut at = 0;
        while at < len {
            let part = match blob.read(at..at + PART_BYTES) {
                Err(StoreError::Corrupt { .. }) => {
                    self.sink.frame(FrameKind::Abandoned, &[])?;
                    return Ok(false);
                }
                part => part?,
            };
            at += part.len() as u64;
            self.sink.frame(FrameKind::Part, &part)?;
        }
        self.totals.files += 1;
        self.totals.file_bytes += len;
        Ok(true)
    }
}

impl Plan {
    pub(super) fn write(mut self, out: &mut dyn Write, what: &str) -> Result<BackupInfo> {
        let header = Header {
            ledger: self.ledger.name.clone(),
            created_ms: self.ledger.env.unix_ms(),
            head: self.snapshot.head.clone(),
            root: self.snapshot.tree.root(),
            base: self.base.clone(),
        };
        let events = self.events()?;
        let key = self.key.clone();
        let preamble = Preamble {
            key: key.as_ref().map(Key::key_id),
        };
        let mut parcel = Parcel {
            sink: Sink {
                out,
                what,
                key: key.as_ref(),
                hash: Sha256::new(),
                written: 0,
            },
            blocks: Vec::new(),
            seen: HashSet::new(),
            bytes: 0,
            contents: HashSet::new(),
            missing: BTreeSet::new(),
            missing_files: BTreeSet::new(),
            totals: Trailer::default(),
        };
        parcel.sink.raw(&preamble.encode())?;
        let head = header.encode().map_err(|error| malformed(&error))?;
        parcel.sink.frame(FrameKind::Header, &head)?;
        for some in events.chunks(EVENTS_AT_ONCE) {
            self.ledger.ensure_open()?;
            self.gather(some, &mut parcel)?;
            (self.progress)(BackupProgress {
                events: parcel.totals.events,
                events_total: events.len() as u64,
                bytes: parcel.totals.bytes + parcel.totals.file_bytes,
            });
        }
        self.shards(&mut parcel)?;
        parcel.flush()?;
        let mut sink = parcel.sink;
        let trailer = Trailer {
            missing: parcel.missing.into_iter().collect(),
            missing_files: parcel.missing_files.into_iter().collect(),
            hash: sink.hash.clone().finalize().into(),
            ..parcel.totals
        };
        let end = trailer.encode().map_err(|error| malformed(&error))?;
        sink.frame(FrameKind::Trailer, &end)?;
        let written = sink.written;
        Ok(BackupInfo::new(header, trailer, preamble, written))
    }

    /// The events that the base lacks, parents first.
    fn events(&self) -> Result<Vec<Cid>> {
        let source = &self.ledger.source;
        for event in &self.base {
            let known = source.known_generation(event)?.is_some();
            if !known || !clock::contains(source, &self.snapshot.head, event)? {
                return Err(BackupError::UnknownBase {
                    base: self.base.clone(),
                }
                .into());
            }
        }
        Ok(clock::difference(source, &self.snapshot.head, &self.base)?)
    }

    /// Documents and events. An old version that is no longer kept is left out; a document of the
    /// head that cannot be read is named.
    fn gather(&self, events: &[Cid], parcel: &mut Parcel<'_>) -> Result<()> {
        for cid in events {
            let event = self.ledger.source.event(cid)?;
            let puts: Vec<(&str, Cid)> = event.puts().collect();
            for some in puts.chunks(EVENTS_AT_ONCE) {
                let values: Vec<Cid> = some.iter().map(|(_, value)| *value).collect();
                for ((id, value), bytes) in some.iter().zip(self.readable(&values)?) {
                    match bytes {
                        Some(bytes) => {
                            self.contents(id, value, &bytes, parcel)?;
                            parcel.add(*value, bytes)?;
                        }
                        None if self.is_present(id, value)? => {
                            parcel.missing.insert((*id).to_owned());
                        }
                        None => {}
                    }
                }
            }
            let missing = Error::MissingBlock {
                cid: *cid,
                id: None,
            };
            let bytes = self.ledger.store().block(cid)?.ok_or(missing)?;
            parcel.totals.events += 1;
            parcel.add(*cid, bytes)?;
            if *cid == genesis::GENESIS.event.cid {
                let root = &genesis::GENESIS.root;
                parcel.add(root.cid, root.bytes.clone())?;
            }
        }
        Ok(())
    }

    /// Blocks as far as they are here and good.
    fn readable(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>> {
        let store = self.ledger.store();
        match store.blocks(cids) {
            Err(StoreError::Corrupt { .. }) => {}
            all => return Ok(all?),
        }
        let one = |cid| match store.block(cid) {
            Err(StoreError::Corrupt { .. }) => Ok(None),
            answer => Ok(answer?),
        };
        cids.iter().map(one).collect()
    }

    /// The contents of a document's files, each once.
    fn contents(
        &self,
        id: &str,
        value: &Cid,
        document: &[u8],
        parcel: &mut Parcel<'_>,
    ) -> Result<()> {
        for entry in file::entries(document) {
            let items = match files::items(&self.ledger, &entry) {
                Err(Error::Store(StoreError::Corrupt { .. })) => None,
                items => items?,
            };
            let mut whole = items.is_some();
            for item in items.unwrap_or_default() {
                whole &= self.content(&item, parcel)?;
            }
            if !whole && self.is_present(id, value)? {
                parcel.missing_files.insert((id.to_owned(), entry.name));
            }
        }
        Ok(())
    }

    /// Writes a content; whether it is here.
    fn content(&self, item: &Item, parcel: &mut Parcel<'_>) -> Result<bool> {
        if parcel.contents.contains(&item.cid) {
            return Ok(true);
        }
        let written = match self.ledger.store().blob(&item.cid) {
            Err(StoreError::Corrupt { .. }) => false,
            Err(error) => return Err(error.into()),
            Ok(Some(blob)) => parcel.content(&blob)?,
            Ok(None) => match self.readable(&[item.cid])?.pop().flatten() {
                Some(bytes) => {
                    parcel.add(item.cid, bytes)?;
                    true
                }
                None => false,
            },
        };
        if written {
            parcel.contents.insert(item.cid);
        }
        Ok(written)
    }

    fn is_present(&self, id: &str, value: &Cid) -> Result<bool> {
        let present = self.snapshot.tree.get(&self.ledger.source, id)?;
        Ok(present == Some(*value))
    }

    /// The shards of the head's root that the base's does not share.
    fn shards(&self, parcel: &mut Parcel<'_>) -> Result<()> {
        let source = &self.ledger.source;
        let base = match self.base.as_slice() {
            [only] => Some(Tree::at(source.event(only)?.root)),
            _ => None,
        };
        // The shards of an old root may be gone here; then all of the new one are written.
        let base = base.filter(|base| {
            let mut fresh = self.snapshot.tree.shards_since(source, Some(base));
            fresh.all(|shard| shard.is_ok())
        });
        for shard in self.snapshot.tree.shards_since(source, base.as_ref()) {
            let shard = shard?;
            parcel.add(shard.cid, shard.bytes)?;
        }
        Ok(())
    }
}

fn malformed(error: &firebrick_core::cbor::CborError) -> Error {
    Error::Malformed {
        what: "backup",
        cause: error.to_string(),
    }
}
