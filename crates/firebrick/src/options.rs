//! How a database is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backup::{self, BackupInfo, RestoreReport};
use crate::compaction::Retention;
use crate::env::Env;
use crate::error::Result;
use crate::keys::KeyStore;
use crate::store::Store;
use crate::{Database, Index};

/// When a write is acknowledged.
///
/// ```
/// # use firebrick::{Database, Document, Durability, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// // Durable writes are the default; here, those may be lost with the power that are young.
/// let db = Database::builder().durability(Durability::Buffered).open().await?;
/// db.put(&note("a", "one")).await?;
/// // This one waits for the disk, with everything before it.
/// db.put_with(&note("b", "two"), Durability::Sync).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// After it is on the disk: it survives power loss. Writers that wait at the same time share
    /// one sync.
    #[default]
    Sync,
    /// After the operating system has it: it survives a killed process. It is synced within some
    /// 50 ms in the background.
    Buffered,
}

/// Options for opening a [`Database`]. See [`Database::builder`].
///
/// ```
/// # use firebrick::{Database, Durability, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// let db = Database::builder()
///     .path(dir.path().join("notes"))
///     .keybag(dir.path().join("keys"))
///     .durability(Durability::Buffered)
///     .open()
///     .await?;
/// db.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "call open()"]
pub struct Builder {
    pub(crate) path: Option<PathBuf>,
    pub(crate) name: Option<String>,
    pub(crate) keybag: Option<PathBuf>,
    pub(crate) key_store: Option<Arc<dyn KeyStore>>,
    pub(crate) key: Option<zeroize::Zeroizing<String>>,
    pub(crate) durability: Durability,
    pub(crate) insecure: bool,
    pub(crate) memory: usize,
    pub(crate) read_only: bool,
    pub(crate) remembered: bool,
    pub(crate) retention: Retention,
    pub(crate) auto_compact: Option<u64>,
    pub(crate) env: Option<Arc<dyn Env>>,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) indexes: Vec<Index>,
}

/// Bytes that caches may hold unless told otherwise.
const MEMORY_BYTES: usize = 36 << 20;
/// Bytes to give back from which on a compaction may run by itself.
const AUTO_COMPACT_BYTES: u64 = 32 << 20;

impl Default for Builder {
    fn default() -> Self {
        Self {
            path: None,
            name: None,
            keybag: None,
            key_store: None,
            key: None,
            durability: Durability::default(),
            insecure: false,
            memory: MEMORY_BYTES,
            read_only: false,
            remembered: false,
            retention: Retention::default(),
            auto_compact: Some(AUTO_COMPACT_BYTES),
            env: None,
            store: None,
            indexes: Vec::new(),
        }
    }
}

impl Builder {
    /// The database's directory; it is created when missing. Without one the database lives in
    /// memory and is gone when the last handle is.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let keys = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("data").join("notes");
    /// let db = Database::builder().path(&path).keybag(keys.path()).open().await?;
    /// assert_eq!(db.path(), Some(&*path)); // made, with the directories above
    /// assert!(path.is_dir());
    /// # Ok(()) }
    /// ```
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// Keeps everything in memory, keys included unless a place for them is named.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let options = Database::builder().path("/srv/notes").name("notes");
    /// let db = options.in_memory().open().await?;
    /// assert_eq!(db.path(), None);
    /// # Ok(()) }
    /// ```
    pub fn in_memory(mut self) -> Self {
        self.path = None;
        self
    }

    /// The ledger's name, which names its keys in the keybag. Default: the last part of the path.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// let db = open("notes-2024").name("notes").open().await?;
    /// // The keys of `notes` are used, whatever the directory is called.
    /// assert_eq!(db.name(), "notes");
    /// # Ok(()) }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The directory of key files. Default: `$FIREBRICK_KEYBAG`, else `$HOME/.firebrick/keybag`.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let keys = dir.path().join("keys");
    /// let db = Database::builder().path(dir.path().join("notes")).keybag(&keys).open().await?;
    /// // One file for the ledger's keys, one for the key of the local store.
    /// assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 2);
    /// # db.close().await?;
    /// # Ok(()) }
    /// ```
    pub fn keybag(mut self, directory: impl AsRef<Path>) -> Self {
        self.keybag = Some(directory.as_ref().to_owned());
        self
    }

    /// Keeps keys here, such as in the keychain of the operating system, instead of in a keybag. If
    /// [`Builder::keybag`] names one too, keys that are only there are taken over from it.
    ///
    /// ```
    /// # use firebrick::{Database, Error, MemoryKeyStore};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let keychain = MemoryKeyStore::new();
    /// let path = dir.path().join("notes");
    /// let db = Database::builder().path(path).key_store(keychain.clone()).open().await?;
    /// assert!(!keychain.is_empty());
    /// # db.close().await?;
    /// # Ok(()) }
    /// ```
    pub fn key_store(mut self, store: impl KeyStore) -> Self {
        self.key_store = Some(Arc::new(store));
        self
    }

    /// Uses this key, `z…` as [`Keys::export`](crate::Keys::export) gives it, for what it writes to
    /// remotes, beside those of the keybag. It is not saved.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let ann = Database::memory("ann").await?;
    /// let key = ann.keys().export()?;
    /// let bob = Database::builder().name("bob").key(key.as_str()).open().await?;
    /// assert_eq!(bob.keys().fingerprint(), ann.keys().fingerprint());
    /// # Ok(()) }
    /// ```
    pub fn key(mut self, text: impl Into<String>) -> Self {
        self.key = Some(zeroize::Zeroizing::new(text.into()));
        self
    }

    /// When writes are acknowledged; single calls can choose otherwise.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Durability, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let db = open("notes").durability(Durability::Buffered).open().await?;
    /// db.put(&note("a", "one")).await?; // does not wait for the disk
    /// db.close().await?; // does
    /// # Ok(()) }
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Turns encryption off, on the disk and on remotes. For tests and public data.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::builder().insecure(true).open().await?;
    /// assert_eq!(db.keys().fingerprint(), None);
    /// # Ok(()) }
    /// ```
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// Bytes that caches may hold (default 36 MiB). Memory use does not grow with the data.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// // For a small device.
    /// let db = Database::builder().memory(4 << 20).open().await?;
    /// # Ok(()) }
    /// ```
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Opens for reading only; works beside a writer and shows the state at the time of opening.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let writer = open("notes").open().await?;
    /// writer.put(&note("a", "one")).await?;
    /// let reader = open("notes").read_only(true).open().await?;
    /// assert_eq!(reader.get("a").await?, Some(note("a", "one")));
    /// assert!(matches!(reader.delete("a").await, Err(Error::ReadOnly)));
    /// # Ok(()) }
    /// ```
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Attaches the remotes again that were attached with [`Remote::remember`](crate::Remote::remember).
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// let db = open("notes").open().await?;
    /// db.attach(Remote::url("memory://builder-remembered")?.name("hub").remember(true))?;
    /// db.close().await?;
    ///
    /// let db = open("notes").remembered(true).open().await?;
    /// assert_eq!(db.attachments()[0].name(), "hub");
    /// # Ok(()) }
    /// ```
    pub fn remembered(mut self, remembered: bool) -> Self {
        self.remembered = remembered;
        self
    }

    /// Which earlier versions of documents compactions keep (default: none,
    /// [`Retention::Versions(1)`](Retention::Versions)).
    ///
    /// ```
    /// # use firebrick::{Content, Database, Document, Error, Retention};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let db = Database::builder().retention(Retention::Versions(2)).open().await?;
    /// for text in ["one", "two", "three"] {
    ///     db.put(&note("a", text)).await?;
    /// }
    /// db.compact().run().await?;
    /// let versions = db.history("a").collect::<Document>().await?;
    /// assert_eq!(versions[1].content, Content::Document(note("a", "two")));
    /// assert!(matches!(versions[2].content, Content::Missing(_)));
    /// # Ok(()) }
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Compacts in the background when more bytes are of no use than of use, and at least these are
    /// (default 32 MiB); `None` for never. Only databases on disk do so.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// // This database is compacted when somebody calls `compact()`, never by itself.
    /// let db = open("notes").auto_compact(None).open().await?;
    /// # Ok(()) }
    /// ```
    pub fn auto_compact(mut self, least_bytes: Option<u64>) -> Self {
        self.auto_compact = least_bytes;
        self
    }

    /// Runs on another environment: virtual time, seeded randomness.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # use std::{sync::Arc, time::Duration};
    /// use firebrick::env::{Env, sim::Executor};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    ///
    /// let run = |seed| {
    ///     let executor = Executor::new(seed);
    ///     let env: Arc<dyn Env> = Arc::new(executor.process("ann"));
    ///     let work = async {
    ///         let db = Database::builder().env(env).open().await?;
    ///         db.put(&Document::new().with("n", 1)).await
    ///     };
    ///     let written = executor.run_until(work, Duration::from_secs(9)).expect("time enough");
    ///     written.map(|written| written.ids)
    /// };
    /// assert_eq!(run(7)?, run(7)?); // the same seed, the same generated id
    /// # Ok(()) }
    /// ```
    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = Some(env);
        self
    }

    /// Keeps the data in this store instead of one at the path.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # use std::sync::Arc;
    /// use firebrick::store::{MemoryStore, Store};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let store = Arc::new(MemoryStore::new());
    /// let db = Database::builder().store(store.clone()).open().await?;
    /// db.put(&note("a", "one")).await?;
    /// assert!(store.stats().blocks > 0);
    /// # Ok(()) }
    /// ```
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Registers an index: by a function, so that queries find it by its name and it is kept up to
    /// date; or by fields, so that it is made before the first query asks for it. Both are made in
    /// the background.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Index, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let loud = Index::map("loud", 1, |doc: &Document, emit| {
    ///     if let Some(Value::Text(text)) = doc.get("text") {
    ///         emit.key(text.to_uppercase());
    ///     }
    /// });
    /// let db = Database::builder().index(loud).open().await?;
    /// db.put(&note("a", "one")).await?;
    /// assert_eq!(db.query("loud").key("ONE").count().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn index(mut self, index: Index) -> Self {
        self.indexes.push(index);
        self
    }

    /// Opens the database.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// let db = open("notes").open().await?;
    /// // A directory can be open for writing once.
    /// assert!(matches!(open("notes").open().await, Err(Error::Store(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) with the cause (locked by another process, wrong key,
    /// foreign directory, newer version, disk), [`Error::MissingKey`](crate::Error::MissingKey) if the
    /// keys of an existing database are not where they were looked for,
    /// [`Error::Keys`](crate::Error::Keys) for the keybag.
    pub async fn open(self) -> Result<Database> {
        Database::open_with(self).await
    }

    /// Makes a database of backups: a full one, then those that go on from it, in the order in which
    /// they were made. The options say where, and where to look for the key that the backups are
    /// encrypted with: [`Builder::key`], or any key of the keybag.
    ///
    /// The database appears at its path when it is whole, or not at all. It has the documents,
    /// versions, files, deletions, head and root of the original. The key is saved under the new
    /// name. Remotes are not part of a backup: attach them again.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let db = open("notes").open().await?;
    /// db.put(&note("a", "one")).await?;
    /// let file = dir.path().join("notes.fbk");
    /// db.backup().to_file(&file).await?;
    ///
    /// let (copy, report) = open("copy").restore_backup([&file]).await?;
    /// assert_eq!(copy.head(), db.head());
    /// assert!(report.missing.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Backup`](crate::Error::Backup) says which file is cut off, damaged, out of order or
    /// encrypted with another key, or that there is something at the path. Those of
    /// [`Builder::open`].
    pub async fn restore_backup(
        self,
        files: impl IntoIterator<Item = impl AsRef<Path>>,
    ) -> Result<(Database, RestoreReport)> {
        let files = files.into_iter().map(|file| file.as_ref().to_owned());
        backup::restore(files.collect(), self).await
    }

    /// Reads a backup to its end, checks everything in it, and says what it holds.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let db = open("notes").open().await?;
    /// db.put(&note("a", "one")).await?;
    /// let file = dir.path().join("notes.fbk");
    /// db.backup().to_file(&file).await?;
    /// let info = open("notes").inspect_backup(&file).await?;
    /// assert_eq!((info.ledger.as_str(), info.head), ("notes", db.head()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Backup`](crate::Error::Backup) says what is wrong with it.
    pub async fn inspect_backup(&self, file: impl AsRef<Path>) -> Result<BackupInfo> {
        backup::inspect(file.as_ref().to_owned(), self.clone()).await
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("path", &self.path)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
