//! Opening: from the last checkpoint to the head.

use bytes::Bytes;
use firebrick_core::cbor::{CborError, Reader, Writer};
use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::merge::Resolver;
use firebrick_core::pail::Tree;
use firebrick_core::{Cid, clock::Event};

use super::Source;
use crate::error::{Error, Result};

/// Where the store keeps the last version whose every shard it holds.
pub(crate) const CHECKPOINT: &str = "ledger/checkpoint";

/// A head and its root, with every shard of that root in the store.
pub(crate) struct Checkpoint {
    pub(crate) head: Vec<Cid>,
    pub(crate) root: Cid,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64 + self.head.len() * 41);
        out.list(2);
        out.list(self.head.len());
        for event in &self.head {
            out.link(event);
        }
        out.link(&self.root);
        out.into_vec().into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut input = Reader::new(bytes);
        input.list()?;
        let head = (0..input.list()?)
            .map(|_| input.link())
            .collect::<Result<_, _>>()?;
        let root = input.link()?;
        input.finish()?;
        Ok(Self { head, root })
    }
}

/// The head that the store names and the tree that belongs to it.
///
/// Shards are stored at checkpoints only; what was committed after the last one is a line of
/// events, and applying their operations gives the same tree again.
pub(crate) fn recover(source: &Source, resolver: &mut Resolver) -> Result<(Vec<Cid>, Tree)> {
    let head = source.store().head();
    if head.is_empty() {
        return Ok((head, Tree::empty()));
    }
    let checkpoint = source
        .store()
        .kv(CHECKPOINT)
        .map(|bytes| Checkpoint::decode(&bytes));
    let tree = match checkpoint.transpose().map_err(|error| malformed(&error))? {
        Some(checkpoint) if checkpoint.head == head => Tree::at(checkpoint.root),
        Some(checkpoint) => replay(source, &checkpoint, &head)?,
        None => replay_from_nothing(source, resolver, &head)?,
    };
    Ok((head, tree))
}

fn malformed(error: &CborError) -> Error {
    Error::Malformed {
        what: "checkpoint",
        cause: error.to_string(),
    }
}

/// Applies the events between the checkpoint and the head, which local commits put in a line.
fn replay(source: &Source, checkpoint: &Checkpoint, head: &[Cid]) -> Result<Tree> {
    let mut tree = Tree::at(checkpoint.root);
    let mut root = checkpoint.root;
    for cid in clock::difference(source, head, &checkpoint.head)? {
        let event = source.event(&cid)?;
        tree = apply(source, &tree, &event)?;
        root = event.root;
    }
    if tree.root() == root {
        Ok(tree)
    } else {
        Err(Error::Malformed {
            what: "history",
            cause: format!("replaying it gives the root {}, not {root}", tree.root()),
        })
    }
}

/// Without a checkpoint nothing but the first commits can have been made.
fn replay_from_nothing(source: &Source, resolver: &mut Resolver, head: &[Cid]) -> Result<Tree> {
    let mut tree = Tree::empty();
    for cid in clock::difference(source, head, &[])? {
        tree = apply(source, &tree, &*source.event(&cid)?)?;
    }
    match head {
        [only] if source.event(only)?.root == tree.root() => Ok(tree),
        _ => Ok(resolver.resolve(source, source, head)?),
    }
}

fn apply(source: &Source, tree: &Tree, event: &Event) -> Result<Tree> {
    Ok(tree.batch(source, event.puts())?)
}
