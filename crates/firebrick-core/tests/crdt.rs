//! The laws of the pail, the clock and the merge, against a slow model (`crdt/model.rs`).

#![allow(clippy::unwrap_used)]

#[path = "crdt/clock.rs"]
mod clock;
#[path = "crdt/history.rs"]
mod history;
#[path = "crdt/merge.rs"]
mod merge;
#[path = "crdt/model.rs"]
mod model;
#[path = "crdt/pail.rs"]
mod pail;
#[path = "crdt/versions.rs"]
mod versions;

use proptest::test_runner::{Config, FileFailurePersistence};

/// So many cases, or as many as `PROPTEST_CASES` asks for. What failed once is tried first.
fn config(cases: u32) -> Config {
    let config = Config::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config.cases,
        None => cases,
    };
    let file = FileFailurePersistence::Direct("tests/crdt/regressions.txt");
    Config {
        cases,
        failure_persistence: Some(Box::new(file)),
        ..config
    }
}
