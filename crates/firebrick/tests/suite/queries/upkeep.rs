//! An index follows every history of its documents, also over crashes.

use firebrick::Durability;
use firebrick::core::charwise::{self, Key};
use firebrick::store::SimFault;
use proptest::prelude::*;

use super::*;

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
