//! Reading: all documents in order of their ids, and the changes since a head.

use std::iter::Zip;
use std::marker::PhantomData;
use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use firebrick_core::pail::Range;
use firebrick_core::{Cid, clock, document};
use futures_util::Stream;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::ledger::{Ahead, Ledger, Snapshot};
use crate::opaque::opaque_debug;

/// A document of a listing.
///
/// ```
/// # use firebrick::{Database, Document, Error, Row};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// db.delete("b").await?;
/// let rows = db.all_docs().include_deleted(true).collect::<Document>().await?;
/// assert_eq!(rows[0], Row { id: "a".into(), doc: Some(note("a", "one")) });
/// assert_eq!(rows[1], Row { id: "b".into(), doc: None });
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Row<T> {
    /// The document's id.
    pub id: String,
    /// The document; `None` if it is deleted.
    pub doc: Option<T>,
}

/// A listing of one version of the database, in ascending order of ids. Made by
/// [`Database::all_docs`](crate::Database::all_docs).
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
/// let listing = db.all_docs();
/// db.delete("a").await?; // comes too late for this version
/// assert_eq!(listing.ids().await?, ["a", "b"]);
/// # Ok(()) }
/// ```
#[must_use = "call stream() or collect()"]
pub struct AllDocs {
    ledger: Arc<Ledger>,
    snapshot: Arc<Snapshot>,
    prefix: String,
    after: Option<String>,
    limit: usize,
    deleted: bool,
}

impl AllDocs {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        let snapshot = ledger.snapshot();
        Self::of(ledger, snapshot)
    }

    /// A listing of another version than the newest.
    pub(crate) fn of(ledger: Arc<Ledger>, snapshot: Arc<Snapshot>) -> Self {
        Self {
            ledger,
            snapshot,
            prefix: String::new(),
            after: None,
            limit: usize::MAX,
            deleted: false,
        }
    }

    /// Only ids that begin with `prefix`.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("book-1", "Emma"), note("film-1", "Ran")]).await?;
    /// assert_eq!(db.all_docs().prefix("book-").ids().await?, ["book-1"]);
    /// # Ok(()) }
    /// ```
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only ids after `id`: to go on where an earlier listing ended.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("a", "one"), note("b", "two"), note("c", "three")]).await?;
    /// let page = db.all_docs().limit(2).ids().await?;
    /// assert_eq!(db.all_docs().after(&page[1]).ids().await?, ["c"]);
    /// # Ok(()) }
    /// ```
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// At most this many rows.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("a", "one"), note("b", "two"), note("c", "three")]).await?;
    /// assert_eq!(db.all_docs().limit(2).ids().await?, ["a", "b"]);
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Deleted documents too, as rows without a document.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
    /// db.delete("a").await?;
    /// assert_eq!(db.all_docs().ids().await?, ["b"]);
    /// assert_eq!(db.all_docs().include_deleted(true).ids().await?, ["a", "b"]);
    /// # Ok(()) }
    /// ```
    pub fn include_deleted(mut self, include: bool) -> Self {
        self.deleted = include;
        self
    }

    /// The head that this listing shows.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let listing = db.all_docs();
    /// let seen = listing.head().to_vec();
    /// db.put(&note("a", "one")).await?;
    /// // What the listing does not show yet.
    /// assert_eq!(db.changes(&seen).collect::<Document>().await?[0].id, "a");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn head(&self) -> &[Cid] {
        &self.snapshot.head
    }

    /// Streams the rows; memory stays bounded however many there are.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// use futures_util::TryStreamExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
    /// let texts = db.all_docs().stream::<Document>().map_ok(|row| row.id);
    /// assert_eq!(texts.try_collect::<Vec<_>>().await?, ["a", "b"]);
    /// # Ok(()) }
    /// ```
    pub fn stream<T: DeserializeOwned + 'static>(
        self,
    ) -> impl Stream<Item = Result<Row<T>>> + Unpin {
        futures_util::stream::iter(self.rows())
    }

    /// The same as a plain iterator: reading never waits for anything but the disk.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
    /// for row in db.all_docs().rows::<Document>() {
    ///     let row = row?; // an error concerns this row only
    ///     assert_eq!(row.doc.as_ref().and_then(Document::id), Some(&*row.id));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn rows<T: DeserializeOwned>(self) -> Rows<T> {
        Rows {
            next_after: self.after.clone(),
            left: self.limit,
            listing: self,
            batch: Vec::new().into_iter().zip(Vec::new()),
            ahead: Ahead::new(),
            ended: false,
            of: PhantomData,
        }
    }

    /// All rows at once. [`AllDocs::rows`] goes on after a document that cannot be read.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// #[derive(serde::Deserialize)]
    /// struct Note { text: String }
    ///
    /// db.put(&note("a", "one")).await?;
    /// assert_eq!(db.all_docs().collect::<Note>().await?.len(), 1);
    /// db.put(&Document::new().with("_id", "b")).await?; // has no text
    /// assert!(matches!(db.all_docs().collect::<Note>().await, Err(Error::Document(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The first error of [`AllDocs::stream`].
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<Row<T>>> {
        self.rows().collect()
    }

    /// Only the ids of documents that are not deleted (all, with `include_deleted`).
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("b", "two"), note("a", "one")]).await?;
    /// assert_eq!(db.all_docs().ids().await?, ["a", "b"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub async fn ids(self) -> Result<Vec<String>> {
        self.ledger.ensure_open()?;
        let tombstone = document::TOMBSTONE.cid;
        let entries = self.entries(self.after.clone());
        let wanted = entries.filter(|entry| match entry {
            Ok((id, cid)) => id != document::GENESIS_KEY && (self.deleted || *cid != tombstone),
            Err(_) => true,
        });
        wanted
            .take(self.limit)
            .map(|entry| entry.map(|(id, _)| id))
            .collect()
    }

    /// The number of rows, without reading the documents.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("book-1", "Emma"), note("film-1", "Ran")]).await?;
    /// assert_eq!(db.all_docs().prefix("film-").count()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub fn count(self) -> Result<usize> {
        let tombstone = document::TOMBSTONE.cid;
        self.ledger.ensure_open()?;
        let mut count = 0;
        let mut entries = self.entries(self.after.clone());
        while count < self.limit
            && let Some(entry) = entries.next()
        {
            let (id, cid) = entry?;
            count += usize::from(id != document::GENESIS_KEY && (self.deleted || cid != tombstone));
        }
        Ok(count)
    }

    fn entries(&self, after: Option<String>) -> impl Iterator<Item = Result<(String, Cid)>> + '_ {
        let mut range = Range::prefix(self.prefix.as_str());
        if let Some(after) = after {
            range = range.after(after);
        }
        self.snapshot
            .tree
            .entries(self.ledger.source.scanning(), range)
            .map(|entry| entry.map_err(Error::from))
    }
}

/// Iterator of [`AllDocs::rows`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// #[derive(serde::Deserialize)]
/// struct Note { text: String }
///
/// db.bulk(&[Document::new().with("_id", "a"), note("b", "two")]).await?;
/// let (good, bad): (Vec<_>, Vec<_>) = db.all_docs().rows::<Note>().partition(Result::is_ok);
/// assert_eq!((good.len(), bad.len()), (1, 1)); // `a` has no text
/// # Ok(()) }
/// ```
#[must_use = "an iterator does nothing until it is asked"]
pub struct Rows<T> {
    listing: AllDocs,
    next_after: Option<String>,
    left: usize,
    batch: Zip<IntoIter<(String, Cid)>, IntoIter<Option<Bytes>>>,
    ahead: Ahead,
    ended: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> Rows<T> {
    fn fill(&mut self) -> Result<()> {
        self.listing.ledger.ensure_open()?;
        let tombstone = document::TOMBSTONE.cid;
        let at_once = self.ahead.documents();
        let wanted = at_once.min(self.left);
        let mut entries = Vec::with_capacity(wanted);
        let mut next_after = None;
        for (seen, entry) in self.listing.entries(self.next_after.take()).enumerate() {
            let (id, cid) = entry?;
            if id != document::GENESIS_KEY && (self.listing.deleted || cid != tombstone) {
                entries.push((id, cid));
                if entries.len() == wanted {
                    next_after = entries.last().map(|(id, _)| id.clone());
                    break;
                }
            } else if seen >= at_once * 4 {
                next_after = Some(id);
                break;
            }
        }
        self.ended = next_after.is_none();
        self.next_after = next_after;
        let cids: Vec<Cid> = entries.iter().map(|(_, cid)| *cid).collect();
        let source = &self.listing.ledger.source;
        // One damaged document does not keep back its neighbours: each is read again by itself.
        let blocks = source.documents(&cids);
        let blocks = blocks.unwrap_or_else(|_| vec![None; cids.len()]);
        let bytes = blocks.iter().flatten().map(Bytes::len).sum();
        self.ahead.took(cids.len(), bytes);
        self.batch = entries.into_iter().zip(blocks);
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<Row<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.left == 0 {
                return None;
            }
            if let Some(((id, cid), block)) = self.batch.next() {
                self.left -= 1;
                let block = match block {
                    Some(block) => Ok(block),
                    None => self.listing.ledger.read(&id, cid),
                };
                let doc = block.and_then(|block| Ok(document::decode::<T>(&block)?));
                return Some(doc.map(|doc| Row { id, doc }));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(self.listing.ledger.noted(error)));
            }
        }
    }
}

/// A row of [`Changes`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let written = db.delete("a").await?;
/// let changes = db.changes(&[]).collect::<Document>().await?;
/// assert_eq!((changes[0].id.as_str(), &changes[0].doc), ("a", &None));
/// assert_eq!([changes[0].clock], *written.head);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change<T> {
    /// The document's id.
    pub id: String,
    /// The document as the event wrote it; `None` if the event deleted it, or if it is `compacted`.
    pub doc: Option<T>,
    /// The event.
    pub clock: Cid,
    /// A later write replaced this version and a compaction dropped its value. The present value is
    /// what [`Database::get`](crate::Database::get) gives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compacted: bool,
}

/// The changes since a head, in the order that the JavaScript implementation gives (format §14.3).
/// Made by [`Database::changes`](crate::Database::changes).
///
/// With several heads a row shows the event that the walk meets first, which need not be the one
/// that wins; a subscription is told only of what wins.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let first = db.changes(&[]);
/// let seen = first.head().to_vec();
/// assert_eq!(first.collect::<Document>().await?.len(), 1);
///
/// db.put(&note("b", "two")).await?; // and later, what came since
/// assert_eq!(db.changes(&seen).collect::<Document>().await?[0].id, "b");
/// # Ok(()) }
/// ```
#[must_use = "call collect()"]
pub struct Changes {
    ledger: Arc<Ledger>,
    snapshot: Arc<Snapshot>,
    since: Vec<Cid>,
    limit: Option<usize>,
}

impl Changes {
    pub(crate) fn new(ledger: Arc<Ledger>, since: &[Cid]) -> Self {
        let snapshot = ledger.snapshot();
        Self {
            ledger,
            snapshot,
            since: since.to_vec(),
            limit: None,
        }
    }

    /// Only the newest rows, about this many: a batch is never cut.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// for id in ["a", "b", "c"] {
    ///     db.put(&Document::new().with("_id", id)).await?;
    /// }
    /// let newest = db.changes(&[]).limit(1).collect::<Document>().await?;
    /// assert_eq!(newest[0].id, "c");
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }

    /// The head that these changes lead to: the `since` of the next call.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let changes = db.changes(&[]);
    /// assert_eq!(changes.head(), db.head());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn head(&self) -> &[Cid] {
        &self.snapshot.head
    }

    /// All rows, oldest first, each id once.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("b", "two")).await?;
    /// db.put(&note("a", "three")).await?;
    /// let changes = db.changes(&[]).collect::<Document>().await?;
    /// let ids: Vec<_> = changes.iter().map(|change| change.id.as_str()).collect();
    /// assert_eq!(ids, ["b", "a"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingBlock`] if an event or document is not here, the store's errors.
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<Change<T>>> {
        let rows = self.all_rows();
        if let Err(error) = &rows {
            self.ledger.source.note_unreadable(error);
        }
        rows
    }

    fn all_rows<T: DeserializeOwned>(&self) -> Result<Vec<Change<T>>> {
        self.ledger.ensure_open()?;
        let source = &self.ledger.source;
        let changes = clock::changes_since(source, &self.snapshot.head, &self.since, self.limit)?;
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes
            .into_iter()
            .filter(|change| change.key != document::GENESIS_KEY)
        {
            let (doc, compacted) = match source.document(&change.value)? {
                Some(bytes) => (document::decode::<T>(&bytes)?, false),
                None => {
                    let ledger = &self.ledger;
                    match ledger.absent_version(&self.snapshot, &change.key, change.value)? {
                        Error::Compacted { .. } => (None, true),
                        error => return Err(error),
                    }
                }
            };
            rows.push(Change {
                id: change.key,
                doc,
                clock: change.event,
                compacted,
            });
        }
        Ok(rows)
    }
}

opaque_debug!("AllDocs" AllDocs, "Changes" Changes);

impl<T> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
