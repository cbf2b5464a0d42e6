//! A position in a tree, for everything that walks it in key order.

use std::cmp::Ordering;

use super::tree::Handle;
use super::{PailError, ShardSource};
use crate::cid::Cid;

/// What a cursor stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A key with this value.
    Value(Cid),
    /// A shard with all keys that are longer than the cursor's key and begin with it.
    Subtree(Cid),
}

#[derive(Debug)]
struct Level {
    at: Handle,
    /// The entry, and whether its own value was passed.
    index: usize,
    passed: bool,
}

/// Walks the values and subtrees of one version in ascending key order. At a subtree the caller
/// decides whether to enter it or to step over it.
#[derive(Debug)]
pub(super) struct Cursor {
    levels: Vec<Level>,
    /// The prefix of the shard on top, then the key of its current entry.
    key: Vec<u8>,
    item: Option<Item>,
}

impl Cursor {
    pub(super) fn new(root: Handle) -> Self {
        let mut cursor = Self {
            levels: vec![Level {
                at: root,
                index: 0,
                passed: false,
            }],
            key: Vec::new(),
            item: None,
        };
        cursor.settle();
        cursor
    }

    /// What is here; none at the end.
    pub(super) fn item(&self) -> Option<Item> {
        self.item
    }

    /// The key of the value, or the prefix of the subtree.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The handle of the shard whose entry this is.
    pub(super) fn parent(&self) -> Option<&Handle> {
        self.levels.last().map(|level| &level.at)
    }

    /// Steps over what is here.
    pub(super) fn step(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            let has_child = matches!(self.item, Some(Item::Value(_)))
                && level.at.shard().entry(level.index).child.is_some();
            if has_child {
                level.passed = true;
            } else {
                level.index += 1;
                level.passed = false;
            }
        }
        self.settle();
    }

    /// Goes into the subtree that is here; at a value, steps over it.
    pub(super) fn enter(&mut self, source: &impl ShardSource) -> Result<(), PailError> {
        if let (Some(Item::Subtree(cid)), Some(level)) = (self.item, self.levels.last_mut()) {
            let first = self.key.last().copied().unwrap_or_default();
            let at = level.at.child(source, first, cid, &self.key)?;
            level.index += 1;
            level.passed = false;
            self.levels.push(Level {
                at,
                index: 0,
                passed: false,
            });
            self.settle();
        } else {
            self.step();
        }
        Ok(())
    }

    /// Moves forward to the first value whose key is not less than `bound`, or not equal either
    /// if `after` is set; or to a subtree that may hold it.
    pub(super) fn seek(
        &mut self,
        source: &impl ShardSource,
        bound: &[u8],
        after: bool,
    ) -> Result<(), PailError> {
        self.skip_to(bound);
        while let Some(item) = self.item {
            match (self.key.as_slice().cmp(bound), item) {
                (Ordering::Less, Item::Subtree(_)) if bound.starts_with(&self.key) => {
                    self.enter(source)?;
                    self.skip_to(bound);
                }
                (Ordering::Less, _) => self.step(),
                (Ordering::Equal, Item::Value(_)) if after => self.step(),
                _ => break,
            }
        }
        Ok(())
    }

    /// Skips the entries of the shard just entered that lie before `bound`.
    fn skip_to(&mut self, bound: &[u8]) {
        if let Some(level) = self.levels.last_mut()
            && level.index == 0
            && !level.passed
            && let Some(first) = bound.get(level.at.shard().prefix().len())
        {
            level.index = level.at.shard().lower_bound(*first);
            self.settle();
        }
    }

    /// Leaves finished shards and looks up what is here now.
    fn settle(&mut self) {
        while let Some(level) = self.levels.last() {
            let shard = level.at.shard();
            if level.index < shard.len() {
                let entry = shard.entry(level.index);
                self.key.truncate(shard.prefix().len());
                // A child that was just entered has the key as its prefix already.
                self.key.extend_from_slice(entry.key);
                self.item = match (entry.value, entry.child) {
                    (Some(value), _) if !level.passed => Some(Item::Value(value)),
                    (_, Some(child)) => Some(Item::Subtree(child)),
                    (value, None) => value.map(Item::Value),
                };
                return;
            }
            self.levels.pop();
        }
        self.item = None;
    }
}
