//! `history`, `conflicts`, `diff`, `revert`, `log`, `get --at`.

use serde_json::{Value, json};

use crate::support::Place;

fn event(version: &Value) -> &str {
    version["event"].as_str().unwrap()
}

#[test]
fn versions_are_listed_compared_and_restored() {
    let place = Place::new();
    let then = place.json(&["put", r#"{"_id":"milk","litres":1}"#])[0]["head"][0].clone();
    let then = then.as_str().unwrap();
    place.ok(&["put", r#"{"_id":"milk","litres":2}"#]);
    place.ok(&["del", "milk"]);

    let versions = place.json(&["history", "milk"]);
    assert_eq!(versions.len(), 3);
    assert_eq!(
        (&versions[0]["deleted"], &versions[0]["wins"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(versions[1]["doc"]["litres"], 2);
    assert_eq!(versions[0]["parents"], json!([event(&versions[1])]));
    assert_eq!(place.json(&["history", "milk", "-n", "1"]).len(), 1);

    assert_eq!(place.json(&["get", "milk", "--at", then])[0]["litres"], 1);
    let diff = place.json(&["diff", then]);
    assert_eq!(
        diff,
        [json!({"id": "milk", "before": {"_id": "milk", "litres": 1}, "after": null})]
    );

    place.ok(&["revert", "milk", event(&versions[1])]);
    assert_eq!(place.json(&["get", "milk"])[0]["litres"], 2);

    assert_eq!(place.fails(&["history", "bread"]).0, 3);
    assert_eq!(place.fails(&["revert", "milk", "not-a-cid"]).0, 4);
    let nobody = "bafyreibut5gb47x7jtpgzgbvkzsehkmgpptps4dqhftxf4n4ytnpqx2p2m";
    assert_eq!(place.fails(&["diff", nobody]).0, 3);
}

#[test]
fn what_two_databases_wrote_at_once_is_drawn_and_settled() {
    let place = Place::new();
    let (hub, other) = (
        place.url("hub"),
        ["--db", "other", "--keybag", "other-keys"],
    );
    let there = |args: &[&str]| place.ok(&[&other[..], args].concat());
    place.ok(&["put", r#"{"_id":"milk","litres":1}"#]);
    place.ok(&["attach", &hub]);
    let key = place.ok(&["keys", "export"]);
    there(&["attach", &hub, "--key", key.trim()]);
    place.ok(&["put", r#"{"_id":"milk","litres":2}"#]);
    there(&["put", r#"{"_id":"milk","litres":3}"#]);
    there(&["sync"]);
    place.ok(&["sync"]);

    assert_eq!(place.json(&["conflicts"]), [json!({"id": "milk"})]);
    let conflict = &place.json(&["conflicts", "milk"])[0];
    let mut litres: Vec<&Value> = conflict["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| &version["doc"]["litres"])
        .collect();
    assert_eq!(
        place.json(&["get", "milk"])[0]["litres"],
        *litres[0],
        "the winner is first"
    );
    litres.sort_by_key(|litres| litres.as_i64());
    assert_eq!(litres, [&json!(2), &json!(3)]);

    let graph = place.ok(&["log", "--graph"]);
    let drawn: Vec<&str> = graph
        .lines()
        .map(|line| line.split("  ").next().unwrap())
        .map(|line| line.split(" baf").next().unwrap())
        .collect();
    let tail = ["|/", "*", "*"];
    assert!(drawn.ends_with(&tail), "{graph}");
    assert!(graph.contains("| *") || graph.contains("* |"), "{graph}");

    place.ok(&["put", r#"{"_id":"milk","litres":5}"#]);
    assert_eq!(place.json(&["conflicts"]), [] as [Value; 0]);
    place.ok(&["sync"]);
    there(&["sync"]);
    assert_eq!(there(&["conflicts", "--json"]), "");
}
