//! `verify` and `repair`.

use crate::support::Place;

#[test]
fn damage_is_named_and_repaired_from_a_remote() {
    let place = Place::new();
    let insecure = |args: &[&str]| -> Vec<String> {
        let all = args.iter().copied().chain(["--insecure"]);
        all.map(str::to_owned).collect()
    };
    let args = |args: &[&str]| insecure(args);
    let run = |list: &[&str]| {
        let args = args(list);
        place.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for n in 0..5 {
        let ran = run(&[
            "put",
            "--id",
            &format!("d{n}"),
            &format!(r#"{{"text":"canary {n}"}}"#),
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let ran = run(&["verify"]);
    assert!(
        ran.code == 0 && ran.stdout.contains("5 documents"),
        "{ran:?}"
    );
    let ran = run(&["attach", &place.url("hub"), "--name", "hub"]);
    assert_eq!(ran.code, 0, "{ran:?}");

    // A bit of one document.
    for entry in std::fs::read_dir(place.path("db/log")).unwrap() {
        let path = entry.unwrap().path();
        let mut log = std::fs::read(&path).unwrap();
        let canary = b"canary 3";
        let mut at = 0;
        while let Some(found) = log[at..]
            .windows(canary.len())
            .position(|part| part == canary)
        {
            log[at + found] ^= 1;
            at += found + 1;
        }
        std::fs::write(&path, log).unwrap();
    }
    let ran = run(&["verify", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{report}");
    assert_eq!(
        (&findings[0]["holds"], &findings[0]["id"]),
        (&"document".into(), &"d3".into())
    );
    assert_eq!(
        (&findings[0]["fault"], &findings[0]["remotes"][0]),
        (&"damaged".into(), &"hub".into())
    );
    let ran = run(&["verify"]);
    assert!(ran.stdout.contains("document \"d3\": damaged"), "{ran:?}");
    assert!(ran.stdout.contains("to be had from hub"), "{ran:?}");

    let ran = run(&["repair"]);
    assert!(ran.code == 0 && ran.stdout.contains("1 fetched"), "{ran:?}");
    let ran = run(&["verify"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = run(&["get", "d3"]);
    assert!(ran.stdout.contains("canary 3"), "{ran:?}");
}
