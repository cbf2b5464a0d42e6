//! Documents in and out: types, ids, listings, changes, subscriptions, groups of writers.

use std::collections::BTreeMap;

use firebrick::{
    ChangeSet, Cid, Database, Document, Durability, Error, Event, Link, Origin, Row, Subscription,
    Value,
};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::common::{Bed, Kind, converge, doc, synced};

async fn memory(name: &str) -> Database {
    Database::memory(name).await.expect("opens")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Box { width: u32, height: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    tags: Vec<String>,
    by_name: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    _id: String,
    none: Option<String>,
    some: Option<u8>,
    shapes: Vec<Shape>,
    inner: Inner,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    link: Link,
    large: u64,
    small: i64,
    float: f64,
    date: String,
    flag: bool,
    pair: (String, i32),
}

fn everything() -> Everything {
    Everything {
        _id: "everything".into(),
        none: None,
        some: Some(7),
        shapes: vec![
            Shape::Point,
            Shape::Circle(1.5),
            Shape::Box {
                width: 2,
                height: 3,
            },
        ],
        inner: Inner {
            tags: vec!["ü".into(), String::new()],
            by_name: BTreeMap::from([("z".into(), -1), ("a".into(), 1)]),
        },
        bytes: vec![0, 255, 1],
        link: Link::from(Cid::of(firebrick::core::cid::Codec::Raw, b"x")),
        large: u64::MAX,
        small: i64::MIN,
        float: -0.25,
        date: "2024-02-29T12:00:00.000Z".into(),
        flag: true,
        pair: ("p".into(), -5),
    }
}

#[tokio::test]
async fn typed_documents_come_back_as_they_were() {
    let db = memory("typed").await;
    let full = everything();
    db.put(&full).await.expect("is written");
    let back: Option<Everything> = db.get("everything").await.expect("reads");
    assert_eq!(back, Some(full.clone()));

    // The same document without its type, and written again from that.
    let dynamic: Document = db
        .get("everything")
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(dynamic.get("none"), Some(&Value::Null));
    assert_eq!(dynamic.get("bytes"), Some(&Value::Bytes(vec![0, 255, 1])));
    assert_eq!(
        dynamic.get("large"),
        Some(&Value::Int(i128::from(u64::MAX)))
    );
    assert_eq!(dynamic.get("link"), Some(&Value::Link(full.link.clone())));
    let json = dynamic.to_json();
    assert_eq!(json["large"], json!({"$bigint": "18446744073709551615"}));
    assert_eq!(json["bytes"], json!({"/": {"bytes": "AP8B"}}));
    let root = db.root();
    db.put(&Document::from_json(&json).expect("is a document"))
        .await
        .expect("is written");
    assert_eq!(db.root(), root, "the same document has the same bytes");

    let wrong = db.get::<BTreeMap<String, u8>>("everything").await;
    assert!(matches!(wrong, Err(Error::Document(_))), "{wrong:?}");
}

#[tokio::test]
async fn missing_null_and_nan_follow_the_rules_of_the_format() {
    #[derive(Serialize)]
    struct Sparse {
        _id: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
        null: Option<u8>,
        nan: f64,
        whole: f64,
    }
    let db = memory("sparse").await;
    let sparse = Sparse {
        _id: "sparse",
        left_out: None,
        null: None,
        nan: f64::NAN,
        whole: 2.0,
    };
    db.put(&sparse).await.expect("is written");
    let back: Document = db.get("sparse").await.expect("reads").expect("is there");
    assert_eq!(
        back.to_json(),
        json!({"_id": "sparse", "null": null, "whole": 2})
    );
    let number = BTreeMap::from([("_id", 42)]);
    let written = db.put(&number).await.expect("a number is an id too");
    assert_eq!(written.id(), "42");
}

#[tokio::test]
async fn generated_ids_sort_by_time() {
    let db = memory("ids").await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let written = db
            .put(&Document::new().with("n", n))
            .await
            .expect("is written");
        let id = written.id().to_owned();
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'7', "{id}");
        let back: Document = db.get(&id).await.expect("reads").expect("is there");
        assert_eq!(back.id(), Some(id.as_str()));
        ids.push(id);
        if n % 5 == 4 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    // Within a millisecond the order is left to chance.
    let times: Vec<&str> = ids.iter().map(|id| &id[..13]).collect();
    assert!(times.is_sorted(), "{ids:?}");
    assert_eq!(
        ids.iter().collect::<std::collections::BTreeSet<_>>().len(),
        20
    );
}

fn ids<T>(rows: &[Row<T>]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

#[tokio::test]
async fn listings() {
    let db = memory("listings").await;
    let docs: Vec<Document> = ["b/1", "a/3", "a/1", "c", "a/2", "a"]
        .map(|id| doc(id, id))
        .into();
    db.bulk(&docs).await.expect("is written");
    db.delete("a/2").await.expect("is deleted");
    let all = db.all_docs().collect::<Document>().await.expect("lists");
    assert_eq!(ids(&all), ["a", "a/1", "a/3", "b/1", "c"]);
    let with_deleted = db.all_docs().include_deleted(true);
    let with_deleted = with_deleted.collect::<Document>().await.expect("lists");
    assert_eq!(ids(&with_deleted), ["a", "a/1", "a/2", "a/3", "b/1", "c"]);
    assert!(with_deleted[2].doc.is_none());

    let listing = || db.all_docs().prefix("a/");
    assert_eq!(listing().ids().await.expect("lists"), ["a/1", "a/3"]);
    assert_eq!(listing().after("a/1").ids().await.expect("lists"), ["a/3"]);
    assert_eq!(
        listing().after("a").ids().await.expect("lists"),
        ["a/1", "a/3"]
    );
    assert!(listing().after("b").ids().await.expect("lists").is_empty());
    assert_eq!(
        listing()
            .limit(1)
            .collect::<Document>()
            .await
            .expect("lists")[0]
            .id,
        "a/1"
    );
    assert_eq!(
        db.all_docs()
            .after("a/2")
            .limit(2)
            .ids()
            .await
            .expect("lists"),
        ["a/3", "b/1"]
    );
    for limit in 0..7 {
        let limited = || db.all_docs().limit(limit);
        let expected = limit.min(5);
        assert_eq!(limited().ids().await.expect("lists").len(), expected);
        assert_eq!(limited().count().expect("counts"), expected);
        let rows = limited().collect::<Document>().await.expect("lists");
        assert_eq!(rows.len(), expected);
    }
    assert!(
        db.all_docs()
            .prefix("nothing")
            .ids()
            .await
            .expect("lists")
            .is_empty()
    );
}

#[tokio::test]
async fn a_stream_shows_one_version_in_pages_of_any_size() {
    let db = memory("stream").await;
    let docs: Vec<Document> = (0..3000).map(|n| doc(format!("{n:05}"), "old")).collect();
    db.bulk(&docs).await.expect("is written");
    // Many deletions in a row fill no page.
    for n in 500..600 {
        db.delete(&format!("{n:05}")).await.expect("is deleted");
    }
    let mut stream = db.all_docs().stream::<Document>();
    let mut seen = Vec::new();
    while let Some(row) = stream.next().await {
        let row = row.expect("reads");
        if seen.is_empty() {
            db.put(&doc("02999", "new")).await.expect("is written");
            db.put(&doc("99999", "new")).await.expect("is written");
        }
        assert_eq!(
            row.doc.as_ref().and_then(|doc| doc.get("value")),
            Some(&"old".into())
        );
        seen.push(row.id);
    }
    let expected: Vec<String> = (0..3000)
        .filter(|n| !(500..600).contains(n))
        .map(|n| format!("{n:05}"))
        .collect();
    assert_eq!(seen, expected);
    // Page by page, as an app does.
    let (mut paged, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut listing = db.all_docs().limit(77);
        if let Some(after) = after.take() {
            listing = listing.after(after);
        }
        let page = listing.ids().await.expect("lists");
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        paged.extend(page);
    }
    assert_eq!(paged.len(), 2901);
}

#[tokio::test]
async fn changes_since_a_head() {
    let db = memory("changes").await;
    assert!(
        db.changes(&[])
            .collect::<Document>()
            .await
            .expect("lists")
            .is_empty()
    );
    db.put(&doc("a", "1")).await.expect("is written");
    let first = db.head();
    db.put(&doc("b", "1")).await.expect("is written");
    db.delete("a").await.expect("is deleted");
    let since = db.changes(&first);
    assert_eq!(since.head(), db.head());
    let rows = since.collect::<Document>().await.expect("lists");
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.id.as_str(), row.doc.is_some()))
        .collect();
    assert_eq!(shown, [("b", true), ("a", false)]);
    assert_eq!(vec![rows[1].clock], db.head());
    let last = db
        .changes(&[])
        .limit(1)
        .collect::<Document>()
        .await
        .expect("lists");
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].id, "a");
    assert!(
        db.changes(&db.head())
            .collect::<Document>()
            .await
            .expect("lists")
            .is_empty()
    );
    let unknown = Cid::of(firebrick::core::cid::Codec::DagCbor, b"unknown");
    // A head that is not known excludes nothing.
    let rows = db.changes(&[unknown]).collect::<Document>().await;
    assert!(rows.is_ok_and(|rows| rows.len() == 2));
}

async fn next(events: &mut Subscription) -> ChangeSet {
    loop {
        match events.next().await.expect("is open").expect("computes") {
            Event::Changes(set) => return set,
            Event::Lagged { .. } => {}
        }
    }
}

#[tokio::test]
async fn subscribers_are_told_who_changed_what() {
    let bed = Bed::new(Kind::Memory).await;
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    let mut events = b.subscribe();
    a.bulk(&[doc("x", "1"), doc("y", "1")])
        .await
        .expect("is written");
    let hub = bed.remote("hub");
    let remote = || {
        firebrick::Remote::url(hub.as_str())
            .expect("is a URL")
            .name("hub")
    };
    let to_a = a.attach(remote()).expect("attaches");
    synced(std::slice::from_ref(&to_a)).await;
    let to_b = b.attach(remote()).expect("attaches");
    // The first sync into an empty database is reported like any other.
    let set = next(&mut events).await;
    assert_eq!(set.origin, Origin::Remote("hub".into()));
    let of = |set: &ChangeSet| -> Vec<(String, bool)> {
        set.changes
            .iter()
            .map(|change| (change.id.clone(), change.deleted))
            .collect()
    };
    assert_eq!(of(&set), [("x".into(), false), ("y".into(), false)]);
    b.delete("x").await.expect("is deleted");
    let set = next(&mut events).await;
    assert_eq!(
        (set.origin.clone(), of(&set)),
        (Origin::Local, vec![("x".into(), true)])
    );
    assert_eq!(set.head, b.head());
    synced(&[to_b]).await;
    // What loses a merge is not a change.
    converge(&[a.clone(), b.clone()]).await;
    a.put(&doc("z", "1")).await.expect("is written");
    synced(&[to_a]).await;
    let set = next(&mut events).await;
    assert_eq!(of(&set), [("z".into(), false)]);
    let mut second = b.subscribe();
    b.close().await.expect("closes");
    assert!(events.next().await.is_none());
    assert!(second.next().await.is_none());
    assert!(
        b.subscribe().next().await.is_none(),
        "nor after the closing"
    );
    a.close().await.expect("closes");
}

#[tokio::test]
async fn a_bulk_write_is_one_step_for_everyone() {
    let db = memory("atomic").await;
    let mut events = db.subscribe();
    let docs: Vec<Document> = (0..500).map(|n| doc(format!("{n:04}"), "v")).collect();
    let before = db.head();
    let written = db.bulk(&docs).await.expect("is written");
    assert_eq!(written.ids.len(), 500);
    assert_eq!(next(&mut events).await.changes.len(), 500);
    // One bad document, and nothing of its call is written.
    let head = db.head();
    assert_ne!(head, before);
    let bad = [doc("ok", "v"), doc("nicht druckbar: ü", "v")];
    assert!(matches!(db.bulk(&bad).await, Err(Error::Document(_))));
    assert_eq!(db.head(), head);
    assert_eq!(db.get::<Document>("ok").await.expect("reads"), None);
    let none: [Document; 0] = [];
    assert!(matches!(db.bulk(&none).await, Err(Error::Config(_))));
    // The same id twice: the last one counts.
    db.bulk(&[doc("twice", "1"), doc("twice", "2")])
        .await
        .expect("is written");
    let twice: Document = db.get("twice").await.expect("reads").expect("is there");
    assert_eq!(twice.get("value"), Some(&"2".into()));
}

/// Writers that wait at the same time share events and syncs, and fail alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_writers_shares_commits() {
    let bed = Bed::new(Kind::Memory).await;
    for durability in [Durability::Sync, Durability::Buffered] {
        let name = format!("crowd-{durability:?}");
        let db = bed.open(&name).await;
        let writers = (0..64).map(|writer: usize| {
            let db = db.clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    let bad = doc("", "v").with("_id", "ü");
                    if writer == 13 {
                        let answer = db.put_with(&bad, durability).await;
                        assert!(matches!(answer, Err(Error::Document(_))));
                    }
                    let id = format!("{writer:02}-{n}");
                    let written = db
                        .put_with(&doc(&id, "v"), durability)
                        .await
                        .expect("is written");
                    assert_eq!(written.ids, [id.as_str()]);
                    // Who has the answer can read it.
                    let back = db.get::<Document>(&id).await.expect("reads");
                    assert!(back.is_some(), "{id} was acknowledged");
                    let both = [doc(format!("{id}-x"), "v"), doc(format!("{id}-y"), "v")];
                    db.bulk_with(&both, durability).await.expect("is written");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("no writer fails");
        }
        assert_eq!(db.count().await.expect("counts"), 64 * 10 * 3);
        assert!(db.sequence() <= 64 * 10 * 2);
        let (head, root) = (db.head(), db.root());
        db.close().await.expect("closes");
        let db = bed.open(&name).await;
        assert_eq!((db.head(), db.root()), (head, root));
        assert_eq!(db.count().await.expect("counts"), 64 * 10 * 3);
        db.close().await.expect("closes");
    }
}

#[tokio::test]
async fn dropping_a_writers_future_does_not_undo_the_write() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("dropped").await;
    let mut events = db.subscribe();
    {
        let document = doc("dropped", "v");
        let write = db.put_with(&document, Durability::Sync);
        futures_util::pin_mut!(write);
        let first = futures_util::poll!(write.as_mut());
        drop(first);
    }
    assert_eq!(next(&mut events).await.changes[0].id, "dropped");
    assert!(
        db.get::<Document>("dropped")
            .await
            .expect("reads")
            .is_some()
    );
    // One that was never polled was never begun.
    let document = doc("never", "v");
    drop(db.put(&document));
    db.close().await.expect("closes");
    let db = bed.open("dropped").await;
    assert_eq!(db.all_docs().ids().await.expect("lists"), ["dropped"]);
}

#[tokio::test]
async fn after_the_closing_every_call_says_so() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("closed").await;
    db.put(&doc("a", "v")).await.expect("is written");
    let listing = db.all_docs();
    db.close().await.expect("closes");
    db.close().await.expect("closing twice is fine");
    let errors = [
        db.put(&doc("b", "v")).await.map(drop).expect_err("closed"),
        db.delete("a").await.map(drop).expect_err("closed"),
        db.get::<Document>("a").await.map(drop).expect_err("closed"),
        db.count().await.map(drop).expect_err("closed"),
        db.all_docs().ids().await.map(drop).expect_err("closed"),
        db.all_docs()
            .collect::<Document>()
            .await
            .map(drop)
            .expect_err("closed"),
        listing
            .collect::<Document>()
            .await
            .map(drop)
            .expect_err("closed"),
        db.changes(&[])
            .collect::<Document>()
            .await
            .map(drop)
            .expect_err("closed"),
        db.attach(bed.remote("hub").as_str())
            .map(drop)
            .expect_err("closed"),
    ];
    for error in errors {
        assert!(matches!(error, Error::Closed), "{error:?}");
    }
}
