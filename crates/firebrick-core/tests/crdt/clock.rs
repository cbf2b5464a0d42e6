//! Heads, pasts and orders against the model.

use std::collections::BTreeSet;

use firebrick_core::cid::{Cid, Codec};
use firebrick_core::clock::{self, ClockError, Event, EventSource, Op, Operation};
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::merge::{Limits, Resolver};
use firebrick_core::pail::{EMPTY_ROOT, Range};
use proptest::prelude::*;

use crate::history::{any_parents, replicas, writes};

proptest! {
    #![proptest_config(crate::config(200))]

    #[test]
    fn pasts_are_those_of_the_model(
        writes in writes(1, 1..14),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let history = any_parents(&writes, true);
        let (blocks, dag) = (&history.blocks, &history.dag);
        let pick = |at: usize| picks[at].index(dag.0.len());
        let some: BTreeSet<usize> = [pick(0), pick(1), pick(2)].into();
        let others: BTreeSet<usize> = [pick(3), pick(4)].into();
        let (a, b): (Vec<usize>, Vec<usize>) =
            (some.iter().copied().collect(), others.iter().copied().collect());
        let (past_a, past_b) = (dag.past(&a), dag.past(&b));
        let (ca, cb) = (history.cids(&a), history.cids(&b));

        for event in 0..dag.0.len() {
            let contained = clock::contains(blocks, &ca, &dag.0[event].cid).unwrap();
            prop_assert_eq!(contained, past_a.contains(&event));
        }
        let difference = clock::difference(blocks, &ca, &cb).unwrap();
        let numbers = history.numbers(&difference);
        prop_assert_eq!(
            numbers.iter().copied().collect::<BTreeSet<_>>(),
            &past_a - &past_b
        );
        for (at, event) in numbers.iter().enumerate() {
            for parent in &dag.0[*event].parents {
                prop_assert!(past_b.contains(parent) || numbers[..at].contains(parent));
            }
        }
        let joined = clock::join(blocks, &ca, &cb).unwrap();
        let mut texts: Vec<String> = joined.iter().map(Cid::to_string).collect();
        let heads: BTreeSet<usize> = history.numbers(&joined).into_iter().collect();
        prop_assert_eq!(&heads, &dag.heads(&(&some | &others)));
        prop_assert!(texts.is_sorted());
        texts.dedup();
        prop_assert_eq!(texts.len(), joined.len());

        let ancestor = clock::common_ancestor(blocks, &ca).unwrap();
        prop_assert_eq!(ancestor.map(|cid| history.numbers(&[cid])[0]), dag.ancestor(&a));
    }

    #[test]
    fn the_order_is_that_of_all_paths(
        writes in writes(1, 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 2..4),
    ) {
        let history = any_parents(&writes, true);
        let heads: BTreeSet<usize> =
            picks.iter().map(|pick| pick.index(history.dag.0.len())).collect();
        let heads: Vec<usize> = heads.into_iter().collect();
        if heads.len() < 2 {
            return Ok(());
        }
        let sorted = clock::sorted_events(&history.blocks, &history.cids(&heads));
        let Some(ancestor) = history.dag.ancestor(&heads) else {
            prop_assert!(matches!(sorted, Err(ClockError::Unrelated)));
            return Ok(());
        };
        let sorted = sorted.unwrap();
        prop_assert_eq!(sorted.ancestor, history.dag.0[ancestor].cid);
        prop_assert!(!sorted.by_distance);
        let wanted = history.dag.sorted(&heads, ancestor);
        let wanted: Vec<(Cid, u128)> =
            wanted.into_iter().map(|(event, weight)| (history.dag.0[event].cid, weight)).collect();
        prop_assert_eq!(sorted.events, wanted);
    }

    #[test]
    fn heads_grow_the_same_in_any_order(
        writes in writes(0, 1..14),
        mut order in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let (history, replicas) = replicas(&writes);
        let (blocks, dag) = (&history.blocks, &history.dag);
        let all: BTreeSet<usize> = (0..dag.0.len()).collect();
        let wanted: BTreeSet<usize> = dag.heads(&all);
        // Every event in random order with repetitions, and then all of them once more.
        let mut head = Vec::new();
        let mut events: Vec<usize> =
            order.drain(..).map(|pick| pick.index(dag.0.len())).collect();
        events.extend(0..dag.0.len());
        for event in events {
            let before = head.clone();
            head = clock::advance(blocks, &head, dag.0[event].cid).unwrap();
            prop_assert_eq!(
                clock::advance(blocks, &head, dag.0[event].cid).unwrap(), head.clone());
            // The order is that of the format: what stays keeps its place, what is new comes last.
            let kept: Vec<Cid> =
                before.iter().copied().filter(|cid| head.contains(cid)).collect();
            prop_assert!(head.starts_with(&kept) && head.len() <= kept.len() + 1);
            let mut joined = clock::join(blocks, &before, &[dag.0[event].cid]).unwrap();
            let mut advanced = head.clone();
            joined.sort_unstable();
            advanced.sort_unstable();
            prop_assert_eq!(joined, advanced);
        }
        prop_assert_eq!(
            history.numbers(&head).into_iter().collect::<BTreeSet<_>>(), wanted.clone());
        // Joining the replicas' heads is associative, commutative and idempotent.
        let [a, b, c] = [0, 1, 2].map(|at| history.cids(&replicas[at]));
        let join = |a: &[Cid], b: &[Cid]| clock::join(blocks, a, b).unwrap();
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&c, &b)));
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &b), join(&a, &b));
    }

    #[test]
    fn changes_are_those_of_the_walk(
        writes in writes(1, 1..14),
        head in prop::collection::vec(any::<prop::sample::Index>(), 1..3),
        since in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        limit in prop::option::of(0..6_usize),
    ) {
        let history = any_parents(&writes, false);
        let pick = |picks: &[prop::sample::Index]| -> Vec<usize> {
            picks.iter().map(|pick| pick.index(history.dag.0.len())).collect()
        };
        let (head, since) = (pick(&head), pick(&since));
        let mut rows = Vec::new();
        let most = limit.unwrap_or(usize::MAX);
        history.dag.changes(&head, &since, &mut BTreeSet::new(), &mut rows, most);
        rows.reverse();
        let (head, since) = (history.cids(&head), history.cids(&since));
        let got = clock::changes_since(&history.blocks, &head, &since, limit).unwrap();
        let got: Vec<(String, Cid, usize)> = got
            .into_iter()
            .map(|row| (row.key, row.value, history.numbers(&[row.event])[0]))
            .collect();
        prop_assert_eq!(got, rows);
    }
}

fn put(n: usize, parents: &[Cid]) -> Event {
    let value = Cid::of(Codec::Raw, &n.to_le_bytes());
    let data = Operation::Put {
        key: format!("k{n}"),
        value,
    };
    Event::new(data, EMPTY_ROOT, parents.iter().copied())
}

/// `rounds` rounds of two writers who both saw everything before.
fn rounds(blocks: &MemoryBlocks, rounds: usize) -> Vec<Cid> {
    let mut heads = vec![blocks.add(put(usize::MAX, &[]))];
    for round in 0..rounds {
        heads = [0, 1]
            .map(|who| blocks.add(put(2 * round + who, &heads)))
            .to_vec();
    }
    heads
}

#[test]
fn causes_come_before_effects_however_many_paths_there_are() {
    // The events of depth d weigh d * 2^d; 114 * 2^114 is the first to exceed 2^120.
    for (count, by_distance) in [
        (10, false),
        (60, false),
        (114, false),
        (115, true),
        (800, true),
    ] {
        let blocks = MemoryBlocks::new();
        let heads = rounds(&blocks, count);
        let sorted = clock::sorted_events(&blocks, &heads).unwrap();
        assert_eq!(sorted.by_distance, by_distance, "{count}");
        assert_eq!(sorted.events.len(), 2 * count);
        let cids: Vec<Cid> = sorted.events.iter().map(|(cid, _)| *cid).collect();
        for (at, (cid, weight)) in sorted.events.iter().enumerate() {
            for parent in &blocks.event(cid).unwrap().parents {
                assert!(*parent == sorted.ancestor || cids[..at].contains(parent));
            }
            let depth = count as u128 - 1 - at as u128 / 2;
            let wanted = if by_distance { depth } else { depth << depth };
            assert_eq!(*weight, wanted);
            assert!(at % 2 == 0 || cids[at - 1].to_string() < cid.to_string());
        }
    }
}

#[test]
fn long_histories_do_not_recurse() {
    let blocks = MemoryBlocks::new();
    let first = blocks.add(put(0, &[]));
    let (mut a, mut b) = (first, first);
    for n in 0..30_000 {
        a = blocks.add(put(2 * n + 1, &[a]));
        b = blocks.add(put(2 * n + 2, &[b]));
    }
    assert_eq!(blocks.generation(&a).unwrap(), 30_000);
    assert!(!clock::contains(&blocks, &[a], &b).unwrap());
    assert_eq!(
        clock::common_ancestor(&blocks, &[a, b]).unwrap(),
        Some(first)
    );
    assert_eq!(
        clock::difference(&blocks, &[a], &[b]).unwrap().len(),
        30_000
    );
    assert_eq!(clock::join(&blocks, &[a, first], &[b]).unwrap().len(), 2);
    assert_eq!(
        clock::sorted_events(&blocks, &[a, b]).unwrap().events.len(),
        60_000
    );
    assert_eq!(
        clock::changes_since(&blocks, &[a, b], &[], None)
            .unwrap()
            .len(),
        60_001
    );
    assert_eq!(
        clock::changes_since(&blocks, &[a, b], &[first], None)
            .unwrap()
            .len(),
        60_000
    );
}

#[test]
fn wide_events_are_taken_in_stride() {
    let blocks = MemoryBlocks::new();
    let first = blocks.add(put(0, &[]));
    let wide: Vec<Cid> = (1..=20_000).map(|n| blocks.add(put(n, &[first]))).collect();
    let top = blocks.add(put(usize::MAX, &wide));
    let late = blocks.add(put(usize::MAX - 1, &wide[..10_000]));
    let block = blocks.block(&top).unwrap();
    assert_eq!(
        *blocks.event(&top).unwrap(),
        Event::decode(&block.bytes).unwrap()
    );
    assert_eq!(clock::advance(&blocks, &wide, top).unwrap(), [top]);
    assert_eq!(clock::advance(&blocks, &wide, late).unwrap().len(), 10_001);
    assert_eq!(clock::join(&blocks, &wide, &[top, late]).unwrap().len(), 2);
    assert_eq!(
        clock::common_ancestor(&blocks, &[top, late]).unwrap(),
        Some(first)
    );
    assert_eq!(
        clock::difference(&blocks, &[top], &[late]).unwrap().len(),
        10_001
    );
}

#[test]
fn unrelated_histories_and_missing_events_are_errors() {
    let blocks = MemoryBlocks::new();
    let (a, b) = (blocks.add(put(1, &[])), blocks.add(put(2, &[])));
    let (c, d) = (blocks.add(put(3, &[a])), blocks.add(put(4, &[b])));
    assert_eq!(clock::common_ancestor(&blocks, &[c, d]).unwrap(), None);
    let error = clock::sorted_events(&blocks, &[c, d]).unwrap_err();
    assert!(matches!(error, ClockError::Unrelated));
    assert!(blocks.remove(&a));
    let error = clock::sorted_events(&blocks, &[c, d]).unwrap_err();
    assert_eq!(error.missing(), Some(a));
}

#[test]
fn damaged_events_are_refused_or_canonical() {
    let parents: Vec<Cid> = (0..3).map(|n| Cid::of(Codec::DagCbor, &[n])).collect();
    let ops = vec![
        Op {
            key: "a".into(),
            value: EMPTY_ROOT,
        },
        Op {
            key: "b".into(),
            value: EMPTY_ROOT,
        },
    ];
    for data in [
        put(1, &[]).data,
        Operation::Batch(ops),
        Operation::Del { key: "k".into() },
    ] {
        let block = Event::new(data, EMPTY_ROOT, parents.iter().copied()).encode();
        for at in 0..block.bytes.len() {
            for byte in 0..=255 {
                let mut bytes = block.bytes.to_vec();
                bytes[at] = byte;
                if let Ok(event) = Event::decode(&bytes)
                    && event.parents.is_sorted()
                {
                    assert_eq!(&event.encode().bytes[..], &bytes[..]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::config(200))]

    #[test]
    fn versions_are_superseded_by_what_descends_from_them(
        writes in writes(0, 1..24),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 2),
    ) {
        let (history, _) = replicas(&writes);
        let (blocks, dag) = (&history.blocks, &history.dag);
        let known: BTreeSet<usize> =
            picks.iter().map(|pick| pick.index(dag.0.len())).collect();
        let known: Vec<usize> = known.into_iter().collect();
        let past = dag.past(&known);
        let writes_key = |event: usize, key: &str| {
            let event = blocks.event(&dag.0[event].cid).unwrap();
            event.puts().any(|(written, _)| written == key)
        };
        let mut seen = BTreeSet::new();
        let mut current: BTreeSet<(String, Cid)> = BTreeSet::new();
        clock::writes(blocks, &history.cids(&known), |cid, versions| {
            let event = history.numbers(&[*cid])[0];
            assert!(seen.insert(event));
            let mut own = BTreeSet::new();
            for version in versions {
                let later = past.iter().any(|other| {
                    *other != event
                        && dag.past(&[*other]).contains(&event)
                        && writes_key(*other, version.key)
                });
                assert_eq!(version.superseded, later || !own.insert(version.key));
                if !version.superseded {
                    current.insert((version.key.to_owned(), version.value));
                }
            }
        })
        .unwrap();
        prop_assert_eq!(&seen, &past);

        // Whatever arrives, no merge asks for a superseded version again.
        let all: BTreeSet<usize> = (0..dag.0.len()).collect();
        for event in &all - &past {
            let event = blocks.event(&dag.0[event].cid).unwrap();
            current.extend(event.puts().map(|(key, value)| (key.to_owned(), value)));
        }
        let heads: Vec<usize> = dag.heads(&all).into_iter().collect();
        let mut resolver = Resolver::new(Limits::default());
        let tree = resolver.resolve(blocks, blocks, &history.cids(&heads)).unwrap();
        for entry in tree.entries(&blocks, Range::default()) {
            let entry = entry.unwrap();
            prop_assert!(current.contains(&entry), "{entry:?}");
        }
    }
}
