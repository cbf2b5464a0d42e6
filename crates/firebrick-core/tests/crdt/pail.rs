//! The pail against the model and against maps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use firebrick_core::cid::{Cid, Codec};
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::pail::{Change, EMPTY_ROOT, PailError, Range, Shard, ShardSource, Tree};
use proptest::prelude::*;

use crate::model;

pub(crate) fn value(n: usize) -> Cid {
    Cid::of(Codec::Raw, &n.to_le_bytes())
}

/// Keys that share prefixes, are prefixes of each other, or are long.
pub(crate) fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,5}",
        2 => "[a-c~ ]{1,3}",
        1 => "id-[0-9]{1,2}",
        1 => "common/prefix/[ab]{0,2}",
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Put(String, usize),
    Batch(Vec<(String, usize)>),
    Del(String),
    Save,
}

fn step(deletes: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (key(), 0..6_usize).prop_map(|(key, n)| Step::Put(key, n)),
        2 => prop::collection::vec((key(), 0..6_usize), 0..12).prop_map(Step::Batch),
        deletes => key().prop_map(Step::Del),
        1 => Just(Step::Save),
    ]
}

fn ops(batch: &[(String, usize)]) -> impl Iterator<Item = (&str, Cid)> {
    batch.iter().map(|(key, n)| (key.as_str(), value(*n)))
}

fn run(blocks: &MemoryBlocks, tree: &Tree, model: &mut model::Shard, step: &Step) -> Tree {
    match step {
        Step::Put(key, n) => {
            model.put(key, value(*n));
            tree.put(blocks, key, value(*n)).unwrap()
        }
        Step::Batch(batch) => {
            ops(batch).for_each(|(key, value)| model.put(key, value));
            tree.batch(blocks, ops(batch)).unwrap()
        }
        Step::Del(key) => {
            model.del(key);
            tree.del(blocks, key).unwrap()
        }
        Step::Save => blocks.save(tree),
    }
}

fn entries(tree: &Tree, blocks: &MemoryBlocks, range: Range) -> Vec<(String, Cid)> {
    tree.entries(blocks, range)
        .collect::<Result<_, _>>()
        .unwrap()
}

fn check(tree: &Tree, blocks: &MemoryBlocks, model: &model::Shard) {
    assert_eq!(tree.root(), model.root());
    let map = model.map();
    assert!(
        entries(tree, blocks, Range::all())
            .into_iter()
            .eq(map.clone())
    );
    for (key, value) in &map {
        assert_eq!(tree.get(blocks, key).unwrap(), Some(*value));
    }
}

/// All shards of a version.
fn shards(tree: &Tree, blocks: &MemoryBlocks) -> BTreeSet<Cid> {
    let all = tree
        .shards_since(blocks, None)
        .map(|block| block.unwrap().cid);
    all.collect()
}

proptest! {
    #![proptest_config(crate::config(300))]

    #[test]
    fn every_version_is_what_the_rules_say(steps in prop::collection::vec(step(2), 0..40)) {
        let blocks = MemoryBlocks::new();
        let mut model = model::Shard::new("");
        let mut versions = vec![(Tree::empty(), model.clone())];
        for step in &steps {
            let tree = run(&blocks, &versions[versions.len() - 1].0, &mut model, step);
            prop_assert_eq!(tree.root(), model.root());
            let bytes: usize = tree.unsaved().iter().map(|block| block.bytes.len()).sum();
            prop_assert_eq!(bytes, tree.unsaved_bytes());
            prop_assert_eq!(shards(&tree, &blocks), model.cids());
            versions.push((tree, model.clone()));
        }
        // Old versions stay readable, whatever was saved in between.
        for (tree, model) in &versions {
            check(tree, &blocks, model);
        }
        let (old, old_model) = &versions[steps.len() / 2];
        let (new, new_model) = &versions[steps.len()];
        for (old, old_model, new, new_model) in
            [(old, old_model, new, new_model), (new, new_model, old, old_model)]
        {
            let (a, b) = (old_model.map(), new_model.map());
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).cloned().collect();
            let wanted: Vec<Change> = keys
                .into_iter()
                .map(|key| Change { old: a.get(&key).copied(), new: b.get(&key).copied(), key })
                .filter(|change| change.old != change.new)
                .collect();
            let got: Vec<Change> =
                Tree::diff(old, new, &blocks).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(got, wanted);
            let since: Vec<_> = new
                .shards_since(&blocks, Some(old))
                .map(|block| block.unwrap())
                .collect();
            let cids: BTreeSet<Cid> = since.iter().map(|block| block.cid).collect();
            prop_assert_eq!(cids.len(), since.len());
            let wanted = &shards(new, &blocks) - &shards(old, &blocks);
            prop_assert_eq!(cids, wanted);
        }
    }

    #[test]
    fn puts_in_any_order_and_grouping_make_one_tree(
        mut batch in prop::collection::vec((key(), 0..6_usize), 0..60),
        cuts in prop::collection::vec(0..60_usize, 0..4),
        seed in any::<u64>(),
    ) {
        let blocks = MemoryBlocks::new();
        let last: BTreeMap<String, usize> = batch.iter().cloned().collect();
        let bulk = Tree::empty().batch(&blocks, ops(&batch)).unwrap();
        let mut tree = Tree::empty();
        for (key, value) in ops(&batch) {
            tree = tree.put(&blocks, key, value).unwrap();
        }
        prop_assert_eq!(tree.root(), bulk.root());
        prop_assert_eq!(tree.unsaved(), bulk.unsaved());
        // Another order with the same last values.
        batch = last.into_iter().collect();
        let mut random = seed | 1;
        for i in (1..batch.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            batch.swap(i, (random >> 33) as usize % (i + 1));
        }
        let mut tree = Tree::empty();
        let mut rest = &batch[..];
        for cut in cuts {
            let (part, more) = rest.split_at(cut.min(rest.len()));
            tree = blocks.save(&tree.batch(&blocks, ops(part)).unwrap());
            rest = more;
        }
        tree = tree.batch(&blocks, ops(rest)).unwrap();
        prop_assert_eq!(tree.root(), bulk.root());
    }

    #[test]
    fn ranges_are_those_of_a_map(
        keys in prop::collection::btree_set(key(), 0..40),
        start in prop::option::of(("[ -~]{0,1}[ab]{0,3}", any::<bool>())),
        end in prop::option::of(("[ab]{0,3}[ -~]{0,1}", any::<bool>())),
        prefix in "[ab]{0,2}",
        page in 1..5_usize,
    ) {
        let blocks = MemoryBlocks::new();
        let tree = Tree::empty()
            .batch(&blocks, keys.iter().map(|key| (key, value(key.len()))))
            .unwrap();
        let bound = |bound: &Option<(String, bool)>| match bound {
            None => Bound::Unbounded,
            Some((key, true)) => Bound::Included(key.clone()),
            Some((key, false)) => Bound::Excluded(key.clone()),
        };
        let (start, end) = (bound(&start), bound(&end));
        let inside = |key: &&String| {
            let after = match &start {
                Bound::Included(start) => *key >= start,
                Bound::Excluded(start) => *key > start,
                Bound::Unbounded => true,
            };
            let before = match &end {
                Bound::Included(end) => *key <= end,
                Bound::Excluded(end) => *key < end,
                Bound::Unbounded => true,
            };
            after && before
        };
        let got = |range| entries(&tree, &blocks, range).into_iter().map(|(key, _)| key);
        let wanted = keys.iter().filter(inside).cloned();
        prop_assert!(got(Range::bounds(start.clone(), end.clone())).eq(wanted));
        let wanted = keys.iter().filter(|key| key.starts_with(&prefix)).cloned();
        prop_assert!(got(Range::prefix(&*prefix)).eq(wanted));
        // Page by page.
        let mut pages: Vec<String> = Vec::new();
        loop {
            let range = match pages.last() {
                Some(last) => Range::prefix(&*prefix).after(last),
                None => Range::prefix(&*prefix),
            };
            let before = pages.len();
            pages.extend(got(range).take(page));
            if pages.len() == before {
                break;
            }
        }
        prop_assert!(pages.iter().eq(keys.iter().filter(|key| key.starts_with(&prefix))));
    }

    #[test]
    fn damaged_shards_are_refused_or_canonical(
        keys in prop::collection::btree_set(key(), 1..20),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let blocks = MemoryBlocks::new();
        let tree = Tree::empty()
            .batch(&blocks, keys.iter().map(|key| (key, value(1))))
            .unwrap();
        for block in tree.unsaved() {
            let mut bytes = block.bytes.to_vec();
            prop_assert!(Shard::decode(&bytes).is_ok());
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
                prop_assert!(Shard::decode(&bytes).is_err());
                continue;
            }
            bytes[at] = byte;
            if let Ok(shard) = Shard::decode(&bytes) {
                prop_assert_eq!(shard.bytes(), &bytes[..]);
                let mut last = 0;
                for entry in shard.entries() {
                    prop_assert!(entry.key[0] > last);
                    last = entry.key[0];
                    prop_assert_eq!(shard.find(last), Some(entry));
                }
            }
        }
    }
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let mut random = 1_u64;
    let mut bytes = Vec::new();
    for length in 0..2000 {
        bytes.clear();
        bytes.resize_with(length % 300, || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 56) as u8
        });
        assert!(Shard::decode(&bytes).is_err());
    }
}

#[test]
fn the_longest_keys_make_the_deepest_tree() {
    let blocks = MemoryBlocks::new();
    let long = "x".repeat(4096);
    let other = format!("{}y", &long[..4095]);
    let short = &long[..4095];
    let tree = Tree::empty().put(&blocks, &long, value(1)).unwrap();
    assert_eq!(tree.unsaved().len(), 1);
    let tree = tree.put(&blocks, &other, value(2)).unwrap();
    assert_eq!(tree.unsaved().len(), 4096);
    let tree = tree.put(&blocks, short, value(3)).unwrap();
    let saved = blocks.save(&tree);
    for tree in [&tree, &saved] {
        assert_eq!(tree.get(&blocks, &long).unwrap(), Some(value(1)));
        assert_eq!(tree.get(&blocks, &other).unwrap(), Some(value(2)));
        assert_eq!(tree.get(&blocks, short).unwrap(), Some(value(3)));
        assert_eq!(entries(tree, &blocks, Range::all()).len(), 3);
        assert_eq!(
            entries(tree, &blocks, Range::prefix("xx").after(short)).len(),
            2
        );
        assert_eq!(shards(tree, &blocks).len(), 4096);
        let gone = tree.del(&blocks, &long).unwrap();
        assert_eq!(Tree::diff(tree, &gone, &blocks).count(), 1);
        let again = gone.put(&blocks, &long, value(1)).unwrap();
        assert_eq!(again.root(), tree.root());
    }
    // Dropping an unshared chain of nodes must not recurse.
    drop(saved);
    drop(tree);
}

#[test]
fn a_shard_in_the_wrong_place_is_noticed() {
    let blocks = MemoryBlocks::new();
    let tree = Tree::empty()
        .batch(
            &blocks,
            [
                ("aa", value(1)),
                ("ab", value(2)),
                ("ba", value(3)),
                ("bb", value(4)),
            ],
        )
        .unwrap();
    let unsaved = tree.unsaved();
    tree.unsaved().iter().for_each(|block| blocks.insert(block));
    // The root's link to the child `b` is replaced by one to the child `a`.
    let (a, b) = (unsaved[0].cid.to_bytes(), unsaved[1].cid.to_bytes());
    let mut bytes = unsaved[2].bytes.to_vec();
    let at = bytes.windows(36).position(|window| window == b).unwrap();
    bytes[at..at + 36].copy_from_slice(&a);
    let root = firebrick_core::Block::new(Codec::DagCbor, bytes);
    blocks.insert(&root);
    let bad = Tree::at(root.cid);
    let invalid = |error| matches!(error, PailError::Invalid { cid, .. } if cid == unsaved[0].cid);
    assert_eq!(bad.get(&blocks, "aa").unwrap(), Some(value(1)));
    assert!(invalid(bad.get(&blocks, "ba").unwrap_err()));
    assert!(invalid(bad.put(&blocks, "bc", value(1)).unwrap_err()));
    assert!(invalid(bad.del(&blocks, "bb").unwrap_err()));
    assert_eq!(
        bad.entries(&blocks, Range::all())
            .filter(Result::is_ok)
            .count(),
        2
    );
    assert!(invalid(
        bad.entries(&blocks, Range::all())
            .last()
            .unwrap()
            .unwrap_err()
    ));
    assert!(invalid(
        Tree::diff(&tree, &bad, &blocks)
            .last()
            .unwrap()
            .unwrap_err()
    ));
    // A document where a shard should be.
    let other = firebrick_core::Block::new(Codec::DagCbor, vec![0xa0]);
    blocks.insert(&other);
    assert!(matches!(
        blocks.shard(&other.cid),
        Err(PailError::Invalid { .. })
    ));
}

#[test]
fn missing_shards_are_named() {
    let blocks = MemoryBlocks::new();
    let tree = Tree::empty()
        .batch(&blocks, [("aa", value(1)), ("ab", value(2))])
        .unwrap();
    let child = tree.unsaved()[0].cid;
    let tree = blocks.save(&tree);
    assert!(blocks.remove(&child));
    assert_eq!(tree.get(&blocks, "aa").unwrap_err().missing(), Some(child));
    assert_eq!(
        tree.put(&blocks, "ab", value(3)).unwrap_err().missing(),
        Some(child)
    );
    assert_eq!(tree.get(&blocks, "b").unwrap(), None);
    // The empty tree needs no source.
    assert_eq!(Tree::at(EMPTY_ROOT).get(&blocks, "a").unwrap(), None);
}

#[test]
fn lookups_jump_over_chains_and_check_them() {
    let blocks = MemoryBlocks::new();
    let keys = ["common-prefix-a", "common-prefix-b", "common-prefix"];
    let tree = Tree::empty()
        .batch(&blocks, keys[..2].iter().map(|key| (*key, value(1))))
        .unwrap();
    let tree = blocks.save(&tree);
    let chain = blocks.chain(&tree.root()).unwrap();
    assert_eq!(chain.end().prefix(), b"common-prefix-");
    for (key, found) in [
        ("common-prefix-a", Some(value(1))),
        ("common-prefix-c", None),
        ("common-prefix-", None),
        ("common-prefix", None),
        ("common-other", None),
        ("c", None),
    ] {
        assert_eq!(tree.get(&blocks, key).unwrap(), found, "{key}");
    }
    // A value on the way ends the chain.
    let tree = blocks.save(&tree.put(&blocks, keys[2], value(2)).unwrap());
    let chain = blocks.chain(&tree.root()).unwrap();
    assert_eq!(chain.end().prefix(), b"common-prefi");
    assert_eq!(tree.get(&blocks, keys[2]).unwrap(), Some(value(2)));
    assert_eq!(tree.get(&blocks, keys[1]).unwrap(), Some(value(1)));

    // A shard of another place in the middle of a chain.
    let root = blocks.shard(&tree.root()).unwrap();
    let child = root.entry(0).child.unwrap();
    let bytes = root.bytes().to_vec();
    let at = bytes.windows(2).position(|two| two == b"\x61c").unwrap();
    let mut other = bytes;
    other[at + 1] = b'd';
    let other = firebrick_core::Block::new(Codec::DagCbor, other);
    blocks.insert(&other);
    let answer = Tree::at(other.cid).get(&blocks, "dommon-prefix");
    assert!(
        matches!(answer, Err(PailError::Invalid { cid, .. }) if cid == child),
        "{answer:?}"
    );
    // And at its beginning.
    let answer = Tree::at(child).get(&blocks, keys[0]);
    assert!(
        matches!(answer, Err(PailError::Invalid { cid, .. }) if cid == child),
        "{answer:?}"
    );
}
