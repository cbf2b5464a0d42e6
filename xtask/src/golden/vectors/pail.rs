//! pail: sequences of changes, canonical trees, keys.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::pail::{self, Edited, Range, Tree};
use serde::Deserialize;

use super::super::Report;
use super::super::tagged::Hex;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pail {
    empty_root: EmptyRoot,
    sequences: Vec<Sequence>,
    canonical: Vec<Canonical>,
    bad_keys: Vec<BadKey>,
}

#[derive(Deserialize)]
struct EmptyRoot {
    cid: Cid,
    hex: Hex,
}

#[derive(Deserialize)]
struct Sequence {
    name: String,
    /// Whether there may be such steps.
    deletes: bool,
    batches: bool,
    steps: Vec<Step>,
    entries: Vec<(String, Cid)>,
    gets: BTreeMap<String, Option<Cid>>,
}

#[derive(Deserialize)]
struct Step {
    put: Option<String>,
    value: Option<u64>,
    del: Option<String>,
    batch: Option<Vec<(String, u64)>>,
    root: Cid,
    additions: Vec<Cid>,
}

#[derive(Deserialize)]
struct Canonical {
    keys: Vec<(String, u64)>,
    root: Cid,
}

#[derive(Deserialize)]
struct BadKey {
    key: KeyText,
    error: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum KeyText {
    Plain(String),
    Repeated { repeat: (String, usize) },
}

/// "Value n" of the vectors.
pub(super) fn value(n: u64) -> Cid {
    Cid::of(Codec::Raw, format!("v{n}").as_bytes())
}

pub(super) fn pail(vectors: Pail, report: &mut Report) {
    report.at("pail.json emptyRoot");
    report.eq("the root", &pail::EMPTY_ROOT, &vectors.empty_root.cid);
    let shard = pail::Shard::decode(&vectors.empty_root.hex.0);
    if let Some(shard) = report.ok("decoding", shard) {
        report.check(shard.is_empty(), || "the shard has entries".into());
    }
    for v in &vectors.sequences {
        sequence(v, report);
    }
    for (at, v) in vectors.canonical.iter().enumerate() {
        report.at(format!("pail.json canonical[{at}]"));
        canonical(v, report);
    }
    for (at, v) in vectors.bad_keys.into_iter().enumerate() {
        report.at(format!("pail.json badKeys[{at}]"));
        let key = match v.key {
            KeyText::Plain(key) => key,
            KeyText::Repeated { repeat } => repeat.0.repeat(repeat.1),
        };
        let put = Tree::empty().put(&MemoryBlocks::new(), &key, value(0));
        report.eq("whether the key is refused", &put.is_err(), &v.error);
    }
}

impl Step {
    /// The new version, with what was written for it.
    fn apply(&self, tree: &Tree, blocks: &MemoryBlocks) -> Result<Edited> {
        Ok(match (&self.put, &self.del, &self.batch) {
            (Some(key), None, None) => {
                let Some(n) = self.value else {
                    bail!("a put without a value");
                };
                tree.edit(blocks, [(key, value(n))])?
            }
            (None, Some(key), None) => tree.del_traced(blocks, key)?,
            (None, None, Some(ops)) => {
                tree.edit(blocks, ops.iter().map(|(key, n)| (key, value(*n))))?
            }
            _ => bail!("another schema"),
        })
    }
}

fn sequence(v: &Sequence, report: &mut Report) {
    report.at(format!("pail.json {}", v.name));
    let deletes = v.steps.iter().any(|step| step.del.is_some());
    let batches = v.steps.iter().any(|step| step.batch.is_some());
    report.check(v.deletes || !deletes, || "it has deletes".into());
    report.check(v.batches || !batches, || "it has batches".into());
    let blocks = MemoryBlocks::new();
    let mut stored = Tree::empty();
    // The same versions without storing any: all shards stay in memory.
    let (nothing, mut unsaved) = (MemoryBlocks::new(), Tree::empty());
    for (at, step) in v.steps.iter().enumerate() {
        report.at(format!("pail.json {} steps[{at}]", v.name));
        let Some(edited) = report.ok("the step", step.apply(&stored, &blocks)) else {
            return;
        };
        report.eq("the root", &edited.tree.root(), &step.root);
        let added: Vec<Cid> = edited.added.iter().map(|block| block.cid).collect();
        report.eq("the new shards", &added, &step.additions);
        for block in &edited.added {
            blocks.insert(block);
        }
        stored = edited.tree.saved();
        if let Some(edited) = report.ok("the step in memory", step.apply(&unsaved, &nothing)) {
            report.eq("the root in memory", &edited.tree.root(), &step.root);
            unsaved = edited.tree;
        }
    }
    for (name, tree, blocks) in [
        ("stored", &stored, &blocks),
        ("in memory", &unsaved, &nothing),
    ] {
        report.at(format!("pail.json {} {name}", v.name));
        let entries: Result<Vec<_>, _> = tree.entries(blocks, Range::all()).collect();
        if let Some(entries) = report.ok("the entries", entries) {
            report.eq("the number of entries", &entries.len(), &v.entries.len());
            for (entry, expected) in entries.iter().zip(&v.entries) {
                report.eq("the entry", entry, expected);
            }
        }
        for (key, expected) in &v.gets {
            if let Some(found) = report.ok("get", tree.get(blocks, key)) {
                report.eq(&format!("the value of {key:?}"), &found, expected);
            }
        }
    }
}

fn canonical(v: &Canonical, report: &mut Report) {
    let blocks = MemoryBlocks::new();
    let ops = || v.keys.iter().map(|(key, n)| (key, value(*n)));
    if let Some(tree) = report.ok("one batch", Tree::empty().batch(&blocks, ops())) {
        report.eq("the root of one batch", &tree.root(), &v.root);
    }
    let one_by_one = |mut ops: Vec<(&String, Cid)>, reverse: bool| {
        if reverse {
            ops.reverse();
        }
        let put = |tree: Tree, (key, value): (&String, Cid)| tree.put(&blocks, key, value);
        ops.into_iter().try_fold(Tree::empty(), put)
    };
    for (name, tree) in [
        ("single puts", one_by_one(ops().collect(), false)),
        ("puts in reverse", one_by_one(ops().collect(), true)),
    ] {
        if let Some(tree) = report.ok(name, tree) {
            report.eq(&format!("the root of {name}"), &tree.root(), &v.root);
        }
    }
}
