//! The same documents and queries at random through both implementations: the same rows, in the
//! same order, with the same keys, values and documents.

use firebrick::{Document, Index, IndexRow, Value as Data};
use serde_json::{Value, json};

use crate::bed::{Bed, close, doc, settle};

const DOCUMENTS: usize = 150;
const QUERIES: usize = 120;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// Anything that can be a key, from a small world so that keys meet.
    fn key(&mut self, depth: u32) -> Value {
        match self.below(if depth == 0 { 10 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(7) as i64 - 3),
            3 => self.pick(&[
                json!(0.5),
                json!(-0.25),
                json!(1e21),
                json!(-1e-7),
                json!(9_007_199_254_740_991_i64),
                json!(5e-324),
            ]),
            4..=6 => {
                let text = [
                    "", "a", "A", "ab", "b", "é", "\u{ffff}", "😀", "a!", "a\"b", "?@", "\u{1}",
                    " ",
                ];
                json!(self.pick(&text))
            }
            _ => {
                let items = (0..self.below(4)).map(|_| self.key(depth + 1));
                Value::Array(items.collect())
            }
        }
    }

    fn options(&mut self) -> Value {
        let mut options = json!({});
        match self.below(6) {
            0 => options["key"] = self.key(0),
            1 => options["keys"] = (0..self.below(4)).map(|_| self.key(0)).collect(),
            2 | 3 => options["range"] = json!([self.key(0), self.key(0)]),
            4 => options["prefix"] = self.key(0),
            _ => {}
        }
        if self.below(3) == 0 {
            options["descending"] = json!(true);
        }
        if self.below(3) == 0 {
            options["limit"] = json!(self.below(20));
        }
        if self.below(4) > 0 {
            options["includeDocs"] = json!(self.below(2) == 0);
        }
        options
    }
}

/// JavaScript has one kind of number.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
        other => other.clone(),
    }
}

fn row(row: &IndexRow<Document>) -> Value {
    let mut json = json!({"id": row.id, "key": row.key.to_json(), "value": row.value.to_json()});
    if let Some(doc) = &row.doc {
        json["doc"] = doc.to_json();
    }
    plain(&json)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn queries_give_the_same_rows() {
    let mut random = Random(11);
    let mut make = |n: usize| {
        let mut doc =
            json!({"_id": format!("d{n:03}"), "t": random.pick(&["x", "y"]), "n": random.below(9)});
        if random.below(8) > 0 {
            doc["v"] = random.key(0);
        }
        doc
    };
    let documents: Vec<Value> = (0..DOCUMENTS).map(&mut make).collect();
    let updates: Vec<Value> = (0..DOCUMENTS).step_by(5).map(&mut make).collect();

    let bed = Bed::new();
    let js = bed.js();
    js.run(&[
        json!({"op": "bulk", "docs": documents}),
        json!({"op": "del", "id": "d001"}),
    ]);
    let db = bed.firebrick("db").await;
    let by_both = Index::map("by-both", 1, |doc, emit| {
        let field = |name: &str| doc.get(name).cloned().unwrap_or_default();
        emit.row(vec![field("t"), field("n")], field("n"));
        emit.row(field("n"), field("t"));
        emit.key(field("n"));
    });
    let attachment = bed.attach(&db).await;
    // The index is there before the last writes, so they go through its upkeep.
    assert!(db.query("v").count().await.expect("counts") > 0);
    let typed: Vec<Document> = updates.iter().map(doc).collect();
    db.bulk(&typed).await.expect("writes");
    db.delete("d002").await.expect("deletes");
    settle(&db, &attachment).await;

    let options: Vec<Value> = (0..QUERIES).map(|_| random.options()).collect();
    let source = "(doc, emit) => { emit([doc.t, doc.n], doc.n); emit(doc.n, doc.t); emit(doc.n) }";
    let mut asked = Vec::new();
    for opts in &options {
        asked.push(json!({"op": "query", "field": "v", "opts": opts}));
        asked.push(json!({"op": "query", "map": source, "opts": opts}));
    }
    let mut answers = js.run(&asked).into_iter();
    let mut seen = 0;
    for opts in &options {
        let data = Data::from_json(opts).expect("a value");
        for index in [Index::field("v"), by_both.clone()] {
            let rows = db.query(index.clone()).options(&data);
            let rows = rows.collect::<Document>().await.expect("answers");
            let ours: Vec<Value> = rows.iter().map(row).collect();
            let theirs = answers.next().expect("an answer");
            let theirs: Vec<Value> = theirs.as_array().expect("rows").iter().map(plain).collect();
            assert_eq!(ours, theirs, "{index:?} {opts}");
            seen += ours.len();
        }
    }
    assert!(seen > 1000, "only {seen} rows were compared");
    close(db).await;
}
