//! Clients that come back with an old head.

use serde_json::{Value, json};

use crate::bed::{Bed, DEADLINE, close, doc, settle};
use crate::compare::{ids, keys_of, same};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn an_open_process_writes_on_an_old_head() {
    let bed = Bed::new();
    let mut late = bed.js().open();
    late.ask(&json!({"op": "puts", "docs": [{"_id": "a", "n": 1}, {"_id": "shared", "n": 2}]}));
    late.ask(&json!({"op": "idle"}));
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    for i in 0..40 {
        db.put(&doc(&json!({"_id": format!("fb-{i:02}"), "n": 10 + i})))
            .await
            .expect("writes");
        db.put(&doc(&json!({"_id": "shared", "n": 100 + i})))
            .await
            .expect("writes");
    }
    settle(&db, &attachment).await;

    late.ask(&json!({"op": "put", "doc": {"_id": "shared", "n": 3, "by": "late"}}));
    late.ask(&json!({"op": "put", "doc": {"_id": "late", "n": 4}}));
    late.close();
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 43);
    assert_eq!(
        db.head().len(),
        1,
        "the client resolves several heads at cubic cost"
    );
    same(&bed.js(), &db).await;

    let answers = bed.js().run(&[
        json!({"op": "subscribe"}),
        json!({"op": "put", "doc": {"_id": "after", "n": 5}}),
        json!({"op": "collect", "count": 1}),
        json!({"op": "changes", "since": answers_head(&bed)}),
    ]);
    assert_eq!(answers[2][0][0]["_id"], "after");
    assert_eq!(keys_of(&answers[3]), ["after"]);
    settle(&db, &attachment).await;
    same(&bed.js(), &db).await;
    close(db).await;
}

fn answers_head(bed: &Bed) -> Value {
    bed.js().ask(&json!({"op": "head"}))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn an_attached_client_returns_from_offline() {
    let bed = Bed::new();
    let late = bed.js_beside_with_base("late");
    late.run(&[
        bed.attach_request(),
        json!({"op": "put", "doc": {"_id": "shared", "n": 1}}),
        json!({"op": "idle"}),
    ]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    assert_eq!(ids(&db).await, ["base", "shared"]);

    late.run(&[json!({"op": "puts", "docs": [{"_id": "late-1", "n": 2}, {"_id": "shared", "n": 3, "by": "late"}, {"_id": "late-2", "n": 4}]})]);
    for i in 0..12 {
        db.put(&doc(&json!({"_id": if i % 3 == 0 { "shared".to_owned() } else { format!("fb-{i:02}") }, "n": 10 + i}))).await.expect("writes");
    }
    settle(&db, &attachment).await;

    // With documents of its own, the client tells its subscribers what the remote brought.
    let answers = late.run(&[
        json!({"op": "open"}),
        json!({"op": "subscribe"}),
        bed.attach_request(),
        json!({"op": "idle"}),
        json!({"op": "collect", "count": 12}),
        json!({"op": "state"}),
        json!({"op": "changes"}),
        json!({"op": "query", "field": "n"}),
    ]);
    let told = answers[4]
        .as_array()
        .expect("calls")
        .iter()
        .flat_map(|call| call.as_array().expect("documents"));
    assert!(
        told.into_iter().any(|doc| doc["_id"] == "fb-11"),
        "the subscriber hears of the remote's documents"
    );
    settle(&db, &attachment).await;
    assert_eq!(
        json!(db.root().to_string()),
        answers[5]["root"],
        "both resolve the same"
    );
    assert_eq!(ids(&db).await.len(), 12);
    assert_eq!(keys_of(&answers[6]).len(), 12);
    assert_eq!(answers[7].as_array().expect("rows").len(), 12);
    same(&bed.js(), &db).await;
    close(db).await;
}

/// "what was written before attaching never reaches the remote": such a head can't be merged yet.
/// Everything else goes on, the status says what is missing, and it heals.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_client_that_wrote_before_it_attached() {
    let bed = Bed::new();
    bed.js()
        .run(&[json!({"op": "put", "doc": {"_id": "base", "n": 0}})]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    let early = bed.js_beside("early");
    early.run(&[
        json!({"op": "put", "doc": {"_id": "before", "n": 1}}),
        bed.attach_request(),
        json!({"op": "put", "doc": {"_id": "after", "n": 2}}),
        json!({"op": "idle"}),
    ]);

    let mut status = attachment.watch();
    let waiting = tokio::time::timeout(
        DEADLINE,
        status.wait_for(|status| !status.pending.is_empty()),
    );
    waiting
        .await
        .expect("the missing cars are named")
        .expect("attached");
    let written = db
        .put(&doc(&json!({"_id": "ours", "n": 3})))
        .await
        .expect("writes");
    attachment
        .reached(&written)
        .await
        .expect("others are no obstacle");
    assert_eq!(ids(&db).await, ["base", "ours"]);
    let answer = bed.js().ask(&json!({"op": "allDocs"}));
    assert_eq!(
        keys_of(&answer),
        ["base", "ours"],
        "the client can go on meanwhile"
    );
    assert!(
        !attachment.status().pending.is_empty(),
        "our pointer hides nothing from us"
    );

    early.run(&[
        json!({"op": "open"}),
        bed.attach_request(),
        json!({"op": "idle"}),
    ]);
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await, ["after", "base", "before", "ours"]);
    same(&bed.js(), &db).await;
    close(db).await;
}

/// "a value that comes back in a merge makes every document unreadable": the client recovers as
/// soon as the merge is there, made by us.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_value_that_comes_back_in_a_merge() {
    let bed = Bed::new();
    let left = bed.js_beside("left");
    let put = |id: &str, n: i32| json!({"op": "put", "doc": {"_id": id, "n": n}});
    left.run(&[put("task-1", 0), put("task-2", 0)]);
    left.run(&[bed.attach_request(), json!({"op": "idle"})]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;

    left.run(&[put("task-1", 1), put("task-1", 0), put("task-1", 1)]);
    for (id, n) in [("task-3", 0), ("x", 1), ("y", 2), ("z", 3)] {
        db.put(&doc(&json!({"_id": id, "n": n})))
            .await
            .expect("writes");
    }
    settle(&db, &attachment).await;
    let read = json!({"op": "allDocs", "mayFail": true});
    let [_, _, broken] =
        <[Value; 3]>::try_from(left.answers(&[json!({"op": "open"}), bed.attach_request(), read]))
            .expect("three");
    assert_eq!(broken["ok"], false, "the client's fault is gone: {broken}");

    settle(&db, &attachment).await;
    assert_eq!(
        ids(&db).await,
        ["task-1", "task-2", "task-3", "x", "y", "z"]
    );
    same(&bed.js(), &db).await;
    let answers = left.run(&[
        json!({"op": "open"}),
        bed.attach_request(),
        json!({"op": "state"}),
    ]);
    assert_eq!(answers[2]["root"], json!(db.root().to_string()));
    close(db).await;
}
