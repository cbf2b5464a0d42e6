//! From a source to blocks on the disk, a few megabytes at a time.

use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::file::{self, FileMeta, MAX_PIECES, Manifest, Piece};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use super::local::{self, Held, Item, Ready};
use super::source::FileSource;
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::BlobWriter;

/// Contents up to this size are one block, the form that JavaScript reads.
pub(super) const SINGLE_BYTES: usize = 16 << 20;
/// The pieces of longer ones.
pub(super) const PIECE_BYTES: usize = 2 << 20;
/// The longest single block: what a remote takes as one CAR, less what stands around it.
const SINGLE_MAX: u64 = 1000 << 20;
/// Pieces on their way to the disk at the same time: while some are hashed and sealed, others are
/// synced.
const AT_ONCE: usize = 4;

/// A content that was taken in. Dropped before it is kept, it leaves nothing.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) meta: FileMeta,
    ready: Vec<Ready>,
}

impl Taken {
    /// Makes the content visible, for a document to refer to it.
    pub(super) async fn keep(self, ledger: &Arc<Ledger>) -> Result<()> {
        let of = Arc::clone(ledger);
        ledger.blocking(move || local::keep(&of, self.ready)).await
    }
}

/// A source that knows how far it came.
struct Input {
    ledger: Arc<Ledger>,
    name: String,
    source: FileSource,
    read: u64,
    /// So that what was read into is read into again.
    _buffers: Buffers,
}

impl Input {
    fn failed(&self, source: std::io::Error) -> Error {
        Error::FileSource {
            name: self.name.clone(),
            after: self.read,
            source,
        }
    }

    async fn next(&mut self, wanted: usize) -> Result<Bytes> {
        let next = self.source.next(wanted, &*self.ledger.env).await;
        let bytes = next.map_err(|error| self.failed(error))?;
        self.read += bytes.len() as u64;
        Ok(bytes)
    }
}

/// Reads a source to its end and writes its content to the disk.
pub(super) async fn take(ledger: &Arc<Ledger>, name: &str, source: FileSource) -> Result<Taken> {
    let mut input = Input {
        ledger: Arc::clone(ledger),
        name: name.to_owned(),
        source,
        read: 0,
        _buffers: Buffers::shared(),
    };
    let begun = input.source.begin(&*ledger.env).await;
    begun.map_err(|error| input.failed(error))?;
    let mut first = Vec::new();
    let mut len = 0;
    // One byte more tells whether there is more.
    while len <= SINGLE_BYTES {
        let bytes = input.next(PIECE_BYTES.min(SINGLE_BYTES + 1 - len)).await?;
        if bytes.is_empty() {
            break;
        }
        len += bytes.len();
        first.push(bytes);
    }
    let source = &mut input.source;
    let (media_type, last_modified) = (source.content_type.take(), source.last_modified);
    let Content {
        cid,
        car,
        size,
        ready,
    } = if len <= SINGLE_BYTES {
        single(ledger, first).await?
    } else if input.source.single_block {
        long_single(input, first).await?
    } else {
        cut(input, first).await?
    };
    let meta = FileMeta {
        cid: cid.into(),
        car: vec![car.into()],
        size,
        media_type: media_type.unwrap_or_else(|| "application/octet-stream".into()),
        last_modified: last_modified.unwrap_or_else(|| ledger.env.unix_ms() as i64),
    };
    Ok(Taken { meta, ready })
}

/// What a document is to refer to.
struct Content {
    cid: Cid,
    car: Cid,
    size: u64,
    ready: Vec<Ready>,
}

async fn single(ledger: &Arc<Ledger>, parts: Vec<Bytes>) -> Result<Content> {
    let (item, ready) = stage(Arc::clone(ledger), parts).await?;
    Ok(Content {
        cid: item.cid,
        car: item.car,
        size: item.len,
        ready: vec![ready],
    })
}

async fn stage(ledger: Arc<Ledger>, parts: Vec<Bytes>) -> Result<(Item, Ready)> {
    let of = Arc::clone(&ledger);
    let written = ledger.blocking(move || {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        local::stage(&of, raw(hash), &parts)
    });
    let (item, held) = written.await?;
    // Apart, because the content is not in memory any more while the disk is waited for.
    Ok((item, sync(&ledger, held).await?))
}

async fn sync(ledger: &Arc<Ledger>, held: Held) -> Result<Ready> {
    match held {
        Held::Blob(_) => ledger.blocking(|| held.sync()).await,
        _ => held.sync(),
    }
}

fn raw(hash: Sha256) -> Cid {
    Cid::from_digest(Codec::Raw, hash.finalize().into())
}

/// One block that may be longer than memory: it is named when all of it has been seen.
async fn long_single(mut input: Input, first: Vec<Bytes>) -> Result<Content> {
    struct State {
        hash: Sha256,
        writer: Option<BlobWriter>,
        parts: Vec<Bytes>,
    }
    let ledger = Arc::clone(&input.ledger);
    let mut state = State {
        hash: Sha256::new(),
        writer: ledger.store().stage_blob()?,
        parts: Vec::new(),
    };
    let mut first = first.into_iter();
    loop {
        let bytes = match first.next() {
            Some(bytes) => bytes,
            None => input.next(PIECE_BYTES).await?,
        };
        if bytes.is_empty() {
            break;
        }
        if input.read > SINGLE_MAX {
            return Err(Error::FileTooLarge {
                name: input.name,
                limit: SINGLE_MAX,
                form: "a single block",
            });
        }
        state = ledger
            .blocking(move || {
                state.hash.update(&bytes);
                match &mut state.writer {
                    Some(writer) => writer.write(&bytes)?,
                    None => state.parts.push(bytes),
                }
                Ok(state)
            })
            .await?;
    }
    let (of, len) = (Arc::clone(&ledger), input.read);
    ledger
        .blocking(move || {
            let cid = raw(state.hash);
            let held = match state.writer {
                Some(writer) => Held::Blob(writer.finish(cid)?),
                None => Held::Block(firebrick_core::Block {
                    cid,
                    bytes: state.parts.concat().into(),
                }),
            };
            let car = local::name_car(&cid, len, &held, of.keys.salt_key().as_ref())?;
            let known = local::is_here(&of, &Item { cid, car, len })?;
            Ok(Content {
                cid,
                car,
                size: len,
                ready: vec![if known { Ready::Here } else { held.sync()? }],
            })
        })
        .await
}

/// Pieces in CARs of their own, and the list of them.
async fn cut(input: Input, first: Vec<Bytes>) -> Result<Content> {
    let (ledger, name) = (Arc::clone(&input.ledger), input.name.clone());
    let (mut items, mut ready) = (Vec::new(), Vec::new());
    {
        // The last of the first reads is the byte that told that there is more.
        let next = (first.into_iter(), input);
        let pieces = stream::try_unfold(next, |(mut first, mut input)| async move {
            let begun = first.next().unwrap_or_default();
            let parts = match begun.len() {
                PIECE_BYTES => vec![begun],
                short => vec![begun, input.next(PIECE_BYTES - short).await?],
            };
            let is_end = parts.iter().all(Bytes::is_empty);
            Ok::<_, Error>((!is_end).then_some((parts, (first, input))))
        });
        let of = Arc::clone(&ledger);
        let staged = pieces.map_ok(move |parts| stage(Arc::clone(&of), parts));
        let mut staged = std::pin::pin!(staged.try_buffered(AT_ONCE));
        while let Some(piece) = staged.next().await {
            let (item, piece) = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    // What is on its way to the disk must be gone when the caller hears of it.
                    while staged.next().await.is_some() {}
                    return Err(error);
                }
            };
            items.push(item);
            ready.push(piece);
            if items.len() > MAX_PIECES {
                break;
            }
        }
    }
    let manifest = Manifest {
        size: items.iter().map(|item| item.len).sum(),
        piece_bytes: PIECE_BYTES as u64,
        pieces: items
            .iter()
            .map(|Item { cid, car, .. }| Piece {
                cid: *cid,
                car: *car,
            })
            .collect(),
    };
    let list = manifest.encode().map_err(|_| Error::FileTooLarge {
        name,
        limit: (PIECE_BYTES * MAX_PIECES) as u64,
        form: "pieces",
    })?;
    let key = ledger.keys.salt_key();
    let car = match &key {
        Some(key) => file::car_salted(&[list.cid], [&list], key),
        None => file::car(&[list.cid], [&list]),
    };
    let cid = list.cid;
    ready.push(Ready::Block(list));
    Ok(Content {
        cid,
        car: car.cid,
        size: manifest.size,
        ready,
    })
}
