//! `backup` and `restore`.

use crate::support::Place;

fn filled() -> Place {
    let place = Place::new();
    for n in 0..5 {
        place.ok(&["put", "--id", &format!("d{n}"), &format!(r#"{{"n":{n}}}"#)]);
    }
    place.ok(&["del", "d4"]);
    place
}

#[test]
fn backups_are_written_checked_and_restored() {
    let place = filled();
    let path = |name: &str| place.path(name).display().to_string();
    let (full, more) = (path("full.fbk"), path("more.fbk"));
    let info = &place.json(&["backup", &full])[0];
    assert_eq!(info["file_bytes"], std::fs::metadata(&full).unwrap().len());
    assert_eq!(info["base"].as_array().unwrap().len(), 0);
    place.ok(&["put", "--id", "later", r#"{"n":9}"#]);
    let film = "0123456789".repeat(30_000);
    let film = place.write("film.mp4", &film);
    place.ok(&["files", "put", "d0", &film]);
    let text = place.ok(&["backup", "--since", &full, &more]);
    assert!(
        text.contains("incremental") && text.contains("db"),
        "{text}"
    );

    let text = place.ok(&["restore", "--dry-run", &full, &more]);
    assert_eq!(text.lines().count(), 2, "{text}");
    let copy = path("copy");
    let report = &place.json(&["--db", &copy, "restore", &full, &more])[0];
    assert_eq!(report["documents"], 5, "{report}");
    assert_eq!(place.ok(&["list"]), place.ok(&["--db", &copy, "list"]));
    assert_eq!(
        place.json(&["status"])[0]["head"],
        place.json(&["--db", &copy, "status"])[0]["head"]
    );
    let out = path("out.mp4");
    place.ok(&[
        "--db",
        &copy,
        "files",
        "get",
        "d0",
        "film.mp4",
        "--offline",
        "-o",
        &out,
    ]);
    assert_eq!(std::fs::read(&film).unwrap(), std::fs::read(out).unwrap());

    // Nothing is overwritten.
    let (code, error) = place.fails(&["--db", &copy, "restore", &full]);
    assert_eq!((code, error["kind"].as_str()), (4, Some("not_empty")));
    let (code, error) = place.fails(&["backup", &full]);
    assert_eq!((code, error["kind"].as_str()), (4, Some("exists")));
    place.ok(&["backup", "--replace", &full]);
}

#[test]
fn what_cannot_be_restored_says_why() {
    let place = filled();
    let path = |name: &str| place.path(name).display().to_string();
    let full = path("full.fbk");
    place.ok(&["backup", &full]);
    let good = std::fs::read(&full).unwrap();
    let (cut, hit) = (path("cut.fbk"), path("hit.fbk"));
    std::fs::write(&cut, &good[..good.len() - 40]).unwrap();
    let mut bytes = good.clone();
    bytes[good.len() / 2] ^= 1;
    std::fs::write(&hit, bytes).unwrap();
    let copy = path("copy");
    for (file, kind) in [(&cut, "truncated_backup"), (&hit, "damaged_backup")] {
        for more in [&["restore"][..], &["restore", "--dry-run"]] {
            let args = [&["--db", &copy][..], more, &[file.as_str()]].concat();
            let (code, error) = place.fails(&args);
            assert_eq!((code, error["kind"].as_str()), (4, Some(kind)));
            assert!(!place.path("copy").exists());
        }
    }
    let keys = path("other-keys");
    let elsewhere = ["--db", &copy, "--keybag", &keys, "restore", &full];
    let (code, error) = place.fails(&elsewhere);
    assert_eq!((code, error["kind"].as_str()), (5, Some("missing_key")));
    assert!(
        error["message"].as_str().unwrap().contains("other-keys"),
        "{error}"
    );
    let key = place.ok(&["keys", "export"]);
    let with_key = [&elsewhere[..], &["--key", key.trim()]].concat();
    place.ok(&with_key);
    assert_eq!(
        place
            .ok(&["--db", &copy, "--keybag", &keys, "list", "--ids"])
            .lines()
            .count(),
        4
    );
    let (code, error) = place.fails(&["--db", &path("nowhere"), "backup", &path("x.fbk")]);
    assert_eq!((code, error["kind"].as_str()), (3, Some("no_database")));
}

#[test]
fn a_backup_is_made_beside_a_process_that_has_the_database_open() {
    let place = filled();
    let watch = place.watch(&[]);
    place.ok(&["put", "--id", "now", "{}"]);
    watch.line();
    let file = place.path("live.fbk").display().to_string();
    place.ok(&["backup", "live.fbk"]);
    let report = &place.json(&["--db", "copy", "restore", &file])[0];
    assert_eq!(report["documents"], 5);
    assert_eq!(watch.terminate(), 0);
}
