//! What an index is about.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use firebrick_core::cbor::{self, Value};
use firebrick_core::charwise::Key;
use firebrick_core::document::{self, DocumentError};
use firebrick_core::index;
use serde::{Deserialize, Serialize};

use crate::Document;
use crate::error::{Error, Result};

/// Which index a query uses.
///
/// An index by fields is made when it is first asked for, and kept from then on. One by a function
/// is registered at every opening, see [`Builder::index`](crate::Builder::index).
///
/// ```
/// use firebrick::Index;
/// let by_age = Index::field("age");
/// let by_town = Index::path("address.town");
/// let by_name = Index::fields(["last", "first"]);
/// let by_tag = Index::field("tags").each();
/// ```
#[derive(Clone)]
pub struct Index {
    pub(crate) kind: Kind,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Fields(Fields),
    Map(Map),
    /// A registered function, or else a field.
    Named(String),
}

/// Fields, as they stand in the store's record of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fields {
    paths: Vec<Vec<String>>,
    /// The key is a list of all values, not the one value.
    compound: bool,
    /// A list gives one row for each of its elements.
    each: bool,
}

#[derive(Clone)]
pub(crate) struct Map {
    name: String,
    version: u64,
    function: Arc<MapFunction>,
}

type MapFunction = dyn Fn(&Document, &mut Emit) + Send + Sync;

impl Index {
    fn of(paths: Vec<Vec<String>>, compound: bool) -> Self {
        Self {
            kind: Kind::Fields(Fields {
                paths,
                compound,
                each: false,
            }),
        }
    }

    /// By the value of a field. Documents that do not have it, or have null there, are not in it.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, IndexRow, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let ids = |rows: &[IndexRow<Document>]| -> Vec<String> { rows.iter().map(|row| row.id.clone()).collect() };
    /// db.put(&Document::new().with("_id", "a").with("age", 31)).await?;
    /// db.put(&Document::new().with("_id", "b").with("age", Value::Null)).await?;
    /// let rows = db.query(Index::field("age")).collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["a"]);
    /// # Ok(()) }
    /// ```
    pub fn field(name: impl Into<String>) -> Self {
        Self::of(vec![vec![name.into()]], false)
    }

    /// By the value at a path of field names with dots between, like `address.town`.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let address = Value::from_iter([("town", "Rome")]);
    /// db.put(&Document::new().with("_id", "a").with("address", address)).await?;
    /// assert_eq!(db.query(Index::path("address.town")).key("Rome").count().await?, 1);
    /// // As a field it would be one with a dot in its name.
    /// assert_eq!(db.query(Index::field("address.town")).count().await?, 0);
    /// # Ok(()) }
    /// ```
    pub fn path(path: impl AsRef<str>) -> Self {
        Self::of(vec![split(path.as_ref())], false)
    }

    /// By the list of the values of several fields. A field that is absent counts as null; a document
    /// that has none of them is not in it.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.put(&Document::new().with("_id", "a").with("year", 2024)).await?;
    /// let rows = db.query(Index::fields(["year", "month"])).collect::<Document>().await?;
    /// assert_eq!(rows[0].key, Value::List(vec![2024.into(), Value::Null]));
    /// # Ok(()) }
    /// ```
    pub fn fields<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let paths = names.into_iter().map(|name| vec![name.into()]);
        Self::of(paths.collect(), true)
    }

    /// Like [`Index::fields`], by paths.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let address = Value::from_iter([("town", "Rome")]);
    /// db.put(&Document::new().with("age", 31).with("address", address)).await?;
    /// let by_town = Index::paths(["address.town", "age"]);
    /// assert_eq!(db.query(by_town).prefix("Rome").count().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn paths<S: AsRef<str>>(paths: impl IntoIterator<Item = S>) -> Self {
        let paths = paths.into_iter().map(|path| split(path.as_ref()));
        Self::of(paths.collect(), true)
    }

    /// If the value is a list, one row for each of its elements instead of one for the list. Null
    /// elements have none. Only for an index by one field or path.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, IndexRow, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let ids = |rows: &[IndexRow<Document>]| -> Vec<String> { rows.iter().map(|row| row.id.clone()).collect() };
    /// let tags = vec![Value::from("red"), Value::from("round")];
    /// db.put(&Document::new().with("_id", "ball").with("tags", tags)).await?;
    /// let rows = db.query(Index::field("tags").each()).key("red").collect::<Document>().await?;
    /// assert_eq!(ids(&rows), ["ball"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn each(mut self) -> Self {
        if let Kind::Named(name) = &self.kind {
            self = Self::field(name.clone());
        }
        if let Kind::Fields(fields) = &mut self.kind {
            fields.each = true;
        }
        self
    }

    /// By a function, which gets each document and emits its rows. It must depend on nothing but the
    /// document. Where it changes, `version` has to change too: the index is then made anew.
    ///
    /// A function that panics does no harm to the database; the index is marked as failed, with
    /// what the panic said.
    ///
    /// ```
    /// use firebrick::{Database, Document, Error, Index, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let by_length = Index::map("by-length", 1, |doc, emit| {
    ///     if let Some(Value::Text(title)) = doc.get("title") {
    ///         emit.row(title.len() as u64, title.as_str());
    ///     }
    /// });
    /// let db = Database::builder().name("books").index(by_length).open().await?;
    /// db.put(&Document::new().with("_id", "a").with("title", "Emma")).await?;
    /// let rows = db.query("by-length").key(4).collect::<Document>().await?;
    /// assert_eq!((rows[0].id.as_str(), &rows[0].value), ("a", &Value::from("Emma")));
    /// # Ok(()) }
    /// ```
    pub fn map(
        name: impl Into<String>,
        version: u64,
        function: impl Fn(&Document, &mut Emit) + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind: Kind::Map(Map {
                name: name.into(),
                version,
                function: Arc::new(function),
            }),
        }
    }

    /// The function that was registered under this name, or else the field.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// // Text becomes the same: no function goes by the name, so it is the field.
    /// assert_eq!(db.query(Index::named("text")).count().await?, db.query("text").count().await?);
    /// # Ok(()) }
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::Named(name.into()),
        }
    }
}

fn split(path: &str) -> Vec<String> {
    path.split('.').map(Into::into).collect()
}

/// [`Index::named`].
impl From<&str> for Index {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

/// [`Index::named`].
impl From<String> for Index {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Fields(fields) => fields.fmt(f),
            Kind::Map(map) => write!(f, "Map({:?}, {})", map.name, map.version),
            Kind::Named(name) => write!(f, "Named({name:?})"),
        }
    }
}

/// Takes the rows that a map function makes of one document.
///
/// ```
/// # use firebrick::{Database, Document, Emit, Error, Index, Value};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// // One row for each word.
/// let words = Index::map("words", 1, |doc: &Document, emit: &mut Emit| {
///     if let Some(Value::Text(text)) = doc.get("text") {
///         text.split(' ').for_each(|word| emit.key(word));
///     }
/// });
/// let db = Database::builder().index(words).open().await?;
/// db.put(&note("a", "buy milk")).await?;
/// assert_eq!(db.query("words").key("milk").count().await?, 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct Emit {
    rows: Vec<(Value, Value)>,
}

impl Emit {
    /// Makes a row with a key and a value. A value that JavaScript takes as false (0, "", false) is
    /// kept as null, as there. A key that cannot be one (a map, bytes, a link, or a list with one of
    /// these) makes no row; [`Explain`](crate::Explain) counts them.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let by_length = Index::map("by-length", 1, |doc, emit| {
    ///     if let Some(Value::Text(text)) = doc.get("text") {
    ///         emit.row(text.len() as u64, text.as_str());
    ///     }
    /// });
    /// let db = Database::builder().index(by_length).open().await?;
    /// db.put(&note("a", "milk")).await?;
    /// let rows = db.query("by-length").collect::<Document>().await?;
    /// assert_eq!((&rows[0].key, &rows[0].value), (&Value::from(4), &Value::from("milk")));
    /// # Ok(()) }
    /// ```
    pub fn row(&mut self, key: impl Into<Value>, value: impl Into<Value>) {
        self.rows.push((key.into(), value.into()));
    }

    /// Makes a row with a key only.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let done = Index::map("done", 1, |doc, emit| {
    ///     if doc.get("done") == Some(&Value::Bool(true)) {
    ///         emit.key(doc.id().unwrap_or_default());
    ///     }
    /// });
    /// let db = Database::builder().index(done).open().await?;
    /// db.put(&note("a", "milk").with("done", true)).await?;
    /// assert_eq!(db.query("done").collect::<Document>().await?[0].value, Value::Null);
    /// # Ok(()) }
    /// ```
    pub fn key(&mut self, key: impl Into<Value>) {
        self.row(key, Value::Null);
    }
}

/// A definition that can be evaluated.
#[derive(Clone)]
pub(crate) enum Definition {
    Fields(Fields),
    Map(Map),
}

/// The rows of one document: entries of the tree, ascending, and how many keys could not be one.
#[derive(Debug, Default)]
pub(crate) struct DocumentRows {
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) skipped: u64,
}

impl TryFrom<Kind> for Definition {
    type Error = Error;

    fn try_from(kind: Kind) -> Result<Self> {
        let config = |what: &str| Err(Error::Config(what.into()));
        match kind {
            Kind::Named(name) => Index::field(name).kind.try_into(),
            Kind::Fields(fields) if fields.paths.is_empty() => {
                config("an index needs at least one field")
            }
            Kind::Fields(fields) if fields.each && fields.compound => {
                config("each() is for an index by one field; a map function can do more")
            }
            Kind::Fields(fields) if fields.paths.iter().flatten().any(String::is_empty) => {
                config("an index needs fields with names")
            }
            Kind::Map(map) if map.name.is_empty() => config("an index needs a name"),
            Kind::Fields(fields) => Ok(Self::Fields(fields)),
            Kind::Map(map) => Ok(Self::Map(map)),
        }
    }
}

impl Definition {
    /// What the store calls the index. The version is not part of it.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Fields(fields) => {
                let text = serde_json::to_string(fields).unwrap_or_default();
                format!("fields:{text}")
            }
            Self::Map(map) => map_id(&map.name),
        }
    }

    /// The definition with this id, as far as it can be known from it.
    pub(crate) fn from_id(id: &str) -> Option<Self> {
        let fields = serde_json::from_str(id.strip_prefix("fields:")?).ok()?;
        Self::try_from(Kind::Fields(fields)).ok()
    }

    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Fields(_) => 1,
            Self::Map(map) => map.version,
        }
    }

    /// The name for people.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Fields(fields) => {
                let paths: Vec<String> = fields.paths.iter().map(|path| path.join(".")).collect();
                format!("{}{}", paths.join(","), if fields.each { "[]" } else { "" })
            }
            Self::Map(map) => map.name.clone(),
        }
    }

    /// The rows of a document.
    ///
    /// # Errors
    /// What a map function's panic said, or why the block cannot be read.
    pub(crate) fn rows(&self, id: &str, block: &[u8]) -> Result<DocumentRows, String> {
        let mut rows = DocumentRows::default();
        match self {
            Self::Fields(fields) => fields
                .rows(id, block, &mut rows)
                .map_err(|error| unreadable(id, &error))?,
            Self::Map(map) => {
                let document =
                    document::decode::<Document>(block).map_err(|error| unreadable(id, &error))?;
                let Some(document) = document else {
                    return Ok(rows);
                };
                let mut emit = Emit::default();
                catch_unwind(AssertUnwindSafe(|| (map.function)(&document, &mut emit))).map_err(
                    |panic| format!("it panicked at document {id:?}: {}", said(&*panic)),
                )?;
                for (key, value) in emit.rows {
                    rows.add(id, &key, &value);
                }
            }
        }
        Ok(rows)
    }
}

pub(crate) fn map_id(name: &str) -> String {
    format!("map:{name}")
}

fn unreadable(id: &str, error: &DocumentError) -> String {
    format!("document {id:?} cannot be read: {error}")
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it said nothing")
}

impl Fields {
    fn rows(&self, id: &str, block: &[u8], rows: &mut DocumentRows) -> Result<(), DocumentError> {
        if document::is_tombstone(block) {
            return Ok(());
        }
        let map = document::fields_of(block)?;
        let mut values = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            values.push(index::value_at(map, path)?);
        }
        if values.iter().all(Option::is_none) {
            return Ok(());
        }
        if self.compound {
            let key = values.into_iter().map(Option::unwrap_or_default).collect();
            rows.add(id, &Value::List(key), &Value::Null);
            return Ok(());
        }
        match values.pop().flatten() {
            Some(Value::List(items)) if self.each => {
                for item in items.iter().filter(|item| !item.is_null()) {
                    rows.add(id, item, &Value::Null);
                }
            }
            Some(value) => rows.add(id, &value, &Value::Null),
            None => {}
        }
        Ok(())
    }
}

impl DocumentRows {
    fn add(&mut self, id: &str, key: &Value, value: &Value) {
        let value = if index::is_truthy(value) {
            cbor::to_vec(value)
        } else {
            Ok(Vec::new())
        };
        let (Ok(key), Ok(value)) = (Key::try_from(key), value) else {
            self.skipped += 1;
            return;
        };
        let mut nth = 0;
        let mut entry = index::entry_key(&key, id, nth);
        while self.entries.contains_key(&entry) {
            nth += 1;
            entry = index::entry_key(&key, id, nth);
        }
        self.entries.insert(entry, value);
    }
}

/// The value of an entry.
pub(crate) fn decode_value(bytes: &[u8]) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    cbor::from_slice(bytes).map_err(|error| Error::Malformed {
        what: "index entry",
        cause: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(index: Index, document: &serde_json::Value) -> Vec<String> {
        let definition = Definition::try_from(index.kind).unwrap();
        let block = document::encode("id", document).unwrap();
        let rows = definition.rows("id", &block.bytes).unwrap();
        let keys = rows.entries.keys().map(|entry| {
            let (key, _) = index::split_entry(entry).unwrap();
            let key = firebrick_core::charwise::from_sortable(key).unwrap();
            Value::from(&key).to_string()
        });
        keys.chain((0..rows.skipped).map(|_| "skipped".into()))
            .collect()
    }

    #[test]
    fn what_documents_have_in_an_index() {
        let doc =
            json!({"n": 5, "null": null, "tags": ["b", "a", null, "b", {}], "o": {"p": {"q": 1}}});
        let field = |name: &str| rows(Index::field(name), &doc);
        assert_eq!(field("n"), ["5"]);
        assert_eq!(field("_id"), ["\"id\""]);
        assert!(field("null").is_empty() && field("x").is_empty() && field("o.p").is_empty());
        assert_eq!(field("o"), ["skipped"]);
        assert_eq!(field("tags"), ["skipped"]);
        assert_eq!(
            rows(Index::field("tags").each(), &doc),
            ["\"a\"", "\"b\"", "\"b\"", "skipped"]
        );
        assert_eq!(rows(Index::path("o.p.q"), &doc), ["1"]);
        assert_eq!(rows(Index::path("n").each(), &doc), ["5"]);
        assert_eq!(rows(Index::fields(["x", "n"]), &doc), ["[null,5]"]);
        assert!(rows(Index::fields(["x", "null"]), &doc).is_empty());
        assert_eq!(rows(Index::paths(["o.p.q", "n"]), &doc), ["[1,5]"]);
    }

    #[test]
    fn ids_name_definitions() {
        for index in [
            Index::field("a\"b"),
            Index::path("a.b").each(),
            Index::fields(["a", "b.c"]),
        ] {
            let definition = Definition::try_from(index.kind).unwrap();
            let back = Definition::from_id(&definition.id()).unwrap();
            assert_eq!(back.id(), definition.id());
        }
        assert!(Definition::from_id("map:x").is_none());
        assert!(Definition::from_id("fields:{}").is_none());
        for refused in [
            Index::fields(Vec::<String>::new()),
            Index::fields(["a", "b"]).each(),
            Index::path("a..b"),
            Index::map("", 1, |_, _| {}),
        ] {
            assert!(matches!(
                Definition::try_from(refused.kind),
                Err(Error::Config(_))
            ));
        }
    }
}
