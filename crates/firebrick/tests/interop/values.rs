//! Values of every kind, made at random: each side reads back what the other one wrote.

use firebrick::Document;
use serde_json::{Map, Number, Value, json};

use crate::bed::{Bed, close, doc, settle};
use crate::compare::documents;

const DOCUMENTS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn every_kind_of_value_survives() {
    let mut random = Random(7);
    let mut make = |by: &str| -> Vec<Value> {
        (0..DOCUMENTS)
            .map(|i| {
                let mut fields = random.map(0);
                fields.insert("_id".into(), json!(format!("{by}-{i:02}")));
                Value::Object(fields)
            })
            .collect()
    };
    let (theirs, ours) = (make("js"), make("fb"));

    let bed = Bed::new();
    bed.js().run(&[json!({"op": "bulk", "docs": theirs})]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    let ours_typed: Vec<Document> = ours.iter().map(doc).collect();
    db.bulk(&ours_typed).await.expect("writes");
    settle(&db, &attachment).await;

    let wanted: Vec<Value> = ours.iter().chain(&theirs).map(plain).collect();
    let read = documents(&db).await;
    let read: Vec<Value> = read.values().flatten().map(plain).collect();
    assert_eq!(read, wanted);
    let rows = bed.js().ask(&json!({"op": "allDocs"}));
    let rows = rows.as_array().expect("rows");
    let read: Vec<Value> = rows.iter().map(|row| plain(&row["value"])).collect();
    assert_eq!(read, wanted);
    close(db).await;
}

/// JavaScript prints an integral float like an integer.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().and_then(Number::from_f64);
            Value::Number(number.expect("finite"))
        }
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::Object(map) => {
            let map = map.iter().map(|(key, value)| (key.clone(), plain(value)));
            Value::Object(map.collect())
        }
        other => other.clone(),
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ (self.0 >> 29)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % limit
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 10] = [
            "a", "zz", "é", "日本", "😀", " ", "\n", "\u{0}", "\"\\", "e\u{301}",
        ];
        (0..self.below(6))
            .map(|_| PARTS[self.below(PARTS.len())])
            .collect()
    }

    fn map(&mut self, depth: usize) -> Map<String, Value> {
        // A lone "/" or "$…" is notation.
        (0..self.below(6))
            .map(|i| (format!("k{i}{}", self.text()), self.value(depth + 1)))
            .collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        let edges = [
            0,
            1,
            -1,
            23,
            24,
            -24,
            -25,
            255,
            256,
            65_536,
            -(1_i64 << 32),
            (1_i64 << 53) - 1,
            -(1_i64 << 53) + 1,
        ];
        let floats = [
            0.5,
            -1.25,
            1e300,
            5e-324,
            9_007_199_254_740_992.0,
            1e21,
            0.1,
            -4.1,
            f64::MAX,
        ];
        match self.below(if depth > 3 { 7 } else { 9 }) {
            0 => json!(edges[self.below(edges.len())]),
            1 => json!(floats[self.below(floats.len())]),
            2 => json!(self.text()),
            3 => json!(self.below(2) == 0),
            4 => Value::Null,
            5 => {
                let base64 = [
                    "",
                    "AA",
                    "AQID",
                    "/+//",
                    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                ];
                json!({"/": {"bytes": base64[self.below(base64.len())]}})
            }
            6 => {
                let big = [
                    "9007199254740993",
                    "-9223372036854775808",
                    "18446744073709551615",
                    "-18446744073709551616",
                ];
                json!({"$bigint": big[self.below(big.len())]})
            }
            7 => (0..self.below(5)).map(|_| self.value(depth + 1)).collect(),
            _ => Value::Object(self.map(depth)),
        }
    }
}
