//! The database as it was: at a head, between two heads, and back again.

use std::marker::PhantomData;
use std::sync::Arc;

use firebrick_core::clock::{self, ClockError, EventSource as _, Operation, version_in};
use firebrick_core::merge::{MergeError, Resolver};
use firebrick_core::pail::{self, PailError, Tree};
use firebrick_core::{Block, Cid, document};
use serde::de::DeserializeOwned;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::index::IndexSet;
use crate::ledger::{Ledger, Put, Snapshot, Source, Written, present};
use crate::read::AllDocs;

/// Puts that are applied at once while an old version is rebuilt.
const PUTS_AT_ONCE: usize = 1 << 14;

impl Database {
    /// The database as it was at a head: what [`Database::head`] was then, or any event of the log.
    ///
    /// Cheap where the version is stored. Where it is not (most versions are not, and a compaction
    /// drops old ones) it is rebuilt in memory from the events since the nearest version before it
    /// that is.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let db = Database::memory("then-and-now").await?;
    /// let note = |text: &str| Document::new().with("_id", "note").with("text", text);
    /// let then = db.put(&note("then")).await?.head;
    /// db.put(&note("now")).await?;
    ///
    /// let view = db.at(&then).await?;
    /// assert_eq!(view.get::<Document>("note").await?, Some(note("then")));
    /// let changed = db.diff(&then, &db.head()).await?.collect::<Document>().await?;
    /// assert_eq!(changed[0].before, Some(note("then")));
    /// assert_eq!(changed[0].after, Some(note("now")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownEvent`] for a head that is not known here, [`Error::MissingBlock`] if what the
    /// version needs is not here and cannot be rebuilt.
    pub async fn at(&self, head: &[Cid]) -> Result<View> {
        Ok(View {
            ledger: Arc::clone(self.ledger()),
            snapshot: snapshot_at(self.ledger(), head)?,
        })
    }

    /// Reads a document as it was at a head.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let then = db.put(&note("a", "one")).await?.head;
    /// db.delete("a").await?;
    /// assert_eq!(db.get_at("a", &then).await?, Some(note("a", "one")));
    /// assert_eq!(db.get_at::<Document>("a", &db.head()).await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::at`] and [`Database::get`].
    pub async fn get_at<T: DeserializeOwned>(&self, id: &str, head: &[Cid]) -> Result<Option<T>> {
        self.at(head).await?.get(id).await
    }

    /// What differs between two heads, in order of ids. Costs the difference, not the size, where
    /// both versions are stored; see [`Database::at`].
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let before = db.put(&note("a", "one")).await?.head;
    /// db.put(&note("b", "two")).await?;
    /// let diff = db.diff(&before, &db.head()).await?.collect::<Document>().await?;
    /// assert_eq!(diff.len(), 1);
    /// assert_eq!((&diff[0].before, &diff[0].after), (&None, &Some(note("b", "two"))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::at`].
    pub async fn diff(&self, before: &[Cid], after: &[Cid]) -> Result<Diff> {
        let ledger = self.ledger();
        Ok(Diff {
            before: snapshot_at(ledger, before)?,
            after: snapshot_at(ledger, after)?,
            ledger: Arc::clone(ledger),
        })
    }

    /// Writes an old version of a document anew: `version` is the event of its
    /// [history](Database::history). Restoring a deletion deletes.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let first = db.put(&note("a", "one")).await?;
    /// db.put(&note("a", "two")).await?;
    /// db.restore("a", &first.head[0]).await?;
    /// assert_eq!(db.get("a").await?, Some(note("a", "one")));
    /// assert_eq!(db.history("a").collect::<Document>().await?.len(), 3); // nothing was undone
    ///
    /// let other = db.restore("b", &first.head[0]).await;
    /// assert!(matches!(other, Err(Error::NoVersion { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownEvent`], [`Error::NoVersion`] if the event did not write this document,
    /// [`Error::MissingBlock`] if its content is not here, those of [`Database::put`].
    pub async fn restore(&self, id: &str, version: &Cid) -> Result<Written> {
        let ledger = self.ledger();
        ledger.ensure_writable()?;
        let event = known_event(&ledger.source, version)?;
        let put = match version_in(&event, id) {
            None => {
                return Err(Error::NoVersion {
                    id: id.to_owned(),
                    event: *version,
                });
            }
            Some(None) => Put::delete(id)?,
            Some(Some(cid)) => {
                let bytes = ledger.read(id, cid)?;
                Put::new(id.to_owned(), &Block { cid, bytes })
            }
        };
        ledger.write(vec![put], self.durability()).await
    }
}

/// A read-only version of the database. Made by [`Database::at`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let then = db.put(&note("a", "one")).await?.head;
/// let view = db.at(&then).await?;
/// db.put(&note("a", "two")).await?;
/// assert_eq!(view.get("a").await?, Some(note("a", "one")));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct View {
    ledger: Arc<Ledger>,
    snapshot: Arc<Snapshot>,
}

impl View {
    /// Reads a document of this version.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// db.put(&note("a", "one")).await?;
    /// let view = db.at(&db.head()).await?;
    /// db.put(&note("b", "two")).await?;
    /// assert_eq!(view.get::<Document>("b").await?, None); // it was not there then
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::get`].
    pub async fn get<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>> {
        self.ledger.ensure_open()?;
        content(
            &self.ledger,
            id,
            self.snapshot.tree.get(&self.ledger.source, id)?,
        )
    }

    /// All documents of this version, in order of their ids.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let then = db.put(&note("a", "one")).await?.head;
    /// db.put(&note("b", "two")).await?;
    /// assert_eq!(db.at(&then).await?.all_docs().ids().await?, ["a"]);
    /// # Ok(()) }
    /// ```
    pub fn all_docs(&self) -> AllDocs {
        AllDocs::of(Arc::clone(&self.ledger), Arc::clone(&self.snapshot))
    }

    /// The head of this version.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let then = db.put(&note("a", "one")).await?.head;
    /// db.put(&note("b", "two")).await?;
    /// assert_eq!(db.at(&then).await?.head(), then);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn head(&self) -> &[Cid] {
        &self.snapshot.head
    }

    /// The root of this version's tree.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let then = db.put(&note("a", "one")).await?.head;
    /// let root = db.root();
    /// db.put(&note("a", "two")).await?;
    /// assert_eq!(db.at(&then).await?.root(), root);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn root(&self) -> Cid {
        self.snapshot.tree.root()
    }
}

/// A document that differs between two versions.
///
/// ```
/// # use firebrick::{Database, DocDiff, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let before = db.put(&note("a", "one")).await?.head;
/// db.delete("a").await?;
/// let diff = db.diff(&before, &db.head()).await?.collect::<Document>().await?;
/// assert_eq!(diff[0], DocDiff { id: "a".into(), before: Some(note("a", "one")), after: None });
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DocDiff<T> {
    /// The document's id.
    pub id: String,
    /// What it was; `None` if it was not there.
    pub before: Option<T>,
    /// What it is; `None` if it is not there.
    pub after: Option<T>,
}

/// The difference of two versions. Made by [`Database::diff`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let before = db.head();
/// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
/// let diff = db.diff(&before, &db.head()).await?;
/// let ids: Result<Vec<_>, Error> = diff.rows::<Document>().map(|row| Ok(row?.id)).collect();
/// assert_eq!(ids?, ["a", "b"]);
/// # Ok(()) }
/// ```
#[must_use = "call rows() or collect()"]
pub struct Diff {
    ledger: Arc<Ledger>,
    before: Arc<Snapshot>,
    after: Arc<Snapshot>,
}

impl Diff {
    /// The documents that differ, as they are found.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let before = db.head();
    /// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
    /// let diff = db.diff(&before, &db.head()).await?;
    /// // Whether anything differs, without reading the rest.
    /// assert!(diff.rows::<Document>().next().is_some());
    /// # Ok(()) }
    /// ```
    pub fn rows<T: DeserializeOwned>(self) -> Diffs<T> {
        let source = SourceOf(Arc::clone(&self.ledger));
        Diffs {
            walk: Tree::diff(&self.before.tree, &self.after.tree, source),
            ledger: self.ledger,
            of: PhantomData,
        }
    }

    /// All documents that differ.
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
    /// let before = db.put(&note("a", "one")).await?.head;
    /// db.put(&note("a", "two")).await?;
    /// db.put(&note("a", "one")).await?;
    /// let diff = db.diff(&before, &db.head()).await?;
    /// assert!(diff.collect::<Document>().await?.is_empty()); // it is as it was
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::get`].
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<DocDiff<T>>> {
        self.rows().collect()
    }
}

/// The iterator of [`Diff::rows`].
///
/// ```
/// # use firebrick::{Database, Document, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// # let note = |id: &str, text: &str| Document::new().with("_id", id).with("text", text);
/// let before = db.head();
/// db.bulk(&[note("a", "one"), note("b", "two")]).await?;
/// let mut rows = db.diff(&before, &db.head()).await?.rows::<Document>();
/// assert_eq!(rows.next().transpose()?.map(|row| row.id), Some("a".into()));
/// # Ok(()) }
/// ```
#[must_use = "an iterator does nothing until it is asked"]
pub struct Diffs<T> {
    ledger: Arc<Ledger>,
    walk: pail::Diff<SourceOf>,
    of: PhantomData<fn() -> T>,
}

/// The ledger's shards, for walks that own what they walk on.
struct SourceOf(Arc<Ledger>);

impl pail::ShardSource for SourceOf {
    fn shard(&self, cid: &Cid) -> Result<pail::Shard, PailError> {
        self.0.source.shard(cid)
    }
}

impl<T: DeserializeOwned> Iterator for Diffs<T> {
    type Item = Result<DocDiff<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let change = match self.walk.next()? {
                Ok(change) => change,
                Err(error) => return Some(Err(error.into())),
            };
            let (before, after) = (present(change.old), present(change.new));
            if change.key == document::GENESIS_KEY || before == after {
                continue;
            }
            let row = || {
                Ok(DocDiff {
                    before: content(&self.ledger, &change.key, before)?,
                    after: content(&self.ledger, &change.key, after)?,
                    id: change.key,
                })
            };
            return Some(row());
        }
    }
}

fn content<T: DeserializeOwned>(ledger: &Ledger, id: &str, link: Option<Cid>) -> Result<Option<T>> {
    match present(link) {
        Some(cid) => Ok(document::decode(&ledger.read(id, cid)?)?),
        None => Ok(None),
    }
}

fn known_event(source: &Source, cid: &Cid) -> Result<Arc<clock::Event>> {
    source.event(cid).map_err(|error| match error {
        ClockError::Missing(cid) | ClockError::Invalid { cid, .. } => Error::UnknownEvent { cid },
        other => other.into(),
    })
}

fn snapshot_at(ledger: &Ledger, head: &[Cid]) -> Result<Arc<Snapshot>> {
    ledger.ensure_open()?;
    let head = normal(head);
    let newest = ledger.snapshot();
    if head == normal(&newest.head) {
        return Ok(newest);
    }
    for event in &head {
        known_event(&ledger.source, event)?;
    }
    let tree = rebuild(&ledger.source, &head)?;
    Ok(Arc::new(Snapshot {
        head,
        tree,
        sequence: 0,
        // Nobody queries the past.
        indexes: IndexSet::default(),
    }))
}

fn normal(head: &[Cid]) -> Vec<Cid> {
    let mut head = head.to_vec();
    head.sort_unstable();
    head.dedup();
    head
}

/// Either the tree, or the head whose tree is needed first.
enum Step {
    Tree(Tree),
    First(Vec<Cid>),
}

/// The tree of a head, from versions that are stored and the events since.
fn rebuild(source: &Source, head: &[Cid]) -> Result<Tree> {
    let mut known: Vec<(Vec<Cid>, Tree)> = Vec::new();
    let mut waiting = vec![head.to_vec()];
    let mut last = Tree::empty();
    while let Some(head) = waiting.last() {
        let step = match head.as_slice() {
            [] => Step::Tree(Tree::empty()),
            [event] => along_line(source, *event, &known)?,
            heads => merged(source, heads, &known)?,
        };
        match step {
            Step::Tree(tree) => {
                last = tree.clone();
                known.extend(waiting.pop().map(|head| (head, tree)));
            }
            Step::First(head) => waiting.push(head),
        }
    }
    Ok(last)
}

fn tree_of(known: &[(Vec<Cid>, Tree)], head: &[Cid]) -> Option<Tree> {
    let found = known.iter().find(|(of, _)| of == head);
    found.map(|(_, tree)| tree.clone())
}

/// The tree of one event: down the line of single parents to a version that is stored, and up
/// again.
fn along_line(source: &Source, event: Cid, known: &[(Vec<Cid>, Tree)]) -> Result<Step> {
    let mut line = Vec::new();
    let mut at = event;
    let mut tree = loop {
        if let Some(tree) = tree_of(known, &[at]) {
            break tree;
        }
        let event = source.event(&at)?;
        if source.contains(&event.root)? {
            break Tree::at(event.root);
        }
        let parents = event.parents.clone();
        line.push(event);
        match parents.as_slice() {
            [] => break Tree::empty(),
            [parent] => at = *parent,
            _ => {
                let parents = normal(&parents);
                match tree_of(known, &parents) {
                    Some(tree) => break tree,
                    None => return Ok(Step::First(parents)),
                }
            }
        }
    };
    let mut puts: Vec<(&str, Cid)> = Vec::new();
    for event in line.iter().rev() {
        puts.extend(event.puts());
        let deleted = match &event.data {
            Operation::Del { key } => Some(key),
            _ => None,
        };
        if deleted.is_some() || puts.len() >= PUTS_AT_ONCE {
            tree = tree.batch(source, puts.drain(..))?;
        }
        if let Some(key) = deleted {
            tree = tree.del(source, key)?;
        }
    }
    tree = tree.batch(source, puts)?;
    match line.first() {
        Some(event) if event.root != tree.root() => Err(Error::MissingBlock {
            cid: event.root,
            id: None,
        }),
        _ => Ok(Step::Tree(tree)),
    }
}

/// The tree of several heads.
fn merged(source: &Source, heads: &[Cid], known: &[(Vec<Cid>, Tree)]) -> Result<Step> {
    let at_hand: Vec<(&[Cid], &Tree)> = known.iter().map(|(of, tree)| (&**of, tree)).collect();
    let mut resolver = Resolver::new(Default::default());
    match resolver.resolve_from(source, source, heads, &at_hand) {
        Ok(tree) => Ok(Step::Tree(tree)),
        Err(MergeError::Pail(PailError::Missing(shard))) => {
            let ancestor = clock::common_ancestor(source, heads)?;
            match ancestor.filter(|ancestor| tree_of(known, &[*ancestor]).is_none()) {
                Some(ancestor) => Ok(Step::First(vec![ancestor])),
                None => Err(PailError::Missing(shard).into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("head", &self.snapshot.head)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Diff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff")
            .field("before", &self.before.head)
            .field("after", &self.after.head)
            .finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Diffs<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diffs").finish_non_exhaustive()
    }
}
