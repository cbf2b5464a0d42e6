//! Completions and manual pages.

use crate::support::Place;

#[test]
fn completions_know_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&["completions", shell]);
        for word in ["attach", "rotate", "keybag"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(place.fails(&["completions", "cmd"]).0, 2);
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    place.ok(&["man-pages", "man"]);
    for page in ["firebrick.1", "firebrick-put.1", "firebrick-keys-rotate.1"] {
        let text = std::fs::read_to_string(place.path("man").join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains("firebrick"), "{page}");
    }
}
