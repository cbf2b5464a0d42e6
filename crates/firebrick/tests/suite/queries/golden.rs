//! The index cases of the golden fixtures and vectors, which JavaScript wrote, through the public
//! interface.

use std::path::Path;

use firebrick::core::charwise::Key;
use serde_json::Value as Json;

use super::*;

fn read(name: &str) -> Json {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firebrick-core/tests/golden");
    let text = std::fs::read(golden.join(name)).expect("is there");
    serde_json::from_slice(&text).expect("is JSON")
}

/// JavaScript has one kind of number.
fn plain(value: &Json) -> Json {
    match value {
        Json::Number(number) => json!(number.as_f64()),
        Json::Array(items) => items.iter().map(plain).collect(),
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
        other => other.clone(),
    }
}

fn shown(row: &Row) -> Json {
    let mut json = json!({"id": row.id, "key": row.key.to_json(), "value": row.value.to_json()});
    if row.doc.is_some() {
        json["doc"] = json!(true);
    }
    plain(&json)
}

/// The map functions of the fixtures, by their text.
fn function(source: &str) -> Index {
    type Rows = fn(&dyn Fn(&str) -> Value, &mut dyn FnMut(Value, Value));
    let rows: Rows = match source {
        "(doc) => doc.n" => |doc, emit| emit(doc("n"), Value::Null),
        "(doc) => doc.ok" => |doc, emit| emit(doc("ok"), Value::Null),
        "(doc) => { return doc.kind }" => |doc, emit| emit(doc("kind"), Value::Null),
        "(doc, emit) => { emit([doc.kind, doc.n], doc.ok) }" => {
            |doc, emit| emit(Value::List(vec![doc("kind"), doc("n")]), doc("ok"))
        }
        "(doc, emit) => emit(doc.date, doc.n)" => |doc, emit| emit(doc("date"), doc("n")),
        "(doc, emit) => { for (const t of doc.tags) emit(t, { t, n: doc.n }) }" => |doc, emit| {
            if let Value::List(tags) = doc("tags") {
                for tag in tags {
                    let value = [("t", tag.clone()), ("n", doc("n"))];
                    emit(tag, value.into_iter().collect());
                }
            }
        },
        "(doc, emit) => { emit(doc.kind); emit(doc.n, 0); emit(doc.ok, \"\"); emit(doc.date, [1]) }" => {
            |doc, emit| {
                emit(doc("kind"), Value::Null);
                emit(doc("n"), Value::from(0));
                emit(doc("ok"), Value::from(""));
                emit(doc("date"), Value::List(vec![Value::from(1)]));
            }
        }
        "function (doc, emit) { if (doc.n > 0) emit(doc.n, -doc.n) }" => |doc, emit| match doc("n")
        {
            Value::Int(n) if n > 0 => emit(Value::Int(n), Value::Int(-n)),
            Value::Float(n) if n > 0.0 => emit(Value::Float(n), Value::Float(-n)),
            _ => {}
        },
        other => panic!("a new map function: {other}"),
    };
    Index::map(source, 1, move |doc, emit| {
        let field = |name: &str| doc.get(name).cloned().unwrap_or_default();
        rows(&field, &mut |key, value| emit.row(key, value));
    })
}

async fn fixture(name: &str) {
    let expected = read(&format!("fixtures/{name}/expected.json"));
    let ledgers = expected["ledgers"].as_object().expect("an object");
    for ledger in ledgers.values() {
        let queries = ledger["queries"].as_array().expect("a list");
        let mut builder = Database::builder().name(name);
        let mut sources: Vec<_> = queries.iter().filter_map(|q| q["map"].as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            builder = builder.index(function(source));
        }
        let db = builder.open().await.expect("opens");
        // Deleted ones were there once.
        for id in ledger["deleted"].as_array().expect("a list") {
            let id = id.as_str().expect("a text");
            db.put(&doc(&json!({"_id": id, "v": 1})))
                .await
                .expect("writes");
        }
        let docs = ledger["docs"].as_object().expect("an object");
        let docs: Vec<Document> = docs.values().map(doc).collect();
        db.bulk(&docs).await.expect("writes");
        let first = queries[0]["field"].as_str().or(queries[0]["map"].as_str());
        db.query(first.expect("has one"))
            .count()
            .await
            .expect("counts");
        for id in ledger["deleted"].as_array().expect("a list") {
            db.delete(id.as_str().expect("a text"))
                .await
                .expect("deletes");
        }
        for (at, query) in queries.iter().enumerate() {
            let source = query["field"].as_str().or(query["map"].as_str());
            let options = Value::from_json(&query["opts"]).expect("a value");
            let asked = db.query(source.expect("has one")).options(&options);
            let rows: Vec<Row> = asked.collect().await.expect("answers");
            let rows: Vec<Json> = rows.iter().map(shown).collect();
            let theirs: Vec<Json> = query["rows"]
                .as_array()
                .expect("a list")
                .iter()
                .map(plain)
                .collect();
            assert_eq!(rows, theirs, "{name}, query {at}: {}", query["opts"]);
        }
    }
}

#[tokio::test]
async fn index_string_field() {
    fixture("index-string-field").await;
}

#[tokio::test]
async fn index_map_fn() {
    fixture("index-map-fn").await;
}

#[tokio::test]
async fn index_updated() {
    fixture("index-updated").await;
}

/// A value of the vectors; `None` for numbers that no document holds.
fn tagged(json: &Json) -> Option<Value> {
    let (tag, inner) = json.as_object()?.iter().next()?;
    Some(match tag.as_str() {
        "null" => Value::Null,
        "bool" => Value::Bool(inner.as_bool()?),
        "str" => Value::from(inner.as_str()?),
        "list" => Value::List(
            inner
                .as_array()?
                .iter()
                .map(tagged)
                .collect::<Option<_>>()?,
        ),
        "num" => {
            let number: f64 = inner.as_str()?.parse().ok()?;
            let key = number.is_finite().then_some(Key::Number(number))?;
            Value::from(&key)
        }
        _ => return None,
    })
}

#[tokio::test]
async fn keys_in_the_order_of_javascript() {
    let vectors = read("vectors/charwise.json");
    let db = Database::builder()
        .name("keys")
        .index(Index::map("v", 1, |doc, emit| {
            emit.key(doc.get("v").cloned().unwrap_or_default());
        }))
        .open()
        .await
        .expect("opens");
    // Sorted by what JavaScript made of each.
    let (mut docs, mut expected) = (Vec::new(), Vec::new());
    for (at, item) in vectors["items"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
    {
        let (Some(value), Some(decoded)) = (tagged(&item["value"]), tagged(&item["decoded"]))
        else {
            continue;
        };
        let id = format!("d{at:03}");
        docs.push(Document::new().with("_id", id.clone()).with("v", value));
        let encoded: Vec<u16> = utf16(&item["encoded"]);
        expected.push((encoded, id, plain(&decoded.to_json())));
    }
    assert!(docs.len() > 450, "{}", docs.len());
    expected.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    db.bulk(&docs).await.expect("writes");
    let between = |from: Vec<u16>, to: Vec<u16>| -> Vec<(String, Json)> {
        let inside = expected.iter().filter(|row| from <= row.0 && row.0 <= to);
        inside
            .map(|(_, id, key)| (id.clone(), key.clone()))
            .collect()
    };
    let ask = async |options: Json| -> Vec<(String, Json)> {
        let options = Value::from_json(&options).expect("a value");
        let asked = db.query("v").options(&options);
        let rows: Vec<Row> = asked.collect().await.expect("answers");
        let row = |row: &Row| (row.id.clone(), plain(&row.key.to_json()));
        rows.iter().map(row).collect()
    };
    assert_eq!(ask(json!({})).await, between(vec![], vec![u16::MAX]));
    for (kind, option) in [("ranges", "range"), ("prefixes", "prefix")] {
        for vector in vectors[kind].as_array().expect("a list") {
            let bounds = &vector["encoded"];
            let wanted = between(utf16(&bounds[0]), utf16(&bounds[1]));
            let asked = tagged(&vector[option]).expect("a value");
            let rows = ask(json!({ option: asked.to_json() })).await;
            assert_eq!(rows, wanted, "{vector}");
        }
    }
}

fn utf16(text: &Json) -> Vec<u16> {
    text.as_str().expect("a text").encode_utf16().collect()
}
