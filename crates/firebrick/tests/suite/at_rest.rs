//! What lies on the disk: nothing that a thief could read, and everything that was acknowledged.

use std::fs;
use std::path::{Path, PathBuf};

use firebrick::store::StoreError;
use firebrick::{Cid, Database, Document, Durability, Error, Event, Remote};

use crate::common::{Bed, Kind, doc, state, synced, write};

/// Every file below a directory.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn contains(bytes: &[u8], canary: &[u8]) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary)
}

/// No file's name or content has any of these.
pub(crate) fn search(path: &Path, canaries: &[(String, Vec<u8>)]) -> usize {
    let mut bytes_seen = 0;
    for file in files(path) {
        let bytes = fs::read(&file).expect("reads");
        bytes_seen += bytes.len();
        let name = file
            .strip_prefix(path)
            .expect("is below")
            .display()
            .to_string();
        for (what, canary) in canaries {
            assert!(!contains(&bytes, canary), "{what} is in {name}");
            assert!(
                !contains(name.as_bytes(), canary),
                "{what} is the name of {name}"
            );
        }
    }
    bytes_seen
}

pub(crate) fn canaries_of(cid: &Cid) -> Vec<(String, Vec<u8>)> {
    let (text, bytes) = (cid.to_string(), cid.to_bytes());
    vec![
        (format!("the text of {text}"), text.clone().into_bytes()),
        (format!("the hash of {text}"), bytes[4..].to_vec()),
    ]
}

#[tokio::test]
async fn indexes_at_rest_are_not_readable() {
    let bed = Bed::new(Kind::Folder).await;
    let db = bed.open("indexed").await;
    let documents: Vec<_> = (0..2000)
        .map(|n| {
            doc(format!("canaryid{n:04}"), "x").with("canaryfield", format!("canaryvalue{n:04}"))
        })
        .collect();
    db.bulk(&documents).await.expect("is written");
    let query = || db.query("canaryfield");
    assert_eq!(query().count().await.expect("counts"), 2000);
    db.put(&doc("canaryid0001", "y").with("canaryfield", "canaryother"))
        .await
        .expect("is written");
    assert_eq!(query().key("canaryother").count().await.expect("counts"), 1);
    db.close().await.expect("closes");
    let canaries = [
        "canaryvalue",
        "canaryid",
        "canaryfield",
        "canaryother",
        "alue1234",
        "fbi1",
        "index/fields",
    ];
    let canaries = canaries.map(|text| (text.to_owned(), text.as_bytes().to_vec()));
    let seen = search(&bed.dir.path().join("db"), &canaries);
    assert!(seen > 100_000, "only {seen} bytes were searched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_at_rest_is_readable() {
    let bed = Bed::new(Kind::Folder).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let mut events = here.subscribe();
    let url = format!("{}-canaryurl", bed.remote("hub"));
    let remote = || {
        Remote::url(url.as_str())
            .expect("is a URL")
            .name("canaryremote")
            .remember(true)
    };
    let (to_here, to_there) = (
        here.attach(remote()).expect("attaches"),
        there.attach(remote()).expect("attaches"),
    );
    let mut cids = Vec::new();
    for n in 0..300 {
        let document = doc(format!("canaryid{n:03}"), format!("canaryvalue{n:03}"))
            .with("canaryfield", vec![1.into(), "canarylist".into()]);
        here.put(&document).await.expect("is written");
        cids.extend(here.head());
    }
    here.delete("canaryid007").await.expect("is deleted");
    write(&there, "canarysynced", 100).await;
    synced(&[to_here.clone(), to_there, to_here.clone()]).await;
    assert_eq!(here.count().await.expect("counts"), 399);
    // What was synced is stored, indexed and tidied; half of the time the database is open.
    for closed in [false, true] {
        if closed {
            here.close().await.expect("closes");
        }
        while let Some(event) = futures_util::FutureExt::now_or_never(events.next()).flatten() {
            if let Event::Changes(set) = event.expect("computes") {
                cids.extend(set.head);
                cids.extend(set.changes.into_iter().map(|change| change.cid));
            }
        }
        cids.push(here.root());
        let remote = bed.dir.path().join("remotes");
        for file in files(&remote) {
            let name = file
                .file_stem()
                .expect("has a name")
                .to_string_lossy()
                .into_owned();
            cids.extend(name.parse::<Cid>());
        }
        cids.sort_unstable();
        cids.dedup();
        assert!(cids.len() > 400, "{}", cids.len());
        let mut canaries: Vec<(String, Vec<u8>)> = cids.iter().flat_map(canaries_of).collect();
        let words = [
            "canaryid",
            "canaryvalue",
            "canaryfield",
            "canarylist",
            "canaryremote",
            "canaryurl",
            "canarysynced",
            "remotes",
            "zb2rh",
            "bafyrei",
            "bagdqc",
            "baemb",
        ];
        canaries.extend(words.map(|word| (word.to_owned(), word.as_bytes().to_vec())));
        let own = here.path().expect("is on disk").to_owned();
        // Long canaries over many bytes: look only at windows that begin like one.
        assert!(search_fast(&own, &canaries) > 100_000);
        let only_words: Vec<_> = canaries.split_off(canaries.len() - words.len());
        // The remote is allowed to see CIDs of CARs, and nothing else.
        search(&remote, &only_words[..5]);
        search(&remote, &only_words[6..7]);
    }
}

/// As [`search`], for thousands of canaries: a table of their first bytes.
fn search_fast(path: &Path, canaries: &[(String, Vec<u8>)]) -> usize {
    let mut by_start = std::collections::HashMap::<[u8; 4], Vec<usize>>::new();
    for (at, (_, canary)) in canaries.iter().enumerate() {
        by_start
            .entry([canary[0], canary[1], canary[2], canary[3]])
            .or_default()
            .push(at);
    }
    let mut bytes_seen = 0;
    for file in files(path) {
        let bytes = fs::read(&file).expect("reads");
        bytes_seen += bytes.len();
        for (start, window) in bytes.windows(4).enumerate() {
            let key = [window[0], window[1], window[2], window[3]];
            for at in by_start.get(&key).into_iter().flatten() {
                let (what, canary) = &canaries[*at];
                assert!(
                    !bytes[start..].starts_with(canary),
                    "{what} is in {}",
                    file.display()
                );
            }
        }
    }
    bytes_seen
}

#[tokio::test]
async fn without_encryption_it_can_be_read_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("plain");
    let open = || Database::builder().path(&path).insecure(true).open();
    let db = open().await.expect("opens");
    db.put(&doc("a", "canaryvalue")).await.expect("is written");
    assert_eq!(db.keys().fingerprint(), None);
    assert!(matches!(db.keys().export(), Err(Error::Keys(_))));
    db.close().await.expect("closes");
    let seen = files(&path)
        .iter()
        .any(|file| contains(&fs::read(file).expect("reads"), b"canaryvalue"));
    assert!(seen, "the search finds what is there");
    // As an encrypted one it is refused, and not touched.
    let keybag = dir.path().join("keys");
    let sealed = Database::builder().path(&path).keybag(&keybag).open().await;
    let error = sealed.expect_err("is refused");
    let text = error.to_string();
    assert!(
        matches!(
            error,
            Error::Store(StoreError::CipherMismatch { .. }) | Error::MissingKey { .. }
        ),
        "{text}"
    );
    let db = open().await.expect("opens");
    assert_eq!(db.count().await.expect("counts"), 1);
}

#[tokio::test]
async fn a_wrong_or_missing_keybag_is_named_and_harms_nothing() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("mine").await;
    write(&db, "row", 10).await;
    let before = state(&db).await;
    let path = db.path().expect("is on disk").to_owned();
    db.close().await.expect("closes");
    let open = |keybag: PathBuf| {
        Database::builder()
            .path(&path)
            .name("mine")
            .keybag(keybag)
            .open()
    };

    // A keybag without this database's keys.
    let empty = bed.dir.path().join("empty keybag");
    let error = open(empty.clone()).await.expect_err("is refused");
    let text = error.to_string();
    assert!(matches!(error, Error::MissingKey { .. }), "{error:?}");
    assert!(
        text.contains("@mine-local@") && text.contains("empty keybag"),
        "{text}"
    );
    assert!(
        !empty.exists() || files(&empty).is_empty(),
        "no key was made up"
    );

    // A keybag with other keys of the same names.
    let other = bed.dir.path().join("other keybag");
    let stranger = Database::builder()
        .path(bed.dir.path().join("db/stranger"))
        .name("mine")
        .keybag(&other)
        .open()
        .await
        .expect("opens");
    stranger.close().await.expect("closes");
    let error = open(other).await.expect_err("is refused");
    assert!(
        matches!(error, Error::Store(StoreError::WrongKey { .. })),
        "{error:?}"
    );

    // A key file that is none.
    let keys = bed.dir.path().join("keys/mine");
    let broken = bed.dir.path().join("broken keybag");
    fs::create_dir(&broken).expect("makes");
    for file in files(&keys) {
        let name = file.file_name().expect("has a name");
        fs::write(broken.join(name), "no key").expect("writes");
    }
    let error = open(broken).await.expect_err("is refused");
    assert!(matches!(error, Error::Keys(_)), "{error:?}");
    assert!(error.to_string().contains("is not a key file"), "{error}");

    // The key of the ledger is lost, that of the store is there: no new one is made in silence.
    let half = bed.dir.path().join("half keybag");
    fs::create_dir(&half).expect("makes");
    for file in files(&keys) {
        let text = fs::read_to_string(&file).expect("reads");
        if text.contains("-local@") {
            fs::copy(&file, half.join(file.file_name().expect("has a name"))).expect("copies");
        }
    }
    assert_eq!(files(&half).len(), 1);
    let error = open(half.clone()).await.expect_err("is refused");
    assert!(matches!(error, Error::MissingKey { .. }), "{error:?}");
    assert!(error.to_string().contains("@mine-data@"), "{error}");

    let db = bed.open("mine").await;
    assert_eq!(state(&db).await, before);
}

#[cfg(unix)]
#[tokio::test]
async fn key_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("modes").await;
    let keys = files(&bed.dir.path().join("keys/modes"));
    assert_eq!(keys.len(), 2);
    for file in keys {
        let mode = fs::metadata(&file).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    // An imported key is kept; the first one still reads.
    assert_eq!(db.keys().fingerprints().len(), 2);
    let fingerprint = db.keys().fingerprint();
    db.close().await.expect("closes");
    let db = bed.open("modes").await;
    assert_eq!(db.keys().fingerprint(), fingerprint);
    assert_eq!(db.keys().fingerprints().len(), 2);
    for wrong in ["", "z", "zzzz", "no key", "bafyreib"] {
        let error = db.keys().import(wrong).expect_err("is no key");
        assert!(error.to_string().contains("a key begins with z"), "{error}");
    }
    assert_eq!(db.keys().fingerprint(), fingerprint);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_database_opens_again_at_once_with_everything() {
    let bed = Bed::new(Kind::Folder).await;
    for (at, durability) in [Durability::Sync, Durability::Buffered]
        .into_iter()
        .cycle()
        .take(10)
        .enumerate()
    {
        let db = bed.open("dropped").await;
        assert_eq!(db.count().await.expect("counts"), at);
        if at > 4 {
            // Also while a remote keeps its task busy.
            db.attach(bed.remote("hub").as_str()).expect("attaches");
        }
        db.put_with(&doc(format!("d{at}"), "v"), durability)
            .await
            .expect("is written");
        drop(db);
    }
    let db = bed.open("dropped").await;
    let root = db.root();
    db.close().await.expect("closes");
    let db = bed.open("dropped").await;
    assert_eq!(db.root(), root);
    // While a handle is alive, a second opening names who has it.
    let second = Database::builder()
        .path(db.path().expect("is on disk"))
        .name("dropped")
        .keybag(bed.dir.path().join("keys/dropped"))
        .open()
        .await;
    let error = second.expect_err("is locked");
    assert!(
        matches!(error, Error::Store(StoreError::Locked { .. })),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(&std::process::id().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_reader_beside_a_writer() {
    let bed = Bed::new(Kind::Memory).await;
    let writer = bed.open("shared").await;
    write(&writer, "first", 300).await;
    let read_only = || {
        Database::builder()
            .path(writer.path().expect("is on disk"))
            .name("shared")
            .keybag(bed.dir.path().join("keys/shared"))
            .read_only(true)
            .open()
    };
    let reader = read_only().await.expect("opens beside the writer");
    let before = state(&reader).await;
    assert_eq!(before, state(&writer).await);
    for n in 0..300 {
        writer
            .put(&doc(format!("second-{n:03}"), "v"))
            .await
            .expect("is written");
    }
    assert_eq!(
        state(&reader).await,
        before,
        "it shows the version it was opened at"
    );
    let errors = [
        reader
            .put(&doc("a", "v"))
            .await
            .map(drop)
            .expect_err("read-only"),
        reader.delete("a").await.map(drop).expect_err("read-only"),
        reader
            .attach(bed.remote("hub").as_str())
            .map(drop)
            .expect_err("read-only"),
    ];
    for error in errors {
        assert!(matches!(error, Error::ReadOnly), "{error:?}");
    }
    let second = read_only().await.expect("opens");
    assert_eq!(state(&second).await, state(&writer).await);
    second.close().await.expect("closes");
    reader.close().await.expect("closes");
    writer
        .put(&doc("last", "v"))
        .await
        .expect("the writer goes on");
    writer.close().await.expect("closes");

    // Nothing is made by opening for reading.
    let nowhere = bed.dir.path().join("nowhere");
    let keybag = bed.dir.path().join("keys/nowhere");
    let nothing = Database::builder()
        .path(&nowhere)
        .keybag(&keybag)
        .read_only(true)
        .open()
        .await;
    let error = nothing.expect_err("is not there");
    assert!(
        matches!(error, Error::Store(StoreError::NotFound { .. })),
        "{error:?}"
    );
    assert!(!nowhere.exists() && !keybag.exists());
}

#[tokio::test]
async fn destroying_takes_the_database_and_nothing_else() {
    let bed = Bed::new(Kind::Folder).await;
    let db = bed.open("doomed").await;
    write(&db, "row", 10).await;
    synced(&[db.attach(bed.remote("hub").as_str()).expect("attaches")]).await;
    let path = db.path().expect("is on disk").to_owned();
    assert!(matches!(
        Database::destroy_path(&path),
        Err(Error::Store(StoreError::Locked { .. }))
    ));
    db.destroy().await.expect("is destroyed");
    assert!(!path.exists());
    assert!(matches!(db.get::<Document>("x").await, Err(Error::Closed)));
    assert!(
        !files(&bed.dir.path().join("keys/doomed")).is_empty(),
        "keys stay"
    );
    let again = bed.open("doomed").await;
    assert_eq!(again.count().await.expect("counts"), 0);
    synced(&[again.attach(bed.remote("hub").as_str()).expect("attaches")]).await;
    assert_eq!(again.count().await.expect("counts"), 10, "the remote stays");
    again.close().await.expect("closes");
    Database::destroy_path(&path).expect("is destroyed");
    let foreign = bed.dir.path().join("foreign");
    fs::create_dir(&foreign).expect("makes");
    fs::write(foreign.join("letter.txt"), "x").expect("writes");
    assert!(Database::destroy_path(&foreign).is_err());
    assert!(foreign.join("letter.txt").exists());
}

/// Opening reads the head, not the data: what it reads hardly grows with the documents.
#[tokio::test]
async fn opening_is_cheap_with_many_documents() {
    let bed = Bed::new(Kind::Memory).await;
    let mut reads = Vec::new();
    for count in [1_000, 20_000] {
        let name = format!("many-{count}");
        let db = bed.open(&name).await;
        for batch in 0..count / 1000 {
            let docs: Vec<Document> = (0..1000)
                .map(|n| doc(format!("{batch:03}-{n:03}"), "v".repeat(100)))
                .collect();
            db.bulk(&docs).await.expect("is written");
        }
        db.close().await.expect("closes");
        // Other tests of this process may read at the same time: the least of some counts.
        let mut least = u64::MAX;
        for _ in 0..5 {
            let before = bytes_read();
            let db = bed.open(&name).await;
            least = least.min(bytes_read() - before);
            db.close().await.expect("closes");
        }
        reads.push(least);
        let db = bed.open(&name).await;
        assert!(
            db.get::<Document>("000-500")
                .await
                .expect("reads")
                .is_some()
        );
        assert_eq!(db.count().await.expect("counts"), count);
        db.close().await.expect("closes");
    }
    assert!(reads[1] < 1 << 20, "bytes read by opening: {reads:?}");
}

/// Bytes that this process has read, as far as the system tells.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
