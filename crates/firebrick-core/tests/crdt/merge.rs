//! Merges against the model: any history, any order of arrival, any memory of earlier merges.

use std::collections::BTreeSet;

use firebrick_core::cid::{Cid, Codec};
use firebrick_core::clock;
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::merge::{Limits, MergeError, Replay, Resolver, merge_event};
use firebrick_core::pail::{Range, Tree};
use proptest::prelude::*;

use crate::history::{History, any_parents, replicas, writes};
use crate::model::{self, Data};

fn resolve(resolver: &mut Resolver, history: &History, heads: &[usize]) -> Tree {
    let heads = history.cids(heads);
    resolver
        .resolve(&history.blocks, &history.blocks, &heads)
        .unwrap()
}

/// Sets of heads to merge: pairs and triples of events.
fn choices(
    history: &History,
    picks: &[(
        prop::sample::Index,
        prop::sample::Index,
        prop::sample::Index,
    )],
) -> Vec<Vec<usize>> {
    let pick = |pick: &prop::sample::Index| pick.index(history.dag.0.len());
    let set = |(a, b, c): &_| BTreeSet::from([pick(a), pick(b), pick(c)]);
    picks
        .iter()
        .map(|picks| set(picks).into_iter().collect())
        .collect()
}

fn picks() -> impl Strategy<
    Value = Vec<(
        prop::sample::Index,
        prop::sample::Index,
        prop::sample::Index,
    )>,
> {
    prop::collection::vec(
        any::<(
            prop::sample::Index,
            prop::sample::Index,
            prop::sample::Index,
        )>(),
        1..5,
    )
}

proptest! {
    #![proptest_config(crate::config(300))]

    #[test]
    fn merges_are_what_the_replay_says(
        writes in writes(0, 1..14),
        picks in picks(),
        unsaved in any::<bool>(),
    ) {
        // One resolver for all, so that it starts from what it remembers.
        let history = any_parents(&writes, true);
        let mut resolver = Resolver::new(Limits::default());
        for heads in choices(&history, &picks) {
            let cids = history.cids(&heads);
            let got = resolver.resolve(&history.blocks, &history.blocks, &cids);
            let replay = Replay::of(&history.blocks, &history.blocks, &cids);
            let Some(wanted) = history.dag.resolve(&heads) else {
                prop_assert!(matches!(
                    got,
                    Err(MergeError::Clock(clock::ClockError::Unrelated))));
                prop_assert!(replay.is_err());
                continue;
            };
            let tree = got.unwrap();
            prop_assert_eq!(tree.root(), wanted.root());
            prop_assert_eq!(replay.unwrap().tree().root(), wanted.root());
            let entries = tree.entries(&history.blocks, Range::all());
            prop_assert!(entries.map(Result::unwrap).eq(wanted.map()));
            if !unsaved {
                history.blocks.save(&tree);
                resolver.saved(&tree.root());
            }
        }
    }

    #[test]
    fn real_deletes_are_replayed(writes in writes(4, 1..12), picks in picks()) {
        let history = any_parents(&writes, false);
        let mut resolver = Resolver::new(Limits::default());
        for heads in choices(&history, &picks) {
            let wanted = history.dag.resolve(&heads).unwrap();
            prop_assert_eq!(resolve(&mut resolver, &history, &heads).root(), wanted.root());
        }
    }

    #[test]
    fn no_event_is_taken_at_its_word(
        writes in writes(0, 2..12),
        lies in prop::collection::vec((any::<prop::sample::Index>(), 0..7_usize), 12),
        picks in picks(),
    ) {
        // Every event names some tree, mostly not that of the replay: what counts is the replay
        // from the ancestor's tree, whichever tree the resolver starts from.
        let mut history = History::default();
        for (write, (lie, kind)) in writes.iter().zip(&lies) {
            let count = history.dag.0.len();
            let mut parents: Vec<usize> =
                write.picks.iter().filter(|_| count > 0).map(|pick| pick.index(count)).collect();
            parents.sort_unstable();
            parents.dedup();
            let mut tree = history.dag.resolve(&parents).unwrap();
            write.data.apply(&mut tree);
            match kind {
                0 if count > 0 => tree = history.dag.0[lie.index(count)].tree.clone(),
                1 => tree.put("l", Cid::of(Codec::Raw, b"lie")),
                2 => tree.put("k/lie", Cid::of(Codec::Raw, b"lie")),
                3 => tree = model::Shard::new(""),
                4 => {
                    // What is left need not be canonical.
                    tree.del("kk");
                    tree.del("kl");
                }
                _ => {}
            }
            history.store(&tree);
            history.add(&parents, write.data.clone(), tree);
        }
        let mut resolver = Resolver::new(Limits::default());
        for heads in choices(&history, &picks) {
            let wanted = history.dag.resolve(&heads).unwrap();
            prop_assert_eq!(resolve(&mut resolver, &history, &heads).root(), wanted.root());
        }
    }

    #[test]
    fn arrival_does_not_matter(
        writes in writes(0, 1..16),
        orders in prop::collection::vec(
            prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..20), 2),
    ) {
        // Two observers get the events in different orders, some twice and some together, merge
        // whenever they like, and end equal.
        let (history, replicas) = replicas(&writes);
        let all: BTreeSet<usize> = (0..history.dag.0.len()).collect();
        let heads: Vec<usize> = history.dag.heads(&all).into_iter().collect();
        let wanted = history.dag.resolve(&heads).unwrap().root();
        for order in &orders {
            let mut resolver = Resolver::new(Limits::default());
            let mut head = history.cids(&replicas[0]);
            for (pick, merge) in order {
                let event = history.dag.0[pick.index(history.dag.0.len())].cid;
                head = resolver.advance(&history.blocks, &head, event).unwrap();
                if *merge {
                    let numbers = history.numbers(&head);
                    let tree = resolve(&mut resolver, &history, &numbers);
                    prop_assert_eq!(tree.root(), history.dag.resolve(&numbers).unwrap().root());
                }
            }
            for cids in replicas.iter().map(|heads| history.cids(heads)) {
                head = resolver.join(&history.blocks, &head, &cids).unwrap();
            }
            prop_assert_eq!(
                history.numbers(&head).into_iter().collect::<BTreeSet<_>>(),
                heads.iter().copied().collect());
            prop_assert_eq!(resolve(&mut resolver, &history, &heads).root(), wanted);
        }
    }

    #[test]
    fn a_small_memory_changes_nothing(writes in writes(0, 1..12), picks in picks()) {
        let history = any_parents(&writes, false);
        let limits = Limits { memo_bytes: 0, trees: 0, tree_bytes: 0, ..Limits::default() };
        let mut resolver = Resolver::new(limits);
        for heads in choices(&history, &picks) {
            let wanted = history.dag.resolve(&heads).unwrap();
            prop_assert_eq!(resolve(&mut resolver, &history, &heads).root(), wanted.root());
            prop_assert!(resolver.memory() < 1000);
        }
    }

    #[test]
    fn a_compacted_ancestor_is_not_needed(writes in writes(0, 1..14)) {
        // A compaction keeps every event, but only the shards of the newest tree.
        let (history, _) = replicas(&writes);
        let all: BTreeSet<usize> = (0..history.dag.0.len()).collect();
        let heads: Vec<usize> = history.dag.heads(&all).into_iter().collect();
        let wanted = history.dag.resolve(&heads).unwrap().root();
        let blocks = MemoryBlocks::new();
        for event in &history.dag.0 {
            blocks.insert(&history.blocks.block(&event.cid).unwrap());
        }
        for head in &heads {
            let mut shards = Vec::new();
            history.dag.0[*head].tree.blocks(&mut shards);
            shards.iter().for_each(|shard| blocks.insert(shard));
        }
        let tree = Resolver::new(Limits::default())
            .resolve(&blocks, &blocks, &history.cids(&heads))
            .unwrap();
        prop_assert_eq!(tree.root(), wanted);
    }
}

proptest! {
    #![proptest_config(crate::config(200))]

    #[test]
    fn trees_at_hand_stand_in_for_stored_ones(writes in writes(0, 1..14), who in 0..3_usize) {
        // One replica's tree is in memory; no shard at all is stored.
        let (history, replicas) = replicas(&writes);
        let all: BTreeSet<usize> = (0..history.dag.0.len()).collect();
        let heads: Vec<usize> = history.dag.heads(&all).into_iter().collect();
        if heads.len() < 2 || !replicas[who].iter().all(|own| heads.contains(own)) {
            return Ok(());
        }
        let wanted = history.dag.resolve(&heads).unwrap().root();
        let events = MemoryBlocks::new();
        for event in &history.dag.0 {
            events.insert(&history.blocks.block(&event.cid).unwrap());
        }
        let own = history.cids(&replicas[who]);
        let map = history.dag.resolve(&replicas[who]).unwrap().map();
        let tree = Tree::empty().batch(&events, map).unwrap();
        let mut resolver = Resolver::new(Limits::default());
        let heads = history.cids(&heads);
        let empty = Tree::empty();
        let known = [(&[][..], &empty), (&own[..], &tree)];
        let merged = resolver.resolve_from(&events, &events, &heads, &known).unwrap();
        prop_assert_eq!(merged.root(), wanted);
        // The same if it was told before.
        let mut resolver = Resolver::new(Limits::default());
        resolver.remember(&own, &tree);
        prop_assert_eq!(
            resolver.resolve(&events, &events, &heads).unwrap().root(), wanted);
    }
}

/// Weights count paths, so an arriving event can change the winner of a key that it does not touch.
#[test]
fn merges_change_keys_that_no_arriving_event_touches() {
    let mut random = 7_u64;
    let mut below = |n: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % n
    };
    let mut found = 0;
    for case in 0..300 {
        let mut history = History::default();
        let mut heads = vec![history.write(&[], Data::Batch(vec![])).unwrap()];
        for n in 0..8 {
            let key = ["k", "l", "m"][below(3)];
            let value = Cid::of(Codec::Raw, &[case as u8, n]);
            let parents: Vec<usize> = match below(3) {
                0 => vec![0],
                1 => vec![heads[below(heads.len())]],
                _ => heads.clone(),
            };
            let event = history
                .write(&parents, Data::Put(key.into(), value))
                .unwrap();
            let set = heads.iter().copied().chain([event]).collect();
            let new: Vec<usize> = history.dag.heads(&set).into_iter().collect();
            let mut resolver = Resolver::new(Limits::default());
            let before = resolve(&mut resolver, &history, &heads);
            let after = resolve(&mut resolver, &history, &new);
            assert_eq!(after.root(), history.dag.resolve(&new).unwrap().root());
            let changes = Tree::diff(&before, &after, &history.blocks);
            found += changes
                .filter(|change| change.as_ref().unwrap().key != key)
                .count();
            heads = new;
        }
    }
    assert!(found > 0);
}

/// A head's tree may hold shards that no put makes. The replay does not pass through it.
#[test]
fn leftover_shards_of_a_head_do_not_show() {
    let value = |n| Cid::of(Codec::Raw, &[n]);
    let mut history = History::default();
    let first = history
        .write(&[], Data::Put("ab".into(), value(0)))
        .unwrap();
    let data = Data::Put("b".into(), value(1));
    let mut tree = history.dag.0[first].tree.clone();
    tree.put("ac", value(2));
    tree.del("ac");
    data.apply(&mut tree);
    history.store(&tree);
    let odd = history.add(&[first], data, tree);
    let other = history
        .write(&[first], Data::Put("c".into(), value(3)))
        .unwrap();
    let wanted = history.dag.resolve(&[odd, other]).unwrap();
    let mut resolver = Resolver::new(Limits::default());
    assert_eq!(
        resolve(&mut resolver, &history, &[odd, other]).root(),
        wanted.root()
    );
}

#[test]
fn everybody_pins_a_merge_in_the_same_way() {
    let mut history = History::default();
    let first = history.write(&[], Data::Batch(vec![])).unwrap();
    let value = |n| Cid::of(Codec::Raw, &[n]);
    let a = history
        .write(&[first], Data::Put("a".into(), value(1)))
        .unwrap();
    let b = history
        .write(&[first], Data::Put("b".into(), value(2)))
        .unwrap();
    let head = history.cids(&[a, b]);
    let mut resolver = Resolver::new(Limits::default());
    let tree = resolve(&mut resolver, &history, &[a, b]);
    let event = merge_event(&head, tree.root());
    let other = merge_event(&[head[1], head[0]], tree.root());
    assert_eq!(event.encode(), other.encode());
    let cid = history.blocks.add(event);
    assert_eq!(clock::advance(&history.blocks, &head, cid).unwrap(), [cid]);
    let pinned = resolver
        .resolve(&history.blocks, &history.blocks, &[cid])
        .unwrap();
    assert_eq!(pinned.root(), tree.root());
}

#[test]
fn what_is_missing_is_named_and_can_come_later() {
    let mut history = History::default();
    let value = |n| Cid::of(Codec::Raw, &[n]);
    let mut write = |parents: &[usize], key: &str, n| {
        history
            .write(parents, Data::Put(key.into(), value(n)))
            .unwrap()
    };
    let first = write(&[], "g", 0);
    let a = write(&[first], "a", 1);
    let middle = write(&[first], "b", 2);
    let b = write(&[middle], "c", 3);
    let wanted = history.dag.resolve(&[a, b]).unwrap().root();
    let heads = history.cids(&[a, b]);
    let middle = history.dag.0[middle].cid;
    let block = history.blocks.block(&middle).unwrap();
    assert!(history.blocks.remove(&middle));
    let mut resolver = Resolver::new(Limits::default());
    let error = resolver
        .resolve(&history.blocks, &history.blocks, &heads)
        .unwrap_err();
    assert_eq!(error.missing(), Some(middle));
    history.blocks.insert(&block);
    let tree = resolver
        .resolve(&history.blocks, &history.blocks, &heads)
        .unwrap();
    assert_eq!(tree.root(), wanted);

    let limits = Limits {
        events: 2,
        ..Limits::default()
    };
    let error = Resolver::new(limits)
        .resolve(&history.blocks, &history.blocks, &heads)
        .unwrap_err();
    assert!(matches!(
        error,
        MergeError::Clock(clock::ClockError::TooMany(2))
    ));
}
