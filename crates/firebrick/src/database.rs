//! The handle that an application holds.

use std::path::Path;
use std::sync::Arc;

use firebrick_core::Cid;
use firebrick_core::document;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backup::Backup;
use crate::compaction::Compact;
use crate::env::RealEnv;
use crate::error::{Error, Result};
use crate::files::{FileSource, Files};
use crate::index::{Index, IndexInfo};
use crate::keys::{KeyRing, Keys};
use crate::ledger::{Ledger, Parts, Pipeline, Put, Written};
use crate::options::{Builder, Durability};
use crate::query::Query;
use crate::read::{AllDocs, Changes};
use crate::stats::{FullStats, Stats};
use crate::store::{LogOptions, LogStore, MemoryStore, Store};
use crate::subscribe::Subscription;
use crate::tracker::{Attachment, CloseReport, Receipt, Remote, Trackers};
use crate::verify::{self, RepairReport, VerifyProgress, VerifyReport};

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
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Opens the database in this directory, creating it when missing, with default options.
    ///
    /// # Errors
    /// See [`Builder::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).open().await
    }

    /// A database in memory, gone with its last handle. `name` names its ledger.
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

    /// Writes a document under its `_id`, or under a generated id (a UUIDv7, which sorts by time)
    /// if it has none.
    ///
    /// # Errors
    /// [`Error::Document`] for an id or value that cannot be stored; nothing is written then.
    /// [`Error::Store`] if the disk fails. Dropping the future does not undo the write.
    pub async fn put<T: Serialize + ?Sized>(&self, document: &T) -> Result<Written> {
        self.put_with(document, self.inner.durability).await
    }

    /// [`Database::put`] with another durability than the database's.
    ///
    /// # Errors
    /// Those of [`Database::put`].
    pub async fn put_with<T: Serialize + ?Sized>(
        &self,
        document: &T,
        durability: Durability,
    ) -> Result<Written> {
        let put = self.encode(document)?;
        self.inner.ledger.write(vec![put], durability).await
    }

    /// Writes several documents as one atomic event: readers and remotes see all of it or nothing.
    ///
    /// # Errors
    /// Those of [`Database::put`], if any document has one; [`Error::Config`] for an empty list.
    pub async fn bulk<'a, T: Serialize + 'a>(
        &self,
        documents: impl IntoIterator<Item = &'a T>,
    ) -> Result<Written> {
        self.bulk_with(documents, self.inner.durability).await
    }

    /// [`Database::bulk`] with another durability than the database's.
    ///
    /// # Errors
    /// Those of [`Database::bulk`].
    pub async fn bulk_with<'a, T: Serialize + 'a>(
        &self,
        documents: impl IntoIterator<Item = &'a T>,
        durability: Durability,
    ) -> Result<Written> {
        let puts = Put::encode_all(&self.inner.ledger, documents)?;
        if puts.is_empty() {
            return Err(Error::Config(
                "a bulk write needs at least one document".into(),
            ));
        }
        self.inner.ledger.write(puts, durability).await
    }

    /// Deletes a document by writing a tombstone in its place. Deleting what does not exist works
    /// and leaves a tombstone too, as in the format.
    ///
    /// # Errors
    /// Those of [`Database::put`].
    pub async fn delete(&self, id: &str) -> Result<Written> {
        let put = Put::delete(id)?;
        self.inner
            .ledger
            .write(vec![put], self.inner.durability)
            .await
    }

    fn encode<T: Serialize + ?Sized>(&self, document: &T) -> Result<Put> {
        Put::encode(&self.inner.ledger, document)
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    pub(crate) fn durability(&self) -> Durability {
        self.inner.durability
    }

    /// Reads a document; `None` if there is none or it is deleted.
    ///
    /// # Errors
    /// [`Error::MissingBlock`] if the document exists but has not arrived here yet,
    /// [`Error::Document`] if it does not fit the type.
    pub async fn get<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>> {
        match self.inner.ledger.document(id)? {
            Some(bytes) => Ok(document::decode(&bytes)?),
            None => Ok(None),
        }
    }

    /// The files of a document, which need not exist yet.
    #[must_use]
    pub fn files(&self, id: &str) -> Files {
        Files::new(&self.inner.ledger, self.inner.durability, id)
    }

    /// [`Database::put`] that keeps files: the document gets those given here beside those that its
    /// present version has. A plain `put` replaces the whole document, its list of files
    /// included, as in the format. A document that brings a field `_files` of its own keeps only
    /// what stands there.
    ///
    /// ```
    /// use firebrick::{Database, FileSource};
    /// # #[derive(serde::Serialize)] struct Note { _id: String, text: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), firebrick::Error> {
    /// let db = Database::memory("notes").await?;
    /// let mut note = Note { _id: "n1".into(), text: "see photo".into() };
    /// db.put_with_files(&note, [("photo.jpg", FileSource::bytes("…"))]).await?;
    /// note.text = "see photos".into();
    /// db.put_with_files(&note, [("other.jpg", FileSource::bytes("……"))]).await?;
    /// assert_eq!(db.files("n1").list().await?.len(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::put`] and [`Files::put`].
    pub async fn put_with_files<T, N, S>(
        &self,
        document: &T,
        files: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Written>
    where
        T: Serialize + ?Sized,
        N: Into<String>,
        S: Into<FileSource>,
    {
        self.inner.ledger.ensure_writable()?;
        let Put { id, block, .. } = self.encode(document)?;
        let files = files.into_iter();
        let files = files.map(|(name, source)| (name.into(), source.into()));
        let files: Vec<(String, FileSource)> = files.collect();
        self.files(&id).write_with(&block.bytes, files).await
    }

    /// All documents of the present version, in order of their ids.
    pub fn all_docs(&self) -> AllDocs {
        AllDocs::new(Arc::clone(&self.inner.ledger))
    }

    /// The number of documents that are not deleted. Walks the tree, not the documents.
    ///
    /// # Errors
    /// The store's.
    pub async fn count(&self) -> Result<usize> {
        self.all_docs().count()
    }

    /// The changes since a head, oldest first; everything for an empty `since`.
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
    #[must_use]
    pub fn indexes(&self) -> Vec<IndexInfo> {
        self.inner.ledger.index_infos()
    }

    /// Gives an index up, also one that is being made; its space can be reclaimed. A later query
    /// makes it anew. `false` if there is no such index.
    ///
    /// # Errors
    /// [`Error::Store`] if the store fails.
    pub fn drop_index(&self, index: impl Into<Index>) -> Result<bool> {
        self.inner.ledger.drop_index(&index.into())
    }

    /// What changes from now on, here or at any attached remote.
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(&self.inner.ledger)
    }

    /// Attaches a remote and returns at once; syncing goes on in the background until the
    /// attachment is detached or the database closed. A remote that is attached already gives the
    /// same attachment again.
    ///
    /// # Errors
    /// [`Error::Gateway`] for a URL that no gateway takes, [`Error::Config`] for a name in use.
    pub fn attach(
        &self,
        remote: impl TryInto<Remote, Error = impl Into<Error>>,
    ) -> Result<Attachment> {
        self.inner.ledger.ensure_writable()?;
        self.inner
            .trackers
            .attach(&remote.try_into().map_err(Into::into)?)
    }

    /// The attached remotes, in the order of attaching.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.inner.trackers.all()
    }

    /// The remotes that are remembered for later openings: name and URL.
    #[must_use]
    pub fn remembered(&self) -> Vec<(String, String)> {
        self.inner.trackers.remembered()
    }

    /// Forgets a remembered remote; it is not detached.
    ///
    /// # Errors
    /// [`Error::NoRemote`] if none of this name is remembered.
    pub fn forget(&self, name: &str) -> Result<()> {
        self.inner.trackers.forget(name)
    }

    /// Waits until every attached remote is [synced](Attachment::synced).
    ///
    /// # Errors
    /// The first that an attachment gives.
    pub async fn synced(&self) -> Result<()> {
        for attachment in self.attachments() {
            attachment.synced().await?;
        }
        Ok(())
    }

    /// Where a write has arrived, to wait for.
    #[must_use]
    pub fn receipt(&self, written: &Written) -> Receipt {
        Receipt::new(self.attachments(), written.clone())
    }

    /// The keys of this ledger.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(&self.inner.ledger)
    }

    /// A backup of this database into one file, while it is in use.
    pub fn backup(&self) -> Backup {
        Backup::new(&self.inner.ledger)
    }

    /// Looks at everything that is here: events, the tree, documents, earlier values that are kept,
    /// contents of files, indexes. Each block is read from the disk, opened and checked against its
    /// hash. Reads and writes go on.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::memory("notes").await?;
    /// db.put(&Document::new().with("_id", "a").with("n", 1)).await?;
    /// let report = db.verify().await?;
    /// assert!(report.is_good() && report.documents == 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the system fails. Damage is not an error but the result.
    pub async fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(|_| {}).await
    }

    /// [`Database::verify`], which calls `progress` now and then.
    ///
    /// # Errors
    /// Those of [`Database::verify`].
    pub async fn verify_with(
        &self,
        progress: impl FnMut(VerifyProgress) + Send + 'static,
    ) -> Result<VerifyReport> {
        verify::verify(&self.inner.ledger, &self.inner.trackers, progress).await
    }

    /// Mends what [`Database::verify`] finds: attached remotes give back the blocks that they have,
    /// parts of the tree are computed from the events, damaged indexes are given up so that the next
    /// query makes them anew. Whatever comes is taken only if it has the right hash; nothing is made
    /// up. The report says what is still wrong. A remote that cannot be reached is waited for, up to
    /// half a minute.
    ///
    /// # Errors
    /// If the system fails, or the database was opened read-only.
    pub async fn repair(&self) -> Result<RepairReport> {
        verify::repair(&self.inner.ledger, &self.inner.trackers).await
    }

    /// The ledger's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.ledger.name
    }

    /// The newest events. Two databases with equal heads hold the same documents.
    #[must_use]
    pub fn head(&self) -> Vec<Cid> {
        self.inner.ledger.snapshot().head.clone()
    }

    /// The root of the document tree. Equal roots mean equal documents and deletions.
    #[must_use]
    pub fn root(&self) -> Cid {
        self.inner.ledger.snapshot().tree.root()
    }

    /// How many times the head has moved since the opening.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.inner.ledger.snapshot().sequence
    }

    /// Gives back the space of versions that later writes have replaced. See [`Compact`] for what
    /// can be chosen and [`Retention`](crate::Retention) for what stays.
    pub fn compact(&self) -> Compact {
        Compact::new(Arc::clone(&self.inner.ledger))
    }

    /// Sizes and counters that are told without reading.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let snapshot = self.inner.ledger.snapshot();
        Stats {
            sequence: snapshot.sequence,
            heads: snapshot.head.len(),
            store: self.inner.ledger.store().stats(),
        }
    }

    /// [`Database::stats`], and what only a walk over everything tells: documents, live and
    /// reclaimable bytes, sizes of indexes, and how far each remote is apart. Takes as long as
    /// [`Database::verify`].
    ///
    /// # Errors
    /// If the system fails, or an event is damaged.
    pub async fn full_stats(&self) -> Result<FullStats> {
        let report = self.verify().await?;
        let reclaimable = match self.compact().dry_run(true).run().await {
            Ok(would) => Some(would.reclaimable_bytes),
            Err(error) if error.unreadable().is_some() => None,
            Err(error) => return Err(error),
        };
        let remotes = self.inner.trackers.lags()?;
        Ok(FullStats::new(self.stats(), &report, reclaimable, remotes))
    }

    /// The database's directory, if it is on disk.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// Stops syncing and closes the store. What attached remotes lack is pushed first if they can
    /// be reached, within some seconds; what is left is reported, and goes out after the next
    /// opening.
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
