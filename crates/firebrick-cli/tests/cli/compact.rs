//! `compact`.

use crate::support::Place;

#[test]
fn compacting_gives_space_back_and_says_how_much() {
    let place = Place::new();
    let long = "x".repeat(20_000);
    for n in 0..30 {
        place.ok(&[
            "put",
            "--id",
            "same",
            &format!(r#"{{"n":{n},"long":"{long}"}}"#),
        ]);
    }
    let dry = &place.json(&["compact", "--dry-run"])[0];
    assert_eq!(dry["dry_run"], true);
    assert!(dry["reclaimable_bytes"].as_u64().unwrap() > 25 * 20_000);
    let three = &place.json(&["compact", "--dry-run", "--keep-versions", "3"])[0];
    assert!(three["live_bytes"].as_u64().unwrap() > dry["live_bytes"].as_u64().unwrap() + 30_000);
    let all = &place.json(&["compact", "--dry-run", "--keep-all"])[0];
    assert!(all["live_bytes"].as_u64().unwrap() > 30 * 20_000);
    let aged = &place.json(&["compact", "--dry-run", "--keep-age", "30d"])[0];
    assert_eq!(aged["live_bytes"], all["live_bytes"], "nothing is that old");

    let text = place.ok(&["compact"]);
    assert!(
        text.contains("before") && text.contains("dropped"),
        "{text}"
    );
    let after = &place.json(&["compact"])[0];
    assert!(
        after["bytes_after"].as_u64().unwrap() < 320_000 + 60_000,
        "{after}"
    );
    assert!(place.ok(&["get", "same"]).contains("\"n\":29"));
    assert_eq!(place.json(&["changes"]).len(), 1);
    let ran = place.run(&["compact", "--keep-all", "--keep-versions", "2"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
