//! `query` and `index`.

use serde_json::json;

use crate::support::{Place, lines};

fn people() -> Place {
    let place = Place::new();
    let people = [
        json!({"_id": "ann", "age": 31, "home": {"town": "Oslo"}, "tags": ["red", "blue"]}),
        json!({"_id": "bob", "age": 25, "home": {"town": "Rome"}, "tags": ["red"]}),
        json!({"_id": "cy", "age": 40, "home": {"town": "Oslo"}}),
        json!({"_id": "di", "age": "old"}),
    ];
    let input: String = people.iter().map(|person| format!("{person}\n")).collect();
    let ran = place.run_with_input(&["import", "-"], &input);
    assert_eq!(ran.code, 0, "{ran:?}");
    place
}

fn ids(place: &Place, args: &[&str]) -> String {
    let args = [&["query"], args].concat();
    let rows = place.json(&args);
    let ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    ids.join(" ")
}

#[test]
fn rows_are_found_by_fields() {
    let place = people();
    assert_eq!(ids(&place, &["age"]), "bob ann cy di");
    assert_eq!(ids(&place, &["age", "--descending", "-n", "2"]), "di cy");
    assert_eq!(ids(&place, &["age", "--offset", "1", "-n", "2"]), "ann cy");
    assert_eq!(ids(&place, &["age", "--range", "25..40"]), "bob ann");
    assert_eq!(ids(&place, &["age", "--range", "31.."]), "ann cy di");
    assert_eq!(ids(&place, &["age", "--range", "..=31"]), "bob ann");
    assert_eq!(
        ids(&place, &["age", "--key", "old", "--key", "25"]),
        "di bob"
    );
    assert_eq!(ids(&place, &["age", "--key", "-1"]), "");
    assert_eq!(ids(&place, &["home.town", "--key", "Oslo"]), "ann cy");
    assert_eq!(ids(&place, &["tags[]", "--key", "red"]), "ann bob");
    assert_eq!(
        ids(&place, &["home.town,age", "--prefix", "Oslo"]),
        "ann cy"
    );
    assert_eq!(
        place.json(&["query", "age", "--key", "25", "--docs"]),
        [
            json!({"id": "bob", "key": 25, "doc": {"_id": "bob", "age": 25, "home": {"town": "Rome"}, "tags": ["red"]}})
        ]
    );
    assert_eq!(
        place.ok(&["query", "age", "--range", "30..", "--count"]),
        "3\n"
    );
    let plan = &lines(&place.ok(&["query", "age", "--range", "30..", "--explain"]))[0];
    assert_eq!((&plan["rows"], &plan["index_rows"]), (&json!(3), &json!(4)));
}

#[test]
fn indexes_are_listed_and_dropped() {
    let place = people();
    assert_eq!(place.json(&["index", "list"]).len(), 0);
    for field in ["age", "home.town"] {
        place.ok(&["query", field]);
    }
    let names = |place: &Place| -> Vec<String> {
        let indexes = place.json(&["index", "list"]);
        let names = indexes
            .iter()
            .map(|index| index["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(names(&place), ["age", "home.town"]);
    place.ok(&["put", r#"{"_id": "ed", "age": 1}"#]);
    assert_eq!(ids(&place, &["age", "-n", "1"]), "ed");
    place.ok(&["index", "drop", "home.town"]);
    assert_eq!(names(&place), ["age"]);
    assert_eq!(place.fails(&["index", "drop", "home.town"]).0, 3);
}

#[test]
fn bad_queries() {
    let place = people();
    assert_eq!(place.fails(&["query", "age", "--range", "5"]).0, 4);
    let (code, error) = place.fails(&["query", "age", "--key", r#"{"a": 1}"#]);
    assert_eq!((code, &error["kind"]), (4, &json!("bad_key_value")));
    assert_eq!(place.fails(&["query", "a..b"]).0, 4);
}

#[test]
fn a_watched_result_shows_what_enters_and_leaves() {
    let place = people();
    let watch = place.start(&["query", "age", "--range", "30..50", "--watch", "--json"]);
    assert_eq!(watch.line(), json!({"id": "ann", "key": 31}));
    assert_eq!(watch.line(), json!({"id": "cy", "key": 40}));
    place.ok(&["put", r#"{"_id": "bob", "age": 26}"#]);
    place.ok(&["put", r#"{"_id": "bob", "age": 35}"#]);
    assert_eq!(
        watch.line(),
        json!({"id": "bob", "key": 35, "change": "added"})
    );
    place.ok(&["del", "ann"]);
    assert_eq!(
        watch.line(),
        json!({"id": "ann", "key": 31, "change": "removed"})
    );
    assert_eq!(watch.terminate(), 0);
}
