//! `stats`.

use crate::support::Place;

#[test]
fn figures_of_a_database_and_its_remotes() {
    let place = Place::new();
    for n in 0..4 {
        place.ok(&["put", "--id", &format!("d{n}"), &format!(r#"{{"n":{n}}}"#)]);
    }
    place.ok(&["del", "d3"]);
    place.ok(&["query", "n"]);
    place.ok(&["attach", &place.url("hub"), "--name", "hub"]);
    place.ok(&["put", "--id", "d0", r#"{"n":9}"#]);
    let stats = &place.json(&["stats"])[0];
    let number = |field: &str| stats[field].as_u64().unwrap();
    assert_eq!((number("documents"), number("deleted")), (3, 1), "{stats}");
    // The first value of d0, and what d3 was.
    assert_eq!((number("versions"), number("faults")), (2, 0), "{stats}");
    assert!(number("live_bytes") > 500 && number("log_bytes") > number("live_bytes"));
    assert!(number("reclaimable_bytes") > 0, "{stats}");
    assert_eq!(stats["indexes"][0]["name"], "n");
    let remote = &stats["remotes"][0];
    assert_eq!(
        (remote["remote"].as_str(), remote["attached"].as_bool()),
        (Some("hub"), Some(false))
    );
    assert_eq!(
        (
            remote["events_to_push"].as_u64(),
            remote["documents_to_push"].as_u64()
        ),
        (Some(1), Some(1))
    );
    place.ok(&["sync"]);
    let text = place.ok(&["stats"]);
    assert!(text.starts_with(" documents"), "{text}");
    assert!(
        text.contains("has everything") && text.contains("3 (1 deleted)"),
        "{text}"
    );
}
