//! The handle on an attached remote.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use firebrick_core::Cid;
use tokio::sync::watch;

use super::status::{RemoteStatus, State};
use super::{FLUSH, Shared, Stop};
use crate::env;
use crate::error::{Error, Result};
use crate::ledger::Written;
use crate::lock;

/// An attached remote. Cloning gives another handle; dropping handles changes nothing.
///
/// ```
/// # use firebrick::{Database, Document, Error, State};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let hub = db.attach("memory://attachment")?;
/// db.put(&note("a", "one")).await?;
/// hub.synced().await?;
/// assert_eq!(hub.status().state, State::UpToDate);
/// hub.detach().await;
/// assert_eq!(hub.status().state, State::Detached);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Attachment {
    shared: Arc<Shared>,
}

/// What a detached remote still lacks.
///
/// ```
/// # use firebrick::{Database, Document, Error, Remote};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let hub = db.attach(Remote::url("memory://detach-report")?.name("hub"))?;
/// db.put(&note("a", "one")).await?;
/// let report = hub.detach().await;
/// assert_eq!((report.remote.as_str(), report.unpushed), ("hub", 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachReport {
    /// The remote's name.
    pub remote: String,
    /// Events that were not pushed. They stay here and are pushed after the next attach.
    pub unpushed: usize,
}

/// What closing left undone.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.attach("memory://close-report")?;
/// db.put(&note("a", "one")).await?;
/// for (remote, events) in db.close().await?.unpushed {
///     println!("{remote} lacks {events} events; it gets them another time");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Remotes that lack something from here, with the number of events. They get it after the
    /// next opening and attach.
    pub unpushed: Vec<(String, usize)>,
}

impl Attachment {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The remote's name.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let hub = db.attach(Remote::url("memory://named")?.name("hub"))?;
    /// assert_eq!(hub.name(), "hub");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The remote's URL.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let hub = db.attach(Remote::url("memory://with-url")?.name("hub"))?;
    /// assert_eq!(hub.url(), "memory://with-url");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The present status.
    ///
    /// ```
    /// # use firebrick::{Database, Error, State};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let hub = db.attach("memory://status")?;
    /// hub.synced().await?;
    /// let status = hub.status();
    /// assert_eq!(status.state, State::UpToDate);
    /// assert!(status.pending.is_empty() && status.last_error.is_none());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn status(&self) -> RemoteStatus {
        self.shared.status.borrow().clone()
    }

    /// The status to watch: it wakes with every change.
    ///
    /// ```
    /// # use firebrick::{Database, Error, RemoteStatus, State};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let hub = db.attach("memory://watched")?;
    /// let mut status = hub.watch();
    /// let good = |status: &RemoteStatus| status.state == State::UpToDate;
    /// status.wait_for(good).await.expect("it is attached");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<RemoteStatus> {
        self.shared.status.subscribe()
    }

    pub(super) fn is_detached(&self) -> bool {
        *self.shared.ended.borrow()
    }

    /// Waits until everything that was committed here before the call is acknowledged by the
    /// remote, and every head of a listing that began after the call is applied here.
    ///
    /// While the remote is offline, or something there is missing, it waits; see
    /// [`Attachment::synced_within`].
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let bob = Database::memory("bob").await?; // without the key
    /// db.put(&note("a", "one")).await?;
    /// db.attach("memory://synced")?.synced().await?;
    /// let hub = bob.attach("memory://synced")?;
    /// assert!(matches!(hub.synced().await, Err(Error::NeedsKey { .. })));
    /// bob.keys().import(&db.keys().export()?)?;
    /// hub.synced().await?;
    /// assert_eq!(bob.get("a").await?, Some(note("a", "one")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What only the caller can mend: [`Error::NeedsKey`], [`Error::NeedsMerge`],
    /// [`Error::NeedsAuth`], [`Error::Detached`], and failures that end the syncing.
    pub async fn synced(&self) -> Result<()> {
        let mut rounds = self.shared.rounds.subscribe();
        let number = self.shared.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.wake.notify_one();
        loop {
            // A round that began before the call says nothing about what the call asks for.
            let round = *rounds.borrow_and_update();
            if round.asked >= number {
                if round.clean {
                    return Ok(());
                }
                self.obstacle()?;
            } else if self.is_detached() {
                return Err(self.detached());
            }
            rounds.changed().await.map_err(|_| self.detached())?;
        }
    }

    /// [`Attachment::synced`] with a deadline.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::{env::RealEnv, gateway::{Faulty, MemoryRemote}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let faulty = Faulty::new(Arc::new(MemoryRemote::unnamed()), Arc::new(RealEnv::new()), 1);
    /// faulty.set_unavailable(true);
    /// let hub = db.attach(Remote::gateway(Arc::new(faulty)))?;
    /// let late = hub.synced_within(Duration::from_millis(20)).await;
    /// assert!(matches!(late, Err(Error::Timeout { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`] with what stands in the way, beside those of [`Attachment::synced`].
    pub async fn synced_within(&self, limit: Duration) -> Result<()> {
        match env::timeout(&*self.shared.env, limit, self.synced()).await {
            Ok(result) => result,
            Err(_) => Err(self.timeout("syncing", limit)),
        }
    }

    fn timeout(&self, what: &str, after: Duration) -> Error {
        Error::Timeout {
            what: format!("{what} with {}", self.name()),
            after,
            cause: self.status().obstacle(),
        }
    }

    fn detached(&self) -> Error {
        Error::Detached(self.shared.name.clone())
    }

    /// What a wait cannot overcome.
    fn obstacle(&self) -> Result<()> {
        let remote = || self.shared.name.clone();
        match &self.status().state {
            State::NeedsKey { fingerprint } => Err(Error::NeedsKey {
                fingerprint: fingerprint.clone(),
            }),
            State::NeedsMerge => Err(Error::NeedsMerge { remote: remote() }),
            State::NeedsAuth { cause } => Err(Error::NeedsAuth {
                remote: remote(),
                cause: cause.clone(),
            }),
            State::Failed { cause } => Err(self.failure(cause)),
            State::Detached => Err(self.detached()),
            _ => Ok(()),
        }
    }

    fn failure(&self, cause: &str) -> Error {
        match &*lock::lock(&self.shared.failure) {
            Some(error) => Error::Gateway(error.clone()),
            None => Error::Config(format!("syncing with {} failed: {cause}", self.name())),
        }
    }

    /// Waits until the remote holds this write. What else is going on there does not matter.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let hub = db.attach("memory://reached")?;
    /// let written = db.put(&note("a", "one")).await?;
    /// hub.reached(&written).await?;
    /// hub.detach().await;
    /// let later = db.put(&note("b", "two")).await?;
    /// assert!(matches!(hub.reached(&later).await, Err(Error::Detached(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Detached`] if the attachment ends before, and what keeps anything from being
    /// pushed and only the caller can mend.
    pub async fn reached(&self, written: &Written) -> Result<()> {
        let mut rounds = self.shared.rounds.subscribe();
        if self.shared.holds(&written.head)? {
            return Ok(());
        }
        let number = self.shared.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.wake.notify_one();
        loop {
            let round = *rounds.borrow_and_update();
            if self.shared.holds(&written.head)? {
                return Ok(());
            }
            if round.asked >= number {
                self.obstacle()?;
            } else if self.is_detached() {
                return Err(self.detached());
            }
            rounds.changed().await.map_err(|_| self.detached())?;
        }
    }

    /// Pushes what is left, within some seconds, and ends the syncing. Never hangs.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let hub = db.attach("memory://detached")?;
    /// db.put(&note("a", "one")).await?;
    /// assert_eq!(hub.detach().await.unpushed, 0);
    /// assert!(db.attachments().is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn detach(&self) -> DetachReport {
        let hopeless = matches!(self.status().state, State::Offline { .. });
        let mut how = Stop::Now;
        if !hopeless && !self.is_detached() {
            self.shared.leaving.store(true, Ordering::Release);
            // Whatever keeps it from ending in time is in the report.
            let flushed = env::timeout(&*self.shared.env, FLUSH, self.synced()).await;
            if matches!(flushed, Ok(Ok(()))) {
                how = Stop::Soon;
            }
        }
        self.end(how).await;
        DetachReport {
            remote: self.shared.name.clone(),
            unpushed: self.shared.lacking(),
        }
    }

    /// Ends the task without pushing.
    pub(super) async fn end(&self, how: Stop) {
        for how in [how, Stop::Now] {
            self.shared.stop(how);
            let mut ended = self.shared.ended.subscribe();
            let wait = ended.wait_for(|ended| *ended);
            if env::timeout(&*self.shared.env, FLUSH, wait).await.is_ok() {
                return;
            }
            tracing::warn!(remote = %self.shared.name, "the remote does not answer; it is left");
        }
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("name", &self.name())
            .field("state", &self.status().state)
            .finish_non_exhaustive()
    }
}

/// Where a write has arrived. See [`Database::receipt`](crate::Database::receipt).
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.attach("memory://receipt-a")?;
/// db.attach("memory://receipt-b")?;
/// let written = db.put(&note("a", "one")).await?;
/// let receipt = db.receipt(&written);
/// assert_eq!(receipt.local(), db.head());
/// receipt.all().await?; // both remotes hold it
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Receipt {
    attachments: Vec<Attachment>,
    written: Written,
}

impl Receipt {
    pub(crate) fn new(attachments: Vec<Attachment>, written: Written) -> Self {
        Self {
            attachments,
            written,
        }
    }

    /// The head that the write produced. It is stored here already: that is what the write's own
    /// return says.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let written = db.put(&note("a", "one")).await?;
    /// assert_eq!(db.receipt(&written).local(), written.head);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn local(&self) -> &[Cid] {
        &self.written.head
    }

    /// Waits until the remote of this name holds the write.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.attach(Remote::url("memory://receipt")?.name("hub"))?;
    /// let written = db.put(&note("a", "one")).await?;
    /// db.receipt(&written).remote("hub").await?;
    /// let other = db.receipt(&written).remote("other").await;
    /// assert!(matches!(other, Err(Error::NoRemote(name)) if name == "other"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoRemote`], and those of [`Attachment::reached`].
    pub async fn remote(&self, name: &str) -> Result<()> {
        let attachment = self
            .attachments
            .iter()
            .find(|attachment| attachment.name() == name);
        attachment
            .ok_or_else(|| Error::NoRemote(name.to_owned()))?
            .reached(&self.written)
            .await
    }

    /// Waits until every remote that was attached at the time of the call holds the write.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.attach("memory://all-a")?;
    /// db.attach("memory://all-b")?;
    /// let written = db.put(&note("a", "one")).await?;
    /// db.receipt(&written).all().await?;
    /// assert!(db.attachments().iter().all(|hub| hub.status().traffic.cars_up > 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Attachment::reached`].
    pub async fn all(&self) -> Result<()> {
        for attachment in &self.attachments {
            attachment.reached(&self.written).await?;
        }
        Ok(())
    }
}
