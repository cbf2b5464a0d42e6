//! Tests of the store on disk. Most of them run on a disk in memory that fails on demand.

mod basic;
mod compact;
mod crash;
mod damage;
mod directory;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use firebrick_core::cid::Codec;
use firebrick_core::{Block, Cid};

use super::super::disk::Disk;
use super::super::disk_memory::MemoryDisk;
use super::super::{Commit, MemoryStore, Store, StoreError, StoreKey, StoredBlock};
use super::{LogOptions, LogStore};

/// Small limits, so that short tests meet all of them.
fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 4096,
        checkpoint_entries: 8,
        checkpoint_bytes: 4096,
        ..LogOptions::sealed(StoreKey::new([7; 32]))
    }
}

fn open(disk: &MemoryDisk) -> Result<LogStore, StoreError> {
    LogStore::open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, &options())
}

fn open_read_only(disk: &MemoryDisk) -> Result<LogStore, StoreError> {
    LogStore::open_read_only_on(Arc::new(disk.clone()) as Arc<dyn Disk>, &options())
}

/// Block `part` of commit `n`.
fn block(n: u64, part: u64) -> StoredBlock {
    let size = 40 + (n * 37 + part * 101) % 300;
    let content = format!("commit {n} part {part} ").repeat(size as usize / 16 + 1);
    StoredBlock {
        block: Block::new(Codec::DagCbor, content),
        generation: if part == 0 { n } else { 0 },
    }
}

/// A commit that depends on nothing but its number, so that the state after it is known.
#[derive(Clone)]
struct Numbered {
    blocks: Vec<StoredBlock>,
    head: [Cid; 1],
    kv: Vec<(String, Option<Bytes>)>,
}

impl Numbered {
    fn new(n: u64) -> Self {
        // Made once, because hashing is most of the work.
        static ALL: LazyLock<Vec<Numbered>> =
            LazyLock::new(|| (0..400).map(Numbered::make).collect());
        ALL[n as usize].clone()
    }

    fn make(n: u64) -> Self {
        let blocks: Vec<_> = (0..=n % 4).map(|part| block(n, part)).collect();
        let mut kv = vec![("n".to_owned(), Some(Bytes::from(n.to_string())))];
        let removes = n.is_multiple_of(3);
        kv.push((
            format!("slot/{}", n % 5),
            (!removes).then(|| Bytes::from(format!("value of {n}"))),
        ));
        Self {
            head: [blocks[0].block.cid],
            blocks,
            kv,
        }
    }

    fn commit(&self) -> Commit<'_> {
        Commit {
            blocks: &self.blocks,
            head: Some(&self.head),
            kv: &self.kv,
        }
    }
}

fn commit(store: &dyn Store, n: u64) -> Result<(), StoreError> {
    store.commit(&Numbered::new(n).commit())
}

/// The number of the last commit in a store.
fn last(store: &dyn Store) -> u64 {
    store.kv("n").map_or(0, |n| {
        std::str::from_utf8(&n).unwrap().parse::<u64>().unwrap()
    })
}

/// Checks that a store holds exactly the commits up to some number, and answers it.
fn check(store: &dyn Store) -> u64 {
    let n = last(store);
    let model = MemoryStore::new();
    for i in 1..=n {
        commit(&model, i).unwrap();
    }
    assert_eq!(store.head(), model.head());
    assert_eq!(store.kv_prefix(""), model.kv_prefix(""));
    let mut cids = Vec::new();
    for i in 1..=n {
        for stored in Numbered::new(i).blocks {
            let cid = stored.block.cid;
            cids.push(cid);
            assert_eq!(
                store.block(&cid).unwrap(),
                Some(stored.block.bytes),
                "of {i}"
            );
            assert_eq!(store.generation(&cid).unwrap(), Some(stored.generation));
            assert!(store.contains(&cid).unwrap());
        }
    }
    for stored in Numbered::new(n + 1).blocks {
        let cid = stored.block.cid;
        cids.push(cid);
        assert_eq!(store.block(&cid).unwrap(), None, "of {n} + 1");
        assert_eq!(store.generation(&cid).unwrap(), None);
        assert!(!store.contains(&cid).unwrap());
    }
    let one_by_one: Vec<_> = cids.iter().map(|cid| store.block(cid).unwrap()).collect();
    assert_eq!(store.blocks(&cids).unwrap(), one_by_one);
    n
}
