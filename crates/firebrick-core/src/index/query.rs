//! Queries (format §13.5).

use super::Row;
use crate::cbor::Value;
use crate::charwise::{self, CharwiseError, Key};

/// Which rows a query is about.
///
/// ```
/// # use firebrick_core::index::{Query, Selection};
/// # use firebrick_core::cbor::Value;
/// let options: Value = [("key", "red")].into_iter().collect();
/// match Query::from_js(&options)?.selection {
///     Selection::Key(key) => assert_eq!(key, "red".into()),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Selection {
    /// All.
    #[default]
    All,
    /// Keys from the first to the second, both included.
    Range(Key, Key),
    /// One key.
    Key(Key),
    /// Several keys, one after the other in the order given.
    Keys(Vec<Key>),
    /// Lists that begin with these items and go on with a number ≥ 0. That is all that the format's
    /// prefixes select.
    Prefix(Vec<Key>),
}

/// A query on an index.
///
/// ```
/// # use firebrick_core::{cbor::Value, charwise::Key, index::{Query, Row}};
/// # let row = |id: &str| Row::emit_key(id, &Key::Null, Value::Null);
/// # let rows: Vec<Row> = ["a", "b", "c"].into_iter().filter_map(row).collect();
/// let query = Query { descending: true, limit: Some(2), ..Query::default() };
/// let ids: Vec<&str> = query.select(&rows).iter().map(|row| row.id.as_str()).collect();
/// assert_eq!(ids, ["c", "b"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which rows.
    pub selection: Selection,
    /// From the last to the first; with [`Selection::Keys`] within each key.
    pub descending: bool,
    /// How many rows at most.
    pub limit: Option<usize>,
    /// Whether the documents come with the rows.
    pub include_docs: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            selection: Selection::All,
            descending: false,
            limit: None,
            include_docs: true,
        }
    }
}

/// A range of encoded keys, both ends included.
///
/// ```
/// # use firebrick_core::index::{Query, Range};
/// let ranges = Query::default().ranges(); // all rows
/// assert_eq!(ranges, [Range { from: None, to: None }]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least key; `None` for the first one.
    pub from: Option<String>,
    /// The greatest key; `None` for the last one.
    pub to: Option<String>,
}

impl Range {
    /// Whether an encoded key is in the range.
    ///
    /// ```
    /// # use firebrick_core::{charwise, index::Range};
    /// let key = |n: f64| charwise::encode(&n.into());
    /// let range = Range { from: Some(key(2.0)), to: Some(key(10.0)) };
    /// assert!(range.contains(&key(2.0)) && range.contains(&key(10.0)));
    /// assert!(!range.contains(&key(11.0)));
    /// ```
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        let above = |from: &String| charwise::cmp(key, from).is_ge();
        let below = |to: &String| charwise::cmp(key, to).is_le();
        self.from.as_ref().is_none_or(above) && self.to.as_ref().is_none_or(below)
    }
}

impl Query {
    /// Reads the options object of the JavaScript API, with its rules: the first of `range`, `key`,
    /// `keys`, `prefix` counts; a `key` or `prefix` that is 0, "" or null counts as none; a limit
    /// of 0 as none too, except with `keys`.
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, index::{Query, Selection}};
    /// let options: Value = [("key", 0), ("limit", 3)].into_iter().collect();
    /// let query = Query::from_js(&options)?;
    /// assert_eq!(query.selection, Selection::All); // the key 0 counts as none
    /// assert_eq!(query.limit, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CharwiseError`] for keys that cannot be encoded.
    pub fn from_js(options: &Value) -> Result<Self, CharwiseError> {
        let key = |name: &str| options.get(name).map(Key::try_from).transpose();
        let list = |name: &str| match options.get(name) {
            Some(Value::List(items)) => {
                let items: Result<Vec<_>, _> = items.iter().map(Key::try_from).collect();
                items.map(Some)
            }
            _ => Ok(None),
        };
        let range = list("range")?.and_then(|ends| <[Key; 2]>::try_from(ends).ok());
        let one = key("key")?.filter(|key| key.is_truthy() || matches!(key, Key::Bool(_)));
        let keys = list("keys")?;
        let prefix = key("prefix")?.filter(Key::is_truthy);
        let selection = match (range, one, keys, prefix) {
            (Some([from, to]), ..) => Selection::Range(from, to),
            (_, Some(key), ..) => Selection::Key(key),
            (_, _, Some(keys), _) => Selection::Keys(keys),
            (.., Some(Key::List(items))) => Selection::Prefix(items),
            (.., Some(key)) => Selection::Prefix(vec![key]),
            _ => Selection::All,
        };
        let limit = options.get("limit").and_then(Value::as_f64);
        let limit = limit.map(|limit| limit.max(0.0) as usize);
        let keeps_zero = matches!(selection, Selection::Keys(_));
        Ok(Self {
            selection,
            descending: options["descending"].as_bool().unwrap_or(false),
            limit: limit.filter(|limit| keeps_zero || *limit > 0),
            include_docs: options["includeDocs"].as_bool().unwrap_or(true),
        })
    }

    /// The ranges of encoded keys that hold the rows, in the order of the result.
    ///
    /// ```
    /// # use firebrick_core::{charwise, index::{Query, Selection}};
    /// let selection = Selection::Keys(vec!["red".into(), "blue".into()]);
    /// let ranges = Query { selection, ..Query::default() }.ranges();
    /// assert_eq!(ranges.len(), 2);
    /// assert!(ranges[0].contains(&charwise::encode(&"red".into())));
    /// ```
    #[must_use]
    pub fn ranges(&self) -> Vec<Range> {
        let range = |from, to| Range {
            from: Some(from),
            to: Some(to),
        };
        let one = |key: &Key| range(charwise::encode(key), charwise::encode(key));
        match &self.selection {
            Selection::All => vec![Range {
                from: None,
                to: None,
            }],
            Selection::Range(from, to) => {
                vec![range(charwise::encode(from), charwise::encode(to))]
            }
            Selection::Key(key) => vec![one(key)],
            Selection::Keys(keys) => keys.iter().map(one).collect(),
            Selection::Prefix(items) => {
                let (from, to) = charwise::prefix_bounds(items);
                vec![range(from, to)]
            }
        }
    }

    /// The rows of the result; `rows` must be [sorted](super::sort).
    ///
    /// ```
    /// # use firebrick_core::{cbor::Value, charwise::Key, index::{self, Query, Row, Selection}};
    /// let row = |(id, n): (&str, f64)| Row::emit_key(id, &Key::from(n), Value::Null);
    /// let mut rows: Vec<Row> = [("a", 3.0), ("b", 1.0)].into_iter().filter_map(row).collect();
    /// index::sort(&mut rows);
    /// let query = Query { selection: Selection::Key(3.0.into()), ..Query::default() };
    /// assert_eq!(query.select(&rows)[0].id, "a");
    /// ```
    #[must_use]
    pub fn select<'a>(&self, rows: &'a [Row]) -> Vec<&'a Row> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut out = Vec::new();
        for range in self.ranges() {
            let start = range.from.as_ref().map_or(0, |from| {
                rows.partition_point(|row| charwise::cmp(&row.key, from).is_lt())
            });
            let count = range.to.as_ref().map_or(rows.len() - start, |to| {
                rows[start..].partition_point(|row| charwise::cmp(&row.key, to).is_le())
            });
            let found = &rows[start..start + count];
            let left = limit.saturating_sub(out.len());
            if self.descending {
                out.extend(found.iter().rev().take(left));
            } else {
                out.extend(found.iter().take(left));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index;

    fn rows() -> Vec<Row> {
        let mut rows: Vec<_> = (0..10)
            .map(|n| {
                let key = Value::from(n / 2);
                Row::emit(&format!("d{n}"), &key, Value::Null)
            })
            .map(|row| row.unwrap().unwrap())
            .collect();
        index::sort(&mut rows);
        rows
    }

    fn ids(options: &serde_json::Value) -> String {
        let query = Query::from_js(&Value::from_json(options).unwrap()).unwrap();
        let rows = rows();
        let ids = query.select(&rows).into_iter().map(|row| row.id.as_str());
        ids.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn selections() {
        assert_eq!(ids(&json!({"range": [1, 2]})), "d2 d3 d4 d5");
        assert_eq!(ids(&json!({"key": 3})), "d6 d7");
        assert_eq!(ids(&json!({"key": 3, "descending": true})), "d7 d6");
        assert_eq!(ids(&json!({"keys": [3, 1, 9]})), "d6 d7 d2 d3");
        assert_eq!(
            ids(&json!({"keys": [3, 1], "descending": true, "limit": 3})),
            "d7 d6 d3"
        );
        assert_eq!(ids(&json!({"keys": [3], "limit": 0})), "");
        assert_eq!(ids(&json!({"limit": 2, "descending": true})), "d9 d8");
        assert_eq!(ids(&json!({"range": [5, 1]})), "");
    }

    #[test]
    fn what_counts_as_no_key() {
        let all = ids(&json!({}));
        for options in [
            json!({"key": 0}),
            json!({"key": ""}),
            json!({"key": null}),
            json!({"prefix": ""}),
            json!({"limit": 0}),
        ] {
            assert_eq!(ids(&options), all);
        }
        assert_eq!(ids(&json!({"key": false})), "");
    }

    #[test]
    fn prefixes_select_numbers_from_zero() {
        let emit = |id: &str, last: Value| {
            let key = Value::List(vec!["a".into(), last]);
            Row::emit(id, &key, Value::Null).unwrap().unwrap()
        };
        let mut rows = vec![
            emit("zero", 0.into()),
            emit("minus", (-1).into()),
            emit("text", "x".into()),
            emit("one", 1.into()),
        ];
        index::sort(&mut rows);
        let query = Query {
            selection: Selection::Prefix(vec!["a".into()]),
            ..Query::default()
        };
        let ids: Vec<_> = query.select(&rows).iter().map(|row| &*row.id).collect();
        assert_eq!(ids, ["zero", "one"]);
    }
}
