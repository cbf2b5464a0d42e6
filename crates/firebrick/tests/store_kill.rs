//! A process that is killed in the middle of its work loses nothing that it has committed.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use firebrick::store::{Commit, LogOptions, LogStore, Store, StoreKey, StoredBlock};
use firebrick_core::cid::Codec;
use firebrick_core::{Block, Cid};

const DIRECTORY: &str = "FIREBRICK_TEST_KILL_DIRECTORY";

fn open(path: &Path) -> LogStore {
    let mut options = LogOptions::sealed(StoreKey::new([3; 32]));
    // Small, so that a kill often meets a new segment or a checkpoint.
    options.segment_bytes = 64 << 10;
    options.checkpoint_entries = 100;
    LogStore::open(path, &options).unwrap()
}

fn block(n: u64) -> Block {
    Block::new(
        Codec::Raw,
        format!("block {n} ").repeat(1 + n as usize % 40),
    )
}

fn commit(store: &LogStore, n: u64) {
    let blocks: Vec<StoredBlock> = [block(2 * n), block(2 * n + 1)].map(Into::into).into();
    let head: [Cid; 1] = [blocks[1].block.cid];
    store
        .commit(&Commit {
            blocks: &blocks,
            head: Some(&head),
            kv: &[("n".to_owned(), Some(Bytes::from(n.to_string())))],
        })
        .unwrap();
}

fn last(store: &LogStore) -> u64 {
    store.kv("n").map_or(0, |n| {
        std::str::from_utf8(&n).unwrap().parse::<u64>().unwrap()
    })
}

/// The process that is killed. Does nothing when it is run as a test.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = open(Path::new(&directory));
    for n in last(&store) + 1.. {
        commit(&store, n);
        // Written at once, so it tells what was committed before the kill.
        eprintln!("{n}");
        if n % 50 == 0 {
            store.sync().unwrap();
        }
        if store.maintenance_due() {
            store.maintain().unwrap();
        }
    }
}

#[test]
fn nothing_that_was_committed_is_lost_by_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut told = 0;
        for _ in 0..37 + 91 * round {
            told = lines.next().unwrap().unwrap().parse::<u64>().unwrap();
        }
        child.kill().unwrap();
        // It went on until the kill came.
        for line in lines.map_while(Result::ok) {
            told = line.parse::<u64>().unwrap_or(told);
        }
        child.wait().unwrap();

        let store = open(directory.path());
        let n = last(&store);
        assert!(n == told || n == told + 1, "{n} after {told}");
        assert_eq!(store.head(), [block(2 * n + 1).cid]);
        for i in checked + 1..=n {
            for block in [block(2 * i), block(2 * i + 1)] {
                assert_eq!(store.block(&block.cid).unwrap(), Some(block.bytes));
            }
        }
        assert_eq!(store.block(&block(2 * n + 2).cid).unwrap(), None);
        let damage = store.stats().damage;
        assert!(damage.is_empty(), "{damage:?}");
        checked = n;
    }
    let store = open(directory.path());
    for i in (1..=checked).step_by(7) {
        assert!(store.block(&block(2 * i).cid).unwrap().is_some());
    }
}
