//! `put`, `get`, `del`, `list`, `changes`, `status`, help.

use serde_json::{Value, json};

use crate::support::{Place, lines};

#[test]
fn documents_are_stored_read_listed_and_deleted() {
    let place = Place::new();
    let written = place.json(&[
        "put",
        r#"{"_id":"b","n":1.5,"tags":["x",null],"big":{"deep":{"er":true}}}"#,
    ]);
    assert_eq!(written[0]["id"], "b");
    assert_eq!(written[0]["head"].as_array().unwrap().len(), 1);
    assert_eq!(place.ok(&["put", "--id", "a", r#"{"n":2}"#]), "a\n");
    assert_eq!(
        lines(&place.ok(&["get", "b"])),
        [json!({"_id": "b", "n": 1.5, "tags": ["x", null], "big": {"deep": {"er": true}}})]
    );
    assert_eq!(place.ok(&["list", "--ids"]), "a\nb\n");
    assert_eq!(place.json(&["list", "--ids"]), [json!("a"), json!("b")]);
    assert_eq!(place.ok(&["del", "a"]), "");
    assert_eq!(place.ok(&["list", "--ids"]), "b\n");
    assert_eq!(
        lines(&place.ok(&["list", "--deleted"]))[0],
        json!({"_id": "a", "_deleted": true})
    );
    let changes = place.json(&["changes"]);
    assert_eq!(
        changes
            .iter()
            .map(|change| change["id"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["b", "a"]
    );
    assert_eq!(changes[1]["deleted"], true);
    let since = changes[0]["clock"].as_str().unwrap();
    let later = place.json(&["changes", "--since", since]);
    assert_eq!(
        later.iter().map(|change| &change["id"]).collect::<Vec<_>>(),
        ["a"]
    );
}

#[test]
fn ids_are_made_when_there_is_none_and_stdin_is_read() {
    let place = Place::new();
    let ran = place.run_with_input(&["put"], r#"{"n": 12345678901234567890}"#);
    assert_eq!(ran.code, 0, "{ran:?}");
    let id = ran.stdout.trim();
    assert_eq!(id.len(), 36, "{id}");
    let document = &lines(&place.ok(&["get", id]))[0];
    assert_eq!(document["_id"], id);
    let ran = place.run_with_input(
        &["put", "-", "--id", "x"],
        r#"{"bytes": {"/": {"bytes": "AAEC"}}}"#,
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        lines(&place.ok(&["get", "x"]))[0]["bytes"],
        json!({"/": {"bytes": "AAEC"}})
    );
}

#[test]
fn lists_are_cut_and_paged() {
    let place = Place::new();
    let input: String = (0..30)
        .map(|n| {
            format!(
                "{{\"_id\":\"{}:{n:02}\"}}\n",
                if n % 2 == 0 { "even" } else { "odd" }
            )
        })
        .collect();
    assert_eq!(place.run_with_input(&["import"], &input).code, 0);
    assert_eq!(
        place.ok(&["list", "--ids", "--prefix", "odd:", "-n", "2"]),
        "odd:01\nodd:03\n"
    );
    assert_eq!(
        place.ok(&["list", "--ids", "--after", "odd:03", "-n", "2"]),
        "odd:05\nodd:07\n"
    );
    assert_eq!(place.json(&["list", "--prefix", "even:"]).len(), 15);
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let place = Place::new();
    let (code, error) = place.fails(&["get", "x"]);
    assert_eq!((code, &error["kind"]), (3, &json!("no_database")));
    assert!(error["hint"].as_str().unwrap().contains("--db"));
    assert!(
        !place.path("db").exists(),
        "reading must not make a database"
    );
    place.ok(&["put", r#"{"_id":"a"}"#]);
    // What exists is printed all the same.
    let ran = place.run(&["get", "x", "a", "y", "--json"]);
    assert_eq!(lines(&ran.stdout), [json!({"_id": "a"})]);
    let (code, error) = ran.error();
    assert_eq!((code, &error["kind"]), (3, &json!("not_found")));
    assert!(error["message"].as_str().unwrap().contains("\"x\", \"y\""));
    assert_eq!(place.fails(&["del", "x"]).0, 3);
    assert_eq!(place.fails(&["detach", "nobody"]).0, 3);
    assert_eq!(place.fails(&["sync"]).0, 3);
    let text = place.run(&["get", "x"]);
    assert_eq!(
        (text.code, text.stderr.as_str()),
        (3, "error: there is no document \"x\"\n")
    );
}

#[test]
fn status_shows_the_database() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let status = &place.json(&["status"])[0];
    assert_eq!(status["documents"], 1);
    assert_eq!(status["name"], "db");
    assert_eq!(status["encrypted"], true);
    assert_eq!(status["remotes"], json!([]));
    assert!(status["key"].as_str().unwrap().starts_with('z'));
    assert!(status["root"].as_str().unwrap().starts_with("bafyrei"));
    let text = place.ok(&["status"]);
    assert!(
        text.contains("documents") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[test]
fn a_database_without_encryption_says_so() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#, "--insecure"]);
    assert!(!place.path("keys").exists());
    assert_eq!(place.json(&["status", "--insecure"])[0]["encrypted"], false);
    assert_eq!(place.fails(&["keys", "export", "--insecure"]).0, 4);
    assert_eq!(place.fails(&["get", "a"]).0, 5);
}

#[test]
fn help_teaches_and_usage_errors_are_exit_code_2() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    for word in ["Exit codes", "attach", "130", "demo"] {
        assert!(help.contains(word), "{word}");
    }
    let commands = "put get del list changes watch import export attach detach remotes sync status keys demo bench";
    for command in commands.split(' ') {
        assert!(
            place.ok(&[command, "--help"]).contains("Usage: firebrick"),
            "{command}"
        );
    }
    assert!(place.ok(&["put", "--help"]).contains("Examples:"));
    assert!(place.ok(&["--version"]).starts_with("firebrick "));
    assert_eq!(place.run(&["fly"]).code, 2);
    let ran = place.run(&["fly", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 2);
    assert_eq!(place.run(&[]).code, 2);
}

#[test]
fn durability_can_be_chosen() {
    let place = Place::new();
    for level in ["sync", "buffered"] {
        place.ok(&["put", r#"{"n":1}"#, "--durability", level]);
    }
    assert_eq!(place.run(&["put", "{}", "--durability", "maybe"]).code, 2);
    assert_eq!(place.json(&["list"]).len(), 2);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    use std::io::Read;
    let place = Place::new();
    let filler = "x".repeat(200);
    let input: String = (0..3000)
        .map(|n| format!("{{\"_id\":\"{n}\",\"t\":\"{filler}\"}}\n"))
        .collect();
    assert_eq!(place.run_with_input(&["import"], &input).code, 0);
    let mut child = place.command(&["list"]).spawn().unwrap();
    let mut first = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_readme_lists_the_exit_codes_that_help_does() {
    let readme = include_str!("../../../../README.md");
    let help = Place::new().ok(&["--help"]);
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let codes: Vec<&str> = codes.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(codes.len(), 8, "{codes:?}");
    for line in codes {
        let (code, meaning) = line.trim().split_once(' ').unwrap();
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(readme.contains(&row), "{row}");
    }
}
