//! Live queries.

use std::collections::BTreeMap;

use firebrick::Durability;

use super::*;

/// The live result is the one that a query gives, and each delta leads from one to the next.
async fn agrees(live: &firebrick::LiveQuery<Document>, query: Query) {
    let rows: Vec<Row> = query.collect().await.expect("answers");
    let shown: Vec<Row> = live.rows().cloned().collect();
    assert_eq!(shown, rows);
}

#[tokio::test]
async fn live_queries_tell_what_changed_in_their_result_and_nothing_else() {
    let db = people().await;
    let query = || db.query("age").range(30..=40);
    let mut live = query().watch::<Document>().await.expect("answers");
    agrees(&live, query()).await;
    // None of these is in the range.
    db.put(&doc(&json!({"_id": "bob", "age": 26})))
        .await
        .expect("writes");
    db.delete("ed").await.expect("deletes");
    // The row stays; only a query with documents would tell.
    db.put(&doc(&json!({"_id": "ann", "age": 31, "x": 1})))
        .await
        .expect("writes");
    db.put(&doc(&json!({"_id": "bob", "age": 35})))
        .await
        .expect("writes");
    let delta = live.next().await.expect("open").expect("follows");
    assert_eq!(
        (delta.added.len(), delta.removed.len(), delta.updated.len()),
        (1, 0, 0)
    );
    assert_eq!(
        (delta.added[0].id.as_str(), delta.sequence),
        ("bob", db.sequence())
    );
    agrees(&live, query()).await;
    let moved = [
        json!({"_id": "bob", "age": 36}),
        json!({"_id": "cy", "age": 3}),
    ];
    db.bulk(&moved.map(|json| doc(&json)))
        .await
        .expect("writes");
    let delta = live.next().await.expect("open").expect("follows");
    assert_eq!((delta.added.len(), delta.removed.len()), (1, 2));
    agrees(&live, query()).await;
    db.close().await.expect("closes");
    assert!(live.next().await.is_none());
}

#[tokio::test]
async fn live_queries_with_documents_and_windows() {
    let db = people().await;
    let with_docs = || db.query("age").range(30..=40).include_docs();
    let top = || db.query("age").descending().offset(1).limit(2);
    let several = || db.query("age").keys([40, 31, 31]);
    let mut docs = with_docs().watch::<Document>().await.expect("answers");
    let mut window = top().watch::<Document>().await.expect("answers");
    let mut keys = several().watch::<Document>().await.expect("answers");
    agrees(&window, top()).await;
    agrees(&keys, several()).await;
    db.put(&doc(&json!({"_id": "ann", "age": 31, "x": 1})))
        .await
        .expect("writes");
    let delta = docs.next().await.expect("open").expect("follows");
    assert_eq!(
        (delta.added.len(), delta.removed.len(), delta.updated.len()),
        (0, 0, 1)
    );
    assert_eq!(
        delta.updated[0].doc.as_ref().and_then(|doc| doc.get("x")),
        Some(&Value::from(1))
    );
    agrees(&docs, with_docs()).await;
    db.delete("flo").await.expect("deletes");
    let delta = window.next().await.expect("open").expect("follows");
    assert_eq!(
        (delta.added[0].id.as_str(), delta.removed[0].id.as_str()),
        ("ann", "flo")
    );
    agrees(&window, top()).await;
    let delta = keys.next().await.expect("open").expect("follows");
    assert_eq!(
        delta.removed.len(),
        2,
        "once for each time that its key was asked for"
    );
    agrees(&keys, several()).await;
}

#[tokio::test]
async fn a_slow_live_query_misses_nothing() {
    let db = people().await;
    let mut live = db.query("age").watch::<Document>().await.expect("answers");
    let mut expected = BTreeMap::new();
    for n in 0..600 {
        let id = format!("n{}", n % 50);
        db.put_with(&doc(&json!({"_id": id, "age": n})), Durability::Buffered)
            .await
            .expect("writes");
        expected.insert(id, n);
    }
    let last = db.sequence();
    while live.next().await.expect("open").expect("follows").sequence < last {}
    agrees(&live, db.query("age")).await;
    assert_eq!(live.rows().count(), 55);
}
