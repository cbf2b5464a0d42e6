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
