//! One version of an index, and the step to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::cbor::{CborError, Reader, Writer};
use firebrick_core::ordered::{Edit, Saved, Tree as Entries, TreeError};
use firebrick_core::pail::{PailError, Tree};
use firebrick_core::{Cid, document};

use super::definition::{Definition, DocumentRows};
use crate::error::Error;
use crate::ledger::Source;
use crate::store::StoreError;

/// The indexes that a version of the ledger carries along, by their ids.
pub(crate) type IndexSet = Arc<BTreeMap<String, Arc<IndexState>>>;

/// An immutable version of an index.
#[derive(Clone, Debug)]
pub(crate) struct IndexState {
    /// The documents that it reflects.
    pub(crate) covered: Tree,
    /// The rows.
    pub(crate) entries: Entries,
    /// Keys of these documents that cannot be index keys.
    pub(crate) skipped: u64,
}

/// Why an index could not follow.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// More documents changed than may be looked at here.
    TooMany,
    /// What it would take to follow is gone, or the index contradicts the documents. It has to be
    /// made anew.
    Stale(String),
    /// The map function failed.
    Function(String),
    /// The database fails; the index is as good as before.
    Other(Error),
}

impl From<PailError> for Obstacle {
    fn from(error: PailError) -> Self {
        match error {
            // An old version whose shards a compaction took away.
            PailError::Missing(_) => Self::Stale(error.to_string()),
            error => Self::Other(error.into()),
        }
    }
}

impl From<TreeError> for Obstacle {
    fn from(error: TreeError) -> Self {
        match damage(&error) {
            true => Self::Stale(error.to_string()),
            false => Self::Other(error.into()),
        }
    }
}

/// Whether a part of the index is not there or not readable: making it anew helps.
pub(crate) fn damage(error: &TreeError) -> bool {
    match error {
        TreeError::Missing(_) | TreeError::Invalid { .. } => true,
        TreeError::Source(source) => source
            .downcast_ref::<StoreError>()
            .is_some_and(|error| matches!(error, StoreError::Corrupt { .. })),
        _ => false,
    }
}

impl IndexState {
    /// The index of no documents.
    pub(crate) fn empty() -> Self {
        Self {
            covered: Tree::empty(),
            entries: Entries::empty(),
            skipped: 0,
        }
    }

    /// The index of the documents in `to`. Looks at what differs only; `fresh` are blocks that are
    /// not in the store yet.
    pub(crate) fn advance(
        &self,
        definition: &Definition,
        source: &Source,
        fresh: &dyn Fn(&Cid) -> Option<Bytes>,
        to: &Tree,
        limit: usize,
    ) -> Result<Self, Obstacle> {
        let mut edits = Vec::new();
        let mut skipped = self.skipped;
        for (count, change) in Tree::diff(&self.covered, to, source).enumerate() {
            let change = change?;
            if count == limit {
                return Err(Obstacle::TooMany);
            }
            if change.key == document::GENESIS_KEY {
                continue;
            }
            let rows = |cid: Option<Cid>| -> Result<DocumentRows, Obstacle> {
                let Some(cid) = cid.filter(|cid| *cid != document::TOMBSTONE.cid) else {
                    return Ok(DocumentRows::default());
                };
                let block = match fresh(&cid) {
                    Some(block) => Some(block),
                    None => source
                        .document(&cid)
                        .map_err(|e| Obstacle::Other(e.into()))?,
                };
                let block = block.ok_or_else(|| {
                    Obstacle::Other(crate::ledger::missing_document(cid, &change.key))
                })?;
                definition
                    .rows(&change.key, &block)
                    .map_err(Obstacle::Function)
            };
            // Without the old document nobody knows its rows.
            let before = rows(change.old).map_err(|obstacle| match obstacle {
                Obstacle::Other(error) if error.unreadable().is_some() => {
                    Obstacle::Stale(error.to_string())
                }
                other => other,
            })?;
            let after = rows(change.new)?;
            skipped = skipped.saturating_sub(before.skipped) + after.skipped;
            let gone = before.entries.keys();
            let gone = gone.filter(|key| !after.entries.contains_key(*key));
            edits.extend(gone.map(|key| Edit::remove(key.as_slice())));
            let new = after.entries.iter();
            let new = new.filter(|(key, value)| before.entries.get(*key) != Some(value));
            edits.extend(new.map(|(key, value)| Edit::put(key.as_slice(), value.as_slice())));
        }
        let edited = self.entries.edit(source, edits)?;
        if edited.absent > 0 {
            return Err(Obstacle::Stale(
                "it lacks rows that its definition gives; the definition must depend on the document only, and its version must change with it".into(),
            ));
        }
        Ok(Self {
            covered: to.clone(),
            entries: edited.tree,
            skipped,
        })
    }

    /// The same with nothing in memory, and the blocks to store. `covered` must be stored with it.
    pub(crate) fn save(&self, source: &Source) -> (Self, Vec<firebrick_core::Block>) {
        let Saved {
            tree,
            blocks,
            nodes,
        } = self.entries.save();
        for (cid, node) in nodes {
            source.remember_node(cid, node);
        }
        let saved = Self {
            covered: self.covered.saved(),
            entries: tree,
            skipped: self.skipped,
        };
        (saved, blocks)
    }

    /// How many blocks of the store hold it.
    pub(crate) fn blocks(&self, source: &Source) -> u64 {
        let mut blocks = 0;
        // What cannot be read is not counted; a query finds the damage.
        let _ = self.entries.nodes(source, &mut |_| blocks += 1);
        blocks
    }

    /// The record that the store keeps of a saved version.
    pub(crate) fn record(&self, version: u64) -> Bytes {
        let mut out = Writer::with_capacity(128);
        out.list(4);
        out.uint(version);
        out.link(&self.covered.root());
        match self.entries.root() {
            Some(root) => out.link(&root),
            None => out.null(),
        }
        out.uint(self.skipped);
        out.into_vec().into()
    }
}

/// What the store says of an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) version: u64,
    pub(crate) covered: Cid,
    pub(crate) entries: Option<Cid>,
    pub(crate) skipped: u64,
}

impl Record {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut input = Reader::new(bytes);
        input.list()?;
        let number = |input: &mut Reader<'_>| match input.token()? {
            firebrick_core::cbor::Token::Int(value) => Ok(u64::try_from(value).unwrap_or_default()),
            _ => Err(CborError::Expected {
                expected: "a number",
                at: input.position(),
            }),
        };
        let version = number(&mut input)?;
        let covered = input.link()?;
        let entries = match input.peek() {
            Some(0xf6) => input.token().map(|_| None)?,
            _ => Some(input.link()?),
        };
        let skipped = number(&mut input)?;
        input.finish()?;
        Ok(Self {
            version,
            covered,
            entries,
            skipped,
        })
    }

    /// The version that it is about.
    pub(crate) fn state(&self, source: &Source) -> Result<IndexState, TreeError> {
        Ok(IndexState {
            covered: Tree::at(self.covered),
            entries: match self.entries {
                None => Entries::empty(),
                Some(root) => Entries::at(source, root)?,
            },
            skipped: self.skipped,
        })
    }
}
