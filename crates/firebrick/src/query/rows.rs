//! Reading the rows of a result.

use std::marker::PhantomData;
use std::sync::Arc;

use firebrick_core::cbor::Value;
use firebrick_core::charwise::from_sortable;
use firebrick_core::ordered::Cursor;
use firebrick_core::{document, index};
use serde::de::DeserializeOwned;

use super::IndexRow;
use super::plan::{Part, Plan, write_cursor};
use crate::error::{Error, Result};
use crate::index::{IndexState, decode_value};
use crate::ledger::{Ahead, Ledger, Snapshot, missing_document};

/// The entries of a result, in its order.
pub(super) struct Entries {
    ledger: Arc<Ledger>,
    plan: Plan,
    state: Arc<IndexState>,
    /// What is still to be read, the next part last.
    parts: Vec<Part>,
    cursor: Option<Cursor>,
}

impl Entries {
    pub(super) fn new(ledger: Arc<Ledger>, plan: Plan, state: Arc<IndexState>) -> Result<Self> {
        let mut parts = plan.parts(&ledger, &state)?;
        parts.reverse();
        Ok(Self {
            ledger,
            plan,
            state,
            parts,
            cursor: None,
        })
    }

    /// Gives the next entry, its span first, to `read`.
    pub(super) fn next<R>(
        &mut self,
        read: impl FnOnce(usize, &[u8], &[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        let Some(part) = self.parts.last_mut() else {
            return Ok(None);
        };
        let source = &self.ledger.source;
        let descending = self.plan.descending;
        let moved = match &mut self.cursor {
            Some(cursor) if descending => cursor.previous(source),
            Some(cursor) => cursor.next(source),
            None => {
                let first = if descending { part.to - 1 } else { part.from };
                let cursor = self.state.entries.cursor(source, first);
                cursor.map(|cursor| self.cursor = Some(cursor))
            }
        };
        moved.map_err(|error| self.plan.failed(&self.ledger, error))?;
        let span = part.span;
        part.from += 1;
        let is_last = part.from == part.to;
        // Counts down, from whichever side.
        let Some((entry, value)) = self.cursor.as_ref().and_then(Cursor::entry) else {
            return Ok(None);
        };
        let row = read(span, entry, value)?;
        if is_last {
            self.parts.pop();
            self.cursor = None;
        }
        Ok(Some(row))
    }
}

/// The row that an entry stands for, without the document.
pub(super) fn row<T>(entry: &[u8], value: &[u8]) -> Result<IndexRow<T>> {
    let malformed = |cause: &str| Error::Malformed {
        what: "index entry",
        cause: cause.into(),
    };
    let (key, id) = index::split_entry(entry).ok_or_else(|| malformed("it has no id"))?;
    let key = from_sortable(key).map_err(|error| malformed(&error.to_string()))?;
    Ok(IndexRow {
        key: Value::from(&key),
        id: id.to_owned(),
        value: decode_value(value)?,
        doc: None,
    })
}

/// Gives rows their documents. Returns how many bytes these have.
pub(super) fn read_documents<T: DeserializeOwned>(
    ledger: &Ledger,
    snapshot: &Snapshot,
    rows: &mut [IndexRow<T>],
) -> Result<usize> {
    let source = &ledger.source;
    let mut cids = Vec::with_capacity(rows.len());
    for row in &*rows {
        let cid = snapshot.tree.get(source, &row.id)?;
        cids.push(cid.unwrap_or(document::TOMBSTONE.cid));
    }
    let blocks = source.documents(&cids)?;
    let mut bytes = 0;
    for ((row, cid), block) in rows.iter_mut().zip(cids).zip(blocks) {
        let block = block.ok_or_else(|| missing_document(cid, &row.id))?;
        bytes += block.len();
        row.doc = document::decode(&block)?;
    }
    Ok(bytes)
}

/// Iterator of [`Query::rows`](crate::Query::rows). It ends after the first error.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
/// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
/// # }
/// // Ann is 31, Bob 25 and Cy 40.
/// let mut rows = db.query("age").rows::<Document>().await?;
/// assert_eq!(rows.next().transpose()?.map(|row| row.id), Some("bob".into()));
/// db.delete("ann").await?; // comes too late for this version
/// assert_eq!(rows.count(), 2);
/// # Ok(()) }
/// ```
#[must_use = "an iterator does nothing until it is asked"]
pub struct QueryRows<T> {
    entries: Entries,
    snapshot: Arc<Snapshot>,
    batch: std::vec::IntoIter<IndexRow<T>>,
    last: Option<(usize, Vec<u8>)>,
    ahead: Ahead,
    ended: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> QueryRows<T> {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        plan: Plan,
        snapshot: Arc<Snapshot>,
        state: Arc<IndexState>,
    ) -> Result<Self> {
        Ok(Self {
            entries: Entries::new(ledger, plan, state)?,
            snapshot,
            batch: Vec::new().into_iter(),
            last: None,
            ahead: Ahead::new(),
            ended: false,
            of: PhantomData,
        })
    }

    /// Where the last row that was read from the index stands, for [`Query::after`](crate::Query::after).
    /// Once the iterator has ended that is the last row that it gave.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, IndexRow};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let ids = |rows: &[IndexRow<Document>]| -> Vec<String> { rows.iter().map(|row| row.id.clone()).collect() };
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let mut rows = db.query("age").range(..40).rows::<Document>().await?;
    /// assert_eq!(rows.by_ref().count(), 2);
    /// let cursor = rows.cursor().expect("there were rows");
    /// db.put(&Document::new().with("_id", "di").with("age", 39)).await?;
    /// let more = db.query("age").range(..40).after(cursor).collect::<Document>().await?;
    /// assert_eq!(ids(&more), ["di"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn cursor(&self) -> Option<String> {
        let (span, entry) = self.last.as_ref()?;
        Some(write_cursor(*span, entry))
    }

    fn fill(&mut self) -> Result<()> {
        let ledger = Arc::clone(&self.entries.ledger);
        ledger.ensure_open()?;
        let at_once = self.ahead.documents();
        let mut rows = Vec::with_capacity(at_once);
        let mut bytes = 0;
        while rows.len() < at_once {
            let last = &mut self.last;
            let read = |span: usize, entry: &[u8], value: &[u8]| {
                let (at, key) = last.get_or_insert_with(Default::default);
                *at = span;
                key.clear();
                key.extend_from_slice(entry);
                bytes += entry.len() + value.len();
                row(entry, value)
            };
            let Some(row) = self.entries.next(read)? else {
                self.ended = true;
                break;
            };
            rows.push(row);
        }
        if self.entries.plan.include_docs {
            bytes += read_documents(&ledger, &self.snapshot, &mut rows)?;
        }
        self.ahead.took(rows.len(), bytes);
        self.batch = rows.into_iter();
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for QueryRows<T> {
    type Item = Result<IndexRow<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.batch.next() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill() {
                self.ended = true;
                self.entries.ledger.source.note_unreadable(&error);
                return Some(Err(error));
            }
        }
    }
}

impl<T> std::fmt::Debug for QueryRows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryRows").finish_non_exhaustive()
    }
}
