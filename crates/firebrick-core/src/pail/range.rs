//! Keys and values in ascending order.

use std::ops::Bound;

use super::cursor::{Cursor, Item};
use super::{PailError, ShardSource, Tree};
use crate::cid::Cid;

/// Which keys a scan yields: all that match every condition.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// # use firebrick_core::pail::Range;
/// let tree = Tree::empty().batch(&blocks, [("a1", value(1)), ("a2", value(2)), ("b", value(3))])?;
/// let range = Range::prefix("a").after("a1");
/// let found: Result<Vec<_>, _> = tree.entries(&blocks, range).collect();
/// assert_eq!(found?, [("a2".to_string(), value(2))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    start: Bound<String>,
    end: Bound<String>,
    prefix: String,
}

impl Default for Range {
    fn default() -> Self {
        Self::all()
    }
}

impl Range {
    /// All keys.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// assert!(Range::all().contains("apple"));
    /// assert_eq!(Range::all(), Range::default());
    /// ```
    #[must_use]
    pub const fn all() -> Self {
        Self {
            start: Bound::Unbounded,
            end: Bound::Unbounded,
            prefix: String::new(),
        }
    }

    /// The keys that begin with `prefix`.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// let range = Range::prefix("task-");
    /// assert!(range.contains("task-1"));
    /// assert!(!range.contains("note-1"));
    /// ```
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::all()
        }
    }

    /// The keys between two bounds.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// use std::ops::Bound;
    ///
    /// let range = Range::bounds(Bound::Excluded("a".into()), Bound::Included("c".into()));
    /// assert!(!range.contains("a"));
    /// assert!(range.contains("c"));
    /// ```
    #[must_use]
    pub fn bounds(start: Bound<String>, end: Bound<String>) -> Self {
        Self {
            start,
            end,
            prefix: String::new(),
        }
    }

    /// The same range from `start` on.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// let range = Range::all().from("beet");
    /// assert!(range.contains("beet"));
    /// assert!(!range.contains("apple"));
    /// ```
    #[must_use]
    pub fn from(mut self, start: impl Into<String>) -> Self {
        self.start = Bound::Included(start.into());
        self
    }

    /// The same range behind `key`: the way to the next page.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// let range = Range::all().after("beet");
    /// assert!(!range.contains("beet"));
    /// assert!(range.contains("beet2"));
    /// ```
    #[must_use]
    pub fn after(mut self, key: impl Into<String>) -> Self {
        self.start = Bound::Excluded(key.into());
        self
    }

    /// The same range up to `end`, that included.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// let range = Range::all().to("beet");
    /// assert!(range.contains("beet"));
    /// assert!(!range.contains("beet2"));
    /// ```
    #[must_use]
    pub fn to(mut self, end: impl Into<String>) -> Self {
        self.end = Bound::Included(end.into());
        self
    }

    /// The same range up to `end`, that excluded.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// let range = Range::all().before("beet");
    /// assert!(range.contains("apple"));
    /// assert!(!range.contains("beet"));
    /// ```
    #[must_use]
    pub fn before(mut self, end: impl Into<String>) -> Self {
        self.end = Bound::Excluded(end.into());
        self
    }

    /// Whether a scan of this range yields `key`, if it is there.
    ///
    /// ```
    /// # use firebrick_core::pail::Range;
    /// let range = Range::prefix("b").before("c").after("beet");
    /// assert!(range.contains("berry"));
    /// assert!(!range.contains("beet") && !range.contains("cherry"));
    /// ```
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        let (start, after) = self.seek();
        let key = key.as_bytes();
        let begun = if after { key > start } else { key >= start };
        begun && !self.ends_before(key)
    }

    /// Where to begin, and whether behind that.
    fn seek(&self) -> (&[u8], bool) {
        let (start, after) = match &self.start {
            Bound::Included(start) => (start.as_bytes(), false),
            Bound::Excluded(start) => (start.as_bytes(), true),
            Bound::Unbounded => (&b""[..], false),
        };
        if start < self.prefix.as_bytes() {
            (self.prefix.as_bytes(), false)
        } else {
            (start, after)
        }
    }

    /// Whether the range ends before `key`, which lies behind its start.
    fn ends_before(&self, key: &[u8]) -> bool {
        let past = match &self.end {
            Bound::Included(end) => key > end.as_bytes(),
            Bound::Excluded(end) => key >= end.as_bytes(),
            Bound::Unbounded => false,
        };
        past || !key.starts_with(self.prefix.as_bytes())
    }

    /// Whether the range ends before every key that is longer than `key` and begins with it.
    fn ends_before_all_of(&self, key: &[u8]) -> bool {
        let past = match &self.end {
            Bound::Included(end) | Bound::Excluded(end) => key >= end.as_bytes(),
            Bound::Unbounded => false,
        };
        let prefix = self.prefix.as_bytes();
        past || !(key.starts_with(prefix) || prefix.starts_with(key))
    }
}

impl Tree {
    /// The keys of `range` with their values, ascending. Shards are read as the scan reaches them;
    /// memory does not grow with the result.
    ///
    /// `source` may be a reference or an owned handle such as an `Arc`; with the latter the
    /// iterator borrows nothing.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// # use firebrick_core::pail::Range;
    /// let tree = Tree::empty().batch(&blocks, [("cherry", value(3)), ("apple", value(1))])?;
    /// let mut keys = Vec::new();
    /// for entry in tree.entries(&blocks, Range::all()) {
    ///     let (key, _value) = entry?;
    ///     keys.push(key);
    /// }
    /// assert_eq!(keys, ["apple", "cherry"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn entries<S: ShardSource>(&self, source: S, range: Range) -> Entries<S> {
        Entries {
            state: State::Start(self.clone()),
            source,
            range,
        }
    }
}

/// The iterator of [`Tree::entries`]. It ends after the first error.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// # use firebrick_core::pail::Range;
/// let mut entries = Tree::at(value(9)).entries(&blocks, Range::all());
/// assert!(entries.next().is_some_and(|entry| entry.is_err())); // there is no such root
/// assert!(entries.next().is_none());
/// ```
#[derive(Debug)]
pub struct Entries<S> {
    state: State,
    source: S,
    range: Range,
}

#[derive(Debug)]
enum State {
    Start(Tree),
    At(Cursor),
    Done,
}

impl<S: ShardSource> Entries<S> {
    fn advance(&mut self) -> Result<Option<(String, Cid)>, PailError> {
        if let State::Start(tree) = &self.state {
            let mut cursor = Cursor::new(tree.handle(&self.source)?);
            let (start, after) = self.range.seek();
            cursor.seek(&self.source, start, after)?;
            self.state = State::At(cursor);
        }
        let State::At(cursor) = &mut self.state else {
            return Ok(None);
        };
        while let Some(item) = cursor.item() {
            match item {
                Item::Value(_) if self.range.ends_before(cursor.key()) => break,
                Item::Value(value) => {
                    let key = text(cursor.key());
                    cursor.step();
                    return Ok(Some((key, value)));
                }
                // All keys of a subtree are greater than its prefix, which may itself lie outside.
                Item::Subtree(_) if self.range.ends_before_all_of(cursor.key()) => break,
                Item::Subtree(_) => cursor.enter(&self.source)?,
            }
        }
        Ok(None)
    }
}

/// Keys were checked to be ASCII when their shards were decoded.
pub(super) fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

impl<S: ShardSource> Iterator for Entries<S> {
    type Item = Result<(String, Cid), PailError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Done;
        }
        next
    }
}

impl<S: ShardSource> std::iter::FusedIterator for Entries<S> {}
