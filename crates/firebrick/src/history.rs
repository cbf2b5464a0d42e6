//! History: the versions of a document, and the events of the ledger.

use std::marker::PhantomData;
use std::sync::Arc;

use firebrick_core::{Cid, clock, document};
use serde::de::DeserializeOwned;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::ledger::{Ledger, Snapshot, present};
use crate::opaque::opaque_debug;
use crate::subscribe::Origin;

/// What a version holds.
///
/// ```
/// # use firebrick::{Content, Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// db.put(&note("a", "two")).await?;
/// db.delete("a").await?;
/// db.compact().run().await?; // drops values that were replaced
/// for version in db.history("a").collect::<Document>().await? {
///     match version.content {
///         Content::Document(doc) => println!("{doc:?}"),
///         Content::Deleted => assert!(version.current),
///         Content::Missing(block) => println!("the value {block} was dropped"),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content<T> {
    /// A document.
    Document(T),
    /// The document was deleted.
    Deleted,
    /// A document whose block is not here: it did not arrive, or a compaction dropped it.
    Missing(Cid),
}

impl<T> Content<T> {
    /// The document, if there is one here.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.delete("a").await?;
    /// let versions = db.history("a").collect::<Document>().await?;
    /// assert_eq!(versions[0].content.document(), None);
    /// assert_eq!(versions[1].content.document(), Some(&note("a", "one")));
    /// # Ok(()) }
    /// ```
    pub fn document(&self) -> Option<&T> {
        match self {
            Content::Document(doc) => Some(doc),
            _ => None,
        }
    }
}

impl<T: DeserializeOwned> Content<T> {
    pub(crate) fn read(ledger: &Ledger, link: Option<Cid>) -> Result<Self> {
        let Some(cid) = link else {
            return Ok(Content::Deleted);
        };
        let Some(bytes) = ledger.source.document(&cid)? else {
            return Ok(Content::Missing(cid));
        };
        Ok(match document::decode(&bytes)? {
            Some(doc) => Content::Document(doc),
            None => Content::Deleted,
        })
    }
}

/// One version of a document: a write that set or deleted it.
///
/// ```
/// # use firebrick::{Database, Document, Error, Origin};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let second = db.put(&note("a", "two")).await?;
/// let newest = &db.history("a").collect::<Document>().await?[0];
/// assert_eq!([newest.event], *second.head);
/// assert_eq!(newest.origin, Some(Origin::Local));
/// assert!(newest.current && newest.wins);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version<T> {
    /// The event that wrote it; the name of the version.
    pub event: Cid,
    /// The versions that this write replaced: none for the first, several where it settled a
    /// conflict.
    pub parents: Vec<Cid>,
    /// Where the event first came from: written here, or brought by a remote. `None` if it was not
    /// recorded.
    pub origin: Option<Origin>,
    /// What it holds.
    pub content: Content<T>,
    /// Whether no other version replaced it. Several such are concurrent.
    pub current: bool,
    /// Whether it is what [`Database::get`] reads.
    pub wins: bool,
}

impl Database {
    /// The versions of a document, deleted ones included, newest first: each comes before all that
    /// it replaced, directly or not.
    ///
    /// ```
    /// # use firebrick::{Content, Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::memory("pages").await?;
    /// let page = |text: &str| Document::new().with("_id", "page").with("text", text);
    /// db.put(&page("draft")).await?;
    /// db.put(&page("final")).await?;
    /// db.delete("page").await?;
    ///
    /// let versions = db.history("page").collect::<Document>().await?;
    /// assert_eq!(versions[0].content, Content::Deleted);
    /// assert_eq!(versions[0].parents, [versions[1].event]);
    /// assert_eq!(versions[2].content, Content::Document(page("draft")));
    ///
    /// db.restore("page", &versions[1].event).await?;
    /// assert_eq!(db.get("page").await?, Some(page("final")));
    /// # Ok(()) }
    /// ```
    ///
    /// Costs one read for each event of the database back to the last version that is asked for,
    /// whichever document the event wrote. All versions take the whole history.
    pub fn history(&self, id: impl Into<String>) -> History {
        History {
            ledger: Arc::clone(self.ledger()),
            snapshot: self.ledger().snapshot(),
            id: id.into(),
            limit: usize::MAX,
        }
    }

    /// The events of the ledger, newest first: each comes before all that lie in its past.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("b", "two")).await?;
    /// let log = db.log().collect().await?;
    /// assert_eq!(log[0].ids, ["b"]);
    /// assert_eq!(log[0].parents, [log[1].event]);
    /// # Ok(()) }
    /// ```
    pub fn log(&self) -> Log {
        Log {
            ledger: Arc::clone(self.ledger()),
            snapshot: self.ledger().snapshot(),
            limit: usize::MAX,
        }
    }
}

/// The versions of a document. Made by [`Database::history`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// for text in ["one", "two", "three"] {
///     db.put(&note("a", text)).await?;
/// }
/// let history = db.history("a");
/// db.delete("a").await?; // comes too late for this version
/// assert_eq!(history.collect::<Document>().await?.len(), 3);
/// # Ok(()) }
/// ```
#[must_use = "call versions() or collect()"]
pub struct History {
    ledger: Arc<Ledger>,
    snapshot: Arc<Snapshot>,
    id: String,
    limit: usize,
}

impl History {
    /// Only the newest versions, so many. What lies further back is not read.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// for text in ["one", "two", "three"] {
    ///     db.put(&note("a", text)).await?;
    /// }
    /// let newest = db.history("a").limit(2).collect::<Document>().await?;
    /// assert_eq!(newest[1].content.document(), Some(&note("a", "two")));
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, versions: usize) -> Self {
        self.limit = versions;
        self
    }

    /// The versions as they are found.
    ///
    /// ```
    /// # use firebrick::{Content, Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// for text in ["one", "two", "three"] {
    ///     db.put(&note("a", text)).await?;
    /// }
    /// // The newest version that says so; what lies further back is not read.
    /// let two = Content::Document(note("a", "two"));
    /// let mut versions = db.history("a").versions().filter_map(Result::ok);
    /// assert!(versions.any(|version| version.content == two));
    /// # Ok(()) }
    /// ```
    pub fn versions<T: DeserializeOwned>(self) -> Versions<T> {
        Versions {
            left: self.limit,
            winner: None,
            walk: None,
            history: self,
            of: PhantomData,
        }
    }

    /// All versions, or as many as the limit allows.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// assert_eq!(db.history("a").collect::<Document>().await?.len(), 1);
    /// assert!(db.history("b").collect::<Document>().await?.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingBlock`] if an event is not here, [`Error::Document`] for a version that does
    /// not fit the type, the store's.
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<Version<T>>> {
        self.versions().collect()
    }
}

/// The iterator of [`History::versions`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let mut versions = db.history("a").versions::<Document>();
/// let first = versions.next().expect("it was written")?;
/// assert!(first.parents.is_empty());
/// assert!(versions.next().is_none());
/// # Ok(()) }
/// ```
#[must_use = "an iterator does nothing until it is asked"]
pub struct Versions<T> {
    history: History,
    left: usize,
    winner: Option<Cid>,
    walk: Option<clock::Versions<EventsOf>>,
    of: PhantomData<fn() -> T>,
}

/// The ledger's events, for walks that own what they walk on.
pub(crate) struct EventsOf(Arc<Ledger>);

impl clock::EventSource for EventsOf {
    fn event(&self, cid: &Cid) -> Result<Arc<clock::Event>, clock::ClockError> {
        self.0.source.event(cid)
    }

    fn generation(&self, cid: &Cid) -> Result<u64, clock::ClockError> {
        self.0.source.generation(cid)
    }
}

impl<T: DeserializeOwned> Versions<T> {
    fn find(&mut self) -> Result<Option<Version<T>>> {
        let History {
            ledger,
            snapshot,
            id,
            ..
        } = &self.history;
        ledger.ensure_open()?;
        let walk = match &mut self.walk {
            Some(walk) => walk,
            None => {
                self.winner = present(snapshot.tree.get(&ledger.source, id)?);
                let events = EventsOf(Arc::clone(ledger));
                self.walk
                    .insert(clock::versions(events, &snapshot.head, id))
            }
        };
        let Some(found) = walk.next().transpose()? else {
            return Ok(None);
        };
        Ok(Some(Version {
            event: found.event,
            parents: found.parents,
            origin: ledger.origin_of(&found.event)?,
            content: Content::read(ledger, found.value)?,
            current: found.current,
            wins: found.current && found.value == self.winner,
        }))
    }
}

impl<T: DeserializeOwned> Iterator for Versions<T> {
    type Item = Result<Version<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let found = self.find().transpose();
        match &found {
            // One version that cannot be read does not keep back the others.
            Some(Ok(_) | Err(Error::Document(_))) => {}
            Some(Err(error)) => {
                self.history.ledger.source.note_unreadable(error);
                self.left = 0;
            }
            None => self.left = 0,
        }
        found
    }
}

/// One event of the ledger.
///
/// ```
/// # use firebrick::{Database, Document, Error, Origin};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
/// db.delete("b").await?;
/// let log = db.log().collect().await?;
/// assert_eq!((&log[0].ids, &log[0].deleted), (&vec!["b".into()], &vec!["b".into()]));
/// assert!(log[0].head && !log[1].head);
/// assert_eq!(log[0].generation, log[1].generation + 1);
/// assert_eq!(log[0].origin, Some(Origin::Local));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogEntry {
    /// The event.
    pub event: Cid,
    /// The events that it came after.
    pub parents: Vec<Cid>,
    /// The length of the longest path from the first event to it.
    pub generation: u64,
    /// Where it first came from. `None` if it was not recorded.
    pub origin: Option<Origin>,
    /// The documents that it wrote, in its order.
    pub ids: Vec<String>,
    /// Those of them that it deleted.
    pub deleted: Vec<String>,
    /// Whether it is one of the newest events.
    pub head: bool,
    /// Whether it only pins the merge of its parents.
    pub merge: bool,
}

/// The events of the ledger. Made by [`Database::log`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// for entry in db.log().events() {
///     let entry = entry?;
///     println!("{}: {}", entry.event, entry.ids.join(", "));
/// }
/// # Ok(()) }
/// ```
#[must_use = "call events() or collect()"]
pub struct Log {
    ledger: Arc<Ledger>,
    snapshot: Arc<Snapshot>,
    limit: usize,
}

impl Log {
    /// Only the newest events, so many.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("b", "two")).await?;
    /// let newest = db.log().limit(1).collect().await?;
    /// assert_eq!((newest.len(), &newest[0].ids[0]), (1, &"b".to_owned()));
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, events: usize) -> Self {
        self.limit = events;
        self
    }

    /// The events as they are read; memory does not grow with the history.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// db.put(&note("b", "two")).await?;
    /// // The last event that wrote the document.
    /// let mut events = db.log().events().filter_map(Result::ok);
    /// let wrote = events.find(|entry| entry.ids.contains(&"a".into())).expect("it was written");
    /// assert_eq!(db.get_at("a", &[wrote.event]).await?, Some(note("a", "one")));
    /// # Ok(()) }
    /// ```
    pub fn events(self) -> Events {
        let walk = clock::past(EventsOf(Arc::clone(&self.ledger)), &self.snapshot.head);
        Events {
            left: self.limit,
            walk,
            log: self,
        }
    }

    /// All events, or as many as the limit allows.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let head = db.put(&note("a", "one")).await?.head;
    /// let log = db.log().collect().await?;
    /// assert_eq!([log[0].event], *head);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingBlock`] if an event is not here, the store's.
    pub async fn collect(self) -> Result<Vec<LogEntry>> {
        self.events().collect()
    }
}

/// The iterator of [`Log::events`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
/// let mut events = db.log().events();
/// assert_eq!(events.next().expect("one event for both")?.ids, ["a", "b"]);
/// # Ok(()) }
/// ```
#[must_use = "an iterator does nothing until it is asked"]
pub struct Events {
    log: Log,
    left: usize,
    walk: clock::Past<EventsOf>,
}

impl Events {
    fn find(&mut self) -> Result<Option<LogEntry>> {
        self.log.ledger.ensure_open()?;
        let Some((cid, generation, event)) = self.walk.next().transpose()? else {
            return Ok(None);
        };
        let mut ids = Vec::new();
        let mut deleted = Vec::new();
        if let clock::Operation::Del { key } = &event.data {
            ids.push(key.clone());
            deleted.push(key.clone());
        }
        for (id, link) in event.puts().filter(|(id, _)| *id != document::GENESIS_KEY) {
            ids.push(id.to_owned());
            if present(Some(link)).is_none() {
                deleted.push(id.to_owned());
            }
        }
        Ok(Some(LogEntry {
            event: cid,
            parents: event.parents.clone(),
            generation,
            origin: self.log.ledger.origin_of(&cid)?,
            head: self.log.snapshot.head.contains(&cid),
            merge: ids.is_empty() && event.parents.len() > 1,
            ids,
            deleted,
        }))
    }
}

impl Iterator for Events {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let found = self.find().transpose();
        if !matches!(found, Some(Ok(_))) {
            self.left = 0;
        }
        found
    }
}

opaque_debug!("History" History, "Log" Log, "Events" Events);

impl<T> std::fmt::Debug for Versions<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions")
            .field("id", &self.history.id)
            .finish_non_exhaustive()
    }
}
