//! One database, without remotes.

use firebrick::{Database, Document, Event, Origin};

use crate::common::doc;

#[tokio::test]
async fn documents_come_back() {
    let db = Database::memory("docs").await.expect("opens");
    let written = db.put(&doc("a", "one")).await.expect("is written");
    assert_eq!(written.ids, ["a"]);
    let generated = db
        .put(&Document::new().with("value", "two"))
        .await
        .expect("is written");
    assert_eq!(generated.id().len(), 36);
    assert_eq!(db.count().await.expect("counts"), 2);
    db.delete("a").await.expect("is deleted");
    assert_eq!(db.get::<Document>("a").await.expect("reads"), None);
    let rows = db
        .all_docs()
        .include_deleted(true)
        .collect::<Document>()
        .await
        .expect("lists");
    assert_eq!(rows.len(), 2);
    let changes = db.changes(&[]).collect::<Document>().await.expect("lists");
    assert_eq!(
        changes
            .iter()
            .map(|change| change.doc.is_none())
            .collect::<Vec<_>>(),
        [false, true]
    );
}

#[tokio::test]
async fn subscribers_hear_of_every_change() {
    let db = Database::memory("subscribed").await.expect("opens");
    let mut events = db.subscribe();
    db.put(&doc("a", "one")).await.expect("is written");
    db.bulk(&[doc("b", "two"), doc("c", "three")])
        .await
        .expect("is written");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let Some(Ok(Event::Changes(set))) = events.next().await else {
            panic!("no change set")
        };
        assert_eq!(set.origin, Origin::Local);
        seen.push(
            set.changes
                .into_iter()
                .map(|change| change.id)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen, [vec!["a"], vec!["b", "c"]]);
    for n in 0..1000 {
        db.put(&doc("a", n.to_string())).await.expect("is written");
    }
    let Some(Ok(Event::Lagged { missed })) = events.next().await else {
        panic!("nothing was left out")
    };
    let Some(Ok(Event::Changes(set))) = events.next().await else {
        panic!("no change set")
    };
    assert!(missed > 500);
    assert_eq!(set.origin, Origin::Several);
    assert_eq!(set.changes.len(), 1);
    db.close().await.expect("closes");
    while let Some(event) = events.next().await {
        event.expect("the rest arrives");
    }
}
