//! Writing and reading documents.

use std::sync::Arc;

use firebrick_core::document;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Database;
use crate::error::{Error, Result};
use crate::files::{FileSource, Files};
use crate::ledger::{Put, Written};
use crate::options::Durability;
use crate::read::AllDocs;

impl Database {
    /// Writes a document under its `_id`, or under a generated id (a UUIDv7, which sorts by time)
    /// if it has none.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let written = db.put(&Document::new().with("text", "buy milk")).await?;
    /// let id = written.id(); // generated: a UUIDv7
    /// assert_eq!(db.get(id).await?, Some(note(id, "buy milk")));
    ///
    /// assert!(matches!(db.put(&"no document").await, Err(Error::Document(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Document`] for an id or value that cannot be stored; nothing is written then.
    /// [`Error::Store`] if the disk fails, [`Error::ReadOnly`], [`Error::Closed`]. Dropping the
    /// future does not undo the write.
    pub async fn put<T: Serialize + ?Sized>(&self, document: &T) -> Result<Written> {
        self.put_with(document, self.inner.durability).await
    }

    /// [`Database::put`] with another durability than the database's.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Durability, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// // Many small writes where the last moments may be lost if the power fails.
    /// for n in 0..100 {
    ///     let point = Document::new().with("_id", format!("point-{n}")).with("n", n);
    ///     db.put_with(&point, Durability::Buffered).await?;
    /// }
    /// assert_eq!(db.count().await?, 100);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let written = db.bulk(&[note("a", "one"), note("b", "two")]).await?;
    /// assert_eq!(written.ids, ["a", "b"]);
    /// assert_eq!(written.head.len(), 1); // one event for both
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # use firebrick::{Database, Document, Durability, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let rows: Vec<_> = (0..1000).map(|n| Document::new().with("n", n)).collect();
    /// let written = db.bulk_with(&rows, Durability::Buffered).await?;
    /// assert_eq!(written.ids.len(), 1000);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.delete("a").await?;
    /// assert_eq!(db.get::<Document>("a").await?, None);
    /// db.delete("never was").await?; // works, too
    /// # Ok(()) }
    /// ```
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

    /// Reads a document; `None` if there is none or it is deleted.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// #[derive(serde::Deserialize)]
    /// struct Note { text: String }
    ///
    /// let read: Option<Note> = db.get("a").await?;
    /// assert_eq!(read.expect("it is there").text, "one");
    /// assert!(db.get::<Note>("b").await?.is_none());
    /// # Ok(()) }
    /// ```
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
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let files = db.files("album");
    /// files.put("sea.txt", FileSource::bytes("waves")).await?;
    /// let doc: Document = db.get("album").await?.expect("it came with its first file");
    /// assert!(doc.get("_files").is_some());
    /// # Ok(()) }
    /// ```
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

    /// All documents of the present version, in ascending order of their ids.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("b", "two"), note("a", "one")]).await?;
    /// let rows = db.all_docs().collect::<Document>().await?;
    /// assert_eq!(rows[0].id, "a");
    /// assert_eq!(rows[1].doc, Some(note("b", "two")));
    /// # Ok(()) }
    /// ```
    pub fn all_docs(&self) -> AllDocs {
        AllDocs::new(Arc::clone(&self.inner.ledger))
    }

    /// The number of documents that are not deleted. Walks the tree, not the documents.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
    /// db.delete("a").await?;
    /// assert_eq!(db.count().await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub async fn count(&self) -> Result<usize> {
        self.all_docs().count()
    }
}
