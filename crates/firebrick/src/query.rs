//! Queries: which rows of an index, in which order, with or without their documents.

mod answer;
mod live;
mod plan;
mod rows;

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use firebrick_core::cbor::Value;
use firebrick_core::charwise::{CharwiseError, Key};
use firebrick_core::index::{self, Span};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;

pub use answer::{Explain, IndexRow, Page};
pub use live::{Delta, LiveQuery};
use plan::{Plan, read_cursor};
pub use rows::QueryRows;

use crate::error::{Error, Result};
use crate::index::{Index, IndexState};
use crate::ledger::Ledger;
use crate::opaque::opaque_debug;

/// A query on an index. Made by [`Database::query`](crate::Database::query).
///
/// Rows come in the order of the format: by key (null, booleans, numbers, text, lists), then by id.
/// If several of [`key`](Self::key), [`keys`](Self::keys), [`range`](Self::range) and
/// [`prefix`](Self::prefix) are called, the last one counts.
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
/// let rows = db.query("age").descending().limit(2).collect::<Document>().await?;
/// assert_eq!(ids(&rows), ["cy", "ann"]);
/// # Ok(()) }
/// ```
#[must_use = "call collect(), stream(), count() or watch()"]
pub struct Query {
    ledger: Arc<Ledger>,
    plan: Result<Plan>,
}

impl Query {
    pub(crate) fn new(ledger: Arc<Ledger>, index: &Index) -> Self {
        let plan = ledger.indexes.resolve(index).map(|entry| Plan {
            entry,
            spans: vec![Span::all()],
            descending: false,
            offset: 0,
            limit: u64::MAX,
            after: None,
            include_docs: false,
        });
        Self { ledger, plan }
    }

    fn set(mut self, change: impl FnOnce(&mut Plan) -> Result<()>) -> Self {
        if let Ok(plan) = &mut self.plan
            && let Err(error) = change(plan)
        {
            self.plan = Err(error);
        }
        self
    }

    /// Only rows with this key.
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
    /// let rows = db.query("age").key(25).collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["bob"]);
    /// # Ok(()) }
    /// ```
    pub fn key(self, key: impl Into<Value>) -> Self {
        self.keys([key])
    }

    /// Only rows with these keys: those of the first one first, and so on.
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
    /// let rows = db.query("age").keys([40, 17, 25]).collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["cy", "bob"]);
    /// # Ok(()) }
    /// ```
    pub fn keys<V: Into<Value>>(self, keys: impl IntoIterator<Item = V>) -> Self {
        self.set(|plan| {
            let keys = keys.into_iter().map(|key| as_key(&key.into()));
            let spans = keys.map(|key| Ok(Span::key(&key?)));
            plan.spans = spans.collect::<Result<_>>()?;
            Ok(())
        })
    }

    /// Only rows whose keys are in this range, in the order of the format: any range of Rust, with
    /// the ends that it has. The JavaScript API's `range: [a, b]` is `a..=b`.
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
    /// let rows = db.query("age").range(25..40).collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["bob", "ann"]);
    /// assert_eq!(db.query("age").range(..=31).count().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn range<V: Into<Value> + Clone>(self, range: impl RangeBounds<V>) -> Self {
        self.set(|plan| {
            let bound = |bound: Bound<&V>| match bound {
                Bound::Unbounded => Ok(Bound::Unbounded),
                Bound::Included(key) => as_key(&key.clone().into()).map(Bound::Included),
                Bound::Excluded(key) => as_key(&key.clone().into()).map(Bound::Excluded),
            };
            let (from, to) = (bound(range.start_bound())?, bound(range.end_bound())?);
            plan.spans = vec![Span::range(from.as_ref(), to.as_ref())];
            Ok(())
        })
    }

    /// Only rows whose keys are lists that begin with this value, or with the items of this list.
    ///
    /// The JavaScript API's `prefix` finds less: lists that go on with a number from zero up. For
    /// exactly that, see [`Query::options`].
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, IndexRow};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let ids = |rows: &[IndexRow<Document>]| -> Vec<String> { rows.iter().map(|row| row.id.clone()).collect() };
    /// for (last, first) in [("Woolf", "Virginia"), ("Woolf", "Leonard"), ("Eliot", "George")] {
    ///     let person = Document::new().with("_id", first);
    ///     db.put(&person.with("last", last).with("first", first)).await?;
    /// }
    /// let by_name = Index::fields(["last", "first"]);
    /// let rows = db.query(by_name).prefix("Woolf").collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["Leonard", "Virginia"]);
    /// # Ok(()) }
    /// ```
    pub fn prefix(self, prefix: impl Into<Value>) -> Self {
        self.set(|plan| {
            let items = match as_key(&prefix.into())? {
                Key::List(items) => items,
                one => vec![one],
            };
            plan.spans = vec![Span::prefix(&items)];
            Ok(())
        })
    }

    /// From the last row to the first. With several keys, within each key.
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
    /// let rows = db.query("age").descending().collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["cy", "ann", "bob"]);
    /// # Ok(()) }
    /// ```
    pub fn descending(self) -> Self {
        self.set(|plan| {
            plan.descending = true;
            Ok(())
        })
    }

    /// At most this many rows.
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
    /// let youngest = db.query("age").limit(1).collect::<Document>().await?;
    /// assert_eq!(ids(&youngest), ["bob"]);
    /// # Ok(()) }
    /// ```
    pub fn limit(self, rows: usize) -> Self {
        self.set(|plan| {
            plan.limit = rows as u64;
            Ok(())
        })
    }

    /// Leaves out so many rows at the beginning. This costs no more than not leaving them out.
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
    /// let median = db.query("age").offset(1).limit(1).collect::<Document>().await?;
    /// assert_eq!(ids(&median), ["ann"]);
    /// # Ok(()) }
    /// ```
    pub fn offset(self, rows: usize) -> Self {
        self.set(|plan| {
            plan.offset = rows as u64;
            Ok(())
        })
    }

    /// Only what comes behind the place that a [`Page`] ended at, also if that row is gone by now.
    /// The other options must be the same.
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
    /// let first = db.query("age").limit(1).page::<Document>().await?;
    /// let cursor = first.cursor.expect("there is more");
    /// db.delete("bob").await?; // the row that the page ended at
    /// let rest = db.query("age").after(cursor).collect::<Document>().await?;
    /// assert_eq!(ids(&rest), ["ann", "cy"]);
    /// # Ok(()) }
    /// ```
    pub fn after(self, cursor: impl AsRef<str>) -> Self {
        self.set(|plan| {
            plan.after = Some(read_cursor(cursor.as_ref())?);
            Ok(())
        })
    }

    /// The rows come with their documents.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let rows = db.query("age").key(31).include_docs().collect::<Document>().await?;
    /// assert_eq!(rows[0].doc.as_ref().and_then(Document::id), Some("ann"));
    /// # Ok(()) }
    /// ```
    pub fn include_docs(self) -> Self {
        self.set(|plan| {
            plan.include_docs = true;
            Ok(())
        })
    }

    /// Takes the options object of the JavaScript API, with all its rules: both ends of `range`
    /// belong to it; a `key` or `prefix` that is 0, "" or null counts as none; `prefix` finds lists
    /// that go on with a number from zero up; a `limit` of 0 counts as none, but not with `keys`;
    /// `includeDocs` is true unless it says otherwise.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, IndexRow, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let ids = |rows: &[IndexRow<Document>]| -> Vec<String> { rows.iter().map(|row| row.id.clone()).collect() };
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// // As the JavaScript API's `query("age", { descending: true })`.
    /// let options = Value::from_iter([("descending", true)]);
    /// let rows = db.query("age").options(&options).collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["cy", "ann", "bob"]);
    /// assert!(rows[0].doc.is_some());
    /// # Ok(()) }
    /// ```
    pub fn options(self, options: &Value) -> Self {
        self.set(|plan| {
            let query = index::Query::from_js(options)?;
            plan.spans = query.selection.spans();
            plan.descending = query.descending;
            plan.limit = query.limit.map_or(u64::MAX, |limit| limit as u64);
            plan.include_docs = query.include_docs;
            Ok(())
        })
    }

    /// All rows at once.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// assert_eq!(db.query("age").collect::<Document>().await?.len(), 3);
    ///
    /// let bytes = Value::Bytes(vec![1]); // cannot be a key
    /// let refused = db.query("age").key(bytes).collect::<Document>().await;
    /// assert!(matches!(refused, Err(Error::QueryKey(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::QueryKey`] for a value that cannot be a key, [`Error::IndexFailed`] if the index'
    /// function panicked, [`Error::MissingBlock`] if a document is not here, the store's errors.
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<IndexRow<T>>> {
        Ok(self.page().await?.rows)
    }

    /// All rows at once, up to the limit, with a cursor for what is behind.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let mut seen = 0;
    /// let mut page = db.query("age").limit(2).page::<Document>().await?;
    /// seen += page.rows.len();
    /// while let Some(cursor) = page.cursor {
    ///     page = db.query("age").limit(2).after(cursor).page().await?;
    ///     seen += page.rows.len();
    /// }
    /// assert_eq!(seen, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Query::collect`].
    pub async fn page<T: DeserializeOwned>(self) -> Result<Page<T>> {
        let (ledger, plan) = (self.ledger, self.plan?);
        plan.answer(&ledger, |snapshot, state| {
            let mut rows = QueryRows::new(Arc::clone(&ledger), plan.clone(), snapshot, state)?;
            let collected = rows.by_ref().collect::<Result<Vec<_>>>()?;
            Ok(Page {
                cursor: rows
                    .cursor()
                    .filter(|_| collected.len() as u64 == plan.limit),
                rows: collected,
            })
        })
        .await
    }

    /// The rows one after the other, of one version of the database; memory stays bounded however
    /// many there are. Waits for the index first.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let mut total = 0;
    /// for row in db.query("age").rows::<Document>().await? {
    ///     let Value::Int(age) = row?.key else { continue };
    ///     total += age;
    /// }
    /// assert_eq!(total, 96);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Query::collect`].
    pub async fn rows<T: DeserializeOwned>(self) -> Result<QueryRows<T>> {
        let plan = self.plan?;
        let (snapshot, state) = plan.ready(&self.ledger).await?;
        QueryRows::new(self.ledger, plan, snapshot, state)
    }

    /// [`Query::rows`] as a stream.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// use futures_util::TryStreamExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let mut rows = db.query("age").stream::<Document>();
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{} is {}", row.id, row.key);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn stream<T: DeserializeOwned + Send + 'static>(
        self,
    ) -> impl Stream<Item = Result<IndexRow<T>>> + Unpin {
        let rows = async move { Ok::<_, Error>(futures_util::stream::iter(self.rows().await?)) };
        futures_util::stream::once(rows).try_flatten().boxed()
    }

    /// The number of rows. Reads some nodes of the index, however many rows there are.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// assert_eq!(db.query("age").range(30..).count().await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Query::collect`].
    pub async fn count(self) -> Result<u64> {
        let plan = self.plan?;
        let ledger = &self.ledger;
        plan.answer(ledger, |_, state| plan.count(ledger, &state))
            .await
    }

    /// How the query is answered. Makes no index.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, IndexStatus, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    /// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// # }
    /// // Ann is 31, Bob 25 and Cy 40.
    /// let explain = db.query("age").explain().await?;
    /// assert_eq!(explain.status, IndexStatus::Idle); // the first query would make it
    /// assert!(db.query("age").prefix(Value::Bytes(vec![1])).explain().await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::QueryKey`] for a value that cannot be a key, the store's errors.
    pub async fn explain(self) -> Result<Explain> {
        let plan = self.plan?;
        self.ledger.ensure_open()?;
        let entry = &plan.entry;
        let state = self.ledger.index_known(entry);
        let count = |state: &IndexState| plan.count(&self.ledger, state);
        Ok(Explain {
            index: entry.name(),
            is_map: entry.is_map(),
            status: entry.status.borrow().clone(),
            rows: state.as_deref().map_or(Ok(0), count)?,
            index_rows: state.as_ref().map_or(0, |state| state.entries.len()),
            skipped: state.as_ref().map_or(0, |state| state.skipped),
            ranges: plan.spans.len(),
            height: state.as_ref().map_or(0, |state| state.entries.height()),
            reads_documents: plan.include_docs,
        })
    }

    /// The result, kept up to date: it changes with the database, and each change is told.
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
    /// let mut eldest = db.query("age").descending().limit(1).watch::<Document>().await?;
    /// assert_eq!(eldest.rows().next().map(|row| row.id.as_str()), Some("cy"));
    /// db.put(&Document::new().with("_id", "di").with("age", 83)).await?;
    /// let delta = eldest.next().await.expect("the database is open")?;
    /// assert_eq!(ids(&delta.added), ["di"]);
    /// assert_eq!(ids(&delta.removed), ["cy"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Query::collect`].
    pub async fn watch<T: DeserializeOwned + Clone>(self) -> Result<LiveQuery<T>> {
        let plan = self.plan?;
        // Subscribed first, so that nothing falls between the two.
        let steps = self.ledger.published().ok_or(Error::Closed)?;
        let (snapshot, state) = plan.ready(&self.ledger).await?;
        LiveQuery::new(&self.ledger, plan, steps, snapshot, state)
    }
}

fn as_key(value: &Value) -> Result<Key, CharwiseError> {
    Key::try_from(value)
}

opaque_debug!("Query" Query);
