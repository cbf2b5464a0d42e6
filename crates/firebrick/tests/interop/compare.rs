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

/// What a database has to say.
pub(crate) struct Stand {
    root: String,
    documents: BTreeMap<String, Option<Value>>,
    changes: Vec<Value>,
}

impl Stand {
    pub(crate) async fn of(db: &Database) -> Stand {
        let changes = db.changes(&[]).collect::<Document>().await;
        let changes = changes.expect("every event is here").into_iter();
        Stand {
            root: db.root().to_string(),
            documents: documents(db).await,
            changes: changes
                .map(|change| json!([change.id, change.clock.to_string()]))
                .collect(),
        }
    }

    /// What a client is asked.
    pub(crate) fn questions(&self) -> [Value; 6] {
        // It reads each document anew, some 200 in a second, so many rows come without them.
        let include = self.documents.len() <= GETS;
        [
            json!({"op": "state"}),
            json!({"op": "allDocs", "includeDeleted": true}),
            json!({"op": "gets", "ids": self.documents.keys().take(GETS).collect::<Vec<_>>()}),
            json!({"op": "changes"}),
            json!({"op": "query", "field": "n", "opts": {"includeDocs": include}}),
            json!({
                "op": "query",
                "map": "(doc, emit) => { emit(doc._id, doc.n) }",
                "opts": {"descending": true, "includeDocs": include},
            }),
        ]
    }
}

/// Opens the ledger with the client and compares every answer with the database's.
pub(crate) async fn same(peer: &Peer, db: &Database) {
    let stand = Stand::of(db).await;
    compare(&stand, &peer.run(&stand.questions()));
}

/// Compares every answer that a client gave.
pub(crate) fn compare(stand: &Stand, answers: &[Value]) {
    let [state, all, gets, changes, by_field, by_map] = answers else {
        panic!("{answers:?}");
    };
    let documents = &stand.documents;
    let alive: Vec<&str> = documents
        .iter()
        .filter(|(_, doc)| doc.is_some())
        .map(|(id, _)| id.as_str())
        .collect();

    assert_eq!(state["root"], json!(stand.root), "root");
    let seen: BTreeMap<String, Option<Value>> =
        all.as_array().expect("rows").iter().map(row).collect();
    assert_eq!(seen, *documents, "allDocs");
    for (id, value) in gets.as_object().expect("documents") {
        assert_eq!(
            value,
            documents[id].as_ref().unwrap_or(&Value::Null),
            "get {id}"
        );
    }
    let theirs: Vec<Value> = changes
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| json!([row["key"], row["clock"]]))
        .collect();
    assert_eq!(theirs, stand.changes, "changes");

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
        keys_of(by_map),
        alive.iter().rev().copied().collect::<Vec<_>>(),
        "query by function"
    );
}

fn row(row: &Value) -> (String, Option<Value>) {
    let id = row["key"].as_str().expect("a key").to_owned();
    let deleted = row["value"]["_deleted"] == true;
    (id, (!deleted).then(|| row["value"].clone()))
}
