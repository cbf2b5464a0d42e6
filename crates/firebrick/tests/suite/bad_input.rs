//! Bad input of every kind: each has its own error with the cause and the way out, nothing that was
//! stored is lost, and the database goes on working.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use firebrick::core::document::{
    DocumentError, MAX_DOCUMENT_BYTES, MAX_DOCUMENT_DEPTH, MAX_ID_BYTES,
};
use firebrick::gateway::GatewayErrorKind;
use firebrick::store::{SimFault, SimStore, Store, StoreError};
use firebrick::{Database, Document, Durability, Error, Remote, State, Value};

use crate::at_rest::files;
use crate::common::{Bed, Kind, doc, state, synced, until, write};

/// The database holds what it held, and takes more.
async fn still_works(db: &Database, count: usize) {
    assert_eq!(db.count().await.expect("counts"), count);
    db.put(&doc("works", "v")).await.expect("is written");
    let back: Option<Document> = db.get("works").await.expect("reads");
    assert!(back.is_some());
    db.delete("works").await.expect("is deleted");
    assert_eq!(db.count().await.expect("counts"), count);
}

fn is_document_error(error: &Error, says: &[&str]) {
    assert!(matches!(error, Error::Document(_)), "{error:?}");
    let text = error.to_string();
    for part in says {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

#[tokio::test]
async fn ids() {
    let db = Database::memory("bad-ids").await.expect("opens");
    let longest = "x".repeat(MAX_ID_BYTES);
    db.put(&doc(longest.as_str(), "v")).await.expect("fits");
    let too_long = "x".repeat(MAX_ID_BYTES + 1);
    let bad: [(&str, &[&str]); 6] = [
        ("ü", &["printable ASCII", "'ü'"]),
        ("日本", &["printable ASCII"]),
        ("a\u{7f}", &["printable ASCII"]),
        ("a\nb", &["printable ASCII", "byte 1"]),
        ("\0", &["printable ASCII"]),
        (too_long.as_str(), &["4096", "4097"]),
    ];
    for (id, says) in bad {
        let before = db.head();
        is_document_error(&db.put(&doc(id, "v")).await.expect_err("is refused"), says);
        is_document_error(&db.delete(id).await.expect_err("is refused"), says);
        assert_eq!(db.head(), before);
        assert_eq!(db.get::<Document>(id).await.expect("is not there"), None);
    }
    is_document_error(&db.delete("").await.expect_err("is refused"), &["empty"]);
    for kind in [
        Value::Bool(true),
        Value::List(vec![]),
        Value::Bytes(vec![1]),
    ] {
        let error = db
            .put(&Document::new().with("_id", kind))
            .await
            .expect_err("is refused");
        is_document_error(&error, &["_id", "text or a number"]);
    }
    still_works(&db, 1).await;
    assert!(db.get::<Document>(&longest).await.expect("reads").is_some());
}

#[tokio::test]
async fn values() {
    let db = Database::memory("bad-values").await.expect("opens");
    let written = db.put(&doc("fine", "v")).await.expect("is written");
    let not_maps = [
        db.put("text").await,
        db.put(&7).await,
        db.put(&vec![1, 2]).await,
        db.put(&Option::<u8>::None).await,
        db.put(&()).await,
    ];
    for answer in not_maps {
        let error = answer.expect_err("is refused");
        assert!(
            matches!(error, Error::Document(DocumentError::NotAMap)),
            "{error:?}"
        );
        is_document_error(&error, &["must be a map"]);
    }
    for float in [f64::NAN, f64::INFINITY] {
        let list = doc("list", "v").with("list", vec![Value::Int(1), Value::Float(float)]);
        let error = db.put(&list).await.expect_err("is refused");
        is_document_error(&error, &[]);
        let text = error.to_string();
        assert!(
            text.contains("NaN") || text.contains("finite") || text.contains("infinit"),
            "{text}"
        );
    }
    assert_eq!(
        db.get::<Document>("fine")
            .await
            .expect("reads")
            .and_then(|doc| doc.id().map(str::to_owned)),
        Some(written.id().to_owned())
    );
    still_works(&db, 1).await;
}

#[tokio::test]
async fn huge_and_deeply_nested_documents() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("huge").await;
    let nested = |depth: usize| {
        let list = (1..depth).fold(Value::Int(1), |value, _| Value::List(vec![value]));
        doc("nested", "v").with("deep", list)
    };
    // The document itself and the block around it count too.
    let deepest = (1..=MAX_DOCUMENT_DEPTH + 1).rev();
    let mut fits = None;
    for depth in deepest {
        if db.put(&nested(depth)).await.is_ok() {
            fits = Some(depth);
            break;
        }
    }
    let fits = fits.expect("some depth fits");
    assert!(fits > 64, "{fits}");
    for depth in [fits + 1, 1_000, 100_000] {
        let too_deep = nested(depth);
        let error = db.put(&too_deep).await.expect_err("is refused");
        is_document_error(&error, &["nest"]);
        // Dropping it would recurse as deep.
        std::mem::forget(too_deep);
    }
    let back: Document = db.get("nested").await.expect("reads").expect("is there");
    assert_eq!(back, nested(fits));

    let large = |bytes: usize| doc("large", "x".repeat(bytes));
    db.put(&large(MAX_DOCUMENT_BYTES - 100))
        .await
        .expect("fits");
    let error = db
        .put(&large(MAX_DOCUMENT_BYTES))
        .await
        .expect_err("is refused");
    is_document_error(&error, &["the limit is 16777216"]);
    still_works(&db, 2).await;
    // It syncs as well.
    let url = bed.remote("hub");
    synced(&[db.attach(url.as_str()).expect("attaches")]).await;
    let other = bed.open("other").await;
    synced(&[other.attach(url.as_str()).expect("attaches")]).await;
    assert_eq!(state(&other).await, state(&db).await);
}

#[tokio::test]
async fn places_that_are_no_database() {
    let bed = Bed::new(Kind::Memory).await;
    let root = bed.dir.path();
    let open = |path: &Path| {
        Database::builder()
            .path(path)
            .name("x")
            .keybag(root.join("keys/x"))
            .open()
    };
    let foreign = root.join("foreign");
    fs::create_dir(&foreign).expect("makes");
    fs::write(foreign.join("letter.txt"), "mine").expect("writes");
    let error = open(&foreign).await.expect_err("is refused");
    assert!(
        matches!(error, Error::Store(StoreError::Foreign { .. })),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("foreign") && text.contains("choose an empty"),
        "{text}"
    );
    assert_eq!(files(&foreign).len(), 1);

    let file = root.join("file");
    fs::write(&file, "x").expect("writes");
    for path in [file.clone(), file.join("below")] {
        let error = open(&path).await.expect_err("is refused");
        assert!(matches!(error, Error::Store(_)), "{error:?}");
        assert!(error.to_string().contains("file"), "{error}");
    }

    // A database of a newer version is left alone.
    let db = bed.open("newer").await;
    write(&db, "row", 5).await;
    let path = db.path().expect("is on disk").to_owned();
    db.close().await.expect("closes");
    let json = path.join("firebrick.json");
    let present = fs::read_to_string(&json).expect("reads");
    fs::write(&json, present.replace("\"version\": 1", "\"version\": 9")).expect("writes");
    let newer = || {
        Database::builder()
            .path(&path)
            .name("newer")
            .keybag(root.join("keys/newer"))
    };
    for error in [
        newer().open().await.expect_err("is refused"),
        newer()
            .read_only(true)
            .open()
            .await
            .expect_err("is refused"),
        Database::destroy_path(&path).expect_err("is refused"),
    ] {
        assert!(
            matches!(error, Error::Store(StoreError::Newer { found: 9, .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains("update the program"), "{error}");
    }
    fs::write(&json, present).expect("writes");
    still_works(&bed.open("newer").await, 5).await;

    for name in ["", "a\nb"] {
        let error = Database::memory(name).await.expect_err("is refused");
        assert!(matches!(error, Error::Config(_)), "{error:?}");
    }
}

#[tokio::test]
async fn urls() {
    let db = Database::memory("bad-urls").await.expect("opens");
    for url in ["gopher://x", "s4://bucket", "iroh://x"] {
        let Err(error) = db.attach(url) else {
            panic!("{url} is attached")
        };
        assert!(matches!(error, Error::Gateway(_)), "{url}: {error:?}");
        let text = error.to_string();
        assert!(
            text.contains("memory://") && text.contains("file://"),
            "{text}"
        );
    }
    for url in ["", "file://", "memory://", "fpcloud://", "fpcloud://x"] {
        let Err(error) = db.attach(url) else {
            panic!("{url} is attached")
        };
        assert!(matches!(error, Error::Gateway(_)), "{url}: {error:?}");
    }
    assert!(db.attachments().is_empty());
    still_works(&db, 0).await;
    db.attach("memory://bad-urls-one").expect("attaches");
    let same = Remote::url("memory://bad-urls-two")
        .expect("is a URL")
        .name("memory://bad-urls-one");
    let error = db.attach(same).expect_err("the name is taken");
    assert!(matches!(error, Error::Config(_)), "{error:?}");
    assert!(error.to_string().contains("a name of its own"), "{error}");
}

/// Bytes of the store change on the disk: what is hit is named, the rest can be read, and a remote
/// brings back what is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_store() {
    let bed = Bed::new(Kind::Folder).await;
    let url = bed.remote("hub");
    let db = bed.open("origin").await;
    let pad = "x".repeat(600);
    for n in 0..200 {
        db.put(&doc(format!("d{n:03}"), pad.as_str()))
            .await
            .expect("is written");
    }
    let truth = state(&db).await;
    synced(&[db.attach(url.as_str()).expect("attaches")]).await;
    db.close().await.expect("closes");
    let source = bed.dir.path().join("db/origin");
    let all = files(&source);
    let mut hit = 0;
    for file in &all {
        let relative = file.strip_prefix(&source).expect("is below").to_owned();
        let len = fs::metadata(file).expect("is there").len();
        if len < 100 {
            continue;
        }
        for part in [10, 40, 75, 95] {
            let name = format!("copy-{hit}");
            hit += 1;
            let copy = bed.dir.path().join("db").join(&name);
            for file in &all {
                let to = copy.join(file.strip_prefix(&source).expect("is below"));
                fs::create_dir_all(to.parent().expect("has a parent")).expect("makes");
                fs::copy(file, to).expect("copies");
            }
            let mut bytes = fs::read(copy.join(&relative)).expect("reads");
            let at = bytes.len() * part / 100;
            bytes[at] ^= 0x40;
            fs::write(copy.join(&relative), &bytes).expect("writes");
            check_corrupt(
                &bed,
                &copy,
                &truth,
                &url,
                &format!("{} at {at} of {len}", relative.display()),
            )
            .await;
        }
    }
    assert!(hit > 4);
}

async fn check_corrupt(
    bed: &Bed,
    copy: &Path,
    truth: &crate::common::State,
    url: &str,
    what: &str,
) {
    let opened = Database::builder()
        .path(copy)
        .name("origin")
        .keybag(bed.dir.path().join("keys/origin"))
        .open()
        .await;
    let db = match opened {
        Ok(db) => db,
        Err(error) => {
            // Better an answer than a wrong document; but a single flipped bit should not come to this.
            panic!("{what}: {error:?}: {error}");
        }
    };
    let mut unread = 0;
    for (id, expected) in &truth.docs {
        match db.get::<Document>(id).await {
            Ok(found) => {
                let found = found.map(|doc| doc.to_json());
                assert_eq!(&found, expected, "{what}: {id} is another document");
            }
            Err(Error::Store(StoreError::Corrupt { .. }) | Error::MissingBlock { .. }) => {
                unread += 1;
            }
            Err(error) => panic!("{what}: {id}: {error:?}"),
        }
    }
    println!(
        "{what}: {unread} of {} documents unreadable, {:?}",
        truth.docs.len(),
        db.stats().store.damage
    );
    assert!(
        unread < truth.docs.len() / 2,
        "{what}: {unread} cannot be read"
    );
    if unread > 0 {
        let attachment = db.attach(url).expect("attaches");
        let healed = tokio::time::timeout(crate::common::DEADLINE, async {
            loop {
                let _ = attachment
                    .synced_within(std::time::Duration::from_secs(1))
                    .await;
                let rows = db.all_docs().collect::<Document>().await;
                if rows.is_ok_and(|rows| rows.len() >= truth.docs.len()) {
                    break;
                }
            }
        });
        assert!(
            healed.await.is_ok(),
            "{what}: does not heal: {:#?}",
            attachment.status()
        );
    }
    db.put(&doc("more", "v"))
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    db.close()
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// No space: the write fails and says so, what was written stays, and with space it goes on.
#[tokio::test]
async fn a_full_disk() {
    let store = Arc::new(SimStore::new());
    let db = Database::builder()
        .name("full")
        .store(Arc::clone(&store) as Arc<dyn Store>)
        .open()
        .await
        .expect("opens");
    write(&db, "row", 20).await;
    let before = state(&db).await;
    store.fail_call(0, SimFault::Full);
    for _ in 0..3 {
        let error = db.put(&doc("no room", "v")).await.expect_err("is full");
        assert!(
            matches!(error, Error::Store(StoreError::Full { .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains("free some space"), "{error}");
        assert_eq!(state(&db).await, before);
    }
    store.heal();
    db.put(&doc("room", "v")).await.expect("is written");
    assert_eq!(db.get::<Document>("no room").await.expect("reads"), None);
    still_works(&db, 21).await;
    let (head, root) = (db.head(), db.root());
    db.close().await.expect("closes");
    let again = Database::builder()
        .name("full")
        .store(Arc::new(store.reopen()))
        .open()
        .await;
    let again = again.expect("opens");
    assert_eq!((again.head(), again.root()), (head, root));
    assert_eq!(again.count().await.expect("counts"), 21);
}

/// After a failed write or sync nothing is acknowledged any more, reading goes on, and opening
/// again finds everything that was.
#[tokio::test]
async fn a_failing_disk() {
    let store = Arc::new(SimStore::new());
    let open = |store: Arc<SimStore>| Database::builder().name("failing").store(store).open();
    let db = open(Arc::clone(&store)).await.expect("opens");
    write(&db, "row", 20).await;
    store.fail_call(0, SimFault::Io);
    let error = db.put(&doc("a", "v")).await.expect_err("fails");
    assert!(
        matches!(error, Error::Store(StoreError::Io { .. })),
        "{error:?}"
    );
    let error = db.put(&doc("b", "v")).await.expect_err("refuses");
    assert!(
        matches!(error, Error::Store(StoreError::Poisoned { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("open it again"), "{error}");
    assert_eq!(db.count().await.expect("counts"), 20);
    let _ = db.close().await;
    still_works(&open(Arc::new(store.reopen())).await.expect("opens"), 20).await;
}

/// A file system of a few hundred kilobytes, if we may make one.
struct Tiny(std::path::PathBuf);

impl Tiny {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).ok()?;
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status()
            .ok()?;
        status.success().then(|| Self(path.to_owned()))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_is_really_full() {
    let bed = Bed::new(Kind::Folder).await;
    let Some(tiny) = Tiny::mount(&bed.dir.path().join("tiny")) else {
        return;
    };
    let open = || {
        Database::builder()
            .path(tiny.0.join("db"))
            .name("tiny")
            .keybag(bed.dir.path().join("keys/tiny"))
            .durability(Durability::Sync)
            .open()
    };
    let db = open().await.expect("opens");
    db.keys().import(bed.key()).expect("is a key");
    let ballast = tiny.0.join("ballast");
    write(&db, "row", 10).await;
    let random: String = (0..20_000u32)
        .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 26))
        .collect();
    let mut written = 0;
    let error = loop {
        match db
            .put(&doc(format!("n{written:04}"), random.as_str()))
            .await
        {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "it never fills up");
    };
    assert!(
        matches!(error, Error::Store(StoreError::Full { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(db.count().await.expect("counts"), 10 + written);
    for n in 0..written {
        assert!(
            db.get::<Document>(&format!("n{n:04}"))
                .await
                .expect("reads")
                .is_some()
        );
    }
    let _ = db.close().await;
    // Files that are still open would take their space even when they are deleted.
    drop(db);
    let db = open().await.expect("opens although there is no space");
    assert_eq!(db.count().await.expect("counts"), 10 + written);
    drop(db);
    drop(ballast);

    // A folder remote without space: offline with that cause, and nothing here is lost.
    let writer = bed.open("writer").await;
    for n in 0..20 {
        writer
            .put(&doc(format!("w{n}"), random.as_str()))
            .await
            .expect("is written");
    }
    let hub = tiny.0.join("hub");
    let attachment = writer
        .attach(format!("file://{}", hub.display()).as_str())
        .expect("attaches");
    let status = until(&attachment, "out of space", |status| {
        matches!(status.state, State::Offline { .. } | State::Failed { .. })
    })
    .await;
    let text = status.obstacle();
    assert!(text.contains("space"), "{text}");
    assert_eq!(writer.count().await.expect("counts"), 20);
    Database::destroy_path(tiny.0.join("db")).expect("makes room");
    synced(&[attachment]).await;
    let reader = bed.open("reader").await;
    synced(&[reader
        .attach(format!("file://{}", hub.display()).as_str())
        .expect("attaches")])
    .await;
    assert_eq!(state(&reader).await, state(&writer).await);
    for db in [reader, writer] {
        db.close().await.expect("closes");
    }
}

/// Makes a folder unwritable in a way that also stops root: a read-only file system.
struct ReadOnlyView(std::path::PathBuf);

impl ReadOnlyView {
    fn of(path: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).ok()?;
        let mount = |args: &[&std::ffi::OsStr]| {
            let status = std::process::Command::new("mount")
                .args(args)
                .stderr(std::process::Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        if !mount(&["--bind".as_ref(), path.as_os_str(), at.as_os_str()]) {
            return None;
        }
        let view = Self(at.to_owned());
        mount(&["-o".as_ref(), "remount,bind,ro".as_ref(), at.as_os_str()]).then_some(view)
    }
}

impl Drop for ReadOnlyView {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_folder() {
    let bed = Bed::new(Kind::Folder).await;
    let author = bed.open("author").await;
    write(&author, "row", 10).await;
    let to_author = author.attach(bed.remote("hub").as_str()).expect("attaches");
    synced(std::slice::from_ref(&to_author)).await;
    let view = bed.dir.path().join("view");
    let Some(view) = ReadOnlyView::of(&bed.dir.path().join("remotes/hub"), &view) else {
        return;
    };
    let url = format!("file://{}", view.0.display());
    let reader = bed.open("reader").await;
    let attachment = reader.attach(url.as_str()).expect("attaches");
    // Reading from it is fine.
    synced(std::slice::from_ref(&attachment)).await;
    assert_eq!(state(&reader).await, state(&author).await);
    assert_eq!(attachment.status().state, State::UpToDate);
    // What cannot go there is said, and is never called up to date.
    let written = reader.put(&doc("own", "v")).await.expect("is written");
    let error = attachment.synced().await.expect_err("cannot be pushed");
    assert!(
        matches!(&error, Error::Gateway(error) if error.kind() == GatewayErrorKind::ReadOnly),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("read-only") || error.to_string().contains("written"),
        "{error}"
    );
    let status = attachment.status();
    assert!(matches!(&status.state, State::Failed { .. }), "{status:#?}");
    assert!(reader.receipt(&written).all().await.is_err());
    // What others write still arrives.
    author.put(&doc("later", "v")).await.expect("is written");
    synced(&[to_author]).await;
    crate::common::until_here(&reader, "later").await;
    assert!(attachment.detach().await.unpushed > 0);
    still_works(&reader, 12).await;
    reader.close().await.expect("closes");
    author.close().await.expect("closes");
}
