//! The pail's own delete, exactly as it is in the format (format §5.2).
//!
//! Documents are never deleted this way; only foreign data may ask for it. It loses the value that
//! stands beside the link to an emptied shard, and what it leaves behind need not be canonical.

use super::shard::NewEntry;
use super::tree::{Handle, Node};
use super::{Edited, PailError, ShardSource, Tree, check_key};

impl Tree {
    /// This version without `key`, by the rules of the pail's delete.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let one = Tree::empty().put(&blocks, "apple", value(1))?;
    /// let two = one.put(&blocks, "beet", value(2))?;
    /// assert_eq!(two.del(&blocks, "beet")?.root(), one.root());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn del(&self, source: &impl ShardSource, key: &str) -> Result<Self, PailError> {
        Ok(self.del_traced(source, key)?.tree)
    }

    /// [`Self::del`], and which shards were made and replaced.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty().batch(&blocks, [("apple", value(1)), ("beet", value(2))])?;
    /// let edited = tree.del_traced(&blocks, "beet")?;
    /// assert_eq!(edited.removed, [tree.root()]);
    /// assert_eq!(edited.added[0].cid, edited.tree.root());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn del_traced(&self, source: &impl ShardSource, key: &str) -> Result<Edited, PailError> {
        check_key(key)?;
        let key = key.as_bytes();
        let unchanged = Edited {
            tree: self.clone(),
            added: Vec::new(),
            removed: Vec::new(),
        };
        let mut path = vec![self.handle(source)?];
        // The entry of the shard at the end of the path: what replaces it.
        let change = loop {
            let depth = path.len() - 1;
            let at = &path[depth];
            let first = key[depth];
            let Some(entry) = at.shard().find(first) else {
                return Ok(unchanged);
            };
            match entry.child {
                None if entry.key != &key[depth..] => return Ok(unchanged),
                None => break NewEntry::Gone { first },
                Some(_) if depth + 1 == key.len() && entry.value.is_none() => return Ok(unchanged),
                Some(child) if depth + 1 == key.len() => {
                    break NewEntry::Child {
                        first,
                        child,
                        value: None,
                    };
                }
                Some(child) => {
                    let next = at.child(source, first, child, &key[..=depth])?;
                    path.push(next);
                }
            }
        };
        Ok(rewrite(&path, key, change))
    }
}

/// Writes the shards of `path` again, from its end, where `change` replaces an entry.
fn rewrite<'a>(path: &[Handle], key: &[u8], mut change: NewEntry<'a>) -> Edited {
    let mut edited = Edited {
        tree: Tree::empty(),
        added: Vec::new(),
        removed: Vec::new(),
    };
    let mut below: Option<std::sync::Arc<Node>> = None;
    for (depth, at) in path.iter().enumerate().rev() {
        edited.removed.push(at.cid());
        let first = key[depth];
        let shard = at.shard().splice(std::iter::once(change.clone()));
        if shard.is_empty() && depth > 0 {
            change = NewEntry::Gone {
                first: key[depth - 1],
            };
            below = None;
            continue;
        }
        let keeps = matches!(change, NewEntry::Child { .. }) && below.is_none();
        let mut children: Vec<_> = at
            .nodes()
            .iter()
            .filter(|(c, _)| *c != first || keeps)
            .cloned()
            .collect();
        if let Some(node) = below.take() {
            let place = children.partition_point(|(c, _)| *c < first);
            children.insert(place, (first, node));
        }
        let node = Node::new(shard, children);
        edited.added.push(Handle::Unsaved(node.clone()).block());
        if let Some(above) = depth.checked_sub(1) {
            change = NewEntry::Child {
                first: key[above],
                child: node.cid,
                value: path[above]
                    .shard()
                    .find(key[above])
                    .and_then(|entry| entry.value),
            };
        }
        below = Some(node);
    }
    if let Some(root) = below {
        edited.tree = Tree::of(root);
    }
    edited
}
