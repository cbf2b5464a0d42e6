//! Transactions: several reads and writes that happen as one, and writes with a condition.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebrick_core::pail::Range;
use firebrick_core::{Block, Cid, document};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::ledger::{Conditions, Ledger, Put, Snapshot, Written, present};
use crate::options::Durability;
use crate::read::{AllDocs, Row};

/// How often a transaction is run at most.
const ATTEMPTS_MAX: usize = 64;

/// A document with its version.
///
/// ```
/// # use firebrick::{Database, Document, Error, Versioned};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let read: Versioned<Document> = db.get_versioned("a").await?.expect("it is there");
/// assert_eq!(read.doc, note("a", "one"));
/// db.put(&note("b", "one")).await?;
/// let other = db.get_versioned::<Document>("b").await?.unwrap();
/// assert_ne!(read.version, other.version); // the id is part of the content
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The document.
    pub doc: T,
    /// Its version: the CID of its block. Equal content has equal versions, on every replica.
    pub version: Cid,
}

/// What a document must be for [`Database::put_if`] to replace it.
///
/// ```
/// # use firebrick::{Database, Document, Error, Expected};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put_if(&note("a", "one"), Expected::Absent).await?;
/// let read = db.get_versioned::<Document>("a").await?.expect("it is there");
/// db.put_if(&note("a", "two"), Expected::Version(read.version)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none, or it is deleted.
    Absent,
    /// It has this version.
    Version(Cid),
}

impl Expected {
    fn link(self) -> Option<Cid> {
        match self {
            Expected::Absent => None,
            Expected::Version(cid) => Some(cid),
        }
    }
}

impl Database {
    /// Reads a document with its version, for [`Database::put_if`].
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Expected};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::memory("versions").await?;
    /// let page = |text: &str| Document::new().with("_id", "page").with("text", text);
    /// db.put_if(&page("draft"), Expected::Absent).await?;
    /// let read = db.get_versioned::<Document>("page").await?.expect("it is there");
    /// db.put_if(&page("final"), Expected::Version(read.version)).await?;
    /// // Somebody who still has the draft does not overwrite what came after it.
    /// let late = db.put_if(&page("other"), Expected::Version(read.version)).await;
    /// assert!(matches!(late, Err(Error::Conflict { id }) if id == "page"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::get`].
    pub async fn get_versioned<T: DeserializeOwned>(
        &self,
        id: &str,
    ) -> Result<Option<Versioned<T>>> {
        self.ledger().ensure_open()?;
        let snapshot = self.ledger().snapshot();
        let Some(version) = present(self.ledger().link(&snapshot, id)?) else {
            return Ok(None);
        };
        let bytes = self.ledger().read(id, version)?;
        Ok(document::decode(&bytes)?.map(|doc| Versioned { doc, version }))
    }

    /// Writes a document if the one in its place is the expected one at the moment of writing.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Expected};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put_if(&note("a", "one"), Expected::Absent).await?;
    /// let again = db.put_if(&note("a", "two"), Expected::Absent).await;
    /// assert!(matches!(again, Err(Error::Conflict { id }) if id == "a"));
    /// assert_eq!(db.get("a").await?, Some(note("a", "one")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is another one; nothing is written then. Those of
    /// [`Database::put`].
    pub async fn put_if<T: Serialize + ?Sized>(
        &self,
        document: &T,
        expected: Expected,
    ) -> Result<Written> {
        self.write_if(Put::encode(self.ledger(), document)?, expected)
            .await
    }

    /// Deletes a document if it is the expected one at the moment of deleting.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Expected};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let read = db.get_versioned::<Document>("a").await?.expect("it is there");
    /// db.put(&note("a", "two")).await?; // somebody else
    /// let late = db.delete_if("a", Expected::Version(read.version)).await;
    /// assert!(matches!(late, Err(Error::Conflict { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::put_if`].
    pub async fn delete_if(&self, id: &str, expected: Expected) -> Result<Written> {
        self.write_if(Put::delete(id)?, expected).await
    }

    async fn write_if(&self, put: Put, expected: Expected) -> Result<Written> {
        let links = vec![(put.id.clone(), expected.link())];
        let conditions = Conditions::links(self.ledger().snapshot(), links);
        self.ledger()
            .write_if(vec![put], self.durability(), Some(conditions))
            .await
    }

    /// Runs `work` on one version of the database and commits all that it writes as one event, or
    /// nothing of it.
    ///
    /// If a document that `work` read, or one of a listing that it made, has changed by the time of
    /// the commit, `work` runs again on the newest version. So it must not have effects other than
    /// through the transaction. An error of `work` ends the transaction without writing.
    ///
    /// On one database transactions are serializable: the result is that of running them one after
    /// the other. Replicas do not wait for each other: of transactions on several replicas that
    /// write the same document, one value wins for each document, as with any other writes.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Account { _id: String, cents: i64 }
    /// # let account = |id: &str, cents| Account { _id: id.into(), cents };
    /// let db = Database::memory("bank").await?;
    /// db.bulk(&[account("ann", 100), account("bob", 0)]).await?;
    /// let (left, _) = db
    ///     .transaction(|tx| -> Result<i64, Error> {
    ///         let mut ann: Account = tx.get("ann")?.expect("it is there");
    ///         let mut bob: Account = tx.get("bob")?.expect("it is there");
    ///         ann.cents -= 30;
    ///         bob.cents += 30;
    ///         tx.put(&ann)?;
    ///         tx.put(&bob)?;
    ///         Ok(ann.cents)
    ///     })
    ///     .await?;
    /// assert_eq!(left, 70);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Whatever `work` returns; [`Error::Conflict`] if other writes came first 64 times;
    /// those of [`Database::bulk`].
    pub async fn transaction<T, E: From<Error>>(
        &self,
        work: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Written), E> {
        self.transaction_with(self.durability(), work).await
    }

    /// [`Database::transaction`] with another durability than the database's.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Durability, Error, Transaction};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let add = |tx: &mut Transaction<'_>| -> Result<(), Error> {
    ///     let n = tx.all_docs::<Document>()?.len() as u64;
    ///     tx.put(&Document::new().with("number", n)).map(drop)
    /// };
    /// db.transaction_with(Durability::Buffered, add).await?;
    /// assert_eq!(db.count().await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::transaction`].
    pub async fn transaction_with<T, E: From<Error>>(
        &self,
        durability: Durability,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Written), E> {
        let ledger = self.ledger();
        ledger.ensure_open()?;
        let mut snapshot = ledger.snapshot();
        let mut turn = None;
        let mut attempts = 0;
        loop {
            let mut transaction = Transaction::new(ledger, snapshot);
            let value = work(&mut transaction)?;
            let result = transaction.commit(durability).await;
            attempts += 1;
            match result {
                Ok(written) => return Ok((value, written)),
                Err(Error::Conflict { .. }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => return Err(error.into()),
            }
            // Those that lost once go one after the other: only newcomers get in between.
            if turn.is_none() {
                turn = Some(ledger.turn.lock().await);
            }
            snapshot = ledger.newest();
        }
    }
}

/// The database inside [`Database::transaction`]: one version of it, and the writes so far.
///
/// Reads see the transaction's own writes.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let (_, written) = db.transaction(|tx| {
///     tx.put(&note("a", "one"))?;
///     tx.put(&note("b", "two"))?;
///     Ok::<_, Error>(())
/// }).await?;
/// assert_eq!(written.ids, ["a", "b"]);
///
/// // An error ends it without writing.
/// let failed = db.transaction(|tx| {
///     tx.delete("a")?;
///     Err::<(), _>(Error::Closed)
/// }).await;
/// assert!(failed.is_err() && db.get::<Document>("a").await?.is_some());
/// # Ok(()) }
/// ```
pub struct Transaction<'a> {
    ledger: &'a Arc<Ledger>,
    snapshot: Arc<Snapshot>,
    links: BTreeMap<String, Option<Cid>>,
    ranges: Vec<Range>,
    puts: BTreeMap<String, Block>,
}

impl<'a> Transaction<'a> {
    fn new(ledger: &'a Arc<Ledger>, snapshot: Arc<Snapshot>) -> Self {
        Self {
            ledger,
            snapshot,
            links: BTreeMap::new(),
            ranges: Vec::new(),
            puts: BTreeMap::new(),
        }
    }

    /// Reads a document; `None` if there is none or it is deleted. The transaction then rests on
    /// it: also on its absence.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.transaction(|tx| {
    ///     assert_eq!(tx.get::<Document>("a")?, None);
    ///     tx.put(&note("a", "one"))?;
    ///     assert_eq!(tx.get("a")?, Some(note("a", "one"))); // its own write
    ///     Ok::<_, Error>(())
    /// }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::get`].
    pub fn get<T: DeserializeOwned>(&mut self, id: &str) -> Result<Option<T>> {
        if let Some(block) = self.puts.get(id) {
            return Ok(document::decode(&block.bytes)?);
        }
        let link = match self.links.get(id) {
            Some(link) => *link,
            None => {
                let link = present(self.ledger.link(&self.snapshot, id)?);
                self.links.insert(id.to_owned(), link);
                link
            }
        };
        match link {
            Some(cid) => Ok(document::decode(&self.ledger.read(id, cid)?)?),
            None => Ok(None),
        }
    }

    /// All documents, in order of their ids. The transaction then rests on all of them, and on
    /// there being no others.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
    /// let (count, _) = db.transaction(|tx| {
    ///     tx.delete("a")?;
    ///     Ok::<_, Error>(tx.all_docs::<Document>()?.len())
    /// }).await?;
    /// assert_eq!(count, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`AllDocs::collect`].
    pub fn all_docs<T: DeserializeOwned>(&mut self) -> Result<Vec<Row<T>>> {
        self.prefix("")
    }

    /// The documents whose ids begin with `prefix`, in order of their ids. The transaction then
    /// rests on all of them, and on there being no others.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("seat-1", "Ann")).await?;
    /// // Gives the next free seat. If somebody takes one meanwhile, it looks again.
    /// let (seat, _) = db.transaction(|tx| {
    ///     let taken = tx.prefix::<Document>("seat-")?.len();
    ///     tx.put(&note(&format!("seat-{}", taken + 1), "Bob"))
    /// }).await?;
    /// assert_eq!(seat, "seat-2");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`AllDocs::collect`].
    pub fn prefix<T: DeserializeOwned>(&mut self, prefix: &str) -> Result<Vec<Row<T>>> {
        self.ranges.push(Range::prefix(prefix));
        let listing = AllDocs::of(Arc::clone(self.ledger), Arc::clone(&self.snapshot));
        let stored = listing.prefix(prefix).rows::<T>();
        let mut rows = BTreeMap::new();
        for row in stored {
            let row = row?;
            rows.insert(row.id, row.doc);
        }
        for (id, block) in &self.puts {
            if id.starts_with(prefix) {
                rows.insert(id.clone(), document::decode(&block.bytes)?);
            }
        }
        let rows = rows.into_iter().map(|(id, doc)| Row { id, doc });
        Ok(rows.filter(|row| row.doc.is_some()).collect())
    }

    /// Writes a document under its `_id`, or under a generated id; returns the id.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let (id, _) = db.transaction(|tx| tx.put(&Document::new().with("text", "one"))).await?;
    /// assert!(db.get::<Document>(&id).await?.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Document`] for an id or value that cannot be stored.
    pub fn put<T: Serialize + ?Sized>(&mut self, document: &T) -> Result<String> {
        let put = Put::encode(self.ledger, document)?;
        self.puts.insert(put.id.clone(), put.block);
        Ok(put.id)
    }

    /// Deletes a document.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("old", "text")).await?;
    /// // Gives a document another id.
    /// db.transaction(|tx| -> Result<(), Error> {
    ///     let doc: Document = tx.get("old")?.expect("it is there");
    ///     tx.put(&doc.with("_id", "new"))?;
    ///     tx.delete("old")
    /// }).await?;
    /// assert_eq!(db.all_docs().ids().await?, ["new"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Document`] for an id that no document can have.
    pub fn delete(&mut self, id: &str) -> Result<()> {
        let put = Put::delete(id)?;
        self.puts.insert(put.id, put.block);
        Ok(())
    }

    /// The head that the transaction reads.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let before = db.put(&note("a", "one")).await?.head;
    /// let (read, written) = db.transaction(|tx| {
    ///     tx.put(&note("a", "two"))?;
    ///     Ok::<_, Error>(tx.head().to_vec())
    /// }).await?;
    /// assert_eq!(read, before);
    /// assert_ne!(read, written.head);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn head(&self) -> &[Cid] {
        &self.snapshot.head
    }

    async fn commit(self, durability: Durability) -> Result<Written> {
        if self.puts.is_empty() {
            // It read one version, and that is all that there is to check.
            return Ok(Written {
                ids: Vec::new(),
                head: self.snapshot.head.clone(),
                sequence: self.snapshot.sequence,
            });
        }
        let conditions = Conditions {
            ranges: self.ranges,
            ..Conditions::links(self.snapshot, self.links.into_iter().collect())
        };
        let puts = self.puts.into_iter();
        let puts = puts.map(|(id, block)| Put::new(id, &block)).collect();
        self.ledger
            .write_if(puts, durability, Some(conditions))
            .await
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("head", &self.snapshot.head)
            .field("reads", &self.links.len())
            .field("writes", &self.puts.len())
            .finish_non_exhaustive()
    }
}
