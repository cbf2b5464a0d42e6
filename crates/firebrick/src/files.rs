//! Files of documents.
//!
//! The path of a file: [`intake`] reads the source and brings the content to the disk; the
//! document's entry is written last, so nothing ever refers to what is not there. [`reader`] goes
//! back, and [`exchange`] fetches what is only at a remote. The tracker sends contents before the
//! documents that refer to them.

mod exchange;
mod intake;
mod local;
mod reader;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use firebrick_core::cbor::Value;
use firebrick_core::document;
use firebrick_core::file::{self, Entry, FILES, FileMeta, PUBLIC_FILES};
use serde::Serialize;

pub(crate) use self::exchange::{Exchange, Peer, Wanted};
use self::intake::{Taken, take};
pub(crate) use self::local::{Item, PART_BYTES, is_here, sealed_car};
pub use self::reader::FileReader;
pub(crate) use self::reader::{fetch_list, items, own_item};
pub use self::source::FileSource;
use crate::error::{Error, Result};
use crate::ledger::{Conditions, Ledger, Put, Written, present};
use crate::options::Durability;

/// What a document says about one of its files.
///
/// ```
/// # use firebrick::{Database, Error, FileSource};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let files = db.files("summer");
/// let source = FileSource::bytes("waves").content_type("text/plain");
/// let file = files.put("sea.txt", source).await?;
/// assert_eq!((file.name.as_str(), file.size), ("sea.txt", 5));
/// assert_eq!(file.content_type, "text/plain");
/// assert!(file.single_block && !file.public);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileInfo {
    /// Its name in the document.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// The media type; JavaScript may have left it empty.
    pub content_type: String,
    /// When the content last changed, in milliseconds of Unix time, as the writer said.
    pub last_modified_ms: i64,
    /// The content's CID, or that of the list of its pieces.
    pub cid: Option<String>,
    /// Whether it is one of `_publicFiles`.
    pub public: bool,
    /// Whether the content is one block, which JavaScript can read.
    pub single_block: bool,
}

/// The files of one document. Made by [`Database::files`](crate::Database::files).
///
/// ```
/// use firebrick::{Database, FileSource};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), firebrick::Error> {
/// let db = Database::memory("album").await?;
/// let files = db.files("summer");
/// files.put("sea.txt", FileSource::bytes("waves and sand").content_type("text/plain")).await?;
/// let file = files.get("sea.txt").await?.expect("it was just written");
/// assert_eq!(file.info().size, 14);
/// assert_eq!(file.range(10..).bytes().await?, "sand");
/// assert!(files.remove("sea.txt").await?);
/// assert!(files.list().await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Files {
    ledger: Arc<Ledger>,
    durability: Durability,
    id: String,
}

type Fields = BTreeMap<String, Value>;

impl Files {
    pub(crate) fn new(ledger: &Arc<Ledger>, durability: Durability, id: &str) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            durability,
            id: id.to_owned(),
        }
    }

    /// Attaches a content under a name, in place of the one that has it. The document is made if
    /// there is none; its other fields stay.
    ///
    /// The content is on the disk before the document refers to it. A content that is here already
    /// is not stored again.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves")).await?;
    /// let file = files.put("sea.txt", FileSource::bytes("waves and sand")).await?;
    /// assert_eq!(file.size, 14);
    /// assert_eq!(files.list().await?, [file]); // in place of the first one
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::FileSource`](crate::Error::FileSource) if the source fails: nothing is left of it.
    /// [`Error::FileTooLarge`](crate::Error::FileTooLarge), and those of
    /// [`Database::put`](crate::Database::put).
    pub async fn put(&self, name: &str, source: impl Into<FileSource>) -> Result<FileInfo> {
        self.ledger.ensure_writable()?;
        document::check_id(&self.id)?;
        let taken = take(&self.ledger, name, source.into()).await?;
        let info = FileInfo::of(&Entry {
            name: name.to_owned(),
            public: false,
            meta: taken.meta.clone(),
        });
        let value = keep(&self.ledger, taken).await?;
        let add = |fields: Option<Fields>| {
            let mut fields = fields.unwrap_or_default();
            entries_of(&mut fields, FILES).insert(name.to_owned(), value.clone());
            Some(fields)
        };
        self.edit(add).await?;
        Ok(info)
    }

    /// Opens a file; `None` if the document has none of this name. What is not here is fetched
    /// when it is read.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves")).await?;
    /// let file = files.get("sea.txt").await?.expect("it was just written");
    /// assert_eq!(file.bytes().await?, "waves");
    /// assert!(files.get("sky.txt").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingFile`](crate::Error::MissingFile) if a large file's list of pieces is not
    /// here and no remote has it; those of [`Database::get`](crate::Database::get).
    pub async fn get(&self, name: &str) -> Result<Option<FileReader>> {
        match self.entry(name)? {
            Some(entry) => FileReader::open(&self.ledger, &self.id, &entry)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// What the document says about its files, by name; those of `_publicFiles` come last.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// for name in ["sky.txt", "sea.txt"] {
    ///     files.put(name, FileSource::bytes("blue")).await?;
    /// }
    /// let names: Vec<String> = files.list().await?.into_iter().map(|file| file.name).collect();
    /// assert_eq!(names, ["sea.txt", "sky.txt"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::get`](crate::Database::get).
    pub async fn list(&self) -> Result<Vec<FileInfo>> {
        Ok(self.entries()?.iter().map(FileInfo::of).collect())
    }

    /// How many bytes of a file are on this machine; `None` if the document has none of this name.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves")).await?;
    /// assert_eq!(files.local_bytes("sea.txt").await?, Some(5));
    /// assert_eq!(files.local_bytes("sky.txt").await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::get`](crate::Database::get).
    pub async fn local_bytes(&self, name: &str) -> Result<Option<u64>> {
        let Some(entry) = self.entry(name)? else {
            return Ok(None);
        };
        let ledger = Arc::clone(&self.ledger);
        let count = move || {
            let items = items(&ledger, &entry)?.unwrap_or_default();
            let contents = items.len() - usize::from(entry.meta.is_cut() && !items.is_empty());
            let mut bytes = 0;
            for item in &items[..contents] {
                bytes += if is_here(&ledger, item)? { item.len } else { 0 };
            }
            Ok(Some(bytes))
        };
        self.ledger.blocking(count).await
    }

    /// Takes a file out of the document; whether there was one. Former versions of the document
    /// keep it, and so does the disk.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// files.put("sea.txt", FileSource::bytes("waves")).await?;
    /// assert!(files.remove("sea.txt").await?);
    /// assert!(!files.remove("sea.txt").await?); // there is none any more
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::put`](crate::Database::put).
    pub async fn remove(&self, name: &str) -> Result<bool> {
        self.ledger.ensure_writable()?;
        let take_out = |fields: Option<Fields>| {
            let (mut fields, mut removed) = (fields?, false);
            for field in [FILES, PUBLIC_FILES] {
                if let Some(Value::Map(files)) = fields.get_mut(field) {
                    removed |= files.remove(name).is_some();
                    if files.is_empty() {
                        fields.remove(field);
                    }
                }
            }
            removed.then_some(fields)
        };
        Ok(self.edit(take_out).await?.is_some())
    }

    /// Replaces the document by what `change` makes of its present version, however often others
    /// write it meanwhile; nothing if it makes nothing.
    async fn edit(
        &self,
        change: impl Fn(Option<Fields>) -> Option<Fields>,
    ) -> Result<Option<Written>> {
        let _turn = self.ledger.turn.lock().await;
        loop {
            let base = self.ledger.newest();
            let link = present(base.tree.get(&self.ledger.source, &self.id)?);
            let fields = match link {
                Some(cid) => document::decode(&self.ledger.read(&self.id, cid)?)?,
                None => None,
            };
            let Some(fields) = change(fields) else {
                return Ok(None);
            };
            let put = Put::new(self.id.clone(), &document::encode(&self.id, &fields)?);
            let conditions = Conditions::links(base, vec![(self.id.clone(), link)]);
            let write = self
                .ledger
                .write_if(vec![put], self.durability, Some(conditions));
            match write.await {
                // Whoever was faster has written, so this goes on.
                Err(Error::Conflict { .. }) => {}
                outcome => return outcome.map(Some),
            }
        }
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let block = self.ledger.document(&self.id)?;
        Ok(block.map_or_else(Vec::new, |block| file::entries(&block)))
    }

    fn entry(&self, name: &str) -> Result<Option<Entry>> {
        Ok(self.entries()?.into_iter().find(|entry| entry.name == name))
    }

    /// Writes a document with files: those given, and those that its present version has unless
    /// the document brings its own list.
    pub(crate) async fn write_with(
        &self,
        document: &[u8],
        files: Vec<(String, FileSource)>,
    ) -> Result<Written> {
        let mut taken = Vec::new();
        for (name, source) in files {
            let content = take(&self.ledger, &name, source).await?;
            taken.push((name, content));
        }
        let mut added = Fields::new();
        for (name, content) in taken {
            added.insert(name, keep(&self.ledger, content).await?);
        }
        let fields: Fields = document::decode(document)?.unwrap_or_default();
        let replace = |present: Option<Fields>| {
            let (mut fields, mut present) = (fields.clone(), present.unwrap_or_default());
            for field in [FILES, PUBLIC_FILES] {
                if !fields.contains_key(field)
                    && let Some(files) = present.remove(field)
                {
                    fields.insert(field.to_owned(), files);
                }
            }
            if !added.is_empty() {
                entries_of(&mut fields, FILES).extend(added.clone());
            }
            Some(fields)
        };
        let written = self.edit(replace).await?;
        written.ok_or(Error::Closed)
    }
}

/// Makes a content visible and gives what the document is to say about it.
async fn keep(ledger: &Arc<Ledger>, taken: Taken) -> Result<Value> {
    let value = FileMeta::to_value(&taken.meta);
    taken.keep(ledger).await?;
    Ok(value)
}

/// The map of files; whatever else stands in its place goes.
fn entries_of<'a>(fields: &'a mut Fields, field: &str) -> &'a mut Fields {
    let files = fields.entry(field.to_owned()).or_default();
    if !matches!(files, Value::Map(_)) {
        *files = Value::Map(Fields::new());
    }
    match files {
        Value::Map(files) => files,
        _ => unreachable!("it was just made one"),
    }
}
