//! Indexes and queries: what they answer, and what goes wrong with an index.

mod golden;
mod live;
mod upkeep;

use std::sync::Arc;

use firebrick::core::cbor::from_slice;
use firebrick::core::ordered::{Node, NodeSource, Tree, TreeError};
use firebrick::store::{MemoryStore, SimStore, Store};
use firebrick::{Cid, Database, Document, Error, Index, IndexRow, IndexStatus, Query, Value};
use futures_util::TryStreamExt;
use serde_json::json;

type Row = IndexRow<Document>;

fn doc(json: &serde_json::Value) -> Document {
    Document::from_json(json).expect("an object")
}

async fn people() -> Database {
    let db = Database::memory("people").await.expect("opens");
    let docs = [
        json!({"_id": "ann", "age": 31, "name": {"last": "Lee"}, "tags": ["a", "b"]}),
        json!({"_id": "bob", "age": 25, "name": {"last": "Ray"}, "tags": ["b"]}),
        json!({"_id": "cy", "age": 40, "name": {"last": "Lee"}, "tags": []}),
        json!({"_id": "di", "age": "old", "tags": "b"}),
        json!({"_id": "ed", "age": null}),
        json!({"_id": "flo", "age": 31, "name": {"last": null}}),
        json!({"_id": "gus", "age": {"years": 3}}),
    ];
    db.bulk(&docs.map(|json| doc(&json))).await.expect("writes");
    db
}

async fn ids(query: Query) -> String {
    let rows: Vec<Row> = query.collect().await.expect("answers");
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    ids.join(" ")
}

#[tokio::test]
async fn rows_come_by_key_and_by_what_is_asked() {
    let db = people().await;
    let age = || db.query("age");
    assert_eq!(ids(age()).await, "bob ann flo cy di");
    assert_eq!(ids(age().descending()).await, "di cy flo ann bob");
    assert_eq!(ids(age().key(31)).await, "ann flo");
    assert_eq!(ids(age().keys([40, 25, 7])).await, "cy bob");
    assert_eq!(ids(age().keys([31, 25]).descending()).await, "flo ann bob");
    assert_eq!(ids(age().range(31..)).await, "ann flo cy di");
    assert_eq!(ids(age().range(25..31)).await, "bob");
    assert_eq!(ids(age().range(25..=31)).await, "bob ann flo");
    assert_eq!(ids(age().range(..31)).await, "bob");
    assert_eq!(
        ids(age().range(Value::from(40)..Value::from("z"))).await,
        "cy di"
    );
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 31..25;
    assert_eq!(ids(age().range(reversed)).await, "");
    assert_eq!(ids(age().limit(2)).await, "bob ann");
    assert_eq!(ids(age().limit(2).descending()).await, "di cy");
    assert_eq!(ids(age().offset(1).limit(2)).await, "ann flo");
    assert_eq!(ids(age().offset(3).descending()).await, "ann bob");
    assert_eq!(ids(age().limit(0)).await, "");
    assert_eq!(ids(age().keys([31, 25]).offset(1).limit(1)).await, "flo");
    assert_eq!(ids(db.query(Index::path("name.last"))).await, "ann cy bob");
    assert_eq!(
        ids(db.query(Index::paths(["name.last", "age"])).prefix("Lee")).await,
        "ann cy"
    );
    assert_eq!(
        ids(db
            .query(Index::paths(["name.last", "age"]))
            .prefix(Value::Null))
        .await,
        "flo di gus".replace(" gus", "")
    );
    assert_eq!(
        ids(db.query(Index::field("tags").each()).key("b")).await,
        "ann bob di"
    );
    assert_eq!(ids(db.query("absent")).await, "");

    let rows: Vec<Row> = age()
        .key(25)
        .include_docs()
        .collect()
        .await
        .expect("answers");
    let expected = Row {
        key: Value::from(25),
        id: "bob".into(),
        value: Value::Null,
        doc: db.get("bob").await.expect("reads"),
    };
    assert_eq!(rows, [expected]);
    let streamed: Vec<Row> = age().stream().try_collect().await.expect("streams");
    assert_eq!(streamed.len(), 5);
    for (query, count) in [
        (age(), 5),
        (age().range(31..40), 2),
        (age().offset(4), 1),
        (age().limit(3), 3),
        (age().keys([31, 31]), 4),
    ] {
        assert_eq!(query.count().await.expect("counts"), count);
    }
}

#[tokio::test]
async fn pages_follow_each_other_whatever_happens_between() {
    let db = people().await;
    for descending in [false, true] {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let mut query = db.query("age").limit(2);
            if descending {
                query = query.descending();
            }
            if let Some(cursor) = &cursor {
                query = query.after(cursor);
            }
            let page = query.page::<Document>().await.expect("answers");
            seen.extend(page.rows.into_iter().map(|row| row.id));
            if page.cursor.is_none() {
                break;
            }
            cursor = page.cursor;
        }
        let expected = if descending {
            "di cy flo ann bob"
        } else {
            "bob ann flo cy di"
        };
        assert_eq!(seen.join(" "), expected);
    }
    let page = db
        .query("age")
        .limit(2)
        .page::<Document>()
        .await
        .expect("answers");
    db.delete("ann").await.expect("deletes");
    let cursor = page.cursor.expect("there is more");
    assert_eq!(ids(db.query("age").after(cursor)).await, "flo cy di");
    let refused = db
        .query("age")
        .after("nonsense")
        .collect::<Document>()
        .await;
    assert!(matches!(refused, Err(Error::Config(_))), "{refused:?}");
}

#[tokio::test]
async fn the_rules_of_the_javascript_options() {
    let db = people().await;
    let with = |options: serde_json::Value| {
        let options = Value::from_json(&options).expect("a value");
        ids(db.query("age").options(&options))
    };
    assert_eq!(with(json!({"range": [25, 31]})).await, "bob ann flo");
    assert_eq!(with(json!({"key": 0})).await, "bob ann flo cy di");
    assert_eq!(with(json!({"limit": 0})).await, "bob ann flo cy di");
    assert_eq!(with(json!({"keys": [31], "limit": 0})).await, "");
    assert_eq!(
        with(json!({"key": 31, "descending": true, "limit": 1})).await,
        "flo"
    );
    let rows: Vec<Row> = db
        .query("age")
        .options(&Value::from_json(&json!({"key": 40})).expect("a value"))
        .collect()
        .await
        .expect("answers");
    assert!(
        rows[0].doc.is_some(),
        "documents come unless it says otherwise"
    );
}

#[tokio::test]
async fn values_that_cannot_be_keys() {
    let db = people().await;
    let map: Value = [("a", 1)].into_iter().collect();
    for query in [
        db.query("age").key(map.clone()),
        db.query("age").keys([Value::Bytes(vec![1])]),
        db.query("age").range(map.clone()..),
        db.query("age").prefix(Value::List(vec![map.clone()])),
    ] {
        let refused = query.collect::<Document>().await;
        assert!(matches!(refused, Err(Error::QueryKey(_))), "{refused:?}");
    }
    let explained = db.query("age").explain().await.expect("explains");
    assert_eq!(explained.status, IndexStatus::Idle);
    assert_eq!(ids(db.query("age").limit(1)).await, "bob");
    let explained = db
        .query("age")
        .range(30..)
        .explain()
        .await
        .expect("explains");
    assert_eq!(explained.status, IndexStatus::Ready);
    assert_eq!(
        (explained.rows, explained.index_rows, explained.skipped),
        (4, 5, 1)
    );
    db.delete("gus").await.expect("deletes");
    let explained = db.query("age").explain().await.expect("explains");
    assert_eq!(explained.skipped, 0);
}

fn by_tag(version: u64) -> Index {
    Index::map("by-tag", version, move |doc, emit| {
        if let Some(Value::List(tags)) = doc.get("tags") {
            for tag in tags {
                emit.row(tag.clone(), version);
            }
        }
    })
}

#[tokio::test]
async fn functions_are_kept_over_openings_and_made_anew_with_their_version() {
    let store = Arc::new(MemoryStore::new());
    let open = |store: Arc<MemoryStore>, index: Option<Index>| async move {
        let mut builder = Database::builder().name("tags").store(store);
        if let Some(index) = index {
            builder = builder.index(index);
        }
        builder.open().await.expect("opens")
    };
    let db = open(Arc::clone(&store), Some(by_tag(1))).await;
    db.put(&doc(&json!({"_id": "a", "tags": ["x", "y", "x"]})))
        .await
        .expect("writes");
    let rows: Vec<Row> = db.query("by-tag").collect().await.expect("answers");
    let found: Vec<_> = rows.iter().map(|row| (&row.key, &row.value)).collect();
    let (x, y, one) = (Value::from("x"), Value::from("y"), Value::from(1));
    assert_eq!(found, [(&x, &one), (&x, &one), (&y, &one)]);
    db.put(&doc(&json!({"_id": "a", "tags": ["x", "z"]})))
        .await
        .expect("writes");
    assert_eq!(ids(db.query("by-tag").key("x")).await, "a");
    assert_eq!(ids(db.query("by-tag").key("y")).await, "");
    db.close().await.expect("closes");

    // Not registered: it falls behind, and is known.
    let store = Arc::new(store.copy());
    let db = open(Arc::clone(&store), None).await;
    db.put(&doc(&json!({"_id": "b", "tags": ["z"]})))
        .await
        .expect("writes");
    let info = &db.indexes()[0];
    assert_eq!(
        (info.name.as_str(), &info.status),
        ("by-tag", &IndexStatus::Unregistered)
    );
    db.close().await.expect("closes");

    let store = Arc::new(store.copy());
    let db = open(Arc::clone(&store), Some(by_tag(1))).await;
    assert_eq!(ids(db.query("by-tag").key("z")).await, "a b");
    db.close().await.expect("closes");

    let store = Arc::new(store.copy());
    let db = open(Arc::clone(&store), Some(by_tag(2))).await;
    let rows: Vec<Row> = db
        .query("by-tag")
        .key("z")
        .collect()
        .await
        .expect("answers");
    assert!(rows.len() == 2 && rows.iter().all(|row| row.value == Value::from(2)));
    let other = db.query(by_tag(3)).collect::<Document>().await;
    assert!(matches!(other, Err(Error::Config(_))), "{other:?}");

    assert!(db.drop_index("by-tag").expect("drops"));
    assert_eq!(store.kv_prefix("index/"), []);
    assert!(
        db.drop_index("by-tag").expect("drops"),
        "it is still registered"
    );
    assert_eq!(ids(db.query("by-tag").key("z")).await, "a b");
    assert!(!db.drop_index("never").expect("drops"));
}

#[tokio::test]
async fn a_function_that_panics_harms_only_its_index() {
    let moody = Index::map("moody", 1, |doc, emit| {
        assert!(doc.get("bad").is_none(), "I do not like it");
        emit.key(true);
    });
    let db = Database::builder()
        .name("moody")
        .index(moody)
        .open()
        .await
        .expect("opens");
    db.put(&doc(&json!({"_id": "a"}))).await.expect("writes");
    assert_eq!(ids(db.query("moody")).await, "a");
    db.put(&doc(&json!({"_id": "b", "bad": 1})))
        .await
        .expect("a write is none of its business");
    for _ in 0..2 {
        let Err(Error::IndexFailed { name, cause }) = db.query("moody").count().await else {
            panic!("it has failed");
        };
        assert_eq!(name, "moody");
        assert!(
            cause.contains("\"b\"") && cause.contains("I do not like it"),
            "{cause}"
        );
    }
    let explained = db.query("moody").explain().await.expect("explains");
    assert!(
        matches!(explained.status, IndexStatus::Failed { .. }),
        "{explained:?}"
    );
    assert_eq!(ids(db.query("_id")).await, "a b");
    db.put(&doc(&json!({"_id": "b"}))).await.expect("writes");
    assert!(db.drop_index("moody").expect("drops"));
    assert_eq!(ids(db.query("moody")).await, "a b");
}

#[tokio::test]
async fn a_function_that_contradicts_itself_is_found_out() {
    let turn = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let fickle = Index::map("fickle", 1, move |_, emit| {
        emit.key(turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    });
    let db = Database::builder()
        .name("fickle")
        .index(fickle)
        .open()
        .await
        .expect("opens");
    db.put(&doc(&json!({"_id": "a", "n": 1})))
        .await
        .expect("writes");
    assert_eq!(ids(db.query("fickle")).await, "a");
    db.put(&doc(&json!({"_id": "a", "n": 2})))
        .await
        .expect("writes");
    // Made anew: one row, not an old one beside a new one.
    assert_eq!(ids(db.query("fickle")).await, "a");
}

/// The nodes of an index, as a store has them.
struct Nodes<'a>(&'a SimStore);

impl NodeSource for Nodes<'_> {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>, TreeError> {
        let bytes = self
            .0
            .block(cid)
            .expect("reads")
            .ok_or(TreeError::Missing(*cid))?;
        Ok(Arc::new(Node::decode(&bytes).expect("a node")))
    }
}

#[tokio::test]
async fn damaged_indexes_are_made_anew() {
    let store = Arc::new(SimStore::new());
    let open = |store: &Arc<SimStore>| {
        let store = Arc::clone(store) as Arc<dyn Store>;
        Database::builder().name("damaged").store(store).open()
    };
    let db = open(&store).await.expect("opens");
    let docs: Vec<_> = (0..3000)
        .map(|n| doc(&json!({"_id": format!("d{n:04}"), "n": n})))
        .collect();
    db.bulk(&docs).await.expect("writes");
    assert_eq!(db.query("n").count().await.expect("counts"), 3000);
    db.close().await.expect("closes");
    let mut store = Arc::new(store.reopen());
    for skip in [0, 1] {
        // The root and all below, or all but the root.
        let (_, record) = store.kv_prefix("index/").remove(0);
        let record: Value = from_slice(&record).expect("a record");
        let Value::Link(root) = &record.as_list().expect("a list")[2] else {
            panic!("{record:?}");
        };
        let mut nodes = Vec::new();
        let tree = Tree::at(&Nodes(&store), root.cid().expect("a CID")).expect("reads");
        tree.nodes(&Nodes(&store), &mut |cid| nodes.push(cid))
            .expect("reads");
        assert!(nodes.len() > 5, "{nodes:?}");
        for cid in &nodes[skip..] {
            store.damage(cid);
        }
        let db = open(&store).await.expect("opens");
        let rows: Vec<Row> = db
            .query("n")
            .range(10..20)
            .collect()
            .await
            .expect("answers");
        assert_eq!(rows.len(), 10);
        assert_eq!(ids(db.query("n").key(2999)).await, "d2999");
        db.close().await.expect("closes");
        store = Arc::new(store.reopen());
    }
}

#[tokio::test]
async fn a_snapshot_of_rows_does_not_move() {
    let db = people().await;
    let mut rows = db.query("age").rows::<Document>().await.expect("answers");
    db.delete("cy").await.expect("deletes");
    db.put(&doc(&json!({"_id": "bob", "age": 99})))
        .await
        .expect("writes");
    let seen: Vec<_> = rows.by_ref().map(|row| row.expect("reads").id).collect();
    assert_eq!(seen.join(" "), "bob ann flo cy di");
}
