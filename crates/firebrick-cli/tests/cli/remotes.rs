//! `attach`, `detach`, `remotes`, `sync`, `status`.

use serde_json::{Value, json};

use crate::support::Place;

/// Puts the key of `db` into another database's keybag.
fn share_key(place: &Place, with: &[&str]) {
    let key = place.ok(&["keys", "export"]);
    let ran = place.run_with_input(&[with, &["keys", "import"]].concat(), &key);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn ids(place: &Place, db: &[&str]) -> String {
    place.ok(&[db, &["list", "--ids"]].concat())
}

#[test]
fn two_databases_share_a_folder() {
    let place = Place::new();
    let hub = place.url("hub");
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let key = place.ok(&["keys", "export"]);
    let attached = place.json(&["attach", &hub, "--name", "hub"]);
    assert_eq!(attached[0]["remote"], "hub");
    assert_eq!(attached[0]["state"], "up_to_date");

    // The other one gets the key with the attach, and holds everything when that ends.
    let other = ["--db", "other", "--keybag", "other-keys"];
    let ran = place.run(&[&other[..], &["attach", &hub, "--key", key.trim()]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ids(&place, &other), "a\n");

    // Attachments persist: from now on a sync is enough.
    place.ok(&[&other[..], &["put", r#"{"_id":"b"}"#]].concat());
    place.ok(&["put", r#"{"_id":"c"}"#]);
    assert_eq!(place.json(&["remotes"])[0]["url"], hub.as_str());
    place.ok(&[&other[..], &["sync"]].concat());
    let synced = place.json(&["sync"]);
    assert_eq!(synced[0]["state"], "up_to_date");
    place.ok(&[&other[..], &["sync"]].concat());
    assert_eq!(ids(&place, &[]), "a\nb\nc\n");
    assert_eq!(ids(&place, &other), "a\nb\nc\n");
    let status = |db: &[&str]| place.json(&[db, &["status"]].concat())[0].clone();
    assert_eq!(status(&[])["root"], status(&other)["root"]);
    assert_eq!(status(&[])["remotes"][0]["state"], "up_to_date");
    assert!(
        status(&[])["remotes"][0]["traffic"]["bytes_up"]
            .as_u64()
            .unwrap()
            > 0
    );
    let text = place.ok(&["status"]);
    assert!(
        text.contains("up to date") && text.contains("hub"),
        "{text}"
    );

    let detached = place.json(&["detach", "hub"]);
    assert_eq!(detached[0]["detached"], "hub");
    assert_eq!(place.json(&["remotes"]), [] as [Value; 0]);
    assert_eq!(place.fails(&["sync"]).0, 3);
    assert_eq!(ids(&place, &[]), "a\nb\nc\n");
}

#[test]
fn changes_arrive_at_a_watch_while_both_stay_open() {
    let place = Place::new();
    let hub = place.url("hub");
    let other = ["--db", "other", "--keybag", "other-keys"];
    place.ok(&["put", r#"{"_id":"a"}"#]);
    share_key(&place, &other);
    place.ok(&["attach", &hub, "--name", "hub"]);
    let watch = place.watch(&[]);
    let there = place.start(
        &[
            &other[..],
            &["attach", &hub, "--name", "hub", "--watch", "--json"],
        ]
        .concat(),
    );
    there.line_where(|line| line["state"] == "up_to_date");
    place.ok(&[&other[..], &["put", r#"{"_id":"b"}"#]].concat());
    let line = watch.line_where(|line| line["changes"].is_array());
    assert_eq!(
        (&line["changes"][0]["id"], &line["origin"]),
        (&json!("b"), &json!("hub"))
    );
    place.ok(&["put", r#"{"_id":"c"}"#]);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while ids(&place, &other) != "a\nb\nc\n" {
        assert!(std::time::Instant::now() < deadline, "c does not arrive");
    }
    assert_eq!(watch.terminate(), 0);
    assert_eq!(there.terminate(), 0);
}

#[test]
fn ledgers_that_began_apart_are_joined_only_when_asked() {
    let place = Place::new();
    let hub = place.url("hub");
    let other = ["--db", "other", "--keybag", "other-keys"];
    place.ok(&["put", r#"{"_id":"a"}"#]);
    place.ok(&["attach", &hub]);
    place.ok(&[&other[..], &["put", r#"{"_id":"b"}"#]].concat());
    share_key(&place, &other);
    let (code, error) = place.fails(&[&other[..], &["attach", &hub]].concat());
    assert_eq!((code, &error["kind"]), (6, &json!("needs_merge")));
    assert!(
        error["hint"].as_str().unwrap().contains("--merge"),
        "{error}"
    );
    assert_eq!(ids(&place, &other), "b\n");
    assert_eq!(
        place.json(&[&other[..], &["remotes"]].concat()),
        [] as [Value; 0]
    );
    place.ok(&[&other[..], &["attach", &hub, "--merge"]].concat());
    assert_eq!(ids(&place, &other), "a\nb\n");
    place.ok(&["sync"]);
    assert_eq!(ids(&place, &[]), "a\nb\n");
}

#[test]
fn without_the_key_nothing_is_read_and_the_key_is_named() {
    let place = Place::new();
    let hub = place.url("hub");
    place.ok(&["put", r#"{"_id":"a"}"#]);
    place.ok(&["attach", &hub]);
    let fingerprint = place.ok(&["keys", "show"]);
    let other = ["--db", "other", "--keybag", "other-keys"];
    let (code, error) = place.fails(&[&other[..], &["attach", &hub]].concat());
    assert_eq!((code, &error["kind"]), (5, &json!("needs_key")));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains(fingerprint.trim()),
        "{error}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("keys export"),
        "{error}"
    );
    share_key(&place, &other);
    place.ok(&[&other[..], &["attach", &hub]].concat());
    assert_eq!(ids(&place, &other), "a\n");
}

#[test]
fn unknown_schemes_and_folders_that_cannot_be_written_have_their_errors() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let (code, error) = place.fails(&["attach", "gopher://x"]);
    assert_eq!((code, &error["kind"]), (4, &json!("bad_url")));
    assert!(
        error["message"].as_str().unwrap().contains("file://"),
        "it lists the schemes: {error}"
    );
    // Not even root can make a folder here.
    let (code, error) = place.fails(&["attach", "file:///proc/firebrick", "--timeout", "2"]);
    assert!(code == 6 || code == 1, "{error}");
    // Everything stored is still there, and the database works.
    assert_eq!(place.ok(&["list", "--ids"]), "a\n");
    place.ok(&["put", r#"{"_id":"b"}"#]);
}

#[test]
fn syncing_in_time_or_exit_code() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    place.ok(&["attach", &place.url("hub"), "--name", "hub"]);
    place.ok(&["sync", "--timeout", "30"]);
    place.ok(&["sync", "hub"]);
    assert_eq!(place.fails(&["sync", "nobody"]).0, 3);
}
