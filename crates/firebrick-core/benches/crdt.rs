//! How the pail, the clock and merges grow.
//!
//! Every group runs over a range of sizes, so that the output is a curve. The blocks are in memory:
//! what is measured is this crate, hashing included, not a store.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{
    BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use firebrick_core::cid::{Cid, Codec};
use firebrick_core::clock::{self, Event, EventSource, Operation};
use firebrick_core::document::generate_id;
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::merge::{Limits, Resolver};
use firebrick_core::pail::{EMPTY_ROOT, Range, Tree};

fn value(n: usize) -> Cid {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Cid::from_digest(Codec::DagCbor, digest)
}

fn sequential(n: usize) -> String {
    format!("id-{n:08}")
}

fn generated(n: usize) -> String {
    let mut state = n as u64 + 1;
    let random = [(); 10].map(|()| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    });
    generate_id(1_750_000_000_000 + n as u64 / 8, random)
}

type Id = fn(usize) -> String;

/// The kinds of ids.
const IDS: [(&str, Id); 2] = [("sequential", sequential), ("generated", generated)];

fn tree_of(blocks: &MemoryBlocks, ids: impl Iterator<Item = (String, Cid)>) -> Tree {
    blocks.save(&Tree::empty().batch(blocks, ids).unwrap())
}

fn pail(c: &mut Criterion) {
    for (name, id) in IDS {
        let mut group = c.benchmark_group(format!("pail/{name}"));
        for count in [1_000, 10_000, 100_000] {
            let blocks = MemoryBlocks::new();
            let tree = tree_of(&blocks, (0..count).map(|n| (id(n), value(n))));
            let keys: Vec<String> = (0..count).map(id).collect();
            group.bench_with_input(BenchmarkId::new("get", count), &tree, |b, tree| {
                let mut n = 0;
                b.iter(|| {
                    n = (n + 7919) % count;
                    tree.get(&blocks, &keys[n]).unwrap()
                });
            });
            group.bench_with_input(BenchmarkId::new("put new", count), &tree, |b, tree| {
                let mut n = 0;
                let mut tree = tree.clone();
                b.iter(|| {
                    n += 1;
                    tree = tree.put(&blocks, &id(count + n), value(n)).unwrap();
                    if n % 100 == 0 {
                        // As after a checkpoint; the shards of this bench stay unread.
                        blocks.save(&tree);
                        tree = tree.saved();
                    }
                });
            });
            group.bench_with_input(BenchmarkId::new("put over", count), &tree, |b, tree| {
                let mut n = 0;
                b.iter(|| {
                    n = (n + 7919) % count;
                    tree.put(&blocks, &keys[n], value(n + 1)).unwrap()
                });
            });
            group.throughput(Throughput::Elements(1_000));
            group.bench_with_input(
                BenchmarkId::new("batch 1000 new", count),
                &tree,
                |b, tree| {
                    let ops: Vec<_> = (count..count + 1_000).map(|n| (id(n), value(n))).collect();
                    b.iter_batched(
                        || ops.clone(),
                        |ops| tree.batch(&blocks, ops).unwrap(),
                        BatchSize::LargeInput,
                    );
                },
            );
            group.bench_with_input(
                BenchmarkId::new("batch 1000 over", count),
                &tree,
                |b, tree| {
                    let ops: Vec<_> = (0..1_000)
                        .map(|n| (keys[n * 7919 % count].clone(), value(n + 1)))
                        .collect();
                    b.iter_batched(
                        || ops.clone(),
                        |ops| tree.batch(&blocks, ops).unwrap(),
                        BatchSize::LargeInput,
                    );
                },
            );
            group.throughput(Throughput::Elements(count as u64));
            group.bench_with_input(BenchmarkId::new("build", count), &keys, |b, keys| {
                b.iter(|| {
                    let ops = keys.iter().enumerate().map(|(n, key)| (key, value(n)));
                    Tree::empty().batch(&blocks, ops).unwrap()
                });
            });
            group.bench_with_input(BenchmarkId::new("scan", count), &tree, |b, tree| {
                b.iter(|| {
                    tree.entries(&blocks, Range::all())
                        .map(Result::unwrap)
                        .count()
                });
            });
        }
        group.finish();
    }
}

/// Events without true roots where nobody reads them.
struct History {
    blocks: MemoryBlocks,
    genesis: Cid,
}

impl History {
    fn new() -> Self {
        let blocks = MemoryBlocks::new();
        let tree = blocks.save(&Tree::empty().put(&blocks, "genesis", value(0)).unwrap());
        let genesis = blocks.add(put("genesis", value(0), tree.root(), &[]));
        Self { blocks, genesis }
    }

    /// A chain of puts on `from`; its head has the true tree if `from` is the genesis event.
    fn chain(&self, from: Cid, seed: usize, ids: impl Iterator<Item = String>) -> Cid {
        let ids: Vec<String> = ids.collect();
        let value = |n: usize| value(n + (seed << 32));
        let ops = ids.iter().enumerate().map(|(n, id)| (id, value(n)));
        let base = Tree::at(self.blocks.event(&self.genesis).unwrap().root);
        let tree = self.blocks.save(&base.batch(&self.blocks, ops).unwrap());
        let mut head = from;
        for (n, id) in ids.iter().enumerate() {
            let root = if n + 1 == ids.len() {
                tree.root()
            } else {
                EMPTY_ROOT
            };
            head = self.blocks.add(put(id, value(n), root, &[head]));
        }
        self.blocks.generation(&head).unwrap();
        head
    }

    fn resolve(&self, resolver: &mut Resolver, heads: &[Cid]) -> Tree {
        resolver.resolve(&self.blocks, &self.blocks, heads).unwrap()
    }
}

fn put(key: &str, value: Cid, root: Cid, parents: &[Cid]) -> Event {
    let data = Operation::Put {
        key: key.to_owned(),
        value,
    };
    Event::new(data, root, parents.iter().copied())
}

fn large() -> Resolver {
    Resolver::new(Limits {
        memo_bytes: 1 << 30,
        ..Limits::default()
    })
}

/// Many heads, each one event on the genesis, on keys of their own or on one.
fn heads(c: &mut Criterion) {
    for shared in [false, true] {
        let name = if shared {
            "heads/one key"
        } else {
            "heads/own keys"
        };
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        for count in [10, 100, 1_000, 10_000] {
            let history = History::new();
            let heads: Vec<Cid> = (0..count)
                .map(|n| {
                    let key = if shared {
                        "key".to_owned()
                    } else {
                        sequential(n)
                    };
                    history.chain(history.genesis, n, std::iter::once(key))
                })
                .collect();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new("resolve", count), |b| {
                b.iter(|| history.resolve(&mut large(), &heads));
            });
            group.bench_function(BenchmarkId::new("join", count), |b| {
                b.iter(|| clock::join(&history.blocks, &heads, &[history.genesis]).unwrap());
            });
        }
        group.finish();
    }
}

/// Rounds of two writers who merge each time, while a third writer's old head stays.
fn diamonds(c: &mut Criterion) {
    let mut group = c.benchmark_group("diamonds");
    group.sample_size(10);
    for rounds in [10, 100, 1_000, 10_000] {
        let history = History::new();
        let stale = history.chain(history.genesis, 1, std::iter::once("stale".to_owned()));
        let mut top = history.genesis;
        for n in 0..rounds {
            let side = |side: usize| {
                let event = put(
                    &format!("key-{}", n % 100),
                    value(2 * n + side),
                    EMPTY_ROOT,
                    &[top],
                );
                history.blocks.add(event)
            };
            let merged = [side(0), side(1)];
            top = history
                .blocks
                .add(put("merge", value(n), EMPTY_ROOT, &merged));
        }
        history.blocks.generation(&top).unwrap();
        group.throughput(Throughput::Elements(3 * rounds as u64));
        group.bench_function(BenchmarkId::new("resolve", rounds), |b| {
            b.iter(|| history.resolve(&mut large(), &[top, stale]));
        });
        group.bench_function(BenchmarkId::new("ancestor", rounds), |b| {
            b.iter(|| clock::common_ancestor(&history.blocks, &[top, stale]).unwrap());
        });
        group.bench_function(BenchmarkId::new("advance", rounds), |b| {
            b.iter(|| clock::advance(&history.blocks, &[top], stale).unwrap());
        });
    }
    group.finish();
}

/// Two long histories whose only common event is the genesis, then single late heads.
fn apart(c: &mut Criterion) {
    for (name, shared) in [("apart/own keys", false), ("apart/shared keys", true)] {
        let mut group = c.benchmark_group(name);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(1));
        for count in [10_000, 100_000, 1_000_000] {
            let history = History::new();
            let key = |side: &str, n: usize| match shared {
                true => format!("key-{:06}", n % (count / 2)),
                false => format!("{side}-{n:08}"),
            };
            let a = history.chain(history.genesis, 1, (0..count).map(|n| key("a", n)));
            let b = history.chain(history.genesis, 2, (0..count).map(|n| key("b", n)));
            group.throughput(Throughput::Elements(2 * count as u64));
            group.bench_function(BenchmarkId::new("resolve", count), |bench| {
                bench.iter_with_large_drop(|| {
                    let mut resolver = large();
                    (history.resolve(&mut resolver, &[a, b]), resolver)
                });
            });
            // The merge is written down; then heads come that know nothing but the genesis.
            let mut resolver = large();
            let tree = history.resolve(&mut resolver, &[a, b]);
            let saved = history.blocks.save(&tree);
            resolver.saved(&saved.root());
            let bytes = resolver.memory();
            eprintln!("{name}: {} bytes of memory per event", bytes / (2 * count));
            let mut top = history
                .blocks
                .add(put("merged", value(1), saved.root(), &[a, b]));
            group.throughput(Throughput::Elements(1));
            let mut n = 0;
            group.bench_function(BenchmarkId::new("late head", count), |bench| {
                bench.iter_custom(|times| {
                    let mut total = Duration::ZERO;
                    for _ in 0..times {
                        n += 1;
                        let key = key("a", n);
                        let late = put(&key, value(n << 16), EMPTY_ROOT, &[history.genesis]);
                        let late = history.blocks.add(late);
                        let start = Instant::now();
                        let head = resolver.advance(&history.blocks, &[top], late).unwrap();
                        let tree = history.resolve(&mut resolver, &head);
                        total += start.elapsed();
                        let saved = history.blocks.save(&tree);
                        resolver.saved(&saved.root());
                        top = history
                            .blocks
                            .add(put("merged", value(n), saved.root(), &head));
                        black_box(top);
                    }
                    total
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = pail, heads, diamonds, apart
}
criterion_main!(benches);
