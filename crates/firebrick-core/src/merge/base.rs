//! From winners to a tree, by way of a tree that is known.

use std::borrow::Cow;

use super::winners::Winners;
use crate::cid::Cid;
use crate::clock::Graph;
use crate::pail::{PailError, ShardSource, Tree};

/// How many puts are applied in one pass; bounds the memory of a large merge.
const CHUNK: usize = 1 << 16;

/// `tree` with the winners of `keys`, which are sorted by their text.
pub(super) fn apply_to(
    tree: &Tree,
    shards: &impl ShardSource,
    graph: &Graph,
    winners: &Winners,
    keys: &[u32],
) -> Result<Tree, PailError> {
    let mut puts = Puts::new(tree, shards);
    for key in keys {
        puts.push(Cow::Borrowed(graph.key(*key)), winners.value(*key))?;
    }
    puts.finish()
}

/// What the winners of `keys` make of the ancestor's tree `old`, starting from `new`, a later tree.
/// None if there is no way from there by puts alone.
///
/// The result is the same as that of applying the winners to `old`, whatever `new` is: the
/// difference of the two trees shows each key on which `new` is not what the replay would have
/// made of it. So a later tree saves writing what it shares with the result, and need not be
/// trusted.
pub(super) fn apply_to_later(
    old: &Tree,
    new: &Tree,
    shards: &impl ShardSource,
    graph: &Graph,
    winners: &Winners,
    keys: &[u32],
) -> Result<Option<Tree>, PailError> {
    let mut puts = Puts::new(new, shards);
    let mut diff = Tree::diff(old, new, shards);
    let mut keys = keys.iter().map(|key| (graph.key(*key), *key)).peekable();
    for change in diff.by_ref() {
        let change = change?;
        let at = change.key.as_bytes();
        while let Some((text, key)) = keys.next_if(|(text, _)| *text < at) {
            puts.push(Cow::Borrowed(text), winners.value(key))?;
        }
        if let Some((text, key)) = keys.next_if(|(text, _)| *text == at) {
            let value = winners.value(key);
            if value != change.new {
                puts.push(Cow::Borrowed(text), value)?;
            }
        } else if change.old.is_some() {
            puts.push(Cow::Owned(change.key.into_bytes()), change.old)?;
        } else {
            return Ok(None);
        }
    }
    if diff.shape_differs() {
        return Ok(None);
    }
    for (text, key) in keys {
        puts.push(Cow::Borrowed(text), winners.value(key))?;
    }
    puts.finish().map(Some)
}

/// Applies puts that come sorted, some thousands at a time.
struct Puts<'a, S> {
    tree: Tree,
    shards: &'a S,
    waiting: Vec<(Cow<'a, [u8]>, Cid)>,
}

impl<'a, S: ShardSource> Puts<'a, S> {
    fn new(tree: &Tree, shards: &'a S) -> Self {
        Self {
            tree: tree.clone(),
            shards,
            waiting: Vec::new(),
        }
    }

    fn push(&mut self, key: Cow<'a, [u8]>, value: Option<Cid>) -> Result<(), PailError> {
        if let Some(value) = value {
            self.waiting.push((key, value));
        }
        if self.waiting.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PailError> {
        let puts: Vec<(&[u8], Cid)> = self
            .waiting
            .iter()
            .map(|(key, value)| (&**key, *value))
            .collect();
        self.tree = self.tree.put_sorted(self.shards, &puts)?;
        self.waiting.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Tree, PailError> {
        self.flush()?;
        Ok(self.tree)
    }
}
