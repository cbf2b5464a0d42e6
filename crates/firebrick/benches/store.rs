//! The store on disk: commits, syncs, reads, opening.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use firebrick::store::{Commit, LogOptions, LogStore, Store, StoreKey, StoredBlock};
use firebrick_core::cid::Codec;
use firebrick_core::{Block, Cid};
use tempfile::TempDir;

const BLOCK_BYTES: usize = 250;

/// Block number `n`. The CID is made up, because hashing is not what is measured here.
fn block(n: u64) -> StoredBlock {
    StoredBlock::from(Block {
        cid: cid(n),
        bytes: Bytes::from_static(&[0x42; BLOCK_BYTES]),
    })
}

fn cid(n: u64) -> Cid {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    digest[8..16].copy_from_slice(&n.to_le_bytes());
    Cid::from_digest(Codec::DagCbor, digest)
}

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn open(directory: &TempDir) -> LogStore {
    let options = LogOptions::sealed(StoreKey::new([1; 32]));
    LogStore::open(directory.path(), &options).expect("an open store")
}

fn commit(store: &LogStore, blocks: &[StoredBlock]) {
    let head = [blocks[0].block.cid];
    store
        .commit(&Commit {
            blocks,
            head: Some(&head),
            kv: &[],
        })
        .expect("a commit");
    if store.maintenance_due() {
        store.maintain().expect("maintenance");
    }
}

/// Commits blocks `0..count` in groups.
fn fill(store: &LogStore, count: u64, group: u64) {
    for first in (0..count).step_by(group as usize) {
        let blocks: Vec<_> = (first..count.min(first + group)).map(block).collect();
        commit(store, &blocks);
    }
}

fn commits(c: &mut Criterion) {
    let mut group = c.benchmark_group("store");
    let next = Cell::new(0);
    let fresh = |count: u64| -> Vec<StoredBlock> {
        let first = next.get();
        next.set(first + count);
        (first..first + count).map(block).collect()
    };

    let directory_one = directory();
    let store = open(&directory_one);
    group.throughput(Throughput::Elements(1));
    group.bench_function("commit one block", |b| {
        b.iter(|| commit(&store, &fresh(1)));
    });
    group.bench_function("commit and sync one block", |b| {
        b.iter(|| {
            commit(&store, &fresh(1));
            store.sync().expect("a sync");
        });
    });
    drop(store);

    let directory_bulk = directory();
    let store = open(&directory_bulk);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("commit 1000 blocks", |b| {
        b.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| {
                    let blocks = fresh(1000);
                    let start = Instant::now();
                    commit(&store, &blocks);
                    start.elapsed()
                })
                .sum()
        });
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    const COUNT: u64 = 100_000;
    let directory = directory();
    let store = open(&directory);
    fill(&store, COUNT, 100);
    store.close().expect("a close");
    drop(store);

    let mut group = c.benchmark_group("store of 100k");
    group.bench_function("open and close", |b| {
        b.iter(|| open(&directory).close().expect("a close"));
    });
    group.bench_function("open read-only", |b| {
        let options = LogOptions::sealed(StoreKey::new([1; 32]));
        b.iter(|| LogStore::open_read_only(directory.path(), &options).expect("a store"));
    });

    let store = open(&directory);
    println!("{:?}", store.stats());
    let random = Cell::new(1u64);
    let any = || {
        let next = random.get().wrapping_mul(6_364_136_223_846_793_005) + 1;
        random.set(next);
        (next >> 33) % COUNT
    };
    group.bench_function("block", |b| {
        b.iter(|| black_box(store.block(&cid(any())).expect("a block").expect("present")));
    });
    group.bench_function("generation", |b| {
        b.iter(|| black_box(store.generation(&cid(any())).expect("an answer")));
    });
    group.bench_function("contains a missing one", |b| {
        b.iter(|| assert!(!store.contains(&cid(COUNT + any())).expect("an answer")));
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 random blocks at once", |b| {
        b.iter(|| {
            let cids: Vec<_> = (0..1000).map(|_| cid(any())).collect();
            black_box(store.blocks(&cids).expect("blocks"))
        });
    });
    group.bench_function("1000 neighbouring blocks at once", |b| {
        b.iter(|| {
            let first = any().min(COUNT - 1000);
            let cids: Vec<_> = (first..first + 1000).map(cid).collect();
            black_box(store.blocks(&cids).expect("blocks"))
        });
    });
    group.finish();
}

fn recovery(c: &mut Criterion) {
    // What a killed process leaves: everything since the last checkpoint is read again.
    let directory = directory();
    let store = open(&directory);
    fill(&store, 100_000, 1);
    println!("{:?}", store.stats());
    drop(store);
    c.bench_function("store of 100k/open read-only after a kill", |b| {
        let options = LogOptions::sealed(StoreKey::new([1; 32]));
        b.iter(|| LogStore::open_read_only(directory.path(), &options).expect("a store"));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = commits, reads, recovery
}
criterion_main!(benches);
