//! Random histories of three writers: the client and the core resolve them to the same root.

use std::fs;
use std::path::Path;

use firebrick_core::clock::{self, Event, Op, Operation};
use firebrick_core::genesis::GENESIS;
use firebrick_core::group::Car;
use firebrick_core::header::CarHeader;
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::merge::{Limits, Resolver, merge_event};
use firebrick_core::meta::MetaEvent;
use firebrick_core::pail::Tree;
use firebrick_core::{Block, Cid, document};
use serde_json::json;
use tempfile::TempDir;

use crate::peer::Peer;

const WRITERS: usize = 3;
/// The client enumerates paths: more steps take it minutes.
const STEPS: usize = 14;
const HISTORIES: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn random_histories_resolve_to_the_same_root() {
    let dir = TempDir::with_prefix("firebrick-interop-").expect("a temporary directory");
    let mut expected = Vec::new();
    let mut requests = Vec::new();
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        let (head, root) = history.end();
        let ledger = format!("history-{seed}");
        history.write(&dir.path().join(&ledger), &head);
        expected.push((seed, head.len(), json!(root.to_string())));
        requests.push(json!({"op": "reopen", "ledger": ledger}));
        // Only the root: reading on may fail, see "a value that comes back in a merge …".
        requests.push(json!({"op": "root"}));
    }
    let several = expected.iter().filter(|(_, heads, _)| *heads > 1).count();
    assert!(
        several > HISTORIES as usize / 2,
        "histories with several heads: {several}"
    );
    let answers = Peer::new(dir.path(), "none")
        .storekey("insecure")
        .run(&requests);
    for ((seed, heads, root), answer) in expected.iter().zip(answers.iter().skip(1).step_by(2)) {
        assert_eq!(answer, root, "history {seed} with {heads} heads");
    }
}

/// Writers with a head each, over one pool of blocks.
struct History {
    random: u64,
    pool: MemoryBlocks,
    blocks: Vec<Block>,
    resolver: Resolver,
    heads: Vec<Vec<Cid>>,
}

impl History {
    fn new(seed: u64) -> History {
        let mut history = History {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            pool: MemoryBlocks::new(),
            blocks: Vec::new(),
            resolver: Resolver::new(Limits::default()),
            heads: vec![vec![GENESIS.event.cid]; WRITERS],
        };
        for block in GENESIS.blocks() {
            history.add(block.clone());
        }
        history
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % limit
    }

    fn add(&mut self, block: Block) {
        self.pool.insert(&block);
        self.blocks.push(block);
    }

    fn tree(&mut self, head: &[Cid]) -> Tree {
        self.resolver
            .resolve(&self.pool, &self.pool, head)
            .expect("resolves")
    }

    /// A writer hears from another one, pins its merge, or writes.
    fn step(&mut self) {
        let writer = self.below(WRITERS);
        let head = self.heads[writer].clone();
        let event = match self.below(10) {
            0..=2 => {
                let other = (writer + 1 + self.below(WRITERS - 1)) % WRITERS;
                let joined = clock::join(&self.pool, &head, &self.heads[other]);
                self.heads[writer] = joined.expect("joins");
                return;
            }
            3 if head.len() > 1 => {
                let tree = self.tree(&head);
                self.keep(&tree);
                merge_event(&head, tree.root())
            }
            _ => self.written(&head),
        };
        let event = event.encode();
        self.heads[writer] = vec![event.cid];
        self.add(event);
    }

    fn written(&mut self, head: &[Cid]) -> Event {
        let count = [1, 1, 1, 2, 3][self.below(5)];
        let mut ops = Vec::new();
        for _ in 0..count {
            let key = ["a", "ab", "abc", "b", "same", "sand"][self.below(6)].to_owned();
            let block = match self.below(5) {
                0 => document::TOMBSTONE.clone(),
                _ => {
                    let n = self.below(1 << 20);
                    document::encode(&key, &json!({"_id": key, "n": n})).expect("a document")
                }
            };
            ops.push(Op {
                key,
                value: block.cid,
            });
            self.add(block);
        }
        let tree = self.tree(head);
        let tree = tree
            .batch(&self.pool, ops.iter().map(|op| (&op.key, op.value)))
            .expect("applies");
        self.keep(&tree);
        let data = match <[Op; 1]>::try_from(ops) {
            Ok([Op { key, value }]) => Operation::Put { key, value },
            Err(ops) => Operation::Batch(ops),
        };
        Event::new(data, tree.root(), head.iter().copied())
    }

    fn keep(&mut self, tree: &Tree) {
        for block in tree.unsaved() {
            self.add(block);
        }
    }

    fn end(&mut self) -> (Vec<Cid>, Cid) {
        let mut head = self.heads[0].clone();
        for other in &self.heads[1..] {
            head = clock::join(&self.pool, &head, other).expect("joins");
        }
        let root = self.tree(&head).root();
        (head, root)
    }

    /// One CAR with everything, as a ledger without encryption.
    fn write(&self, folder: &Path, head: &[Cid]) {
        let header = CarHeader {
            head: Some(head.to_vec()),
            ..CarHeader::default()
        };
        let car = Car::commit(&header, &self.blocks);
        let pointer = MetaEvent {
            cars: vec![car.cid],
            parents: Vec::new(),
        };
        fs::create_dir_all(folder.join("data")).expect("creates");
        fs::create_dir_all(folder.join("meta")).expect("creates");
        fs::write(
            folder.join("data").join(format!("{}.car", car.cid)),
            &car.bytes,
        )
        .expect("writes");
        fs::write(folder.join("meta/main.json"), pointer.to_main_json()).expect("writes");
    }
}
