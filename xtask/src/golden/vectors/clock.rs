//! clock: histories, their order and their state.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use firebrick_core::clock::{self, Event, Op, Operation};
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::merge::{Limits, Replay, Resolver};
use firebrick_core::pail::Range;
use firebrick_core::{Block, Cid};
use serde::Deserialize;

use super::super::Report;
use super::super::tagged::Hex;
use super::pail::value;

#[derive(Deserialize)]
pub(super) struct Clock {
    dags: Vec<Dag>,
}

#[derive(Deserialize)]
struct Dag {
    kind: String,
    events: Vec<EventVector>,
    heads: Vec<usize>,
    ancestor: Option<usize>,
    sorted: Vec<SortedVector>,
    root: Cid,
    additions: Vec<Cid>,
    entries: Vec<(String, Cid)>,
    advances: Vec<Advance>,
    /// In base64.
    shards: BTreeMap<Cid, String>,
}

#[derive(Deserialize)]
struct EventVector {
    #[serde(rename = "type")]
    kind: String,
    ops: Vec<(String, u64)>,
    parents: Vec<usize>,
    root: Cid,
    cid: Cid,
    hex: Hex,
}

#[derive(Deserialize)]
struct SortedVector {
    event: usize,
    weight: u128,
}

#[derive(Deserialize)]
struct Advance {
    head: Vec<usize>,
    event: usize,
    result: Vec<usize>,
}

pub(super) fn clock(vectors: &Clock, report: &mut Report) {
    for (at, dag) in vectors.dags.iter().enumerate() {
        report.at(format!("clock.json dags[{at}] ({})", dag.kind));
        check(dag, report);
    }
}

impl Dag {
    fn cids(&self, events: &[usize]) -> Option<Vec<Cid>> {
        let cids = events.iter().map(|at| Some(self.events.get(*at)?.cid));
        cids.collect()
    }

    /// What events are in the vector's numbers.
    fn numbers(&self, cids: &[Cid]) -> Vec<Option<usize>> {
        let number = |cid: &Cid| self.events.iter().position(|event| event.cid == *cid);
        cids.iter().map(number).collect()
    }
}

fn check(dag: &Dag, report: &mut Report) {
    let blocks = MemoryBlocks::new();
    for (at, v) in dag.events.iter().enumerate() {
        if let Some(block) = event(dag, at, v, report) {
            blocks.insert(&block);
        }
    }
    for (cid, base64) in &dag.shards {
        let bytes = BASE64.decode(base64.as_bytes()).unwrap_or_default();
        if let Some(block) = report.ok(
            "a shard",
            Block::verified(*cid, bytes.into()).ok_or("another hash"),
        ) {
            blocks.insert(&block);
        }
    }
    let heads = dag.cids(&dag.heads).ok_or("there is no such event");
    let Some(heads) = report.ok("the heads", heads) else {
        return;
    };
    if let Some(ancestor) = report.ok("the ancestor", clock::common_ancestor(&blocks, &heads)) {
        let number = ancestor.map(|cid| dag.numbers(&[cid])[0]);
        report.eq("the ancestor", &number, &dag.ancestor.map(Some));
    }
    if let Some(sorted) = report.ok("sorting", clock::sorted_events(&blocks, &heads)) {
        report.check(!sorted.by_distance, || "the order is by distance".into());
        let (cids, weights): (Vec<_>, Vec<_>) = sorted.events.into_iter().unzip();
        let expected: Vec<_> = dag.sorted.iter().map(|s| Some(s.event)).collect();
        report.eq("the order", &dag.numbers(&cids), &expected);
        let expected: Vec<_> = dag.sorted.iter().map(|s| s.weight).collect();
        report.eq("the weights", &weights, &expected);
    }
    let mut resolver = Resolver::new(Limits::default());
    if let Some(tree) = report.ok("resolving", resolver.resolve(&blocks, &blocks, &heads)) {
        report.eq("the root", &tree.root(), &dag.root);
        let entries: Result<Vec<_>, _> = tree.entries(&blocks, Range::all()).collect();
        if let Some(entries) = report.ok("the entries", entries) {
            report.eq("the entries", &entries, &dag.entries);
        }
    }
    if let Some(replay) = report.ok("replaying", Replay::of(&blocks, &blocks, &heads)) {
        report.eq("the replayed root", &replay.tree().root(), &dag.root);
        let shards: Vec<Cid> = replay.shards().iter().map(|block| block.cid).collect();
        report.eq("the new shards", &shards, &dag.additions);
    }
    for (at, v) in dag.advances.iter().enumerate() {
        advance(dag, at, v, &blocks, report);
    }
    past(dag, &blocks, report);
}

/// Both directions of one event's block.
fn event(dag: &Dag, at: usize, v: &EventVector, report: &mut Report) -> Option<Block> {
    let ops: Vec<Op> = v
        .ops
        .iter()
        .map(|(key, n)| Op {
            key: key.clone(),
            value: value(*n),
        })
        .collect();
    let data = match (v.kind.as_str(), &ops[..]) {
        ("put", [op]) => Ok(Operation::Put {
            key: op.key.clone(),
            value: op.value,
        }),
        ("batch", _) => Ok(Operation::Batch(ops)),
        (kind, _) => Err(format!("event {at} is of the unknown kind {kind:?}")),
    };
    let data = report.ok("the operation", data)?;
    let parents = dag.cids(&v.parents).ok_or("there is no such event");
    let parents = report.ok("the parents", parents)?;
    let event = Event::new(data, v.root, parents);
    let block = event.encode();
    report.eq(&format!("event {at}"), &Hex::of(&block.bytes), &v.hex);
    report.eq(&format!("the CID of event {at}"), &block.cid, &v.cid);
    if let Some(read) = report.ok("decoding an event", Event::decode(&v.hex.0)) {
        report.eq(&format!("event {at}, read,"), &read, &event);
    }
    Some(block)
}

fn advance(dag: &Dag, at: usize, v: &Advance, blocks: &MemoryBlocks, report: &mut Report) {
    let (Some(head), Some(event)) = (dag.cids(&v.head), dag.cids(&[v.event])) else {
        report.check(false, || format!("advances[{at}] names unknown events"));
        return;
    };
    if let Some(result) = report.ok("advancing", clock::advance(blocks, &head, event[0])) {
        let expected: Vec<_> = v.result.iter().map(|n| Some(*n)).collect();
        let name = format!("the head after advances[{at}]");
        report.eq(&name, &dag.numbers(&result), &expected);
    }
}

/// `contains` for every pair of events, against a walk over the vector's own lists.
fn past(dag: &Dag, blocks: &MemoryBlocks, report: &mut Report) {
    for (at, v) in dag.events.iter().enumerate() {
        let (mut below, mut next) = (BTreeSet::from([at]), vec![at]);
        while let Some(at) = next.pop() {
            let parents = dag.events.get(at).map_or(&[][..], |v| &v.parents);
            next.extend(
                parents
                    .iter()
                    .copied()
                    .filter(|parent| below.insert(*parent)),
            );
        }
        for (other, w) in dag.events.iter().enumerate() {
            if let Some(is) = report.ok("contains", clock::contains(blocks, &[v.cid], &w.cid)) {
                let name = format!("whether {at} contains {other}");
                report.eq(&name, &is, &below.contains(&other));
            }
        }
    }
}
