//! The workloads. Each prepares what it needs, and times only what its name says.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use firebrick::{Database, Durability, Error, Join, Remote, Result};
use serde::{Deserialize, Serialize};

use super::{Figure, Ids};

/// Bytes of text in a document, so that the whole, its id included, has some 200 bytes encoded.
const TEXT_BYTES: usize = 170;
/// So much longer is a generated id, encoded.
const LONGER_ID_BYTES: usize = 25;
const BATCH: usize = 1000;

/// What texts are cut from.
static LETTERS: LazyLock<String> = LazyLock::new(|| {
    let letter = |at: usize| char::from(b'a' + (at * 7 % 26) as u8);
    (0..TEXT_BYTES + 26).map(letter).collect()
});

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
    ("sync-memory", |bed| {
        Box::pin(first_sync(bed, "memory", Written::OneByOne))
    }),
    ("sync-folder", |bed| {
        Box::pin(first_sync(bed, "folder", Written::OneByOne))
    }),
    ("sync-memory-batched", |bed| {
        Box::pin(first_sync(bed, "memory", Written::Bulk))
    }),
    ("sync-folder-batched", |bed| {
        Box::pin(first_sync(bed, "folder", Written::Bulk))
    }),
    ("merge-100", |bed| Box::pin(merge(bed))),
    ("files", |bed| Box::pin(super::files::files(bed))),
    ("files-large", |bed| Box::pin(super::files::large(bed))),
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

    pub(super) fn ids(&self) -> Ids {
        self.ids
    }

    pub(super) fn remote(&self, name: &str) -> String {
        format!("file://{}", self.dir.join(name).display())
    }

    pub(super) async fn open(&self, name: &str) -> Result<Database> {
        open(&self.dir.join(name)).await
    }

    /// Made when it is written: lists of documents would count as memory of the database.
    fn doc(&self, n: usize) -> Doc {
        let (id, bytes) = match self.ids {
            Ids::Generated => (None, TEXT_BYTES - LONGER_ID_BYTES),
            _ => (Some(format!("doc-{n:08}")), TEXT_BYTES),
        };
        Doc {
            _id: id,
            n: n as u64,
            text: LETTERS[n % 26..][..bytes].to_owned(),
        }
    }

    fn docs(&self, range: Range<usize>) -> Vec<Doc> {
        range.map(|n| self.doc(n)).collect()
    }

    fn rate(&self, name: &str, count: usize, took: Duration) -> Figure {
        Figure::new(name, self.ids, count as f64 / took.as_secs_f64(), "/s")
    }

    /// The largest resident size of this process so far, where the system tells.
    pub(super) fn peak_memory(&self, of: &str) -> Option<Figure> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        let megabytes = kibibytes as f64 * 1024.0 / 1e6;
        let name = format!("peak memory, {of}");
        Some(Figure::new(&name, self.ids, megabytes, "MB"))
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
    let start = Instant::now();
    for n in 0..count {
        db.put_with(&bed.doc(n), durability).await?;
    }
    let took = start.elapsed();
    db.destroy().await?;
    Ok(vec![bed.rate(name, count, took)])
}

async fn concurrent(bed: Bed) -> Result<Vec<Figure>> {
    const WRITERS: usize = 64;
    const EACH: usize = 500;
    let db = bed.open("concurrent").await?;
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (db, bed) = (db.clone(), bed.clone());
        writers.spawn(async move {
            for n in writer * EACH..(writer + 1) * EACH {
                db.put_with(&bed.doc(n), Durability::Sync).await?;
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
    figures.extend(bed.peak_memory("bulk, writing"));
    let ids = IdList::of(&db).await?;
    figures.extend(reads(&bed, &db, &ids, "warm").await?);
    db.close().await?;
    let figure = |mut figure: Figure| {
        figure.ids = bed.ids;
        figure
    };
    let cold = in_child(["--cold".into(), path.into()])?;
    figures.extend(cold.into_iter().map(figure));
    Ok(figures)
}

/// Ids of one length, without the memory that as many strings take.
struct IdList {
    text: String,
    width: usize,
}

impl IdList {
    async fn of(db: &Database) -> Result<Self> {
        const AT_ONCE: usize = 10_000;
        let (mut text, mut width) = (String::new(), 1);
        let mut after = None;
        loop {
            let mut listing = db.all_docs().limit(AT_ONCE);
            if let Some(last) = after {
                listing = listing.after(last);
            }
            let ids = listing.ids().await?;
            let Some(last) = ids.last() else {
                return Ok(Self { text, width });
            };
            width = last.len();
            text.push_str(&ids.concat());
            after = Some(last.clone());
        }
    }

    fn len(&self) -> usize {
        self.text.len() / self.width
    }

    fn get(&self, at: usize) -> &str {
        &self.text[at * self.width..][..self.width]
    }
}

async fn reads(bed: &Bed, db: &Database, ids: &IdList, how: &str) -> Result<Vec<Figure>> {
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
            let id = ids.get((random() % ids.len() as u64) as usize);
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
    let ids = IdList::of(&db).await?;
    let mut figures = vec![
        bed.millis("open, cold process", opened)
            .note(format!("{} documents", ids.len())),
    ];
    figures.extend(reads(&bed, &db, &ids, "after reopening").await?);
    db.close().await?;
    figures.extend(bed.peak_memory("reading"));
    Ok(figures)
}

/// The figures of a process of its own, which shows its progress itself.
pub(super) fn in_child(args: impl IntoIterator<Item = OsString>) -> Result<Vec<Figure>> {
    let failed = |cause: String| Error::Config(format!("the measuring process failed: {cause}"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let ended = std::process::Command::new(program)
        .args(["--json", "bench"])
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !ended.status.success() {
        return Err(failed(ended.status.to_string()));
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

/// How the documents of a first sync were written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Each with its own event, which is a block of its own.
    OneByOne,
    /// A thousand share an event.
    Bulk,
}

/// 10,000 documents at one side; an empty database gets them through a remote.
async fn first_sync(bed: Bed, kind: &str, written: Written) -> Result<Vec<Figure>> {
    const DOCUMENTS: usize = 10_000;
    let how = match written {
        Written::OneByOne => kind.to_owned(),
        Written::Bulk => format!("{kind}, bulk"),
    };
    let name = how.replace(", ", "-");
    let url = match kind {
        "memory" => format!("memory://bench-{name}-{:?}", bed.ids),
        _ => format!("file://{}", bed.dir.join(format!("hub-{name}")).display()),
    };
    let full = bed.open(&format!("full-{name}")).await?;
    for at in (0..DOCUMENTS).step_by(BATCH) {
        let docs = bed.docs(at..at + BATCH);
        match written {
            Written::OneByOne => {
                for doc in &docs {
                    full.put_with(doc, Durability::Buffered).await?;
                }
            }
            Written::Bulk => drop(full.bulk(&docs).await?),
        }
    }
    // The documents as they are stored, with their ids, and nothing around them.
    let mut encoded = 0;
    for row in full.all_docs().rows::<Doc>() {
        let doc = firebrick::core::cbor::to_vec(&row?.doc);
        encoded += doc.map_err(|error| Error::Config(error.to_string()))?.len();
    }
    let start = Instant::now();
    let up = full.attach(url.as_str())?;
    up.synced().await?;
    let pushed = start.elapsed();
    let empty = bed.open(&format!("empty-{name}")).await?;
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
        bed.millis(&format!("push of 10,000, {how}"), pushed),
        bed.millis(&format!("first sync of 10,000, {how}"), pulled),
        Figure::new(
            &format!("bytes on the wire, {how}"),
            bed.ids,
            ratio,
            "times",
        )
        .note(format!(
            "{} bytes a document, of these {} encoded",
            bytes / DOCUMENTS as u64,
            encoded / DOCUMENTS
        )),
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
