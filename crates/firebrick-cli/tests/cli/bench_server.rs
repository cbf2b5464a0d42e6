//! The load generator, with few clients.

use std::collections::HashMap;

use serde_json::Value;

use crate::support::{Place, lines};

/// The values of a run's figures by name.
fn figures(place: &Place, args: &[&str]) -> HashMap<String, f64> {
    let ran = place.run(&[&["bench", "server", "--json"], args].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let figure = |line: &Value| {
        assert_eq!(line["scenario"], args[0]);
        let name = line["figure"].as_str().unwrap().to_owned();
        (name, line["value"].as_f64().unwrap())
    };
    lines(&ran.stdout).iter().map(figure).collect()
}

#[test]
fn idle() {
    let args = [
        "idle",
        "--connections",
        "20",
        "--ledgers",
        "3",
        "--settle",
        "0",
    ];
    let found = figures(&Place::new(), &args);
    assert_eq!(found["connections"], 20.0);
    assert!(found["opened and bound"] > 0.0);
    if cfg!(target_os = "linux") {
        assert!(found["server: memory"] > 0.0 && found["server: peak memory"] > 0.0);
        assert!(found["server: open files"] >= 20.0);
    }
}

/// Every subscriber gets every meta, and every writer those of the others, or the command fails.
#[test]
fn fanout() {
    let args = [
        "fanout",
        "--writers",
        "3",
        "--subscribers",
        "5",
        "--puts",
        "4",
        "--rate",
    ];
    for rate in ["0", "20"] {
        let found = figures(&Place::new(), &[&args[..], &[rate]].concat());
        let ratio = found["metas delivered"] / found["puts acknowledged"];
        assert!((ratio - 7.0).abs() < 0.001, "{found:?}");
        assert!(found["put sent to event received, p50"] > 0.0);
        assert!(found["metas in an event"] >= 1.0);
    }
}

#[test]
fn upload() {
    let args = [
        "upload",
        "--cars",
        "6",
        "--car-bytes",
        "1000",
        "--parallel",
        "3",
    ];
    let found = figures(&Place::new(), &args);
    assert!(found["CARs"] == 6.0 && found["put"] > 0.0 && found["get"] > 0.0);
}

#[test]
fn soak() {
    let args = [
        "soak",
        "--duration",
        "2s",
        "--writers",
        "2",
        "--subscribers",
        "3",
        "--rate",
        "5",
        "--car-bytes",
        "1000",
        "--ledgers",
        "2",
    ];
    let found = figures(&Place::new(), &args);
    assert!(found["puts"] > 0.0 && found["CARs put, got and deleted"] > 0.0);
    assert!(found["connections that came and went"] > 0.0);
    if cfg!(target_os = "linux") {
        assert!(found.contains_key("server: memory grows, second half"));
    }
}

#[test]
fn a_server_that_runs_already() {
    let place = Place::new();
    let (server, line) = place.serve(&["--grant", "acme/notes"]);
    let (url, token) = (
        line["url"].as_str().unwrap(),
        line["token"].as_str().unwrap(),
    );
    let at = ["--url", url, "--token", token];
    let fanout = [
        "fanout",
        "--writers",
        "2",
        "--subscribers",
        "2",
        "--puts",
        "2",
        "--rate",
        "0",
    ];
    let found = figures(&place, &[&fanout[..], &at].concat());
    assert!(!found.contains_key("server: peak memory"));
    let pid = server.id().to_string();
    let idle = ["idle", "--connections", "4", "--settle", "0", "--pid", &pid];
    let found = figures(&place, &[&idle[..], &at].concat());
    assert_eq!(
        found.contains_key("server: peak memory"),
        cfg!(target_os = "linux")
    );
    // A token that only reads, and none.
    let reads = place.ok(&["token", "mint", "acme/notes:read", "--data", "data"]);
    let args = ["bench", "server", "idle", "--url", url, "--token"];
    assert_eq!(place.fails(&[&args[..], &[reads.trim()]].concat()[..]).0, 4);
    assert_eq!(place.fails(&args[..6]).0, 2);
    assert_eq!(server.terminate(), 0);
}
