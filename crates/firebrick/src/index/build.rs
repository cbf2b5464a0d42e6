//! The background work: making an index, and bringing one up to date.
//!
//! A new index is made from one version of the documents, in steps between which it can be stopped
//! and shows its progress. Rows gather up to a bound, are sorted and go into the tree; its nodes are
//! stored as they come, referred to by nothing. Then the index follows what was committed meanwhile,
//! the last bit with the writer held, and is saved together with a checkpoint.

use std::sync::Arc;

use bytes::Bytes;
use firebrick_core::document;
use firebrick_core::ordered::Edit;
use firebrick_core::pail::Range;

use super::registry::{Entry, IndexStatus};
use super::state::{IndexState, Obstacle};
use crate::env::blocking;
use crate::error::{Error, Result};
use crate::ledger::{Ahead, Ledger, Snapshot, missing_document};
use crate::store::{Commit, StoredBlock};

/// Bytes of rows that are sorted together.
const SORT_BYTES: usize = 32 << 20;
/// Bytes of new nodes that are stored together.
const SAVE_BYTES: usize = 4 << 20;
/// Changed documents that are looked at while the writer waits.
const LAST_CHANGES: usize = 5000;
/// How often an index may turn out to be useless while it is being made.
const ATTEMPTS: usize = 3;

/// An index in the making.
struct Work {
    snapshot: Arc<Snapshot>,
    state: IndexState,
    /// Where in the documents; `None` once all were read.
    after: Option<String>,
    ahead: Ahead,
    edits: Vec<Edit>,
    edit_bytes: usize,
    done: u64,
    total: u64,
    attempts: usize,
    /// Whether nodes may be stored.
    stores: bool,
}

enum Step {
    More(Work),
    Done(Work),
}

impl Work {
    fn new(ledger: &Ledger, entry: &Entry, stores: bool) -> Self {
        let snapshot = ledger.snapshot();
        let known = entry.latest(&ledger.source);
        let after = known.is_none().then(String::new);
        Self {
            state: known.map_or_else(IndexState::empty, |state| (*state).clone()),
            snapshot,
            after,
            ahead: Ahead::new(),
            edits: Vec::new(),
            edit_bytes: 0,
            done: 0,
            total: 0,
            attempts: 0,
            stores,
        }
    }

    fn step(mut self, ledger: &Ledger, entry: &Entry) -> Result<Step> {
        ledger.ensure_open()?;
        let result = match self.after.clone() {
            Some(after) => self.read(ledger, entry, after).map(|()| false),
            None => self.follow(ledger, entry),
        };
        match result {
            Ok(true) => Ok(Step::Done(self)),
            Ok(false) => Ok(Step::More(self)),
            Err(obstacle) => self.again(ledger, entry, obstacle).map(Step::More),
        }
    }

    /// What to go on with when something was in the way.
    fn again(self, ledger: &Ledger, entry: &Entry, obstacle: Obstacle) -> Result<Self> {
        match obstacle {
            Obstacle::TooMany => Ok(self),
            Obstacle::Stale(cause) if self.attempts < ATTEMPTS => {
                tracing::warn!(index = entry.name(), cause, "an index is made anew");
                entry.set_latest(None);
                Ok(Self {
                    snapshot: ledger.snapshot(),
                    state: IndexState::empty(),
                    after: Some(String::new()),
                    edits: Vec::new(),
                    edit_bytes: 0,
                    done: 0,
                    attempts: self.attempts + 1,
                    ..self
                })
            }
            Obstacle::Function(cause) | Obstacle::Stale(cause) => Err(Error::IndexFailed {
                name: entry.name(),
                cause,
            }),
            Obstacle::Other(error) => Err(error),
        }
    }

    /// Reads some documents and gathers their rows.
    fn read(&mut self, ledger: &Ledger, entry: &Entry, mut after: String) -> Result<(), Obstacle> {
        let source = &ledger.source;
        if self.total == 0 {
            self.total = count(ledger, &self.snapshot)?;
        }
        let mut range = Range::all();
        if !after.is_empty() {
            range = range.after(after.clone());
        }
        let at_once = self.ahead.documents();
        let mut ids = Vec::with_capacity(at_once);
        let mut cids = Vec::with_capacity(at_once);
        let mut ended = true;
        for next in self.snapshot.tree.entries(source.scanning(), range) {
            let (id, cid) = next?;
            after.clone_from(&id);
            if id != document::GENESIS_KEY && cid != document::TOMBSTONE.cid {
                ids.push(id);
                cids.push(cid);
            }
            if cids.len() == at_once {
                ended = false;
                break;
            }
        }
        let blocks = source
            .documents(&cids)
            .map_err(|e| Obstacle::Other(e.into()))?;
        let mut bytes = 0;
        for ((id, cid), block) in ids.iter().zip(&cids).zip(blocks) {
            let block = block.ok_or_else(|| Obstacle::Other(missing_document(*cid, id)))?;
            bytes += block.len();
            self.add(entry, id, &block)?;
        }
        self.ahead.took(ids.len(), bytes);
        self.done += ids.len() as u64;
        self.after = (!ended).then_some(after);
        if ended || self.edit_bytes > SORT_BYTES {
            let edits = std::mem::take(&mut self.edits);
            self.edit_bytes = 0;
            self.state.entries = self.state.entries.edit(source, edits)?.tree;
        }
        if ended {
            self.state.covered = self.snapshot.tree.clone();
        }
        entry.status.send_replace(IndexStatus::Building {
            done: self.done,
            total: self.total,
        });
        self.store_nodes(ledger)
    }

    fn add(&mut self, entry: &Entry, id: &str, block: &Bytes) -> Result<(), Obstacle> {
        let rows = entry
            .definition
            .rows(id, block)
            .map_err(Obstacle::Function)?;
        self.state.skipped += rows.skipped;
        for (key, value) in rows.entries {
            self.edit_bytes += key.len() + value.len() + size_of::<Edit>();
            self.edits.push(Edit::put(key, value));
        }
        Ok(())
    }

    fn store_nodes(&mut self, ledger: &Ledger) -> Result<(), Obstacle> {
        if !self.stores || self.state.entries.unsaved_bytes() < SAVE_BYTES {
            return Ok(());
        }
        let entries = &self.state.entries;
        let saved = entries.save();
        let blocks: Vec<StoredBlock> = saved.blocks.into_iter().map(StoredBlock::from).collect();
        let commit = Commit {
            blocks: &blocks,
            ..Commit::default()
        };
        let stored = ledger.store().commit(&commit);
        stored.map_err(|error| Obstacle::Other(error.into()))?;
        for (cid, node) in saved.nodes {
            ledger.source.remember_node(cid, node);
        }
        self.state.entries = saved.tree;
        Ok(())
    }

    /// Brings the index to the newest version; tells whether nothing is left to do.
    fn follow(&mut self, ledger: &Ledger, entry: &Entry) -> Result<bool, Obstacle> {
        let newest = ledger.snapshot();
        if newest.tree.root() == self.state.covered.root() {
            return Ok(true);
        }
        let (definition, source) = (&entry.definition, &ledger.source);
        let limit = usize::MAX;
        self.state = self
            .state
            .advance(definition, source, &|_| None, &newest.tree, limit)?;
        self.store_nodes(ledger)?;
        Ok(true)
    }
}

fn count(ledger: &Ledger, snapshot: &Snapshot) -> Result<u64, Obstacle> {
    let mut count = 0;
    for entry in snapshot
        .tree
        .entries(ledger.source.scanning(), Range::all())
    {
        count += u64::from(entry?.1 != document::TOMBSTONE.cid);
    }
    Ok(count)
}

impl Ledger {
    /// Starts the work on an index, unless it goes on or there is nothing to do.
    /// `again` is for one that was ready and no longer is.
    pub(crate) fn start_build(&self, entry: &Arc<Entry>, again: bool) {
        let started = entry.status.send_if_modified(|status| {
            let start = match status {
                IndexStatus::Building { .. } => false,
                IndexStatus::Ready => again,
                _ => true,
            };
            if start {
                *status = IndexStatus::Building { done: 0, total: 0 };
            }
            start
        });
        let Some(ledger) = self.indexes.ledger.get().filter(|_| started).cloned() else {
            return;
        };
        let entry = Arc::clone(entry);
        let env = Arc::clone(&self.env);
        let task = async move {
            let mut work = None;
            while let Some(strong) = ledger.upgrade() {
                let (taken, at) = (work.take(), Arc::clone(&entry));
                match blocking(&*env, move || strong.build_step(taken, &at)).await {
                    Ok(Some(more)) => work = Some(more),
                    Ok(None) => return,
                    Err(lost) => return entry.fail(Error::Config(lost.to_string())),
                }
            }
        };
        self.env.spawn("index", Box::pin(task));
    }

    fn build_step(&self, work: Option<Work>, entry: &Arc<Entry>) -> Option<Work> {
        let work = work.unwrap_or_else(|| Work::new(self, entry, true));
        if !self.indexes.has(entry) {
            entry.fail(Error::IndexFailed {
                name: entry.name(),
                cause: "it was dropped while it was being made".into(),
            });
            return None;
        }
        let result = work.step(self, entry).and_then(|step| match step {
            Step::More(work) => Ok(Some(work)),
            Step::Done(work) => match self.install(entry, &work.state) {
                Ok(()) => Ok(None),
                Err(obstacle) => work.again(self, entry, obstacle).map(Some),
            },
        });
        result.unwrap_or_else(|error| {
            self.source.note_unreadable(&error);
            entry.fail(error);
            None
        })
    }

    /// Lets the index follow every commit from now on, if little has happened since its version.
    fn install(&self, entry: &Arc<Entry>, state: &IndexState) -> Result<(), Obstacle> {
        self.adopt_index(entry, |tree| {
            let (definition, source) = (&entry.definition, &self.source);
            state.advance(definition, source, &|_| None, tree, LAST_CHANGES)
        })
    }

    /// The same without a task and without storing anything, for a database that is only read.
    fn build_in_memory(&self, entry: &Arc<Entry>) -> Result<()> {
        let mut work = Work::new(self, entry, false);
        loop {
            match work.step(self, entry)? {
                Step::More(more) => work = more,
                Step::Done(done) => {
                    entry.set_ready(Some(Arc::new(done.state)));
                    return Ok(());
                }
            }
        }
    }

    /// Waits until an index is there.
    pub(crate) async fn ensure_index(&self, entry: &Arc<Entry>) -> Result<()> {
        self.ensure_open()?;
        if entry.is_ready() {
            return Ok(());
        }
        if entry.has_failed_for_good() {
            return Err(entry.failure());
        }
        if self.read_only {
            return self.build_in_memory(entry).inspect_err(|error| {
                self.source.note_unreadable(error);
                entry.fail(error.again());
            });
        }
        let mut status = entry.status.subscribe();
        self.start_build(entry, false);
        loop {
            match &*status.borrow_and_update() {
                IndexStatus::Building { .. } => {}
                IndexStatus::Failed { .. } => return Err(entry.failure()),
                _ => return self.ensure_open(),
            }
            if status.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }
}
