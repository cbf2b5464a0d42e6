//! Real processes on one shared folder: many at once, and some that are killed.
//!
//! The test binary starts itself as a child; what the child shall do is in its environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use firebrick::env::{RealEnv, Rng};
use firebrick::gateway::{
    Announcement, Capabilities, CarEntry, FolderGateway, Gateway, GatewayResult, SlotId,
};
use firebrick::{Cid, Database, Durability, Remote};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::common::{Bed, DEADLINE, Kind, doc, state, synced};

const JOB: &str = "FIREBRICK_TEST_JOB";

/// What a child does.
#[derive(serde::Serialize, serde::Deserialize)]
struct Job {
    root: PathBuf,
    name: String,
    key: String,
    folder: PathBuf,
    /// Documents that it writes, one by one, skipping those that are there already.
    rows: usize,
    /// Documents that it waits for.
    expected: usize,
    /// Where it notes what it did at the remote.
    log: PathBuf,
}

impl Job {
    fn new(bed: &Bed, name: &str, rows: usize, expected: usize) -> Self {
        Self {
            root: bed.dir.path().to_owned(),
            name: name.to_owned(),
            key: bed.key().to_owned(),
            folder: bed.dir.path().join("remotes/hub"),
            rows,
            expected,
            log: bed.dir.path().join(format!("{name}.log")),
        }
    }

    fn start(&self) -> Child {
        let job = serde_json::to_string(self).expect("is JSON");
        Command::new(std::env::current_exe().expect("has a path"))
            .args(["--exact", "--nocapture", "processes::child"])
            .env(JOB, job)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts")
    }
}

/// A gateway that notes every CAR and every announcement in a file, once it has happened.
struct Noting {
    inner: FolderGateway,
    log: fs::File,
}

impl Noting {
    fn new(job: &Job) -> Self {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&job.log);
        let this = Self {
            inner: FolderGateway::new(&job.folder, Arc::new(RealEnv::new())),
            log: log.expect("opens"),
        };
        this.note("start");
        this
    }

    fn note(&self, line: &str) {
        // One write: a killed process leaves whole lines.
        (&self.log)
            .write_all(format!("{line}\n").as_bytes())
            .expect("notes");
    }
}

impl Gateway for Noting {
    fn url(&self) -> &str {
        self.inner.url()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn prepare(&self) -> BoxFuture<'_, GatewayResult<()>> {
        self.inner.prepare()
    }
    fn put_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move {
            self.inner.put_car(cid, bytes).await?;
            self.note(&format!("put {cid}"));
            Ok(())
        })
    }
    fn put_file_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        self.inner.put_file_car(cid, bytes)
    }
    fn get_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        self.inner.get_car(cid)
    }
    fn get_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        self.inner.get_file_car(cid)
    }
    fn delete_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        self.inner.delete_car(cid)
    }
    fn delete_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        self.inner.delete_file_car(cid)
    }
    fn list_cars(&self) -> BoxFuture<'_, GatewayResult<Option<Vec<CarEntry>>>> {
        self.inner.list_cars()
    }
    fn announce<'a>(
        &'a self,
        slot: &'a SlotId,
        announcement: &'a Announcement,
    ) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(async move {
            self.inner.announce(slot, announcement).await?;
            self.note("announce");
            Ok(())
        })
    }
    fn slots(&self) -> BoxFuture<'_, GatewayResult<Vec<(SlotId, Announcement)>>> {
        self.inner.slots()
    }
    fn remove_slot<'a>(&'a self, slot: &'a SlotId) -> BoxFuture<'a, GatewayResult<()>> {
        self.inner.remove_slot(slot)
    }
    fn read_pointer(&self) -> BoxFuture<'_, GatewayResult<Option<Bytes>>> {
        self.inner.read_pointer()
    }
    fn write_pointer(&self, bytes: Bytes) -> BoxFuture<'_, GatewayResult<()>> {
        self.inner.write_pointer(bytes)
    }
    fn watch(&self) -> BoxStream<'static, ()> {
        self.inner.watch()
    }
}

/// The body of the processes that the tests below start; without a job there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let job: Job = serde_json::from_str(&job).expect("is a job");
    let db = Database::builder()
        .path(job.root.join("db").join(&job.name))
        .name(&job.name)
        .keybag(job.root.join("keys").join(&job.name))
        .durability(Durability::Buffered)
        .memory(4 << 20)
        .open()
        .await
        .expect("opens");
    if db.keys().fingerprints().len() < 2 {
        db.keys().import(&job.key).expect("is a key");
    }
    let remote = Remote::gateway(Arc::new(Noting::new(&job))).name("hub");
    let attachment = db.attach(remote).expect("attaches");
    println!("opened");
    for row in 0..job.rows {
        let id = format!("{}-{row:04}", job.name);
        if db
            .get::<firebrick::Document>(&id)
            .await
            .expect("reads")
            .is_none()
        {
            db.put(&doc(&id, "v".repeat(200)))
                .await
                .expect("is written");
            // From here on it must never be lost.
            println!("wrote {id}");
        }
        if row % 16 == 0 {
            attachment.synced_within(DEADLINE).await.expect("syncs");
            println!("synced {row}");
        }
    }
    let start = Instant::now();
    let mut moved = db.subscribe();
    loop {
        attachment.synced_within(DEADLINE).await.expect("syncs");
        let count = db.count().await.expect("counts");
        println!("has {count}");
        if count >= job.expected {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{:#?}", attachment.status());
        let _ = tokio::time::timeout(DEADLINE / 30, moved.next()).await;
    }
    println!("root {}", db.root());
    let report = db.close().await.expect("closes");
    assert!(report.unpushed.is_empty(), "{report:?}");
}

/// Waits for a child; its last root.
fn root_of(mut child: Child) -> String {
    let out = BufReader::new(child.stdout.take().expect("is piped"));
    let root = out.lines().map_while(Result::ok).filter_map(|line| {
        // The test harness may have begun the line.
        Some(line.split_once("root ")?.1.to_owned())
    });
    let root = root.last();
    assert!(child.wait().expect("ends").success());
    root.expect("says its root")
}

async fn crowd(processes: usize, rows: usize) {
    let bed = Bed::new(Kind::Folder).await;
    let jobs: Vec<Job> = (0..processes)
        .map(|n| Job::new(&bed, &format!("p{n}"), rows, processes * rows))
        .collect();
    let children: Vec<Child> = jobs.iter().map(Job::start).collect();
    let waiting = children
        .into_iter()
        .map(|child| tokio::task::spawn_blocking(move || root_of(child)));
    let mut roots = BTreeSet::new();
    for root in waiting.collect::<Vec<_>>() {
        roots.insert(root.await.expect("the child ends well"));
    }
    assert_eq!(roots.len(), 1, "all hold the same: {roots:?}");
    let reader = bed.open("reader").await;
    synced(&[reader.attach(bed.remote("hub").as_str()).expect("attaches")]).await;
    assert_eq!(reader.root().to_string(), *roots.first().expect("is one"));
    let ids = state(&reader).await.docs.into_keys().collect::<Vec<_>>();
    let expected: Vec<String> = (0..processes)
        .flat_map(|n| (0..rows).map(move |row| format!("p{n}-{row:04}")))
        .collect();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_at_once() {
    crowd(2, 1).await;
    crowd(2, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_write_at_once() {
    crowd(8, 1).await;
    crowd(8, 40).await;
}

/// Reads some lines of a child, then kills it. Returns what it said it wrote, and whether it had
/// ended by itself.
fn kill_after(mut child: Child, lines: usize) -> (Vec<String>, bool) {
    let mut out = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let mut wrote = Vec::new();
    let mut note =
        |line: &str| wrote.extend(line.split_once("wrote ").map(|(_, id)| id.to_owned()));
    for _ in 0..lines {
        match out.next() {
            Some(Ok(line)) => note(&line),
            _ => break,
        }
    }
    child.kill().expect("is killed");
    let status = child.wait().expect("ends");
    // What it said before it died counts too.
    out.map_while(Result::ok).for_each(|line| note(&line));
    (wrote, status.success())
}

/// Uploads of the same CAR: only of one that was under way when a process was killed, as nobody had
/// acknowledged it yet.
fn check_uploads(log: &Path, kills: usize) {
    let text = fs::read_to_string(log).expect("reads");
    let mut runs: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        match line {
            "start" => runs.push(Vec::new()),
            line => runs.last_mut().expect("has begun").push(line),
        }
    }
    let mut first_put: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    let mut again = 0;
    for (run, lines) in runs.iter().enumerate() {
        for (at, line) in lines.iter().enumerate() {
            let Some(car) = line.strip_prefix("put ") else {
                continue;
            };
            let last = at + 1 == lines.len();
            if let Some((before, was_last)) = first_put.insert(car, (run, last)) {
                assert!(before < run, "{car} was put twice in one run");
                assert!(
                    was_last,
                    "{car} was acknowledged in run {before} and put again in {run}"
                );
                again += 1;
            }
        }
    }
    assert!(
        again <= kills,
        "{again} CARs were put twice after {kills} kills"
    );
    println!(
        "{} CARs, {again} twice, in {} runs",
        first_put.len(),
        runs.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_points_and_restarted() {
    let bed = Bed::new(Kind::Folder).await;
    let rows = 120;
    let witness = bed.open("witness").await;
    for row in 0..20 {
        witness
            .put(&doc(format!("witness-{row}"), "v"))
            .await
            .expect("is written");
    }
    synced(&[witness
        .attach(bed.remote("hub").as_str())
        .expect("attaches")])
    .await;
    let job = Job::new(&bed, "victim", rows, rows + 20);
    let mut rng = Rng::new(7);
    let (mut kills, mut wrote) = (0, BTreeSet::new());
    for _ in 0..12 {
        let lines = 1 + rng.below(40) as usize;
        let child = job.start();
        let (ids, ended) = tokio::task::spawn_blocking(move || kill_after(child, lines))
            .await
            .expect("no panic");
        wrote.extend(ids);
        kills += usize::from(!ended);
    }
    assert!(kills > 5, "{kills}");
    let child = job.start();
    let root = tokio::task::spawn_blocking(move || root_of(child))
        .await
        .expect("no panic");
    check_uploads(&job.log, kills);
    let attachments = witness.attachments();
    synced(&attachments).await;
    assert_eq!(witness.root().to_string(), root);
    let reader = bed.open("reader").await;
    synced(&[reader.attach(bed.remote("hub").as_str()).expect("attaches")]).await;
    assert_eq!(state(&reader).await, state(&witness).await);
    let here = state(&reader).await.docs;
    for id in &wrote {
        assert!(here.contains_key(id), "{id} was acknowledged");
    }
    assert_eq!(here.len(), rows + 20);
}

/// A large first push, killed on the way again and again: what was uploaded is not uploaded again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_much_is_under_way() {
    let bed = Bed::new(Kind::Folder).await;
    let job = Job::new(&bed, "victim", 0, 3000);
    // Written before anything is attached: several CARs at once.
    {
        let db = bed.open("victim").await;
        for batch in 0..30 {
            let docs: Vec<_> = (0..100)
                .map(|n| {
                    doc(
                        format!("{batch:02}-{n:02}"),
                        format!("{batch} {n} ").repeat(1500),
                    )
                })
                .collect();
            db.bulk(&docs).await.expect("is written");
        }
        db.close().await.expect("closes");
    }
    let (mut kills, mut seen) = (0, 0);
    for _ in 0..5 {
        let mut child = job.start();
        // One more upload than before: then it dies.
        let start = Instant::now();
        loop {
            let puts = fs::read_to_string(&job.log).map_or(0, |log| {
                log.lines().filter(|line| line.starts_with("put ")).count()
            });
            if puts > seen || child.try_wait().expect("can be asked").is_some() {
                seen = puts;
                break;
            }
            assert!(start.elapsed() < DEADLINE);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        child.kill().expect("is killed");
        kills += usize::from(!child.wait().expect("ends").success());
    }
    assert!(kills > 0);
    let child = job.start();
    let root = tokio::task::spawn_blocking(move || root_of(child))
        .await
        .expect("no panic");
    check_uploads(&job.log, kills);
    let reader = bed.open("reader").await;
    synced(&[reader.attach(bed.remote("hub").as_str()).expect("attaches")]).await;
    assert_eq!(reader.root().to_string(), root);
    assert_eq!(reader.count().await.expect("counts"), 3000);
}
