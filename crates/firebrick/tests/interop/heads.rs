//! Concurrent writes: both implementations must agree on every winner.

use serde_json::{Value, json};

use crate::bed::{Bed, close, doc, settle};
use crate::compare::{documents, ids, same};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn several_heads_of_the_client() {
    let bed = Bed::new();
    let js = bed.js();
    let same_id: Vec<Value> = (0..5).map(|n| json!({"_id": "same", "n": n})).collect();
    let mixed: Vec<Value> = (0..7)
        .map(|n| json!({"_id": if n % 2 == 0 { "even" } else { "odd" }, "n": n}))
        .collect();
    let answers = js.run(&[
        json!({"op": "put", "doc": {"_id": "base", "n": 0}}),
        json!({"op": "concurrent", "docs": same_id}),
        json!({"op": "del", "id": "base"}),
        json!({"op": "concurrent", "docs": mixed}),
        json!({"op": "idle"}),
        json!({"op": "state"}),
    ]);
    let state = &answers[5];
    assert!(
        state["head"].as_array().expect("a head").len() > 1,
        "the client was to end with several heads"
    );

    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    assert_eq!(json!(db.root().to_string()), state["root"]);
    assert_eq!(ids(&db).await, ["even", "odd", "same"]);

    db.put(&doc(&json!({"_id": "odd", "n": 100})))
        .await
        .expect("writes");
    settle(&db, &attachment).await;
    same(&js, &db).await;
    js.run(&[json!({"op": "put", "doc": {"_id": "even", "n": 101}})]);
    settle(&db, &attachment).await;
    same(&js, &db).await;
    assert_eq!(db.head().len(), 1);
    close(db).await;
}

/// A client with a ledger of its own merges in its own memory, so its answer is the reference's.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn both_sides_change_and_delete_the_same_documents() {
    let bed = Bed::new();
    let shared = bed.js();
    shared.run(&[json!({"op": "bulk", "docs": (0..12).map(|i| json!({"_id": format!("d{i:02}"), "n": i})).collect::<Vec<_>>()})]);
    let beside = bed.js_beside("beside");
    beside.run(&[bed.attach_request(), json!({"op": "idle"})]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    attachment.detach().await;

    // Apart: updates against updates, updates against deletions, deletions against both.
    let mut offline = Vec::new();
    for i in 0..12 {
        let id = format!("d{i:02}");
        match i % 4 {
            0 | 1 => offline
                .push(json!({"op": "put", "doc": {"_id": id, "n": 100 + i, "by": "javascript"}})),
            _ => offline.push(json!({"op": "del", "id": id})),
        }
        match i % 3 {
            0 => db.delete(&id).await.map(drop),
            _ => db
                .put(&doc(&json!({"_id": id, "n": 200 + i, "by": "firebrick"})))
                .await
                .map(drop),
        }
        .expect("writes");
    }
    offline.push(json!({"op": "put", "doc": {"_id": "only-js", "n": 1}}));
    beside.run(&offline);
    db.put(&doc(&json!({"_id": "only-fb", "n": 2})))
        .await
        .expect("writes");

    let attachment = bed.attach(&db).await;
    let merged = beside
        .run(&[
            bed.attach_request(),
            json!({"op": "idle"}),
            json!({"op": "state"}),
        ])
        .remove(2);
    settle(&db, &attachment).await;
    assert_eq!(
        json!(db.root().to_string()),
        merged["root"],
        "the reference's winners"
    );
    let deleted: Vec<String> = documents(&db)
        .await
        .into_iter()
        .filter(|(_, doc)| doc.is_none())
        .map(|(id, _)| id)
        .collect();
    assert_eq!(json!(deleted), merged["deleted"]);
    same(&shared, &db).await;
    close(db).await;
}
