//! Indexes as JavaScript has them (format §13): names, rows, trees and queries.
//!
//! ```
//! use firebrick_core::cbor::Value;
//! use firebrick_core::index::{self, Query, Row, Selection};
//! let row = |id: &str, age: u32| Row::emit(id, &Value::from(age), Value::Null).unwrap().unwrap();
//! let mut rows = vec![row("b", 30), row("a", 20), row("c", 40)];
//! index::sort(&mut rows);
//! let query = Query { selection: Selection::Range(20.0.into(), 30.0.into()), ..Query::default() };
//! let ids: Vec<_> = query.select(&rows).iter().map(|row| row.id.as_str()).collect();
//! assert_eq!(ids, ["a", "b"]);
//! ```

use crate::block::Block;
use crate::cbor::{self, CborError, Value};
use crate::charwise::{self, CharwiseError, Key};
use crate::cid::Cid;
use crate::prolly::{self, Entry, RowKey};

mod entry;
mod field;
mod name;
mod query;

pub use entry::{Span, entry_key, split_entry};
pub use field::value_at;
pub use name::name;
pub use query::{Query, Range, Selection};

/// The `map` text of an index by field name.
///
/// ```
/// use firebrick_core::index::{self, FIELD_MAP};
///
/// assert_eq!(index::name(FIELD_MAP), "doc[name] ?? undefined");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const FIELD_MAP: &str = "(doc) => doc[name] ?? undefined";

/// A row of an index.
///
/// ```
/// # use firebrick_core::{cbor::Value, charwise, index::Row};
/// let row = Row::emit("note-1", &"red".into(), 5.into())?.expect("it has a key");
/// assert_eq!((row.id.as_str(), row.value), ("note-1", Value::Int(5)));
/// assert_eq!(row.key, charwise::encode(&"red".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The encoded key, see [`charwise`].
    pub key: String,
    /// The document id.
    pub id: String,
    /// What was emitted with the key, or null.
    pub value: Value,
}

impl Row {
    /// The row that `emit(key, value)` makes for a document: values that JavaScript takes as false
    /// become null.
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, index::Row};
    /// let row = Row::emit("note-1", &"red".into(), false.into())?.expect("it has a key");
    /// assert_eq!(row.value, Value::Null); // in place of false
    /// let map: Value = [("a", 1)].into_iter().collect();
    /// assert!(Row::emit("note-1", &map, Value::Null).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CharwiseError`] if the key is or contains a map; in JavaScript that fails the whole query.
    pub fn emit(id: &str, key: &Value, value: Value) -> Result<Option<Self>, CharwiseError> {
        Ok(Self::emit_key(id, &Key::try_from(key)?, value))
    }

    /// Like [`Row::emit`]; an undefined key makes no row.
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, charwise::Key, index::Row};
    /// assert!(Row::emit_key("note-1", &Key::Null, Value::Null).is_some());
    /// assert!(Row::emit_key("note-1", &Key::Undefined, Value::Null).is_none());
    /// ```
    #[must_use]
    pub fn emit_key(id: &str, key: &Key, value: Value) -> Option<Self> {
        let value = if is_truthy(&value) {
            value
        } else {
            Value::Null
        };
        (*key != Key::Undefined).then(|| Self {
            key: charwise::encode(key),
            id: id.into(),
            value,
        })
    }

    /// The row of a document in the index by a field's name; none if the field is absent or null.
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, index::Row};
    /// let document: Value = [("color", "red")].into_iter().collect();
    /// let row = Row::of_field("note-1", &document, "color")?;
    /// assert_eq!(row, Row::emit("note-1", &"red".into(), Value::Null)?);
    /// assert_eq!(Row::of_field("note-1", &document, "size")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CharwiseError`] if the value cannot be a key.
    pub fn of_field(
        id: &str,
        document: &Value,
        field: &str,
    ) -> Result<Option<Self>, CharwiseError> {
        match document.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Self::emit(id, value, Value::Null),
        }
    }

    /// The order of rows: by key, then by id.
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, charwise::Key, index::Row};
    /// let row = |key: f64, id: &str| Row::emit_key(id, &Key::from(key), Value::Null);
    /// let (two, ten) = (row(2.0, "b").expect("a row"), row(10.0, "a").expect("a row"));
    /// assert!(two.order(&ten).is_lt());
    /// ```
    #[must_use]
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        charwise::cmp(&self.key, &other.key).then_with(|| charwise::cmp(&self.id, &other.id))
    }
}

/// Whether JavaScript takes a value as true.
///
/// ```
/// # use firebrick_core::index::is_truthy;
/// assert!(is_truthy(&"0".into()) && is_truthy(&Vec::new().into()));
/// assert!(!is_truthy(&0.0.into()) && !is_truthy(&"".into()));
/// ```
#[must_use]
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0 && !value.is_nan(),
        Value::Text(text) => !text.is_empty(),
        Value::Bytes(_) | Value::Link(_) | Value::List(_) | Value::Map(_) => true,
    }
}

/// Puts rows in order; those of one document under one key keep theirs.
///
/// ```
/// # use firebrick_core::{cbor::Value, charwise::Key, index::{self, Row}};
/// let row = |id: &str| Row::emit_key(id, &Key::Null, Value::Null);
/// let mut rows: Vec<Row> = ["b", "a"].into_iter().filter_map(row).collect();
/// index::sort(&mut rows);
/// assert_eq!(rows[0].id, "a");
/// ```
pub fn sort(rows: &mut [Row]) {
    rows.sort_by(Row::order);
}

/// The two trees of an index, in the order their blocks are written.
///
/// ```
/// # use firebrick_core::{cbor::Value, index::{Row, Trees}};
/// # let row = Row::emit("note-1", &"red".into(), Value::Null)?.expect("it has a key");
/// let trees = Trees::build(&[row])?;
/// let roots = (trees.by_id[0].cid, trees.by_key[0].cid);
/// assert_eq!(trees.roots(), Some(roots));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Trees {
    /// The tree by document id; the last block is its root. Empty if there are no rows.
    pub by_id: Vec<Block>,
    /// The tree by key.
    pub by_key: Vec<Block>,
}

impl Trees {
    /// Builds the trees of these rows, which must come in the order of their documents' ids and of
    /// their emission.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cbor::Value, index::{Row, Trees}, prolly::{self, RowKey}};
    /// let row = Row::emit("note-1", &"red".into(), Value::Null)?.expect("it has a key");
    /// let trees = Trees::build(std::slice::from_ref(&row))?;
    /// let root = &trees.by_key[0];
    /// let mut entries = prolly::entries(root.cid, |_| Some(root.bytes.clone()), None);
    /// let key = RowKey { key: row.key, id: row.id };
    /// assert_eq!(entries.next().transpose()?.map(|entry| entry.key), Some(key));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError`] if a value cannot be stored.
    pub fn build(rows: &[Row]) -> Result<Self, CborError> {
        let (mut by_id, mut by_key) = (Vec::new(), Vec::new());
        for row in rows {
            let key = RowKey {
                key: row.key.clone(),
                id: row.id.clone(),
            };
            by_id.push(Entry {
                key: row.id.clone(),
                value: cbor::to_vec(&(&row.key, &row.id))?.into(),
            });
            by_key.push(Entry {
                key,
                value: cbor::to_vec(&row.value)?.into(),
            });
        }
        Ok(Self {
            by_id: prolly::build(by_id),
            by_key: prolly::build(by_key),
        })
    }

    /// The roots, by id and by key; `None` if there are no rows. JavaScript cannot store such an
    /// index: leave it out of the header.
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, index::{Row, Trees}};
    /// # let row = Row::emit("note-1", &"red".into(), Value::Null)?.expect("it has a key");
    /// assert_eq!(Trees::build(&[])?.roots(), None);
    /// assert!(Trees::build(&[row])?.roots().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn roots(&self) -> Option<(Cid, Cid)> {
        Some((self.by_id.last()?.cid, self.by_key.last()?.cid))
    }

    /// All blocks, the tree by id first.
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, index::{Row, Trees}};
    /// # let row = Row::emit("note-1", &"red".into(), Value::Null)?.expect("it has a key");
    /// let trees = Trees::build(&[row])?;
    /// assert_eq!(trees.blocks().next(), trees.by_id.first());
    /// assert_eq!(trees.blocks().last(), trees.by_key.last());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.by_id.iter().chain(&self.by_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_emit_stores() {
        let emit = |key: Value, value: Value| Row::emit("a", &key, value);
        for falsy in [Value::Null, 0.into(), "".into(), false.into()] {
            let row = emit(1.into(), falsy).unwrap().unwrap();
            assert_eq!(row.value, Value::Null);
        }
        assert_eq!(
            emit(Value::Null, 5.into()).unwrap().unwrap().value,
            Value::Int(5)
        );
        let map: Value = [("x", 1)].into_iter().collect();
        assert!(emit(map.clone(), 5.into()).is_err());
        assert_eq!(Row::emit_key("a", &Key::Undefined, Value::Null), None);
        assert_eq!(Row::of_field("a", &map, "y"), Ok(None));
        assert!(Row::of_field("a", &map, "x").unwrap().is_some());
    }

    #[test]
    fn no_rows_no_trees() {
        assert_eq!(Trees::build(&[]).unwrap().roots(), None);
    }
}
