//! `import` and `export`.

use serde_json::{Value, json};

use crate::support::{Place, lines};

#[test]
fn an_export_is_imported_again_without_a_change() {
    let place = Place::new();
    let airports = include_str!("../../data/airports.ndjson");
    let imported = place.run_with_input(&["import", "--json"], airports);
    assert_eq!(imported.code, 0, "{imported:?}");
    let summary = &lines(&imported.stdout)[0];
    assert_eq!(
        (&summary["imported"], &summary["skipped"]),
        (&json!(3376), &json!(0))
    );

    let exported = place.ok(&["export"]);
    assert_eq!(
        lines(&exported),
        lines(airports),
        "the airports are in the order of their ids"
    );

    let copy = ["--db", "copy"];
    assert_eq!(
        place
            .run_with_input(&[&copy[..], &["import"]].concat(), &exported)
            .code,
        0
    );
    assert_eq!(place.ok(&[&copy[..], &["export"]].concat()), exported);
    let root = |args: &[&str]| place.json(&[args, &["status"]].concat())[0]["root"].clone();
    assert_eq!(root(&copy), root(&[]));
}

#[test]
fn an_export_to_a_file_appears_when_it_is_complete() {
    let place = Place::new();
    assert_eq!(
        place
            .run_with_input(&["import"], "{\"_id\":\"a:1\"}\n{\"_id\":\"b:1\"}\n")
            .code,
        0
    );
    let result = place.json(&["export", "out.ndjson", "--prefix", "a:"]);
    assert_eq!(result[0]["exported"], 1);
    assert_eq!(
        std::fs::read_to_string(place.path("out.ndjson")).unwrap(),
        "{\"_id\":\"a:1\"}\n"
    );
    let (code, error) = place.fails(&["export", "no/such/folder/out.ndjson"]);
    assert_eq!((code, &error["kind"]), (4, &json!("bad_file")));
}

#[test]
fn a_bad_line_stops_an_import_and_is_named() {
    let place = Place::new();
    let good: String = (1..=2500)
        .map(|n| format!("{{\"_id\":\"{n:04}\"}}\n"))
        .collect();
    let file = place.write(
        "records.ndjson",
        &format!("{good}[1,2]\n{{\"_id\":\"z\"}}\n"),
    );
    let (code, error) = place.fails(&["import", &file]);
    assert_eq!((code, &error["kind"]), (4, &json!("bad_line")));
    assert!(
        error["message"].as_str().unwrap().contains("line 2501"),
        "{error}"
    );
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("--start-line 2501"),
        "{error}"
    );
    // What came before is stored.
    assert_eq!(place.json(&["list", "--ids"]).len(), 2500);
    let summary = &place.json(&["import", &file, "--start-line", "2502"])[0];
    assert_eq!(summary["imported"], 1);
    assert_eq!(place.json(&["list", "--ids"]).len(), 2501);
}

#[test]
fn bad_lines_can_be_skipped() {
    let place = Place::new();
    let input = "{\"_id\":\"a\"}\nnonsense\n{\"_id\":\"\u{e9}\"}\n{\"_id\":5}\n\n{\"_id\":\"b\"}\n";
    let ran = place.run_with_input(&["import", "--skip-bad", "--json"], input);
    assert_eq!(ran.code, 0, "{ran:?}");
    let summary = &lines(&ran.stdout)[0];
    assert_eq!(
        (&summary["imported"], &summary["skipped"]),
        (&json!(2), &json!(3))
    );
    let mut bad: Vec<u64> = summary["bad_lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| bad["line"].as_u64().unwrap())
        .collect();
    bad.sort_unstable();
    assert_eq!(bad, [2, 3, 4]);
    assert!(ran.stderr.contains("line 3 of stdin"), "{ran:?}");
    assert_eq!(place.ok(&["list", "--ids"]), "a\nb\n");
}

#[test]
fn a_document_that_the_database_refuses_is_found_in_its_batch() {
    let place = Place::new();
    let long = "x".repeat(4097);
    let input = format!(
        "{{\"_id\":\"a\"}}\n{{\"_id\":\"b\"}}\n{{\"_id\":\"{long}\"}}\n{{\"_id\":\"c\"}}\n"
    );
    let ran = place.run_with_input(&["import", "--json"], &input);
    let (code, error) = ran.error();
    assert_eq!((code, &error["kind"]), (4, &json!("bad_line")));
    assert!(
        error["message"].as_str().unwrap().contains("line 3 "),
        "{error}"
    );
    assert_eq!(place.ok(&["list", "--ids"]), "a\nb\n");
}

#[test]
fn ids_come_from_a_field_or_are_made() {
    let place = Place::new();
    let input = "{\"email\":\"a@x\",\"n\":1}\n{\"email\":7}\n";
    assert_eq!(
        place
            .run_with_input(&["import", "--id-field", "email"], input)
            .code,
        0
    );
    assert_eq!(place.ok(&["list", "--ids"]), "7\na@x\n");
    assert_eq!(
        place
            .run_with_input(&["--db", "other", "import"], "{\"n\":1}\n{\"n\":2}\n")
            .code,
        0
    );
    let made: Vec<Value> = place.json(&["--db", "other", "list", "--ids"]);
    assert_eq!(made.len(), 2);
    assert!(made.iter().all(|id| id.as_str().unwrap().len() == 36));
}

#[test]
fn files_that_cannot_be_read_are_found_before_anything_is_made() {
    let place = Place::new();
    assert_eq!(place.fails(&["import", "nowhere.ndjson"]).0, 4);
    assert_eq!(place.fails(&["import", "."]).0, 4);
    assert!(!place.path("db").exists());
}

#[test]
fn an_import_survives_being_killed_with_what_it_acknowledged() {
    let place = Place::new();
    let mut import = place.start(&["import", "--batch", "50"]);
    let text: String = (0..1000)
        .map(|n| format!("{{\"_id\":\"{n:04}\"}}\n"))
        .collect();
    import.say(&text);
    // Another process sees the batches as they are stored.
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while !place.path("db").exists() || place.run(&["list", "--ids"]).stdout.lines().count() < 900 {
        assert!(
            std::time::Instant::now() < deadline,
            "the import does not move"
        );
    }
    crate::support::signal("KILL", import.id());
    import.wait();
    let stored = place.ok(&["list", "--ids"]);
    let stored: Vec<&str> = stored.lines().collect();
    assert!(
        stored.len() >= 900 && stored.len().is_multiple_of(50),
        "whole batches: {}",
        stored.len()
    );
    let expected: Vec<String> = (0..stored.len()).map(|n| format!("{n:04}")).collect();
    assert_eq!(stored, expected);
}
