//! Mending: remotes give back what they have, shards follow from events, indexes are made anew.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebrick_core::clock::{self, EventSource as _};
use firebrick_core::pail::{Shard, Tree};
use firebrick_core::{Block, Cid};
use futures_util::future::join_all;
use hashbrown::{HashMap, HashSet};

use super::{Finding, Held, RepairProgress, RepairReport, verify};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::lock::lock;
use crate::tracker::{Attachment, Trackers};

/// How long remotes are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Blocks that are rebuilt are said to come from here.
const ORIGIN: &str = "repair";

pub(crate) async fn repair(
    ledger: &Arc<Ledger>,
    trackers: &Trackers,
    progress: impl FnMut(RepairProgress) + Send + 'static,
) -> Result<RepairReport> {
    ledger.ensure_writable()?;
    let progress = Arc::new(Mutex::new(progress));
    let tell = |progress_now| lock(&progress)(progress_now);
    let look = || {
        let progress = Arc::clone(&progress);
        verify(ledger, trackers, move |now| {
            lock(&progress)(RepairProgress::Verifying(now));
        })
    };
    let mut after = look().await?;
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
        let holders = holders(&trackers.all(), &fresh);
        tell(RepairProgress::Fetching {
            lacking: fresh.len() as u64,
            remotes: holders.len() as u64,
        });
        fetch(ledger, &holders, &fresh).await?;
        before.extend(fresh);
        after = look().await?;
        if after.findings.iter().any(is_shard) {
            tell(RepairProgress::Rebuilding);
            let of = Arc::clone(ledger);
            rebuilt.extend(ledger.blocking(move || rebuild(&of)).await?);
            after = look().await?;
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

/// The attached remotes that are known to have some of the blocks. Contents are asked for one by one.
fn holders(attachments: &[Attachment], wanted: &[Finding]) -> Vec<Attachment> {
    let blocks = wanted.iter().filter(|finding| finding.wanted.is_none());
    let names = blocks.flat_map(|finding| &finding.remotes);
    let names: HashSet<&str> = names.map(String::as_str).collect();
    let attached = attachments.iter();
    let holders = attached.filter(|attachment| names.contains(attachment.name()));
    holders.cloned().collect()
}

/// Asks the remotes for what is lacking. What they cannot give stays in the report.
async fn fetch(ledger: &Arc<Ledger>, holders: &[Attachment], wanted: &[Finding]) -> Result<()> {
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
    // Why a remote cannot be reached is in its status.
    join_all(holders.iter().map(|remote| remote.synced_within(PATIENCE))).await;
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
