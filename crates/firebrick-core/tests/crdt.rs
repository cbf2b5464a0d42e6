//! The laws of the pail, the clock and the merge, against a slow model (`crdt/model.rs`).

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

/// So many cases, or as many as `PROPTEST_CASES` asks for.
fn config(cases: u32) -> proptest::test_runner::Config {
    let config = proptest::test_runner::Config::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => proptest::test_runner::Config { cases, ..config },
    }
}
