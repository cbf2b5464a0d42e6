//! `demo`: converged or not, and proven.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Place, lines, signal};

/// The last line of `demo --json`.
fn summary(stdout: &str) -> Value {
    lines(stdout).pop().expect("the demo printed nothing")
}

/// Plays with the airports; everyone must end with all of them.
fn airports(place: &Place, databases: usize, more: &[&str]) -> Value {
    let count = databases.to_string();
    let ran = place.run(&[&["demo", "--json", "--databases", &count], more].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = summary(&ran.stdout);
    assert_eq!(result["converged"], true);
    assert_eq!(
        (&result["databases"], &result["records"]),
        (&json!(databases), &json!(3376))
    );
    assert!(result["seconds"].as_f64().unwrap() > 0.0 && result["bytes"].as_u64().unwrap() > 0);
    let replicas = result["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), databases);
    for replica in replicas {
        assert_eq!(
            (&replica["documents"], &replica["complete"]),
            (&json!(3376), &json!(true))
        );
        assert_eq!(
            (&replica["root"], &replica["hash"]),
            (&replicas[0]["root"], &result["hash"])
        );
    }
    result
}

#[test]
fn the_airports_reach_every_database_through_a_server() {
    let result = airports(&Place::new(), 3, &["--server"]);
    let remote = result["remote"].as_str().unwrap();
    assert!(remote.starts_with("fpcloud://127.0.0.1:"), "{remote}");
}

#[test]
fn the_airports_reach_every_database() {
    let place = Place::new();
    let result = airports(&place, 4, &[]);
    // One was killed, and lacked documents then. On a machine that is too busy to watch it, it may
    // be through before it is caught; that is said, and it gets another chance.
    let mut killed = result["killed"].clone();
    for _ in 0..5 {
        assert_eq!(killed["database"], 4);
        if killed["mid_sync"] == true {
            break;
        }
        assert_eq!(killed["documents"], 3376);
        let ran = place.run(&["demo", "--json", "--databases", "4"]);
        killed = summary(&ran.stdout)["killed"].clone();
    }
    assert_eq!(killed["mid_sync"], true, "{killed}");
    assert!(killed["documents"].as_u64().unwrap() < 3376, "{killed}");
}

#[test]
fn a_file_of_ones_own_with_records_that_have_no_id() {
    let place = Place::new();
    let text: String = (0..40)
        .map(|n| format!("{{\"n\":{n},\"text\":\"é {n}\",\"f\":{n}.5,\"list\":[null,true]}}\n"))
        .collect();
    let file = place.write("own.ndjson", &text);
    let ran = place.run(&["demo", &file, "-n", "3", "--json", "--quiet"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let printed = lines(&ran.stdout);
    assert_eq!(printed.len(), 1, "--quiet leaves only the result");
    assert_eq!(
        (&printed[0]["converged"], &printed[0]["records"]),
        (&json!(true), &json!(40))
    );
    let ran = place.run(&["demo", &file, "-n", "2", "--id-field", "n"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("Every database holds all 40 records"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("(killed once)"), "{ran:?}");
}

#[test]
fn one_database_and_one_record() {
    let place = Place::new();
    let file = place.write("one.ndjson", "{\"_id\":\"only\"}\n");
    for databases in ["1", "2"] {
        let ran = place.run(&["demo", &file, "-n", databases, "--json"]);
        assert_eq!(
            (ran.code, &summary(&ran.stdout)["converged"]),
            (0, &json!(true)),
            "{ran:?}"
        );
    }
}

#[test]
fn a_folder_of_ones_own_is_kept_and_holds_no_plain_records() {
    let place = Place::new();
    let file = place.write(
        "own.ndjson",
        "{\"_id\":\"a\",\"secret\":\"canary-in-a-value\"}\n{\"_id\":\"b\"}\n",
    );
    let ran = place.run(&["demo", &file, "-n", "2", "--dir", "stage"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let list = |n: u32| {
        place.ok(&[
            "--db",
            &format!("stage/database-{n}"),
            "--keybag",
            &format!("stage/keybag-{n}"),
            "list",
            "--ids",
        ])
    };
    assert_eq!(
        (list(1), list(2)),
        ("a\nb\n".to_owned(), "a\nb\n".to_owned())
    );
    let search = std::process::Command::new("grep")
        .args(["-r", "canary-in-a-value"])
        .arg(place.path("stage"))
        .output()
        .unwrap();
    assert_eq!(search.status.code(), Some(1), "{search:?}");
    // A folder with something in it is left alone.
    assert_eq!(place.fails(&["demo", &file, "--dir", "stage"]).0, 4);
}

#[test]
fn bad_records_and_files_are_refused_before_anything_starts() {
    let place = Place::new();
    let file = place.write("bad.ndjson", "{\"_id\":\"a\"}\n[1]\n");
    let (code, error) = place.fails(&["demo", &file]);
    assert_eq!((code, &error["kind"]), (4, &json!("bad_line")));
    assert!(
        error["message"].as_str().unwrap().contains("line 2"),
        "{error}"
    );
    assert_eq!(place.fails(&["demo", "nowhere.ndjson"]).0, 4);
    assert_eq!(
        place.fails(&["demo", &place.write("empty.ndjson", "\n")]).0,
        4
    );
    assert_eq!(place.fails(&["demo", "--remote", "gopher://x"]).0, 4);
    assert_eq!(place.fails(&["demo", "--remote", "memory://x"]).0, 4);
    assert_eq!(place.run(&["demo", "-n", "0"]).code, 2);
}

#[test]
fn a_database_that_is_kept_from_converging_is_exit_code_1() {
    let place = Place::new();
    let demo = place.start(&["demo", "-n", "3", "--json", "--timeout", "3"]);
    // The first database stops in its tracks, as one would on a machine that hangs.
    let started = demo.line_where(|line| line["event"] == "started" && line["database"] == 1);
    let process = u32::try_from(started["process"].as_u64().unwrap()).unwrap();
    signal("STOP", process);
    let result = demo.line_where(|line| line.get("converged").is_some());
    assert_eq!(result["converged"], false);
    assert!(
        result["trouble"]
            .as_str()
            .unwrap()
            .contains("nothing has moved"),
        "{result}"
    );
    assert_eq!(demo.wait(), 1);
    // It left no process behind.
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::path::Path::new(&format!("/proc/{process}")).exists() {
        assert!(
            Instant::now() < deadline,
            "the stopped process is still there"
        );
    }
}

#[test]
fn a_database_whose_process_dies_is_exit_code_1() {
    let place = Place::new();
    let demo = place.start(&["demo", "-n", "2", "--json", "--timeout", "20"]);
    let started = demo.line_where(|line| line["event"] == "started" && line["database"] == 1);
    signal(
        "KILL",
        u32::try_from(started["process"].as_u64().unwrap()).unwrap(),
    );
    let result = demo.line_where(|line| line.get("converged").is_some());
    assert_eq!(result["converged"], false);
    assert!(
        result["trouble"].as_str().unwrap().contains("database 1"),
        "{result}"
    );
    assert_eq!(demo.wait(), 1);
}
