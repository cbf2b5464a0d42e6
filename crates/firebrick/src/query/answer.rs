//! What a query gives.

use firebrick_core::cbor::Value;

use crate::index::IndexStatus;

/// A row of a result.
///
/// ```
/// # use firebrick::{Database, Document, Error, Value};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
/// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
/// # }
/// // Ann is 31, Bob 25 and Cy 40.
/// let rows = db.query("age").include_docs().limit(1).collect::<Document>().await?;
/// assert_eq!((rows[0].key.clone(), rows[0].id.as_str()), (Value::from(25), "bob"));
/// assert_eq!(rows[0].value, Value::Null);
/// assert!(rows[0].doc.is_some()); // because of include_docs()
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct IndexRow<T> {
    /// The key, as the JavaScript API shows it.
    pub key: Value,
    /// The document's id.
    pub id: String,
    /// What the index' function emitted with the key; null for an index by fields.
    pub value: Value,
    /// The document, if the query [includes](super::Query::include_docs) it.
    pub doc: Option<T>,
}

/// Some rows of a result, and where the next ones are.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
/// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
/// # }
/// // Ann is 31, Bob 25 and Cy 40.
/// let page = db.query("age").limit(2).page::<Document>().await?;
/// assert_eq!(page.rows.len(), 2);
/// let next = db.query("age").limit(2).after(page.cursor.expect("there is more"));
/// assert_eq!(next.page::<Document>().await?.rows[0].id, "cy");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<IndexRow<T>>,
    /// What to give [`Query::after`](super::Query::after) for the rows behind; `None` after the last.
    pub cursor: Option<String>,
}

/// How a query is answered.
///
/// ```
/// # use firebrick::{Database, Document, Error, IndexStatus};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
/// #     db.put(&Document::new().with("_id", id).with("age", age)).await?;
/// # }
/// // Ann is 31, Bob 25 and Cy 40.
/// let query = || db.query("age").range(30..);
/// query().count().await?; // makes the index
/// let explain = query().explain().await?;
/// assert_eq!((explain.rows, explain.index_rows), (2, 3));
/// assert_eq!(explain.status, IndexStatus::Ready);
/// assert!(!explain.reads_documents);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Explain {
    /// The index that serves it.
    pub index: String,
    /// Whether that is an index by a function.
    pub is_map: bool,
    /// How the index is doing. A query waits until it is ready.
    pub status: IndexStatus,
    /// Rows that the query gives, offset and limit taken into account; exact while the index is
    /// ready, and counted without reading them.
    pub rows: u64,
    /// Rows of the whole index.
    pub index_rows: u64,
    /// Values that cannot be keys, so that they have no row in the index.
    pub skipped: u64,
    /// Ranges of the index that are read.
    pub ranges: usize,
    /// Nodes from the root of the index to a row.
    pub height: usize,
    /// Whether documents are read too.
    pub reads_documents: bool,
}
