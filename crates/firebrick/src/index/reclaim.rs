//! What a compaction keeps of the indexes.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::ordered::Node;

use super::registry::{IndexStatus, RECORDS};
use super::state::{IndexState, Record, damage};
use crate::error::Result;
use crate::ledger::{Ledger, Live, LiveRoots};
use crate::lock;

/// The nodes of every index that somebody reads, follows, or will find after the next opening.
#[derive(Default)]
pub(crate) struct IndexRoots {
    /// Nodes that nothing refers to yet may be in the store.
    building: AtomicBool,
}

impl LiveRoots for IndexRoots {
    fn mark(&self, ledger: &Ledger, live: &mut Live) -> Result<()> {
        // Looked at first: what is done afterwards is found below.
        let entries = ledger.indexes.all();
        let building = entries
            .iter()
            .any(|entry| matches!(&*entry.status.borrow(), IndexStatus::Building { .. }));
        // A store that keeps all blocks alike may hold a file of this form.
        let mixed = !ledger.store().keeps_files_apart();
        self.building.store(building || mixed, Ordering::Relaxed);
        for (_, record) in ledger.store().kv_prefix(RECORDS) {
            // One that cannot be read is made anew.
            if let Ok(Ok(state)) =
                Record::decode(&record).map(|record| record.state(&ledger.source))
            {
                live.keep_index(ledger, &state)?;
            }
        }
        for entry in entries {
            if let Some(state) = entry.latest(&ledger.source) {
                live.keep_index(ledger, &state)?;
            }
        }
        let read = lock::lock(&ledger.indexes.read).clone();
        for state in read.iter().filter_map(Weak::upgrade) {
            live.keep_index(ledger, &state)?;
        }
        Ok(())
    }

    fn owns(&self, cid: &Cid, bytes: &[u8]) -> bool {
        let can_tell = !self.building.load(Ordering::Relaxed);
        can_tell && cid.codec() == Codec::Raw && Node::decode(bytes).is_ok()
    }
}

impl Live {
    /// Keeps the nodes of an index, as far as they are here.
    pub(crate) fn keep_index(&mut self, ledger: &Ledger, state: &IndexState) -> Result<()> {
        let marked = state
            .entries
            .nodes(&ledger.source, &mut |node| self.keep(node));
        match marked {
            // The next reader finds that too, and makes the index anew.
            Err(error) if damage(&error) => Ok(()),
            other => Ok(other?),
        }
    }
}
