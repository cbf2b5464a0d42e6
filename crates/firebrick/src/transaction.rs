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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The document.
    pub doc: T,
    /// Its version: the CID of its block. Equal content has equal versions, on every replica.
    pub version: Cid,
}

/// What a document must be for [`Database::put_if`] to replace it.
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
    /// # Errors
    /// Those of [`AllDocs::collect`].
    pub fn all_docs<T: DeserializeOwned>(&mut self) -> Result<Vec<Row<T>>> {
        self.prefix("")
    }

    /// The documents whose ids begin with `prefix`, in order of their ids. The transaction then
    /// rests on all of them, and on there being no others.
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
    /// # Errors
    /// [`Error::Document`] for an id or value that cannot be stored.
    pub fn put<T: Serialize + ?Sized>(&mut self, document: &T) -> Result<String> {
        let put = Put::encode(self.ledger, document)?;
        self.puts.insert(put.id.clone(), put.block);
        Ok(put.id)
    }

    /// Deletes a document.
    ///
    /// # Errors
    /// [`Error::Document`] for an id that no document can have.
    pub fn delete(&mut self, id: &str) -> Result<()> {
        let put = Put::delete(id)?;
        self.puts.insert(put.id, put.block);
        Ok(())
    }

    /// The head that the transaction reads.
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
