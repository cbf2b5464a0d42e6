//! The handle that an application holds: opening, queries, closing. Documents are in [`documents`],
//! remotes in [`remotes`], what keeps a database in shape in [`upkeep`].

mod documents;
mod remotes;
mod upkeep;

use std::path::Path;
use std::sync::Arc;

use firebrick_core::Cid;

use crate::env::RealEnv;
use crate::error::{Error, Result};
use crate::index::{Index, IndexInfo};
use crate::keys::{KeyRing, Keys};
use crate::ledger::{Ledger, Parts, Pipeline};
use crate::options::{Builder, Durability};
use crate::query::Query;
use crate::read::Changes;
use crate::store::{LogOptions, LogStore, MemoryStore, Store};
use crate::subscribe::Subscription;
use crate::tracker::{CloseReport, Trackers};

/// A document database on this machine, which syncs with any number of remotes.
///
/// Cloning gives another handle on the same database.
///
/// ```
/// # use firebrick::{Database, Error};
/// # #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)] struct Note { _id: String, text: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let db = Database::memory("notes").await?;
/// let note = Note { _id: "n1".into(), text: "buy milk".into() };
/// db.put(&note).await?;
/// assert_eq!(db.get::<Note>("n1").await?, Some(note));
/// db.delete("n1").await?;
/// assert_eq!(db.get::<Note>("n1").await?, None);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Arc<Ledger>,
    trackers: Trackers,
    durability: Durability,
    path: Option<std::path::PathBuf>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.trackers.stop();
        self.ledger.abandon();
    }
}

impl Database {
    /// Options for opening.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::builder().name("notes").memory(8 << 20).open().await?;
    /// assert_eq!(db.name(), "notes");
    /// # Ok(()) }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Opens the database in this directory, creating it when missing, with default options.
    ///
    /// ```no_run
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// // Its keys are kept in `$FIREBRICK_KEYBAG`, else in `$HOME/.firebrick/keybag`.
    /// let db = Database::open("/home/ann/notes").await?;
    /// assert_eq!(db.name(), "notes");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Builder::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).open().await
    }

    /// A database in memory, gone with its last handle. `name` names its ledger.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::memory("notes").await?;
    /// assert_eq!(db.name(), "notes");
    /// assert_eq!(db.path(), None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Builder::open`].
    pub async fn memory(name: impl Into<String>) -> Result<Self> {
        Self::builder().name(name).open().await
    }

    pub(crate) async fn open_with(options: Builder) -> Result<Self> {
        let env = options
            .env
            .clone()
            .unwrap_or_else(|| Arc::new(RealEnv::new()));
        let name = ledger_name(&options)?;
        let opened = KeyRing::open(&options, &name, &*env)?;
        let on_disk = options.store.is_none() && options.path.is_some();
        let store: Arc<dyn Store> = match (&options.store, &options.path) {
            (Some(store), _) => Arc::clone(store),
            (None, None) => Arc::new(MemoryStore::new()),
            (None, Some(path)) => {
                let log = opened
                    .store_key
                    .map_or_else(LogOptions::insecure, LogOptions::sealed);
                match options.read_only {
                    true => Arc::new(LogStore::open_read_only(path, &log)?),
                    false => Arc::new(LogStore::open(path, &log)?),
                }
            }
        };
        let ledger = Ledger::open(Parts {
            name,
            env,
            store,
            keys: opened.ring,
            read_only: options.read_only,
            memory: options.memory,
            pipeline: Pipeline::new(on_disk),
            indexes: options.indexes,
            retention: options.retention,
            auto_compact: options.auto_compact,
        })?;
        Keys::new(&ledger).note_opening(opened.origin)?;
        let trackers = Trackers::new(&ledger);
        if options.remembered && !options.read_only {
            trackers.attach_remembered()?;
        }
        let inner = Inner {
            ledger,
            trackers,
            durability: options.durability,
            path: options.path,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    pub(crate) fn durability(&self) -> Durability {
        self.inner.durability
    }

    /// The changes since a head, oldest first; everything for an empty `since`.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let seen = db.put(&note("a", "one")).await?.head;
    /// db.put(&note("b", "two")).await?;
    /// let changes = db.changes(&seen).collect::<Document>().await?;
    /// assert_eq!(changes.len(), 1);
    /// assert_eq!(changes[0].doc, Some(note("b", "two")));
    /// # Ok(()) }
    /// ```
    pub fn changes(&self, since: &[Cid]) -> Changes {
        Changes::new(Arc::clone(&self.inner.ledger), since)
    }

    /// A query on an index, by default of all its rows in the order of their keys.
    ///
    /// ```
    /// use firebrick::{Database, Document, Error, Index};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::memory("people").await?;
    /// for (id, age) in [("ann", 31), ("bob", 25), ("cy", 40)] {
    ///     db.put(&Document::new().with("_id", id).with("age", age)).await?;
    /// }
    /// let rows = db.query(Index::field("age")).range(30..).collect::<Document>().await?;
    /// let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    /// assert_eq!(ids, ["ann", "cy"]);
    /// # Ok(()) }
    /// ```
    pub fn query(&self, index: impl Into<Index>) -> Query {
        Query::new(Arc::clone(&self.inner.ledger), &index.into())
    }

    /// The indexes, and how each is doing.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, IndexStatus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.query(Index::field("text")).count().await?;
    /// let index = &db.indexes()[0];
    /// assert_eq!((index.name.as_str(), index.rows), ("text", 1));
    /// assert_eq!(index.status, IndexStatus::Ready);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn indexes(&self) -> Vec<IndexInfo> {
        self.inner.ledger.index_infos()
    }

    /// Gives an index up, also one that is being made; its space can be reclaimed. A later query
    /// makes it anew. `false` if there is no such index.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Index};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.query(Index::field("text")).count().await?;
    /// assert!(db.drop_index(Index::field("text"))?);
    /// assert!(!db.drop_index(Index::field("text"))?); // gone already
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] if the store fails.
    pub fn drop_index(&self, index: impl Into<Index>) -> Result<bool> {
        self.inner.ledger.drop_index(&index.into())
    }

    /// What changes from now on, here or at any attached remote.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Event};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let mut events = db.subscribe();
    /// db.put(&note("a", "one")).await?;
    /// let Some(Event::Changes(set)) = events.next().await.transpose()? else { panic!() };
    /// assert_eq!(set.changes[0].id, "a");
    /// # Ok(()) }
    /// ```
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(&self.inner.ledger)
    }

    /// The keys of this ledger.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// // Whoever has the key reads what goes to remotes.
    /// let friend = Database::memory("friend").await?;
    /// friend.keys().import(&db.keys().export()?)?;
    /// assert_eq!(friend.keys().fingerprint(), db.keys().fingerprint());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(&self.inner.ledger)
    }

    /// The ledger's name.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("notes");
    /// let db = Database::builder().path(path).insecure(true).open().await?;
    /// assert_eq!(db.name(), "notes"); // unless the builder was told otherwise
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.ledger.name
    }

    /// The newest events. Two databases with equal heads hold the same documents.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// assert!(db.head().is_empty()); // nothing was written yet
    /// let written = db.put(&note("a", "one")).await?;
    /// assert_eq!(db.head(), written.head);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn head(&self) -> Vec<Cid> {
        self.inner.ledger.snapshot().head.clone()
    }

    /// The root of the document tree. Equal roots mean equal documents and deletions.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let other = Database::memory("other").await?;
    /// other.put(&note("a", "one")).await?;
    /// // Equal documents, by another way.
    /// assert_eq!(db.root(), other.root());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn root(&self) -> Cid {
        self.inner.ledger.snapshot().tree.root()
    }

    /// How many times the head has moved since the opening.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let before = db.sequence();
    /// db.put(&note("a", "one")).await?;
    /// assert!(db.sequence() > before);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.inner.ledger.snapshot().sequence
    }

    /// The database's directory, if it is on disk.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// let db = open("notes").open().await?;
    /// assert_eq!(db.path(), Some(&*dir.path().join("notes")));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// Stops syncing and closes the store. What attached remotes lack is pushed first if they can
    /// be reached, within some seconds; what is left is reported, and goes out after the next
    /// opening.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.attach("memory://closed")?;
    /// db.put(&note("a", "one")).await?;
    /// let report = db.close().await?;
    /// assert!(report.unpushed.is_empty()); // the remote has everything
    /// assert!(matches!(db.get::<Document>("a").await, Err(Error::Closed)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] if the last sync fails.
    pub async fn close(&self) -> Result<CloseReport> {
        let report = self.inner.trackers.close().await;
        self.inner.ledger.close()?;
        Ok(report)
    }

    /// Closes the database and deletes its directory. Keys and remotes stay.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let db = open("notes").open().await?;
    /// db.put(&note("a", "one")).await?;
    /// db.destroy().await?;
    /// assert!(!dir.path().join("notes").exists());
    /// assert!(dir.path().join("keys").exists()); // remotes may still have data under them
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] if files cannot be deleted.
    pub async fn destroy(&self) -> Result<()> {
        self.inner.trackers.abort().await;
        self.inner.ledger.close()?;
        match &self.inner.path {
            Some(path) => Self::destroy_path(path),
            None => Ok(()),
        }
    }

    /// Deletes the database in this directory. Refuses if another process has it open or if the
    /// directory is not a database.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// let db = open("notes").open().await?;
    /// let path = dir.path().join("notes");
    /// assert!(Database::destroy_path(&path).is_err()); // somebody has it open
    /// db.close().await?;
    /// Database::destroy_path(&path)?;
    /// assert!(!path.exists());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn destroy_path(path: impl AsRef<Path>) -> Result<()> {
        Ok(LogStore::destroy(path)?)
    }
}

pub(crate) fn ledger_name(options: &Builder) -> Result<String> {
    let from_path = || {
        Some(
            options
                .path
                .as_ref()?
                .file_name()?
                .to_string_lossy()
                .into_owned(),
        )
    };
    let name = options
        .name
        .clone()
        .or_else(from_path)
        .unwrap_or_else(|| "firebrick".into());
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::Config(format!(
            "{name:?} cannot name a ledger; give a name without control characters"
        )));
    }
    Ok(name)
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("name", &self.name())
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}
