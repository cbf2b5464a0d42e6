//! Random histories, in the library's blocks and in the model at once.

use firebrick_core::cid::{Cid, Codec};
use firebrick_core::clock::{Event, Op, Operation};
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::merge::{Limits, Resolver};
use proptest::prelude::*;

use crate::model::{self, Dag, Data};

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) blocks: MemoryBlocks,
    pub(crate) dag: Dag,
}

impl History {
    pub(crate) fn cids(&self, events: &[usize]) -> Vec<Cid> {
        events.iter().map(|event| self.dag.0[*event].cid).collect()
    }

    pub(crate) fn numbers(&self, cids: &[Cid]) -> Vec<usize> {
        let number = |cid: &Cid| self.dag.0.iter().position(|event| event.cid == *cid);
        cids.iter().map(|cid| number(cid).unwrap()).collect()
    }

    /// A write on top of `parents`. None if they are unrelated, so that nobody could write there.
    pub(crate) fn write(&mut self, parents: &[usize], data: Data) -> Option<usize> {
        let mut tree = self.dag.resolve(parents)?;
        data.apply(&mut tree);
        let heads = self.cids(parents);
        let before = Resolver::new(Limits::default())
            .resolve(&self.blocks, &self.blocks, &heads)
            .unwrap();
        let blocks = &self.blocks;
        let after = match &data {
            Data::Put(key, value) => before.put(blocks, key, *value),
            Data::Del(key) => before.del(blocks, key),
            Data::Batch(ops) => before.batch(blocks, ops.iter().map(|(k, v)| (k, *v))),
        }
        .unwrap();
        self.blocks.save(&after);
        assert_eq!(after.root(), tree.root());
        Some(self.add(parents, data, tree))
    }

    /// An event that names any tree as its result.
    pub(crate) fn add(&mut self, parents: &[usize], data: Data, tree: model::Shard) -> usize {
        let operation = match &data {
            Data::Put(key, value) => Operation::Put {
                key: key.clone(),
                value: *value,
            },
            Data::Del(key) => Operation::Del { key: key.clone() },
            Data::Batch(ops) => Operation::Batch(
                ops.iter()
                    .map(|(key, value)| Op {
                        key: key.clone(),
                        value: *value,
                    })
                    .collect(),
            ),
        };
        let event = Event::new(operation, tree.root(), self.cids(parents));
        let cid = self.blocks.add(event);
        if let Some(known) = self.dag.0.iter().position(|event| event.cid == cid) {
            return known;
        }
        let mut parents = parents.to_vec();
        parents.sort_by_key(|parent| self.dag.0[*parent].cid);
        parents.dedup();
        self.dag.0.push(model::Event {
            cid,
            data,
            parents,
            tree,
        });
        self.dag.0.len() - 1
    }

    /// Stores all shards of a model tree.
    pub(crate) fn store(&self, tree: &model::Shard) {
        let mut blocks = Vec::new();
        tree.blocks(&mut blocks);
        blocks.iter().for_each(|block| self.blocks.insert(block));
    }
}

/// How a random write is chosen.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) who: usize,
    pub(crate) picks: Vec<prop::sample::Index>,
    pub(crate) data: Data,
    pub(crate) pull: bool,
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["k", "l", "kk", "kl", "m", "kkk"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Cid> {
    (0..40_u8).prop_map(|n| Cid::of(Codec::Raw, &[n]))
}

pub(crate) fn data(deletes: u32) -> impl Strategy<Value = Data> {
    prop_oneof![
        8 => (key(), value()).prop_map(|(key, value)| Data::Put(key, value)),
        2 => prop::collection::vec((key(), value()), 0..4).prop_map(Data::Batch),
        deletes => key().prop_map(Data::Del),
    ]
}

pub(crate) fn writes(
    deletes: u32,
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Write>> {
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let write = (0..3_usize, picks, data(deletes), prop::bool::weighted(0.35)).prop_map(
        |(who, picks, data, pull)| Write {
            who,
            picks,
            data,
            pull,
        },
    );
    prop::collection::vec(write, count)
}

/// Three replicas that write and pull from each other; their heads.
pub(crate) fn replicas(writes: &[Write]) -> (History, Vec<Vec<usize>>) {
    let mut history = History::default();
    let genesis = Data::Put("g".into(), Cid::of(Codec::Raw, b"g"));
    let first = history.write(&[], genesis).unwrap();
    let mut heads = vec![vec![first]; 3];
    for write in writes {
        if write.pull {
            let from = heads[(write.who + 1 + write.picks.len() % 2) % 3].clone();
            let both = heads[write.who].iter().chain(&from).copied().collect();
            heads[write.who] = history.dag.heads(&both).into_iter().collect();
        } else if let Some(event) = history.write(&heads[write.who], write.data.clone()) {
            let both = heads[write.who].iter().copied().chain([event]).collect();
            heads[write.who] = history.dag.heads(&both).into_iter().collect();
        }
    }
    (history, heads)
}

/// Events with any parents, also such that lie in each other's past, and sometimes without any.
pub(crate) fn any_parents(writes: &[Write], orphans: bool) -> History {
    let mut history = History::default();
    for write in writes {
        let count = history.dag.0.len();
        let orphan = orphans && write.who == 0 && write.pull;
        let mut parents: Vec<usize> = Vec::new();
        if count > 0 && !orphan {
            // Mostly recent ones, so that histories grow deep.
            let low = count.saturating_sub(5);
            parents.extend(write.picks.iter().map(|pick| low + pick.index(count - low)));
            parents.sort_unstable();
            parents.dedup();
        }
        history.write(&parents, write.data.clone());
    }
    history
}
