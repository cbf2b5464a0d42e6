//! Mending: remotes give back what they have, shards follow from events, indexes are made anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::pail::{Shard, Tree};
use firebrick_core::{Block, Cid};
use hashbrown::{HashMap, HashSet};

use super::{Finding, Held, RepairReport, verify};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::tracker::{Attachment, Trackers};

/// How long each remote is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Blocks that are rebuilt are said to come from here.
const ORIGIN: &str = "repair";

pub(crate) async fn repair(ledger: &Arc<Ledger>, trackers: &Trackers) -> Result<RepairReport> {
    ledger.ensure_writable()?;
    let mut after = verify(ledger, trackers, |_| {}).await?;
    let mut before: Vec<Finding> = Vec::new();
    let (mut indexes, mut rebuilt) = (BTreeSet::new(), Vec::new());
    // What is fetched may lead to more that is wrong.
    loop {
        let known: HashSet<Cid> = before.iter().map(|finding| finding.cid).collect();
        let fresh = after.findings.iter();
        let fresh: Vec<Finding> = fresh.filter(|f| !known.contains(&f.cid)).cloned().collect();
        if fresh.is_empty() {
            break;
        }
        for finding in &fresh {
            if let Held::IndexNode { index } = &finding.held {
                ledger.give_up_index(index)?;
                indexes.insert(index.clone());
            }
        }
        fetch(ledger, &trackers.all(), &fresh).await?;
        before.extend(fresh);
        after = verify(ledger, trackers, |_| {}).await?;
        if after.findings.iter().any(is_shard) {
            let of = Arc::clone(ledger);
            rebuilt.extend(ledger.blocking(move || rebuild(&of)).await?);
            after = verify(ledger, trackers, |_| {}).await?;
        }
    }
    let left: HashSet<Cid> = after.findings.iter().map(|finding| finding.cid).collect();
    let is_fetched = |finding: &&Finding| {
        let is_index = matches!(finding.held, Held::IndexNode { .. });
        !is_index && !left.contains(&finding.cid) && !rebuilt.contains(&finding.cid)
    };
    let fetched = before.iter().filter(is_fetched);
    Ok(RepairReport {
        fetched: fetched.map(|finding| finding.cid).collect(),
        before,
        rebuilt,
        indexes: indexes.into_iter().collect(),
        after,
    })
}

fn is_shard(finding: &Finding) -> bool {
    matches!(finding.held, Held::Shard { .. })
}

/// Asks the remotes for what is lacking. What they cannot give stays in the report.
async fn fetch(ledger: &Arc<Ledger>, attachments: &[Attachment], wanted: &[Finding]) -> Result<()> {
    for finding in wanted {
        match &finding.wanted {
            Some(content) => match ledger.files.fetch(ledger, content, true).await {
                Ok(()) | Err(Error::MissingFile { .. } | Error::NeedsKey { .. }) => {}
                Err(error) => return Err(error),
            },
            None => ledger.source.note_unreadable(&Error::MissingBlock {
                cid: finding.cid,
                id: None,
            }),
        }
    }
    let blocks = wanted.iter().filter(|finding| finding.wanted.is_none());
    let holders: HashSet<&str> = blocks
        .flat_map(|finding| finding.remotes.iter().map(String::as_str))
        .collect();
    for attachment in attachments {
        if holders.contains(attachment.name()) {
            // Why a remote cannot be reached is in its status.
            let _ = attachment.synced_within(PATIENCE).await;
        }
    }
    Ok(())
}

/// Applies all events from the first on and keeps the shards that are lacking. The tree is canonical
/// for puts, so a history without conflicts gives every shard again. Where concurrent writes of one
/// document decide otherwise, a shard has another hash and is not kept.
fn rebuild(ledger: &Ledger) -> Result<Vec<Cid>> {
    let snapshot = ledger.snapshot();
    let source = &ledger.source;
    let mut tree = Tree::empty();
    let Ok(events) = clock::difference(source, &snapshot.head, &[]) else {
        return Ok(Vec::new());
    };
    for cid in events {
        let Ok(event) = source.event(&cid) else {
            return Ok(Vec::new());
        };
        tree = tree.batch(source, event.puts())?;
    }
    let made = tree.unsaved();
    let wanted = lacking(ledger, snapshot.tree.root(), &made);
    let cids = wanted.iter().map(|block| block.cid).collect();
    ledger.ingest(wanted, ORIGIN, &[])?;
    Ok(cids)
}

/// Of the shards that were made, those that the tree has and the store lacks.
fn lacking(ledger: &Ledger, root: Cid, made: &[Block]) -> Vec<Block> {
    let made: HashMap<Cid, &Block> = made.iter().map(|block| (block.cid, block)).collect();
    let (mut next, mut wanted) = (vec![root], Vec::new());
    let mut seen = HashSet::new();
    while let Some(cid) = next.pop() {
        if !seen.insert(cid) {
            continue;
        }
        let stored = ledger.store().block(&cid).ok().flatten();
        let bytes = match (stored, made.get(&cid)) {
            (Some(bytes), _) => bytes,
            (None, Some(block)) => {
                wanted.push((*block).clone());
                block.bytes.clone()
            }
            (None, None) => continue,
        };
        if let Ok(shard) = Shard::decode(&bytes) {
            next.extend(shard.entries().filter_map(|entry| entry.child));
        }
    }
    wanted
}
