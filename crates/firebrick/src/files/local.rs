//! Contents on this machine: small ones among the blocks, large ones beside the log.

use std::ops::Range;

use bytes::Bytes;
use firebrick_core::cid::Codec;
use firebrick_core::file::{self, Parts};
use firebrick_core::keys::SaltKey;
use firebrick_core::{Block, Cid, ordered};

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::{Blob, Commit, StagedBlob, StoreError, StoredBlock, WrittenBlob};

/// Contents up to this size lie among the blocks: a file of its own costs a sync of its own.
pub(super) const INLINE_BYTES: u64 = 64 << 10;

/// Bytes of a content that are in memory at once when it is read from front to back.
pub(crate) const PART_BYTES: u64 = 1 << 20;

/// One block of a file, as a document or a list of pieces names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) cid: Cid,
    pub(crate) car: Cid,
    pub(crate) len: u64,
}

/// A content that was taken in and that nothing shows yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub(super) enum Held {
    /// It was here before.
    Here,
    Block(Block),
    Blob(WrittenBlob),
}

impl Held {
    /// Waits for the disk, for what does not get there with the commit.
    pub(super) fn sync(self) -> Result<Ready> {
        Ok(match self {
            Self::Here => Ready::Here,
            Self::Block(block) => Ready::Block(block),
            Self::Blob(blob) => Ready::Blob(blob.sync()?),
        })
    }
}

/// What was [held](Held) and has only to be made visible.
#[derive(Debug)]
pub(super) enum Ready {
    Here,
    Block(Block),
    Blob(StagedBlob),
}

/// A content that can be read.
enum Found {
    Block(Bytes),
    Blob(Blob),
}

impl Found {
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        match self {
            Self::Block(bytes) => {
                let len = bytes.len() as u64;
                let (start, end) = (range.start.min(len), range.end.min(len));
                Ok(bytes.slice(start as usize..end.max(start) as usize))
            }
            Self::Blob(blob) => blob.read(range),
        }
    }
}

fn find(ledger: &Ledger, item: &Item) -> Result<Option<Found>> {
    let blob = ledger.store().blob(&item.cid)?;
    let found = match blob {
        Some(blob) => Some(Found::Blob(blob)),
        None => ledger.store().block(&item.cid)?.map(Found::Block),
    };
    let len = match &found {
        None => return Ok(None),
        Some(Found::Block(bytes)) => bytes.len() as u64,
        Some(Found::Blob(blob)) => blob.len(),
    };
    // A document does not say how long a list of pieces is.
    if len == item.len || item.cid.codec() != Codec::Raw {
        return Ok(found);
    }
    Err(Error::Malformed {
        what: "file",
        cause: format!(
            "{} has {len} bytes, not the {} that are said",
            item.cid, item.len
        ),
    })
}

/// Whether the content is here, as far as can be told without reading it. One of another length
/// than the document says is: nothing better can be had, and whoever reads it is told.
pub(crate) fn is_here(ledger: &Ledger, item: &Item) -> Result<bool> {
    match find(ledger, item) {
        Ok(found) => Ok(found.is_some()),
        Err(Error::Store(StoreError::Corrupt { .. })) => Ok(false),
        Err(Error::Malformed { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A part of a content; `None` if it is not here.
pub(super) fn read(ledger: &Ledger, item: &Item, range: Range<u64>) -> Result<Option<Bytes>> {
    match find(ledger, item)? {
        Some(found) => Ok(Some(found.read(range)?)),
        None => Ok(None),
    }
}

/// The CAR of a content that is here, as it was first made and sealed; `None` if the content is
/// not here, or if its CAR holds more than it.
pub(crate) fn sealed_car(ledger: &Ledger, item: &Item) -> Result<Option<Bytes>> {
    let content = match read(ledger, item, 0..item.len) {
        Ok(Some(content)) => content,
        // A document that says a wrong length must not keep everything else from being sent.
        Ok(None) | Err(Error::Store(StoreError::Corrupt { .. }) | Error::Malformed { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    for key in ledger.keys.salt_keys() {
        let parts = Parts::new(&item.cid, content.len(), key.as_ref());
        let named = parts.try_cid([Ok::<_, StoreError>(content.clone())])?;
        if named == item.car {
            let sealed = ledger.keys.seal_named(&item.car, &parts.around(&content));
            return Ok(Some(sealed));
        }
    }
    Ok(None)
}

/// Writes a content whose CID is known. Its parts are hashed again for the name of its CAR.
pub(super) fn stage(ledger: &Ledger, cid: Cid, parts: &[Bytes]) -> Result<(Item, Held)> {
    let len = parts.iter().map(|part| part.len() as u64).sum();
    let key = ledger.keys.salt_key();
    let car = Parts::new(&cid, len as usize, key.as_ref())
        .try_cid(parts.iter().cloned().map(Ok::<_, StoreError>))?;
    let item = Item { cid, car, len };
    Ok((item, hold(ledger, &item, parts)?))
}

/// Writes a content to the disk unless it is here.
pub(super) fn hold(ledger: &Ledger, item: &Item, parts: &[Bytes]) -> Result<Held> {
    if is_here(ledger, item)? {
        return Ok(Held::Here);
    }
    write(ledger, item, parts)
}

/// Writes a content to the disk, even if one that can't be read is there.
pub(super) fn write(ledger: &Ledger, item: &Item, parts: &[Bytes]) -> Result<Held> {
    // Among the blocks, what looks like a node of an index is taken for one.
    let beginning = parts.iter().flatten().take(ordered::MARK.len());
    // Lists of pieces are read as blocks, however long they are.
    let is_long = item.len > INLINE_BYTES && item.cid.codec() == Codec::Raw;
    let writer = match is_long || beginning.eq(ordered::MARK) {
        true => ledger.store().stage_blob()?,
        false => None,
    };
    match (writer, parts) {
        (Some(mut writer), _) => {
            for part in parts {
                writer.write(part)?;
            }
            Ok(Held::Blob(writer.finish(item.cid)?))
        }
        (None, [bytes]) => Ok(Held::Block(Block {
            cid: item.cid,
            bytes: bytes.clone(),
        })),
        (None, parts) => Ok(Held::Block(Block {
            cid: item.cid,
            bytes: parts.concat().into(),
        })),
    }
}

/// Makes contents visible: they survive a loss of power before what refers to them does.
pub(super) fn keep(ledger: &Ledger, ready: Vec<Ready>) -> Result<()> {
    // What was here before may have been fetched, and only shown.
    let may_be_beside = |ready: &Ready| !matches!(ready, Ready::Block(_));
    let beside = ready.iter().any(may_be_beside);
    show(ledger, ready)?;
    if beside {
        ledger.store().sync_blobs()?;
    }
    Ok(())
}

/// Makes contents visible that can be fetched again if a loss of power takes them away.
pub(super) fn show(ledger: &Ledger, ready: Vec<Ready>) -> Result<()> {
    let (mut blocks, mut blobs) = (Vec::new(), Vec::new());
    for ready in ready {
        match ready {
            Ready::Here => {}
            Ready::Block(block) => blocks.push(block),
            Ready::Blob(blob) => blobs.push(blob),
        }
    }
    ledger.store().show_blobs(blobs)?;
    if !blocks.is_empty() {
        let blocks: Vec<StoredBlock> = blocks.into_iter().map(StoredBlock::from).collect();
        ledger.store().commit(&Commit {
            blocks: &blocks,
            ..Commit::default()
        })?;
    }
    Ok(())
}

/// The name of a content's CAR, read from what was taken in.
pub(super) fn name_car(cid: &Cid, len: u64, held: &Held, key: Option<&SaltKey>) -> Result<Cid> {
    let found: &dyn Fn(Range<u64>) -> Result<Bytes, StoreError> = match held {
        Held::Blob(written) => &|range| written.blob().read(range),
        Held::Block(block) => &|range| Found::Block(block.bytes.clone()).read(range),
        Held::Here => &|_| Ok(Bytes::new()),
    };
    let starts = (0..len).step_by(PART_BYTES as usize);
    let parts = starts.map(|start| found(start..(start + PART_BYTES).min(len)));
    Ok(Parts::new(cid, len as usize, key).try_cid(parts)?)
}

/// The blocks of a fetched CAR that are contents, every hash checked.
pub(super) fn unpack(
    ledger: &Ledger,
    sealed: Bytes,
) -> std::result::Result<Vec<Block>, firebrick_core::envelope::EnvelopeError> {
    let plain = ledger.keys.open_car(sealed)?;
    let blocks = firebrick_core::car::CarReader::new(plain);
    // A block that is damaged is as good as none: whoever wants it looks for it.
    let blocks = blocks
        .into_iter()
        .flat_map(|reader| reader.surviving().flatten());
    Ok(blocks
        .filter(|block| !file::is_salt(&block.bytes))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Database;

    #[tokio::test]
    async fn long_lists_of_pieces_are_blocks() {
        let place = tempfile::tempdir().unwrap();
        let options = Database::builder().path(place.path().join("db"));
        let db = options.keybag(place.path().join("keys")).open().await;
        let db = db.unwrap();
        for (codec, is_block) in [(Codec::DagCbor, true), (Codec::Raw, false)] {
            let bytes = Bytes::from(vec![7; INLINE_BYTES as usize + 1]);
            let (cid, len) = (Cid::of(codec, &bytes), bytes.len() as u64);
            let item = Item { cid, car: cid, len };
            let held = write(db.ledger(), &item, &[bytes]).unwrap();
            assert_eq!(matches!(held, Held::Block(_)), is_block, "{codec:?}");
        }
    }
}
