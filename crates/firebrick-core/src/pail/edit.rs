//! Puts, one or many, in one pass.
//!
//! The operations are sorted by key; then each shard that they touch is visited once, changed in
//! its encoded form and hashed once, children before their parents. Because the tree depends on the
//! set of keys only, this gives the same tree as the same puts one after the other, and the new
//! shards come out in the order in which the format emits them.

use std::sync::Arc;

use super::shard::NewEntry;
use super::tree::{Handle, Node};
use super::{PailError, Shard, ShardSource, Tree, check_key};
use crate::block::Block;
use crate::cid::Cid;

/// A new version and what changed, for writers that reproduce the format's commits exactly.
///
/// ```
/// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
/// # let blocks = MemoryBlocks::new();
/// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
/// let old = Tree::empty().put(&blocks, "apple", value(1))?;
/// let edited = old.edit(&blocks, [("beet", value(2))])?;
/// assert_eq!(edited.added.last().map(|block| block.cid), Some(edited.tree.root()));
/// assert_eq!(edited.removed, [old.root()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Edited {
    /// The new version.
    pub tree: Tree,
    /// The new shards in the order of emission: children before their parents, the root last.
    pub added: Vec<Block>,
    /// The shards that they replace.
    pub removed: Vec<Cid>,
}

impl Tree {
    /// This version with `key` set to `value`.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty().put(&blocks, "apple", value(1))?;
    /// let other = tree.put(&blocks, "apple", value(2))?;
    /// assert_eq!(other.get(&blocks, "apple")?, Some(value(2)));
    /// assert_eq!(tree.get(&blocks, "apple")?, Some(value(1))); // a version never changes
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PailError::Key`] for a key that the format does not allow, else whatever prevents reading
    /// the shards on the way.
    pub fn put(&self, source: &impl ShardSource, key: &str, value: Cid) -> Result<Self, PailError> {
        check_key(key)?;
        Ok(apply(self, source, &[(key.as_bytes(), value)], None)?.unwrap_or_else(|| self.clone()))
    }

    /// This version with all of `ops` applied; of a key that appears twice, the last value counts.
    ///
    /// Each shard is written once, whatever the number of operations. Operations that are already
    /// sorted by key cost a little less.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let tree = Tree::empty();
    /// let all = tree.batch(&blocks, [("beet", value(2)), ("apple", value(1))])?;
    /// let each = tree.put(&blocks, "apple", value(1))?.put(&blocks, "beet", value(2))?;
    /// assert_eq!(all.root(), each.root());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::put`]; nothing is applied then.
    pub fn batch<K: AsRef<str>>(
        &self,
        source: &impl ShardSource,
        ops: impl IntoIterator<Item = (K, Cid)>,
    ) -> Result<Self, PailError> {
        let ops: Vec<(K, Cid)> = ops.into_iter().collect();
        let ops = sorted(&ops)?;
        Ok(apply(self, source, &ops, None)?.unwrap_or_else(|| self.clone()))
    }

    /// Applies puts of valid keys that are sorted and all different.
    pub(crate) fn put_sorted(
        &self,
        source: &impl ShardSource,
        ops: &[(&[u8], Cid)],
    ) -> Result<Self, PailError> {
        Ok(apply(self, source, ops, None)?.unwrap_or_else(|| self.clone()))
    }

    /// [`Self::put`] and [`Self::batch`], and which shards were made and replaced.
    ///
    /// ```
    /// # use firebrick_core::{Cid, cid::Codec, memory::MemoryBlocks, pail::Tree};
    /// # let blocks = MemoryBlocks::new();
    /// # let value = |n: u8| Cid::of(Codec::Raw, &[n]);
    /// let edited = Tree::empty().edit(&blocks, [("apple", value(1)), ("apricot", value(2))])?;
    /// assert_eq!(edited.tree.get(&blocks, "apricot")?, Some(value(2)));
    /// assert_eq!(edited.added.len(), 3); // the root, and one shard each for "a" and "ap"
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn edit<K: AsRef<str>>(
        &self,
        source: &impl ShardSource,
        ops: impl IntoIterator<Item = (K, Cid)>,
    ) -> Result<Edited, PailError> {
        let ops: Vec<(K, Cid)> = ops.into_iter().collect();
        let ops = sorted(&ops)?;
        let mut trace = Trace::default();
        let tree = apply(self, source, &ops, Some(&mut trace))?.unwrap_or_else(|| self.clone());
        Ok(Edited {
            tree,
            added: trace.added,
            removed: trace.removed,
        })
    }
}

/// Checked, sorted by key, and of equal keys only the last.
fn sorted<K: AsRef<str>>(ops: &[(K, Cid)]) -> Result<Vec<(&[u8], Cid)>, PailError> {
    let mut sorted = Vec::with_capacity(ops.len());
    for (key, value) in ops {
        check_key(key.as_ref())?;
        sorted.push((key.as_ref().as_bytes(), *value));
    }
    sorted.sort_by_key(|(key, _)| *key);
    sorted.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });
    Ok(sorted)
}

#[derive(Default)]
struct Trace {
    added: Vec<Block>,
    removed: Vec<Cid>,
}

/// What is at a place of the tree before the operations of a frame.
enum Base {
    Shard(Handle),
    /// No shard, but one key below this place, relative to it: a leaf of the shard above. No
    /// operation sets the same key.
    Leaf(Vec<u8>, Cid),
    Nothing,
}

/// A shard being visited.
struct Frame {
    base: Base,
    /// Length of the shard's prefix.
    depth: usize,
    /// The operations below this shard that are still to do.
    next: usize,
    end: usize,
    /// Where this shard's edits and changed children begin in the common stacks.
    edits: usize,
    nodes: usize,
    /// The value of exactly the shard's prefix, to stand beside the link in the parent.
    own: Option<Cid>,
    /// Whether the leaf of [`Base::Leaf`] has found its place.
    carried: bool,
}

/// A changed entry of the shard on top.
enum Edit {
    /// The value of this operation.
    Op(usize),
    /// The leaf of [`Base::Leaf`], at its new place.
    Carried,
    Child {
        first: u8,
        child: Cid,
        value: Option<Cid>,
    },
}

struct Pass<'a, S> {
    source: &'a S,
    ops: &'a [(&'a [u8], Cid)],
    frames: Vec<Frame>,
    edits: Vec<Edit>,
    nodes: Vec<(u8, Arc<Node>)>,
}

/// Applies sorted operations; none if nothing changes.
fn apply<S: ShardSource>(
    tree: &Tree,
    source: &S,
    ops: &[(&[u8], Cid)],
    mut trace: Option<&mut Trace>,
) -> Result<Option<Tree>, PailError> {
    if ops.is_empty() {
        return Ok(None);
    }
    let mut pass = Pass {
        source,
        ops,
        frames: Vec::with_capacity(24),
        edits: Vec::with_capacity(24),
        nodes: Vec::with_capacity(24),
    };
    pass.enter(Base::Shard(tree.handle(source)?), 0, 0, ops.len(), None);
    loop {
        if pass.visit()? {
            continue;
        }
        let Some(frame) = pass.frames.pop() else {
            return Ok(None);
        };
        let node = pass.write(&frame);
        if let (Some(trace), Some(node)) = (trace.as_deref_mut(), &node) {
            trace.added.push(Handle::Unsaved(Arc::clone(node)).block());
            if let Base::Shard(base) = &frame.base {
                trace.removed.push(base.cid());
            }
        }
        if pass.frames.is_empty() {
            return Ok(node.map(Tree::of));
        }
        pass.link(&frame, node);
    }
}

impl<S: ShardSource> Pass<'_, S> {
    fn enter(&mut self, base: Base, depth: usize, next: usize, end: usize, own: Option<Cid>) {
        self.frames.push(Frame {
            base,
            depth,
            next,
            end,
            edits: self.edits.len(),
            nodes: self.nodes.len(),
            own,
            carried: false,
        });
    }

    /// Goes through the operations of the shard on top, up to those that belong below an entry:
    /// then that place is on top, and the answer is true. False if the shard is done.
    fn visit(&mut self) -> Result<bool, PailError> {
        while let Some(frame) = self.frames.last_mut() {
            if frame.next == frame.end {
                if matches!(frame.base, Base::Leaf(..)) && !frame.carried {
                    frame.carried = true;
                    self.edits.push(Edit::Carried);
                }
                return Ok(false);
            }
            let depth = frame.depth;
            let (key, value) = self.ops[frame.next];
            let first = key[depth];
            if let Base::Leaf(key, _) = &frame.base
                && !frame.carried
                && key[0] <= first
            {
                frame.carried = true;
                if key[0] < first {
                    self.edits.push(Edit::Carried);
                }
            }
            let start = frame.next;
            let end = group_end(self.ops, start, frame.end, depth);
            frame.next = end;
            let exact = (key.len() == depth + 1).then_some(value);
            let below = start + usize::from(exact.is_some());

            let (old_key, child, old_value): (&[u8], _, _) = match &frame.base {
                Base::Shard(base) => match base.shard().find(first) {
                    Some(entry) => (entry.key, entry.child, entry.value),
                    None => (&[], None, None),
                },
                Base::Leaf(key, value) if key.first() == Some(&first) => (key, None, Some(*value)),
                _ => (&[], None, None),
            };
            if let Some(child) = child {
                if below == end {
                    // Only the value beside the link changes, or not even that.
                    if exact != old_value {
                        self.edits.push(Edit::Child {
                            first,
                            child,
                            value: exact,
                        });
                    }
                    continue;
                }
                let Base::Shard(base) = &frame.base else {
                    continue;
                };
                let own = exact.or(old_value);
                let base = base.child(self.source, first, child, &key[..=depth])?;
                self.enter(Base::Shard(base), depth + 1, below, end, own);
                return Ok(true);
            }
            let alone = start + 1 == end;
            let (base, own) = match old_value {
                None if alone => {
                    self.edits.push(Edit::Op(start));
                    continue;
                }
                None => (Base::Nothing, exact),
                Some(old) if alone && old_key == &key[depth..] => {
                    if old != value {
                        self.edits.push(Edit::Op(start));
                    }
                    continue;
                }
                Some(old) if old_key.len() == 1 => (Base::Nothing, exact.or(Some(old))),
                Some(old) => {
                    let overwritten = self.ops[below..end]
                        .binary_search_by_key(&old_key, |(key, _)| &key[depth..])
                        .is_ok();
                    let base = if overwritten {
                        Base::Nothing
                    } else {
                        Base::Leaf(old_key[1..].to_vec(), old)
                    };
                    (base, exact)
                }
            };
            self.enter(base, depth + 1, below, end, own);
            return Ok(true);
        }
        Ok(false)
    }

    /// Writes the shard of a finished frame; none if it did not change.
    fn write(&mut self, frame: &Frame) -> Option<Arc<Node>> {
        let edits = &self.edits[frame.edits..];
        if edits.is_empty() {
            return None;
        }
        let (ops, depth) = (self.ops, frame.depth);
        let entries = edits.iter().map(|edit| match edit {
            Edit::Op(index) => NewEntry::Leaf {
                key: &ops[*index].0[depth..],
                value: ops[*index].1,
            },
            Edit::Carried => match &frame.base {
                Base::Leaf(key, value) => NewEntry::Leaf { key, value: *value },
                _ => NewEntry::Gone { first: 0 },
            },
            Edit::Child {
                first,
                child,
                value,
            } => NewEntry::Child {
                first: *first,
                child: *child,
                value: *value,
            },
        });
        let shard = match &frame.base {
            Base::Shard(base) => base.shard().splice(entries),
            _ => Shard::build(&ops[frame.end - 1].0[..depth], entries),
        };
        let old = match &frame.base {
            Base::Shard(base) => base.nodes(),
            _ => &[],
        };
        let node = Node::new(shard, merged(old, self.nodes.drain(frame.nodes..)));
        self.edits.truncate(frame.edits);
        Some(node)
    }

    /// Tells the parent, now on top, what became of the child of `frame`.
    fn link(&mut self, frame: &Frame, node: Option<Arc<Node>>) {
        let Some(parent) = self.frames.last() else {
            return;
        };
        let first = self.ops[frame.end - 1].0[parent.depth];
        let child = match (&node, &frame.base) {
            (Some(node), _) => node.cid,
            (None, Base::Shard(base)) => base.cid(),
            (None, _) => return,
        };
        if node.is_none()
            && let Base::Shard(base) = &parent.base
            && base.shard().find(first).map(|entry| entry.value) == Some(frame.own)
        {
            return;
        }
        self.edits.push(Edit::Child {
            first,
            child,
            value: frame.own,
        });
        self.nodes.extend(node.map(|node| (first, node)));
    }
}

/// Where the operations end that have the same character at `depth` as the one at `start`.
fn group_end(ops: &[(&[u8], Cid)], start: usize, end: usize, depth: usize) -> usize {
    let first = ops[start].0[depth];
    if end - start == 1 || ops[end - 1].0[depth] == first {
        return end;
    }
    // Groups are short at the bottom of the tree and long at its top: gallop.
    let (mut low, mut step) = (start, 1);
    while low + step < end && ops[low + step].0[depth] == first {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(end);
    low + ops[low..high].partition_point(|(key, _)| key[depth] == first)
}

/// The unsaved children of a changed shard: the old ones, replaced by the new ones.
fn merged(
    old: &[(u8, Arc<Node>)],
    new: impl Iterator<Item = (u8, Arc<Node>)>,
) -> Vec<(u8, Arc<Node>)> {
    if old.is_empty() {
        return new.collect();
    }
    let mut out = Vec::with_capacity(old.len() + new.size_hint().0);
    let mut old = old.iter().peekable();
    for (first, node) in new {
        while let Some((c, kept)) = old.next_if(|(c, _)| *c <= first) {
            if *c < first {
                out.push((*c, Arc::clone(kept)));
            }
        }
        out.push((first, node));
    }
    out.extend(old.map(|(c, kept)| (*c, Arc::clone(kept))));
    out
}
