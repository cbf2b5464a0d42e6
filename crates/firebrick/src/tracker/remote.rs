//! Which remote, and on what terms.

use std::sync::Arc;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::gateway::{self, Gateway, RemoteUrl};

/// What to do at the first contact with a remote that holds another ledger with documents of its
/// own: one that shares nothing with the local one but the constant first event.
///
/// ```
/// # use firebrick::{Database, Document, Error, Join, Remote};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let bob = Database::memory("bob").await?;
/// bob.keys().import(&db.keys().export()?)?;
/// db.put(&note("a", "of one ledger")).await?;
/// bob.put(&note("b", "of another one")).await?;
/// db.attach("memory://join")?.synced().await?;
/// let hub = bob.attach(Remote::url("memory://join")?.join(Join::Refuse))?;
/// assert!(matches!(hub.synced().await, Err(Error::NeedsMerge { .. })));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// Join them; the status says so. It cannot be undone.
    #[default]
    Merge,
    /// Do not, and show [`State::NeedsMerge`](crate::State::NeedsMerge).
    Refuse,
}

/// A remote to attach: a URL or a gateway, with options. A `&str` is a URL.
///
/// ```
/// # use firebrick::{Remote, Join, Error};
/// let hub = Remote::url("file:///var/lib/hub")?.name("hub").remember(true).join(Join::Refuse);
/// assert!(Remote::url("gopher://x").is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
#[must_use = "attach it"]
pub struct Remote {
    target: Target,
    pub(crate) name: Option<String>,
    pub(crate) remember: bool,
    pub(crate) join: Join,
    pub(crate) prefetch: bool,
}

#[derive(Clone)]
enum Target {
    Url(RemoteUrl),
    Gateway(Arc<dyn Gateway>),
}

impl Remote {
    /// The remote at this URL.
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let hub = db.attach(Remote::url("memory://remote-url")?)?;
    /// assert_eq!(hub.url(), "memory://remote-url");
    /// assert!(matches!(Remote::url("gopher://hub"), Err(Error::Gateway(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Gateway`] if no gateway takes it; the message lists the schemes that there are.
    pub fn url(url: impl Into<String>) -> Result<Self> {
        Ok(Self::new(Target::Url(RemoteUrl::parse(&url.into())?)))
    }

    /// A remote behind a gateway of the caller's own.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Remote};
    /// use firebrick::gateway::MemoryRemote;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let remote = MemoryRemote::unnamed(); // or one that you wrote
    /// db.put(&note("a", "one")).await?;
    /// db.attach(Remote::gateway(std::sync::Arc::new(remote.clone())))?.synced().await?;
    /// assert!(!remote.dump_cars().is_empty());
    /// # Ok(()) }
    /// ```
    pub fn gateway(gateway: Arc<dyn Gateway>) -> Self {
        Self::new(Target::Gateway(gateway))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            name: None,
            remember: false,
            join: Join::default(),
            prefetch: false,
        }
    }

    /// A short name for status, receipts and change sets. Default: the URL.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.attach(Remote::url("memory://remote-name")?.name("hub"))?;
    /// let written = db.put(&note("a", "one")).await?;
    /// db.receipt(&written).remote("hub").await?;
    /// # Ok(()) }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Attach it again at later openings, see [`Builder::remembered`](crate::Builder::remembered).
    ///
    /// ```
    /// # use firebrick::{Database, Error, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let hub = || Remote::url("memory://remember");
    /// db.attach(hub()?.remember(true))?;
    /// assert_eq!(db.remembered().len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Fetches the contents of all files, so that they can be read offline. Default: each is fetched
    /// when it is read. [`synced`](crate::Attachment::synced) then waits for those that are there.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let bob = Database::memory("bob").await?;
    /// bob.keys().import(&db.keys().export()?)?;
    /// db.files("album").put("sea.txt", FileSource::bytes("waves and sand")).await?;
    /// db.attach("memory://prefetch")?.synced().await?;
    /// bob.attach(Remote::url("memory://prefetch")?.prefetch_files(true))?.synced().await?;
    /// assert_eq!(bob.files("album").local_bytes("sea.txt").await?, Some(14));
    /// # Ok(()) }
    /// ```
    pub fn prefetch_files(mut self, prefetch: bool) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// Whether another ledger may be joined.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Join, Remote};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let bob = Database::memory("bob").await?;
    /// bob.keys().import(&db.keys().export()?)?;
    /// db.put(&note("a", "of one ledger")).await?;
    /// bob.put(&note("b", "of another one")).await?;
    /// db.attach("memory://joined")?.synced().await?;
    /// bob.attach(Remote::url("memory://joined")?.join(Join::Merge))?.synced().await?;
    /// assert_eq!(bob.all_docs().ids().await?, ["a", "b"]);
    /// # Ok(()) }
    /// ```
    pub fn join(mut self, join: Join) -> Self {
        self.join = join;
        self
    }

    pub(crate) fn connect(&self, env: &Arc<dyn Env>) -> Result<Arc<dyn Gateway>> {
        match &self.target {
            Target::Url(url) => Ok(gateway::open_with(url, Arc::clone(env))?),
            Target::Gateway(gateway) => Ok(Arc::clone(gateway)),
        }
    }
}

impl TryFrom<&str> for Remote {
    type Error = Error;

    fn try_from(url: &str) -> Result<Self> {
        Self::url(url)
    }
}

impl TryFrom<String> for Remote {
    type Error = Error;

    fn try_from(url: String) -> Result<Self> {
        Self::url(url)
    }
}

impl TryFrom<&String> for Remote {
    type Error = Error;

    fn try_from(url: &String) -> Result<Self> {
        Self::url(url)
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let target = match &self.target {
            Target::Url(url) => url.to_string(),
            Target::Gateway(gateway) => gateway.url().to_owned(),
        };
        f.debug_struct("Remote")
            .field("target", &target)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
