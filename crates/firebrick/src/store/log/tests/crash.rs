//! Crashes and failures at every single operation of the disk.

use super::super::super::disk_memory::{Crash, Fault, Random};
use super::*;

/// What a run of commits knows when it ends.
#[derive(Clone, Copy, Default, Debug)]
struct Run {
    attempted: u64,
    acknowledged: u64,
    synced: u64,
}

/// Commits with syncs and maintenance in between, until the end or the first failure.
fn run(disk: &MemoryDisk, from: u64, commits: u64) -> (Run, Result<(), StoreError>) {
    let mut run = Run {
        attempted: from,
        acknowledged: from,
        synced: from,
    };
    let result = (|| {
        let store = open(disk)?;
        for n in from + 1..=from + commits {
            run.attempted = n;
            commit(&store, n)?;
            run.acknowledged = n;
            if n.is_multiple_of(3) {
                store.sync()?;
                run.synced = n;
            }
            if n.is_multiple_of(7) {
                store.maintain()?;
                run.synced = n;
            }
        }
        store.close()?;
        run.synced = run.acknowledged;
        Ok(())
    })();
    (run, result)
}

const CRASHES: [Crash; 8] = [
    Crash::Process,
    Crash::PowerAll,
    Crash::Power(1),
    Crash::Power(2),
    Crash::Power(3),
    Crash::Power(4),
    Crash::Power(5),
    Crash::Power(6),
];

/// Opens what a crash left, and checks that it is one of the states that it may be.
fn check_after(disk: &MemoryDisk, crash: Crash, run: Run, what: &str) -> MemoryDisk {
    let disk = disk.crash(crash);
    let store = open(&disk).unwrap_or_else(|e| panic!("{what}, {crash:?}: {e}"));
    let n = check(&store);
    let least = match crash {
        Crash::Process => run.acknowledged,
        _ => run.synced,
    };
    assert!(
        (least..=run.attempted).contains(&n),
        "{what}, {crash:?}: {run:?} left {n}"
    );
    let damage = store.stats().damage;
    assert!(damage.is_empty(), "{what}, {crash:?}: {damage:?}");
    // It works on, and what it does lasts.
    commit(&store, n + 1).unwrap();
    store.sync().unwrap();
    drop(store);
    let disk = disk.crash(Crash::PowerAll);
    let store = open(&disk).unwrap();
    assert_eq!(check(&store), n + 1, "{what}, {crash:?}");
    drop(store);
    disk
}

#[test]
fn a_crash_at_any_operation_leaves_a_prefix() {
    for at in 0.. {
        let disk = MemoryDisk::new();
        disk.plan(at, Fault::Stop);
        let (ran, result) = run(&disk, 0, 24);
        for crash in CRASHES {
            check_after(&disk, crash, ran, &format!("stopped at {at}"));
        }
        if result.is_ok() {
            assert!(at > 80, "the run has {at} operations only");
            break;
        }
    }
}

#[test]
fn a_second_crash_while_recovering_from_the_first_changes_nothing() {
    for at in (3..110).step_by(7) {
        let first = MemoryDisk::new();
        first.plan(at, Fault::Stop);
        let (ran, _) = run(&first, 0, 24);
        for crash in CRASHES.into_iter().take(4) {
            for second in 0.. {
                let disk = first.crash(crash);
                disk.plan(second, Fault::Stop);
                let recovered = open(&disk).is_ok();
                let what = format!("stopped at {at}, {crash:?}, then at {second}");
                let ran = match crash {
                    Crash::Process => Run {
                        synced: ran.synced,
                        ..ran
                    },
                    // What was lost is lost; what was kept may be lost only if it was not synced.
                    _ => Run {
                        acknowledged: ran.synced,
                        ..ran
                    },
                };
                for crash in [Crash::Process, Crash::PowerAll, Crash::Power(9)] {
                    check_after(&disk, crash, ran, &what);
                }
                if recovered {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_recovery_has_shown_survives_a_loss_of_power() {
    for at in 0..110 {
        let disk = MemoryDisk::new();
        disk.plan(at, Fault::Stop);
        let _ = run(&disk, 0, 24);
        for crash in CRASHES {
            let disk = disk.crash(crash);
            let store = open(&disk).unwrap();
            let shown = check(&store);
            drop(store);
            let store = open(&disk.crash(Crash::PowerAll)).unwrap();
            assert_eq!(check(&store), shown, "stopped at {at}, {crash:?}");
        }
    }
}

#[test]
fn a_failure_at_any_operation_keeps_what_was_acknowledged() {
    for fault in [Fault::Fail, Fault::FailAfter] {
        for at in 0.. {
            let disk = MemoryDisk::new();
            disk.plan(at, fault);
            let what = format!("{fault:?} at {at}");
            let store = match open(&disk) {
                Ok(store) => store,
                Err(StoreError::Io { .. }) => continue,
                Err(error) => panic!("{what}: {error}"),
            };
            let mut ran = Run::default();
            let mut failed = false;
            for n in 1..=24 {
                ran.attempted = n;
                let mut result = commit(&store, n);
                if result.is_ok() {
                    ran.acknowledged = n;
                    if n.is_multiple_of(3) {
                        result = store.sync();
                    }
                    if result.is_ok() && n.is_multiple_of(7) {
                        // May fail without poisoning: the log is not concerned then.
                        failed |= store.maintain().is_err();
                    }
                }
                if let Err(error) = result {
                    failed = true;
                    let poisoned = store.stats().poisoned;
                    assert!(poisoned.is_some(), "{what}: {error}");
                    break;
                }
                if n.is_multiple_of(3) {
                    ran.synced = n;
                }
            }
            if store.stats().poisoned.is_some() {
                for result in [commit(&store, 99), store.sync(), store.maintain()] {
                    assert!(matches!(result, Err(StoreError::Poisoned { .. })), "{what}");
                }
                assert_eq!(check(&store), ran.acknowledged, "{what}: reading goes on");
            }
            drop(store);
            for crash in CRASHES {
                check_after(&disk, crash, ran, &what);
            }
            if !failed && disk.operations() <= at {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_changes_nothing_and_writing_goes_on_when_there_is_space() {
    for at in 0.. {
        let disk = MemoryDisk::new();
        let store = open(&disk).unwrap();
        disk.plan(at, Fault::Full);
        let mut done = 0;
        let mut full = false;
        for n in 1..=24 {
            let result = commit(&store, n).and_then(|()| {
                done = n;
                store.sync()?;
                if n.is_multiple_of(7) {
                    store.maintain()?;
                }
                Ok(())
            });
            match result {
                Ok(()) => {}
                Err(StoreError::Full { .. }) => {
                    full = true;
                    break;
                }
                Err(error) => panic!("full at {at}: {error}"),
            }
        }
        assert_eq!(check(&store), done);
        let ran = Run {
            attempted: done,
            acknowledged: done,
            synced: done,
        };
        for crash in CRASHES {
            // The disk of the copy has space.
            check_after(&disk, crash, ran, &format!("full at {at}"));
        }
        disk.heal();
        for n in done + 1..=30 {
            commit(&store, n).unwrap();
        }
        store.maintain().unwrap();
        assert_eq!(check(&store), 30, "full at {at}");
        store.close().unwrap();
        drop(store);
        assert_eq!(check(&open(&disk).unwrap()), 30, "full at {at}");
        if !full && disk.operations() < at {
            break;
        }
    }
}

#[test]
fn a_failed_sync_is_never_taken_for_a_good_one() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    for n in 1..=4 {
        commit(&store, n).unwrap();
    }
    disk.plan(0, Fault::Fail);
    assert!(matches!(store.sync(), Err(StoreError::Io { .. })));
    assert!(matches!(store.sync(), Err(StoreError::Poisoned { .. })));
    drop(store);
    // The system believes the pages to be clean now. Reopening shows them, so it has to write them
    // again before anyone can rely on them.
    let store = open(&disk).unwrap();
    assert_eq!(check(&store), 4);
    store.sync().unwrap();
    assert_eq!(check(&open(&disk.crash(Crash::PowerAll)).unwrap()), 4);
}

#[test]
fn the_log_cut_at_any_byte_loses_only_what_was_cut() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    commit(&store, 1).unwrap();
    store.maintain().unwrap();
    let name = "log/00000001.fbl";
    let mut ends = vec![store.state().log_bytes + 128];
    for n in 2..=3 {
        commit(&store, n).unwrap();
        ends.push(store.state().log_bytes + 128);
    }
    drop(store);
    let whole = disk.read(name);
    for cut in ends[0]..=whole.len() as u64 {
        let disk = disk.crash(Crash::Process);
        disk.overwrite(name, &whole[..cut as usize]);
        let reader = open_read_only(&disk).unwrap();
        let expected = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(check(&reader), expected, "cut at {cut}");
        let store = open(&disk).unwrap();
        assert_eq!(check(&store), expected, "cut at {cut}");
        assert!(store.stats().damage.is_empty());
        commit(&store, expected + 1).unwrap();
        drop(store);
        assert_eq!(check(&open(&disk).unwrap()), expected + 1, "cut at {cut}");
    }
}

#[test]
fn an_upgrade_is_repeatable_at_any_operation() {
    let old = MemoryDisk::new();
    let store = open(&old).unwrap();
    (1..=20).for_each(|n| commit(&store, n).unwrap());
    store.close().unwrap();
    drop(store);
    let json = String::from_utf8(old.read("firebrick.json")).unwrap();
    let older = json.replace("\"version\": 1", "\"version\": 0");
    assert_ne!(older, json);
    old.overwrite("firebrick.json", older.as_bytes());
    old.overwrite("checkpoint", b"of another form");
    old.overwrite("index/blocks.db", b"of another form");
    assert!(matches!(
        open_read_only(&old),
        Err(StoreError::NeedsUpgrade { found: 0, .. })
    ));
    for at in 0.. {
        let disk = old.crash(Crash::Process);
        disk.plan(at, Fault::Stop);
        let _ = open(&disk);
        for crash in CRASHES {
            let disk = disk.crash(crash);
            assert_eq!(
                check(&open(&disk).unwrap()),
                20,
                "stopped at {at}, {crash:?}"
            );
            assert!(!disk.files().iter().any(|name| name == "index/blocks.db"));
            assert!(disk.read("firebrick.json") == json.as_bytes());
        }
        if disk.operations() <= at {
            break;
        }
    }
}

#[test]
fn destroying_is_finished_after_a_crash() {
    for at in 0.. {
        let disk = MemoryDisk::new();
        let store = open(&disk).unwrap();
        (1..=20).for_each(|n| commit(&store, n).unwrap());
        store.close().unwrap();
        drop(store);
        disk.plan(at, Fault::Stop);
        let destroyed = LogStore::destroy_on(&disk);
        for crash in CRASHES {
            let left = disk.crash(crash);
            let store = open(&left).unwrap();
            // Either nothing happened yet, or nothing is left.
            let n = check(&store);
            assert!([0, 20].contains(&n), "stopped at {at}, {crash:?}: {n}");
            assert!(n == 0 || destroyed.is_err());
            commit(&store, n + 1).unwrap();
            assert_eq!(check(&store), n + 1);
        }
        if destroyed.is_ok() {
            assert_eq!(disk.files(), Vec::<String>::new());
            break;
        }
    }
}

#[test]
fn many_random_crashes_in_a_row() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut disk = MemoryDisk::new();
        let mut n = 0;
        for _ in 0..8 {
            disk.plan(random.below(60), Fault::Stop);
            let (ran, _) = run(&disk, n, 12);
            let crash = match random.below(3) {
                0 => Crash::Process,
                1 => Crash::PowerAll,
                _ => Crash::Power(random.next()),
            };
            disk = check_after(&disk, crash, ran, &format!("seed {seed}"));
            let store = open(&disk).unwrap();
            n = last(&store);
        }
    }
}
