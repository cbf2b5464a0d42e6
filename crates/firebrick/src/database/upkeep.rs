//! What keeps a database in shape: backups, checks, compaction, figures.

use std::sync::Arc;

use super::Database;
use crate::backup::Backup;
use crate::compaction::Compact;
use crate::error::Result;
use crate::stats::{FullStats, Stats};
use crate::verify::{self, RepairProgress, RepairReport, VerifyProgress, VerifyReport};

impl Database {
    /// A backup of this database into one file, while it is in use.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let info = db.backup().to_file(dir.path().join("notes.fbk")).await?;
    /// assert_eq!(info.head, db.head());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let report = db.verify_with(|progress| println!("{progress:?}")).await?;
    /// assert!(report.is_good());
    /// # Ok(()) }
    /// ```
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
    /// up. The report says what is still wrong. Remotes that cannot be reached are waited for, up to
    /// half a minute.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let report = db.repair().await?;
    /// assert!(report.after.is_good()); // nothing was damaged
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the system fails, or the database was opened read-only.
    pub async fn repair(&self) -> Result<RepairReport> {
        self.repair_with(|_| {}).await
    }

    /// [`Database::repair`], which calls `progress` now and then.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.put(&Document::new().with("text", "one")).await?;
    /// let report = db.repair_with(|progress| println!("{progress:?}")).await?;
    /// assert!(report.before.is_empty() && report.after.is_good());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::repair`].
    pub async fn repair_with(
        &self,
        progress: impl FnMut(RepairProgress) + Send + 'static,
    ) -> Result<RepairReport> {
        verify::repair(&self.inner.ledger, &self.inner.trackers, progress).await
    }

    /// Gives back the space of versions that later writes have replaced. See [`Compact`] for what
    /// can be chosen and [`Retention`](crate::Retention) for what stays.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("a", "two")).await?;
    /// let report = db.compact().run().await?;
    /// assert!(report.dropped_blocks > 0);
    /// assert_eq!(db.get("a").await?, Some(note("a", "two")));
    /// # Ok(()) }
    /// ```
    pub fn compact(&self) -> Compact {
        Compact::new(Arc::clone(&self.inner.ledger))
    }

    /// Sizes and counters that are told without reading.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let stats = db.stats();
    /// assert_eq!(stats.heads, 1);
    /// assert!(stats.store.blocks > 0);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("a", "two")).await?;
    /// let stats = db.full_stats().await?;
    /// assert_eq!(stats.documents, 1);
    /// assert!(stats.reclaimable_bytes > Some(0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the system fails. What damage keeps from being known is `None`.
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
}
