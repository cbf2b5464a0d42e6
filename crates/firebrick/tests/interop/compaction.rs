//! Firebrick gives back space while a client is away that writes on what it last saw.

use serde_json::json;

use crate::bed::{Bed, close, doc, settle};
use crate::compare::{ids, keys_of, same};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_client_returns_after_a_compaction() {
    let bed = Bed::new();
    let late = bed.js_beside("late");
    // Reopened before it attaches, or what it wrote stays behind.
    late.run(&[json!({"op": "put", "doc": {"_id": "base", "n": 0}})]);
    late.run(&[
        bed.attach_request(),
        json!({"op": "put", "doc": {"_id": "shared", "n": 1}}),
        json!({"op": "put", "doc": {"_id": "shared", "n": 2}}),
        json!({"op": "idle"}),
    ]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    assert_eq!(ids(&db).await, ["base", "shared"]);

    late.run(&[json!({"op": "puts", "docs": [
        {"_id": "late-1", "n": 2},
        {"_id": "shared", "n": 3, "by": "late"},
        {"_id": "late-2", "n": 4},
    ]})]);
    let mut dropped = 0;
    for round in 0..5 {
        for i in 0..8 {
            let update = json!({"_id": format!("fb-{i:02}"), "n": 10 * round + i});
            db.put(&doc(&update)).await.expect("writes");
        }
        let update = json!({"_id": "shared", "n": 100 + round, "by": "us"});
        db.put(&doc(&update)).await.expect("writes");
        settle(&db, &attachment).await;
        let report = db.compact().run().await.expect("compacts");
        dropped += report.dropped_blocks;
    }
    assert!(dropped > 40, "{dropped} blocks were dropped");
    same(&bed.js(), &db).await;

    let answers = late.run(&[
        json!({"op": "open"}),
        json!({"op": "subscribe"}),
        bed.attach_request(),
        json!({"op": "idle"}),
        json!({"op": "collect", "count": 12}),
        json!({"op": "state"}),
        json!({"op": "changes"}),
        json!({"op": "query", "field": "n"}),
        json!({"op": "put", "doc": {"_id": "late-3", "n": 5}}),
        json!({"op": "idle"}),
    ]);
    let calls = answers[4].as_array().expect("calls").iter();
    let mut told = calls.flat_map(|call| call.as_array().expect("documents"));
    assert!(
        told.any(|doc| doc["_id"] == "fb-07" && doc["n"] == 47),
        "the subscriber hears of the newest documents"
    );
    assert_eq!(keys_of(&answers[6]).len(), 12);
    assert_eq!(answers[7].as_array().expect("rows").len(), 12);

    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 13);
    let status = attachment.status();
    assert!(status.missing_documents.is_empty(), "{status:?}");
    same(&bed.js(), &db).await;
    db.compact().run().await.expect("compacts");
    db.put(&doc(&json!({"_id": "shared", "n": 200})))
        .await
        .expect("writes");
    settle(&db, &attachment).await;
    same(&bed.js(), &db).await;

    // Everyone ends with the same, also who comes new.
    let state = late.run(&[
        json!({"op": "open"}),
        bed.attach_request(),
        json!({"op": "idle"}),
        json!({"op": "state"}),
    ]);
    assert_eq!(state[3]["root"], json!(db.root().to_string()));
    let new = bed.firebrick("new").await;
    bed.attach(&new).await;
    assert_eq!(new.root(), db.root());
    same(&bed.js(), &new).await;
    close(new).await;
    close(db).await;
}
