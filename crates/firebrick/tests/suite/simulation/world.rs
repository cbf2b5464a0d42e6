//! Databases, each a process with a disk, and the remotes between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use firebrick::env::sim::{Executor, SimEnv, note};
use firebrick::env::{Rng, timeout};
use firebrick::gateway::{Call, Faulty, MemoryRemote, Step};
use firebrick::store::{SimFault, SimStore};
use firebrick::{Attachment, Cid, Database, Document, Durability, Remote, Retention, State};
use firebrick_core::keys::Key;

use super::oracle::{self, Oracle};
use crate::common;

/// A remote.
pub(crate) struct Hub {
    pub(crate) name: String,
    registered: String,
    pub(crate) remote: MemoryRemote,
    /// It has lost or changed something that it had confirmed.
    pub(crate) lied: bool,
}

/// A database, open or not.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) env: SimEnv,
    pub(crate) store: Arc<SimStore>,
    pub(crate) db: Option<Database>,
    /// Its connections to the hubs.
    pub(crate) wires: Vec<Faulty<MemoryRemote>>,
    /// The hubs that it belongs to in the end.
    pub(crate) home: BTreeSet<usize>,
    /// The storage call that fails.
    planned: Option<u64>,
    durability: Durability,
}

pub(crate) struct World<'a> {
    pub(crate) executor: &'a Executor,
    pub(crate) rng: Rng,
    /// What never crashes.
    pub(crate) network: SimEnv,
    pub(crate) hubs: Vec<Hub>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) oracle: Oracle,
    pub(crate) encrypted: bool,
    /// Crashes may lose what was not synced.
    pub(crate) power: bool,
    key: Key,
}

impl<'a> World<'a> {
    pub(crate) fn new(executor: &'a Executor, label: &str) -> Self {
        Self {
            executor,
            rng: executor.rng(label),
            network: executor.process("network"),
            hubs: Vec::new(),
            nodes: Vec::new(),
            oracle: Oracle::default(),
            encrypted: true,
            power: false,
            key: Key::generate([7; 32]),
        }
    }

    pub(crate) fn add_hubs(&mut self, count: usize) {
        for _ in 0..count {
            let at = self.hubs.len();
            // Runs in other threads have registries of their own names.
            let registered = format!(
                "sim-{:?}-{}-{at}",
                std::thread::current().id(),
                self.executor.seed()
            );
            MemoryRemote::forget(&registered);
            self.hubs.push(Hub {
                name: format!("hub-{at}"),
                remote: MemoryRemote::named(&registered),
                registered,
                lied: false,
            });
        }
    }

    pub(crate) fn wire(&mut self, hub: usize) -> Faulty<MemoryRemote> {
        let seed = self.rng.next_u64();
        let remote = Arc::new(self.hubs[hub].remote.clone());
        Faulty::new(remote, Arc::new(self.network.clone()), seed)
    }

    pub(crate) async fn add_node(&mut self, home: impl IntoIterator<Item = usize>) -> usize {
        let at = self.nodes.len();
        let wires = (0..self.hubs.len()).map(|hub| self.wire(hub)).collect();
        let name = format!("db-{at}");
        let durability = if self.rng.chance(0.5) {
            Durability::Sync
        } else {
            Durability::Buffered
        };
        self.nodes.push(Node {
            env: self.executor.process(&name),
            name,
            store: Arc::new(SimStore::new()),
            db: None,
            wires,
            home: home.into_iter().collect(),
            planned: None,
            durability,
        });
        self.open(at).await;
        at
    }

    /// Opens a database that is not open.
    pub(crate) async fn open(&mut self, at: usize) {
        let (encrypted, key) = (self.encrypted, self.key.to_text());
        let node = &mut self.nodes[at];
        assert!(node.db.is_none());
        node.store.heal();
        node.planned = None;
        node.store = Arc::new(node.store.reopen());
        node.env = self.executor.process(&node.name);
        let builder = Database::builder()
            .name(&node.name)
            .env(Arc::new(node.env.clone()))
            .store(Arc::clone(&node.store) as _)
            .durability(node.durability)
            .memory(1 << 20);
        let builder = if encrypted {
            builder.key(key)
        } else {
            builder.insecure(true)
        };
        let db = builder.open().await.expect("opens again after anything");
        say(|| format!("{} opens at {:?}", node.name, short(&db.head())));
        node.db = Some(db);
        self.oracle.reopened(at);
    }

    pub(crate) fn db(&self, at: usize) -> Option<&Database> {
        self.nodes[at].db.as_ref()
    }

    pub(crate) fn open_db(&self, at: usize) -> &Database {
        self.db(at).expect("is open")
    }

    /// Attaches a hub, and watches that the status is honest.
    pub(crate) fn attach(&mut self, at: usize, hub: usize) -> Option<Attachment> {
        let node = &self.nodes[at];
        let db = node.db.as_ref()?;
        let gateway = Arc::new(node.wires[hub].clone());
        let known = db.attachments().len();
        let remote = Remote::gateway(gateway).name(&self.hubs[hub].name);
        let attachment = match db.attach(remote) {
            Ok(attachment) => attachment,
            Err(error) => {
                say(|| format!("attaching failed: {error}"));
                return None;
            }
        };
        if db.attachments().len() > known {
            watch(&node.env, &node.name, &attachment);
        }
        Some(attachment)
    }

    pub(crate) fn attachment(&self, at: usize, hub: usize) -> Option<Attachment> {
        let name = &self.hubs[hub].name;
        let attachments = self.db(at)?.attachments();
        attachments.into_iter().find(|found| found.name() == name)
    }

    /// Kills a database's process; with `power`, a part of what was not synced is lost.
    pub(crate) fn crash(&mut self, at: usize, power: bool) {
        let random = self.rng.next_u64();
        let node = &mut self.nodes[at];
        say(|| format!("{} crashes, power loss: {power}", node.name));
        node.env.crash();
        if power {
            let lost = node.store.unsynced();
            say(|| format!("{} may lose {lost} commits", node.name));
            node.store.crash(random);
            self.oracle.lost_power(at);
        } else {
            node.store.kill();
        }
        node.db = None;
    }

    /// Closes a database, if that is possible at present.
    pub(crate) async fn close(&mut self, at: usize) {
        let Some(db) = self.nodes[at].db.take() else {
            return;
        };
        let closed = timeout(&self.network, Duration::from_secs(60), db.close()).await;
        say(|| format!("{} closes: {closed:?}", self.nodes[at].name));
        assert!(
            closed.is_ok() || !self.nodes[at].env.is_alive() || self.nodes[at].planned.is_some(),
            "closing hangs"
        );
        self.nodes[at].db = Some(db);
        self.crash(at, false);
    }

    /// Plans a failure of a later storage call.
    pub(crate) fn plan_storage_fault(&mut self, at: usize, after: u64, fault: SimFault) {
        let node = &mut self.nodes[at];
        node.store.fail_call(after, fault);
        node.planned = Some(node.store.calls() + after);
    }

    /// Lets the process die at a later call to a hub.
    pub(crate) fn plan_remote_crash(&mut self, at: usize, hub: usize, after: u64) {
        let node = &self.nodes[at];
        let env = node.env.clone();
        let left = std::sync::atomic::AtomicU64::new(after);
        node.wires[hub].on_call(move |_: Call| {
            use std::sync::atomic::Ordering::Relaxed;
            if left
                .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1))
                .is_err()
                && env.is_alive()
            {
                env.crash();
                return Step::Hang;
            }
            Step::Continue
        });
    }

    /// Takes down what has died since the last look; returns whether the database runs.
    pub(crate) fn reap(&mut self, at: usize) -> bool {
        let node = &self.nodes[at];
        if node.db.is_none() {
            return false;
        }
        let dead = !node.env.is_alive();
        let failed = node.planned.is_some_and(|call| node.store.calls() > call);
        if dead || failed {
            for wire in &node.wires {
                wire.clear_hook();
            }
            let power = self.power && self.rng.chance(0.5);
            self.crash(at, power);
            return false;
        }
        true
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        use firebrick::env::Env as _;
        self.network.sleep(duration).await;
    }

    /// Writes, and tells the oracle how it ended.
    pub(crate) async fn put(&mut self, at: usize, ids: &[String]) {
        let Some(db) = self.db(at).cloned() else {
            return;
        };
        let docs: Vec<Document> = ids
            .iter()
            .map(|id| {
                let value = self.oracle.next_value();
                common::doc(id, format!("{value} by {}", self.nodes[at].name))
            })
            .collect();
        let durability = match self.rng.index(4) {
            0 => Durability::Sync,
            1 => Durability::Buffered,
            _ => self.nodes[at].durability,
        };
        let outcome = match docs.as_slice() {
            [only] => db.put_with(only, durability).await,
            docs => db.bulk_with(docs, durability).await,
        };
        self.wrote(at, ids, outcome, durability);
    }

    pub(crate) async fn delete(&mut self, at: usize, id: &str) {
        let Some(db) = self.db(at).cloned() else {
            return;
        };
        let outcome = db.delete(id).await;
        let durability = self.nodes[at].durability;
        self.wrote(at, &[id.to_owned()], outcome, durability);
    }

    /// Compacts, which may fail if a storage fault is planned.
    pub(crate) async fn compact(&mut self, at: usize) {
        let Some(db) = self.db(at).cloned() else {
            return;
        };
        let retention = [
            Retention::Versions(1),
            Retention::Versions(3),
            Retention::Age(Duration::from_secs(30)),
            Retention::All,
        ][self.rng.index(4)];
        let done = db.compact().retention(retention).run().await;
        say(|| format!("{} compacts, {retention:?}: {done:?}", self.nodes[at].name));
        let name = &self.nodes[at].name;
        assert!(
            done.is_ok() || self.nodes[at].planned.is_some() || !self.nodes[at].env.is_alive(),
            "{name} cannot compact: {done:?}"
        );
    }

    fn wrote(
        &mut self,
        at: usize,
        ids: &[String],
        outcome: firebrick::Result<firebrick::Written>,
        durability: Durability,
    ) {
        let name = &self.nodes[at].name;
        match outcome {
            Ok(written) => {
                say(|| format!("{name} wrote {ids:?}: {:?}", short(&written.head)));
                self.oracle.acknowledged(at, ids, &written.head, durability);
            }
            Err(error) => say(|| format!("{name} did not write {ids:?}: {error}")),
        }
    }

    /// Syncs, and checks that `synced` is true to its word.
    pub(crate) async fn check_synced(&mut self, at: usize, hub: usize, exact: bool) {
        let Some(attachment) = self.attachment(at, hub) else {
            return;
        };
        let before = self.open_db(at).head();
        let shown = oracle::heads_at(&self.hubs[hub].remote, &self.key, self.encrypted).await;
        let limit = Duration::from_secs(20);
        let outcome = timeout(&self.network, limit, attachment.synced()).await;
        say(|| format!("{} synced: {outcome:?}", self.nodes[at].name));
        let Ok(Ok(())) = outcome else {
            return;
        };
        if !self.reap(at) {
            return;
        }
        let node = &self.nodes[at];
        if !self.hubs[hub].lied {
            let there = oracle::blocks_at(&self.hubs[hub].remote, &self.key, self.encrypted).await;
            for event in oracle::past(&node.store, &before).keys() {
                assert!(
                    there.contains(event),
                    "{} says that it is synced, but {} lacks {event}",
                    node.name,
                    self.hubs[hub].name
                );
            }
        }
        if exact && !self.hubs[hub].lied {
            let here = oracle::past(&node.store, &self.open_db(at).head());
            for event in shown {
                assert!(
                    here.contains_key(&event),
                    "{} says that it is synced, but lacks {event} from {}",
                    node.name,
                    self.hubs[hub].name
                );
            }
        }
    }

    /// Ends all faults, opens and attaches everything.
    pub(crate) async fn heal(&mut self) {
        say(|| "everything is healed".to_owned());
        for at in 0..self.nodes.len() {
            for wire in &self.nodes[at].wires {
                wire.clear_hook();
                wire.heal();
            }
            self.executor.resume(&self.nodes[at].env);
            // A storage fault that was planned and has not happened, does not happen.
            self.reap(at);
            self.nodes[at].store.heal();
            self.nodes[at].planned = None;
            if self.nodes[at].db.is_none() {
                self.open(at).await;
            }
            for hub in 0..self.hubs.len() {
                if self.nodes[at].home.contains(&hub) {
                    self.attach(at, hub);
                }
            }
        }
    }

    /// The one head of all open databases, if they have the same.
    fn common_head(&self) -> Option<Vec<Cid>> {
        let mut heads = self
            .nodes
            .iter()
            .filter_map(|node| node.db.as_ref())
            .map(Database::head);
        let first = heads.next().unwrap_or_default();
        (first.len() <= 1 && heads.all(|head| head == first)).then_some(first)
    }

    fn attachments(&self) -> Vec<Attachment> {
        let open = self.nodes.iter().filter_map(|node| node.db.as_ref());
        open.flat_map(Database::attachments).collect()
    }

    /// Waits until all databases are equal and each has said so of each remote, and says why not if
    /// it takes too long. While calls fail at random, of ten databases one is always between two
    /// attempts; so they need not all say it at the same moment, only about the same head.
    pub(crate) async fn converge(&self, limit: Duration) {
        let mut waited = Duration::ZERO;
        let mut agreed = (None, BTreeSet::new());
        loop {
            let head = self.common_head();
            if head != agreed.0 {
                agreed = (head.clone(), BTreeSet::new());
            }
            let attachments = self.attachments();
            for (at, attachment) in attachments.iter().enumerate() {
                if attachment.status().state == State::UpToDate {
                    agreed.1.insert(at);
                }
            }
            if head.is_some() && agreed.1.len() == attachments.len() {
                break;
            }
            let step = Duration::from_millis(50);
            self.sleep(step).await;
            waited += step;
            assert!(waited < limit, "no convergence:\n{}", self.describe());
        }
        say(|| format!("converged after {waited:?}"));
    }

    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let Some(db) = &node.db else {
                text += &format!("{} is closed\n", node.name);
                continue;
            };
            text += &format!(
                "{} head {:?} root {}\n",
                node.name,
                short(&db.head()),
                db.root()
            );
            for attachment in db.attachments() {
                let status = attachment.status();
                text += &format!(
                    "  {} {:?} pending {:#?} missing {:?} error {:?} {:?}\n",
                    status.remote,
                    status.state,
                    status.pending,
                    status.missing_documents,
                    status.last_error,
                    status.traffic
                );
            }
        }
        text
    }

    /// What changed the remotes so far.
    fn activity(&self) -> Vec<(u64, u64, u64)> {
        let counters = self.hubs.iter().map(|hub| hub.remote.counters());
        counters
            .map(|counters| (counters.announces, counters.puts, counters.slot_removals))
            .collect()
    }

    /// Announcements at each hub so far.
    pub(crate) fn announces(&self) -> Vec<u64> {
        let counters = self.hubs.iter().map(|hub| hub.remote.counters());
        counters.map(|counters| counters.announces).collect()
    }

    /// Waits until these databases have synced.
    pub(crate) async fn converge_only(&self, nodes: &[usize]) {
        for at in nodes {
            for attachment in self.open_db(*at).attachments() {
                let limit = Duration::from_secs(60);
                attachment.synced_within(limit).await.expect("syncs");
            }
        }
    }

    /// After convergence slots are tidied, and then nothing is written to any remote any more.
    pub(crate) async fn falls_silent(&self) {
        self.sleep(Duration::from_secs(240)).await;
        let before = self.activity();
        self.sleep(Duration::from_secs(180)).await;
        assert_eq!(
            before,
            self.activity(),
            "it never falls silent\n{}",
            self.describe()
        );
        let quiet = self
            .attachments()
            .iter()
            .all(|attachment| attachment.status().state == State::UpToDate);
        assert!(
            self.common_head().is_some() && quiet,
            "it came apart again\n{}",
            self.describe()
        );
    }

    /// All databases are equal, hold every acknowledged write, and so does each hub by itself.
    pub(crate) async fn check_equal(&mut self) {
        let first = common::state(self.open_db(0)).await;
        for node in &self.nodes[1..] {
            let state = common::state(node.db.as_ref().expect("is open")).await;
            assert_eq!(state, first, "{} differs", node.name);
        }
        let head = self.open_db(0).head();
        self.oracle.check(&self.nodes[0].store, &head, &first);
        let (homes, mut auditors): (BTreeSet<usize>, Vec<usize>) = (
            self.nodes
                .iter()
                .flat_map(|node| node.home.clone())
                .collect(),
            Vec::new(),
        );
        for hub in homes {
            let auditor = self.add_node([hub]).await;
            self.attach(auditor, hub);
            auditors.push(auditor);
        }
        self.converge(Duration::from_secs(60)).await;
        for auditor in auditors {
            let state = common::state(self.open_db(auditor)).await;
            assert_eq!(state, first, "a newcomer differs");
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for hub in &self.hubs {
            MemoryRemote::forget(&hub.registered);
        }
    }
}

/// Follows a status from inside the process and checks that it never contradicts itself.
fn watch(env: &SimEnv, name: &str, attachment: &Attachment) {
    use firebrick::env::Env as _;
    let (mut statuses, name) = (attachment.watch(), name.to_owned());
    let task = async move {
        loop {
            let status = statuses.borrow_and_update().clone();
            say(|| {
                let (state, pending) = (&status.state, status.pending.len());
                format!(
                    "{name} with {}: {state:?}, {pending} pending",
                    status.remote
                )
            });
            if status.state == State::UpToDate {
                assert!(
                    status.pending.is_empty() && status.missing_documents.is_empty(),
                    "{name} is up to date with {:?}",
                    status.pending
                );
            }
            if statuses.changed().await.is_err() || status.state == State::Detached {
                return;
            }
        }
    };
    env.spawn("watches the status", Box::pin(task));
}

/// Heads in a few characters each.
pub(crate) fn short(head: &[Cid]) -> Vec<String> {
    let last = |cid: &Cid| {
        let text = cid.to_string();
        text[text.len() - 6..].to_owned()
    };
    head.iter().map(last).collect()
}

/// Writes a line into the event log, and shows it if one seed is replayed.
pub(crate) fn say(line: impl Fn() -> String) {
    static SHOWN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if *SHOWN.get_or_init(|| std::env::var_os("FIREBRICK_SEED").is_some()) {
        eprintln!("{}", line());
    }
    note(line);
}
