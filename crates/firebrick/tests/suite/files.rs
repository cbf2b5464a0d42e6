//! Files of documents: taken in, sent, fetched, and what goes wrong on the way.

mod faults;
mod memory;

use std::io::{self, Read};
use std::sync::Arc;

use firebrick::env::RealEnv;
use firebrick::gateway::{self, Faulty, Gateway};
use firebrick::{Attachment, Database, Document, Error, FileSource, Remote, State};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::at_rest;
use crate::common::{Bed, Kind, doc, synced, until_here};

const PIECE: usize = 2 << 20;
const SINGLE: usize = 16 << 20;

/// Bytes that look like nothing and that a seed makes again.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) async fn read(db: &Database, id: &str, name: &str) -> Result<Vec<u8>, Error> {
    let file = db.files(id).get(name).await?.expect("the file is listed");
    Ok(file.bytes().await?.to_vec())
}

/// A remote that misbehaves when it is told to.
pub(crate) fn faulty(url: &str, name: &str) -> (Arc<Faulty>, Remote) {
    let inner: Arc<dyn Gateway> = gateway::open(url).expect("is a URL");
    let faulty = Arc::new(Faulty::new(inner, Arc::new(RealEnv::new()), 1));
    let remote = Remote::gateway(faulty.clone()).name(name);
    (faulty, remote)
}

async fn both_ways(kind: Kind, sizes: &[usize]) {
    let bed = Bed::new(kind).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    for size in sizes {
        let name = format!("file-{size}");
        let content = noise(*size, *size as u64);
        let info = here
            .files("doc")
            .put(&name, content)
            .await
            .expect("is stored");
        assert_eq!(info.size, *size as u64);
        assert_eq!(info.single_block, *size <= SINGLE);
    }
    let url = bed.remote("hub");
    let attachments = [
        here.attach(&url).expect("attaches"),
        there.attach(&url).expect("attaches"),
    ];
    synced(&attachments).await;
    until_here(&there, "doc").await;
    for size in sizes {
        let name = format!("file-{size}");
        let files = there.files("doc");
        assert_eq!(files.local_bytes(&name).await.expect("counts"), Some(0));
        let content = noise(*size, *size as u64);
        assert!(
            read(&there, "doc", &name).await.expect("reads") == content,
            "{size}"
        );
        let local = files.local_bytes(&name).await.expect("counts");
        assert_eq!(local, Some(*size as u64));
    }
    // Everything is here now, so the remote is not needed any more.
    there.close().await.expect("closes");
    let there = bed.open("there").await;
    for size in sizes {
        let content = noise(*size, *size as u64);
        let name = format!("file-{size}");
        assert!(
            read(&there, "doc", &name).await.expect("reads") == content,
            "{size}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_goes_through_memory() {
    let inline = 64 << 10;
    let sizes = [
        0,
        1,
        100,
        inline - 1,
        inline,
        inline + 1,
        PIECE - 1,
        PIECE,
        PIECE + 1,
        SINGLE,
        SINGLE + 1,
    ];
    both_ways(Kind::Memory, &sizes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_goes_through_a_folder() {
    let sizes = [
        0,
        1,
        (64 << 10) + 1,
        SINGLE,
        SINGLE + 1,
        5 * PIECE,
        5 * PIECE + 1,
    ];
    both_ways(Kind::Folder, &sizes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_of_every_kind() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("db").await;
    let content = noise(300_000, 1);
    let path = bed.dir.path().join("content.bin");
    std::fs::write(&path, &content).expect("writes");
    let files = db.files("doc");
    let async_reader = io::Cursor::new(content.clone());
    for (name, source) in [
        ("path", FileSource::path(&path)),
        ("bytes", FileSource::bytes(content.clone())),
        (
            "reader",
            FileSource::reader(io::Cursor::new(content.clone())),
        ),
        ("async", FileSource::async_reader(async_reader)),
    ] {
        let source = source.content_type("text/x-test");
        let info = files.put(name, source).await.expect("is stored");
        assert_eq!(info.content_type, "text/x-test");
        assert!(info.last_modified_ms > 1_600_000_000_000);
        assert_eq!(read(&db, "doc", name).await.expect("reads"), content);
    }
    // Equal contents are stored once.
    let stored = at_rest::files(&bed.dir.path().join("db/db/files"));
    assert_eq!(stored.len(), 1);
    let listed = files.list().await.expect("lists");
    let names: Vec<&str> = listed.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["async", "bytes", "path", "reader"]);
    assert!(listed.iter().all(|info| info.cid == listed[0].cid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_read_what_they_need() {
    let bed = Bed::new(Kind::Memory).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let content = noise(9 * PIECE + 77, 9);
    here.files("doc")
        .put("long", content.clone())
        .await
        .expect("is stored");
    let url = bed.remote("hub");
    synced(&[here.attach(&url).expect("attaches")]).await;
    synced(&[there.attach(&url).expect("attaches")]).await;
    until_here(&there, "doc").await;
    let open = || async {
        let file = there.files("doc").get("long").await.expect("opens");
        file.expect("is listed")
    };
    let (start, end) = (2 * PIECE + 5, 2 * PIECE + 1005);
    let part = open().await.range(start as u64..end as u64).bytes().await;
    assert_eq!(part.expect("reads"), content[start..end]);
    let local = there
        .files("doc")
        .local_bytes("long")
        .await
        .expect("counts");
    assert_eq!(local, Some(PIECE as u64), "one piece came");
    for range in [
        0..1,
        PIECE - 1..PIECE + 1,
        5 * PIECE..content.len(),
        3..2 * PIECE + 3,
    ] {
        let part = open().await.range(range.start as u64..range.end as u64);
        assert_eq!(part.remaining(), range.len() as u64);
        assert!(part.bytes().await.expect("reads") == content[range]);
    }
    let beyond = open().await.range(content.len() as u64 + 5..);
    assert!(beyond.bytes().await.expect("reads").is_empty());
    let tail = open().await.range(content.len() as u64 - 3..=u64::MAX);
    assert_eq!(
        tail.bytes().await.expect("reads"),
        content[content.len() - 3..]
    );
    // As a reader, a few bytes at a time.
    let mut reader = open().await.range(10..);
    let mut small = [0; 7];
    reader.read_exact(&mut small).await.expect("reads");
    assert_eq!(small, content[10..17]);
    assert_eq!(reader.remaining(), content.len() as u64 - 17);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.expect("reads");
    assert!(rest == content[17..]);
}

#[tokio::test]
async fn documents_keep_or_lose_their_files() {
    let db = Database::memory("files-kept").await.expect("opens");
    let note = |text: &str| doc("n", text);
    db.put_with_files(&note("a"), [("one", b"1".to_vec())])
        .await
        .expect("is written");
    db.put_with_files(&note("b"), [("two", b"2".to_vec())])
        .await
        .expect("is written");
    let names = |db: &Database| {
        let files = db.files("n");
        async move {
            let list = files.list().await.expect("lists");
            list.into_iter().map(|info| info.name).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(&db).await, ["one", "two"]);
    // A document that was read has its list of files, so writing it again keeps them.
    let mut read: Document = db.get("n").await.expect("reads").expect("is there");
    read.set("value", "c");
    db.put(&read).await.expect("is written");
    assert_eq!(names(&db).await, ["one", "two"]);
    let none: [(&str, Vec<u8>); 0] = [];
    db.put_with_files(&note("d"), none)
        .await
        .expect("is written");
    assert_eq!(names(&db).await, ["one", "two"]);
    assert!(db.files("n").remove("one").await.expect("removes"));
    assert!(!db.files("n").remove("one").await.expect("removes"));
    assert_eq!(names(&db).await, ["two"]);
    let value: Document = db.get("n").await.expect("reads").expect("is there");
    assert_eq!(value.to_json()["value"], json!("d"), "other fields stay");
    // As in the format: what is put replaces the whole document.
    db.put(&note("e")).await.expect("is written");
    assert_eq!(names(&db).await, Vec::<String>::new());
    assert!(db.files("n").get("two").await.expect("looks").is_none());
    assert!(!db.files("nothing").remove("x").await.expect("looks"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_lose_no_file() {
    let db = Database::memory("files-race").await.expect("opens");
    let mut tasks = Vec::new();
    for n in 0..20 {
        let files = db.files("doc");
        tasks.push(tokio::spawn(async move {
            files
                .put(&format!("{n:02}"), vec![n; 10])
                .await
                .expect("is stored");
        }));
        let db = db.clone();
        tasks.push(tokio::spawn(async move {
            let change = db.transaction(|tx| {
                let mut document: Document = tx.get("doc")?.unwrap_or_default();
                document.set("_id", "doc");
                document.set(format!("field{n:02}"), true);
                tx.put(&document)?;
                Ok::<_, Error>(())
            });
            change.await.expect("is written");
        }));
    }
    for task in tasks {
        task.await.expect("ends");
    }
    let listed = db.files("doc").list().await.expect("lists");
    assert_eq!(listed.len(), 20);
    let document: Document = db.get("doc").await.expect("reads").expect("is there");
    assert_eq!(document.fields().count(), 22);
}

/// Gives some bytes, then fails.
struct Broken(u64);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the cable was pulled"));
        }
        let len = buffer.len().min(self.0 as usize);
        buffer[..len].fill(7);
        self.0 -= len as u64;
        Ok(len)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_leaves_nothing() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("db").await;
    db.put(&doc("doc", "as it was")).await.expect("is written");
    let (head, before) = (db.head(), db.stats().store.blocks);
    for (len, single) in [
        (0, false),
        (1000, false),
        (30 << 20, false),
        (30 << 20, true),
    ] {
        let source = FileSource::reader(Broken(len)).single_block(single);
        match db.files("doc").put("broken", source).await {
            Err(Error::FileSource {
                name,
                after,
                source,
            }) => {
                assert_eq!(name, "broken");
                assert!(after <= len);
                assert_eq!(source.to_string(), "the cable was pulled");
            }
            other => panic!("{len} {single}: {other:?}"),
        }
        let missing = FileSource::path(bed.dir.path().join("nothing"));
        let both = [("good", FileSource::bytes("good")), ("missing", missing)];
        let error = db.put_with_files(&doc("doc", "new"), both).await;
        assert!(matches!(error, Err(Error::FileSource { .. })), "{error:?}");
        for place in ["files", "incoming"] {
            let place = bed.dir.path().join("db/db").join(place);
            assert!(!place.exists() || at_rest::files(&place).is_empty());
        }
        assert_eq!(db.head(), head);
        assert_eq!(db.stats().store.blocks, before);
    }
    let fine = FileSource::reader(io::Cursor::new(noise(30 << 20, 3)));
    db.files("doc")
        .put("fine", fine)
        .await
        .expect("the database is fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_block_if_asked_for() {
    let bed = Bed::new(Kind::Folder).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let content = noise(SINGLE + 4321, 5);
    let source = FileSource::bytes(content.clone()).single_block(true);
    let info = here
        .files("doc")
        .put("one", source)
        .await
        .expect("is stored");
    assert!(info.single_block);
    let cid: firebrick::Cid = info.cid.expect("has a content").parse().expect("is a CID");
    assert!(cid.matches(&content));
    let url = bed.remote("hub");
    synced(&[here.attach(&url).expect("attaches")]).await;
    synced(&[there.attach(&url).expect("attaches")]).await;
    until_here(&there, "doc").await;
    assert!(read(&there, "doc", "one").await.expect("reads") == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefetched_files_are_here_when_it_is_synced() {
    let bed = Bed::new(Kind::Memory).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    here.files("a")
        .put("small", noise(10, 1))
        .await
        .expect("is stored");
    here.files("b")
        .put("long", noise(SINGLE + 1, 2))
        .await
        .expect("is stored");
    let url = bed.remote("hub");
    synced(&[here.attach(&url).expect("attaches")]).await;
    let remote = Remote::url(&url).expect("is a URL").prefetch_files(true);
    let attachment = there.attach(remote).expect("attaches");
    synced(std::slice::from_ref(&attachment)).await;
    let local = there.files("b").local_bytes("long").await.expect("counts");
    assert_eq!(local, Some(SINGLE as u64 + 1));
    attachment.detach().await;
    assert_eq!(
        read(&there, "a", "small").await.expect("reads"),
        noise(10, 1)
    );
    assert!(read(&there, "b", "long").await.expect("reads") == noise(SINGLE + 1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_file_is_readable_at_rest() {
    let bed = Bed::new(Kind::Folder).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let mut cids = Vec::new();
    for (name, len) in [
        ("canaryname1", 100),
        ("canaryname2", 1 << 20),
        ("canaryname3", SINGLE + 1),
    ] {
        let content: Vec<u8> = b"canarycontent".iter().copied().cycle().take(len).collect();
        let source = FileSource::bytes(content).content_type("canary/type");
        let info = here
            .files("canaryid")
            .put(name, source)
            .await
            .expect("is stored");
        cids.extend(info.cid);
    }
    let url = bed.remote("hub");
    synced(&[here.attach(&url).expect("attaches")]).await;
    synced(&[there.attach(&url).expect("attaches")]).await;
    until_here(&there, "canaryid").await;
    for name in ["canaryname1", "canaryname2", "canaryname3"] {
        read(&there, "canaryid", name).await.expect("reads");
    }
    let mut canaries: Vec<(String, Vec<u8>)> =
        ["canarycontent", "canaryname", "canaryid", "canary/type"]
            .map(|canary| (canary.to_owned(), canary.as_bytes().to_vec()))
            .into();
    for cid in cids {
        canaries.extend(at_rest::canaries_of(&cid.parse().expect("is a CID")));
    }
    here.close().await.expect("closes");
    there.close().await.expect("closes");
    for place in ["db", "remotes"] {
        let seen = at_rest::search(&bed.dir.path().join(place), &canaries);
        assert!(seen > SINGLE, "{place} holds the files");
    }
}

fn is_up_to_date(attachment: &Attachment) -> bool {
    attachment.status().state == State::UpToDate
}
