//! The entries of a local index: what they are called in an [ordered tree](crate::ordered), and
//! which of them a query is about.
//!
//! An entry's key is the index key as [sortable bytes](crate::charwise::to_sortable), a zero byte,
//! the document's id, and a number if the document emitted the same key before. So entries sort as
//! the format sorts rows: by key, by id, in the order of emission.

use std::ops::Bound;

use super::Selection;
use crate::charwise::{Key, to_sortable};

/// The key of an entry: the `nth` time, from 0, that the document emitted this index key.
///
/// ```
/// # use firebrick_core::{charwise::Key, index::entry_key};
/// let entry = |key: f64, id: &str, nth| entry_key(&Key::from(key), id, nth);
/// assert!(entry(2.0, "b", 0) < entry(10.0, "a", 0)); // by key,
/// assert!(entry(2.0, "a", 7) < entry(2.0, "b", 0)); // by id,
/// assert!(entry(2.0, "a", 0) < entry(2.0, "a", 1)); // in the order of emission
/// ```
#[must_use]
pub fn entry_key(key: &Key, id: &str, nth: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(id.len() + 24);
    to_sortable(key, &mut out);
    out.push(0);
    out.extend_from_slice(id.as_bytes());
    if nth > 0 {
        // Printable, so that the last zero byte is the one before the id.
        out.push(1);
        out.extend_from_slice(format!("{nth:08x}").as_bytes());
    }
    out
}

/// The sortable bytes of the index key, and the document's id.
///
/// ```
/// # use firebrick_core::{charwise::{Key, to_sortable}, index::{entry_key, split_entry}};
/// let entry = entry_key(&Key::from("red"), "note-1", 3);
/// let mut key = Vec::new();
/// to_sortable(&Key::from("red"), &mut key);
/// assert_eq!(split_entry(&entry), Some((&key[..], "note-1")));
/// ```
#[must_use]
pub fn split_entry(entry: &[u8]) -> Option<(&[u8], &str)> {
    let zero = entry.iter().rposition(|byte| *byte == 0)?;
    let (key, tail) = (&entry[..zero], &entry[zero + 1..]);
    let id = tail.split(|byte| *byte == 1).next()?;
    Some((key, std::str::from_utf8(id).ok()?))
}

/// A range of entries: from `from` on, up to but without `to`.
///
/// ```
/// # use firebrick_core::{charwise::Key, index::{Span, entry_key}};
/// let span = Span::key(&Key::from("red"));
/// let entry = entry_key(&Key::from("red"), "note-1", 0);
/// assert!(span.from <= entry && span.to.is_some_and(|to| entry < to));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least entry key.
    pub from: Vec<u8>,
    /// The first one behind; `None` if there is no end.
    pub to: Option<Vec<u8>>,
}

fn with(key: &Key, last: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    to_sortable(key, &mut out);
    out.push(last);
    out
}

impl Span {
    /// All entries.
    ///
    /// ```
    /// # use firebrick_core::{charwise::Key, index::{Span, entry_key}};
    /// assert!(Span::all().contains(&entry_key(&Key::Null, "note-1", 0)));
    /// assert_eq!(Span::all().to, None);
    /// ```
    #[must_use]
    pub fn all() -> Self {
        Self {
            from: Vec::new(),
            to: None,
        }
    }

    /// The entries under one key.
    ///
    /// ```
    /// # use firebrick_core::{charwise::Key, index::{Span, entry_key}};
    /// let span = Span::key(&Key::from(2.0));
    /// assert!(span.contains(&entry_key(&Key::from(2.0), "any id", 9)));
    /// assert!(!span.contains(&entry_key(&Key::from(20.0), "any id", 0)));
    /// ```
    #[must_use]
    pub fn key(key: &Key) -> Self {
        Self::range(Bound::Included(key), Bound::Included(key))
    }

    /// The entries whose keys are between two bounds.
    ///
    /// ```
    /// # use firebrick_core::{charwise::Key, index::{Span, entry_key}};
    /// use std::ops::Bound;
    ///
    /// let (two, ten) = (Key::from(2.0), Key::from(10.0));
    /// let span = Span::range(Bound::Excluded(&two), Bound::Included(&ten));
    /// assert!(!span.contains(&entry_key(&two, "note-1", 0)));
    /// assert!(span.contains(&entry_key(&ten, "note-1", 0)));
    /// ```
    #[must_use]
    pub fn range(from: Bound<&Key>, to: Bound<&Key>) -> Self {
        Self {
            from: match from {
                Bound::Unbounded => Vec::new(),
                Bound::Included(key) => with(key, 0),
                Bound::Excluded(key) => with(key, 1),
            },
            to: match to {
                Bound::Unbounded => None,
                Bound::Included(key) => Some(with(key, 1)),
                Bound::Excluded(key) => Some(with(key, 0)),
            },
        }
    }

    /// The entries whose keys are lists that begin with these items, the list of just these items
    /// included.
    ///
    /// ```
    /// # use firebrick_core::{charwise::Key, index::{Span, entry_key}};
    /// let list = |items: &[f64]| Key::List(items.iter().copied().map(Key::from).collect());
    /// let span = Span::prefix(&[Key::from(2026.0)]);
    /// assert!(span.contains(&entry_key(&list(&[2026.0]), "a", 0)));
    /// assert!(span.contains(&entry_key(&list(&[2026.0, 5.0]), "b", 0)));
    /// assert!(!span.contains(&entry_key(&list(&[2027.0]), "c", 0)));
    /// ```
    #[must_use]
    pub fn prefix(items: &[Key]) -> Self {
        if items.is_empty() {
            return Self {
                from: b"K".to_vec(),
                to: Some(b"L".to_vec()),
            };
        }
        let mut from = Vec::new();
        to_sortable(&Key::List(items.to_vec()), &mut from);
        // The list ends with `!`, a longer one goes on with `"`, and `#` comes after both.
        let mut to = from.clone();
        if let Some(end) = to.last_mut() {
            *end = b'#';
        }
        Self { from, to: Some(to) }
    }

    /// Whether an entry belongs to it.
    ///
    /// ```
    /// # use firebrick_core::index::Span;
    /// let span = Span { from: b"b".to_vec(), to: Some(b"d".to_vec()) };
    /// assert!(span.contains(b"b") && span.contains(b"cc"));
    /// assert!(!span.contains(b"a") && !span.contains(b"d"));
    /// ```
    #[must_use]
    pub fn contains(&self, entry: &[u8]) -> bool {
        entry >= &self.from[..] && self.to.as_ref().is_none_or(|to| entry < &to[..])
    }
}

impl Selection {
    /// The spans of entries, in the order of the result. They hold what [`Query::ranges`] holds.
    ///
    /// [`Query::ranges`]: super::Query::ranges
    ///
    /// ```
    /// # use firebrick_core::{charwise::Key, index::{Selection, Span}};
    /// let (red, blue) = (Key::from("red"), Key::from("blue"));
    /// let spans = Selection::Keys(vec![red.clone(), blue.clone()]).spans();
    /// assert_eq!(spans, [Span::key(&red), Span::key(&blue)]); // in the order asked for
    /// ```
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let between =
            |from: &Key, to: &Key| Span::range(Bound::Included(from), Bound::Included(to));
        match self {
            Selection::All => vec![Span::all()],
            Selection::Range(from, to) => vec![between(from, to)],
            Selection::Key(key) => vec![Span::key(key)],
            Selection::Keys(keys) => keys.iter().map(Span::key).collect(),
            Selection::Prefix(items) => {
                let bound = |last: f64| {
                    let mut items = items.clone();
                    items.push(Key::Number(last));
                    Key::List(items)
                };
                vec![between(&bound(f64::NAN), &bound(f64::INFINITY))]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::charwise::{cmp, encode};
    use crate::index::Query;

    fn keys() -> impl Strategy<Value = Key> {
        let leaf = prop_oneof![
            Just(Key::Null),
            (-2..3_i32).prop_map(|n| Key::Number(n.into())),
            "[a!\"?\u{1}]{0,2}".prop_map(Key::Text),
        ];
        leaf.prop_recursive(2, 6, 3, |item| {
            prop::collection::vec(item, 0..3).prop_map(Key::List)
        })
    }

    fn selections() -> impl Strategy<Value = Selection> {
        prop_oneof![
            Just(Selection::All),
            (keys(), keys()).prop_map(|(a, b)| Selection::Range(a, b)),
            keys().prop_map(Selection::Key),
            prop::collection::vec(keys(), 0..3).prop_map(Selection::Keys),
            prop::collection::vec(keys(), 0..3).prop_map(Selection::Prefix),
        ]
    }

    proptest! {
        #[test]
        fn spans_hold_what_the_ranges_of_the_format_hold(selection in selections(), key in keys()) {
            let spans = selection.spans();
            let query = Query { selection, ..Query::default() };
            for (span, range) in spans.iter().zip(query.ranges()) {
                let entry = entry_key(&key, "some id", 0);
                prop_assert_eq!(span.contains(&entry), range.contains(&encode(&key)));
            }
        }

        #[test]
        fn prefixes_hold_the_lists_that_begin_so(items in prop::collection::vec(keys(), 0..3), key in keys()) {
            let begins = matches!(&key, Key::List(list) if list.starts_with(&items));
            prop_assert_eq!(Span::prefix(&items).contains(&entry_key(&key, "id", 0)), begins);
        }

        #[test]
        fn bounds_are_in_or_out(key in keys(), other in keys()) {
            let entry = entry_key(&other, "id", 0);
            let order = cmp(&encode(&other), &encode(&key));
            let from = |bound| Span::range(bound, Bound::Unbounded).contains(&entry);
            let to = |bound| Span::range(Bound::Unbounded, bound).contains(&entry);
            prop_assert_eq!(from(Bound::Included(&key)), order.is_ge());
            prop_assert_eq!(from(Bound::Excluded(&key)), order.is_gt());
            prop_assert_eq!(to(Bound::Included(&key)), order.is_le());
            prop_assert_eq!(to(Bound::Excluded(&key)), order.is_lt());
        }

        #[test]
        fn entries_sort_as_rows(
            a in (keys(), "[ -~]{1,3}", 0..300_u32),
            b in (keys(), "[ -~]{1,3}", 0..300_u32),
        ) {
            let entry = |(key, id, nth): &(Key, String, u32)| entry_key(key, id, *nth);
            let order = cmp(&encode(&a.0), &encode(&b.0))
                .then_with(|| a.1.cmp(&b.1))
                .then_with(|| a.2.cmp(&b.2));
            prop_assert_eq!(entry(&a).cmp(&entry(&b)), order);
            let entry = entry(&a);
            let (key, id) = split_entry(&entry).unwrap();
            prop_assert_eq!(id, &a.1);
            let mut expected = Vec::new();
            to_sortable(&a.0, &mut expected);
            prop_assert_eq!(key, expected);
        }
    }
}
