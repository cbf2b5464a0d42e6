//! Subscriptions: what changed, and who changed it.
//!
//! A change set is the difference of two versions of the ledger, never a list of what arrived: an
//! arriving event may lose against one that was here, and a merge can change documents that no
//! arriving event touches.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use firebrick_core::{Cid, document, pail::Tree};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::error::Result;
use crate::ledger::{Ledger, Snapshot};

/// Who moved the head.
///
/// ```
/// # use firebrick::{Database, Document, Error, Event, Origin};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let mut events = db.subscribe();
/// db.put(&note("a", "one")).await?;
/// let Some(Event::Changes(set)) = events.next().await.transpose()? else { panic!() };
/// match set.origin {
///     Origin::Local => {} // an app may pass over its own writes
///     Origin::Remote(name) => println!("{} documents came from {name}", set.changes.len()),
///     Origin::Several => println!("both, perhaps"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "by", content = "remote")]
pub enum Origin {
    /// A write through this database.
    Local,
    /// What came from the remote of this name.
    Remote(String),
    /// Several, seen at once by a subscriber that had fallen behind.
    Several,
}

/// One document of a change set.
///
/// ```
/// # use firebrick::{Database, Document, Error, Event};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// db.put(&note("a", "one")).await?;
/// let mut events = db.subscribe();
/// db.delete("a").await?;
/// let Some(Event::Changes(set)) = events.next().await.transpose()? else { panic!() };
/// assert_eq!(set.changes[0].id, "a");
/// assert!(set.changes[0].deleted);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DocChange {
    /// The document's id.
    pub id: String,
    /// Whether it is deleted now.
    pub deleted: bool,
    /// The block that holds it now.
    pub cid: Cid,
}

/// What one step of the ledger changed.
///
/// ```
/// # use firebrick::{Database, Document, Error, Event};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let mut events = db.subscribe();
/// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
/// let Some(Event::Changes(set)) = events.next().await.transpose()? else { panic!() };
/// assert_eq!((set.head, set.sequence), (db.head(), db.sequence()));
/// assert_eq!(set.changes.len(), 2); // one step for both
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChangeSet {
    /// The step's number, counted from the opening of the database.
    pub sequence: u64,
    /// Who made it.
    pub origin: Origin,
    /// The head after it.
    pub head: Vec<Cid>,
    /// The documents whose value is another one now, in order of their ids.
    pub changes: Vec<DocChange>,
}

/// What a [`Subscription`] yields.
///
/// ```
/// # use firebrick::{Database, Document, Error, Event, Origin};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let mut events = db.subscribe();
/// db.put(&note("a", "one")).await?;
/// match events.next().await.expect("the database is open")? {
///     Event::Changes(set) => assert_eq!(set.origin, Origin::Local),
///     Event::Lagged { missed } => println!("{missed} steps come as one"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Documents changed.
    Changes(ChangeSet),
    /// The subscriber was too slow and steps were left out. Nothing is lost: the next change set
    /// holds everything that changed since the last one delivered, with [`Origin::Several`].
    Lagged {
        /// How many steps were left out.
        missed: u64,
    },
}

/// One published step.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) before: Arc<Snapshot>,
    pub(crate) after: Arc<Snapshot>,
    pub(crate) origin: Origin,
}

type Steps = broadcast::Receiver<Arc<Published>>;
type Received = (Steps, Result<Arc<Published>, RecvError>);

/// A stream of [`Event`]s from the moment of the call on. Ends when the database is closed.
///
/// What was committed before the call is not reported: subscribe first, then read, and nothing is
/// missed.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// use futures_util::StreamExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let mut events = db.subscribe();
/// db.put(&note("a", "one")).await?;
/// db.close().await?;
/// // It is a stream, which ends with the database.
/// assert_eq!(events.by_ref().count().await, 1);
/// # Ok(()) }
/// ```
#[must_use = "a stream does nothing until it is polled"]
pub struct Subscription {
    ledger: std::sync::Weak<Ledger>,
    /// The version that the subscriber knows.
    known: Arc<Snapshot>,
    /// Steps were left out since `known`.
    behind: bool,
    receive: Option<BoxFuture<'static, Received>>,
}

impl Subscription {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        let steps = ledger.published();
        Self {
            ledger: Arc::downgrade(ledger),
            known: ledger.snapshot(),
            behind: false,
            receive: steps.map(receive),
        }
    }

    /// The next event; `None` when the database was closed.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error, Event};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let mut events = db.subscribe();
    /// db.put(&note("a", "one")).await?;
    /// assert!(matches!(events.next().await, Some(Ok(Event::Changes(_)))));
    /// db.close().await?;
    /// assert!(events.next().await.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's, while the difference is computed.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn step(&mut self, step: &Published) -> Option<Result<Event>> {
        if step.after.sequence <= self.known.sequence {
            return None;
        }
        let ledger = self.ledger.upgrade()?;
        let behind =
            std::mem::take(&mut self.behind) || self.known.sequence != step.before.sequence;
        let before = if behind { &self.known } else { &step.before };
        let changes = changes_between(&ledger, &before.tree, &step.after.tree);
        self.known = Arc::clone(&step.after);
        match changes {
            Ok(changes) if changes.is_empty() => None,
            Ok(changes) => Some(Ok(Event::Changes(ChangeSet {
                sequence: step.after.sequence,
                origin: if behind {
                    Origin::Several
                } else {
                    step.origin.clone()
                },
                head: step.after.head.clone(),
                changes,
            }))),
            Err(error) => Some(Err(error)),
        }
    }
}

fn receive(mut steps: Steps) -> BoxFuture<'static, Received> {
    Box::pin(async move {
        let step = steps.recv().await;
        (steps, step)
    })
}

impl Stream for Subscription {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(receiving) = &mut self.receive else {
                return Poll::Ready(None);
            };
            let Poll::Ready((steps, received)) = receiving.as_mut().poll(context) else {
                return Poll::Pending;
            };
            match received {
                Ok(step) => {
                    self.receive = Some(receive(steps));
                    if let Some(event) = self.step(&step) {
                        return Poll::Ready(Some(event));
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    self.receive = Some(receive(steps));
                    self.behind = true;
                    return Poll::Ready(Some(Ok(Event::Lagged { missed })));
                }
                Err(RecvError::Closed) => {
                    self.receive = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// The documents whose link differs between two versions; equal subtrees are skipped.
pub(crate) fn changes_between(
    ledger: &Ledger,
    before: &Tree,
    after: &Tree,
) -> Result<Vec<DocChange>> {
    let mut changes = Vec::new();
    for change in Tree::diff(before, after, &ledger.source) {
        let change = change?;
        if change.key == document::GENESIS_KEY {
            continue;
        }
        // Documents are never taken out of the tree; only foreign data can do that.
        let cid = change.new.unwrap_or_else(|| document::TOMBSTONE.cid);
        changes.push(DocChange {
            id: change.key,
            deleted: cid == document::TOMBSTONE.cid,
            cid,
        });
    }
    Ok(changes)
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("known", &self.known.sequence)
            .finish_non_exhaustive()
    }
}
