//! `keys`: what databases share when they share a ledger.

use crate::support::Place;

#[test]
fn keys_are_shown_exported_imported_and_added() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let shown = place.ok(&["keys", "show"]);
    let fingerprint = shown.trim();
    let key = place.ok(&["keys", "export"]);
    assert_ne!(key.trim(), fingerprint);
    assert_eq!(place.json(&["keys", "export"])[0]["key"], key.trim());

    let other = ["--db", "other"];
    let ran = place.run_with_input(&[&other[..], &["keys", "import"]].concat(), &key);
    assert_eq!(ran.code, 0, "{ran:?}");
    let keys = &place.json(&[&other[..], &["keys", "show"]].concat())[0];
    assert_eq!(keys["fingerprint"], fingerprint);
    assert_eq!(
        keys["fingerprints"].as_array().unwrap().len(),
        2,
        "its own key still decrypts: {keys}"
    );

    let third = ["--db", "third"];
    let keys = &place.json(&[&third[..], &["keys", "add", key.trim()]].concat())[0];
    assert_ne!(
        keys["fingerprint"], fingerprint,
        "an added key only decrypts"
    );
    assert!(
        keys["fingerprints"]
            .as_array()
            .unwrap()
            .iter()
            .any(|known| known == fingerprint)
    );
}

#[test]
fn a_key_that_is_none_is_refused() {
    let place = Place::new();
    for text in ["", "z", "nonsense", "zzzz0000"] {
        let (code, error) = place.fails(&["keys", "import", text]);
        assert_eq!(
            (code, error["kind"].as_str().unwrap()),
            (4, "bad_key"),
            "{text:?}"
        );
    }
}

#[test]
fn key_files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.ok(&["put", "{}"]);
    for entry in std::fs::read_dir(place.path("keys")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
    }
}

#[test]
fn keys_are_rotated_and_listed() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let first = place.json(&["keys", "list"]);
    assert_eq!(first.len(), 1);
    assert_eq!(
        (&first[0]["origin"], &first[0]["is_default"]),
        (&"created".into(), &true.into())
    );
    let rotated = &place.json(&["keys", "rotate"])[0];
    let list = place.json(&["keys", "list"]);
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["fingerprint"], rotated["fingerprint"]);
    assert_eq!(list[1]["fingerprint"], first[0]["fingerprint"]);
    let text = place.ok(&["keys", "list"]);
    assert!(
        text.contains("writes") && text.contains("reads") && text.contains("rotated"),
        "{text}"
    );
    assert_eq!(place.json(&["get", "a"])[0]["_id"], "a");
}

#[test]
fn a_passphrase_carries_all_keys() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    place.ok(&["keys", "rotate"]);
    let good = place.write("good", "correct horse battery\n");
    let wrong = place.write("wrong", "incorrect horse battery\n");
    let export = ["keys", "export", "--passphrase"];
    let text = place.ok(&[&export[..], &["--passphrase-file", &good]].concat());
    let text = text.trim();
    assert!(text.starts_with("firebrick-keys.1."), "{text}");
    let import = |text: &str, file: &str| {
        [
            "--db",
            "other",
            "keys",
            "import",
            text,
            "--passphrase-file",
            file,
        ]
        .map(str::to_owned)
    };
    let fails = |args: [String; 7]| place.fails(&args.each_ref().map(String::as_str));
    let (code, error) = fails(import(text, &wrong));
    assert_eq!(
        (code, error["kind"].as_str()),
        (4, Some("wrong_passphrase"))
    );
    let (code, error) = fails(import(&text[..text.len() - 3], &good));
    assert_eq!((code, error["kind"].as_str()), (4, Some("bad_key_export")));
    place.ok(&import(text, &good).each_ref().map(String::as_str));
    let there = place.json(&["--db", "other", "keys", "show"]);
    let here = place.json(&["keys", "show"]);
    assert_eq!(there[0]["fingerprint"], here[0]["fingerprint"]);
    assert_eq!(there[0]["fingerprints"].as_array().unwrap().len(), 3);
    // Nobody to ask.
    let (code, error) = place.fails(&export);
    assert_eq!((code, error["kind"].as_str()), (4, Some("bad_input")));
    let short = place.write("short", "1234567");
    let (code, _) = place.fails(&[&export[..], &["--passphrase-file", &short]].concat());
    assert_eq!(code, 4);
}
