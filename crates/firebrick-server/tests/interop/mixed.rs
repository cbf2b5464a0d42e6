//! JavaScript and Firebrick clients on one ledger. Both give their keys to the server, as JavaScript does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firebrick::gateway::{CloudGateway, FixedToken};
use firebrick::{Attachment, Database, Document, Remote};
use firebrick_core::cloud::Access;
use serde_json::json;

use crate::peer::OpenPeer;
use crate::site::{Site, converge, del, put};

const PATIENCE: Duration = Duration::from_secs(60);

async fn attach(site: &Site, db: &Database) -> Attachment {
    let url = format!("{}&keys=share", site.server.attach_url());
    let token = FixedToken::new(site.token(db.name(), Access::Write, 3600));
    let gateway = CloudGateway::new(&url, token).unwrap();
    db.attach(Remote::gateway(Arc::new(gateway))).unwrap()
}

async fn write(db: &Database, id: &str, n: i64) {
    let document = Document::new().with("_id", id).with("n", n);
    db.put(&document).await.unwrap();
}

async fn docs(db: &Database) -> BTreeMap<String, i64> {
    let rows = db.all_docs().collect::<Document>().await.unwrap();
    let n = |doc: Document| doc.to_json()["n"].as_i64().unwrap();
    rows.into_iter()
        .map(|row| (row.id, row.doc.map(n).unwrap()))
        .collect()
}

/// Waits until all have these documents.
async fn all_have(databases: &[&Database], clients: &mut [&mut OpenPeer], wanted: &[(&str, i64)]) {
    let map: BTreeMap<String, i64> = wanted
        .iter()
        .map(|(id, n)| ((*id).to_owned(), *n))
        .collect();
    for db in databases {
        let there = tokio::time::timeout(PATIENCE, async {
            while docs(db).await != map {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if there.await.is_err() {
            let states: Vec<_> = db.attachments().iter().map(Attachment::status).collect();
            panic!("{} has {:?}: {states:#?}", db.name(), docs(db).await);
        }
    }
    tokio::task::block_in_place(|| converge(clients, wanted));
}

async fn online(websockets: bool) {
    let site = Site::new(websockets).await;
    let mut js = site.attached("js");
    put(&mut js, "by-js", 1);
    let db = Database::memory("rust").await.unwrap();
    write(&db, "before", 2).await;
    attach(&site, &db).await;
    all_have(&[&db], &mut [&mut js], &[("before", 2), ("by-js", 1)]).await;

    // Live in both directions, changes of the other's documents and deletions too.
    write(&db, "by-js", 10).await;
    all_have(&[&db], &mut [&mut js], &[("before", 2), ("by-js", 10)]).await;
    put(&mut js, "before", 20);
    all_have(&[&db], &mut [&mut js], &[("before", 20), ("by-js", 10)]).await;
    db.delete("before").await.unwrap();
    put(&mut js, "more", 3);
    all_have(&[&db], &mut [&mut js], &[("by-js", 10), ("more", 3)]).await;
    del(&mut js, "more");
    all_have(&[&db], &mut [&mut js], &[("by-js", 10)]).await;

    // Newcomers of both kinds.
    let mut late_js = site.attached("late-js");
    let late = Database::memory("late").await.unwrap();
    attach(&site, &late).await;
    write(&late, "late", 4).await;
    put(&mut late_js, "late-js", 5);
    let all = [("by-js", 10), ("late", 4), ("late-js", 5)];
    all_have(&[&db, &late], &mut [&mut js, &mut late_js], &all).await;
    late_js.ask(&json!({"op": "idle"}));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn both_kinds_online() {
    online(true).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn both_kinds_online_over_http_alone() {
    online(false).await;
}
