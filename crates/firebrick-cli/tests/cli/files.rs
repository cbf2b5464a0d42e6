//! `files`: contents beside documents.

use std::fs;

use crate::support::Place;

#[test]
fn files_are_attached_listed_read_and_removed() {
    let place = Place::new();
    let content: String = (0..50_000).map(|n| format!("{n} ")).collect();
    let path = place.write("numbers.txt", &content);
    let put = &place.json(&["files", "put", "doc", &path])[0];
    assert_eq!(put["name"], "numbers.txt");
    assert_eq!(put["size"], content.len());
    assert_eq!(put["content_type"], "text/plain");
    let ran = place.run_with_input(&["files", "put", "doc", "-", "--name", "typed"], "hello");
    assert_eq!(ran.code, 0, "{ran:?}");
    let listed = place.json(&["files", "list", "doc"]);
    let names: Vec<&str> = listed
        .iter()
        .filter_map(|file| file["name"].as_str())
        .collect();
    assert_eq!(names, ["numbers.txt", "typed"]);
    assert!(
        listed
            .iter()
            .all(|file| file["local_bytes"] == file["size"])
    );

    assert_eq!(place.ok(&["files", "get", "doc", "typed"]), "hello");
    for (range, expected) in [("1..3", "el"), ("3..", "lo"), ("..2", "he"), ("9..", "")] {
        assert_eq!(
            place.ok(&["files", "get", "doc", "typed", "--range", range]),
            expected
        );
    }
    let copy = place.path("copy.txt");
    let copy = copy.to_str().unwrap();
    place.ok(&["files", "get", "doc", "numbers.txt", "--output", copy]);
    assert_eq!(fs::read_to_string(copy).unwrap(), content);

    place.ok(&["files", "remove", "doc", "typed"]);
    let (code, error) = place.fails(&["files", "get", "doc", "typed"]);
    assert_eq!((code, error["kind"].as_str()), (3, Some("not_found")));
    let (code, _) = place.fails(&["files", "remove", "doc", "typed"]);
    assert_eq!(code, 3);
    let (code, error) = place.fails(&["files", "put", "doc", "nothing.jpg"]);
    assert_eq!((code, error["kind"].as_str()), (4, Some("bad_file")));
    let (code, _) = place.fails(&["files", "get", "doc", "x", "--range", "5..3"]);
    assert_eq!(code, 2);
}

#[test]
fn a_file_comes_from_the_remote_when_it_is_read() {
    let place = Place::new();
    let path = place.write("a.bin", &"content ".repeat(20_000));
    let url = place.url("hub");
    place.ok(&["files", "put", "doc", &path]);
    place.ok(&["attach", &url]);
    let key = place.ok(&["keys", "export"]);
    let other = ["--db", "other"];
    place.ok(&[&other[..], &["attach", &url, "--key", key.trim()]].concat());
    let listed = &place.json(&[&other[..], &["files", "list", "doc"]].concat())[0];
    assert_eq!(listed["local_bytes"], 0);
    let (code, error) =
        place.fails(&[&other[..], &["files", "get", "doc", "a.bin", "--offline"]].concat());
    assert_eq!((code, error["kind"].as_str()), (3, Some("missing_file")));
    let copy = place.ok(&[&other[..], &["files", "get", "doc", "a.bin"]].concat());
    assert_eq!(copy, fs::read_to_string(path).unwrap());
    let again = place.ok(&[&other[..], &["files", "get", "doc", "a.bin", "--offline"]].concat());
    assert_eq!(again, copy);
}

#[test]
fn files_go_through_the_process_that_has_the_database() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"doc"}"#]);
    let watching = place.watch(&[]);
    let content = "0123456789".repeat(300_000);
    let path = place.write("long.txt", &content);
    place.ok(&["files", "put", "doc", &path]);
    watching.line_where(|line| line["id"] == "doc" || line["changes"].is_array());
    assert!(place.ok(&["files", "get", "doc", "long.txt"]) == content);
    let ran = place.run_with_input(&["files", "put", "doc", "-", "--name", "x"], "hello");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(watching.terminate(), 0);
}
