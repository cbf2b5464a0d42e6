//! The workloads. Each prepares what it needs, and times only what its name says.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use firebrick::{Database, Durability, Error, Join, Remote, Result};
use serde::{Deserialize, Serialize};

use super::{Figure, Ids};

/// Bytes of text in a document, so that the whole has some 200 bytes encoded.
const TEXT_BYTES: usize = 170;
const BATCH: usize = 1000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Doc {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    _id: Option<String>,
    n: u64,
    text: String,
}

/// Where a workload runs and on what.
#[derive(Clone, Debug)]
pub(super) struct Bed {
    dir: PathBuf,
    ids: Ids,
    documents: usize,
}

type Work = fn(Bed) -> Pin<Box<dyn Future<Output = Result<Vec<Figure>>>>>;

/// In this order: the later ones read what `bulk` has written.
pub(super) const ALL: &[(&str, Work)] = &[
    ("fdatasync", |bed| Box::pin(fdatasync(bed))),
    ("put-durable", |bed| {
        Box::pin(puts(bed, Durability::Sync, 2_000))
    }),
    ("put-buffered", |bed| {
        Box::pin(puts(bed, Durability::Buffered, 50_000))
    }),
    ("put-durable-64", |bed| Box::pin(concurrent(bed))),
    ("bulk", |bed| Box::pin(bulk(bed))),
    ("update-one", |bed| Box::pin(update_one(bed))),
    ("sync-memory", |bed| Box::pin(first_sync(bed, "memory"))),
    ("sync-folder", |bed| Box::pin(first_sync(bed, "folder"))),
    ("merge-100", |bed| Box::pin(merge(bed))),
];

impl Bed {
    pub(super) fn new(dir: &Path, ids: Ids, documents: usize) -> Self {
        let dir = dir.join(format!("{ids:?}").to_lowercase());
        Self {
            dir,
            ids,
            documents,
        }
    }

    async fn open(&self, name: &str) -> Result<Database> {
        open(&self.dir.join(name)).await
    }

    fn doc(&self, n: usize) -> Doc {
        let id = (self.ids == Ids::Sequential).then(|| format!("doc-{n:08}"));
        let text = (0..TEXT_BYTES)
            .map(|at| char::from(b'a' + ((at * 7 + n * 13) % 26) as u8))
            .collect();
        Doc {
            _id: id,
            n: n as u64,
            text,
        }
    }

    fn docs(&self, range: std::ops::Range<usize>) -> Vec<Doc> {
        range.map(|n| self.doc(n)).collect()
    }

    fn rate(&self, name: &str, count: usize, took: Duration) -> Figure {
        Figure::new(name, self.ids, count as f64 / took.as_secs_f64(), "/s")
    }

    fn millis(&self, name: &str, took: Duration) -> Figure {
        Figure::new(name, self.ids, took.as_secs_f64() * 1000.0, "ms")
    }
}

async fn open(path: &Path) -> Result<Database> {
    Database::builder()
        .path(path)
        .keybag(path.with_extension("keys"))
        .open()
        .await
}

/// What one sync of the disk costs here and now: the yardstick of the durable puts.
async fn fdatasync(bed: Bed) -> Result<Vec<Figure>> {
    use std::io::Write as _;
    let io = |source| Error::Io {
        what: "measuring fdatasync".into(),
        source,
    };
    std::fs::create_dir_all(&bed.dir).map_err(io)?;
    let mut file = std::fs::File::create(bed.dir.join("fdatasync")).map_err(io)?;
    let start = Instant::now();
    for _ in 0..1000 {
        file.write_all(&[7; 600])
            .and_then(|()| file.sync_data())
            .map_err(io)?;
    }
    Ok(vec![bed.rate(
        "append + fdatasync, 600 bytes",
        1000,
        start.elapsed(),
    )])
}

async fn puts(bed: Bed, durability: Durability, count: usize) -> Result<Vec<Figure>> {
    let name = if durability == Durability::Sync {
        "puts, durable"
    } else {
        "puts, buffered"
    };
    let db = bed.open(&name.replace(", ", "-")).await?;
    let docs = bed.docs(0..count);
    let start = Instant::now();
    for doc in &docs {
        db.put_with(doc, durability).await?;
    }
    let took = start.elapsed();
    db.destroy().await?;
    Ok(vec![bed.rate(name, count, took)])
}

async fn concurrent(bed: Bed) -> Result<Vec<Figure>> {
    const WRITERS: usize = 64;
    const EACH: usize = 500;
    let db = bed.open("concurrent").await?;
    let mut sets: Vec<Vec<Doc>> = (0..WRITERS)
        .map(|at| bed.docs(at * EACH..(at + 1) * EACH))
        .collect();
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for docs in sets.drain(..) {
        let db = db.clone();
        writers.spawn(async move {
            for doc in &docs {
                db.put_with(doc, Durability::Sync).await?;
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.map_err(|error| Error::Config(error.to_string()))??;
    }
    let took = start.elapsed();
    db.destroy().await?;
    Ok(vec![bed.rate(
        "puts, durable, 64 writers",
        WRITERS * EACH,
        took,
    )])
}

/// Bulk writes, then reads: warm here, cold in a process of their own.
async fn bulk(bed: Bed) -> Result<Vec<Figure>> {
    let path = bed.dir.join("bulk");
    let db = open(&path).await?;
    let mut took = Duration::ZERO;
    for at in (0..bed.documents).step_by(BATCH) {
        let docs = bed.docs(at..(at + BATCH).min(bed.documents));
        let start = Instant::now();
        db.bulk(&docs).await?;
        took += start.elapsed();
    }
    let mut figures = vec![bed.rate("bulk, batches of 1,000", bed.documents, took)];
    let ids = db.all_docs().ids().await?;
    figures.extend(reads(&bed, &db, &ids, "warm").await?);
    db.close().await?;
    if let Some(bytes) = peak_memory() {
        figures.push(Figure::new(
            "peak memory, all so far",
            bed.ids,
            bytes as f64 / 1e6,
            "MB",
        ));
    }
    let figure = |mut figure: Figure| {
        figure.ids = bed.ids;
        figure
    };
    figures.extend(in_child(&path)?.into_iter().map(figure));
    Ok(figures)
}

async fn reads(bed: &Bed, db: &Database, ids: &[String], how: &str) -> Result<Vec<Figure>> {
    let gets = ids.len().min(100_000);
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut figures = Vec::new();
    // The first pass warms the caches, as far as memory is allowed.
    for pass in 0..if how == "warm" { 2 } else { 1 } {
        let start = Instant::now();
        for _ in 0..gets {
            let id = &ids[(random() % ids.len() as u64) as usize];
            let doc: Option<Doc> = db.get(id).await?;
            debug_assert!(doc.is_some());
        }
        if pass == 1 || how != "warm" {
            figures.push(bed.rate(&format!("random gets, {how}"), gets, start.elapsed()));
        }
    }
    let start = Instant::now();
    let rows = db
        .all_docs()
        .rows::<Doc>()
        .try_fold(0, |count, row| row.map(|_| count + 1))?;
    figures.push(bed.rate(&format!("scan, {how}"), rows, start.elapsed()));
    Ok(figures)
}

/// Opening, gets and a scan of a database that this process has never seen.
pub(super) async fn cold(path: &Path) -> Result<Vec<Figure>> {
    let bed = Bed {
        dir: path.to_owned(),
        ids: Ids::Both,
        documents: 0,
    };
    let start = Instant::now();
    let db = open(path).await?;
    let opened = start.elapsed();
    let ids = db.all_docs().ids().await?;
    let mut figures = vec![
        bed.millis("open, cold process", opened)
            .note(format!("{} documents", ids.len())),
    ];
    figures.extend(reads(&bed, &db, &ids, "after reopening").await?);
    db.close().await?;
    if let Some(bytes) = peak_memory() {
        figures.push(Figure::new(
            "peak memory, reading",
            Ids::Both,
            bytes as f64 / 1e6,
            "MB",
        ));
    }
    Ok(figures)
}

fn in_child(path: &Path) -> Result<Vec<Figure>> {
    let failed = |cause: String| Error::Config(format!("the measuring process failed: {cause}"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let ended = std::process::Command::new(program)
        .args(["--json", "bench", "--cold"])
        .arg(path)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !ended.status.success() {
        return Err(failed(String::from_utf8_lossy(&ended.stderr).into_owned()));
    }
    let lines = ended
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).map_err(|error| failed(error.to_string())))
        .collect()
}

async fn update_one(bed: Bed) -> Result<Vec<Figure>> {
    const UPDATES: usize = 10_000;
    let db = bed.open("update").await?;
    let start = Instant::now();
    for n in 0..UPDATES {
        let doc = Doc {
            _id: Some("the-one".into()),
            ..bed.doc(n)
        };
        db.put_with(&doc, Durability::Buffered).await?;
    }
    let took = start.elapsed();
    db.destroy().await?;
    Ok(vec![bed.rate(
        "updates of one document, buffered",
        UPDATES,
        took,
    )])
}

/// 10,000 single puts at one side; an empty database gets them through a remote.
async fn first_sync(bed: Bed, kind: &str) -> Result<Vec<Figure>> {
    const DOCUMENTS: usize = 10_000;
    let url = match kind {
        "memory" => format!("memory://bench-{:?}", bed.ids),
        _ => format!("file://{}", bed.dir.join("hub").display()),
    };
    let full = bed.open(&format!("full-{kind}")).await?;
    let docs = bed.docs(0..DOCUMENTS);
    for doc in &docs {
        full.put_with(doc, Durability::Buffered).await?;
    }
    let encoded: usize = docs
        .iter()
        .filter_map(|doc| firebrick::core::cbor::to_vec(doc).ok())
        .map(|doc| doc.len())
        .sum();
    let start = Instant::now();
    let up = full.attach(url.as_str())?;
    up.synced().await?;
    let pushed = start.elapsed();
    let empty = bed.open(&format!("empty-{kind}")).await?;
    empty.keys().import(&full.keys().export()?)?;
    let start = Instant::now();
    let down = empty.attach(url.as_str())?;
    down.synced().await?;
    let pulled = start.elapsed();
    if empty.root() != full.root() {
        return Err(Error::Config(
            "the empty database did not get everything".into(),
        ));
    }
    let bytes = up.status().traffic.bytes_up;
    let ratio = bytes as f64 / encoded as f64;
    let figures = vec![
        bed.millis(&format!("push of 10,000, {kind}"), pushed),
        bed.millis(&format!("first sync of 10,000, {kind}"), pulled),
        Figure::new(
            &format!("bytes on the wire, {kind}"),
            bed.ids,
            ratio,
            "times",
        )
        .note(format!("{bytes} bytes")),
    ];
    full.destroy().await?;
    empty.destroy().await?;
    Ok(figures)
}

/// Both sides edit 100 documents apart, then meet.
async fn merge(bed: Bed) -> Result<Vec<Figure>> {
    const DOCUMENTS: usize = 1000;
    let url = format!("memory://bench-merge-{:?}", bed.ids);
    let (a, b) = (bed.open("merge-a").await?, bed.open("merge-b").await?);
    b.keys().import(&a.keys().export()?)?;
    let written = a.bulk(&bed.docs(0..DOCUMENTS)).await?;
    for db in [&a, &b] {
        let attachment = db.attach(url.as_str())?;
        attachment.synced().await?;
        attachment.detach().await;
    }
    for (side, db) in [&a, &b].into_iter().enumerate() {
        for n in 0..100 {
            let doc = Doc {
                _id: Some(written.ids[n * 5 + side].clone()),
                ..bed.doc(n + 7)
            };
            db.put_with(&doc, Durability::Buffered).await?;
        }
    }
    let to_a = a.attach(Remote::url(url.as_str())?.join(Join::Merge))?;
    to_a.synced().await?;
    let start = Instant::now();
    let to_b = b.attach(url.as_str())?;
    to_b.synced().await?;
    let took = start.elapsed();
    a.destroy().await?;
    b.destroy().await?;
    Ok(vec![bed.millis("100 edits on each side, merged", took)])
}

/// The largest resident size of this process so far, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
