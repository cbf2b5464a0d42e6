//! Reading a file: from this machine, piece by piece, with what is missing fetched on the way.

use std::fmt;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use firebrick_core::Cid;
use firebrick_core::file::{Entry, Manifest};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::io::{AsyncRead, ReadBuf};

use super::FileInfo;
use super::exchange::Wanted;
use super::local::{self, Item, PART_BYTES};
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::StoreError;

/// Parts that are read ahead, the one that is asked for included: two pieces' worth, so that one is
/// fetched while the other is written.
const AHEAD: usize = 4;

/// The content of a file, or a range of it. Nothing is read before it is asked for.
///
/// It implements [`tokio::io::AsyncRead`]; [`chunk`](FileReader::chunk) needs no runtime.
///
/// ```
/// # use firebrick::{Database, Error, FileSource};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let files = db.files("summer");
/// files.put("sea.txt", FileSource::bytes("waves and sand")).await?;
/// use tokio::io::AsyncReadExt as _;
///
/// let mut file = files.get("sea.txt").await?.expect("it was just written");
/// let mut text = String::new();
/// file.read_to_string(&mut text).await.expect("it is here");
/// assert_eq!(text, "waves and sand");
/// # Ok(()) }
/// ```
pub struct FileReader {
    file: Arc<Opened>,
    range: Range<u64>,
    parts: Option<BoxStream<'static, Result<Bytes>>>,
    current: Bytes,
    /// So that parts take the memory of those that the reader has let go of.
    buffers: Buffers,
}

/// A file whose pieces are known.
struct Opened {
    ledger: Arc<Ledger>,
    id: String,
    info: FileInfo,
    pieces: Pieces,
}

enum Pieces {
    One(Item),
    Many(Manifest),
}

/// The blocks of a file in order; the list of pieces, if there is one, comes last. `None` if that
/// list is not here.
pub(crate) fn items(ledger: &Ledger, entry: &Entry) -> Result<Option<Vec<Item>>> {
    let Some(own) = own_item(entry) else {
        return Ok(Some(Vec::new()));
    };
    if !entry.meta.is_cut() {
        return Ok(Some(vec![own]));
    }
    let list = match ledger.store().block(&own.cid) {
        Ok(Some(list)) => list,
        Ok(None) | Err(StoreError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok(manifest) = Manifest::decode(&list) else {
        return Ok(Some(Vec::new()));
    };
    let pieces = (0..manifest.pieces.len()).map(|at| piece(&manifest, at));
    let list = Item {
        len: list.len() as u64,
        ..own
    };
    Ok(Some(pieces.chain([list]).collect()))
}

/// What the document names: the content, or the list of pieces, whose length it does not say.
pub(crate) fn own_item(entry: &Entry) -> Option<Item> {
    Some(Item {
        cid: entry.meta.content()?,
        car: entry.meta.car()?,
        len: entry.meta.size,
    })
}

fn piece(manifest: &Manifest, at: usize) -> Item {
    Item {
        cid: manifest.pieces[at].cid,
        car: manifest.pieces[at].car,
        len: manifest.place(at).1,
    }
}

/// Brings the list of pieces here.
pub(crate) async fn fetch_list(ledger: &Arc<Ledger>, id: &str, entry: &Entry) -> Result<Bytes> {
    let malformed = |cause: String| Error::Malformed {
        what: "file",
        cause: format!("{} of document {id:?}: {cause}", entry.name),
    };
    let item = own_item(entry).ok_or_else(|| malformed("it names no content".into()))?;
    let wanted = Wanted {
        id: id.to_owned(),
        name: entry.name.clone(),
        item,
    };
    for damaged in [false, true] {
        match ledger.store().block(&item.cid) {
            Ok(Some(list)) => return Ok(list),
            Ok(None) | Err(StoreError::Corrupt { .. }) => {
                ledger.files.fetch(ledger, &wanted, damaged).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let list = ledger.store().block(&item.cid)?;
    list.ok_or_else(|| malformed("its list of pieces cannot be had".into()))
}

impl FileReader {
    /// Looks up the pieces of a file.
    pub(super) async fn open(ledger: &Arc<Ledger>, id: &str, entry: &Entry) -> Result<Self> {
        let malformed = |cause: &dyn fmt::Display| Error::Malformed {
            what: "file",
            cause: format!("{} of document {id:?}: {cause}", entry.name),
        };
        let pieces = if entry.meta.is_cut() {
            let list = fetch_list(ledger, id, entry).await?;
            let manifest = Manifest::decode(&list).map_err(|error| malformed(&error))?;
            if manifest.size != entry.meta.size {
                return Err(malformed(&"its list of pieces is of another length"));
            }
            Pieces::Many(manifest)
        } else {
            let item = own_item(entry).ok_or_else(|| malformed(&"it names no content"))?;
            Pieces::One(item)
        };
        Ok(Self {
            range: 0..entry.meta.size,
            file: Arc::new(Opened {
                ledger: Arc::clone(ledger),
                id: id.to_owned(),
                info: FileInfo::of(entry),
                pieces,
            }),
            parts: None,
            current: Bytes::new(),
            buffers: Buffers::shared(),
        })
    }

    /// What the document says about the file.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves and sand")).await?;
    /// let file = files.get("sea.txt").await?.expect("it was just written");
    /// assert_eq!(file.info().size, 14);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn info(&self) -> &FileInfo {
        &self.file.info
    }

    /// Bytes that are left to read.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves and sand")).await?;
    /// let mut file = files.get("sea.txt").await?.expect("it was just written");
    /// assert_eq!(file.remaining(), 14);
    /// while file.chunk().await?.is_some() {}
    /// assert_eq!(file.remaining(), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes of this range only, counted from the beginning of the file, as far as the file
    /// reaches. Other pieces of a large file are not touched.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves and sand")).await?;
    /// let file = files.get("sea.txt").await?.expect("it was just written");
    /// assert_eq!(file.range(10..99).bytes().await?, "sand"); // no more than there is
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn range(self, range: impl RangeBounds<u64>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        let end = end.min(self.file.info.size);
        Self {
            file: self.file,
            range: start.min(end)..end,
            parts: None,
            current: Bytes::new(),
            buffers: self.buffers,
        }
    }

    /// The next bytes, at most 1 MiB; `None` at the end.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves and sand")).await?;
    /// let mut file = files.get("sea.txt").await?.expect("it was just written");
    /// let mut len = 0;
    /// while let Some(chunk) = file.chunk().await? {
    ///     len += chunk.len();
    /// }
    /// assert_eq!(len, 14);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingFile`] if they are not here and no attached remote has them,
    /// [`Error::Store`] if the disk fails.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        std::future::poll_fn(|context| self.poll_chunk(context)).await
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if !self.current.is_empty() {
            self.range.start += self.current.len() as u64;
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.current))));
        }
        let parts = self.parts.get_or_insert_with(|| {
            let file = Arc::clone(&self.file);
            let reads = Parts::new(Arc::clone(&self.file), self.range.clone())
                .map(move |(item, range)| read(Arc::clone(&file), item, range));
            stream::iter(reads).buffered(AHEAD).boxed()
        });
        let part = ready!(parts.poll_next_unpin(context)).transpose();
        match &part {
            Ok(Some(part)) => self.range.start += part.len() as u64,
            Ok(None) => {}
            // Whoever tries again gets this part, not the one after it.
            Err(_) => self.parts = None,
        }
        Poll::Ready(part)
    }

    /// All that is left, in memory.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves and sand")).await?;
    /// let file = files.get("sea.txt").await?.expect("it was just written");
    /// assert_eq!(file.bytes().await?, "waves and sand");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`chunk`](Self::chunk).
    pub async fn bytes(mut self) -> Result<Bytes> {
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        if self.remaining() == 0 {
            return Ok(first);
        }
        let mut all = first.to_vec();
        while let Some(next) = self.chunk().await? {
            all.extend_from_slice(&next);
        }
        Ok(all.into())
    }
}

/// The parts of a range: of which block, and which of its bytes.
struct Parts {
    file: Arc<Opened>,
    range: Range<u64>,
}

impl Parts {
    fn new(file: Arc<Opened>, range: Range<u64>) -> Self {
        Self { file, range }
    }
}

impl Iterator for Parts {
    type Item = (Item, Range<u64>);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.range.start;
        if at >= self.range.end {
            return None;
        }
        let (item, start) = match &self.file.pieces {
            Pieces::One(item) => (*item, 0),
            Pieces::Many(manifest) => {
                let index = (at / manifest.piece_bytes) as usize;
                (piece(manifest, index), manifest.place(index).0)
            }
        };
        let end = (start + item.len)
            .min(self.range.end)
            .min((at / PART_BYTES + 1).saturating_mul(PART_BYTES));
        self.range.start = end;
        Some((item, at - start..end - start))
    }
}

/// Reads a part, and fetches its block first if need be.
async fn read(file: Arc<Opened>, item: Item, range: Range<u64>) -> Result<Bytes> {
    let ledger = &file.ledger;
    let mut fetched = false;
    loop {
        let (of, part) = (Arc::clone(ledger), range.clone());
        let found = ledger.blocking(move || local::read(&of, &item, part)).await;
        let damaged = match found {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) if fetched => {
                return Err(Error::MissingBlock {
                    cid: item.cid,
                    id: Some(file.id.clone()),
                });
            }
            Ok(None) => false,
            Err(Error::Store(StoreError::Corrupt { .. })) if !fetched => true,
            Err(error) => return Err(error),
        };
        let wanted = Wanted {
            id: file.id.clone(),
            name: file.info.name.clone(),
            item,
        };
        ledger.files.fetch(ledger, &wanted, damaged).await?;
        fetched = true;
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.poll_chunk(context)) {
                Ok(part) => {
                    let part = part.unwrap_or_default();
                    // Counted when it is handed over.
                    self.range.start -= part.len() as u64;
                    self.current = part;
                }
                Err(error) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let len = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..len]);
        self.current.advance(len);
        self.range.start += len as u64;
        Poll::Ready(Ok(()))
    }
}

impl FileInfo {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            name: entry.name.clone(),
            size: entry.meta.size,
            content_type: entry.meta.media_type.clone(),
            last_modified_ms: entry.meta.last_modified,
            cid: entry.meta.content().map(|cid: Cid| cid.to_string()),
            public: entry.public,
            single_block: !entry.meta.is_cut(),
        }
    }
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader")
            .field("info", &self.file.info)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
