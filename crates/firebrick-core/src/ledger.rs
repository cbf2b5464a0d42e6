//! Opening a ledger that JavaScript wrote (format §12).
//!
//! [`Ledger`] reads a directory in the format's layout through a [`Source`] and keeps all blocks in
//! memory. It goes on as far as the bytes allow: what is missing or damaged is named in
//! [`Ledger::problems`], and only what depends on it fails.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use serde::Deserialize;

use crate::car::CarError;
use crate::cbor::CborError;
use crate::cid::Cid;
use crate::clock::{self, ClockError, EventSource};
use crate::document::{self, DocumentError};
use crate::envelope::EnvelopeError;
use crate::file::FileMeta;
use crate::header::{CarHeader, IndexMeta};
use crate::keys::Keys;
use crate::memory::MemoryBlocks;
use crate::merge::{Limits, MergeError, Resolver};
use crate::meta::{MetaError, MetaEvent, MetaFile};
use crate::pail::{PailError, Range, Shard, ShardSource, Tree};

mod cars;
mod log;
mod salvage;

pub use cars::LoadedCar;
use log::CarLog;
pub use salvage::Salvaged;

/// Why a source could not be read, in its own words.
///
/// ```
/// use firebrick_core::ledger::{Source, SourceError};
///
/// let locked = |_: &str| -> Result<Option<bytes::Bytes>, SourceError> { Err("no permission".into()) };
/// assert!(locked.read("meta/main.json").is_err_and(|error| error.to_string() == "no permission"));
/// ```
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A ledger's directory, or anything that looks like one.
///
/// ```
/// use bytes::Bytes;
/// use firebrick_core::ledger::{Source, SourceError};
///
/// let files = |path: &str| -> Result<Option<Bytes>, SourceError> {
///     Ok((path == "meta/main.json").then(|| "[]".into()))
/// };
/// assert_eq!(files.read("meta/main.json")?, Some("[]".into()));
/// assert_eq!(files.read("wal/main.json")?, None);
/// # Ok::<(), SourceError>(())
/// ```
pub trait Source {
    /// The content of a file by its path in the directory, such as `meta/main.json`; `None` if
    /// there is no such file.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use firebrick_core::ledger::{Source, SourceError};
    ///
    /// struct Files(BTreeMap<String, bytes::Bytes>);
    ///
    /// impl Source for Files {
    ///     fn read(&self, path: &str) -> Result<Option<bytes::Bytes>, SourceError> {
    ///         Ok(self.0.get(path).cloned())
    ///     }
    /// }
    /// let files = Files([("meta/main.json".into(), "[]".into())].into());
    /// assert!(files.read("meta/main.json")?.is_some() && files.read("other")?.is_none());
    /// # Ok::<(), SourceError>(())
    /// ```
    ///
    /// # Errors
    /// Whatever prevented reading.
    fn read(&self, path: &str) -> Result<Option<Bytes>, SourceError>;
}

impl<F: Fn(&str) -> Result<Option<Bytes>, SourceError>> Source for F {
    fn read(&self, path: &str) -> Result<Option<Bytes>, SourceError> {
        self(path)
    }
}

/// Which of the two block stores of a directory.
///
/// ```
/// # use firebrick_core::genesis::GENESIS;
/// # use firebrick_core::keys::Key;
/// # use firebrick_core::ledger::{Ledger, SourceError};
/// # use firebrick_core::meta::MetaEvent;
/// use firebrick_core::ledger::Part;
///
/// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
/// # let data = format!("data/{}.car", GENESIS.car.cid);
/// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
/// #     Ok(match path {
/// #         "meta/main.json" => Some(newest.to_main_json().into()),
/// #         _ => (path == data).then(|| GENESIS.car_bytes()),
/// #     })
/// # };
/// let documents = Ledger::open(&source, None::<Key>, Part::Data);
/// let indexes = Ledger::open(&source, None::<Key>, Part::Index);
/// assert_eq!((documents.metas().len(), indexes.metas().len()), (1, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The documents.
    Data,
    /// The indexes.
    Index,
}

impl Part {
    /// What the names of its directories begin with.
    ///
    /// ```
    /// use firebrick_core::ledger::Part;
    ///
    /// assert_eq!(format!("{}meta", Part::Data.prefix()), "meta");
    /// assert_eq!(format!("{}meta", Part::Index.prefix()), "idx-meta");
    /// ```
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Part::Data => "",
            Part::Index => "idx-",
        }
    }
}

/// Something that could not be read. The rest of the ledger can.
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
/// use firebrick_core::ledger::Problem;
///
/// ledger.problems(|problem| match problem {
///     Problem::MissingCar(car) => assert_eq!(*car, GENESIS.car.cid),
///     other => panic!("{other}"),
/// });
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The source failed.
    #[error("{path} cannot be read: {error}")]
    Source {
        /// The file.
        path: String,
        /// Why.
        error: SourceError,
    },
    /// The list of meta events, or one of them.
    #[error("meta/main.json: {0}")]
    Meta(MetaError),
    /// A CAR is not there.
    #[error("the CAR {0} is missing")]
    MissingCar(Cid),
    /// A CAR cannot be decrypted.
    #[error("the CAR {car} cannot be decrypted: {error}")]
    Locked {
        /// The CAR.
        car: Cid,
        /// Why.
        error: EnvelopeError,
    },
    /// A CAR is damaged; the blocks before the damage are used.
    #[error("the CAR {car} is damaged: {error}")]
    Damaged {
        /// The CAR.
        car: Cid,
        /// Where and how.
        error: CarError,
    },
    /// A CAR's bytes have another hash than its name; those of its blocks that verify are used.
    #[error("the CAR {car} has the content of another: {actual}")]
    WrongName {
        /// The CAR.
        car: Cid,
        /// What its bytes are.
        actual: Cid,
    },
    /// The header of a group cannot be read.
    #[error("the header of the CAR {car} cannot be read: {error}")]
    Header {
        /// The first CAR of the group.
        car: Cid,
        /// Why.
        error: CborError,
    },
    /// An event of a head cannot be placed, because it or its past is not there.
    #[error("the event {event} cannot be placed: {error}")]
    Head {
        /// The event.
        event: Cid,
        /// Why.
        error: ClockError,
    },
}

/// Why a document or a file cannot be had.
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
/// use firebrick_core::cbor::Value;
/// use firebrick_core::document::GENESIS_KEY;
/// use firebrick_core::ledger::ReadError;
///
/// let wrong_type = ledger.document::<Vec<u8>>(GENESIS_KEY);
/// assert!(matches!(wrong_type, Err(ReadError::Document(_))));
/// assert!(ledger.document::<Value>(GENESIS_KEY).is_ok());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A block is in none of the CARs.
    #[error("the block {0} is missing")]
    MissingBlock(Cid),
    /// The state of the head cannot be computed.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A shard is missing or damaged.
    #[error(transparent)]
    Pail(#[from] PailError),
    /// A document cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A file's CAR is missing, locked or damaged.
    #[error(transparent)]
    File(Box<Problem>),
}

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

    /// The state of the head.
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
    /// assert_eq!(ledger.tree()?.root(), GENESIS.root.cid);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MergeError`] if blocks are missing or damaged, or the heads are unrelated.
    pub fn tree(&self) -> Result<Tree, MergeError> {
        let mut resolver = self.resolver.borrow_mut();
        resolver.resolve(self, self, &self.head)
    }

    /// A block. On a miss the CARs that compactions replaced are read too.
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
    /// assert_eq!(ledger.block(&GENESIS.event.cid), Some(GENESIS.event.bytes.clone()));
    /// assert_eq!(ledger.block(&GENESIS.car.cid), None); // a CAR is not a block
    /// ```
    #[must_use]
    pub fn block(&self, cid: &Cid) -> Option<Bytes> {
        self.find(|blocks| blocks.block(cid))
            .map(|block| block.bytes)
    }

    /// The document block of an id: `None` if the id was never written.
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
    /// assert_eq!(ledger.document_block("note")?, Some(note.bytes));
    /// assert_eq!(ledger.document_block("other")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if blocks are missing or damaged.
    pub fn document_block(&self, id: &str) -> Result<Option<Bytes>, ReadError> {
        let Some(cid) = self.tree()?.get(self, id)? else {
            return Ok(None);
        };
        let block = self.block(&cid);
        block.map(Some).ok_or(ReadError::MissingBlock(cid))
    }

    /// A document: `None` if the id was never written or is deleted.
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
    /// #[derive(serde::Deserialize)]
    /// struct Note {
    ///     text: String,
    /// }
    ///
    /// let note = ledger.document::<Note>("note")?;
    /// assert_eq!(note.map(|note| note.text).as_deref(), Some("milk"));
    /// assert!(ledger.document::<Note>("other")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if blocks are missing or damaged, or the type does not take the document.
    pub fn document<T: for<'de> Deserialize<'de>>(&self, id: &str) -> Result<Option<T>, ReadError> {
        match self.document_block(id)? {
            Some(block) => Ok(document::decode(&block)?),
            None => Ok(None),
        }
    }

    /// All ids, deleted ones and that of the genesis document included, with their document blocks'
    /// CIDs, ascending.
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
    /// use firebrick_core::document::GENESIS_KEY;
    ///
    /// let ids: Vec<String> = ledger.documents()?.into_iter().map(|(id, _)| id).collect();
    /// assert_eq!(ids, [GENESIS_KEY, "note"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if blocks are missing or damaged.
    pub fn documents(&self) -> Result<Vec<(String, Cid)>, ReadError> {
        let tree = self.tree()?;
        let entries: Result<_, PailError> = tree.entries(self, Range::all()).collect();
        Ok(entries?)
    }

    /// A file's content.
    ///
    /// ```
    /// # use firebrick_core::file::{self, FileMeta};
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # let content = file::block("waves");
    /// # let car = file::car(&[content.cid], [&content]);
    /// # let meta = FileMeta {
    /// #     cid: content.cid.into(),
    /// #     car: vec![car.cid.into()],
    /// #     size: 5,
    /// #     media_type: "text/plain".into(),
    /// #     last_modified: 0,
    /// # };
    /// # let data = format!("data/{}", car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok((path == data).then(|| car.bytes.clone()))
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// // What a document says about its file leads to the content.
    /// assert_eq!(ledger.file(&meta)?, "waves");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if its CAR is missing, locked or damaged, or does not hold it.
    pub fn file(&self, meta: &FileMeta) -> Result<Bytes, ReadError> {
        let cid = meta.cid.cid();
        for car in meta.car.iter().filter_map(crate::cbor::Link::cid) {
            let path = format!("{}data/{car}", self.part.prefix());
            let (car, _) = cars::read(&self.source, self.keys.as_ref(), &path, car)
                .map_err(|problem| ReadError::File(Box::new(problem)))?;
            let mut blocks = car.blocks.into_iter();
            if let Some(block) = blocks.find(|block| Some(block.cid) == cid) {
                return Ok(block.bytes);
            }
        }
        Err(ReadError::MissingBlock(cid.unwrap_or_else(|| {
            Cid::of(crate::cid::Codec::Raw, &meta.cid.to_bytes())
        })))
    }

    /// A CAR that was read.
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
    /// let car = ledger.car(&GENESIS.car.cid).expect("it was read");
    /// assert_eq!((car.blocks.len(), car.plain_len), (5, 788));
    /// ```
    #[must_use]
    pub fn car(&self, cid: &Cid) -> Option<LoadedCar> {
        self.state.borrow().cars.get(cid).cloned()
    }

    /// The header in a CAR that was read; `None` if the CAR was not, or has no root block.
    fn header(&self, car: &Cid) -> Option<Result<CarHeader, CborError>> {
        self.car(car)?.header()
    }

    /// Reads a CAR unless it was tried before.
    fn load(&self, cid: &Cid) {
        if !self.state.borrow_mut().tried.insert(*cid) {
            return;
        }
        let path = format!("{}data/{cid}.car", self.part.prefix());
        let car = cars::read(&self.source, self.keys.as_ref(), &path, *cid);
        let mut state = self.state.borrow_mut();
        match car {
            Ok((car, problems)) => {
                car.blocks
                    .iter()
                    .for_each(|block| state.blocks.insert(block));
                state.cars.insert(*cid, car);
                state.problems.extend(problems);
            }
            Err(problem) => state.problems.push(problem),
        }
    }

    /// Looks something up in the blocks; if it is not there, reads replaced CARs until it is.
    fn find<T>(&self, look: impl Fn(&MemoryBlocks) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = look(&self.state.borrow().blocks) {
                return Some(found);
            }
            let next = self.state.borrow_mut().replaced.pop()?;
            self.load(&next);
            if let Some(Ok(header)) = self.header(&next) {
                let older = header.compact.into_iter().chain(header.cars).flatten();
                let mut state = self.state.borrow_mut();
                let state = &mut *state;
                let tried = &state.tried;
                state
                    .replaced
                    .extend(older.filter(|car| !tried.contains(car)));
            }
        }
    }
}

impl<S: Source, K: Keys> ShardSource for Ledger<S, K> {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        self.find(|blocks| match blocks.shard(cid) {
            Err(PailError::Missing(_)) => None,
            answer => Some(answer),
        })
        .unwrap_or(Err(PailError::Missing(*cid)))
    }
}

impl<S: Source, K: Keys> EventSource for Ledger<S, K> {
    fn event(&self, cid: &Cid) -> Result<Arc<clock::Event>, ClockError> {
        self.find(|blocks| match blocks.event(cid) {
            Err(ClockError::Missing(_)) => None,
            answer => Some(answer),
        })
        .unwrap_or(Err(ClockError::Missing(*cid)))
    }

    fn generation(&self, cid: &Cid) -> Result<u64, ClockError> {
        self.find(|blocks| match blocks.generation(cid) {
            Err(ClockError::Missing(_)) => None,
            answer => Some(answer),
        })
        .unwrap_or(Err(ClockError::Missing(*cid)))
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
