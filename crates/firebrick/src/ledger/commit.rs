//! The path of a local write.
//!
//! Callers put requests into a queue. Whoever gets hold of the writer takes all that wait, in
//! order, and commits them as one group: one event, one append to the store. A buffered write is
//! acknowledged right then, on the caller's own thread. A durable one waits for the syncing
//! thread; while that thread syncs, further writes gather, and the next sync covers them all.

use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError, Weak};
use std::time::Duration;

use firebrick_core::clock::{Event, EventSource as _, Op, Operation};
use firebrick_core::pail::Tree;
use firebrick_core::{Cid, document, genesis};
use hashbrown::HashMap;
use tokio::sync::{Notify, oneshot};

use super::condition::Conditions;
use super::origin::Mark;
use super::{Ledger, Put, Snapshot, Writer, Written};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::options::Durability;
use crate::store::StoredBlock;
use crate::subscribe::Origin;

/// Bytes of documents that may wait for the writer; more callers than that wait outside.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Bytes of documents in one group, so that one commit stays a few megabytes.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How long a buffered write may stay out of the disk's reach.
const BUFFERED_SYNC_AFTER: Duration = Duration::from_millis(50);
/// Turns of tidying between two looks at whether a compaction is due.
const COMPACT_EVERY: u32 = 50;
/// How often the store is asked to tidy itself.
const TIDY_EVERY: Duration = Duration::from_millis(100);

struct Request {
    puts: Vec<Put>,
    bytes: usize,
    durability: Durability,
    conditions: Option<Conditions>,
    reply: oneshot::Sender<Result<Written>>,
}

/// A commit that is in the store and waits for the disk.
struct Unsynced {
    snapshot: Arc<Snapshot>,
    replies: Vec<(oneshot::Sender<Result<Written>>, Written)>,
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    bytes: usize,
}

#[derive(Default)]
struct Signals {
    /// A durable write waits.
    durable: bool,
    /// A buffered write has not been synced.
    buffered: bool,
    stop: bool,
}

/// The queue in front of the writer, and the thread that syncs.
pub(crate) struct Pipeline {
    /// Without threads, every call does its own syncing: in memory, in the simulator, on wasm.
    threads: bool,
    queue: Mutex<Queue>,
    room: Notify,
    unsynced: Mutex<Vec<Unsynced>>,
    signals: Mutex<Signals>,
    signal: Condvar,
    running: Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// Wakes the tidying thread early, at the end.
    tidy: Condvar,
}

impl Pipeline {
    /// `threads` is for stores whose sync takes time.
    pub(crate) fn new(threads: bool) -> Self {
        Self {
            threads,
            queue: Mutex::default(),
            room: Notify::new(),
            unsynced: Mutex::default(),
            signals: Mutex::default(),
            signal: Condvar::new(),
            running: Mutex::default(),
            tidy: Condvar::new(),
        }
    }

    pub(super) fn start(&self, ledger: &Arc<Ledger>) {
        if !self.threads || ledger.read_only {
            return;
        }
        let weak = Arc::downgrade(ledger);
        let tidied = weak.clone();
        self.spawn("firebrick-sync", move || sync_loop(&weak));
        self.spawn("firebrick-tidy", move || tidy_loop(&tidied));
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        match std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
        {
            Ok(handle) => lock(&self.running).push(handle),
            // Without the thread every durable write syncs by itself: slower, not weaker.
            Err(error) => tracing::error!(%error, name, "the system gives no thread"),
        }
    }

    fn wake(&self, set: impl FnOnce(&mut Signals)) {
        set(&mut lock(&self.signals));
        self.signal.notify_one();
    }

    /// Whether there are threads, which keep a database alive that nobody holds any more.
    pub(super) fn is_threaded(&self) -> bool {
        self.threads
    }

    pub(super) fn stop(&self, ledger: &Ledger) {
        self.wake(|signals| signals.stop = true);
        self.tidy.notify_all();
        let threads = std::mem::take(&mut *lock(&self.running));
        for thread in threads {
            // The thread itself drops the last handle of an abandoned ledger.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("the syncing thread panicked");
            }
        }
        ledger.run_queue();
    }

    fn has_thread(&self) -> bool {
        self.threads && !lock(&self.running).is_empty()
    }
}

/// Syncs durable commits as soon as they wait, buffered ones after a bounded time.
fn sync_loop(ledger: &Weak<Ledger>) {
    loop {
        let Some(ledger) = ledger.upgrade() else {
            return;
        };
        let pipeline = &ledger.pipeline;
        let mut signals = lock(&pipeline.signals);
        if !signals.durable && !signals.stop {
            let wait = if signals.buffered {
                BUFFERED_SYNC_AFTER
            } else {
                Duration::from_millis(500)
            };
            signals = pipeline
                .signal
                .wait_timeout(signals, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let (durable, buffered, stop) = (signals.durable, signals.buffered, signals.stop);
        signals.durable = false;
        signals.buffered = false;
        drop(signals);
        if durable {
            ledger.run_queue_waiting();
            ledger.sync_unsynced();
        } else if buffered && let Err(error) = ledger.store().sync() {
            tracing::error!(%error, "syncing failed; the database refuses further writes until it is reopened");
        }
        if stop {
            return;
        }
    }
}

/// Lets the store move what it has gathered into its index, away from every caller's time.
fn tidy_loop(ledger: &Weak<Ledger>) {
    let mut turns: u32 = 0;
    loop {
        turns = turns.wrapping_add(1);
        let Some(ledger) = ledger.upgrade() else {
            return;
        };
        let signals = lock(&ledger.pipeline.signals);
        let stopped = |signals: &mut Signals| !signals.stop;
        let waited = ledger
            .pipeline
            .tidy
            .wait_timeout_while(signals, TIDY_EVERY, stopped);
        let stop = waited.unwrap_or_else(PoisonError::into_inner).0.stop;
        if stop {
            return;
        }
        if ledger.store().maintenance_due()
            && let Err(error) = ledger.store().maintain()
        {
            tracing::warn!(%error, "tidying the store failed; it will be tried again");
        }
        if turns.is_multiple_of(COMPACT_EVERY)
            && let Err(error) = ledger.compact_if_due()
        {
            tracing::warn!(%error, "compacting failed; it will be tried again");
        }
    }
}

impl Ledger {
    /// Commits `puts` as one atomic write and waits for the durability asked for. Dropping the
    /// future after the first poll does not undo the write.
    pub(crate) async fn write(&self, puts: Vec<Put>, durability: Durability) -> Result<Written> {
        self.write_if(puts, durability, None).await
    }

    /// [`write`](Self::write), if the conditions still hold when its turn comes.
    pub(crate) async fn write_if(
        &self,
        puts: Vec<Put>,
        durability: Durability,
        conditions: Option<Conditions>,
    ) -> Result<Written> {
        self.ensure_writable()?;
        let bytes = puts
            .iter()
            .map(|put| put.block.bytes.len() + put.id.len())
            .sum();
        let (reply, answer) = oneshot::channel();
        let mut request = Some(Request {
            puts,
            bytes,
            durability,
            conditions,
            reply,
        });
        loop {
            let room = self.pipeline.room.notified();
            {
                let mut queue = lock(&self.pipeline.queue);
                if queue.bytes == 0 || queue.bytes + bytes <= QUEUE_BYTES_MAX {
                    queue.bytes += bytes;
                    queue.requests.extend(request.take());
                }
            }
            if request.is_none() {
                break;
            }
            room.await;
        }
        if durability == Durability::Sync && self.pipeline.has_thread() {
            self.pipeline.wake(|signals| signals.durable = true);
        } else {
            self.run_queue();
        }
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Commits what waits, unless someone else holds the writer: whoever gives it up looks again.
    /// Without a thread that syncs, whoever commits also syncs, or nobody would.
    pub(super) fn run_queue(&self) {
        while !lock(&self.pipeline.queue).requests.is_empty() {
            match self.writer.try_lock() {
                Ok(mut writer) => self.commit_waiting(&mut writer),
                Err(TryLockError::Poisoned(poisoned)) => {
                    self.commit_waiting(&mut poisoned.into_inner());
                }
                Err(TryLockError::WouldBlock) => return,
            }
        }
        if !self.pipeline.has_thread() {
            self.sync_unsynced();
        }
    }

    fn run_queue_waiting(&self) {
        while !lock(&self.pipeline.queue).requests.is_empty() {
            self.commit_waiting(&mut self.writer());
        }
    }

    /// Runs `work` as the writer, then whatever was queued meanwhile.
    pub(super) fn as_writer<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> T {
        let result = work(&mut self.writer());
        self.run_queue();
        result
    }

    fn commit_waiting(&self, writer: &mut Writer) {
        let group = {
            let mut queue = lock(&self.pipeline.queue);
            let mut bytes = 0;
            let fits = |request: &Request| {
                bytes += request.bytes;
                bytes <= GROUP_BYTES_MAX
            };
            let count = queue
                .requests
                .iter()
                .map(fits)
                .take_while(|fits| *fits)
                .count()
                .max(1);
            let count = count.min(queue.requests.len());
            let group: Vec<Request> = queue.requests.drain(..count).collect();
            queue.bytes -= group.iter().map(|request| request.bytes).sum::<usize>();
            group
        };
        if group.is_empty() {
            return;
        }
        self.pipeline.room.notify_waiters();
        let (group, refused) = self.admit(writer, group);
        if !group.is_empty() {
            self.commit_admitted(writer, group);
        }
        // Told last: whoever tries again then reads what it ran into.
        for (request, error) in refused {
            let _ = request.reply.send(Err(error));
        }
    }

    /// Sorts out the requests whose conditions do not hold; each fails for itself.
    fn admit(&self, writer: &Writer, group: Vec<Request>) -> (Vec<Request>, Vec<(Request, Error)>) {
        if group.iter().all(|request| request.conditions.is_none()) {
            return (group, Vec::new());
        }
        let mut earlier: HashMap<&str, Cid> = HashMap::new();
        let mut answers = Vec::with_capacity(group.len());
        for request in &group {
            let answer = match &request.conditions {
                Some(conditions) => conditions.check(&self.source, writer, &earlier),
                None => Ok(()),
            };
            if answer.is_ok() {
                let puts = request.puts.iter();
                earlier.extend(puts.map(|put| (put.id.as_str(), put.block.cid)));
            }
            answers.push(answer);
        }
        drop(earlier);
        let (mut admitted, mut refused) = (Vec::new(), Vec::new());
        for (request, answer) in group.into_iter().zip(answers) {
            match answer {
                Ok(()) => admitted.push(request),
                Err(error) => refused.push((request, error)),
            }
        }
        (admitted, refused)
    }

    fn commit_admitted(&self, writer: &mut Writer, group: Vec<Request>) {
        match self.commit_group(writer, &group) {
            Ok(snapshot) => self.acknowledge(group, snapshot),
            Err(error) => {
                self.source.note_unreadable(&error);
                for request in group {
                    let _ = request.reply.send(Err(error.again()));
                }
            }
        }
    }

    /// Answers buffered writes; durable ones are handed to whoever syncs next.
    fn acknowledge(&self, group: Vec<Request>, snapshot: Arc<Snapshot>) {
        let mut durable = Vec::new();
        let mut buffered = Vec::new();
        for Request {
            puts,
            durability,
            reply,
            ..
        } in group
        {
            let ids = puts.into_iter().map(|put| put.id).collect();
            let written = Written {
                ids,
                head: snapshot.head.clone(),
                sequence: snapshot.sequence,
            };
            let list = if durability == Durability::Sync {
                &mut durable
            } else {
                &mut buffered
            };
            list.push((reply, written));
        }
        // A buffered write must be seen by the reads that follow it, so it publishes at once.
        if !buffered.is_empty() {
            self.publish(&snapshot, Origin::Local);
            for (reply, written) in buffered {
                let _ = reply.send(Ok(written));
            }
            if self.pipeline.threads {
                let mut signals = lock(&self.pipeline.signals);
                let first = !std::mem::replace(&mut signals.buffered, true);
                drop(signals);
                if first {
                    self.pipeline.signal.notify_one();
                }
            }
        }
        if !durable.is_empty() {
            lock(&self.pipeline.unsynced).push(Unsynced {
                snapshot,
                replies: durable,
            });
            if self.pipeline.has_thread() {
                self.pipeline.wake(|signals| signals.durable = true);
            }
        }
    }

    /// One sync for every commit that waits for it.
    pub(super) fn sync_unsynced(&self) {
        let waiting = std::mem::take(&mut *lock(&self.pipeline.unsynced));
        if waiting.is_empty() {
            return;
        }
        let result = self.store().sync();
        for Unsynced { snapshot, replies } in waiting {
            if result.is_ok() {
                self.publish(&snapshot, Origin::Local);
            }
            for (reply, written) in replies {
                let answer = result.clone().map(|()| written).map_err(Error::Store);
                let _ = reply.send(answer);
            }
        }
    }

    /// Appends one group to the store: documents, one event, and at times the shards.
    fn commit_group(&self, writer: &mut Writer, group: &[Request]) -> Result<Arc<Snapshot>> {
        let puts = || group.iter().flat_map(|request| &request.puts);
        let mut blocks: Vec<StoredBlock> = Vec::with_capacity(puts().count() + 2);
        let (mut head, mut tree) = (writer.head.clone(), writer.tree.clone());
        let mut generation = 0;
        if head.is_empty() {
            (head, tree) = begin(&self.source, &tree, &mut blocks)?;
        } else {
            for event in &head {
                generation = generation.max(self.source.generation(event)?);
            }
        }
        let before = tree.root();
        blocks.extend(puts().map(|put| StoredBlock::from(put.block.clone())));
        let mut all = puts();
        let data = match (all.next(), all.next()) {
            (Some(only), None) => {
                tree = tree.put(&self.source, &only.id, only.block.cid)?;
                Operation::Put {
                    key: only.id.clone(),
                    value: only.block.cid,
                }
            }
            _ => {
                tree = tree.batch(
                    &self.source,
                    puts().map(|put| (put.id.as_str(), put.block.cid)),
                )?;
                Operation::Batch(
                    puts()
                        .map(|put| Op {
                            key: put.id.clone(),
                            value: put.block.cid,
                        })
                        .collect(),
                )
            }
        };
        let wants_event = |request: &Request| request.conditions.as_ref().is_some_and(|c| c.always);
        // The format: a single put that changes nothing makes no event, while there is one head.
        if head.len() == 1
            && tree.root() == before
            && matches!(data, Operation::Put { .. })
            && !group.iter().any(wants_event)
        {
            if head == writer.head {
                return Ok(self.snapshot_of(writer));
            }
        } else {
            let event = Event::new(data, tree.root(), head);
            let block = event.encode();
            head = vec![block.cid];
            self.source.remember_event(block.cid, Arc::new(event));
            blocks.push(StoredBlock {
                block,
                generation: Mark::LOCAL.with(generation + 1),
            });
        }
        self.commit_version(writer, blocks, head, tree, &[])?;
        for put in puts() {
            self.source
                .remember_document(put.block.cid, Arc::clone(&put.held));
        }
        Ok(self.snapshot_of(writer))
    }
}

/// The constant first event that every ledger shares (format §4.4).
fn begin(
    source: &super::Source,
    empty: &Tree,
    blocks: &mut Vec<StoredBlock>,
) -> Result<(Vec<Cid>, Tree)> {
    let document = genesis::GENESIS.document.clone();
    let event = genesis::GENESIS.event.clone();
    let tree = empty.put(source, document::GENESIS_KEY, document.cid)?;
    let head = vec![event.cid];
    blocks.push(document.into());
    // Any two heads may turn out to have nothing else in common, and then the merge starts there.
    blocks.push(genesis::GENESIS.root.clone().into());
    blocks.push(StoredBlock {
        block: event,
        generation: 1,
    });
    Ok((head, tree))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use crate::{Database, Document};

    #[tokio::test]
    async fn a_write_that_meets_a_busy_writer_is_answered_when_the_writer_is_free() {
        let db = Database::memory("busy").await.expect("opens");
        let doc = Document::new().with("_id", "a");
        let mut write = Box::pin(db.put(&doc));
        db.ledger().as_writer(|_| {
            assert!(write.as_mut().now_or_never().is_none(), "it must wait");
        });
        let written = write.now_or_never().expect("no thread will do it later");
        assert_eq!(written.expect("writes").id(), "a");
    }
}
