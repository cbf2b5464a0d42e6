//! Transactions and conditional writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use firebrick::store::{SimFault, SimStore};
use firebrick::{Database, Document, Durability, Error, Expected, Value};
use proptest::prelude::*;

use crate::common::doc;

fn number(id: impl Into<String>, n: i64) -> Document {
    Document::new().with("_id", id.into()).with("n", n)
}

fn n_of(doc: &Document) -> i64 {
    match doc.get("n") {
        Some(Value::Int(n)) => i64::try_from(*n).expect("is small"),
        other => panic!("no number: {other:?}"),
    }
}

async fn on_disk(dir: &std::path::Path) -> Database {
    Database::builder()
        .path(dir.join("db"))
        .keybag(dir.join("keys"))
        .open()
        .await
        .expect("opens")
}

/// Every task adds one, in memory and on a disk that is synced each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_increment_is_lost() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = on_disk(dir.path()).await;
    let memory = Database::memory("counter").await.expect("opens");
    for db in [memory, disk] {
        let tasks: Vec<_> = (0..48)
            .map(|task| {
                let db = db.clone();
                tokio::spawn(async move {
                    for round in 0..4 {
                        db.transaction(|tx| -> Result<(), Error> {
                            let now = tx.get::<Document>("count")?.map_or(0, |doc| n_of(&doc));
                            tx.put(&number("count", now + 1))?;
                            tx.put(&doc(format!("mark-{task}-{round}"), "done"))?;
                            Ok(())
                        })
                        .await
                        .expect("commits");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("ends");
        }
        let count: Document = db.get("count").await.expect("reads").expect("is there");
        assert_eq!(n_of(&count), 48 * 4);
        let marks = db.all_docs().prefix("mark-").count().expect("counts");
        assert_eq!(marks, 48 * 4);
        db.close().await.expect("closes");
    }
}

/// Money moves between accounts, accounts are opened and closed, audits run meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transfers_keep_the_sum() {
    const ACCOUNTS: usize = 8;
    let db = Database::memory("bank").await.expect("opens");
    let opening: Vec<Document> = (0..ACCOUNTS)
        .map(|n| number(format!("account-{n}"), 100))
        .collect();
    db.bulk(&opening).await.expect("is written");
    let tasks: Vec<_> = (0..24_usize)
        .map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                for round in 0..10_usize {
                    let from = format!("account-{}", (task * 7 + round) % ACCOUNTS);
                    let to = format!("account-{}", (task * 3 + round * 5 + 1) % (ACCOUNTS * 2));
                    db.transaction(|tx| -> Result<(), Error> {
                        let rows = tx.prefix::<Document>("account-")?;
                        let sum: i64 = rows
                            .iter()
                            .filter_map(|row| row.doc.as_ref())
                            .map(n_of)
                            .sum();
                        assert_eq!(sum, 100 * ACCOUNTS as i64, "an audit inside a transaction");
                        if from == to {
                            return Ok(());
                        }
                        let Some(source) = tx.get::<Document>(&from)? else {
                            return Ok(());
                        };
                        let amount = n_of(&source).min(30);
                        if amount == n_of(&source) {
                            tx.delete(&from)?;
                        } else {
                            tx.put(&number(&from, n_of(&source) - amount))?;
                        }
                        let had = tx.get::<Document>(&to)?.map_or(0, |doc| n_of(&doc));
                        tx.put(&number(&to, had + amount))?;
                        Ok(())
                    })
                    .await
                    .expect("commits");
                    let rows = db.all_docs().collect::<Document>().await.expect("lists");
                    let sum: i64 = rows
                        .iter()
                        .filter_map(|row| row.doc.as_ref())
                        .map(n_of)
                        .sum();
                    assert_eq!(sum, 100 * ACCOUNTS as i64, "an audit outside");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("ends");
    }
}

/// Two doctors are on call; each may leave if the other stays. Under snapshot isolation alone both
/// could leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_only_read_counts() {
    for round in 0..50 {
        let db = Database::memory(format!("shift-{round}"))
            .await
            .expect("opens");
        db.bulk(&[number("call-a", 1), number("call-b", 1)])
            .await
            .expect("is written");
        let leave = |own: &'static str, listed: bool| {
            let db = db.clone();
            tokio::spawn(async move {
                db.transaction(|tx| -> Result<(), Error> {
                    let on_call = if listed {
                        tx.prefix::<Document>("call-")?.len()
                    } else {
                        let both = [tx.get::<Document>("call-a")?, tx.get("call-b")?];
                        both.iter().flatten().count()
                    };
                    if on_call > 1 {
                        tx.delete(own)?;
                    }
                    Ok(())
                })
                .await
                .expect("commits");
            })
        };
        let (a, b) = (
            leave("call-a", round % 2 == 0),
            leave("call-b", round % 3 == 0),
        );
        a.await.expect("ends");
        b.await.expect("ends");
        assert_eq!(db.count().await.expect("counts"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_first_puts_one_wins() {
    let db = Database::memory("first").await.expect("opens");
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move { db.put_if(&number("lock", n), Expected::Absent).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.expect("ends") {
            Ok(_) => won += 1,
            Err(Error::Conflict { id }) => assert_eq!(id, "lock"),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn versions_guard_documents() {
    let db = Database::memory("guarded").await.expect("opens");
    let conflict = |result: Result<_, Error>| matches!(result, Err(Error::Conflict { .. }));
    let first = number("a", 1);
    db.put_if(&first, Expected::Absent)
        .await
        .expect("is written");
    assert!(conflict(db.put_if(&number("a", 2), Expected::Absent).await));
    let one = db
        .get_versioned::<Document>("a")
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(one.doc, first);
    db.put_if(&number("a", 2), Expected::Version(one.version))
        .await
        .expect("is written");
    assert!(conflict(
        db.delete_if("a", Expected::Version(one.version)).await
    ));
    let two = db
        .get_versioned::<Document>("a")
        .await
        .expect("reads")
        .expect("is there");
    db.delete_if("a", Expected::Version(two.version))
        .await
        .expect("is deleted");
    assert_eq!(
        db.get_versioned::<Document>("a").await.expect("reads"),
        None
    );
    assert!(conflict(
        db.put_if(&first, Expected::Version(two.version)).await
    ));
    db.put_if(&first, Expected::Absent)
        .await
        .expect("a deleted one is absent");
    let again = db
        .get_versioned::<Document>("a")
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(again.version, one.version, "equal content, equal version");
}

#[tokio::test]
async fn an_error_of_the_work_writes_nothing() {
    #[derive(Debug)]
    enum Refused {
        Poor,
        Other,
    }
    impl From<Error> for Refused {
        fn from(_: Error) -> Self {
            Refused::Other
        }
    }
    let db = Database::memory("refused").await.expect("opens");
    let before = db.put(&number("a", 1)).await.expect("is written");
    let result = db
        .transaction(|tx| -> Result<(), Refused> {
            tx.put(&number("a", 0)).map_err(Refused::from)?;
            assert_eq!(tx.get::<Document>("a")?.as_ref().map(n_of), Some(0));
            assert_eq!(tx.all_docs::<Document>()?.len(), 1);
            Err(Refused::Poor)
        })
        .await;
    assert!(matches!(result, Err(Refused::Poor)));
    assert_eq!(db.head(), before.head);
    let ((), written) = db
        .transaction(|_| -> Result<(), Error> { Ok(()) })
        .await
        .expect("ends");
    assert_eq!(written.head, before.head);
    assert!(written.ids.is_empty());
}

/// Something writes the document at every attempt.
#[tokio::test]
async fn it_gives_up_in_the_end() {
    let db = Database::memory("contended").await.expect("opens");
    db.put(&number("a", 0)).await.expect("is written");
    let mut runs: i64 = 0;
    let result = db
        .transaction(|tx| -> Result<(), Error> {
            let read = n_of(&tx.get::<Document>("a")?.expect("is there"));
            runs += 1;
            let next = number("a", read + 1);
            // A buffered write is done when it is first polled, budgets of the runtime aside.
            let other = tokio::task::unconstrained(db.put_with(&next, Durability::Buffered));
            futures_util::future::FutureExt::now_or_never(other).expect("is at once")?;
            tx.put(&number("a", -1))?;
            Ok(())
        })
        .await;
    assert!(matches!(result, Err(Error::Conflict { id }) if id == "a"));
    assert_eq!(runs, 64);
    let left = db
        .get::<Document>("a")
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(n_of(&left), 64);
}

/// One event, in the format's form: a put for one document, else a batch.
#[tokio::test]
async fn a_transaction_is_one_event() {
    let db = Database::memory("event").await.expect("opens");
    for ids in [&["a"][..], &["a", "b", "c"]] {
        let before = db.sequence();
        let (_, written) = db
            .transaction(|tx| -> Result<(), Error> {
                for id in ids {
                    tx.put(&doc(*id, format!("{} of them", ids.len())))?;
                    tx.put(&doc(*id, format!("{} of them, twice", ids.len())))?;
                }
                Ok(())
            })
            .await
            .expect("commits");
        assert_eq!(written.ids, ids);
        assert_eq!(written.head.len(), 1);
        assert_eq!(db.sequence(), before + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// A crash at any call of the store leaves each transaction whole or not there, and none that
    /// was acknowledged is gone.
    #[test]
    fn a_crash_leaves_whole_transactions(
        sizes in prop::collection::vec(1_usize..6, 1..12),
        at in 0_u64..30,
        fault in prop::sample::select(vec![
            SimFault::CrashBefore, SimFault::CrashAfter, SimFault::Io, SimFault::IoAfter,
        ]),
        random in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let store = SimStore::new();
            let open = |store: SimStore| async move {
                let builder = Database::builder().name("crashing").insecure(true);
                builder.store(Arc::new(store)).open().await.expect("opens")
            };
            let db = open(store.reopen()).await;
            store.fail_call(at, fault);
            let mut acknowledged = BTreeSet::new();
            for (n, size) in sizes.iter().enumerate() {
                let result = db.transaction(|tx| -> Result<(), Error> {
                    let sum = tx.get::<Document>("sum")?.map_or(0, |doc| n_of(&doc));
                    for part in 0..*size {
                        tx.put(&number(format!("row-{n}-{part}"), 1))?;
                    }
                    tx.put(&number("sum", sum + *size as i64))?;
                    Ok(())
                }).await;
                if result.is_ok() {
                    acknowledged.insert(n);
                }
            }
            drop(db);
            store.crash(random);
            store.heal();
            let db = open(store.reopen()).await;
            let sum = db.get::<Document>("sum").await.expect("reads").map_or(0, |doc| n_of(&doc));
            let rows = db.all_docs().prefix("row-").count().expect("counts");
            assert_eq!(sum, rows as i64);
            for (n, size) in sizes.iter().enumerate() {
                let here = db.all_docs().prefix(format!("row-{n}-")).count().expect("counts");
                assert!(here == 0 || here == *size, "{here} of {size}");
                assert!(here == *size || !acknowledged.contains(&n), "{n} was acknowledged");
            }
        });
    }
}
