//! Equal means: the same root, ids, values and deletions, and the same answers to everything that
//! the client can be asked.

use std::collections::BTreeMap;

use firebrick::{Database, Document};
use serde_json::{Value, json};

use crate::peer::Peer;

/// Documents that the client is asked for one by one.
const GETS: usize = 200;

/// The documents of a database, `None` for deleted ones.
pub(crate) async fn documents(db: &Database) -> BTreeMap<String, Option<Value>> {
    let rows = db
        .all_docs()
        .include_deleted(true)
        .collect::<Document>()
        .await;
    let rows = rows.expect("every document is here");
    rows.into_iter()
        .map(|row| (row.id, row.doc.map(|doc| doc.to_json())))
        .collect()
}

/// The ids of the documents that are not deleted.
pub(crate) async fn ids(db: &Database) -> Vec<String> {
    db.all_docs().ids().await.expect("reads")
}

pub(crate) fn keys_of(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().expect("rows");
    rows.iter()
        .map(|row| row["key"].as_str().expect("a key"))
        .collect()
}

/// Opens the ledger with the client and compares every answer with the database's.
pub(crate) async fn same(peer: &Peer, db: &Database) {
    compare(|questions| peer.run(questions), db).await;
}

/// Compares every answer that `ask` gets with the database's.
pub(crate) async fn compare(ask: impl FnOnce(&[Value]) -> Vec<Value>, db: &Database) {
    let documents = documents(db).await;
    let alive: Vec<&str> = documents
        .iter()
        .filter(|(_, doc)| doc.is_some())
        .map(|(id, _)| id.as_str())
        .collect();
    // It reads each document anew, some 200 in a second, so many rows come without them.
    let include = documents.len() <= GETS;
    let [state, all, gets, changes, by_field, by_map] = <[Value; 6]>::try_from(ask(&[
        json!({"op": "state"}),
        json!({"op": "allDocs", "includeDeleted": true}),
        json!({"op": "gets", "ids": documents.keys().take(GETS).collect::<Vec<_>>()}),
        json!({"op": "changes"}),
        json!({"op": "query", "field": "n", "opts": {"includeDocs": include}}),
        json!({
            "op": "query",
            "map": "(doc, emit) => { emit(doc._id, doc.n) }",
            "opts": {"descending": true, "includeDocs": include},
        }),
    ]))
    .expect("six answers");

    assert_eq!(state["root"], json!(db.root().to_string()), "root");
    let seen: BTreeMap<String, Option<Value>> =
        all.as_array().expect("rows").iter().map(row).collect();
    assert_eq!(seen, documents, "allDocs");
    for (id, value) in gets.as_object().expect("documents") {
        assert_eq!(
            value,
            documents[id].as_ref().unwrap_or(&Value::Null),
            "get {id}"
        );
    }
    let ours = db
        .changes(&[])
        .collect::<Document>()
        .await
        .expect("every event is here");
    let ours: Vec<Value> = ours
        .into_iter()
        .map(|change| json!([change.id, change.clock.to_string()]))
        .collect();
    let theirs: Vec<Value> = changes
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| json!([row["key"], row["clock"]]))
        .collect();
    assert_eq!(theirs, ours, "changes");

    let numbered = documents
        .values()
        .flatten()
        .filter(|doc| !doc["n"].is_null());
    let mut numbered: Vec<(f64, &str)> = numbered
        .map(|doc| {
            (
                doc["n"].as_f64().expect("a number"),
                doc["_id"].as_str().expect("an id"),
            )
        })
        .collect();
    numbered.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    let found: Vec<(f64, &str)> = by_field
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            (
                row["key"].as_f64().expect("a number"),
                row["id"].as_str().expect("an id"),
            )
        })
        .collect();
    assert_eq!(found, numbered, "query by field");
    assert_eq!(
        keys_of(&by_map),
        alive.iter().rev().copied().collect::<Vec<_>>(),
        "query by function"
    );
}

fn row(row: &Value) -> (String, Option<Value>) {
    let id = row["key"].as_str().expect("a key").to_owned();
    let deleted = row["value"]["_deleted"] == true;
    (id, (!deleted).then(|| row["value"].clone()))
}
