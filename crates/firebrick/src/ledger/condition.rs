//! What must still hold when a write is committed.
//!
//! A caller decides on a version that it has read; the writer may be further by then. The
//! conditions say what the decision rests on. They are checked under the writer, after the earlier
//! requests of the same group, so whatever is committed is what the callers one after the other
//! would have made.

use std::sync::Arc;

use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::pail::{Range, Tree};
use firebrick_core::{Cid, document};
use hashbrown::HashMap;

use super::{Snapshot, Source, Writer};
use crate::error::{Error, Result};

/// The link of a document, where none and a tombstone are the same.
pub(crate) fn present(link: Option<Cid>) -> Option<Cid> {
    link.filter(|cid| *cid != document::TOMBSTONE.cid)
}

/// What a write rests on.
#[derive(Debug)]
pub(crate) struct Conditions {
    /// The version that was read.
    pub(crate) base: Arc<Snapshot>,
    /// Documents that were read, and their links; `None` for those that were not there.
    pub(crate) links: Vec<(String, Option<Cid>)>,
    /// Ranges of ids that were listed.
    pub(crate) ranges: Vec<Range>,
    /// Documents that no event after `base` may write, not even one that loses.
    pub(crate) unwritten: Vec<String>,
    /// The write makes an event even if it leaves the value as it is.
    pub(crate) always: bool,
}

impl Conditions {
    /// Conditions on single documents.
    pub(crate) fn links(base: Arc<Snapshot>, links: Vec<(String, Option<Cid>)>) -> Self {
        Self {
            base,
            links,
            ranges: Vec::new(),
            unwritten: Vec::new(),
            always: false,
        }
    }

    /// Checks them against the writer's version and the puts before this one in the group.
    ///
    /// The documents that were read cost a look-up each, ranges the difference between the two
    /// versions, `unwritten` the events between them.
    pub(super) fn check(
        &self,
        source: &Source,
        writer: &Writer,
        earlier: &HashMap<&str, Cid>,
    ) -> Result<()> {
        let conflict = |id: &str| Error::Conflict { id: id.to_owned() };
        for (id, link) in &self.links {
            let now = match earlier.get(id.as_str()) {
                Some(cid) => Some(*cid),
                None => writer.tree.get(source, id)?,
            };
            if present(now) != *link {
                return Err(conflict(id));
            }
        }
        let listed = |id: &str| self.ranges.iter().any(|range| range.contains(id));
        if let Some(id) = earlier.keys().find(|id| listed(id)) {
            return Err(conflict(id));
        }
        if !self.ranges.is_empty() && writer.tree.root() != self.base.tree.root() {
            for change in Tree::diff(&self.base.tree, &writer.tree, source) {
                let change = change?;
                if listed(&change.key) && present(change.old) != present(change.new) {
                    return Err(conflict(&change.key));
                }
            }
        }
        let fixed = |id: &str| self.unwritten.iter().any(|fixed| fixed == id);
        if let Some(id) = earlier.keys().find(|id| fixed(id)) {
            return Err(conflict(id));
        }
        if !self.unwritten.is_empty() && writer.head != self.base.head {
            for cid in clock::difference(source, &writer.head, &self.base.head)? {
                let event = source.event(&cid)?;
                if let Some((id, _)) = event.puts().find(|(id, _)| fixed(id)) {
                    return Err(conflict(id));
                }
            }
        }
        Ok(())
    }
}
