//! Compaction and verification.

use super::super::super::disk_memory::{Crash, Fault};
use super::*;

/// Whether a block of the numbered commits is to be kept: those of two commits in three.
fn is_kept(n: u64) -> bool {
    !n.is_multiple_of(3)
}

fn keep(up_to: u64) -> impl FnMut(&Cid) -> bool {
    let kept: Vec<Cid> = (1..=up_to)
        .filter(|n| is_kept(*n))
        .flat_map(|n| Numbered::new(n).blocks)
        .map(|stored| stored.block.cid)
        .collect();
    move |cid| kept.contains(cid)
}

/// Checks the blocks of commits `1..=up_to`; `dropped` tells whether those not kept must be gone.
fn check_kept(store: &LogStore, up_to: u64, dropped: bool, what: &str) {
    for n in 1..=up_to {
        for stored in Numbered::new(n).blocks {
            let found = store.block(&stored.block.cid).unwrap();
            if is_kept(n) {
                assert_eq!(found, Some(stored.block.bytes), "{what}: {n}");
                let generation = store.generation(&stored.block.cid).unwrap();
                assert_eq!(generation, Some(stored.generation), "{what}: {n}");
            } else {
                assert!(!dropped || found.is_none(), "{what}: {n}");
            }
        }
    }
    let model = MemoryStore::new();
    (1..=up_to).for_each(|n| commit(&model, n).unwrap());
    assert_eq!(store.kv_prefix(""), model.kv_prefix(""), "{what}");
    assert_eq!(store.head(), model.head(), "{what}");
    let damage = store.stats().damage;
    assert!(damage.is_empty(), "{what}: {damage:?}");
}

fn filled() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    for n in 1..=40 {
        commit(&store, n).unwrap();
        if n % 9 == 0 {
            store.maintain().unwrap();
        }
    }
    disk
}

#[test]
fn a_compaction_keeps_what_it_is_told_to_and_gives_back_the_rest() {
    let disk = filled();
    let store = open(&disk).unwrap();
    let reader = open_read_only(&disk).unwrap();
    let before = store.stats();
    let done = store.compact(&mut keep(40)).unwrap();
    let after = store.stats();
    assert!(done.kept_blocks > 0 && done.dropped_blocks > 0);
    assert_eq!(done.bytes_before, before.log_bytes);
    assert_eq!(done.bytes_after, after.log_bytes);
    assert!(done.bytes_after < done.bytes_before * 4 / 5, "{done:?}");
    assert_eq!(after.blocks, done.kept_blocks);
    check_kept(&store, 40, true, "at once");
    assert!(store.verify().unwrap().is_good());
    check_kept(
        &reader,
        40,
        false,
        "a reader from before finds what was moved",
    );
    store.close().unwrap();
    drop(store);
    for lost in [false, true] {
        if lost {
            disk.lose("checkpoint");
        }
        let store = open(&disk).unwrap();
        check_kept(&store, 40, true, "reopened");
        let again = store.compact(&mut keep(40)).unwrap();
        assert_eq!(again.kept_blocks, done.kept_blocks);
        assert_eq!(again.dropped_blocks, 0);
        check_kept(&store, 40, true, "again");
        store.close().unwrap();
    }
}

#[test]
fn a_crash_at_any_operation_of_a_compaction_loses_nothing_that_is_kept() {
    for at in 0.. {
        let disk = filled();
        let store = open(&disk).unwrap();
        disk.plan(at, Fault::Stop);
        let result = store.compact(&mut keep(40));
        drop(store);
        for crash in [
            Crash::Process,
            Crash::PowerAll,
            Crash::Power(at),
            Crash::Power(at + 99),
        ] {
            let what = format!("stopped at {at}, {crash:?}");
            let disk = disk.crash(crash);
            for lost in [false, true] {
                if lost && disk.files().iter().any(|name| name == "checkpoint") {
                    disk.lose("checkpoint");
                }
                let store = open(&disk).unwrap();
                // Not all of the 40 commits were synced when it began.
                let n = last(&store);
                assert!((36..=40).contains(&n), "{what}: {n}");
                check_kept(&store, n, false, &what);
                if lost {
                    store.compact(&mut keep(40)).unwrap();
                    check_kept(&store, n, true, &what);
                }
            }
        }
        if result.is_ok() && disk.operations() <= at {
            break;
        }
    }
}

#[test]
fn a_failure_at_any_operation_of_a_compaction_loses_nothing() {
    for fault in [Fault::Full, Fault::Fail] {
        for at in 0.. {
            let disk = filled();
            let store = open(&disk).unwrap();
            let before = disk.operations();
            disk.plan(at, fault);
            let result = store.compact(&mut keep(40));
            let operations = disk.operations() - before;
            let what = format!("{fault:?} at {at}: {result:?}");
            check_kept(&store, 40, false, &what);
            if fault == Fault::Full {
                assert!(
                    matches!(result, Ok(_) | Err(StoreError::Full { .. })),
                    "{what}"
                );
                disk.heal();
                commit(&store, 41).unwrap();
                store.compact(&mut keep(41)).unwrap();
                check_kept(&store, 41, true, &what);
            }
            if result.is_ok() && operations <= at {
                break;
            }
        }
    }
}

#[test]
fn what_is_committed_during_a_compaction_stays() {
    let disk = filled();
    let store = open(&disk).unwrap();
    let large = StoredBlock::from(Block::new(Codec::Raw, vec![5; 10_000]));
    let commit_large = || {
        let commit = Commit {
            blocks: std::slice::from_ref(&large),
            ..Commit::default()
        };
        store.commit(&commit).unwrap();
    };
    commit_large();
    let mut n = 40;
    let mut calls = 0;
    let mut keep = keep(40);
    store
        .compact(&mut |cid| {
            // Everything that is about to be dropped comes back by commits, which must not believe
            // that it is there already.
            calls += 1;
            if calls == 5 {
                commit_large();
                commit(&store, 3).unwrap();
            }
            if calls == 20 {
                n += 1;
                commit(&store, n).unwrap();
                store.maintain().unwrap();
            }
            keep(cid)
        })
        .unwrap();
    let check_all = |store: &LogStore| {
        let mut cids: Vec<_> = Numbered::new(3).blocks;
        cids.extend(Numbered::new(41).blocks);
        cids.push(large.clone());
        for stored in cids {
            let found = store.block(&stored.block.cid).unwrap();
            assert_eq!(found, Some(stored.block.bytes));
        }
        assert_eq!(last(store), 41);
    };
    check_all(&store);
    drop(store);
    check_all(&open(&disk).unwrap());
    disk.lose("checkpoint");
    check_all(&open(&disk).unwrap());
}

#[test]
fn verification_names_what_is_damaged() {
    let disk = filled();
    let store = open(&disk).unwrap();
    let good = store.verify().unwrap();
    assert!(good.is_good());
    assert_eq!(good.commits, 40);
    assert_eq!(good.blocks, store.stats().blocks);
    drop(store);
    let segment = "log/00000002.fbl";
    let mut bytes = disk.read(segment);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.overwrite(segment, &bytes);
    let store = open(&disk).unwrap();
    let bad = store.verify().unwrap();
    assert_eq!((bad.commits, bad.damaged.len()), (40, 1), "{bad:?}");
    // A compaction leaves behind the block that is lost already, and nothing else.
    store.compact(&mut |_| true).unwrap();
    let after = store.verify().unwrap();
    assert!(after.is_good(), "{after:?}");
    assert_eq!(store.stats().blocks, good.blocks - 1);
    drop(store);

    let disk = filled();
    disk.lose(segment);
    let store = open(&disk).unwrap();
    let bad = store.verify().unwrap();
    assert!(bad.damage[0].contains("missing"), "{bad:?}");
    let refused = store.compact(&mut |_| true);
    assert!(
        matches!(refused, Err(StoreError::Damaged { .. })),
        "{refused:?}"
    );
    assert_eq!(last(&store), 40);
}
