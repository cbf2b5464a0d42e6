//! Firebrick gives back space while a client is away that writes on what it last saw.

use std::collections::BTreeMap;

use firebrick::Database;
use serde_json::{Value, json};

use crate::bed::{Bed, close, doc, settle};
use crate::compare::{documents, ids, keys_of, same};

const HISTORIES: u64 = 3;
const STEPS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_client_returns_after_a_compaction() {
    let bed = Bed::new();
    let late = bed.js_beside_with_base("late");
    late.run(&[
        bed.attach_request(),
        json!({"op": "put", "doc": {"_id": "shared", "n": 1}}),
        json!({"op": "put", "doc": {"_id": "shared", "n": 2}}),
        json!({"op": "idle"}),
    ]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    assert_eq!(ids(&db).await, ["base", "shared"]);

    late.run(&[json!({"op": "puts", "docs": [
        {"_id": "late-1", "n": 2},
        {"_id": "shared", "n": 3, "by": "late"},
        {"_id": "late-2", "n": 4},
    ]})]);
    let mut dropped = 0;
    for round in 0..5 {
        for i in 0..8 {
            let update = json!({"_id": format!("fb-{i:02}"), "n": 10 * round + i});
            db.put(&doc(&update)).await.expect("writes");
        }
        let update = json!({"_id": "shared", "n": 100 + round, "by": "us"});
        db.put(&doc(&update)).await.expect("writes");
        settle(&db, &attachment).await;
        let report = db.compact().run().await.expect("compacts");
        dropped += report.dropped_blocks;
    }
    assert!(dropped > 40, "{dropped} blocks were dropped");
    same(&bed.js(), &db).await;

    let answers = late.run(&[
        json!({"op": "open"}),
        json!({"op": "subscribe"}),
        bed.attach_request(),
        json!({"op": "idle"}),
        json!({"op": "collect", "count": 12}),
        json!({"op": "state"}),
        json!({"op": "changes"}),
        json!({"op": "query", "field": "n"}),
        json!({"op": "put", "doc": {"_id": "late-3", "n": 5}}),
        json!({"op": "idle"}),
    ]);
    let calls = answers[4].as_array().expect("calls").iter();
    let mut told = calls.flat_map(|call| call.as_array().expect("documents"));
    assert!(
        told.any(|doc| doc["_id"] == "fb-07" && doc["n"] == 47),
        "the subscriber hears of the newest documents"
    );
    assert_eq!(keys_of(&answers[6]).len(), 12);
    assert_eq!(answers[7].as_array().expect("rows").len(), 12);

    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await.len(), 13);
    let status = attachment.status();
    assert!(status.missing_documents.is_empty(), "{status:?}");
    same(&bed.js(), &db).await;
    db.compact().run().await.expect("compacts");
    db.put(&doc(&json!({"_id": "shared", "n": 200})))
        .await
        .expect("writes");
    settle(&db, &attachment).await;
    same(&bed.js(), &db).await;

    // Everyone ends with the same, also who comes new.
    let state = late.run(&[
        json!({"op": "open"}),
        bed.attach_request(),
        json!({"op": "idle"}),
        json!({"op": "state"}),
    ]);
    assert_eq!(state[3]["root"], json!(db.root().to_string()));
    let new = bed.firebrick("new").await;
    bed.attach(&new).await;
    assert_eq!(new.root(), db.root());
    same(&bed.js(), &new).await;
    close(new).await;
    close(db).await;
}

/// Writers of both implementations, apart and together at random, each compacting at random times.
struct History {
    random: u64,
    compacting: bool,
    /// Keeps both runs of a history alike.
    writes: u64,
}

impl History {
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) % limit
    }

    fn update(&mut self, by: &str) -> Value {
        self.writes += 1;
        let id = ["a", "ab", "b", "same"][self.below(4) as usize];
        json!({"_id": id, "n": self.writes, "by": by})
    }

    /// Requests of a client that opens the ledger, writes a little, and may compact.
    fn session(&mut self, by: &str) -> Vec<Value> {
        let mut requests = Vec::new();
        for _ in 0..1 + self.below(3) {
            let doc = self.update(by);
            requests.push(match self.below(5) {
                0 => json!({"op": "del", "id": doc["_id"]}),
                _ => json!({"op": "put", "doc": doc}),
            });
        }
        requests.push(json!({"op": "idle"}));
        if self.below(2) == 0 && self.compacting {
            requests.push(json!({"op": "compact"}));
            requests.push(json!({"op": "idle"}));
        }
        requests
    }

    async fn write(&mut self, db: &Database, by: &str) {
        for _ in 0..1 + self.below(4) {
            let update = self.update(by);
            if self.below(5) == 0 {
                let id = update["_id"].as_str().expect("an id");
                db.delete(id).await.expect("deletes");
            } else {
                db.put(&doc(&update)).await.expect("writes");
            }
        }
    }

    /// Runs it, and answers what everyone ends with.
    async fn run(mut self) -> BTreeMap<String, Option<Value>> {
        let bed = Bed::new();
        let late = bed.js_beside_with_base("late");
        late.run(&[bed.attach_request(), json!({"op": "idle"})]);
        let dbs = [bed.firebrick("left").await, bed.firebrick("right").await];
        for db in &dbs {
            bed.attach(db).await.detach().await;
        }
        for _ in 0..STEPS {
            let at = self.below(2) as usize;
            match self.below(10) {
                0..3 => self.write(&dbs[at], ["left", "right"][at]).await,
                3..6 => {
                    bed.attach(&dbs[at]).await.detach().await;
                }
                6 if self.below(2) == 0 => {
                    bed.js().run(&self.session("beside the folder"));
                }
                6 => {
                    let mut requests = vec![json!({"op": "open"})];
                    requests.extend(self.session("late"));
                    late.run(&requests);
                }
                7 => {
                    late.run(&bed.catch_up());
                }
                _ => {
                    let compact = self.compacting.then(|| dbs[at].compact().run());
                    if let Some(done) = compact {
                        done.await.expect("compacts");
                    }
                }
            }
        }
        // Everyone with everyone.
        for _ in 0..2 {
            for db in &dbs {
                if self.compacting {
                    db.compact().run().await.expect("compacts");
                }
                let attachment = bed.attach(db).await;
                let status = attachment.status();
                assert!(status.missing_documents.is_empty(), "{status:?}");
                attachment.detach().await;
            }
            late.run(&bed.catch_up());
        }
        for db in &dbs {
            bed.attach(db).await.detach().await;
            same(&bed.js(), db).await;
        }
        assert_eq!(dbs[0].root(), dbs[1].root());
        let state = late.run(&[
            json!({"op": "open"}),
            bed.attach_request(),
            json!({"op": "idle"}),
            json!({"op": "state"}),
        ]);
        assert_eq!(state[3]["root"], json!(dbs[0].root().to_string()));
        let end = documents(&dbs[0]).await;
        for db in dbs {
            close(db).await;
        }
        end
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn compactions_on_both_sides_change_no_outcome() {
    for seed in 1..=HISTORIES {
        let history = |compacting| History {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            compacting,
            writes: 0,
        };
        let [with, without] = [history(true).run().await, history(false).run().await];
        assert_eq!(with, without, "history {seed}");
    }
}
