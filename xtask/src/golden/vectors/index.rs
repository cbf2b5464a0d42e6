//! charwise, index-names, prolly.

use std::collections::BTreeMap;

use firebrick_core::cbor::{self, Value};
use firebrick_core::charwise::{self, Key};
use firebrick_core::index::{self, Row};
use firebrick_core::prolly::{self, Entry, RowKey, TreeKey};
use firebrick_core::{Block, Cid};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::super::Report;
use super::super::tagged::{Hex, Tagged};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Charwise {
    items: Vec<Item>,
    sorted_encoded: Vec<String>,
    ranges: Vec<RangeVector>,
    prefixes: Vec<PrefixVector>,
    errors: Vec<Tagged>,
}

#[derive(Deserialize)]
struct Item {
    value: Tagged,
    encoded: String,
    decoded: Tagged,
}

#[derive(Deserialize)]
struct RangeVector {
    range: Tagged,
    encoded: (String, String),
}

#[derive(Deserialize)]
struct PrefixVector {
    prefix: Tagged,
    encoded: (String, String),
}

pub(super) fn charwise(vectors: Charwise, report: &mut Report) {
    for (at, v) in vectors.items.iter().enumerate() {
        report.at(format!("charwise.json items[{at}]"));
        if let Some(key) = report.ok("the key", v.value.key()) {
            report.eq("the encoding", &charwise::encode(&key), &v.encoded);
        }
        let read = charwise::decode(&v.encoded);
        if matches!(v.decoded, Tagged::Error(_)) {
            report.err("the encoding", read);
        } else if let (Some(read), Some(expected)) = (
            report.ok("decoding", read),
            report.ok("the decoded key", v.decoded.key()),
        ) {
            let same = equal(&read, &expected);
            report.check(same, || {
                format!("the read key is {read:?}, not {expected:?}")
            });
        }
    }
    let mut sorted: Vec<_> = vectors.items.iter().map(|v| v.encoded.clone()).collect();
    sorted.sort_by(|a, b| charwise::cmp(a, b));
    sorted.dedup();
    report.at("charwise.json sortedEncoded");
    report.eq(
        "the number of keys",
        &sorted.len(),
        &vectors.sorted_encoded.len(),
    );
    for (at, (key, expected)) in sorted.iter().zip(&vectors.sorted_encoded).enumerate() {
        report.at(format!("charwise.json sortedEncoded[{at}]"));
        report.eq("the key", &key, &expected);
    }
    for (at, v) in vectors.ranges.iter().enumerate() {
        report.at(format!("charwise.json ranges[{at}]"));
        if let Some(Key::List(ends)) = report.ok("the range", v.range.key()) {
            let ends: Vec<_> = ends.iter().map(charwise::encode).collect();
            report.eq("the range", &ends, &[v.encoded.0.as_str(), &v.encoded.1]);
        }
    }
    for (at, v) in vectors.prefixes.into_iter().enumerate() {
        report.at(format!("charwise.json prefixes[{at}]"));
        if let Some(Key::List(items)) = report.ok("the prefix", v.prefix.key()) {
            report.eq("the bounds", &charwise::prefix_bounds(&items), &v.encoded);
        }
    }
    for (at, v) in vectors.errors.into_iter().enumerate() {
        report.at(format!("charwise.json errors[{at}]"));
        report.err("the key", v.key());
    }
}

/// Equality with NaN equal to itself.
fn equal(a: &Key, b: &Key) -> bool {
    match (a, b) {
        (Key::Number(a), Key::Number(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Key::List(a), Key::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        _ => a == b,
    }
}

#[derive(Deserialize)]
pub(super) struct NameVector {
    source: String,
    name: String,
}

pub(super) fn names(vectors: Vec<NameVector>, report: &mut Report) {
    for (at, v) in vectors.into_iter().enumerate() {
        report.at(format!("index-names.json [{at}]"));
        report.eq("the name", &index::name(&v.source), &v.name);
    }
}

#[derive(Deserialize)]
pub(super) struct Prolly {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    /// What the map function emits.
    style: String,
    by_id: Tree,
    by_key: Tree,
    updates: Vec<Update>,
    #[serde(default)]
    hex: BTreeMap<Cid, Hex>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tree {
    entries: Vec<(Json, Json)>,
    root: Cid,
    blocks: Option<Vec<Cid>>,
    block_count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    /// The documents that changed; a deleted one has no value.
    changed: Vec<Changed>,
    /// Keys to remove (one item) and entries to set (two items).
    by_id_ops: Vec<Vec<Json>>,
    by_key_ops: Vec<Vec<Json>>,
    by_id_root: Option<Cid>,
    by_key_root: Option<Cid>,
    #[serde(default)]
    scratch_by_id_root: Option<Cid>,
    #[serde(default)]
    scratch_by_key_root: Option<Cid>,
    #[serde(default)]
    entries_match: bool,
    /// JavaScript failed in this update; there is nothing to compare with.
    js_error: Option<String>,
}

#[derive(Deserialize)]
struct Changed {
    id: String,
    value: Option<Json>,
    #[serde(default)]
    del: bool,
}

pub(super) fn prolly(vectors: &Prolly, report: &mut Report) {
    for case in &vectors.cases {
        let place = format!("prolly.json {}", case.name);
        tree::<String>(&case.by_id, &case.hex, &format!("{place} byId"), report);
        tree::<RowKey>(&case.by_key, &case.hex, &format!("{place} byKey"), report);
        let (mut by_id, mut by_key) = (Entries::new(&case.by_id), Entries::new(&case.by_key));
        for (at, update) in case.updates.iter().enumerate() {
            if update.js_error.is_some() {
                break;
            }
            report.at(format!("{place} updates[{at}] changed"));
            changed(&case.style, update, &by_id, report);
            report.at(format!("{place} updates[{at}] byId"));
            by_id.update::<String>(
                &update.by_id_ops,
                update.scratch_by_id_root,
                update.by_id_root,
                report,
            );
            report.at(format!("{place} updates[{at}] byKey"));
            by_key.update::<RowKey>(
                &update.by_key_ops,
                update.scratch_by_key_root,
                update.by_key_root,
                report,
            );
            report.check(update.entries_match, || {
                "the entries after the update in place are others".into()
            });
        }
    }
}

/// The operations of an update are those of the documents that changed: rows of the old versions
/// go, rows of the new ones come.
fn changed(style: &str, update: &Update, before: &Entries, report: &mut Report) {
    let mut rows = Vec::new();
    for document in &update.changed {
        report.eq(
            "whether it is deleted",
            &document.value.is_none(),
            &document.del,
        );
        if let Some(value) = &document.value {
            let row = emitted(style, &document.id, value);
            rows.extend(report.ok("the row", row).flatten());
        }
    }
    let keys: Vec<Json> = rows.iter().map(|row| json!([row.key, row.id])).collect();
    let split = |ops: &[Vec<Json>]| -> (Vec<Json>, Vec<Json>) {
        let (old, new): (Vec<_>, Vec<_>) = ops.iter().cloned().partition(|op| op.len() == 1);
        let mut old: Vec<Json> = old.into_iter().flatten().collect();
        old.sort_by_key(Json::to_string);
        (old, new.into_iter().map(Json::Array).collect())
    };
    let found = update.changed.iter().filter_map(|document| {
        let (id, key) = before.0.get(&json!(document.id).to_string())?;
        Some((id.clone(), key.clone()))
    });
    let (mut old_ids, mut old_keys): (Vec<Json>, Vec<Json>) = found.unzip();
    old_ids.sort_by_key(Json::to_string);
    old_keys.sort_by_key(Json::to_string);
    let by_id = rows
        .iter()
        .zip(&keys)
        .map(|(row, key)| json!([row.id, key]));
    let expected = (old_ids, by_id.collect());
    report.eq("byIdOps", &split(&update.by_id_ops), &expected);
    let by_key = rows
        .iter()
        .zip(&keys)
        .map(|(row, key)| json!([key, row.value.to_json()]));
    let expected = (old_keys, by_key.collect());
    report.eq("byKeyOps", &split(&update.by_key_ops), &expected);
}

/// The row of a document.
fn emitted(style: &str, id: &str, document: &Json) -> Result<Option<Row>, String> {
    let (key, value) = match style {
        "n" | "s" => (document[style].clone(), Json::Null),
        "[s,n] with value" => {
            let x = &document["x"];
            let value = if *x == json!(0) {
                Json::Null
            } else {
                json!({ "x": x })
            };
            (json!([document["s"], document["n"]]), value)
        }
        other => return Err(format!("an unknown style {other:?}")),
    };
    let key = Value::from_json(&key).map_err(|e| e.to_string())?;
    let value = Value::from_json(&value).map_err(|e| e.to_string())?;
    Row::emit(id, &key, value).map_err(|e| e.to_string())
}

/// A key in JSON: an id, or a key and an id.
trait JsonKey: TreeKey + std::fmt::Debug {
    fn from_json(json: &Json) -> Option<Self>;
}

impl JsonKey for String {
    fn from_json(json: &Json) -> Option<Self> {
        json.as_str().map(Into::into)
    }
}

impl JsonKey for RowKey {
    fn from_json(json: &Json) -> Option<Self> {
        Some(RowKey {
            key: json.get(0)?.as_str()?.into(),
            id: json.get(1)?.as_str()?.into(),
        })
    }
}

fn entry<K: JsonKey>(key: &Json, value: &Json) -> Option<Entry<K>> {
    let value = Value::from_json(value).ok()?;
    Some(Entry {
        key: K::from_json(key)?,
        value: cbor::to_vec(&value).ok()?.into(),
    })
}

fn tree<K: JsonKey>(tree: &Tree, hex: &BTreeMap<Cid, Hex>, place: &str, report: &mut Report) {
    report.at(place);
    let entries: Option<Vec<Entry<K>>> = tree.entries.iter().map(|(k, v)| entry(k, v)).collect();
    let Some(entries) = report.ok("the entries", entries.ok_or("another schema")) else {
        return;
    };
    let blocks = prolly::build(entries.clone());
    report.eq("the root", &blocks.last().map(|b| b.cid), &Some(tree.root));
    let cids: Vec<Cid> = blocks.iter().map(|block| block.cid).collect();
    if let Some(expected) = &tree.blocks {
        report.eq("the number of blocks", &cids.len(), &expected.len());
        for (at, (cid, expected)) in cids.iter().zip(expected).enumerate() {
            report.eq(&format!("block {at}"), &cid, &expected);
        }
    }
    if let Some(count) = tree.block_count {
        report.eq("the number of blocks", &cids.len(), &count);
    }
    for block in &blocks {
        if let Some(expected) = hex.get(&block.cid) {
            report.eq("the node", &Hex::of(&block.bytes), expected);
        }
    }
    // Read back: sorted, and equal keys in the order they came in.
    let mut sorted = entries;
    sorted.sort_by(|a, b| a.key.order(&b.key));
    let get = |cid: &Cid| {
        let block = blocks.iter().find(|block: &&Block| block.cid == *cid);
        block.map(|block| block.bytes.clone())
    };
    let read: Result<Vec<_>, _> = prolly::entries::<K, _>(tree.root, get, None).collect();
    if let Some(read) = report.ok("reading", read) {
        for (at, (read, expected)) in read.iter().zip(&sorted).enumerate() {
            report.eq(&format!("entry {at}"), &read, &expected);
        }
        report.eq("the number of entries", &read.len(), &sorted.len());
    }
}

/// Entries by the JSON text of their keys, while updates are applied.
struct Entries(BTreeMap<String, (Json, Json)>);

impl Entries {
    fn new(tree: &Tree) -> Self {
        let entries = tree.entries.iter();
        Self(entries.map(|e| (e.0.to_string(), e.clone())).collect())
    }

    fn update<K: JsonKey>(
        &mut self,
        ops: &[Vec<Json>],
        scratch: Option<Cid>,
        in_place: Option<Cid>,
        report: &mut Report,
    ) {
        for op in ops {
            match &op[..] {
                [key] => {
                    self.0.remove(&key.to_string());
                }
                [key, value] => {
                    self.0.insert(key.to_string(), (key.clone(), value.clone()));
                }
                _ => {
                    report.check(false, || format!("another schema: {op:?}"));
                }
            }
        }
        let entries: Option<Vec<Entry<K>>> = self.0.values().map(|(k, v)| entry(k, v)).collect();
        let Some(entries) = report.ok("the entries", entries.ok_or("another schema")) else {
            return;
        };
        let root = prolly::build(entries).last().map(|block| block.cid);
        report.eq("the root of a fresh build", &root, &scratch);
        if in_place == scratch {
            report.eq("the root", &root, &in_place);
        }
    }
}
