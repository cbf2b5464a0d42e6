//! Client processes that stay open. Such a process reads the folder once, when it opens, and
//! overwrites the pointer with what it knows at every write.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bed::{Bed, close, doc, settle};
use crate::compare::{ids, keys_of, same};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn both_write_in_turn_while_the_client_stays_open_and_compacts_twice() {
    let bed = Bed::new();
    let mut js = bed.js().open();
    js.ask(&json!({"op": "put", "doc": {"_id": "first", "n": -1}}));
    js.ask(&json!({"op": "idle"}));
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;

    for i in 0..20 {
        js.ask(&json!({"op": "put", "doc": {"_id": format!("js-{i:02}"), "n": i}}));
        db.put(&doc(&json!({"_id": format!("fb-{i:02}"), "n": 100 + i})))
            .await
            .expect("writes");
        if i == 6 || i == 13 {
            js.ask(&json!({"op": "compact"}));
        }
    }
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 41, "everything of both sides");
    // It never looks again: see "an open process never sees what another one wrote".
    assert_eq!(keys_of(&js.ask(&json!({"op": "allDocs"}))).len(), 21);
    js.close();
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 41);
    same(&bed.js(), &db).await;

    // A second open process starts from the merged state, and its compactions work on it.
    let mut js = bed.js().open();
    assert_eq!(keys_of(&js.ask(&json!({"op": "allDocs"}))).len(), 41);
    for i in 0..3 {
        db.put(&doc(&json!({"_id": format!("fb-late-{i}"), "n": 200 + i})))
            .await
            .expect("writes");
        js.ask(&json!({"op": "put", "doc": {"_id": format!("js-late-{i}"), "n": 300 + i}}));
        js.ask(&json!({"op": "compact"}));
    }
    js.close();
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 47);
    same(&bed.js(), &db).await;
    close(db).await;

    // Nothing that is needed is only in our store.
    let fresh = bed.firebrick("fresh").await;
    bed.attach(&fresh).await;
    assert_eq!(ids(&fresh).await.len(), 47);
    close(fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn what_two_client_processes_overwrite_is_found_again() {
    let bed = Bed::new();
    bed.js()
        .run(&[json!({"op": "put", "doc": {"_id": "base", "n": 0}})]);
    let mut left = bed.js().open();
    let mut right = bed.js().open();
    for i in 0..5 {
        left.ask(&json!({"op": "put", "doc": {"_id": format!("left-{i}"), "n": i}}));
        right.ask(&json!({"op": "put", "doc": {"_id": format!("right-{i}"), "n": i}}));
    }
    left.close();
    right.close();
    // On its own the client has lost half by now: "two processes on one directory lose …".
    assert_eq!(keys_of(&bed.js().ask(&json!({"op": "allDocs"}))).len(), 6);

    let db = bed.firebrick("db").await;
    bed.attach(&db).await;
    assert_eq!(ids(&db).await.len(), 11);
    close(db).await;
    let db = bed.firebrick("db").await;
    same(&bed.js(), &db).await;
    close(db).await;
}

/// On its own the client can't read this any more: "its second compaction deletes cars that
/// another process still needs".
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn cars_that_a_compaction_deletes_come_back() {
    let bed = Bed::new();
    bed.js()
        .run(&[json!({"op": "puts", "docs": [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}]})]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    let mut compacting = bed.js().open();
    let mut other = bed.js().open();
    compacting.ask(&json!({"op": "compact"}));
    compacting.ask(&json!({"op": "put", "doc": {"_id": "c", "n": 3}}));
    let before = cars(&bed);
    compacting.ask(&json!({"op": "compact"}));
    assert!(
        before.iter().any(|car| !car.exists()),
        "the second compaction deletes"
    );
    other.ask(&json!({"op": "put", "doc": {"_id": "d", "n": 4}}));
    compacting.close();
    other.close();

    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await, ["a", "b", "c", "d"]);
    close(db).await;
    let db = bed.firebrick("db").await;
    same(&bed.js(), &db).await;
    close(db).await;
    let fresh = bed.firebrick("fresh").await;
    bed.attach(&fresh).await;
    assert_eq!(ids(&fresh).await, ["a", "b", "c", "d"]);
    close(fresh).await;
}

/// On its own the client has lost documents here: "a write during a compaction makes the ledger
/// unreadable". The bytes are still there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_write_during_a_compaction_is_recovered() {
    let bed = Bed::new();
    let docs: Vec<Value> = (0..8)
        .map(|n| json!({"_id": format!("k{n}"), "n": n}))
        .collect();
    bed.js().run(&[
        json!({"op": "puts", "docs": docs}),
        json!({"op": "compactDuring", "doc": {"_id": "during", "n": 9}}),
    ]);
    let db = bed.firebrick("db").await;
    bed.attach(&db).await;
    assert_eq!(ids(&db).await.len(), 9);
    close(db).await;
    let db = bed.firebrick("db").await;
    same(&bed.js(), &db).await;
    close(db).await;
}

fn cars(bed: &Bed) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bed.folder().join("data")).expect("lists");
    let paths = entries.map(|entry| entry.expect("lists").path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "car"))
        .collect()
}
