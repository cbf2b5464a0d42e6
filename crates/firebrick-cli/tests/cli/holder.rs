//! One process has the database open, and others work through it.

use serde_json::{Value, json};

use crate::support::{Place, lines, signal};

fn ids(line: &Value) -> Vec<&str> {
    line["changes"].as_array().map_or(Vec::new(), |changes| {
        changes
            .iter()
            .map(|change| change["id"].as_str().unwrap())
            .collect()
    })
}

#[test]
fn watch_in_one_terminal_and_put_in_another() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"old"}"#]);
    let watch = place.watch(&["--docs"]);
    for n in 0..3 {
        let id = format!("n{n}");
        assert_eq!(
            place.ok(&["put", &format!("{{\"_id\":\"{id}\",\"n\":{n}}}")]),
            format!("{id}\n")
        );
        let line = watch.line();
        assert_eq!(ids(&line), [id.as_str()]);
        assert_eq!(line["origin"], "local");
        assert_eq!(line["changes"][0]["doc"]["n"], n);
    }
    place.ok(&["del", "n1"]);
    let line = watch.line();
    assert_eq!(
        (ids(&line), &line["changes"][0]["deleted"]),
        (vec!["n1"], &json!(true))
    );
    assert_eq!(watch.terminate(), 0);
    assert_eq!(place.ok(&["list", "--ids"]), "n0\nn2\nold\n");
    assert!(!place.path("db/control.sock").exists());
}

#[test]
fn every_command_works_through_the_holder() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let watch = place.watch(&[]);
    let before = &place.json(&["status"])[0];
    assert_eq!(before["served_by"], watch.id());
    assert_eq!(before["documents"], 1);

    let input: String = (0..2500)
        .map(|n| format!("{{\"_id\":\"i{n:04}\"}}\n"))
        .collect();
    let ran = place.run_with_input(&["import", "--json"], &input);
    assert_eq!(
        (ran.code, &lines(&ran.stdout)[0]["imported"]),
        (0, &json!(2500)),
        "{ran:?}"
    );
    assert_eq!(place.json(&["list", "--prefix", "i"]).len(), 2500);
    assert_eq!(
        lines(&place.ok(&["get", "i0007"])),
        [json!({"_id": "i0007"})]
    );
    assert_eq!(place.ok(&["export"]).lines().count(), 2501);
    assert_eq!(place.json(&["changes"]).len(), 2501);
    // Errors come through as they are.
    assert_eq!(place.fails(&["get", "x"]).0, 3);
    assert_eq!(place.fails(&["put", r#"{"_id":"é"}"#]).0, 4);
    assert_eq!(place.fails(&["del", "x"]).0, 3);

    let key = place.ok(&["keys", "export"]);
    assert!(key.starts_with('z'), "{key}");
    assert_eq!(place.fails(&["keys", "import", "nonsense"]).0, 4);

    let hub = place.url("hub");
    place.ok(&["attach", &hub, "--name", "hub"]);
    place.ok(&["sync"]);
    assert_eq!(place.json(&["remotes"])[0]["remote"], "hub");
    let status = &place.json(&["status"])[0];
    assert_eq!(status["remotes"][0]["state"], "up_to_date", "{status}");
    place.ok(&["detach", "hub"]);
    assert_eq!(place.json(&["remotes"]), [] as [Value; 0]);
    assert_eq!(watch.terminate(), 0);
    assert_eq!(place.json(&["list", "--ids"]).len(), 2501);
}

#[test]
fn a_second_watch_takes_over_when_the_first_ends() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let first = place.watch(&[]);
    let second = place.watch(&[]);
    place.ok(&["put", r#"{"_id":"b"}"#]);
    assert_eq!(ids(&first.line()), ["b"]);
    assert_eq!(ids(&second.line()), ["b"]);
    // Killed: it leaves its socket behind and says nothing.
    signal("KILL", first.id());
    first.wait();
    place.ok(&["put", r#"{"_id":"c"}"#]);
    let line = second.line();
    assert_eq!(ids(&line), ["c"]);
    place.ok(&["put", r#"{"_id":"d"}"#]);
    assert_eq!(ids(&second.line()), ["d"]);
    assert_eq!(second.terminate(), 0);
}

#[test]
fn a_watch_can_be_bounded_and_begin_in_the_past() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let head = place.json(&["status"])[0]["head"][0]
        .as_str()
        .unwrap()
        .to_owned();
    place.ok(&["put", r#"{"_id":"b"}"#]);
    let watch = place.watch(&["--since", &head, "-n", "2"]);
    assert_eq!(ids(&watch.line()), ["b"]);
    place.ok(&["put", r#"{"_id":"c"}"#]);
    assert_eq!(ids(&watch.line()), ["c"]);
    assert_eq!(watch.wait(), 0);
    assert_eq!(place.fails(&["watch", "--since", "nonsense"]).0, 4);
}

#[test]
fn a_long_path_gets_a_socket_elsewhere() {
    let place = Place::new();
    let deep = format!("{}/{}", "d".repeat(80), "e".repeat(80));
    let db = ["--db", &deep];
    place.ok(&[&db[..], &["put", r#"{"_id":"a"}"#]].concat());
    let watch = place.watch(&db);
    place.ok(&[&db[..], &["put", r#"{"_id":"b"}"#]].concat());
    assert_eq!(ids(&watch.line()), ["b"]);
    assert_eq!(watch.terminate(), 0);
}

#[test]
fn a_holder_that_does_not_serve_is_waited_for_then_named() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let share = place.write("empty.ndjson", "");
    // One database of a demo: it has its database open and serves nobody.
    let hub = place.url("hub");
    let worker = place.start(&[
        "demo-worker",
        "--share",
        &share,
        "--remote",
        &hub,
        "--expect",
        "1",
    ]);
    worker.line_where(|line| line["event"] == "imported");
    let (code, error) = place.fails(&["put", r#"{"_id":"b"}"#, "--wait", "0.3"]);
    assert_eq!((code, &error["kind"]), (5, &json!("locked")));
    assert!(
        error["hint"].as_str().unwrap().contains("--wait"),
        "{error}"
    );
    // Reading works beside it.
    assert_eq!(place.ok(&["list", "--ids"]), "a\n");
    assert_eq!(place.json(&["status"])[0]["documents"], 1);
    // And so does waiting until it ends.
    let put = place
        .command(&["put", r#"{"_id":"b"}"#, "--wait", "60"])
        .spawn()
        .unwrap();
    signal("KILL", worker.id());
    assert_eq!(put.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(place.ok(&["list", "--ids"]), "a\nb\n");
}

#[test]
fn writers_at_the_same_time_take_turns() {
    let place = Place::new();
    place.ok(&["put", r#"{"_id":"first"}"#]);
    let puts: Vec<_> = (0..8)
        .map(|n| {
            place
                .command(&["put", &format!("{{\"_id\":\"p{n}\"}}"), "--wait", "60"])
                .spawn()
                .unwrap()
        })
        .collect();
    for put in puts {
        let output = put.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(place.ok(&["list", "--ids"]).lines().count(), 9);
}

#[test]
fn only_well_formed_requests_are_answered() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    let place = Place::new();
    place.ok(&["put", r#"{"_id":"a"}"#]);
    let watch = place.watch(&[]);
    let socket = place.path("db/control.sock");
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for nonsense in ["{}\n", "\n", "[1,2\n", "{\"op\":\"fly\"}\n", "\u{0}\u{1}\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(nonsense.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["is"], "failed", "{nonsense:?}");
    }
    // One that connects and says nothing keeps nobody from ending.
    let _silent = UnixStream::connect(&socket).unwrap();
    place.ok(&["put", r#"{"_id":"b"}"#]);
    assert_eq!(ids(&watch.line()), ["b"]);
    assert_eq!(watch.terminate(), 0);
}
