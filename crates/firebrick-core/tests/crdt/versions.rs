//! Versions and conflicts against the model: pasts by recursion, everything pairwise.

use std::collections::{BTreeMap, BTreeSet};

use firebrick_core::cid::Cid;
use firebrick_core::clock::{self, PastVersion};
use proptest::prelude::*;

use crate::history::{History, any_parents, replicas, writes};
use crate::model::Data;

const KEYS: [&str; 7] = ["k", "l", "kk", "kl", "m", "kkk", "absent"];

/// What an event sets a key to; the inner none is a deletion.
fn set(data: &Data, key: &str) -> Option<Option<Cid>> {
    match data {
        Data::Put(k, value) => (k == key).then_some(Some(*value)),
        Data::Del(k) => (k == key).then_some(None),
        Data::Batch(ops) => {
            let (_, value) = ops.iter().rev().find(|(k, _)| k == key)?;
            Some(Some(*value))
        }
    }
}

/// All versions of a key with their parents and whether they are current.
fn versions(history: &History, heads: &[usize], key: &str) -> BTreeMap<Cid, PastVersion> {
    let dag = &history.dag;
    let past = dag.past(heads);
    let sets: Vec<usize> = past
        .iter()
        .copied()
        .filter(|event| set(&dag.0[*event].data, key).is_some())
        .collect();
    let above = |a: usize, b: usize| a != b && dag.past(&[a]).contains(&b);
    let version = |event: usize| {
        let before: BTreeSet<usize> = sets
            .iter()
            .copied()
            .filter(|other| above(event, *other))
            .collect();
        let cid = dag.0[event].cid;
        let version = PastVersion {
            event: cid,
            value: set(&dag.0[event].data, key).unwrap(),
            parents: history.cids(&dag.heads(&before).into_iter().collect::<Vec<_>>()),
            current: !sets.iter().any(|other| above(*other, event)),
        };
        (cid, version)
    };
    sets.iter().map(|event| version(*event)).collect()
}

fn sorted(mut cids: Vec<Cid>) -> Vec<Cid> {
    cids.sort_unstable();
    cids
}

fn check(history: &History, heads: &[usize], merges: bool) -> Result<(), TestCaseError> {
    let (blocks, head) = (&history.blocks, history.cids(heads));
    let mut in_conflict = Vec::new();
    for key in KEYS {
        let wanted = versions(history, heads, key);
        let found: Vec<PastVersion> = clock::versions(blocks, &head, key)
            .collect::<Result<_, _>>()
            .unwrap();
        prop_assert_eq!(found.len(), wanted.len());
        let mut seen = BTreeSet::new();
        for version in &found {
            let PastVersion {
                event,
                value,
                parents,
                current,
            } = version.clone();
            let model = &wanted[&event];
            prop_assert_eq!(
                sorted(parents),
                sorted(model.parents.clone()),
                "of {}",
                event
            );
            prop_assert_eq!((value, current), (model.value, model.current));
            // Newest first: nothing that was yielded lies in the past of what follows.
            let number = history.numbers(&[event])[0];
            let past = history.dag.past(&[number]);
            prop_assert!(past.is_disjoint(&seen));
            seen.insert(number);
        }

        let current = clock::current_versions(blocks, &head, key).unwrap();
        let events = sorted(current.iter().map(|version| version.event).collect());
        let wanted: Vec<&PastVersion> = wanted.values().filter(|version| version.current).collect();
        prop_assert_eq!(
            &events,
            &sorted(wanted.iter().map(|version| version.event).collect())
        );
        let values: BTreeSet<Option<Cid>> = current.iter().map(|version| version.value).collect();
        prop_assert_eq!(clock::differ(&current), values.len() > 1);
        if values.len() > 1 {
            in_conflict.push(key.to_owned());
        }
        if !merges {
            continue;
        }
        // The pail holds one of the current versions: the one that the decision names.
        let tree = history.dag.resolve(heads).unwrap().map();
        let link = tree.get(key).copied();
        prop_assert!(current.is_empty() || values.contains(&link));
        match clock::decision(blocks, &head, &events).unwrap() {
            Some(decision) => {
                let (winner, _) = decision.order.last().unwrap();
                let winner = current
                    .iter()
                    .find(|version| version.event == *winner)
                    .unwrap();
                prop_assert_eq!(winner.value, link);
            }
            None => prop_assert!(current.len() < 2),
        }
    }
    in_conflict.sort_unstable();
    let contested = clock::contested(blocks, &head, usize::MAX).unwrap();
    prop_assert!(contested.complete);
    prop_assert_eq!(&contested.keys, &in_conflict);
    for most in 0..history.dag.past(heads).len() {
        let some = clock::contested(blocks, &head, most).unwrap();
        prop_assert!(!some.complete);
        prop_assert!(some.keys.iter().all(|key| in_conflict.contains(key)));
    }
    let past: Vec<Cid> = clock::past(blocks, &head)
        .map(|event| event.map(|event| event.0))
        .collect::<Result<_, _>>()
        .unwrap();
    let numbers = history.numbers(&past);
    prop_assert_eq!(
        numbers.iter().copied().collect::<BTreeSet<_>>(),
        history.dag.past(heads)
    );
    prop_assert_eq!(numbers.len(), history.dag.past(heads).len());
    for (at, event) in numbers.iter().enumerate() {
        let parents = &history.dag.0[*event].parents;
        prop_assert!(parents.iter().all(|parent| !numbers[..at].contains(parent)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::config(150))]

    #[test]
    fn versions_of_replicas_are_those_of_the_model(writes in writes(0, 1..20)) {
        let (history, heads) = replicas(&writes);
        let all: BTreeSet<usize> = heads.iter().flatten().copied().collect();
        let all: Vec<usize> = history.dag.heads(&all).into_iter().collect();
        for heads in heads.iter().chain([&all]) {
            check(&history, heads, true)?;
        }
    }

    #[test]
    fn versions_of_any_history_are_those_of_the_model(
        writes in writes(1, 1..14),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 3),
    ) {
        let history = any_parents(&writes, true);
        let picks = picks.iter().map(|pick| pick.index(history.dag.0.len())).collect();
        let heads: Vec<usize> = history.dag.heads(&picks).into_iter().collect();
        check(&history, &heads, false)?;
    }
}

/// A long line of writes of one key, and one that was set at its beginning.
#[test]
fn a_line_is_walked_no_further_than_asked() {
    let mut history = History::default();
    let value = |n: u32| Cid::of(firebrick_core::cid::Codec::Raw, &n.to_le_bytes());
    let mut head = history
        .write(&[], Data::Put("old".into(), value(0)))
        .unwrap();
    for n in 0..200 {
        head = history
            .write(&[head], Data::Put("k".into(), value(n)))
            .unwrap();
    }
    let head = history.cids(&[head]);
    let mut versions = clock::versions(&history.blocks, &head, "k");
    for n in (190..200).rev() {
        let version = versions.next().unwrap().unwrap();
        assert_eq!(version.value, Some(value(n)));
        assert_eq!(version.parents.len(), 1);
    }
    assert_eq!(versions.walked(), 11);
    assert_eq!(clock::versions(&history.blocks, &head, "old").count(), 1);
}
