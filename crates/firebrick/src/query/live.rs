//! Live queries: a result that follows the database.
//!
//! What a step changes in a result is the difference of two versions of the index, cut to the
//! query's ranges. So the cost is that of the change, whatever the size of the result.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use firebrick_core::ordered::Tree as IndexTree;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::rows::{Entries, read_documents, row};
use super::{IndexRow, Plan};
use crate::error::{Error, Result};
use crate::index::IndexState;
use crate::ledger::{Ledger, Snapshot};
use crate::subscribe::{Published, changes_between};

/// What one step changed in a result.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let mut live = db.query("age").include_docs().watch::<Document>().await?;
/// let ann = |age: i32| Document::new().with("_id", "ann").with("age", age);
/// db.put(&ann(31)).await?;
/// assert_eq!(live.next().await.unwrap()?.added.len(), 1);
/// db.put(&ann(31).with("town", "Rome")).await?;
/// let delta = live.next().await.unwrap()?;
/// assert_eq!((delta.added.len(), delta.updated.len()), (0, 1)); // same row, other document
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Delta<T> {
    /// The step of the database, counted from its opening. Several steps may have become one.
    pub sequence: u64,
    /// Rows that are new in the result.
    pub added: Vec<IndexRow<T>>,
    /// Rows that are gone from it, as they were.
    pub removed: Vec<IndexRow<T>>,
    /// Rows whose value, or whose document, is another one now.
    pub updated: Vec<IndexRow<T>>,
}

/// The span of an entry, and its key.
type Place = (usize, Vec<u8>);

/// A query whose result is kept up to date. Made by [`Query::watch`](crate::Query::watch).
///
/// It holds the result in memory. Without offset and limit a step costs what it changes; with them,
/// a step that touches the ranges of the query reads the window again.
///
/// ```
/// use firebrick::{Database, Document, Error, Index};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("live").await?;
/// let mut adults = db.query(Index::field("age")).range(18..).watch::<Document>().await?;
/// assert_eq!(adults.rows().count(), 0);
/// db.put(&Document::new().with("_id", "tim").with("age", 9)).await?;
/// db.put(&Document::new().with("_id", "ann").with("age", 31)).await?;
/// let delta = adults.next().await.expect("the database is open")?;
/// assert_eq!(delta.added[0].id, "ann");
/// assert_eq!(adults.rows().count(), 1);
/// # Ok(()) }
/// ```
pub struct LiveQuery<T> {
    ledger: Weak<Ledger>,
    plan: Plan,
    steps: Receiver<Arc<Published>>,
    snapshot: Arc<Snapshot>,
    state: Arc<IndexState>,
    rows: BTreeMap<Place, IndexRow<T>>,
}

impl<T: DeserializeOwned + Clone> LiveQuery<T> {
    pub(super) fn new(
        ledger: &Arc<Ledger>,
        plan: Plan,
        steps: Receiver<Arc<Published>>,
        snapshot: Arc<Snapshot>,
        state: Arc<IndexState>,
    ) -> Result<Self> {
        let mut live = Self {
            ledger: Arc::downgrade(ledger),
            plan,
            steps,
            snapshot,
            state,
            rows: BTreeMap::new(),
        };
        let entries = live.read_entries(ledger, &live.state)?;
        let (places, mut rows): (Vec<Place>, Vec<_>) = entries.into_iter().unzip();
        live.read_documents(ledger, &live.snapshot, &mut rows)?;
        live.rows = places.into_iter().zip(rows).collect();
        Ok(live)
    }

    fn read_entries(
        &self,
        ledger: &Arc<Ledger>,
        state: &Arc<IndexState>,
    ) -> Result<Vec<(Place, IndexRow<T>)>> {
        let mut entries = Entries::new(Arc::clone(ledger), self.plan.clone(), Arc::clone(state))?;
        let mut rows = Vec::new();
        while let Some(row) =
            entries.next(|span, entry, value| Ok(((span, entry.to_vec()), row(entry, value)?)))?
        {
            rows.push(row);
        }
        Ok(rows)
    }

    fn read_documents(
        &self,
        ledger: &Ledger,
        snapshot: &Snapshot,
        rows: &mut [IndexRow<T>],
    ) -> Result<()> {
        match self.plan.include_docs {
            true => read_documents(ledger, snapshot, rows)
                .map(drop)
                .inspect_err(|error| ledger.source.note_unreadable(error)),
            false => Ok(()),
        }
    }

    /// The result as of the last [`LiveQuery::next`], in its order.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let live = db.query("age").range(30..).watch::<Document>().await?;
    /// let ids: Vec<_> = live.rows().map(|row| row.id.as_str()).collect();
    /// assert_eq!(ids, ["ann", "cy"]);
    /// # Ok(()) }
    /// ```
    pub fn rows(&self) -> impl Iterator<Item = &IndexRow<T>> {
        let spans = 0..self.plan.spans.len();
        spans.flat_map(|span| {
            let rows = self.rows.range((span, Vec::new())..(span + 1, Vec::new()));
            let rows = rows.map(|(_, row)| row);
            let rows: Box<dyn Iterator<Item = _>> = match self.plan.descending {
                true => Box::new(rows.rev()),
                false => Box::new(rows),
            };
            rows
        })
    }

    /// The next change of the result; `None` when the database was closed. Steps that change
    /// nothing in the result are passed over.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let mut adults = db.query("age").range(18..).watch::<Document>().await?;
    /// db.delete("cy").await?;
    /// let delta = adults.next().await.expect("the database is open")?;
    /// assert_eq!(delta.removed[0].id, "cy");
    /// db.close().await?;
    /// assert!(adults.next().await.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Query::collect`](crate::Query::collect). The next call tries again from the last
    /// good result, when the database changes.
    pub async fn next(&mut self) -> Option<Result<Delta<T>>> {
        loop {
            let step = match self.steps.recv().await {
                Ok(step) => step,
                // The next step shows what these changed as well.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return None,
            };
            if step.after.sequence <= self.snapshot.sequence {
                continue;
            }
            let ledger = self.ledger.upgrade()?;
            if let Some(delta) = self.follow(&ledger, &step.after).transpose() {
                return Some(delta);
            }
        }
    }

    fn follow(&mut self, ledger: &Arc<Ledger>, to: &Arc<Snapshot>) -> Result<Option<Delta<T>>> {
        let state = ledger.index_at(&self.plan.entry, to)?;
        let mut delta = Delta {
            sequence: to.sequence,
            added: Vec::new(),
            removed: Vec::new(),
            updated: Vec::new(),
        };
        // New content of the places that changed; nothing for those that are gone.
        let mut changed: BTreeMap<Place, Option<IndexRow<T>>> = BTreeMap::new();
        let differences = IndexTree::diff(&self.state.entries, &state.entries, &ledger.source);
        let differences = differences.map_err(|error| self.plan.failed(ledger, error))?;
        for change in differences {
            let spans = self.plan.spans.iter().enumerate();
            for (span, _) in spans.filter(|(_, span)| span.contains(&change.key)) {
                let new = change.new.as_ref();
                let new = new.map(|value| row(&change.key, value)).transpose()?;
                changed.insert((span, change.key.clone()), new);
            }
        }
        if self.plan.is_window() && !changed.is_empty() {
            let mut window: BTreeMap<_, _> =
                self.read_entries(ledger, &state)?.into_iter().collect();
            let gone = self
                .rows
                .keys()
                .filter(|place| !window.contains_key(*place));
            changed = gone.map(|place| (place.clone(), None)).collect();
            window.retain(|place, row| {
                let known = self.rows.get(place);
                known.is_none_or(|known| known.value != row.value)
            });
            changed.extend(window.into_iter().map(|(place, row)| (place, Some(row))));
        }
        if self.plan.include_docs {
            self.changed_documents(ledger, to, &mut changed)?;
        }
        let with_rows = changed.iter_mut().filter_map(|(_, row)| row.as_mut());
        let mut rows: Vec<IndexRow<T>> = with_rows.map(|row| row.clone()).collect();
        self.read_documents(ledger, to, &mut rows)?;
        let mut rows = rows.into_iter();
        for (place, row) in changed {
            let new = row.and_then(|_| rows.next());
            let old = match &new {
                Some(new) => self.rows.insert(place, new.clone()),
                None => self.rows.remove(&place),
            };
            match (old, new) {
                (None, Some(row)) => delta.added.push(row),
                (Some(_), Some(row)) => delta.updated.push(row),
                (Some(row), None) => delta.removed.push(row),
                (None, None) => {}
            }
        }
        self.snapshot = Arc::clone(to);
        self.state = state;
        let is_empty =
            delta.added.is_empty() && delta.removed.is_empty() && delta.updated.is_empty();
        Ok((!is_empty).then_some(delta))
    }

    /// Rows that stay where they are, but whose documents changed.
    fn changed_documents(
        &self,
        ledger: &Ledger,
        to: &Snapshot,
        changed: &mut BTreeMap<Place, Option<IndexRow<T>>>,
    ) -> Result<()> {
        let entry = &self.plan.entry;
        for change in changes_between(ledger, &self.snapshot.tree, &to.tree)? {
            let Some(block) = ledger
                .source
                .document(&change.cid)?
                .filter(|_| !change.deleted)
            else {
                continue;
            };
            let rows = entry.definition.rows(&change.id, &block);
            let rows = rows.map_err(|cause| Error::IndexFailed {
                name: entry.name(),
                cause,
            })?;
            for key in rows.entries.into_keys() {
                for span in 0..self.plan.spans.len() {
                    let place = (span, key.clone());
                    if let Some(row) = self.rows.get(&place) {
                        changed.entry(place).or_insert_with(|| Some(row.clone()));
                    }
                }
            }
        }
        Ok(())
    }
}

impl<T> std::fmt::Debug for LiveQuery<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveQuery")
            .field("sequence", &self.snapshot.sequence)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}
