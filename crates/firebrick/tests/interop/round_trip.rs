//! One side after the other: the client, Firebrick, the client again, Firebrick again.

use firebrick::Document;
use serde_json::{Value, json};

use crate::bed::{Bed, close, doc, settle};
use crate::compare::{documents, ids, same};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn each_side_reads_what_the_other_one_wrote() {
    let bed = Bed::new();
    let js = bed.js();
    js.run(&[
        json!({"op": "put", "doc": {"_id": "kept", "n": 1, "nested": {"list": [1, "two", null, 2.5], "empty": {}}}}),
        json!({"op": "put", "doc": {"_id": "typed", "bytes": {"/": {"bytes": "AAECAw"}}, "big": {"$bigint": "12345678901234567890"}, "date": {"$date": "2024-02-03T04:05:06.789Z"}}}),
        json!({"op": "put", "doc": {"_id": "updated", "n": 2, "by": "javascript"}}),
        json!({"op": "bulk", "docs": [{"_id": "b1", "n": 30}, {"_id": "b2", "n": -4}, {"_id": "gone", "n": 5}]}),
        json!({"op": "del", "id": "gone"}),
        json!({"op": "del", "id": "never-there"}),
    ]);

    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    same(&js, &db).await;
    let typed = db
        .get::<Document>("typed")
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(
        typed.to_json(),
        json!({"_id": "typed", "bytes": {"/": {"bytes": "AAECAw"}}, "big": {"$bigint": "12345678901234567890"}, "date": "2024-02-03T04:05:06.789Z"})
    );

    db.put(&doc(
        &json!({"_id": "ours", "n": 6, "bytes": {"/": {"bytes": "/w"}}}),
    ))
    .await
    .expect("writes");
    db.put(&doc(&json!({"_id": "updated", "n": 7, "by": "firebrick"})))
        .await
        .expect("writes");
    db.delete("b1").await.expect("deletes");
    db.bulk(&[
        doc(&json!({"_id": "c1", "n": 0.5})),
        doc(&json!({"_id": "c2"})),
    ])
    .await
    .expect("writes");
    settle(&db, &attachment).await;
    close(db).await;

    let db = bed.firebrick("db").await;
    same(&js, &db).await;

    // The client's own update of what came from us reaches its subscribers, and us.
    let answers = js.run(&[
        json!({"op": "subscribe"}),
        json!({"op": "update", "id": "ours", "set": {"n": 8}}),
        json!({"op": "put", "doc": {"_id": "last", "n": 9}}),
        json!({"op": "del", "id": "c2"}),
        json!({"op": "collect", "count": 3}),
    ]);
    let told = answers[4]
        .as_array()
        .expect("calls")
        .iter()
        .flat_map(|call| call.as_array().expect("documents"));
    assert_eq!(
        told.map(|doc| doc["_id"].clone()).collect::<Vec<_>>(),
        ["ours", "last", "c2"]
    );

    assert!(
        db.get::<Document>("last").await.expect("reads").is_none(),
        "not attached yet"
    );
    bed.attach(&db).await;
    assert_eq!(
        ids(&db).await,
        ["b2", "c1", "kept", "last", "ours", "typed", "updated"]
    );
    assert_eq!(
        db.get::<Document>("ours")
            .await
            .expect("reads")
            .map(|doc| doc.to_json()),
        Some(json!({"_id": "ours", "n": 8, "bytes": {"/": {"bytes": "/w"}}}))
    );
    same(&js, &db).await;
    close(db).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn thousands_of_documents_in_bulk() {
    let bed = Bed::new();
    let js = bed.js();
    let theirs: Vec<Value> = (0..2_000)
        .map(|i| json!({"_id": format!("js-{i:05}"), "n": i, "text": "x".repeat(100)}))
        .collect();
    js.run(&[
        json!({"op": "bulk", "docs": theirs[..1_000]}),
        json!({"op": "bulk", "docs": theirs[1_000..]}),
    ]);

    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    assert_eq!(ids(&db).await.len(), 2_000);
    same(&js, &db).await;

    let ours: Vec<Document> = (0..2_000)
        .map(|i| doc(&json!({"_id": format!("fb-{i:05}"), "n": i + 5_000})))
        .collect();
    db.bulk(&ours).await.expect("writes");
    for i in 0..50 {
        db.put(&doc(&json!({"_id": format!("js-{:05}", i * 7), "n": -i})))
            .await
            .expect("writes");
    }
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 4_000);
    same(&js, &db).await;
    close(db).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn files_stay_readable() {
    let bed = Bed::new();
    let js = bed.js();
    let small = json!({"$file": {"text": "hello world", "type": "text/plain", "lastModified": 1_234_567_890_123_u64}});
    let large = json!({"$file": {"fill": {"length": 1_500_000, "value": 200}, "type": "application/octet-stream"}});
    js.run(&[
        json!({"op": "put", "doc": {"_id": "with-files", "n": 1, "_files": {"hello.txt": small, "large.bin": large}}}),
        json!({"op": "put", "doc": {"_id": "public", "_publicFiles": {"p.txt": small}}}),
    ]);
    let read = [
        json!({"op": "file", "id": "with-files", "name": "hello.txt"}),
        json!({"op": "file", "id": "with-files", "name": "large.bin"}),
        json!({"op": "file", "id": "public", "name": "p.txt", "public": true}),
    ];
    let before = js.run(&read);

    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    // An update that keeps the field keeps the files.
    let mut with_files = db
        .get::<Document>("with-files")
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(with_files.to_json()["_files"]["hello.txt"]["size"], 11);
    with_files.set("n", 2);
    db.put(&with_files).await.expect("writes");
    settle(&db, &attachment).await;
    close(db).await;
    assert_eq!(js.run(&read), before);

    let db = bed.firebrick("db").await;
    let public = js.run(&[json!({"op": "get", "id": "public"}), json!({"op": "state"})]);
    assert_eq!(public[1]["root"], json!(db.root().to_string()));
    assert_eq!(
        documents(&db).await["with-files"].as_ref().expect("alive")["n"],
        2
    );
    close(db).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_ledger_that_firebrick_began() {
    let bed = Bed::new();
    let js = bed.js();
    let db = bed.stranger("db").await;
    // The client finds our key, the only one and the default one, in its keybag.
    let key =
        firebrick::core::keys::Key::from_text(&db.keys().export().expect("a key")).expect("a key");
    bed.keybag()
        .save(&firebrick::core::keys::KeySet::new(
            crate::bed::key_name(),
            key,
        ))
        .expect("writes");
    for n in 0..30 {
        db.put(&doc(&json!({"_id": format!("fb-{n:02}"), "n": n})))
            .await
            .expect("writes");
    }
    db.delete("fb-03").await.expect("deletes");
    let attachment = bed.attach(&db).await;
    same(&js, &db).await;
    js.run(&[
        json!({"op": "put", "doc": {"_id": "js", "n": 100}}),
        json!({"op": "del", "id": "fb-04"}),
    ]);
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 29);
    same(&js, &db).await;
    close(db).await;
}
