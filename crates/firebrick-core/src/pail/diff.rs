//! The difference of two versions.

use std::cmp::Ordering;

use super::cursor::{Cursor, Item};
use super::range::text;
use super::tree::Handle;
use super::{PailError, ShardSource, Tree};
use crate::cid::Cid;

/// One key on which two versions differ.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// let old = Tree::empty().put(&blocks, "apple", value(1))?;
/// let new = old.put(&blocks, "apple", value(2))?;
/// let change = Tree::diff(&old, &new, &blocks).next().expect("one key differs")?;
/// assert_eq!(change.key, "apple");
/// assert_eq!((change.old, change.new), (Some(value(1)), Some(value(2))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value in the old version.
    pub old: Option<Cid>,
    /// Its value in the new version.
    pub new: Option<Cid>,
}

impl Tree {
    /// The keys on which `old` and `new` differ, ascending. Shards that both have are skipped, so
    /// the cost follows the difference, not the size.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let old = Tree::empty().batch(&blocks, [("apple", value(1)), ("beet", value(2))])?;
    /// let new = old.batch(&blocks, [("beet", value(3)), ("cherry", value(4))])?;
    /// let mut keys = Vec::new();
    /// for change in Tree::diff(&old, &new, &blocks) {
    ///     keys.push(change?.key);
    /// }
    /// assert_eq!(keys, ["beet", "cherry"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn diff<S: ShardSource>(old: &Tree, new: &Tree, source: S) -> Diff<S> {
        Diff {
            state: State::Start(old.clone(), new.clone()),
            source,
            shape_differs: false,
        }
    }
}

/// The iterator of [`Tree::diff`]. It ends after the first error.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
/// let mut diff = Tree::diff(&Tree::empty(), &tree, &blocks);
/// assert_eq!(diff.next().transpose()?.and_then(|change| change.new), Some(value(1)));
/// assert!(diff.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Diff<S> {
    state: State,
    source: S,
    shape_differs: bool,
}

#[derive(Debug)]
enum State {
    Start(Tree, Tree),
    At(Cursor, Cursor),
    Done,
}

/// Which cursors stand at the least key.
enum Side {
    Old,
    New,
    Both,
}

impl<S: ShardSource> Diff<S> {
    /// Whether what was walked so far shows that the new tree is not the one that puts alone make
    /// of the old tree: a shard is gone, or there is a new one for fewer than two keys.
    pub(crate) fn shape_differs(&self) -> bool {
        self.shape_differs
    }

    fn advance(&mut self) -> Result<Option<Change>, PailError> {
        if let State::Start(old, new) = &self.state {
            if old.root() == new.root() {
                return Ok(None);
            }
            let (old, new) = (old.handle(&self.source)?, new.handle(&self.source)?);
            self.state = State::At(Cursor::new(old), Cursor::new(new));
        }
        let State::At(old, new) = &mut self.state else {
            return Ok(None);
        };
        loop {
            let Some(side) = least(old, new) else {
                return Ok(None);
            };
            let (at_old, at_new) = match side {
                Side::Old => (old.item(), None),
                Side::New => (None, new.item()),
                Side::Both => (old.item(), new.item()),
            };
            match (at_old, at_new) {
                (Some(Item::Subtree(a)), Some(Item::Subtree(b))) => {
                    if a == b {
                        old.step();
                        new.step();
                    } else {
                        old.enter(&self.source)?;
                        new.enter(&self.source)?;
                    }
                }
                (Some(Item::Subtree(_)), _) => {
                    self.shape_differs = true;
                    old.enter(&self.source)?;
                }
                (_, Some(Item::Subtree(_))) => {
                    let own = new.parent().and_then(|parent| {
                        let first = new.key().last()?;
                        parent.shard().find(*first)?.value
                    });
                    let depth = new.key().len();
                    new.enter(&self.source)?;
                    self.shape_differs |= !holds_two(new, depth, own.is_some());
                }
                (at_old, at_new) => {
                    let value = |item| match item {
                        Some(Item::Value(value)) => Some(value),
                        _ => None,
                    };
                    let (was, is) = (value(at_old), value(at_new));
                    let change = (was != is).then(|| Change {
                        key: text(if at_old.is_some() {
                            old.key()
                        } else {
                            new.key()
                        }),
                        old: was,
                        new: is,
                    });
                    if at_old.is_some() {
                        old.step();
                    }
                    if at_new.is_some() {
                        new.step();
                    }
                    if change.is_some() {
                        return Ok(change);
                    }
                }
            }
        }
    }
}

/// Whether the subtree just entered, whose prefix has `depth` characters, holds at least two keys
/// as far as its own shard shows; a single entry that is a child is judged when it is entered.
fn holds_two(cursor: &Cursor, depth: usize, own: bool) -> bool {
    let Some(shard) = cursor.parent().map(Handle::shard) else {
        return false;
    };
    if shard.prefix().len() != depth {
        return false;
    }
    match shard.len() {
        0 => false,
        1 => own || shard.entry(0).child.is_some(),
        _ => true,
    }
}

/// The cursor or cursors to look at next.
fn least(old: &Cursor, new: &Cursor) -> Option<Side> {
    let (a, b) = match (old.item(), new.item()) {
        (None, None) => return None,
        (Some(_), None) => return Some(Side::Old),
        (None, Some(_)) => return Some(Side::New),
        (Some(a), Some(b)) => (a, b),
    };
    Some(match old.key().cmp(new.key()) {
        Ordering::Less => Side::Old,
        Ordering::Greater => Side::New,
        // A value comes before the subtree of the same prefix.
        Ordering::Equal => match (a, b) {
            (Item::Value(_), Item::Subtree(_)) => Side::Old,
            (Item::Subtree(_), Item::Value(_)) => Side::New,
            _ => Side::Both,
        },
    })
}

impl<S: ShardSource> Iterator for Diff<S> {
    type Item = Result<Change, PailError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Done;
        }
        next
    }
}

impl<S: ShardSource> std::iter::FusedIterator for Diff<S> {}
