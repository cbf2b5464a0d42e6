//! Compaction as its users see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use firebrick::store::{MemoryStore, SimFault, SimStore, Store};
use firebrick::{Cid, Database, Document, Durability, Error, Retention, Value};
use firebrick_core::clock::Event;
use firebrick_core::memory::MemoryBlocks;
use firebrick_core::ordered::{Edit, Tree};

use crate::at_rest;
use crate::common::{self, Bed, Kind, doc, state};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_updates_leave_little() {
    const UPDATES: u64 = 10_000;
    let bed = Bed::new(Kind::Memory).await;
    let last = doc("the-document", format!("value {}", UPDATES - 1));

    let fresh = bed.open("fresh").await;
    fresh.put(&last).await.expect("is written");
    let live_fresh = fresh.compact().dry_run(true).run().await.expect("counts");
    fresh.close().await.expect("closes");
    let size = |name: &str| -> u64 {
        let files = at_rest::files(&bed.dir.path().join("db").join(name));
        let len = |path| std::fs::metadata(path).expect("is here").len();
        files.into_iter().map(len).sum()
    };

    let db = bed.open("updated").await;
    for n in 0..UPDATES {
        let update = doc("the-document", format!("value {n}"));
        db.put(&update).await.expect("is written");
    }
    let report = db.compact().run().await.expect("compacts");
    let again = db.compact().dry_run(true).run().await.expect("counts");
    assert_eq!(again.dropped_blocks, 0, "{again:?}");
    assert!(report.dropped_blocks > UPDATES, "{report:?}");
    db.close().await.expect("closes");
    let events = UPDATES * 250;
    assert!(
        again.live_bytes <= 2 * live_fresh.live_bytes + events,
        "{} live bytes, {} in a fresh database",
        again.live_bytes,
        live_fresh.live_bytes
    );
    let (fresh, updated) = (size("fresh"), size("updated"));
    assert!(
        updated <= 2 * fresh + events,
        "{updated} bytes of files, {fresh} in a fresh database"
    );

    let db = bed.open("updated").await;
    let found = db.get::<Document>("the-document").await.expect("reads");
    assert_eq!(found, Some(last));
    assert_eq!(
        db.changes(&[])
            .collect::<Document>()
            .await
            .expect("reads")
            .len(),
        1
    );
    db.put(&doc("the-document", "one more"))
        .await
        .expect("is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_go_on() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("busy").await;
    let docs = |round: usize| -> Vec<Document> {
        let value = |n| doc(format!("doc-{n:03}"), format!("value {n} of round {round}"));
        (0..200).map(value).collect()
    };
    db.bulk(&docs(0)).await.expect("is written");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                // Going back to earlier values: a compaction may be about to drop their blocks.
                round += 1;
                db.bulk(&docs(round % 3)).await.expect("is written");
                let rows = db.all_docs().collect::<Document>().await.expect("reads");
                assert_eq!(rows.len(), 200);
            }
        }
    });
    for _ in 0..5 {
        db.compact().run().await.expect("compacts");
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("went well");
    let before = state(&db).await;
    db.close().await.expect("closes");
    let db = bed.open("busy").await;
    assert_eq!(state(&db).await, before);
    db.compact().run().await.expect("compacts");
    assert_eq!(state(&db).await, before);
}

#[tokio::test]
async fn a_reader_of_an_earlier_version_keeps_it() {
    let db = Database::memory("held").await.expect("opens");
    common::write(&db, "first", 300).await;
    let listing = db.all_docs();
    let before = state(&db).await;
    let ids: Vec<String> = before.docs.keys().cloned().collect();
    let docs: Vec<Document> = ids.iter().map(|id| doc(id, "changed")).collect();
    db.bulk(&docs).await.expect("is written");
    let report = db.compact().run().await.expect("compacts");
    let rows = listing.collect::<Document>().await.expect("all is there");
    let rows = rows
        .into_iter()
        .map(|row| (row.id, row.doc.map(|doc| doc.to_json())));
    assert_eq!(
        rows.collect::<std::collections::BTreeMap<_, _>>(),
        before.docs
    );
    // Now that nobody reads it, it goes.
    let more = db.compact().run().await.expect("compacts");
    assert!(more.dropped_blocks >= 300, "{report:?} {more:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_and_files_stay_and_old_nodes_go() {
    let bed = Bed::new(Kind::Memory).await;
    let numbered = |n: usize, round: usize| {
        let doc = Document::new().with("_id", format!("doc-{n:04}"));
        doc.with("n", (n * 7 + round) as u64)
    };
    // Looks like a node of an index.
    let edits = vec![Edit::put("a", "1"), Edit::put("b", "2")];
    let tree = Tree::empty().edit(&MemoryBlocks::new(), edits);
    let node = tree.expect("edits").tree.save().blocks.remove(0).bytes;
    for round in 0..6 {
        // Each closing stores the nodes of its version.
        let db = bed.open("indexed").await;
        let docs: Vec<Document> = (0..2000).map(|n| numbered(n, round)).collect();
        db.bulk(&docs).await.expect("is written");
        assert_eq!(db.query("n").count().await.expect("counts"), 2000);
        if round == 0 {
            for (name, content) in [("small", Bytes::from("small")), ("node", node.clone())] {
                let files = db.files("with-files");
                files.put(name, content).await.expect("is stored");
            }
        }
        db.close().await.expect("closes");
    }
    let db = bed.open("indexed").await;
    let all: Vec<_> = db.query("n").collect::<Document>().await.expect("reads");
    let mut rows = db.query("n").rows::<Document>().await.expect("reads");
    let first = rows.next().expect("has rows").expect("reads");
    assert_eq!(Some(&first), all.first());
    // The rows go on in the version that they began in.
    let docs: Vec<Document> = (0..2000).map(|n| numbered(n, 9)).collect();
    db.bulk(&docs).await.expect("is written");
    let events_and_values = 7 * 2000;
    let report = db.compact().run().await.expect("compacts");
    assert!(report.dropped_blocks > 0, "{report:?}");
    let rest: Result<Vec<_>, _> = rows.collect();
    assert_eq!(rest.expect("all is there"), all[1..]);
    let again = db.compact().run().await.expect("compacts");
    let nodes = db.indexes()[0].blocks;
    assert!(again.dropped_blocks >= nodes, "{again:?}, {nodes} nodes");
    let last = db.compact().dry_run(true).run().await.expect("counts");
    assert_eq!(last.dropped_blocks, 0, "{last:?} {events_and_values}");
    let check = async |db: &Database| {
        let found = db
            .query("n")
            .range(9..)
            .limit(3)
            .collect::<Document>()
            .await;
        let found = found.expect("reads");
        let keys: Vec<_> = found.iter().map(|row| row.key.clone()).collect();
        assert_eq!(keys, [9u64, 16, 23].map(Value::from));
        for (name, content) in [("small", Bytes::from("small")), ("node", node.clone())] {
            let file = db.files("with-files").get(name).await.expect("reads");
            let found = file.expect("is listed").bytes().await.expect("is here");
            assert_eq!(found, content);
        }
        assert!(db.indexes()[0].blocks >= nodes / 2);
    };
    check(&db).await;
    db.close().await.expect("closes");
    check(&bed.open("indexed").await).await;
}

/// The block of the value that an event wrote.
fn value_of(store: &dyn Store, event: &Cid) -> Cid {
    let bytes = store.block(event).expect("reads").expect("is here");
    let event = Event::decode(&bytes).expect("is an event");
    let (_, value) = event.puts().next().expect("writes");
    value
}

#[tokio::test]
async fn retention_counts_versions() {
    for (retention, kept) in [
        (Retention::Versions(0), 1),
        (Retention::Versions(1), 1),
        (Retention::Versions(3), 3),
        (Retention::Versions(100), 10),
        (Retention::All, 10),
    ] {
        let store = Arc::new(MemoryStore::new());
        let builder = Database::builder()
            .name("versions")
            .store(Arc::clone(&store) as _);
        let db = builder.retention(retention).open().await.expect("opens");
        let mut values = Vec::new();
        for n in 0..10 {
            for id in ["a", "b"] {
                let written = db
                    .put(&doc(id, format!("{id} {n}")))
                    .await
                    .expect("is written");
                values.push(value_of(&*store, &written.head[0]));
            }
        }
        let dry = db.compact().dry_run(true).run().await.expect("counts");
        let report = db.compact().run().await.expect("compacts");
        assert_eq!(dry.dropped_blocks, report.dropped_blocks);
        assert!(dry.dry_run && dry.bytes_before == dry.bytes_after);
        let here: Vec<bool> = values
            .iter()
            .map(|cid| store.contains(cid).expect("reads"))
            .collect();
        let first = values.len() - 2 * kept;
        let wanted: Vec<bool> = (0..values.len()).map(|at| at >= first).collect();
        assert_eq!(here, wanted, "{retention:?}");
    }
}

#[tokio::test]
async fn what_lost_a_merge_stays_because_it_may_win_the_next() {
    let bed = Bed::new(Kind::Memory).await;
    for n in 0..4 {
        let stores = [Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())];
        let mut dbs = Vec::new();
        for (name, store) in ["a", "b"].into_iter().zip(&stores) {
            let builder = Database::builder().name(name).key(bed.key());
            let db = builder
                .store(Arc::clone(store) as _)
                .open()
                .await
                .expect("opens");
            dbs.push(db);
        }
        let mut values = Vec::new();
        for (db, store) in dbs.iter().zip(&stores) {
            let written = db
                .put(&doc("same", format!("{} {n}", db.name())))
                .await
                .expect("is written");
            values.push(value_of(&**store, &written.head[0]));
        }
        for db in &dbs {
            let remote = bed.remote(&format!("losers-{n}"));
            db.attach(
                firebrick::Remote::url(&remote)
                    .expect("is one")
                    .join(firebrick::Join::Merge),
            )
            .expect("attaches");
        }
        common::converge(&dbs).await;
        for (db, store) in dbs.iter().zip(&stores) {
            db.compact().run().await.expect("compacts");
            for value in &values {
                assert!(store.contains(value).expect("reads"));
            }
        }
    }
}

/// A peer that comes late leads the walk of `changes` through versions that are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_names_versions_whose_value_is_gone() {
    let bed = Bed::new(Kind::Memory).await;
    let mut met = 0;
    for n in 0..12 {
        let (a, b) = (
            bed.open(&format!("a{n}")).await,
            bed.open(&format!("b{n}")).await,
        );
        let remote = bed.remote(&format!("late-{n}"));
        a.put(&doc("k", format!("first {n}")))
            .await
            .expect("is written");
        a.attach(remote.as_str()).expect("attaches");
        b.attach(remote.as_str()).expect("attaches");
        common::converge(&[a.clone(), b.clone()]).await;
        b.attachments()[0].detach().await;
        a.put(&doc("k", format!("second {n}")))
            .await
            .expect("is written");
        b.put(&doc("late", format!("late {n}")))
            .await
            .expect("is written");
        common::synced(&a.attachments()).await;
        a.compact().run().await.expect("compacts");
        let rows = a.changes(&[]).collect::<Document>().await.expect("reads");
        assert!(rows.len() == 1 && !rows[0].compacted, "{rows:?}");
        b.attach(remote.as_str()).expect("attaches");
        let all = common::converge(&[a.clone(), b.clone()]).await;
        assert_eq!(all.docs.len(), 2);
        let rows = a.changes(&[]).collect::<Document>().await.expect("reads");
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!(row.doc.is_none(), row.compacted, "{row:?}");
            met += usize::from(row.compacted);
        }
        let status = a.attachments()[0].status();
        assert!(status.missing_documents.is_empty() && status.pending.is_empty());
    }
    assert!(met > 0, "the walk never went that way");
}

/// Opens on a store, and takes what is there when opening fails as a failure of the test.
async fn open_on(store: &Arc<SimStore>) -> Database {
    let builder = Database::builder().name("crash").insecure(true);
    builder
        .store(Arc::clone(store) as _)
        .open()
        .await
        .expect("opens")
}

#[tokio::test]
async fn a_crash_at_any_storage_call_loses_nothing() {
    for fault in [
        SimFault::CrashBefore,
        SimFault::CrashAfter,
        SimFault::Io,
        SimFault::Full,
    ] {
        for power in [false, true] {
            for at in 0.. {
                let store = Arc::new(SimStore::new());
                let db = open_on(&store).await;
                for n in 0..30 {
                    let docs = [doc("same", format!("{n}")), doc(format!("own-{n}"), "x")];
                    db.bulk_with(&docs, Durability::Buffered)
                        .await
                        .expect("is written");
                }
                db.delete("own-3").await.expect("is written");
                let before = state(&db).await;
                store.fail_call(at, fault);
                let calls = store.calls();
                let result = db.compact().run().await;
                let done = store.calls() - calls <= at;
                if power {
                    store.crash(u64::MAX);
                }
                drop(db);
                store.heal();
                let store = Arc::new(store.reopen());
                let db = open_on(&store).await;
                assert_eq!(state(&db).await, before, "{fault:?} at {at}: {result:?}");
                let report = db.compact().run().await.expect("compacts");
                assert!(done || report.kept_blocks > 0);
                assert_eq!(state(&db).await, before);
                if done {
                    assert!(result.is_ok(), "{result:?}");
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_happens_by_itself() {
    let bed = Bed::new(Kind::Memory).await;
    let db = Database::builder()
        .path(bed.dir.path().join("auto"))
        .keybag(bed.dir.path().join("keys"))
        .durability(Durability::Buffered)
        .auto_compact(Some(1 << 20))
        .open()
        .await
        .expect("opens");
    let long = "x".repeat(10_000);
    for n in 0..400 {
        db.put(&doc("same", format!("{n} {long}")))
            .await
            .expect("is written");
    }
    let before = db.stats().store.log_bytes;
    let start = std::time::Instant::now();
    while db.stats().store.log_bytes > before / 4 {
        assert!(start.elapsed() < common::DEADLINE, "{:?}", db.stats());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(db.get::<Document>("same").await.expect("reads").is_some());
}

#[tokio::test]
async fn refusals() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("refuses").await;
    db.put(&doc("a", "b")).await.expect("is written");
    db.close().await.expect("closes");
    assert!(matches!(db.compact().run().await, Err(Error::Closed)));
    let reader = Database::builder()
        .path(bed.dir.path().join("db/refuses"))
        .keybag(bed.dir.path().join("keys/refuses"))
        .read_only(true)
        .open()
        .await
        .expect("opens");
    assert!(matches!(reader.compact().run().await, Err(Error::ReadOnly)));
    let report = reader.compact().dry_run(true).run().await.expect("counts");
    assert!(report.live_bytes > 0);
}
