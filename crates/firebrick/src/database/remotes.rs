//! The remotes of a database.

use super::Database;
use crate::error::{Error, Result};
use crate::ledger::Written;
use crate::tracker::{Attachment, Receipt, Remote};

impl Database {
    /// Attaches a remote and returns at once; syncing goes on in the background until the
    /// attachment is detached or the database closed. A remote that is attached already gives the
    /// same attachment again, and is remembered from then on if that is asked for.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, State};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let hub = db.attach("memory://attached")?;
    /// db.put(&note("a", "one")).await?;
    /// hub.synced().await?; // the remote has everything from here, and the other way round
    /// assert_eq!(hub.status().state, State::UpToDate);
    ///
    /// let refused = db.attach("gopher://hub");
    /// assert!(matches!(refused, Err(Error::Gateway(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Gateway`] for a URL that no gateway takes, [`Error::Config`] for a name in use,
    /// [`Error::ReadOnly`], [`Error::Closed`].
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
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.attach(Remote::url("memory://first")?.name("first"))?;
    /// db.attach(Remote::url("memory://second")?.name("second"))?;
    /// let names: Vec<_> = db.attachments().iter().map(|at| at.name().to_owned()).collect();
    /// assert_eq!(names, ["first", "second"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.inner.trackers.all()
    }

    /// The remotes that are remembered for later openings: name and URL.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.attach(Remote::url("memory://kept")?.name("hub").remember(true))?;
    /// assert_eq!(db.remembered(), [("hub".to_owned(), "memory://kept".to_owned())]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remembered(&self) -> Vec<(String, String)> {
        self.inner.trackers.remembered()
    }

    /// Forgets a remembered remote; it is not detached.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.attach(Remote::url("memory://forgotten")?.name("hub").remember(true))?;
    /// db.forget("hub")?;
    /// assert!(db.remembered().is_empty());
    /// assert_eq!(db.attachments().len(), 1); // until the database is closed
    /// assert!(matches!(db.forget("hub"), Err(Error::NoRemote(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoRemote`] if none of this name is remembered.
    pub fn forget(&self, name: &str) -> Result<()> {
        self.inner.trackers.forget(name)
    }

    /// Waits until every attached remote is [synced](Attachment::synced).
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, State};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.attach("memory://synced-a")?;
    /// db.attach("memory://synced-b")?;
    /// db.put(&note("a", "one")).await?;
    /// db.synced().await?;
    /// assert!(db.attachments().iter().all(|at| at.status().state == State::UpToDate));
    /// # Ok(()) }
    /// ```
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
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.attach(Remote::url("memory://receipts")?.name("hub"))?;
    /// let written = db.put(&note("a", "one")).await?;
    /// db.receipt(&written).remote("hub").await?; // now it is there as well
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn receipt(&self, written: &Written) -> Receipt {
        Receipt::new(self.attachments(), written.clone())
    }
}
