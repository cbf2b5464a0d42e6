//! What the trackers need of the local store, for a compaction to keep.

use firebrick_core::Cid;
use firebrick_core::header::CarHeader;
use firebrick_core::pail::Tree;

use super::record::{CARS, CarRecord, RECORDS, Record, decode_list};
use crate::error::Result;
use crate::ledger::{Ledger, Live, LiveRoots, is_waiting_event};

/// Of every remote, attached or not: the tree that it holds, so that the next push is a difference,
/// and CARs whose head is not applied yet.
pub(super) struct RemoteRoots;

impl LiveRoots for RemoteRoots {
    fn mark(&self, ledger: &Ledger, live: &mut Live) -> Result<()> {
        let newest = ledger.snapshot().tree.clone();
        for (_, bytes) in ledger.store().kv_prefix(RECORDS) {
            let base = Record::decode(&bytes).ok().and_then(|record| record.base);
            if let Some(base) = base {
                live.keep_tree(ledger, &Tree::at(base), &newest)?;
            }
        }
        for (_, bytes) in ledger.store().kv_prefix(CARS) {
            let Ok(known) = CarRecord::decode(&bytes) else {
                continue;
            };
            let list = ledger.store().block(&known.list)?;
            let blocks = list.map_or_else(Vec::new, |list| decode_list(&list));
            if is_waiting(ledger, live, &blocks)? {
                blocks.into_iter().for_each(|cid| live.keep(cid));
            }
        }
        Ok(())
    }
}

/// Whether a CAR brought something that is not part of the ledger yet.
fn is_waiting(ledger: &Ledger, live: &Live, blocks: &[Cid]) -> Result<bool> {
    let Some(first) = blocks.first() else {
        return Ok(false);
    };
    let header = ledger.store().block(first)?;
    let head = header
        .and_then(|bytes| CarHeader::decode(&bytes).ok())
        .and_then(|header| header.head)
        .unwrap_or_default();
    Ok(head.iter().any(|event| !live.is_applied(event))
        || blocks
            .iter()
            .any(|block| is_waiting_event(ledger, live, block)))
}
