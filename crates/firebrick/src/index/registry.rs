//! The indexes of a database, and how each is doing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::watch;

use super::definition::{Definition, Index, Kind, map_id};
use super::state::{IndexState, Record};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::lock::lock;
use crate::store::Store;

/// Where the store keeps the records of indexes.
pub(super) const RECORDS: &str = "index/";

/// How an index is doing.
///
/// ```
/// # use firebrick::{Database, Document, Error, Index, IndexStatus};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let broken = Index::map("broken", 1, |_, _| panic!("no such luck"));
/// let db = Database::builder().index(broken).open().await?;
/// db.put(&note("a", "one")).await?;
/// assert!(matches!(db.query("broken").count().await, Err(Error::IndexFailed { .. })));
/// let IndexStatus::Failed { cause } = &db.indexes()[0].status else { panic!() };
/// assert!(cause.contains("no such luck"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum IndexStatus {
    /// Not up to date, and nobody works on it; the next query does.
    Idle,
    /// It is being made, or brought up to date after an absence.
    Building {
        /// Documents done.
        done: u64,
        /// Documents to do, as far as known.
        total: u64,
    },
    /// It follows every change.
    Ready,
    /// It could not be made.
    Failed {
        /// Why.
        cause: String,
    },
    /// Its function was not registered at this opening.
    Unregistered,
}

/// An index in a listing.
///
/// ```
/// # use firebrick::{Database, Document, Error, Index, Value};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let tags = vec![Value::from("red"), Value::from("round"), Value::Bytes(vec![1])];
/// db.put(&Document::new().with("tags", tags)).await?;
/// db.query(Index::field("tags").each()).count().await?;
/// let info = &db.indexes()[0];
/// assert_eq!((info.name.as_str(), info.is_map), ("tags[]", false));
/// assert_eq!((info.rows, info.skipped), (2, 1)); // bytes cannot be a key
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct IndexInfo {
    /// The field, the path, the fields with commas between, or the function's name. `[]` at the end
    /// tells that list elements have rows of their own.
    pub name: String,
    /// Whether it is by a function.
    pub is_map: bool,
    /// The version of the function; 1 for fields.
    pub version: u64,
    /// How it is doing.
    pub status: IndexStatus,
    /// Rows, as far as it is made.
    pub rows: u64,
    /// Blocks of the store that hold it.
    pub blocks: u64,
    /// Values that cannot be keys, so that they have no rows.
    pub skipped: u64,
}

/// One registered index.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) definition: Definition,
    pub(crate) status: watch::Sender<IndexStatus>,
    /// A version to start from, for as long as no snapshot carries one.
    latest: Mutex<Option<Arc<IndexState>>>,
    /// Why the last work on it ended, for those who wait.
    error: Mutex<Option<Error>>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Indexes {
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    pub(super) ledger: OnceLock<Weak<Ledger>>,
    /// Versions that readers hold and no snapshot does.
    pub(super) read: Mutex<Vec<Weak<IndexState>>>,
}

impl Entry {
    fn new(definition: Definition) -> Self {
        Self {
            id: definition.id(),
            definition,
            status: watch::Sender::new(IndexStatus::Idle),
            latest: Mutex::default(),
            error: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.definition.name()
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.definition, Definition::Map(_))
    }

    pub(super) fn key(&self) -> String {
        format!("{RECORDS}{}", self.id)
    }

    /// What is known: from this session, or else from the store's record.
    pub(super) fn latest(&self, source: &crate::ledger::Source) -> Option<Arc<IndexState>> {
        let mut latest = lock(&self.latest);
        if latest.is_none() {
            let record = Record::decode(&source.store().kv(&self.key())?).ok()?;
            if record.version == self.definition.version() {
                *latest = record.state(source).ok().map(Arc::new);
            }
        }
        latest.clone()
    }

    pub(super) fn set_latest(&self, state: Option<Arc<IndexState>>) {
        *lock(&self.latest) = state;
    }

    pub(crate) fn set_ready(&self, state: Option<Arc<IndexState>>) {
        self.set_latest(state);
        self.status.send_replace(IndexStatus::Ready);
    }

    /// Whether the store has the record of this version.
    pub(crate) fn is_stored(&self, state: &IndexState, store: &Arc<dyn Store>) -> bool {
        state.entries.unsaved_bytes() == 0
            && store.kv(&self.key()) == Some(state.record(self.definition.version()))
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.status.borrow() == IndexStatus::Ready
    }

    /// Says why the work on it ended, and wakes those who wait.
    pub(super) fn fail(&self, error: Error) {
        let cause = match &error {
            Error::IndexFailed { cause, .. } => cause.clone(),
            other => other.to_string(),
        };
        if !matches!(error, Error::Closed) {
            tracing::error!(index = self.name(), cause, "an index could not be made");
        }
        *lock(&self.error) = Some(error);
        self.status.send_replace(IndexStatus::Failed { cause });
    }

    pub(super) fn failure(&self) -> Error {
        lock(&self.error)
            .as_ref()
            .map_or(Error::Closed, Error::again)
    }

    /// Whether trying again is of no use in this session.
    pub(super) fn has_failed_for_good(&self) -> bool {
        let failed = matches!(&*self.status.borrow(), IndexStatus::Failed { .. });
        failed && matches!(&*lock(&self.error), Some(Error::IndexFailed { .. }))
    }
}

impl Indexes {
    /// Takes the definitions that the application registers and those that the store has records of.
    pub(crate) fn load(registered: Vec<Index>, store: &Arc<dyn Store>) -> Result<Self> {
        let indexes = Self::default();
        for index in registered {
            indexes.add(Definition::try_from(index.kind)?);
        }
        for (key, _) in store.kv_prefix(RECORDS) {
            if let Some(definition) = Definition::from_id(&key[RECORDS.len()..]) {
                indexes.add(definition);
            }
        }
        Ok(indexes)
    }

    /// Remembers a version for as long as somebody reads it.
    pub(super) fn hold(&self, state: &Arc<IndexState>) {
        let mut read = lock(&self.read);
        read.retain(|state| state.strong_count() > 0);
        read.push(Arc::downgrade(state));
    }

    fn add(&self, definition: Definition) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        let entry = entries
            .entry(definition.id())
            .or_insert_with(|| Arc::new(Entry::new(definition)));
        Arc::clone(entry)
    }

    /// The index that a query asks for.
    pub(crate) fn resolve(&self, index: &Index) -> Result<Arc<Entry>> {
        let kind = match &index.kind {
            Kind::Named(name) => {
                if let Some(entry) = lock(&self.entries).get(&map_id(name)) {
                    return Ok(Arc::clone(entry));
                }
                Index::field(name.clone()).kind
            }
            kind => kind.clone(),
        };
        let definition = Definition::try_from(kind)?;
        let (version, name) = (definition.version(), definition.name());
        let entry = self.add(definition);
        if entry.definition.version() != version {
            return Err(Error::Config(format!(
                "the index {name:?} is registered with version {}, not {version}; reopen the database to change it",
                entry.definition.version()
            )));
        }
        Ok(entry)
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        lock(&self.entries).values().cloned().collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        lock(&self.entries).get(id).cloned()
    }

    /// Whether it is the entry that counts, not one that was dropped.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        let entries = lock(&self.entries);
        let registered = entries.get(&entry.id);
        registered.is_some_and(|registered| std::ptr::eq(&**registered, entry))
    }

    /// Forgets an index. A registered function stays known, so that a query can make it anew.
    pub(super) fn remove(&self, id: &str) {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.remove(id) else {
            return;
        };
        if let Definition::Map(_) = &entry.definition {
            let again = Entry::new(entry.definition.clone());
            entries.insert(id.to_owned(), Arc::new(again));
        }
    }
}
