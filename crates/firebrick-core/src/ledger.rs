//! Opening a ledger that JavaScript wrote (format §12).
//!
//! [`Ledger`] reads a directory in the format's layout through a [`Source`] and keeps all blocks in
//! memory. It goes on as far as the bytes allow: what is missing or damaged is named in
//! [`Ledger::problems`], and only what depends on it fails.

mod blocks;
mod cars;
mod log;
mod problem;
mod read;
mod salvage;
mod source;

use std::cell::RefCell;
use std::fmt;

use hashbrown::{HashMap, HashSet};

use crate::cid::Cid;
use crate::clock::{self, EventSource};
use crate::header::IndexMeta;
use crate::keys::Keys;
use crate::memory::MemoryBlocks;
use crate::merge::{Limits, Resolver};
use crate::meta::{MetaEvent, MetaFile};

pub use cars::LoadedCar;
use log::CarLog;
pub use problem::{Problem, ReadError};
pub use salvage::Salvaged;
pub use source::{Part, Source, SourceError};

/// An opened ledger. Blocks in CARs that a compaction replaced are looked up when they are needed.
///
/// ```
/// # use firebrick_core::clock::{Event, Operation};
/// # use firebrick_core::document;
/// # use firebrick_core::genesis::GENESIS;
/// # use firebrick_core::group::Car;
/// # use firebrick_core::header::CarHeader;
/// # use firebrick_core::keys::Key;
/// # use firebrick_core::ledger::{Ledger, Part, SourceError};
/// # use firebrick_core::memory::MemoryBlocks;
/// # use firebrick_core::merge::Replay;
/// # use firebrick_core::meta::MetaEvent;
/// # use std::collections::BTreeMap;
/// # let mut blocks = MemoryBlocks::default();
/// # GENESIS.blocks().into_iter().for_each(|block| blocks.insert(block));
/// # let fields = BTreeMap::from([("text", "milk")]);
/// # let note = document::encode("note", &fields)?;
/// # let replay = Replay::of(&blocks, &blocks, &[GENESIS.event.cid])?;
/// # let (tree, mut new) = replay.put(&blocks, "note", note.cid)?;
/// # let put = Operation::Put { key: "note".into(), value: note.cid };
/// # let event = Event::new(put, tree.root(), vec![GENESIS.event.cid]).encode();
/// # new.extend([note.clone(), event.clone()]);
/// # let header = CarHeader {
/// #     cars: vec![vec![GENESIS.car.cid]],
/// #     head: Some(vec![event.cid]),
/// #     ..CarHeader::default()
/// # };
/// # let car = Car::commit(&header, &new);
/// # let newest = MetaEvent { cars: vec![car.cid], parents: vec![] };
/// # let files = BTreeMap::from([
/// #     ("meta/main.json".to_owned(), bytes::Bytes::from(newest.to_main_json())),
/// #     (format!("data/{}.car", car.cid), car.bytes.clone()),
/// #     (format!("data/{}.car", GENESIS.car.cid), GENESIS.car_bytes()),
/// # ]);
/// # let source = move |path: &str| -> Result<_, SourceError> { Ok(files.get(path).cloned()) };
/// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
/// let note: BTreeMap<String, String> = ledger.document("note")?.expect("it is there");
/// assert_eq!(note["text"], "milk");
/// assert_eq!(ledger.car_log(), [[car.cid], [GENESIS.car.cid]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ledger<S, K> {
    source: S,
    keys: Option<K>,
    part: Part,
    metas: Vec<(Cid, MetaEvent)>,
    meta_keys: Vec<String>,
    head: Vec<Cid>,
    log: CarLog,
    indexes: Vec<IndexMeta>,
    state: RefCell<State>,
    resolver: RefCell<Resolver>,
}

/// What grows while reading.
#[derive(Default)]
struct State {
    blocks: MemoryBlocks,
    cars: HashMap<Cid, LoadedCar>,
    /// CARs that were tried, so that each problem is named once.
    tried: HashSet<Cid>,
    /// Replaced CARs that were not read yet.
    replaced: Vec<Cid>,
    problems: Vec<Problem>,
}

impl<S: Source, K: Keys> Ledger<S, K> {
    /// Opens one part of a directory. Without keys the CARs must be plain, with keys encrypted.
    ///
    /// An absent or empty `meta/main.json` is an empty ledger. Never fails: see
    /// [`problems`](Self::problems).
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// # let data = format!("data/{}.car", GENESIS.car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok(match path {
    /// #         "meta/main.json" => Some(newest.to_main_json().into()),
    /// #         _ => (path == data).then(|| GENESIS.car_bytes()),
    /// #     })
    /// # };
    /// let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert_eq!(ledger.head(), [GENESIS.event.cid]);
    ///
    /// let nothing = |_: &str| -> Result<Option<bytes::Bytes>, SourceError> { Ok(None) };
    /// assert!(Ledger::open(nothing, None::<Key>, Part::Data).head().is_empty());
    /// ```
    pub fn open(source: S, keys: Option<K>, part: Part) -> Self {
        let mut ledger = Self {
            source,
            keys,
            part,
            metas: Vec::new(),
            meta_keys: Vec::new(),
            head: Vec::new(),
            log: CarLog::default(),
            indexes: Vec::new(),
            state: RefCell::default(),
            resolver: RefCell::new(Resolver::new(Limits::default())),
        };
        ledger.read_metas();
        for (_, event) in ledger.metas.clone() {
            ledger.add_group(&event.cars);
        }
        ledger
    }

    fn read_metas(&mut self) {
        let path = format!("{}meta/main.json", self.part.prefix());
        let problem = match self.source.read(&path) {
            Ok(None) => return,
            Ok(Some(json)) => match MetaFile::parse(&json) {
                Ok(file) => {
                    self.metas = file.events;
                    self.meta_keys = file.keys;
                    let damaged = file.damaged.into_iter();
                    let problems = damaged.map(|(_, error)| Problem::Meta(error));
                    self.state.get_mut().problems.extend(problems);
                    return;
                }
                Err(error) => Problem::Meta(error),
            },
            Err(error) => Problem::Source { path, error },
        };
        self.state.get_mut().problems.push(problem);
    }

    /// Takes in a group: its CARs, the CARs that its header lists, its head.
    ///
    /// This is how a CAR is adopted that no meta event names any more, because another writer
    /// overwrote the one that did. Returns false if the group has no readable header.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # let data = format!("data/{}.car", GENESIS.car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok((path == data).then(|| GENESIS.car_bytes()))
    /// # };
    /// // No meta event names the CAR that is there.
    /// let mut ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert!(ledger.head().is_empty());
    /// assert!(ledger.add_group(&[GENESIS.car.cid]));
    /// assert_eq!(ledger.head(), [GENESIS.event.cid]);
    /// ```
    pub fn add_group(&mut self, group: &[Cid]) -> bool {
        for car in group {
            self.load(car);
        }
        let Some(first) = group.first() else {
            return false;
        };
        let header = match self.header(first) {
            Some(Ok(header)) => header,
            Some(Err(error)) => {
                let problem = Problem::Header { car: *first, error };
                self.state.get_mut().problems.push(problem);
                return false;
            }
            None => return false,
        };
        for car in header.cars.iter().flatten() {
            self.load(car);
        }
        let replaced = header.compact.iter().flatten();
        self.state.get_mut().replaced.extend(replaced);
        self.log.add(group, &header);
        for event in header.head.iter().flatten() {
            self.advance(*event);
        }
        if let Some(indexes) = header.indexes {
            self.indexes = indexes;
        }
        true
    }

    fn advance(&mut self, event: Cid) {
        let next = match self.event(&event) {
            // The past may have holes, and nothing needs it yet.
            Ok(_) if self.head.is_empty() => Ok(vec![event]),
            Ok(_) => clock::advance(&*self, &self.head, event),
            Err(error) => Err(error),
        };
        match next {
            Ok(mut head) => {
                head.sort_by(Cid::cmp_text);
                self.head = head;
            }
            Err(error) => {
                // Where the past has holes both events stay: neither may be dropped unproven.
                let is_here = self.event(&event).is_ok();
                if is_here && !self.head.contains(&event) {
                    self.head.push(event);
                    self.head.sort_by(Cid::cmp_text);
                }
                let problem = Problem::Head { event, error };
                self.state.get_mut().problems.push(problem);
            }
        }
    }

    /// The meta events in the file's order, each with its CID.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// # let data = format!("data/{}.car", GENESIS.car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok(match path {
    /// #         "meta/main.json" => Some(newest.to_main_json().into()),
    /// #         _ => (path == data).then(|| GENESIS.car_bytes()),
    /// #     })
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// let (_, newest) = &ledger.metas()[0];
    /// assert_eq!(newest.cars, [GENESIS.car.cid]);
    /// ```
    #[must_use]
    pub fn metas(&self) -> &[(Cid, MetaEvent)] {
        &self.metas
    }

    /// Key material that came with the meta events.
    ///
    /// ```
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # let source = |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     let json = r#"{"metas": [], "keys": ["zMCozZ91oiHGYp12nZVhtFh"]}"#;
    /// #     Ok((path == "meta/main.json").then(|| json.into()))
    /// # };
    /// // Its meta/main.json has "keys": ["zMCozZ91oiHGYp12nZVhtFh"].
    /// let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// let key = Key::from_text(&ledger.meta_keys()[0])?;
    /// assert_eq!(key.as_bytes().len(), 16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn meta_keys(&self) -> &[String] {
        &self.meta_keys
    }

    /// The clock head, ascending by text.
    ///
    /// ```
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::document;
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::group::Car;
    /// # use firebrick_core::header::CarHeader;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::memory::MemoryBlocks;
    /// # use firebrick_core::merge::Replay;
    /// # use firebrick_core::meta::MetaEvent;
    /// # use std::collections::BTreeMap;
    /// # let mut blocks = MemoryBlocks::default();
    /// # GENESIS.blocks().into_iter().for_each(|block| blocks.insert(block));
    /// # let fields = BTreeMap::from([("text", "milk")]);
    /// # let note = document::encode("note", &fields)?;
    /// # let replay = Replay::of(&blocks, &blocks, &[GENESIS.event.cid])?;
    /// # let (tree, mut new) = replay.put(&blocks, "note", note.cid)?;
    /// # let put = Operation::Put { key: "note".into(), value: note.cid };
    /// # let event = Event::new(put, tree.root(), vec![GENESIS.event.cid]).encode();
    /// # new.extend([note.clone(), event.clone()]);
    /// # let header = CarHeader {
    /// #     cars: vec![vec![GENESIS.car.cid]],
    /// #     head: Some(vec![event.cid]),
    /// #     ..CarHeader::default()
    /// # };
    /// # let car = Car::commit(&header, &new);
    /// # let newest = MetaEvent { cars: vec![car.cid], parents: vec![] };
    /// # let files = BTreeMap::from([
    /// #     ("meta/main.json".to_owned(), bytes::Bytes::from(newest.to_main_json())),
    /// #     (format!("data/{}.car", car.cid), car.bytes.clone()),
    /// #     (format!("data/{}.car", GENESIS.car.cid), GENESIS.car_bytes()),
    /// # ]);
    /// # let source = move |path: &str| -> Result<_, SourceError> { Ok(files.get(path).cloned()) };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert_eq!(ledger.head(), [event.cid]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn head(&self) -> &[Cid] {
        &self.head
    }

    /// The live CAR groups, newest first.
    ///
    /// ```
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::document;
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::group::Car;
    /// # use firebrick_core::header::CarHeader;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::memory::MemoryBlocks;
    /// # use firebrick_core::merge::Replay;
    /// # use firebrick_core::meta::MetaEvent;
    /// # use std::collections::BTreeMap;
    /// # let mut blocks = MemoryBlocks::default();
    /// # GENESIS.blocks().into_iter().for_each(|block| blocks.insert(block));
    /// # let fields = BTreeMap::from([("text", "milk")]);
    /// # let note = document::encode("note", &fields)?;
    /// # let replay = Replay::of(&blocks, &blocks, &[GENESIS.event.cid])?;
    /// # let (tree, mut new) = replay.put(&blocks, "note", note.cid)?;
    /// # let put = Operation::Put { key: "note".into(), value: note.cid };
    /// # let event = Event::new(put, tree.root(), vec![GENESIS.event.cid]).encode();
    /// # new.extend([note.clone(), event.clone()]);
    /// # let header = CarHeader {
    /// #     cars: vec![vec![GENESIS.car.cid]],
    /// #     head: Some(vec![event.cid]),
    /// #     ..CarHeader::default()
    /// # };
    /// # let car = Car::commit(&header, &new);
    /// # let newest = MetaEvent { cars: vec![car.cid], parents: vec![] };
    /// # let files = BTreeMap::from([
    /// #     ("meta/main.json".to_owned(), bytes::Bytes::from(newest.to_main_json())),
    /// #     (format!("data/{}.car", car.cid), car.bytes.clone()),
    /// #     (format!("data/{}.car", GENESIS.car.cid), GENESIS.car_bytes()),
    /// # ]);
    /// # let source = move |path: &str| -> Result<_, SourceError> { Ok(files.get(path).cloned()) };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert_eq!(ledger.car_log(), [[car.cid], [GENESIS.car.cid]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn car_log(&self) -> &[Vec<Cid>] {
        self.log.groups()
    }

    /// The indexes that the newest group names.
    ///
    /// ```
    /// # use firebrick_core::group::Car;
    /// # use firebrick_core::header::{CarHeader, IndexMeta};
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let index = IndexMeta {
    /// #     name: "text".into(),
    /// #     map: "(doc) => doc.text".into(),
    /// #     by_id: None,
    /// #     by_key: None,
    /// #     head: vec![],
    /// # };
    /// # let header = CarHeader { indexes: Some(vec![index]), ..CarHeader::default() };
    /// # let car = Car::commit(&header, []);
    /// # let newest = MetaEvent { cars: vec![car.cid], parents: vec![] };
    /// # let data = format!("idx-data/{}.car", car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok(match path {
    /// #         "idx-meta/main.json" => Some(newest.to_main_json().into()),
    /// #         _ => (path == data).then(|| car.bytes.clone()),
    /// #     })
    /// # };
    /// let ledger = Ledger::open(source, None::<Key>, Part::Index);
    /// assert_eq!(ledger.indexes()[0].name, "text");
    /// ```
    #[must_use]
    pub fn indexes(&self) -> &[IndexMeta] {
        &self.indexes
    }

    /// Calls `f` with each problem met so far.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// # // Only the list of meta events is there, no CAR.
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok((path == "meta/main.json").then(|| newest.to_main_json().into()))
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// let mut messages = Vec::new();
    /// ledger.problems(|problem| messages.push(problem.to_string()));
    /// assert_eq!(messages, [format!("the CAR {} is missing", GENESIS.car.cid)]);
    /// ```
    pub fn problems(&self, f: impl FnMut(&Problem)) {
        self.state.borrow().problems.iter().for_each(f);
    }

    /// The CARs that are missing, as far as something asked for them.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// # // Only the list of meta events is there, no CAR.
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok((path == "meta/main.json").then(|| newest.to_main_json().into()))
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert_eq!(ledger.missing(), [GENESIS.car.cid]);
    /// ```
    #[must_use]
    pub fn missing(&self) -> Vec<Cid> {
        let mut missing = Vec::new();
        self.problems(|problem| {
            if let Problem::MissingCar(car) = problem {
                missing.push(*car);
            }
        });
        missing
    }
}

impl<S, K> fmt::Debug for Ledger<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Ledger");
        out.field("part", &self.part).field("head", &self.head);
        out.field("cars", &self.state.borrow().cars.len());
        out.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
