//! Bytes that change on the disk.

use super::super::super::disk_memory::Crash;
use super::*;

const SEGMENT: &str = "log/00000001.fbl";

/// A store of 10 commits in one segment, all synced, with nothing in the index.
fn ten() -> (MemoryDisk, Vec<u64>) {
    let disk = MemoryDisk::new();
    let store = open_wide(&disk).unwrap();
    let mut ends = vec![128];
    for n in 1..=10 {
        commit(&store, n).unwrap();
        store.sync().unwrap();
        ends.push(128 + store.state().log_bytes);
        assert_eq!(store.stats().log_segments, 1);
    }
    (disk, ends)
}

/// Like [`options`], with the whole log in memory.
fn open_wide(disk: &MemoryDisk) -> Result<LogStore, StoreError> {
    let options = LogOptions {
        checkpoint_entries: 1000,
        segment_bytes: 1 << 20,
        ..options()
    };
    LogStore::open_on(Arc::new(disk.clone()), &options)
}

#[test]
fn a_flipped_bit_loses_the_block_or_the_commit_it_is_in_and_is_reported() {
    let disk = MemoryDisk::new();
    let store = open_wide(&disk).unwrap();
    let mut ends = vec![128];
    for n in 1..=6 {
        commit(&store, n).unwrap();
        store.sync().unwrap();
        ends.push(128 + store.state().log_bytes);
    }
    drop(store);
    let whole = disk.read(SEGMENT);
    let (mut whole_lost, mut partly_lost) = (0, 0);
    for at in 128..ends[6] {
        let disk = disk.crash(Crash::Process);
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 1 << (at % 8);
        disk.overwrite(SEGMENT, &bytes);
        let hit = ends.iter().filter(|end| **end <= at).count() as u64 - 1;
        let store = open_wide(&disk).unwrap();
        let stats = store.stats();
        if hit == 5 {
            // The last commit cannot be told from a torn one.
            assert_eq!(check(&store), 5);
            continue;
        }
        assert_eq!(last(&store), 6, "flipped {at}");
        assert_eq!(stats.damage.len(), 1, "flipped {at}: {:?}", stats.damage);
        for n in (1..=6).filter(|n| *n != hit + 1) {
            for stored in Numbered::new(n).blocks {
                let found = store.block(&stored.block.cid).unwrap();
                assert_eq!(found, Some(stored.block.bytes));
            }
        }
        let found: Vec<_> = Numbered::new(hit + 1)
            .blocks
            .iter()
            .map(|stored| store.block(&stored.block.cid))
            .collect();
        if stats.damage[0].contains("lost commits: 1") {
            assert!(found.iter().all(|found| matches!(found, Ok(None))));
            whole_lost += 1;
        } else {
            // The checksum itself may be what was hit.
            let bad = found.iter().filter(|found| found.is_err()).count();
            let good = found
                .iter()
                .filter(|found| matches!(found, Ok(Some(_))))
                .count();
            assert_eq!(bad + good, found.len());
            assert!(bad == 1 || bad == 0 && (at - ends[hit as usize]) < 8);
            assert!(!store.verify().unwrap().is_good());
            assert!(stats.damage[0].contains("lost commits: 0"));
            partly_lost += 1;
        }
        // The report lasts, and the store works on.
        commit(&store, 7).unwrap();
        store.close().unwrap();
        drop(store);
        let store = open_wide(&disk).unwrap();
        assert_eq!(last(&store), 7);
        assert_eq!(store.stats().damage, stats.damage);
    }
    assert!(whole_lost > 0 && partly_lost > 2 * whole_lost);
}

#[test]
fn a_zeroed_page_is_not_taken_for_the_end_of_the_log() {
    let (disk, ends) = ten();
    let whole = disk.read(SEGMENT);
    for start in [128, 512, 1024, ends[6]] {
        let disk = disk.crash(Crash::Process);
        let mut bytes = whole.clone();
        let start = start as usize;
        bytes[start..start + 512].fill(0);
        disk.overwrite(SEGMENT, &bytes);
        let store = open_wide(&disk).unwrap();
        assert_eq!(last(&store), 10, "{start}");
        assert!(!store.stats().damage.is_empty());
    }
}

#[test]
fn an_unsynced_hole_is_the_end_of_the_log() {
    let disk = MemoryDisk::new();
    let store = open_wide(&disk).unwrap();
    let mut ends = vec![];
    for n in 1..=8 {
        commit(&store, n).unwrap();
        if n == 4 {
            store.sync().unwrap();
        }
        ends.push(128 + store.state().log_bytes);
    }
    drop(store);
    let whole = disk.read(SEGMENT);
    for (hit, expected) in [(1, 8), (2, 8), (3, 8), (4, 4), (5, 5), (6, 6), (7, 7)] {
        // Damages commit hit + 1. Frames 5 and later know that the first four were synced.
        let disk = disk.crash(Crash::Process);
        let mut bytes = whole.clone();
        bytes[ends[hit - 1] as usize + 60] ^= 1;
        disk.overwrite(SEGMENT, &bytes);
        let store = open_wide(&disk).unwrap();
        assert_eq!(last(&store), expected, "commit {} damaged", hit + 1);
        assert_eq!(store.stats().damage.len(), usize::from(expected == 8));
        commit(&store, expected + 1).unwrap();
        drop(store);
        let store = open_wide(&disk).unwrap();
        assert_eq!(
            last(&store),
            expected + 1,
            "nothing of the old end comes back"
        );
    }
}

#[test]
fn a_damaged_block_is_reported_denied_and_healed() {
    for sealed in [true, false] {
        let disk = MemoryDisk::new();
        let options = if sealed {
            options()
        } else {
            LogOptions::insecure()
        };
        let open = || LogStore::open_on(Arc::new(disk.clone()), &options).unwrap();
        let store = open();
        (1..=12).for_each(|n| commit(&store, n).unwrap());
        store.close().unwrap();
        drop(store);
        let victim = block(2, 0);
        let cid = victim.block.cid;
        // Somewhere in the second frame.
        let mut bytes = disk.read(SEGMENT);
        let store = open();
        let mut place = None;
        store
            .find(store.vault.name(&cid), &mut |p| {
                place = Some(p);
                true
            })
            .unwrap();
        drop(store);
        bytes[place.unwrap().offset as usize + 20] ^= 4;
        disk.overwrite(SEGMENT, &bytes);

        let store = open();
        let error = store.block(&cid).unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { cid: c, .. } if c == cid),
            "{error}"
        );
        assert!(store.blocks(&[cid]).is_err());
        assert!(!store.contains(&cid).unwrap());
        assert_eq!(store.stats().damage.len(), 1);
        assert!(store.block(&block(3, 0).block.cid).unwrap().is_some());
        store
            .commit(&Commit {
                blocks: &[victim],
                ..Commit::default()
            })
            .unwrap();
        assert!(store.contains(&cid).unwrap());
        assert_eq!(check(&store), 12);
        store.close().unwrap();
        drop(store);
        assert_eq!(check(&open()), 12);
    }
}

/// A store with several segments and runs, and frames after the checkpoint.
fn large() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    for n in 1..=60 {
        commit(&store, n).unwrap();
        if n % 10 == 0 && n < 60 {
            store.maintain().unwrap();
        }
    }
    disk
}

#[test]
fn the_index_and_the_checkpoint_are_made_again_when_they_are_damaged_or_lost() {
    let whole = large();
    let derived = |name: &String| name == "checkpoint" || name.starts_with("index/");
    let names: Vec<String> = whole.files().into_iter().filter(derived).collect();
    assert!(names.len() >= 2);
    for name in &names {
        let content = whole.read(name);
        let mut damages: Vec<Option<Vec<u8>>> = vec![None, Some(vec![]), Some(vec![1; 77])];
        damages.push(Some(content[..content.len() - 1].to_vec()));
        for at in (0..content.len()).step_by(97) {
            let mut flipped = content.clone();
            flipped[at] ^= 0x10;
            damages.push(Some(flipped));
        }
        for damage in damages {
            let disk = whole.crash(Crash::Process);
            match &damage {
                None => disk.lose(name),
                Some(bytes) => disk.overwrite(name, bytes),
            }
            assert_eq!(check(&open_read_only(&disk).unwrap()), 60, "{name}");
            let store = open(&disk).unwrap();
            assert_eq!(check(&store), 60, "{name}");
            store.maintain().unwrap();
            commit(&store, 61).unwrap();
            store.close().unwrap();
            drop(store);
            let operations = disk.operations();
            let store = open(&disk).unwrap();
            assert_eq!(check(&store), 61, "{name}");
            assert_eq!(disk.operations(), operations, "the store is whole again");
        }
    }
}

#[test]
fn a_lost_description_is_restored_from_the_log() {
    let disk = large();
    let json = disk.read("firebrick.json");
    let salt = String::from_utf8(json.clone()).unwrap();
    let salt = salt.find("salt").unwrap() + 10;
    let mut rotten = json.clone();
    rotten[salt] = if rotten[salt] == b'0' { b'1' } else { b'0' };
    for damaged in [None, Some(&b"{}"[..]), Some(&json[..30]), Some(&rotten[..])] {
        match damaged {
            None => disk.lose("firebrick.json"),
            Some(bytes) => disk.overwrite("firebrick.json", bytes),
        }
        assert_eq!(check(&open_read_only(&disk).unwrap()), 60);
        assert_eq!(check(&open(&disk).unwrap()), 60);
        assert_eq!(disk.read("firebrick.json"), json);
    }
}

#[test]
fn lost_or_shortened_segments_lose_only_themselves() {
    let whole = large();
    let segments: Vec<String> = whole
        .files()
        .into_iter()
        .filter(|name| name.starts_with("log/"))
        .collect();
    assert!(segments.len() > 4, "{segments:?}");
    for name in &segments[..segments.len() - 1] {
        let content = whole.read(name);
        for rest in [
            None,
            Some(&content[..0]),
            Some(&content[..content.len() / 2]),
        ] {
            for derived in [true, false] {
                let disk = whole.crash(Crash::Process);
                match rest {
                    None => disk.lose(name),
                    Some(bytes) => disk.overwrite(name, bytes),
                }
                if !derived {
                    disk.lose("checkpoint");
                }
                let store = open(&disk).unwrap();
                assert_eq!(last(&store), 60, "{name}");
                let mut missing = 0;
                for n in 1..=60 {
                    for stored in Numbered::new(n).blocks {
                        match store.block(&stored.block.cid) {
                            Ok(Some(bytes)) => assert_eq!(bytes, stored.block.bytes),
                            Ok(None) | Err(StoreError::Corrupt { .. }) => missing += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                assert!(missing > 0 && missing < 60, "{missing}");
                assert!(!store.stats().damage.is_empty());
                commit(&store, 61).unwrap();
                drop(store);
                assert_eq!(last(&open(&disk).unwrap()), 61);
            }
        }
    }
}

#[test]
fn the_end_of_the_log_may_be_lost_although_the_checkpoint_knows_it() {
    let whole = large();
    let store = open(&whole).unwrap();
    store.close().unwrap();
    drop(store);
    let segments: Vec<String> = whole
        .files()
        .into_iter()
        .filter(|name| name.starts_with("log/"))
        .collect();
    let name = segments.last().unwrap();
    let content = whole.read(name);
    for rest in [
        None,
        Some(&content[..0]),
        Some(&content[..content.len() / 2]),
    ] {
        for index in [true, false] {
            let disk = whole.crash(Crash::Process);
            match rest {
                None => disk.lose(name),
                Some(bytes) => disk.overwrite(name, bytes),
            }
            if !index {
                let runs = disk.files().into_iter();
                runs.filter(|name| name.starts_with("index/"))
                    .for_each(|name| disk.lose(&name));
            }
            let store = open(&disk).unwrap();
            assert_eq!(
                last(&store),
                60,
                "head and private state are in the checkpoint"
            );
            assert!(!store.stats().damage.is_empty());
            for n in 61..=64 {
                commit(&store, n).unwrap();
            }
            store.sync().unwrap();
            drop(store);
            for lost in [false, true] {
                if lost {
                    disk.lose("checkpoint");
                }
                let store = open(&disk).unwrap();
                let damage = store.stats().damage;
                assert_eq!(last(&store), 64, "{lost} {index} {damage:?}");
                for n in 61..=64 {
                    for stored in Numbered::new(n).blocks {
                        let found = store.block(&stored.block.cid).unwrap();
                        assert_eq!(found, Some(stored.block.bytes));
                    }
                }
            }
        }
    }
}
