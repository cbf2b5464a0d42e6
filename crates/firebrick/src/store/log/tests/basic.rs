use super::super::super::disk_memory::Crash;
use super::*;
use proptest::prelude::*;

#[test]
fn what_is_committed_is_there_before_and_after_reopening() {
    let disk = MemoryDisk::new();
    let mut n = 0;
    for round in 0..6 {
        let store = open(&disk).unwrap();
        assert_eq!(check(&store), n);
        for i in 0..10 {
            n += 1;
            commit(&store, n).unwrap();
            if i % 4 == round {
                store.sync().unwrap();
                store.maintain().unwrap();
            }
            assert_eq!(check(&store), n);
        }
        if round % 2 == 0 {
            store.close().unwrap();
            assert!(matches!(commit(&store, n + 1), Err(StoreError::Closed)));
            assert!(matches!(store.sync(), Err(StoreError::Closed)));
            store.close().unwrap();
            assert_eq!(check(&store), n, "reading goes on");
        }
    }
    let stats = open(&disk).unwrap().stats();
    assert_eq!(stats.sequence, n);
    assert!(stats.log_segments > 3, "{stats:?}");
    assert!(stats.index_runs < 6, "{stats:?}");
    assert!(stats.damage.is_empty());
}

#[test]
fn maintenance_is_announced_and_bounds_what_an_open_reads() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    assert!(!store.maintenance_due());
    for n in 1..=200 {
        commit(&store, n).unwrap();
        let stats = store.stats();
        assert!(stats.delta_entries < 4 * 8 + 4, "{stats:?}");
    }
    store.maintain().unwrap();
    assert!(!store.maintenance_due());
    let stats = store.stats();
    assert_eq!((stats.delta_entries, stats.delta_bytes), (0, 0));
    let operations = disk.operations();
    store.maintain().unwrap();
    store.sync().unwrap();
    assert_eq!(disk.operations(), operations, "nothing to do, nothing done");
    for n in 201..=204 {
        commit(&store, n).unwrap();
    }
    assert!(store.maintenance_due());
    assert_eq!(check(&store), 204);
}

#[test]
fn opening_a_closed_store_changes_nothing() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    (1..20).for_each(|n| commit(&store, n).unwrap());
    store.close().unwrap();
    let operations = disk.operations();
    let store = open(&disk).unwrap();
    assert_eq!(check(&store), 19);
    drop(store);
    open_read_only(&disk).unwrap();
    assert_eq!(disk.operations(), operations);
}

#[test]
fn the_same_block_is_stored_once_and_keeps_its_generation() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let large = StoredBlock::from(Block::new(Codec::Raw, vec![5; 10_000]));
    let small = block(1, 0);
    let both = [small.clone(), large.clone()];
    let commit = Commit {
        blocks: &both,
        ..Commit::default()
    };
    store.commit(&commit).unwrap();
    let bytes = store.state().log_bytes;
    store.commit(&commit).unwrap();
    assert_eq!(store.state().log_bytes, bytes);
    store.maintain().unwrap();
    store.commit(&commit).unwrap();
    // Only large blocks are looked up in the index.
    assert!(store.state().log_bytes < bytes + 1000);

    // A generation that is learnt later replaces 0; 0 replaces nothing.
    for (generation, expected) in [(9, 9), (0, 9)] {
        let again = StoredBlock {
            generation,
            ..large.clone()
        };
        store
            .commit(&Commit {
                blocks: &[again],
                ..Commit::default()
            })
            .unwrap();
        let cid = &large.block.cid;
        assert_eq!(store.generation(cid).unwrap(), Some(expected));
        store.maintain().unwrap();
        assert_eq!(store.generation(cid).unwrap(), Some(expected));
        assert_eq!(store.block(cid).unwrap(), Some(large.block.bytes.clone()));
    }
    assert_eq!(store.generation(&small.block.cid).unwrap(), Some(1));
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.generation(&large.block.cid).unwrap(), Some(9));
}

#[test]
fn a_commit_that_is_too_large_is_refused_before_anything_happens() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let bytes = Bytes::from(vec![0; 1 << 20]);
    // The store does not check the CIDs of what it is given, so one buffer serves for all.
    let blocks: Vec<_> = (0..1025u32)
        .map(|n| Block {
            cid: Cid::of(Codec::Raw, &n.to_le_bytes()),
            bytes: bytes.clone(),
        })
        .map(StoredBlock::from)
        .collect();
    let error = store.commit(&Commit {
        blocks: &blocks,
        ..Commit::default()
    });
    assert!(
        matches!(error, Err(StoreError::TooLarge { .. })),
        "{error:?}"
    );
    commit(&store, 1).unwrap();
    assert_eq!(check(&store), 1);
}

#[test]
fn readers_see_what_was_committed_when_they_look() {
    let disk = MemoryDisk::new();
    assert!(matches!(
        open_read_only(&disk),
        Err(StoreError::NotFound { .. })
    ));
    let store = open(&disk).unwrap();
    let reader = open_read_only(&disk).unwrap();
    assert_eq!(check(&reader), 0);
    for n in 1..=60 {
        commit(&store, n).unwrap();
        assert_eq!(last(&reader), n - 1);
        assert!(reader.refresh().unwrap());
        assert!(!reader.refresh().unwrap());
        assert_eq!(check(&reader), n);
        if n % 7 == 0 {
            store.maintain().unwrap();
        }
    }
    assert!(matches!(commit(&reader, 61), Err(StoreError::ReadOnly)));
    assert!(matches!(open(&disk), Err(StoreError::Locked { .. })));
    reader.close().unwrap();
    store.close().unwrap();
    open(&disk).unwrap();
}

#[test]
fn commits_reads_and_maintenance_go_on_together() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=300 {
                commit(&store, n).unwrap();
                store.sync().unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                store.maintain().unwrap();
            }
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let n = last(&store);
            for i in 1..=n {
                for stored in Numbered::new(i).blocks {
                    let found = store.block(&stored.block.cid).unwrap();
                    assert_eq!(found, Some(stored.block.bytes));
                }
            }
        }
    });
    assert_eq!(check(&store), 300);
    drop(store);
    assert_eq!(check(&open(&disk).unwrap()), 300);
}

#[test]
fn copies_of_a_store_never_use_a_nonce_twice() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    commit(&store, 1).unwrap();
    store.close().unwrap();
    drop(store);
    let copies = [disk.crash(Crash::Process), disk.crash(Crash::Process)];
    let mut nonces = std::collections::BTreeSet::new();
    for copy in &copies {
        for round in 0..3 {
            let store = open(copy).unwrap();
            for n in 2..=4 {
                commit(&store, 3 * round + n).unwrap();
            }
            store.close().unwrap();
        }
        let log = copy.read("log/00000001.fbl");
        let frames: Vec<_> = (0..log.len() - 36)
            .filter(|at| log[*at..].starts_with(b"FBFR"))
            .collect();
        assert!(frames.len() >= 5);
        // The first frame is the same in both.
        nonces.extend(
            frames[1..]
                .iter()
                .map(|at| (*at, log[at + 24..at + 36].to_vec())),
        );
        nonces.extend([(0, copy.read("checkpoint")[24..36].to_vec())]);
    }
    let all = nonces.len();
    let mut nonces: Vec<_> = nonces.into_iter().map(|(_, nonce)| nonce).collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), all);
}

proptest! {
    #[test]
    fn any_bytes_in_any_file_are_refused_or_ignored(
        file in 0..4usize,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        magic in prop::sample::select(vec![&b""[..], b"FBCP", b"FBFR", b"FBRN", b"{"]),
        at in 0..300usize,
    ) {
        let disk = MemoryDisk::new();
        let store = open(&disk).unwrap();
        (1..=9).for_each(|n| commit(&store, n).unwrap());
        store.maintain().unwrap();
        (10..=12).for_each(|n| commit(&store, n).unwrap());
        drop(store);
        let names = disk.files();
        let name = &names[file % names.len()];
        let mut content = disk.read(name);
        content.truncate(at);
        content.extend_from_slice(magic);
        content.extend_from_slice(&bytes);
        disk.overwrite(name, &content);
        let store = open(&disk).unwrap();
        prop_assert!(last(&store) <= 12);
        commit(&store, 13).unwrap();
        store.verify().unwrap();
        store.close().unwrap();
        drop(store);
        prop_assert_eq!(last(&open(&disk).unwrap()), 13);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit {
        blocks: Vec<(u8, bool)>,
        head: Option<u8>,
        kv: Vec<(u8, Option<u8>)>,
    },
    Sync,
    Maintain,
    Reopen,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let commit = (
        prop::collection::vec((0..40u8, any::<bool>()), 0..6),
        prop::option::of(any::<u8>()),
        prop::collection::vec((0..6u8, prop::option::of(any::<u8>())), 0..3),
    )
        .prop_map(|(blocks, head, kv)| Step::Commit { blocks, head, kv });
    prop_oneof![
        8 => commit,
        1 => Just(Step::Sync),
        1 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
        1 => Just(Step::Close),
    ]
}

fn content(n: u8) -> Block {
    // Some blocks are large enough to be looked up before they are stored again.
    static ALL: LazyLock<Vec<Block>> = LazyLock::new(|| {
        (0..40)
            .map(|n| Block::new(Codec::Raw, vec![n; usize::from(n) * 120]))
            .collect()
    });
    ALL[usize::from(n)].clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn behaves_like_the_store_in_memory(steps in prop::collection::vec(step(), 1..60)) {
        let disk = MemoryDisk::new();
        let model = MemoryStore::new();
        let mut store = open(&disk).unwrap();
        for step in steps {
            match step {
                Step::Commit { blocks, head, kv } => {
                    let blocks: Vec<_> = blocks
                        .into_iter()
                        .map(|(n, known)| StoredBlock {
                            block: content(n),
                            generation: if known { u64::from(n) * 3 } else { 0 },
                        })
                        .collect();
                    let head = head.map(|n| [Cid::of(Codec::Raw, &[n])]);
                    let kv: Vec<_> = kv
                        .into_iter()
                        .map(|(k, v)| (format!("k{k}"), v.map(|v| Bytes::from(vec![v; 3]))))
                        .collect();
                    let commit = Commit {
                        blocks: &blocks,
                        head: head.as_ref().map(|head| &head[..]),
                        kv: &kv,
                    };
                    store.commit(&commit).unwrap();
                    model.commit(&commit).unwrap();
                }
                Step::Sync => store.sync().unwrap(),
                Step::Maintain => store.maintain().unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = open(&disk).unwrap();
                }
                Step::Close => {
                    store.close().unwrap();
                    store = open(&disk).unwrap();
                }
            }
            prop_assert_eq!(store.head(), model.head());
            prop_assert_eq!(store.kv_prefix("k"), model.kv_prefix("k"));
            let cids: Vec<_> = (0..40).map(|n| content(n).cid).collect();
            for cid in &cids {
                prop_assert_eq!(store.block(cid).unwrap(), model.block(cid).unwrap());
                prop_assert_eq!(store.generation(cid).unwrap(), model.generation(cid).unwrap());
            }
            prop_assert_eq!(store.blocks(&cids).unwrap(), model.blocks(&cids).unwrap());
        }
    }
}
