//! A slow model of the pail and the clock: each rule of the format as it is written, by recursion
//! and enumeration, sharing nothing with the library but CIDs and the lowest level of dag-cbor.

use std::collections::{BTreeMap, BTreeSet};

use firebrick_core::Block;
use firebrick_core::cbor::Writer;
use firebrick_core::cid::{Cid, Codec};

/// A shard as a plain value. Children are shards, not links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) prefix: String,
    pub(crate) entries: Vec<(String, Entry)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Value(Cid),
    Child(Box<Shard>, Option<Cid>),
}

impl Shard {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            entries: Vec::new(),
        }
    }

    /// The put of format §5.2.
    pub(crate) fn put(&mut self, key: &str, value: Cid) {
        if let Some((_, entry)) = self.entries.iter_mut().find(|(k, _)| k == key) {
            match entry {
                Entry::Value(old) => *old = value,
                Entry::Child(_, old) => *old = Some(value),
            }
            return;
        }
        let child = self.entries.iter_mut().find_map(|(k, entry)| match entry {
            Entry::Child(child, _) if key.starts_with(k.as_str()) => Some((k.len(), child)),
            _ => None,
        });
        if let Some((len, child)) = child {
            return child.put(&key[len..], value);
        }
        let shared = |k: &str| {
            k.bytes()
                .zip(key.bytes())
                .take_while(|(a, b)| a == b)
                .count()
        };
        let Some(at) = self.entries.iter().position(|(k, _)| shared(k) > 0) else {
            self.entries.push((key.to_owned(), Entry::Value(value)));
            self.entries.sort_by(|a, b| a.0.cmp(&b.0));
            return;
        };
        let (k, entry) = self.entries.remove(at);
        let Entry::Value(old) = entry else {
            unreachable!("a child is never split");
        };
        let common = &key[..shared(&k)];
        let mut below = Shard::new(&format!("{}{common}", self.prefix));
        let mut own = None;
        for (key, value) in [(k.as_str(), old), (key, value)] {
            match &key[common.len()..] {
                "" => own = Some(value),
                rest => below.entries.push((rest.to_owned(), Entry::Value(value))),
            }
        }
        below.entries.sort_by(|a, b| a.0.cmp(&b.0));
        for i in (1..common.len()).rev() {
            let mut shard = Shard::new(&format!("{}{}", self.prefix, &common[..i]));
            let entry = Entry::Child(Box::new(below), own.take());
            shard.entries.push((common[i..=i].to_owned(), entry));
            below = shard;
        }
        let entry = Entry::Child(Box::new(below), own);
        self.entries.push((common[..1].to_owned(), entry));
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// The delete of format §5.2. Tells whether this shard is now empty.
    pub(crate) fn del(&mut self, key: &str) -> bool {
        let Some(at) = self.entries.iter().position(|(k, entry)| match entry {
            Entry::Value(_) => k == key,
            Entry::Child(..) => key.starts_with(k.as_str()),
        }) else {
            return false;
        };
        let (k, entry) = &mut self.entries[at];
        match entry {
            Entry::Value(_) => {
                self.entries.remove(at);
            }
            Entry::Child(_, value) if k == key => *value = None,
            Entry::Child(child, _) => {
                if child.del(&key[k.len()..]) {
                    self.entries.remove(at);
                }
            }
        }
        self.entries.is_empty()
    }

    /// The blocks of this shard and of all below.
    pub(crate) fn blocks(&self, out: &mut Vec<Block>) -> Cid {
        let mut w = Writer::new();
        w.map(5);
        w.text("prefix");
        w.text(&self.prefix);
        w.text("entries");
        w.list(self.entries.len());
        for (key, entry) in &self.entries {
            w.list(2);
            w.text(key);
            match entry {
                Entry::Value(value) => w.link(value),
                Entry::Child(child, value) => {
                    w.list(1 + usize::from(value.is_some()));
                    w.link(&child.blocks(out));
                    if let Some(value) = value {
                        w.link(value);
                    }
                }
            }
        }
        w.text("version");
        w.uint(1);
        w.text("keyChars");
        w.text("ascii");
        w.text("maxKeySize");
        w.uint(4096);
        let block = Block::new(Codec::DagCbor, w.into_vec());
        let cid = block.cid;
        out.push(block);
        cid
    }

    pub(crate) fn root(&self) -> Cid {
        self.blocks(&mut Vec::new())
    }

    pub(crate) fn cids(&self) -> BTreeSet<Cid> {
        let mut blocks = Vec::new();
        self.blocks(&mut blocks);
        blocks.into_iter().map(|block| block.cid).collect()
    }

    pub(crate) fn map(&self) -> BTreeMap<String, Cid> {
        let mut map = BTreeMap::new();
        for (key, entry) in &self.entries {
            let key = format!("{}{key}", self.prefix);
            match entry {
                Entry::Value(value) => {
                    map.insert(key, *value);
                }
                Entry::Child(child, value) => {
                    map.extend(value.map(|value| (key, value)));
                    map.extend(child.map());
                }
            }
        }
        map
    }
}

/// What an event does.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Put(String, Cid),
    Del(String),
    Batch(Vec<(String, Cid)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) cid: Cid,
    pub(crate) data: Data,
    pub(crate) parents: Vec<usize>,
    /// The tree that the event names.
    pub(crate) tree: Shard,
}

/// A whole history; parents come before children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dag(pub(crate) Vec<Event>);

impl Dag {
    pub(crate) fn past(&self, of: &[usize]) -> BTreeSet<usize> {
        let mut past = BTreeSet::new();
        for event in of {
            past.insert(*event);
            past.extend(self.past(&self.0[*event].parents));
        }
        past
    }

    /// Those events that lie in the past of no other.
    pub(crate) fn heads(&self, of: &BTreeSet<usize>) -> BTreeSet<usize> {
        let covered = |e: &usize| of.iter().any(|o| o != e && self.past(&[*o]).contains(e));
        of.iter().copied().filter(|e| !covered(e)).collect()
    }

    fn candidate(&self, event: usize) -> Option<usize> {
        match self.0[event].parents.as_slice() {
            [] => Some(event),
            [parent] => Some(*parent),
            parents => self.ancestor(parents),
        }
    }

    /// The lists of format §6.3.
    pub(crate) fn ancestor(&self, heads: &[usize]) -> Option<usize> {
        let mut lists: Vec<Vec<usize>> = heads.iter().map(|head| vec![*head]).collect();
        loop {
            let mut moved = false;
            for i in 0..lists.len() {
                let last = *lists[i].last()?;
                let Some(candidate) = self.candidate(last) else {
                    continue;
                };
                moved |= candidate != last;
                lists[i].push(candidate);
                let common = |item: &&usize| lists.iter().all(|list| list.contains(item));
                if let Some(found) = lists.iter().flatten().find(common) {
                    return Some(*found);
                }
            }
            if !moved {
                return None;
            }
        }
    }

    /// The sorted events of format §6.4, by walking every path.
    pub(crate) fn sorted(&self, heads: &[usize], ancestor: usize) -> Vec<(usize, u128)> {
        let mut weights = BTreeMap::new();
        let mut paths: Vec<(usize, u128)> = heads.iter().map(|head| (*head, 0)).collect();
        while let Some((event, length)) = paths.pop() {
            *weights.entry(event).or_insert(0) += length;
            let parents = &self.0[event].parents;
            if *parents != [ancestor] {
                paths.extend(parents.iter().map(|parent| (*parent, length + 1)));
            }
        }
        let mut sorted: Vec<(usize, u128)> = weights.into_iter().collect();
        sorted.sort_by_key(|(event, weight)| {
            (std::cmp::Reverse(*weight), self.0[*event].cid.to_string())
        });
        sorted
    }

    /// The tree of a head; none if the events are unrelated.
    pub(crate) fn resolve(&self, heads: &[usize]) -> Option<Shard> {
        match heads {
            [] => return Some(Shard::new("")),
            [head] => return Some(self.0[*head].tree.clone()),
            _ => {}
        }
        let ancestor = self.ancestor(heads)?;
        let mut tree = self.0[ancestor].tree.clone();
        for (event, _) in self.sorted(heads, ancestor) {
            self.0[event].data.apply(&mut tree);
        }
        Some(tree)
    }

    /// The rows of format §14.3, newest first, as (key, value, event).
    pub(crate) fn changes(
        &self,
        links: &[usize],
        since: &[usize],
        seen: &mut BTreeSet<usize>,
        rows: &mut Vec<(String, Cid, usize)>,
        mut limit: usize,
    ) {
        if limit == 0 || links.iter().any(|link| since.contains(link)) {
            return;
        }
        for link in links {
            if !seen.insert(*link) {
                continue;
            }
            let event = &self.0[*link];
            let ops = match &event.data {
                Data::Put(key, value) => vec![(key.clone(), *value)],
                Data::Del(_) => vec![],
                Data::Batch(ops) => ops.clone(),
            };
            for (key, value) in ops.into_iter().rev() {
                if rows.iter().all(|row| row.0 != key) {
                    rows.push((key, value, *link));
                    limit = limit.saturating_sub(1);
                }
            }
            self.changes(&event.parents, since, seen, rows, limit);
        }
    }
}

impl Data {
    pub(crate) fn apply(&self, tree: &mut Shard) {
        match self {
            Data::Put(key, value) => tree.put(key, *value),
            Data::Del(key) => {
                tree.del(key);
            }
            Data::Batch(ops) => ops.iter().for_each(|(key, value)| tree.put(key, *value)),
        }
    }
}
