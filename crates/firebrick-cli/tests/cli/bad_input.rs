//! Bad input: each kind has its own error, with cause and way out; nothing stored is lost and
//! the database goes on working.

use serde_json::json;

use crate::support::Place;

/// A database with one document, which must be there after each of these tests.
fn place() -> Place {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"kept"}"#]);
    place
}

fn still_works(place: &Place) {
    assert_eq!(place.ok(&["list", "--ids"]), "kept\n");
    place.ok(&["put", r#"{"_id":"later"}"#]);
    assert_eq!(place.ok(&["list", "--ids"]), "kept\nlater\n");
}

#[test]
fn ids_and_documents_that_the_format_cannot_hold() {
    let place = place();
    let long = format!("{{\"_id\":\"{}\"}}", "x".repeat(4097));
    let deep = format!(
        "{{\"_id\":\"deep\",\"d\":{}{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    let deeper = format!(
        "{{\"_id\":\"deeper\",\"d\":{}{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let cases = [
        (r#"{"_id":"caffè"}"#, "ASCII"),
        ("{\"_id\":\"tab\\t\"}", "ASCII"),
        (long.as_str(), "4096"),
        ("[1,2,3]", "a list"),
        ("\"text\"", "a string"),
        ("null", "null"),
        ("17", "a number"),
        ("{\"_id\":5}", "ids are text"),
        ("", "no document"),
        ("{\"a\":}", "column"),
        ("{} {}", "column"),
        (deeper.as_str(), "recursion"),
        (r#"{"_id":"x","b":{"/":{"bytes":"%%%"}}}"#, "base64"),
    ];
    for (document, says) in cases {
        let (code, error) = place.fails(&["put", document]);
        assert_eq!(code, 4, "{document:.60}: {error}");
        assert!(
            error["message"].as_str().unwrap().contains(says),
            "{document:.60}: {error}"
        );
    }
    // A document of a depth that the format can hold, whatever this program's own limit is.
    let ran = place.run(&["put", &deep, "--json"]);
    assert!(ran.code == 0 || ran.error().0 == 4, "{ran:?}");
    if ran.code == 0 {
        place.ok(&["del", "deep"]);
    }
    still_works(&place);
}

#[test]
fn a_huge_document() {
    let place = place();
    let text = "x".repeat(17 << 20);
    let ran = place.run_with_input(
        &["put", "--json"],
        &format!("{{\"_id\":\"huge\",\"text\":\"{text}\"}}"),
    );
    let (code, error) = ran.error();
    assert_eq!(code, 4);
    assert!(error["message"].as_str().unwrap().contains("16"), "{error}");
    still_works(&place);
}

#[test]
fn a_wrong_key_and_a_missing_one() {
    let place = place();
    // Another keybag has other keys.
    let (code, error) = place.fails(&["--keybag", "elsewhere", "list"]);
    assert_eq!((code, &error["kind"]), (5, &json!("missing_key")));
    assert!(
        error["message"].as_str().unwrap().contains("elsewhere"),
        "{error}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("--keybag"),
        "{error}"
    );
    let (code, _) = place.fails(&["--keybag", "elsewhere", "put", "{}"]);
    assert_eq!(code, 5);
    // A key file that is none.
    let file = std::fs::read_dir(place.path("keys"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let kept = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    let (code, error) = place.fails(&["put", "{}"]);
    assert!(code == 4 || code == 5, "{error}");
    std::fs::write(&file, kept).unwrap();
    still_works(&place);
}

#[test]
fn a_foreign_folder_and_a_file() {
    let place = place();
    std::fs::create_dir(place.path("photos")).unwrap();
    place.write("photos/cat.jpg", "meow");
    let (code, error) = place.fails(&["--db", "photos", "put", "{}"]);
    assert_eq!((code, &error["kind"]), (5, &json!("foreign")));
    assert_eq!(place.fails(&["--db", "photos", "list"]).0, 5);
    assert_eq!(
        std::fs::read_dir(place.path("photos")).unwrap().count(),
        1,
        "nothing is added to it"
    );
    let file = place.write("file", "text");
    assert_eq!(place.fails(&["--db", &file, "put", "{}"]).0, 5);
    still_works(&place);
}

#[test]
fn a_folder_that_cannot_be_made() {
    let place = place();
    let (code, error) = place.fails(&["--db", "/proc/firebrick/db", "put", "{}"]);
    assert_eq!(code, 5, "{error}");
    still_works(&place);
}

#[test]
fn a_store_of_a_newer_version() {
    let place = place();
    let file = place.path("db/firebrick.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let newer = text.replacen("\"version\": 1", "\"version\": 999", 1);
    assert_ne!(newer, text, "{text}");
    std::fs::write(&file, newer).unwrap();
    for command in [&["put", "{}"][..], &["list"], &["status"]] {
        let (code, error) = place.fails(command);
        assert_eq!(
            (code, &error["kind"]),
            (5, &json!("newer_version")),
            "{error}"
        );
        assert!(
            error["message"].as_str().unwrap().contains("999"),
            "{error}"
        );
    }
    std::fs::write(&file, text).unwrap();
    still_works(&place);
}

#[test]
fn a_damaged_place_in_the_store() {
    let place = place();
    let filler = "x".repeat(2000);
    for id in ["a", "b", "c"] {
        place.ok(&[
            "put",
            &format!("{{\"_id\":\"{id}\",\"text\":\"{filler}\"}}"),
        ]);
    }
    // Inside the second of the three long documents, as far as its length tells.
    let log = std::fs::read_dir(place.path("db/log"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(&log, bytes).unwrap();
    let ran = place.run(&["list", "--json"]);
    let (code, error) = ran.error();
    assert_eq!((code, &error["kind"]), (5, &json!("corrupt")));
    assert_eq!(
        error["message"],
        "1 documents cannot be read; all others are there"
    );
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
    assert!(
        ran.stderr.contains("is damaged on the disk"),
        "{}",
        ran.stderr
    );
    // The database goes on working, and what is damaged can be replaced.
    place.ok(&["put", r#"{"_id":"later"}"#]);
    assert_eq!(place.run(&["export", "saved.ndjson"]).code, 5);
    assert_eq!(
        std::fs::read_to_string(place.path("saved.ndjson"))
            .unwrap()
            .lines()
            .count(),
        4
    );
    for id in ["a", "b", "c"] {
        place.ok(&["put", &format!("{{\"_id\":\"{id}\"}}")]);
    }
    assert_eq!(place.ok(&["list"]).lines().count(), 5);
}

#[test]
fn damage_anywhere_is_an_error_and_no_crash() {
    let place = place();
    for n in 0..20 {
        place.ok(&[
            "put",
            &format!("{{\"_id\":\"d{n}\",\"text\":\"{n:0300}\"}}"),
        ]);
    }
    let kept = place.path("kept-db");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let status = std::process::Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status()
            .unwrap();
        assert!(status.success());
    };
    copy(&place.path("db"), &kept);
    let mut files = vec![place.path("db/checkpoint"), place.path("db/firebrick.json")];
    for folder in ["db/log", "db/index"] {
        files.extend(
            std::fs::read_dir(place.path(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    for file in files {
        let length = std::fs::metadata(&file).unwrap().len();
        for at in [0, length / 3, length / 2, length - 1] {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[usize::try_from(at).unwrap()] ^= 0x55;
            std::fs::write(&file, bytes).unwrap();
            for command in [
                &["list", "--json"][..],
                &["put", "{}", "--json"],
                &["status", "--json"],
            ] {
                let ran = place.run(command);
                assert!(
                    ran.code == 0 || ran.error().0 == 5,
                    "{} at {at}: {ran:?}",
                    file.display()
                );
            }
            std::fs::remove_dir_all(place.path("db")).unwrap();
            copy(&kept, &place.path("db"));
        }
    }
    still_works_with(&place, 21);
}

fn still_works_with(place: &Place, documents: usize) {
    assert_eq!(place.json(&["list", "--ids"]).len(), documents);
}
