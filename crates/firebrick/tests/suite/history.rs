//! Versions, conflicts, and the database as it was.

use std::collections::BTreeMap;

use firebrick::{Cid, Conflict, Content, Database, Document, Error, Origin, Value, Version};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{Bed, Kind, converge, doc, state, synced};

async fn versions(db: &Database, id: &str) -> Vec<Version<Document>> {
    db.history(id).collect().await.expect("has a history")
}

async fn conflict(db: &Database, id: &str) -> Option<Conflict<Document>> {
    db.conflicts(id).await.expect("is computed")
}

fn value(doc: &Document) -> String {
    match doc.get("value") {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("no value: {other:?}"),
    }
}

/// All values of a conflict in one document, whatever their order.
fn union(conflict: &Conflict<Document>) -> Option<Document> {
    let documents = conflict
        .versions
        .iter()
        .filter_map(|v| v.content.document());
    let mut parts: Vec<String> = documents
        .flat_map(|doc| value(doc).split('+').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    parts.sort();
    parts.dedup();
    Some(doc(conflict.id.as_str(), parts.join("+")))
}

/// Every version of a random past, against what was listed at the time.
#[tokio::test]
async fn the_past_can_be_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || async {
        let builder = Database::builder().path(dir.path().join("db"));
        let builder = builder.keybag(dir.path().join("keys"));
        builder
            .durability(firebrick::Durability::Buffered)
            .open()
            .await
            .expect("opens")
    };
    let mut db = open().await;
    let mut past = Vec::new();
    let mut model: BTreeMap<String, Document> = BTreeMap::new();
    for n in 0..120_u32 {
        let id = format!("doc-{}", n * 7 % 12);
        if n % 5 == 4 {
            db.delete(&id).await.expect("is deleted");
            model.remove(&id);
        } else {
            let new = doc(id.as_str(), n.to_string());
            let other = doc(format!("{id}-too"), n.to_string());
            if n % 3 == 0 {
                db.bulk(&[new.clone(), other.clone()])
                    .await
                    .expect("is written");
                model.insert(format!("{id}-too"), other);
            } else {
                db.put(&new).await.expect("is written");
            }
            model.insert(id, new);
        }
        past.push((db.head(), model.clone()));
        if n % 50 == 49 {
            db.close().await.expect("closes");
            db = open().await;
        }
    }
    for (head, model) in &past {
        let view = db.at(head).await.expect("is there");
        let rows = view.all_docs().collect::<Document>().await.expect("lists");
        let found: BTreeMap<String, Document> = rows
            .into_iter()
            .filter_map(|row| Some((row.id, row.doc?)))
            .collect();
        assert_eq!(&found, model);
        let one = db.get_at::<Document>("doc-0", head).await.expect("reads");
        assert_eq!(one.as_ref(), model.get("doc-0"));
    }
    for (a, b) in [(0, 119), (30, 90), (90, 30), (60, 61), (50, 50)] {
        let ((before, old), (after, new)) = (&past[a], &past[b]);
        let diff = db.diff(before, after).await.expect("compares");
        let rows = diff.collect::<Document>().await.expect("lists");
        let mut ids: Vec<&String> = old.keys().chain(new.keys()).collect();
        ids.sort();
        ids.dedup();
        ids.retain(|id| old.get(*id) != new.get(*id));
        assert_eq!(rows.iter().map(|row| &row.id).collect::<Vec<_>>(), ids);
        for row in &rows {
            assert_eq!(
                (row.before.as_ref(), row.after.as_ref()),
                (old.get(&row.id), new.get(&row.id))
            );
        }
    }

    // Each version of one document, and back to each of them.
    let listed = versions(&db, "doc-7").await;
    assert_eq!(listed.len(), 10);
    assert_eq!(
        db.history("doc-7")
            .limit(3)
            .collect::<Document>()
            .await
            .expect("lists"),
        listed[..3]
    );
    for (at, version) in listed.iter().enumerate() {
        let before: Vec<Cid> = listed
            .get(at + 1)
            .map(|version| version.event)
            .into_iter()
            .collect();
        assert_eq!(version.parents, before);
        assert_eq!((version.current, version.wins), (at == 0, at == 0));
        assert_eq!(version.origin, Some(Origin::Local));
    }
    for version in &listed {
        db.restore("doc-7", &version.event)
            .await
            .expect("is restored");
        let now = db.get::<Document>("doc-7").await.expect("reads");
        assert_eq!(now.as_ref(), version.content.document());
    }
    let wrong = db.restore("doc-6", &listed[0].event).await;
    assert!(matches!(wrong, Err(Error::NoVersion { id, .. }) if id == "doc-6"));
    for unknown in [
        db.root(),
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
            .parse()
            .expect("a CID"),
    ] {
        assert!(
            matches!(db.at(&[unknown]).await, Err(Error::UnknownEvent { cid }) if cid == unknown)
        );
        assert!(matches!(
            db.restore("doc-6", &unknown).await,
            Err(Error::UnknownEvent { .. })
        ));
    }
    assert!(versions(&db, "never").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_lasts_until_somebody_settles_it() {
    let bed = Bed::new(Kind::Memory).await;
    let all = bed.open_all(2).await;
    let [a, b] = all.as_slice() else {
        panic!("two")
    };
    let url = bed.remote("hub");
    let attach = || [a, b].map(|db| db.attach(url.as_str()).expect("attaches"));
    a.put(&doc("page", "common")).await.expect("is written");
    synced(&attach()).await;
    converge(&all).await;
    for attachment in a.attachments().iter().chain(&b.attachments()) {
        attachment.detach().await;
    }
    for (db, who) in [(a, "ann"), (b, "bob")] {
        db.put(&doc("page", format!("{who} first")))
            .await
            .expect("is written");
        db.put(&doc("page", who)).await.expect("is written");
        db.put(&doc("same", "equal")).await.expect("is written");
        db.put(&doc(format!("only-{who}"), "x"))
            .await
            .expect("is written");
        assert!(db.conflicted().await.expect("lists").ids.is_empty());
    }
    synced(&attach()).await;
    converge(&all).await;
    // An unrelated write, and so a single head, and another merge above it.
    a.put(&doc("other", "x")).await.expect("is written");
    converge(&all).await;
    let mut seen = Vec::new();
    for db in &all {
        let found = db.conflicted().await.expect("lists");
        assert_eq!((found.ids, found.complete), (vec!["page".to_owned()], true));
        let conflict = conflict(db, "page").await.expect("is in conflict");
        let values: Vec<String> = conflict
            .versions
            .iter()
            .map(|v| value(v.content.document().expect("is here")))
            .collect();
        let read = db
            .get::<Document>("page")
            .await
            .expect("reads")
            .expect("is there");
        assert_eq!(values[0], value(&read));
        assert!(conflict.versions[0].wins && !conflict.versions[1].wins);
        for version in &conflict.versions {
            let own = value(version.content.document().expect("is here"))
                == if db.name() == "db-0" { "ann" } else { "bob" };
            let origin = if own {
                Origin::Local
            } else {
                Origin::Remote(url.clone())
            };
            assert_eq!(version.origin, Some(origin));
        }
        let listed = versions(db, "page").await;
        assert_eq!(listed.iter().filter(|version| version.current).count(), 2);
        assert_eq!(listed.iter().filter(|version| version.wins).count(), 1);
        assert_eq!(listed.len(), 5);
        assert!(
            db.resolve("same", |_: &Conflict<Document>| panic!("no conflict"))
                .await
                .expect("ends")
                .is_none()
        );
        seen.push((values, conflict.why, conflict.merged, conflict.ancestor));
    }
    assert_eq!(seen[0], seen[1], "every replica gives the same answer");

    // The winner's own value settles it too, although it changes no document.
    let before = a.root();
    a.resolve("page", |conflict: &Conflict<Document>| {
        conflict.versions[0].content.document().cloned()
    })
    .await
    .expect("is written")
    .expect("there was a conflict");
    assert_eq!(a.root(), before);
    converge(&all).await;
    for db in &all {
        assert!(conflict(db, "page").await.is_none());
        assert!(db.conflicted().await.expect("lists").ids.is_empty());
        let listed = versions(db, "page").await;
        assert_eq!(listed[0].parents.len(), 2);
        assert!(listed[0].current && listed[0].wins);
    }
}

/// While it is being settled, the document is written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_comes_meanwhile_is_seen() {
    let bed = Bed::new(Kind::Memory).await;
    let all = bed.open_all(3).await;
    let url = bed.remote("hub");
    let join = |db: &Database| db.attach(url.as_str()).expect("attaches");
    all[0]
        .put(&doc("page", "common"))
        .await
        .expect("is written");
    for db in &all {
        sync(db, &url).await;
    }
    for (n, db) in all.iter().enumerate() {
        db.put(&doc("page", n.to_string()))
            .await
            .expect("is written");
    }
    synced(&[join(&all[0]), join(&all[1])]).await;
    converge(&all[..2]).await;
    let mut calls = Vec::new();
    let (db, late) = (&all[0], &all[2]);
    db.resolve("page", |conflict: &Conflict<Document>| {
        calls.push(conflict.versions.len());
        if calls.len() == 1 {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    synced(&[join(late)]).await;
                    converge(&all).await;
                });
            });
        }
        union(conflict)
    })
    .await
    .expect("is written");
    assert_eq!(calls, [2, 3]);
    converge(&all).await;
    for db in &all {
        assert!(conflict(db, "page").await.is_none());
        let page = db
            .get::<Document>("page")
            .await
            .expect("reads")
            .expect("is there");
        assert_eq!(value(&page), "0+1+2");
    }
}

/// What happens next, where.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize),
    Delete(usize, usize),
    Both(usize),
    Sync(usize),
    Settle(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, id) = (0..3_usize, 0..3_usize);
    let step = prop_oneof![
        6 => (who.clone(), id.clone()).prop_map(|(who, id)| Step::Put(who, id)),
        1 => (who.clone(), id.clone()).prop_map(|(who, id)| Step::Delete(who, id)),
        1 => who.clone().prop_map(Step::Both),
        3 => who.clone().prop_map(Step::Sync),
        2 => (who, id).prop_map(|(who, id)| Step::Settle(who, id)),
    ];
    prop::collection::vec(step, 1..40)
}

const IDS: [&str; 3] = ["x", "y", "z"];

/// Brings a replica up to date with the hub, and takes it offline again.
async fn sync(db: &Database, url: &str) {
    let attachment = db.attach(url).expect("attaches");
    synced(std::slice::from_ref(&attachment)).await;
    attachment.detach().await;
}

async fn run(steps: Vec<Step>) {
    let bed = Bed::new(Kind::Memory).await;
    let all = bed.open_all(3).await;
    let url = bed.remote("hub");
    all[0].put(&doc("x", "first")).await.expect("is written");
    for db in &all {
        sync(db, &url).await;
    }
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put(who, id) => drop(
                all[who]
                    .put(&doc(IDS[id], n.to_string()))
                    .await
                    .expect("writes"),
            ),
            Step::Delete(who, id) => drop(all[who].delete(IDS[id]).await.expect("deletes")),
            Step::Both(who) => {
                let docs = [doc("x", n.to_string()), doc("y", n.to_string())];
                drop(all[who].bulk(&docs).await.expect("writes"));
            }
            Step::Sync(who) => sync(&all[who], &url).await,
            Step::Settle(who, id) => drop(all[who].resolve(IDS[id], union).await.expect("settles")),
        }
    }
    let level = || async {
        // Twice around: the first gathers, the second spreads.
        for db in all.iter().chain(&all) {
            sync(db, &url).await;
        }
        let first = state(&all[0]).await;
        for db in &all[1..] {
            assert_eq!(state(db).await, first);
        }
    };
    level().await;
    for id in IDS {
        let mut listed = Vec::new();
        for db in &all {
            let own = versions(db, id).await;
            let conflict = conflict(db, id).await;
            let current: Vec<&Version<Document>> =
                own.iter().filter(|version| version.current).collect();
            let mut contents: Vec<String> = current
                .iter()
                .map(|version| format!("{:?}", version.content))
                .collect();
            contents.sort();
            contents.dedup();
            assert_eq!(conflict.is_some(), contents.len() > 1);
            assert_eq!(
                db.conflicted()
                    .await
                    .expect("lists")
                    .ids
                    .contains(&id.to_owned()),
                contents.len() > 1
            );
            let read = db.get::<Document>(id).await.expect("reads");
            if let Some(conflict) = &conflict {
                assert_eq!(conflict.versions[0].content.document(), read.as_ref());
                assert!(conflict.versions[0].wins);
                assert_eq!(conflict.versions.len(), current.len());
            }
            for version in &current {
                let same = version.content.document() == read.as_ref();
                assert_eq!(version.wins, same);
            }
            assert!(
                own.iter()
                    .all(|version| !matches!(version.content, Content::Missing(_)))
            );
            let mut own: Vec<(Cid, Vec<Cid>, bool)> = own
                .into_iter()
                .map(|version| {
                    let mut parents = version.parents;
                    parents.sort_unstable();
                    (version.event, parents, version.current)
                })
                .collect();
            own.sort_unstable();
            listed.push(own);
        }
        assert!(
            listed.iter().all(|own| *own == listed[0]),
            "one history everywhere"
        );
    }
    // Each conflict is settled somewhere else, and all of it meets again.
    for (n, id) in IDS.into_iter().enumerate() {
        all[n].resolve(id, union).await.expect("settles");
    }
    level().await;
    for db in &all {
        let found = db.conflicted().await.expect("lists");
        assert!(found.ids.is_empty() && found.complete, "{found:?}");
    }
}

#[test]
fn replicas_agree_on_histories_and_settle_their_conflicts() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let config = Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(run(steps));
            Ok(())
        })
        .expect("holds");
}
