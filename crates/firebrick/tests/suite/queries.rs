//! Indexes and queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebrick::core::cbor::from_slice;
use firebrick::core::charwise::{self, Key};
use firebrick::core::ordered::{Node, NodeSource, Tree, TreeError};
use firebrick::store::{MemoryStore, SimFault, SimStore, Store};
use firebrick::{
    Cid, Database, Document, Durability, Error, Index, IndexRow, IndexStatus, Query, Value,
};
use futures_util::TryStreamExt;
use proptest::prelude::*;
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

/// What the index must hold, from nothing but the documents.
async fn expected(db: &Database, field: &str, each: bool) -> Vec<(Value, String)> {
    let docs = db.all_docs().collect::<Document>().await.expect("reads");
    let mut rows = Vec::new();
    for row in docs {
        let doc = row.doc.expect("not deleted");
        let values = match doc.get(field) {
            None | Some(Value::Null) => vec![],
            Some(Value::List(items)) if each => items.clone(),
            Some(value) => vec![value.clone()],
        };
        for value in values.iter().filter(|value| !value.is_null()) {
            if let Ok(key) = Key::try_from(value) {
                rows.push((charwise::encode(&key), row.id.clone()));
            }
        }
    }
    rows.sort_by(|a, b| charwise::cmp(&a.0, &b.0).then_with(|| a.1.cmp(&b.1)));
    let shown = |text: &str| Value::from(&charwise::decode(text).expect("a key"));
    rows.into_iter()
        .map(|(key, id)| (shown(&key), id))
        .collect()
}

async fn check(db: &Database) {
    for each in [false, true] {
        let index = || match each {
            true => Index::field("v").each(),
            false => Index::field("v"),
        };
        let rows: Vec<Row> = db.query(index()).collect().await.expect("answers");
        let rows: Vec<_> = rows.into_iter().map(|row| (row.key, row.id)).collect();
        let expected = expected(db, "v", each).await;
        assert_eq!(format!("{rows:?}"), format!("{expected:?}"));
        let count = db.query(index()).count().await.expect("counts");
        assert_eq!(count, expected.len() as u64);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8, Option<serde_json::Value>),
    Delete(usize, u8),
    Bulk(usize, u8),
    Sync(usize),
    Reopen(usize),
    Check(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop::option::of(prop_oneof![
        (-3..3_i32).prop_map(|n| json!(n)),
        "[a!\"é😀\u{e000}\u{0}]{0,2}".prop_map(|text| json!(text)),
        prop::collection::vec(-2..2_i32, 0..4).prop_map(|list| json!(list)),
        Just(json!({"no": "key"})),
        Just(json!([null, true, [1, "x"], {"no": 1}])),
    ]);
    let step = prop_oneof![
        6 => (0..2_usize, 0..12_u8, value).prop_map(|(db, id, value)| Step::Put(db, id, value)),
        2 => (0..2_usize, 0..12_u8).prop_map(|(db, id)| Step::Delete(db, id)),
        1 => (0..2_usize, any::<u8>()).prop_map(|(db, seed)| Step::Bulk(db, seed)),
        3 => (0..2_usize).prop_map(Step::Sync),
        1 => (0..2_usize).prop_map(Step::Reopen),
        2 => (0..2_usize).prop_map(Step::Check),
    ];
    prop::collection::vec(step, 1..30)
}

struct Replica {
    db: Database,
    store: Arc<MemoryStore>,
}

impl Replica {
    async fn open(store: MemoryStore, key: &str) -> Self {
        let store = Arc::new(store);
        let db = Database::builder()
            .name("replica")
            .store(store.clone() as Arc<dyn Store>)
            .durability(Durability::Buffered)
            .open()
            .await
            .expect("opens");
        db.keys().import(key).expect("a key");
        Self { db, store }
    }
}

async fn run(steps: Vec<Step>, remote: &str) {
    let key = Database::memory("k")
        .await
        .expect("opens")
        .keys()
        .export()
        .expect("a key");
    let mut replicas = [
        Replica::open(MemoryStore::new(), &key).await,
        Replica::open(MemoryStore::new(), &key).await,
    ];
    for step in steps {
        match step {
            Step::Put(at, id, value) => {
                let mut json = json!({"_id": format!("d{id}")});
                if let Some(value) = value {
                    json["v"] = value;
                }
                replicas[at].db.put(&doc(&json)).await.expect("writes");
            }
            Step::Delete(at, id) => {
                replicas[at]
                    .db
                    .delete(&format!("d{id}"))
                    .await
                    .expect("deletes");
            }
            Step::Bulk(at, seed) => {
                let docs: Vec<_> = (0..60)
                    .map(|n| doc(&json!({"_id": format!("b{n}"), "v": n ^ seed})))
                    .collect();
                replicas[at].db.bulk(&docs).await.expect("writes");
            }
            Step::Sync(at) => {
                let attachment = replicas[at].db.attach(remote).expect("attaches");
                attachment.synced().await.expect("syncs");
                attachment.detach().await;
            }
            Step::Reopen(at) => {
                // As after a crash: nothing is closed.
                let store = replicas[at].store.copy();
                replicas[at] = Replica::open(store, &key).await;
            }
            Step::Check(at) => check(&replicas[at].db).await,
        }
    }
    for replica in &replicas {
        check(&replica.db).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever way the documents came about, the index that followed them is the one that a look
    /// at all documents gives.
    #[test]
    fn indexes_follow_any_history(steps in steps(), name in "[a-z]{20}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(steps, &format!("memory://query-{name}")));
    }
}

#[tokio::test]
async fn crashes_leave_an_index_that_catches_up() {
    for seed in 0..12_u64 {
        let mut store = Arc::new(SimStore::new());
        let open = |store: &Arc<SimStore>| {
            let store = Arc::clone(store) as Arc<dyn Store>;
            Database::builder().name("crash").store(store).open()
        };
        let mut db = open(&store).await.expect("opens");
        for round in 0..6_u64 {
            for n in 0..20_u64 {
                let id = (n * 7 + round * 3 + seed) % 40;
                let put = doc(&json!({"_id": format!("d{id}"), "v": (n * n + round + seed) % 17}));
                let durability = [Durability::Sync, Durability::Buffered][(n % 2) as usize];
                db.put_with(&put, durability).await.expect("writes");
                if n == 10 && round % 2 == 0 {
                    check(&db).await;
                }
            }
            // Some of what was not synced is lost, as the seed wants it.
            let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(round);
            store.crash(random);
            store = Arc::new(store.reopen());
            db = open(&store).await.expect("opens after a crash");
            check(&db).await;
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_call_leaves_an_index_that_catches_up() {
    for (call, fault) in (0..40)
        .flat_map(|call| [SimFault::CrashBefore, SimFault::CrashAfter].map(|fault| (call, fault)))
    {
        let store = Arc::new(SimStore::new());
        let open = |store: &Arc<SimStore>| {
            let store = Arc::clone(store) as Arc<dyn Store>;
            Database::builder().name("crash").store(store).open()
        };
        let db = open(&store).await.expect("opens");
        store.fail_call(call, fault);
        for n in 0..10 {
            let put = doc(&json!({"_id": format!("d{}", n % 4), "v": n}));
            // From some write or query on, the process is dead.
            let _ = db.put(&put).await;
            let _ = db.query("v").count().await;
            if n == 5 {
                let _ = db.drop_index("v");
            }
        }
        store.heal();
        let store = Arc::new(store.reopen());
        let db = open(&store).await.expect("opens after a crash");
        check(&db).await;
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
