//! Commands at a prompt; here from a pipe, as a script.

use crate::support::Place;

#[test]
fn a_script_runs_line_by_line_on_one_open_database() {
    let place = Place::new();
    let script = r#"
# a shopping list
put {"_id": "milk", "litres": 2}
put --id 'sour cream' {"cups": 1}
get milk --json
list --ids
"#;
    let ran = place.run_with_input(&["shell"], script);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "milk",
            "sour cream",
            r#"{"_id":"milk","litres":2}"#,
            "milk",
            "sour cream"
        ]
    );
    assert!(!place.path("db/control.sock").exists());
    assert_eq!(
        place.ok(&["get", "sour cream"]),
        "{\"_id\":\"sour cream\",\"cups\":1}\n"
    );
}

#[test]
fn a_script_stops_at_the_first_failure_with_its_code_and_line() {
    let place = Place::new();
    let ran = place.run_with_input(
        &["shell"],
        "put {\"_id\": \"a\"}\nget b\nput {\"_id\": \"c\"}\n",
    );
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("line 2"), "{}", ran.stderr);
    assert_eq!(place.ok(&["list", "--ids"]), "a\n");
    for (line, code) in [("put {", 4), ("get 'a", 4), ("frobnicate", 2), ("shell", 2)] {
        let ran = place.run_with_input(&["shell"], line);
        assert_eq!(ran.code, code, "{line}: {}", ran.stderr);
    }
}

#[test]
fn help_and_exit_are_commands_too() {
    let place = Place::new();
    let ran = place.run_with_input(&["shell"], "help list\nexit\nput {\"_id\": \"never\"}\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("--prefix"), "{}", ran.stdout);
    assert!(!place.path("db").exists());
}
