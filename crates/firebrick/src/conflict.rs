//! Conflicts: documents of which concurrent versions differ, and how to settle them.
//!
//! A document is in conflict while its current versions, those that no other version replaced, do
//! not hold the same. One of them wins on every replica, so nothing has to be done; but the others
//! hold what somebody wrote. A merge of heads, pinned by an event or not, changes nothing about it.
//! A write that descends from all current versions ends it.

use std::sync::Arc;

use firebrick_core::clock::{self, Decision};
use firebrick_core::{Cid, document};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::history::Content;
use crate::ledger::{Conditions, Ledger, Put, Snapshot, Written, present};
use crate::subscribe::Origin;

/// How often the closure of [`Database::resolve`] is called at most.
const ATTEMPTS_MAX: usize = 64;
/// Events that [`Database::conflicted`] looks at.
const EVENTS_MAX: usize = 100_000;

/// Why the winning version wins.
///
/// ```
/// # use firebrick::{Database, Document, Error, Why};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// # let (db, bob) = (Database::memory("ann").await?, Database::memory("bob").await?);
/// # bob.keys().import(&db.keys().export()?)?;
/// // Two people write the same document apart from each other, then they meet.
/// db.put(&note("a", "from Ann")).await?;
/// bob.put(&note("a", "from Bob")).await?;
/// # for db in [&db, &bob, &db] { db.attach("memory://why")?.synced().await?; }
/// let conflict = db.conflicts::<Document>("a").await?.expect("they differ");
/// match conflict.why {
///     Why::Weight => println!("fewer events build on the winner"),
///     Why::Cid => println!("all is equal, so the greater CID wins"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its event has the smallest weight, so it is applied last: roughly, fewer later events build
    /// on it, by fewer ways.
    Weight,
    /// Weights are equal, and the text of its event's CID is the greatest.
    Cid,
}

/// One of the versions of a conflict.
///
/// ```
/// # use firebrick::{Database, Document, Error, Origin};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// # let (db, bob) = (Database::memory("ann").await?, Database::memory("bob").await?);
/// # bob.keys().import(&db.keys().export()?)?;
/// // Two people write the same document apart from each other, then they meet.
/// db.put(&note("a", "from Ann")).await?;
/// bob.put(&note("a", "from Bob")).await?;
/// # for db in [&db, &bob, &db] { db.attach("memory://conflict-version")?.synced().await?; }
/// let conflict = db.conflicts::<Document>("a").await?.expect("they differ");
/// let [winner, loser] = &*conflict.versions else { panic!("two versions") };
/// assert!(winner.wins && !loser.wins);
/// let ours = conflict.versions.iter().find(|version| version.origin == Some(Origin::Local));
/// assert_eq!(ours.unwrap().content.document(), Some(&note("a", "from Ann")));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConflictVersion<T> {
    /// The event that wrote it.
    pub event: Cid,
    /// Where the event first came from. `None` if it was not recorded.
    pub origin: Option<Origin>,
    /// What it holds.
    pub content: Content<T>,
    /// The weight of its event in the merge that decided.
    pub weight: Option<u128>,
    /// Whether it is what [`Database::get`] reads.
    pub wins: bool,
}

/// A document whose current versions differ.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// # let (db, bob) = (Database::memory("ann").await?, Database::memory("bob").await?);
/// # bob.keys().import(&db.keys().export()?)?;
/// // Two people write the same document apart from each other, then they meet.
/// db.put(&note("a", "from Ann")).await?;
/// bob.put(&note("a", "from Bob")).await?;
/// # for db in [&db, &bob, &db] { db.attach("memory://conflict")?.synced().await?; }
/// let conflict = db.conflicts::<Document>("a").await?.expect("they differ");
/// let winner = conflict.versions[0].content.document().cloned();
/// assert_eq!(winner, db.get("a").await?);
/// assert_eq!(winner, bob.get("a").await?); // the same everywhere
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Conflict<T> {
    /// The document's id.
    pub id: String,
    /// The current versions, the winner first, the others in the order in which they would win.
    pub versions: Vec<ConflictVersion<T>>,
    /// Why the first one wins.
    pub why: Why,
    /// The heads whose merge decided: the present head, or the parents of an event that merged
    /// earlier.
    pub merged: Vec<Cid>,
    /// The common ancestor of those heads.
    pub ancestor: Cid,
}

/// Documents that are in conflict.
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// # let (db, bob) = (Database::memory("ann").await?, Database::memory("bob").await?);
/// # bob.keys().import(&db.keys().export()?)?;
/// // Two people write the same document apart from each other, then they meet.
/// db.put(&note("a", "from Ann")).await?;
/// bob.put(&note("a", "from Bob")).await?;
/// # for db in [&db, &bob, &db] { db.attach("memory://conflicted")?.synced().await?; }
/// let conflicted = db.conflicted().await?;
/// assert_eq!(conflicted.ids, ["a"]);
/// assert!(conflicted.complete);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Conflicted {
    /// Their ids, ascending.
    pub ids: Vec<String>,
    /// Whether the whole history was looked at, not only its newest events.
    pub complete: bool,
}

impl Database {
    /// The conflict that a document is in, or `None`.
    ///
    /// Reads events back to where the concurrent versions are, and to the common ancestor of the
    /// merge that decided between them; for a document without conflict, back to its last write or,
    /// if branches run beside that, to their common ancestor.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// # let (db, bob) = (Database::memory("ann").await?, Database::memory("bob").await?);
    /// # bob.keys().import(&db.keys().export()?)?;
    /// // Two people write the same document apart from each other, then they meet.
    /// db.put(&note("a", "from Ann")).await?;
    /// bob.put(&note("a", "from Bob")).await?;
    /// # for db in [&db, &bob, &db] { db.attach("memory://conflicts")?.synced().await?; }
    /// let conflict = db.conflicts::<Document>("a").await?.expect("they differ");
    /// assert_eq!(conflict.versions.len(), 2);
    /// db.put(&note("a", "from both")).await?;
    /// assert!(db.conflicts::<Document>("a").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingBlock`] if an event is not here, [`Error::Document`] for a version that does
    /// not fit the type.
    pub async fn conflicts<T: DeserializeOwned>(&self, id: &str) -> Result<Option<Conflict<T>>> {
        self.ledger().ensure_open()?;
        conflict_at(self.ledger(), &self.ledger().snapshot(), id)
    }

    /// The documents that are in conflict, as far as the newest 100,000 events tell.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// # let (db, bob) = (Database::memory("ann").await?, Database::memory("bob").await?);
    /// # bob.keys().import(&db.keys().export()?)?;
    /// // Two people write the same document apart from each other, then they meet.
    /// db.put(&note("a", "from Ann")).await?;
    /// bob.put(&note("a", "from Bob")).await?;
    /// # for db in [&db, &bob, &db] { db.attach("memory://all-conflicted")?.synced().await?; }
    /// for id in db.conflicted().await?.ids {
    ///     let conflict = db.conflicts::<Document>(&id).await?.expect("it is listed");
    ///     println!("{id} has {} versions", conflict.versions.len());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::conflicted_within`].
    pub async fn conflicted(&self) -> Result<Conflicted> {
        self.conflicted_within(EVENTS_MAX).await
    }

    /// The documents that are in conflict, as far as the newest `events` events tell. Reads those
    /// once, and parts where events are concurrent once more for each document that was written
    /// several times there.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// # let (db, bob) = (Database::memory("ann").await?, Database::memory("bob").await?);
    /// # bob.keys().import(&db.keys().export()?)?;
    /// // Two people write the same document apart from each other, then they meet.
    /// db.put(&note("a", "from Ann")).await?;
    /// bob.put(&note("a", "from Bob")).await?;
    /// # for db in [&db, &bob, &db] { db.attach("memory://conflicted-within")?.synced().await?; }
    /// db.put(&note("b", "later")).await?;
    /// let newest = db.conflicted_within(1).await?;
    /// assert!(newest.ids.is_empty() && !newest.complete);
    /// assert_eq!(db.conflicted_within(1000).await?.ids, ["a"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingBlock`] if an event is not here.
    pub async fn conflicted_within(&self, events: usize) -> Result<Conflicted> {
        self.ledger().ensure_open()?;
        let head = &self.ledger().snapshot().head;
        let found = clock::contested(&self.ledger().source, head, events)?;
        Ok(Conflicted {
            ids: found.keys,
            complete: found.complete,
        })
    }

    /// Settles the conflict of a document: `merge` sees all its versions and makes one document of
    /// them, or `None` to delete it. The outcome is an ordinary write that replaces all of them, so
    /// it converges everywhere. `None` if there is no conflict; `merge` is not called then.
    ///
    /// If another version arrives meanwhile, `merge` is called again with it. If two replicas settle
    /// the same conflict at the same time with different outcomes, those two are in conflict again:
    /// let the outcome depend on nothing but the set of versions.
    ///
    /// ```
    /// # use firebrick::{Conflict, Database, Document, Error, Value};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("resolved").await?;
    /// // The greatest count wins.
    /// let count = |doc: &&Document| match doc.get("count") {
    ///     Some(Value::Int(n)) => *n,
    ///     _ => 0,
    /// };
    /// for id in db.conflicted().await?.ids {
    ///     db.resolve(&id, |conflict: &Conflict<Document>| {
    ///         let documents = conflict.versions.iter().filter_map(|v| v.content.document());
    ///         documents.max_by_key(count).cloned()
    ///     })
    ///     .await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] if other versions came first 64 times; those of
    /// [`Database::conflicts`] and [`Database::put`].
    pub async fn resolve<T: Serialize + DeserializeOwned>(
        &self,
        id: &str,
        mut merge: impl FnMut(&Conflict<T>) -> Option<T>,
    ) -> Result<Option<Written>> {
        let ledger = self.ledger();
        ledger.ensure_writable()?;
        let mut attempts = 0;
        loop {
            let base = ledger.newest();
            let Some(conflict) = conflict_at(ledger, &base, id)? else {
                return Ok(None);
            };
            let put = match merge(&conflict) {
                Some(doc) => Put::new(id.to_owned(), &document::encode(id, &doc)?),
                None => Put::delete(id)?,
            };
            let conditions = Conditions {
                unwritten: vec![id.to_owned()],
                // The winner's value may be the outcome: then the event is what ends the conflict.
                always: true,
                ..Conditions::links(base, Vec::new())
            };
            let written = ledger.write_if(vec![put], self.durability(), Some(conditions));
            attempts += 1;
            match written.await {
                Err(Error::Conflict { .. }) if attempts < ATTEMPTS_MAX => {}
                result => return result.map(Some),
            }
        }
    }
}

fn conflict_at<T: DeserializeOwned>(
    ledger: &Arc<Ledger>,
    snapshot: &Snapshot,
    id: &str,
) -> Result<Option<Conflict<T>>> {
    let source = &ledger.source;
    let current = clock::current_versions(source, &snapshot.head, id)?;
    if !clock::differ(&current) {
        return Ok(None);
    }
    let events: Vec<Cid> = current.iter().map(|version| version.event).collect();
    let decision = clock::decision(source, &snapshot.head, &events)?;
    let Some(decision) = decision else {
        return Ok(None);
    };
    let winner = present(snapshot.tree.get(source, id)?);
    let Decision {
        heads,
        ancestor,
        order,
        ..
    } = decision;
    let why = match order.as_slice() {
        [.., (_, second), (_, first)] if first == second => Why::Cid,
        _ => Why::Weight,
    };
    let place = |event: &Cid| order.iter().rposition(|(other, _)| other == event);
    let mut versions = Vec::with_capacity(current.len());
    for version in current {
        let weight = place(&version.event).map(|at| order[at].1);
        versions.push(ConflictVersion {
            event: version.event,
            origin: ledger.origin_of(&version.event)?,
            content: Content::read(ledger, version.value)?,
            weight,
            wins: version.value == winner,
        });
    }
    versions.sort_by_key(|version| std::cmp::Reverse(place(&version.event)));
    Ok(Some(Conflict {
        id: id.to_owned(),
        versions,
        why,
        merged: heads,
        ancestor,
    }))
}
