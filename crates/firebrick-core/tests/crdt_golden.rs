//! The pail and the clock against the format's vectors.

use std::path::Path;

use firebrick_core::block::Block;
use firebrick_core::cid::{Cid, Codec};
use firebrick_core::clock::{self, Event, EventSource, Operation};
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::merge::{Limits, Replay, Resolver};
use firebrick_core::pail::{Edited, Range, Tree};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/vectors")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn value(n: &Value) -> Cid {
    Cid::of(Codec::Raw, format!("v{n}").as_bytes())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn cids(value: &Value) -> Vec<Cid> {
    list(value)
        .iter()
        .map(|cid| text(cid).parse().unwrap())
        .collect()
}

fn pairs(value: &Value) -> Vec<(String, Cid)> {
    let pair = |pair: &Value| (text(&pair[0]).to_owned(), text(&pair[1]).parse().unwrap());
    list(value).iter().map(pair).collect()
}

fn entries(tree: &Tree, blocks: &MemoryBlocks) -> Vec<(String, Cid)> {
    let entries = tree.entries(blocks, Range::all());
    entries.collect::<Result<_, _>>().unwrap()
}

fn ids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|block| block.cid).collect()
}

#[test]
fn pail() {
    let pail = vectors("pail.json");
    let blocks = MemoryBlocks::new();
    assert_eq!(Tree::empty().root().to_string(), pail["emptyRoot"]["cid"]);
    for sequence in list(&pail["sequences"]) {
        // Once with everything in memory, once saved after each step.
        let (mut tree, mut kept) = (Tree::empty(), Tree::empty());
        for step in list(&sequence["steps"]) {
            let edit = |tree: &Tree| -> Edited {
                if let Some(key) = step.get("del") {
                    tree.del_traced(&blocks, text(key)).unwrap()
                } else if let Some(batch) = step.get("batch") {
                    let op = |op: &Value| (text(&op[0]).to_owned(), value(&op[1]));
                    tree.edit(&blocks, list(batch).iter().map(op)).unwrap()
                } else {
                    let put = (text(&step["put"]), value(&step["value"]));
                    tree.edit(&blocks, [put]).unwrap()
                }
            };
            kept = edit(&kept).tree;
            let edited = edit(&tree);
            assert_eq!(edited.tree.root().to_string(), step["root"], "{step}");
            assert_eq!(ids(&edited.added), cids(&step["additions"]), "{step}");
            assert_eq!(edited.tree.unsaved().len(), edited.added.len(), "{step}");
            assert_eq!(kept.root(), edited.tree.root());
            let bytes: usize = kept.unsaved().iter().map(|block| block.bytes.len()).sum();
            assert_eq!(kept.unsaved_bytes(), bytes);
            tree = blocks.save(&edited.tree);
        }
        for tree in [&tree, &kept] {
            assert_eq!(entries(tree, &blocks), pairs(&sequence["entries"]));
            for (key, value) in sequence["gets"].as_object().unwrap() {
                let wanted = value.as_str().map(|cid| cid.parse().unwrap());
                assert_eq!(tree.get(&blocks, key).unwrap(), wanted, "{key}");
            }
        }
    }
    for set in list(&pail["canonical"]) {
        let op = |op: &Value| (text(&op[0]).to_owned(), value(&op[1]));
        let tree = Tree::empty()
            .batch(&blocks, list(&set["keys"]).iter().map(op))
            .unwrap();
        assert_eq!(tree.root().to_string(), set["root"]);
    }
    for bad in list(&pail["badKeys"]) {
        let key = match &bad["key"] {
            Value::String(key) => key.clone(),
            key => text(&key["repeat"][0]).repeat(key["repeat"][1].as_u64().unwrap() as usize),
        };
        assert!(
            Tree::empty()
                .put(&blocks, &key, value(&Value::from(0)))
                .is_err()
        );
        assert_eq!(Tree::empty().get(&blocks, &key).unwrap(), None);
    }
}

#[test]
fn clock() {
    for dag in list(&vectors("clock.json")["dags"]) {
        let blocks = MemoryBlocks::new();
        let events: Vec<Cid> = list(&dag["events"])
            .iter()
            .map(|event| {
                let bytes = data_encoding::HEXLOWER
                    .decode(text(&event["hex"]).as_bytes())
                    .unwrap();
                let block = Block::new(Codec::DagCbor, bytes);
                assert_eq!(block.cid.to_string(), event["cid"]);
                let decoded = Event::decode(&block.bytes).unwrap();
                assert_eq!(decoded.encode(), block);
                let batch = matches!(decoded.data, Operation::Batch(_));
                assert_eq!(if batch { "batch" } else { "put" }, event["type"]);
                assert_eq!(decoded.root.to_string(), event["root"]);
                blocks.insert(&block);
                block.cid
            })
            .collect();
        for block in dag["shards"].as_object().unwrap().values() {
            let bytes = data_encoding::BASE64
                .decode(text(block).as_bytes())
                .unwrap();
            blocks.insert(&Block::new(Codec::DagCbor, bytes));
        }
        let numbered = |numbers: &Value| -> Vec<Cid> {
            let event = |n: &Value| events[n.as_u64().unwrap() as usize];
            list(numbers).iter().map(event).collect()
        };
        let heads = numbered(&dag["heads"]);
        let ancestor = clock::common_ancestor(&blocks, &heads).unwrap();
        if heads.len() > 1 {
            let wanted = dag["ancestor"].as_u64().map(|n| events[n as usize]);
            assert_eq!(ancestor, wanted);
            let sorted = clock::sorted_events(&blocks, &heads).unwrap();
            let got: Vec<Value> = sorted
                .events
                .iter()
                .map(|(cid, weight)| {
                    let event = events.iter().position(|event| event == cid);
                    serde_json::json!({ "event": event, "weight": *weight as u64 })
                })
                .collect();
            assert_eq!(Value::from(got), dag["sorted"]);
        }
        let replay = Replay::of(&blocks, &blocks, &heads).unwrap();
        assert_eq!(replay.tree().root().to_string(), dag["root"]);
        assert_eq!(ids(&replay.shards()), cids(&dag["additions"]));
        let mut resolver = Resolver::new(Limits::default());
        let tree = resolver.resolve(&blocks, &blocks, &heads).unwrap();
        assert_eq!(tree.root().to_string(), dag["root"]);
        assert_eq!(entries(&tree, &blocks), pairs(&dag["entries"]));
        for step in list(&dag["advances"]) {
            let head = numbered(&step["head"]);
            let event = events[step["event"].as_u64().unwrap() as usize];
            let result = clock::advance(&blocks, &head, event).unwrap();
            assert_eq!(result, numbered(&step["result"]));
            assert!(clock::contains(&blocks, &result, &event).unwrap());
            let mut sorted = result.clone();
            sorted.sort_by(Cid::cmp_text);
            assert_eq!(clock::join(&blocks, &[event], &head).unwrap(), sorted);
        }
        for event in &events {
            let parents = &blocks.event(event).unwrap().parents;
            let generations = parents.iter().map(|p| blocks.generation(p).unwrap() + 1);
            assert_eq!(
                blocks.generation(event).unwrap(),
                generations.max().unwrap_or(0)
            );
        }
    }
}
