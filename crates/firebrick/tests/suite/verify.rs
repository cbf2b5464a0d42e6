//! Damage of the local store: all of it is named, and what remotes have comes back.

use std::fs;
use std::path::{Path, PathBuf};

use firebrick::core::cbor::Reader;
use firebrick::core::clock::Event as ClockEvent;
use firebrick::store::{LogOptions, LogStore, Store};
use firebrick::{
    Builder, Cid, Database, Document, Durability, Error, Fault, FileSource, Finding, Held, Index,
    RepairProgress,
};

use crate::common::{Bed, Kind, doc, state, synced, write};

/// A database without encryption, so that a test knows where each block lies.
fn plain(bed: &Bed) -> Builder {
    Database::builder()
        .path(bed.dir.path().join("db/plain"))
        .insecure(true)
        .durability(Durability::Buffered)
}

/// Closes the database, takes some blocks away, and flips a bit in every copy of others. Events are
/// stored in another form than documents and shards; where they lie is not known here.
async fn hit(db: Database, cids: &[Cid], gone: &[Cid]) {
    let path = db.path().expect("is on disk").to_owned();
    db.close().await.expect("closes");
    if !gone.is_empty() {
        let store = LogStore::open(&path, &LogOptions::insecure()).expect("opens");
        store
            .compact(&mut |cid| !gone.contains(cid))
            .expect("drops them");
        store.close().expect("closes");
    }
    let store = LogStore::open_read_only(&path, &LogOptions::insecure()).expect("opens");
    for cid in cids {
        let bytes = store.block(cid).expect("reads").expect("is here");
        // Events are stored in a shorter form; a run of 32 bytes, their last parent, ends it.
        let part = match ClockEvent::decode(&bytes) {
            Ok(_) => [&[31], &bytes[bytes.len() - 32..]].concat(),
            Err(_) => bytes.to_vec(),
        };
        let mut copies = 0;
        for segment in segments(&path) {
            let mut log = fs::read(&segment).expect("reads");
            let mut at = 0;
            while let Some(found) = find(&log[at..], &part) {
                log[at + found + part.len() / 2] ^= 4;
                at += found + part.len();
                copies += 1;
            }
            fs::write(&segment, log).expect("writes");
        }
        assert!(copies > 0, "{cid} is not in the log");
    }
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.join("log")).expect("lists");
    entries.map(|entry| entry.expect("lists").path()).collect()
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}

/// The blocks of a document's values, the present one first.
fn values(db: &Database, id: &str) -> Vec<Cid> {
    let path = db.path().expect("is on disk");
    let store = LogStore::open_read_only(path, &LogOptions::insecure()).expect("opens");
    let (mut next, mut values) = (db.head(), Vec::new());
    while let Some(cid) = next.pop() {
        let bytes = store.block(&cid).expect("reads").expect("is here");
        let event = ClockEvent::decode(&bytes).expect("is an event");
        values.extend(
            event
                .puts()
                .filter(|(key, _)| *key == id)
                .map(|(_, value)| value),
        );
        next.extend(event.parents);
    }
    values
}

fn named(findings: &[Finding]) -> Vec<(Cid, Held)> {
    let mut named: Vec<_> = findings
        .iter()
        .map(|finding| (finding.cid, finding.held.clone()))
        .collect();
    named.sort_by_key(|(cid, _)| *cid);
    named
}

/// A database with a bit of everything, synced to a folder.
async fn filled(bed: &Bed, url: &str) -> Database {
    let db = plain(bed).open().await.expect("opens");
    for n in 0..60 {
        db.put(&doc(format!("d{n:02}"), format!("value {n}")).with("n", n))
            .await
            .expect("is written");
    }
    db.put(&doc("d07", "changed").with("n", 7))
        .await
        .expect("is written");
    let files = db.files("album");
    for (name, len) in [("small", 50), ("large", 200_000)] {
        let bytes: Vec<u8> = (0..len).map(|n: u32| (n * 7 / 3) as u8).collect();
        files
            .put(name, FileSource::bytes(bytes))
            .await
            .expect("is written");
    }
    db.query(Index::field("n"))
        .collect::<Document>()
        .await
        .expect("answers");
    let attached = db.attach(url).expect("attaches");
    synced(&[attached]).await;
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_database_is_found_good() {
    let bed = Bed::new(Kind::Memory).await;
    let empty = bed.open("empty").await;
    assert!(empty.verify().await.expect("runs").is_good());
    let db = bed.open("a").await;
    write(&db, "row", 300).await;
    db.delete("a-row-0003").await.expect("is deleted");
    db.put(&doc("a-row-0004", "changed"))
        .await
        .expect("is written");
    let (tell, told) = std::sync::mpsc::channel();
    let report = db
        .verify_with(move |progress| tell.send(progress).expect("is heard"))
        .await;
    let report = report.expect("runs");
    assert!(report.is_good(), "{report:?}");
    assert_eq!(
        (report.documents, report.deleted, report.versions),
        (300, 1, 2)
    );
    assert!(report.events >= 3 && report.shards > 10 && report.bytes > 10_000);
    assert!(told.iter().last().expect("tells").blocks > 300);
    let repaired = db.repair().await.expect("runs");
    assert!(repaired.before.is_empty() && repaired.after.is_good());
}

/// Every kind of block is hit; exactly those are named; a folder gives them back, and without it
/// nothing is made up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_named_and_comes_back_from_a_remote() {
    let bed = Bed::new(Kind::Folder).await;
    let url = bed.remote("hub");
    let db = filled(&bed, &url).await;
    let was = state(&db).await;
    let good = db.verify().await.expect("runs");
    assert!(good.is_good(), "{good:?}");
    assert!(good.indexes.len() == 1 && good.contents == 2, "{good:?}");
    let (event, root) = (db.head()[0], db.root());
    let document = values(&db, "d30")[0];
    hit(db, &[root, document], &[event]).await;

    // Alone: named, and still so after a repair.
    let db = plain(&bed).open().await.expect("opens");
    let report = db.verify().await.expect("runs");
    // What only the damaged ones lead to is not looked at.
    let is_named = |cid: Cid, held: &Held| {
        report
            .findings
            .iter()
            .any(|f| f.cid == cid && f.held == *held)
    };
    assert!(is_named(event, &Held::Event), "{report:#?}");
    assert!(
        is_named(
            root,
            &Held::Shard {
                prefix: String::new()
            }
        ),
        "{report:#?}"
    );
    for finding in &report.findings {
        let is_missing = finding.fault == Fault::Missing;
        assert_eq!(is_missing, finding.cid == event, "{finding:?}");
        assert!(finding.remotes.is_empty(), "{finding:?}");
    }
    let repaired = db.repair().await.expect("runs");
    assert!(repaired.fetched.is_empty() && !repaired.after.is_good());
    assert_eq!(named(&repaired.before), named(&report.findings));

    // Figures that need what is damaged are not known, the others are; also for a remote.
    let other = db.attach("memory://empty-beside-damage").expect("attaches");
    let stats = db.full_stats().await.expect("runs");
    assert_eq!(stats.faults, report.findings.len() as u64);
    assert_eq!(stats.reclaimable_bytes, None);
    let lag = &stats.remotes[0];
    assert!(lag.attached && lag.events_to_push.is_none(), "{lag:?}");
    other.detach().await;

    // With the remote.
    db.attach(url.as_str()).expect("attaches");
    let (tell, told) = std::sync::mpsc::channel();
    let repaired = db.repair_with(move |now| tell.send(now).expect("is heard"));
    let repaired = repaired.await.expect("runs");
    assert!(repaired.after.is_good(), "{repaired:#?}");
    let mut steps = told.iter();
    let looked = |now: &RepairProgress| matches!(now, RepairProgress::Verifying(_));
    assert!(steps.next().is_some_and(|now| looked(&now)));
    assert!(
        steps.any(
            |now| matches!(now, RepairProgress::Fetching { lacking, remotes: 1 } if lacking > 0)
        )
    );
    assert!(steps.last().is_some_and(|now| looked(&now)));
    let stats = db.full_stats().await.expect("runs");
    assert!(stats.reclaimable_bytes.is_some() && stats.remotes[0].events_to_push.is_some());
    assert_eq!(state(&db).await, was);
    db.close().await.expect("closes");
    let db = plain(&bed).open().await.expect("opens");
    assert!(db.verify().await.expect("runs").is_good());
    assert_eq!(state(&db).await, was);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_versions_and_files_are_named_one_by_one() {
    let bed = Bed::new(Kind::Folder).await;
    let url = bed.remote("hub");
    let db = filled(&bed, &url).await;
    let was = state(&db).await;
    let (of_d07, other) = (values(&db, "d07"), values(&db, "d30")[0]);
    let (present, earlier) = (of_d07[0], of_d07[1]);
    let content = db.files("album").list().await.expect("lists");
    let content = content
        .iter()
        .find(|file| file.name == "small")
        .expect("is there");
    let small: Cid = content
        .cid
        .as_deref()
        .expect("has one")
        .parse()
        .expect("is a CID");
    hit(db, &[present, other, earlier, small], &[]).await;
    let blob = fs::read_dir(bed.dir.path().join("db/plain/files")).expect("lists");
    let blob = blob.last().expect("is one").expect("lists").path();
    let mut bytes = fs::read(&blob).expect("reads");
    bytes[100_000] ^= 1;
    fs::write(&blob, bytes).expect("writes");

    let db = plain(&bed).open().await.expect("opens");
    let remote = db.attach(url.as_str()).expect("attaches");
    let name = remote.name().to_owned();
    let report = db.verify().await.expect("runs");
    let is_of = |id: &str| id.to_owned();
    let expected = [
        Held::Document { id: is_of("d07") },
        Held::Document { id: is_of("d30") },
        Held::Version { id: is_of("d07") },
        Held::File {
            id: is_of("album"),
            name: is_of("large"),
        },
        Held::File {
            id: is_of("album"),
            name: is_of("small"),
        },
    ];
    for held in &expected {
        let count = report.findings.iter().filter(|f| f.held == *held).count();
        assert_eq!(count, 1, "{held:?}: {report:#?}");
    }
    assert_eq!(report.findings.len(), expected.len(), "{report:#?}");
    for finding in &report.findings {
        assert_eq!(finding.remotes, std::slice::from_ref(&name), "{finding:?}");
    }
    let repaired = db.repair().await.expect("runs");
    assert!(repaired.after.is_good(), "{repaired:#?}");
    assert_eq!(repaired.fetched.len(), expected.len());
    assert_eq!(state(&db).await, was);
    assert_eq!(
        db.files("album")
            .get("large")
            .await
            .expect("reads")
            .expect("is there")
            .bytes()
            .await
            .expect("reads")
            .len(),
        200_000
    );
}

/// Blocks that are gone are missing; earlier versions need not be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named_and_comes_back() {
    let bed = Bed::new(Kind::Folder).await;
    let url = bed.remote("hub");
    let db = filled(&bed, &url).await;
    let was = state(&db).await;
    let (of_d07, of_d30) = (values(&db, "d07"), values(&db, "d30"));
    hit(db, &[], &[of_d07[1], of_d30[0]]).await;

    let db = plain(&bed).open().await.expect("opens");
    for attached in [false, true] {
        if attached {
            db.attach(url.as_str()).expect("attaches");
        } else {
            let report = db.verify().await.expect("runs");
            let held = Held::Document { id: "d30".into() };
            assert_eq!(named(&report.findings), [(of_d30[0], held)]);
            assert_eq!(report.findings[0].fault, Fault::Missing);
            assert_eq!(report.versions_not_kept, 1);
        }
        let repaired = db.repair().await.expect("runs");
        assert_eq!(repaired.after.is_good(), attached, "{repaired:#?}");
    }
    assert_eq!(state(&db).await, was);
}

/// The root of an index, as the store's record names it.
fn index_root(db: &Database) -> Cid {
    let path = db.path().expect("is on disk");
    let store = LogStore::open_read_only(path, &LogOptions::insecure()).expect("opens");
    let (_, record) = store.kv_prefix("index/").pop().expect("is stored");
    let mut record = Reader::new(&record);
    record.list().expect("a record");
    record.token().expect("a version");
    record.link().expect("the documents");
    record.link().expect("the rows")
}

/// Shards follow from events, and an index from documents: no remote is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_and_indexes_are_made_again() {
    let bed = Bed::new(Kind::Memory).await;
    let db = filled(&bed, &bed.remote("hub")).await;
    let (was, root) = (state(&db).await, db.root());
    db.close().await.expect("closes");
    let db = plain(&bed).open().await.expect("opens");
    let index = index_root(&db);
    hit(db, &[root, index], &[]).await;
    let db = plain(&bed).open().await.expect("opens");
    let repaired = db.repair().await.expect("runs");
    let held = Held::IndexNode { index: "n".into() };
    assert!(
        named(&repaired.before).contains(&(index, held)),
        "{repaired:#?}"
    );
    assert_eq!(repaired.rebuilt, [root], "{repaired:#?}");
    assert_eq!(repaired.indexes, ["n"]);
    assert!(repaired.after.is_good() && repaired.fetched.is_empty());
    assert_eq!(state(&db).await, was);
    let rows = db.query(Index::field("n")).count().await.expect("answers");
    assert_eq!(rows, 60);
}

/// As a disk does it: any bit, encrypted. Whatever it hits, nothing wrong is read, and the remote
/// gives it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bit_of_an_encrypted_store() {
    let bed = Bed::new(Kind::Folder).await;
    let db = bed.open("a").await;
    write(&db, "row", 200).await;
    db.delete("a-row-0003").await.expect("is deleted");
    let url = bed.remote("hub");
    synced(&[db.attach(url.as_str()).expect("attaches")]).await;
    let was = state(&db).await;
    let path = db.path().expect("is on disk").to_owned();
    db.close().await.expect("closes");
    let segment = segments(&path).pop().expect("is one");
    let good = fs::read(&segment).expect("reads");
    let used = good.iter().rposition(|byte| *byte != 0).expect("is used");
    let mut found = 0;
    for part in 1..8 {
        let mut log = good.clone();
        log[used * part / 8] ^= 1;
        fs::write(&segment, log).expect("writes");
        let db = match Database::builder()
            .path(&path)
            .keybag(bed.dir.path().join("keys/a"))
            .open()
            .await
        {
            Ok(db) => db,
            // The metadata of a commit: refused with its place, nothing is read.
            Err(Error::Store(_)) => continue,
            Err(other) => panic!("{other}"),
        };
        let before = db.verify().await.expect("runs");
        found += before.findings.len();
        db.attach(url.as_str()).expect("attaches");
        let repaired = db.repair().await.expect("runs");
        assert!(repaired.after.is_good(), "{repaired:#?}");
        assert_eq!(state(&db).await, was);
        db.close().await.expect("closes");
    }
    assert!(found > 0, "no bit hit anything");
}
