//! What must be true in the end, found out without the code under test: walks over the events in a
//! store, and over the CARs at a remote.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use firebrick::gateway::{Gateway as _, MemoryRemote};
use firebrick::store::{SimStore, Store as _};
use firebrick::{Cid, Durability};
use firebrick_core::car::CarReader;
use firebrick_core::clock::Event;
use firebrick_core::header::CarHeader;
use firebrick_core::keys::{Key, KeySet};
use firebrick_core::meta::MetaFile;
use firebrick_core::{Block, envelope};

use crate::common::State;

/// An acknowledged write.
#[derive(Debug)]
struct Write {
    ids: Vec<String>,
    head: Vec<Cid>,
}

/// Knows every acknowledged write that may not be lost.
#[derive(Default)]
pub(crate) struct Oracle {
    values: u64,
    durable: Vec<Write>,
    /// By database: what a loss of power may take.
    buffered: BTreeMap<usize, Vec<Write>>,
}

impl Oracle {
    /// A value that no other write has.
    pub(crate) fn next_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    pub(crate) fn acknowledged(
        &mut self,
        node: usize,
        ids: &[String],
        head: &[Cid],
        durability: Durability,
    ) {
        let buffered = self.buffered.entry(node).or_default();
        buffered.push(Write {
            ids: ids.to_vec(),
            head: head.to_vec(),
        });
        // A sync covers everything before it.
        if durability == Durability::Sync {
            self.durable.append(buffered);
        }
    }

    pub(crate) fn lost_power(&mut self, node: usize) {
        self.buffered.remove(&node);
    }

    /// Opening makes durable what it finds.
    pub(crate) fn reopened(&mut self, node: usize) {
        if let Some(mut buffered) = self.buffered.remove(&node) {
            self.durable.append(&mut buffered);
        }
    }

    /// No acknowledged write is lost, and every document is one that no later write knew of.
    pub(crate) fn check(&self, store: &SimStore, head: &[Cid], state: &State) {
        let events = past(store, head);
        for write in self.durable.iter().chain(self.buffered.values().flatten()) {
            for event in &write.head {
                assert!(
                    events.contains_key(event),
                    "the write of {:?} as {event} was acknowledged and is lost",
                    write.ids
                );
            }
            for id in &write.ids {
                assert!(
                    state.docs.contains_key(id),
                    "{id:?} was written and is lost"
                );
            }
        }
        let pasts = pasts(&events);
        let mut by_id: BTreeMap<&str, Vec<(Cid, Cid)>> = BTreeMap::new();
        for (cid, event) in &events {
            let last: BTreeMap<&str, Cid> = event.puts().collect();
            for (id, value) in last {
                by_id.entry(id).or_default().push((*cid, value));
            }
        }
        for (id, doc) in &state.docs {
            let writes = by_id.get(id.as_str()).expect("some event wrote it");
            let mut newest = writes.iter().filter(|(event, _)| {
                !writes
                    .iter()
                    .any(|(other, _)| other != event && pasts[other].contains(event))
            });
            let is_it = newest.any(|(_, value)| {
                let bytes = store.block(value).ok().flatten();
                let found = bytes.and_then(|bytes| {
                    firebrick_core::document::decode::<firebrick::Document>(&bytes).ok()
                });
                found.is_some_and(|found| {
                    found.map(|found| without_id(found.to_json())) == doc.clone().map(without_id)
                })
            });
            assert!(is_it, "{id:?} is {doc:?}, which a later write replaced");
        }
    }
}

fn without_id(mut doc: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = doc.as_object_mut() {
        fields.remove("_id");
    }
    doc
}

/// Every event in the past of a head, itself included.
pub(crate) fn past(store: &SimStore, head: &[Cid]) -> BTreeMap<Cid, Event> {
    let mut events = BTreeMap::new();
    let mut open = head.to_vec();
    while let Some(cid) = open.pop() {
        if events.contains_key(&cid) {
            continue;
        }
        let bytes = store
            .block(&cid)
            .expect("reads")
            .unwrap_or_else(|| panic!("event {cid} is in the past of a head and not here"));
        let event = Event::decode(&bytes).expect("is an event");
        open.extend(event.parents.iter().copied());
        events.insert(cid, event);
    }
    events
}

/// By event: all events in its past.
fn pasts(events: &BTreeMap<Cid, Event>) -> BTreeMap<Cid, BTreeSet<Cid>> {
    let mut pasts: BTreeMap<Cid, BTreeSet<Cid>> = BTreeMap::new();
    for start in events.keys() {
        let mut open = vec![*start];
        while let Some(cid) = open.last().copied() {
            let event = &events[&cid];
            let unknown = event.parents.iter().find(|at| !pasts.contains_key(*at));
            if let Some(unknown) = unknown {
                open.push(*unknown);
                continue;
            }
            let mut past = BTreeSet::new();
            for parent in &event.parents {
                past.insert(*parent);
                past.extend(pasts[parent].iter().copied());
            }
            pasts.insert(cid, past);
            open.pop();
        }
    }
    pasts
}

/// The CARs at a remote by name, decrypted.
fn cars_at(remote: &MemoryRemote, key: &Key, encrypted: bool) -> BTreeMap<Cid, Vec<Block>> {
    let keys = KeySet::new("oracle", key.clone());
    let open = |bytes: Bytes| {
        let plain = if encrypted {
            envelope::open(&bytes, &keys).ok()?
        } else {
            bytes
        };
        CarReader::new(plain).ok()?.collect::<Result<_, _>>().ok()
    };
    let cars = remote.dump_cars().into_iter();
    cars.filter_map(|(entry, bytes)| Some((entry.cid, open(bytes)?)))
        .collect()
}

/// The headers that the slots of a remote lead to, with their CARs.
pub(crate) async fn headers_at(
    remote: &MemoryRemote,
    key: &Key,
    encrypted: bool,
) -> Vec<(Cid, Block, CarHeader)> {
    // First the slots: what they lead to was put before.
    let slots = remote.slots().await.expect("is there");
    let cars = cars_at(remote, key, encrypted);
    let mut headers = Vec::new();
    for (_, announcement) in slots {
        let file = MetaFile::parse(&announcement.meta).expect("is well formed");
        for (_, event) in file.events {
            let Some(first) = event.cars.first() else {
                continue;
            };
            if let Some(block) = cars.get(first).and_then(|blocks| blocks.first()) {
                let header = CarHeader::decode(&block.bytes).expect("is well formed");
                headers.push((*first, block.clone(), header));
            }
        }
    }
    headers
}

/// The heads that a remote shows.
pub(crate) async fn heads_at(remote: &MemoryRemote, key: &Key, encrypted: bool) -> Vec<Cid> {
    let headers = headers_at(remote, key, encrypted).await;
    let heads = headers.into_iter().filter_map(|(_, _, header)| header.head);
    heads.flatten().collect()
}

/// Every block that someone finds who comes to the remote for the first time.
pub(crate) async fn blocks_at(remote: &MemoryRemote, key: &Key, encrypted: bool) -> BTreeSet<Cid> {
    let headers = headers_at(remote, key, encrypted).await;
    let cars = cars_at(remote, key, encrypted);
    let mut blocks = BTreeSet::new();
    for (car, _, header) in headers {
        for car in header.cars.iter().flatten().chain([&car]) {
            blocks.extend(cars.get(car).into_iter().flatten().map(|block| block.cid));
        }
    }
    blocks
}
