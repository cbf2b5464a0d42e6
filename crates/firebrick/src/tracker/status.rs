//! What a user sees of a remote.

use firebrick_core::Cid;
use serde::{Deserialize, Serialize};

/// Where syncing with a remote stands.
///
/// ```
/// # use firebrick::{Database, Error, State};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let hub = db.attach("memory://state")?;
/// hub.synced().await?;
/// match hub.status().state {
///     State::UpToDate => println!("all is well"),
///     State::Offline { retry_in_ms, .. } => println!("again in {retry_in_ms} ms"),
///     State::NeedsKey { fingerprint } => println!("please import the key {fingerprint}"),
///     other => println!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum State {
    /// Making the first contact.
    Connecting,
    /// Something is on its way, or waits for something: see [`RemoteStatus::pending`].
    Syncing {
        /// Events sent in this run.
        pushed: u64,
        /// Events that the remote still lacks.
        to_push: u64,
        /// CARs received in this run.
        pulled: u64,
        /// CARs known to be there and not here yet.
        to_pull: u64,
        /// Bytes in both directions in this run.
        bytes: u64,
    },
    /// The remote has everything from here, and everything that it has is here.
    UpToDate,
    /// The remote cannot be reached; it is tried again by itself.
    Offline {
        /// Since when, in milliseconds of Unix time.
        since_ms: u64,
        /// Time until the next attempt in milliseconds, as of when this was written.
        retry_in_ms: u64,
        /// What went wrong.
        cause: String,
    },
    /// The remote refuses the credentials.
    NeedsAuth {
        /// What it answered.
        cause: String,
    },
    /// Data at the remote is encrypted with a key that is not here. Import it and syncing goes on.
    NeedsKey {
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// Local and remote ledger began apart, and joining them was not allowed.
    NeedsMerge,
    /// Syncing ended; the cause has to be removed first.
    Failed {
        /// What went wrong.
        cause: String,
    },
    /// No longer attached.
    Detached,
}

/// A head at the remote that cannot be applied yet, and why. Everything else goes on.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// use firebrick::gateway::MemoryRemote;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// db.attach("memory://pending")?.synced().await?;
/// let remote = MemoryRemote::named("pending"); // somebody deletes its files
/// for (car, _) in remote.dump_cars() {
///     remote.remove_car(&car.cid);
/// }
/// # let bob = Database::memory("bob").await?;
/// # bob.keys().import(&db.keys().export()?)?;
/// let hub = bob.attach("memory://pending")?;
/// let mut status = hub.watch();
/// let status = status.wait_for(|status| !status.pending.is_empty()).await.unwrap();
/// assert!(!status.pending[0].cars.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The slot that announces it.
    pub slot: String,
    /// The events of the head, as far as its header could be read.
    pub head: Vec<Cid>,
    /// Blocks that are missing.
    pub missing: Vec<Cid>,
    /// CARs that are missing or damaged at the remote.
    pub cars: Vec<Cid>,
    /// What is wrong, in words.
    pub cause: String,
}

/// A document that is known by its event, but whose block has not arrived.
///
/// ```
/// # use firebrick::{Database, Error, Missing};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let hub = db.attach("memory://missing")?;
/// hub.synced().await?;
/// for Missing { id, cid } in hub.status().missing_documents {
///     println!("{id} changed, but its new value {cid} has not arrived");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The document's id.
    pub id: String,
    /// The block.
    pub cid: Cid,
}

/// What went over the wire since the remote was first attached.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let hub = db.attach("memory://traffic")?;
/// db.put(&note("a", "one")).await?;
/// hub.synced().await?;
/// let traffic = hub.status().traffic;
/// assert!(traffic.documents_up > 0 && traffic.bytes_up > 0 && traffic.announces > 0);
/// assert_eq!(traffic.documents_down, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes sent, as stored at the remote.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
    /// CARs sent.
    pub cars_up: u64,
    /// CARs received.
    pub cars_down: u64,
    /// Blocks of documents and tombstones sent, the constant first one of a ledger included.
    pub documents_up: u64,
    /// Blocks of documents and tombstones received, the same way.
    pub documents_down: u64,
    /// Announcements made.
    pub announces: u64,
}

/// A file whose content a remote lacks, or holds in a form that cannot be read.
///
/// ```
/// # use firebrick::{Database, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let hub = db.attach("memory://missing-file")?;
/// hub.synced().await?;
/// for file in hub.status().files.missing {
///     println!("{} of {}: {}", file.name, file.id, file.cause);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingFile {
    /// The document's id.
    pub id: String,
    /// The file's name.
    pub name: String,
    /// The block that is missing: the content, or a piece of it.
    pub cid: Cid,
    /// What is wrong, in words.
    pub cause: String,
}

/// Files on their way to and from one remote.
///
/// ```
/// # use firebrick::{Database, Error, FileSource};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let hub = db.attach("memory://file-status")?;
/// db.files("album").put("sea.txt", FileSource::bytes("waves and sand")).await?;
/// hub.synced().await?;
/// let files = hub.status().files;
/// assert!(files.bytes_pushed >= 14 && files.bytes_to_push == 0);
/// assert!(files.missing.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileStatus {
    /// Bytes of contents sent since it was attached.
    pub bytes_pushed: u64,
    /// Bytes that the file being sent still has.
    pub bytes_to_push: u64,
    /// Bytes of contents that came from here since it was attached.
    pub bytes_fetched: u64,
    /// Contents that were asked for and are not there, and those that the remote should have and
    /// that are not here either; the first hundred. They are looked for again by themselves.
    pub missing: Vec<MissingFile>,
}

/// Everything about one attached remote at one moment.
///
/// ```
/// # use firebrick::{Database, Error, Remote, RemoteStatus, State};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let hub = db.attach(Remote::url("memory://remote-status")?.name("hub"))?;
/// hub.synced().await?;
/// let status: RemoteStatus = hub.status();
/// assert_eq!((status.remote.as_str(), status.state), ("hub", State::UpToDate));
/// assert!(!status.joined);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteStatus {
    /// The remote's name.
    pub remote: String,
    /// Its URL.
    pub url: String,
    /// Where syncing stands.
    #[serde(flatten)]
    pub state: State,
    /// Heads that wait for something.
    pub pending: Vec<Pending>,
    /// Documents whose blocks have not arrived.
    pub missing_documents: Vec<Missing>,
    /// Contents of files.
    pub files: FileStatus,
    /// Totals.
    pub traffic: Traffic,
    /// CAR groups that the remote's data is in now.
    pub live_groups: usize,
    /// The last error, even if it has been overcome since.
    pub last_error: Option<String>,
    /// Two ledgers that had begun apart were joined here.
    pub joined: bool,
    /// Whether the keys of the ledger are given to this remote, so that whoever runs it can read
    /// everything.
    pub shares_keys: bool,
}

impl RemoteStatus {
    pub(super) fn new(remote: String, url: String) -> Self {
        Self {
            remote,
            url,
            state: State::Connecting,
            pending: Vec::new(),
            missing_documents: Vec::new(),
            files: FileStatus::default(),
            traffic: Traffic::default(),
            live_groups: 0,
            last_error: None,
            joined: false,
            shares_keys: false,
        }
    }

    /// What stands in the way of being up to date, in words.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let hub = db.attach("memory://obstacle")?;
    /// hub.synced().await?;
    /// assert_eq!(hub.status().obstacle(), "nothing");
    /// hub.detach().await;
    /// assert_eq!(hub.status().obstacle(), "it was detached");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn obstacle(&self) -> String {
        let pending = || self.pending.first().map(|pending| pending.cause.clone());
        match &self.state {
            State::Offline { cause, .. } => format!("offline: {cause}"),
            State::NeedsAuth { cause } => format!("access refused: {cause}"),
            State::NeedsKey { fingerprint } => format!("the key {fingerprint} is missing"),
            State::NeedsMerge => "the ledgers began apart and joining them was not allowed".into(),
            State::Failed { cause } => cause.clone(),
            State::Detached => "it was detached".into(),
            State::Connecting => "still connecting".into(),
            State::UpToDate => "nothing".into(),
            State::Syncing {
                to_push, to_pull, ..
            } => pending()
                .unwrap_or_else(|| format!("{to_push} events to push, {to_pull} CARs to pull")),
        }
    }
}
