//! Whole networks of databases on the simulator: one seed is one run, with virtual time and faults.
//!
//! A run does random things to some databases and remotes, then heals everything, and then all must
//! become equal within bounded virtual time, hold every acknowledged write, and fall silent.
//!
//! A failing seed prints how to replay it. `FIREBRICK_SEED=n` runs that seed only and shows what
//! happened in it; `FIREBRICK_SEEDS=n` runs so many instead of the usual number, from
//! `FIREBRICK_FIRST_SEED` on.

mod chaos;
mod compaction;
mod oracle;
mod scenarios;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use firebrick::env::sim::{Executor, check_replay};

use self::chaos::chaos;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 240;
/// Tests that share the seeds, so that they run on several cores.
const LANES: u64 = 4;

/// Seeds that have found something. They are run whatever else is. Each is a workload; what it does
/// with the code under test changes with the code.
const REGRESSIONS: &[u64] = &[
    10, 474, 532, // attaching again while the detached task was still ending
    214, 373, 580, // a dead writer's wish for CARs that were fine was fulfilled for ever
    156, // the same CAR from two writers, announced by one before it was there
    624, 858, // an upload that failed cut a CAR that was whole
];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a seed is a number"))
}

/// Runs a seed; the error says how to run it again.
fn run(seed: u64) -> Result<u64, String> {
    let executor = Executor::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| chaos(&executor)));
    match outcome {
        Ok(()) => Ok(executor.log_hash()),
        Err(panic) => {
            let cause = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let cause = cause.unwrap_or_else(|| "a panic".into());
            Err(format!(
                "seed {seed} failed at {:?}; replay it with\n  FIREBRICK_SEED={seed} cargo test -p \
                 firebrick --test suite simulation::replay_one -- --nocapture\n{cause}",
                executor.now()
            ))
        }
    }
}

fn run_all(seeds: impl Iterator<Item = u64>) {
    let failed: Vec<String> = seeds.filter_map(|seed| run(seed).err()).collect();
    assert!(
        failed.is_empty(),
        "{} seeds failed\n\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

fn lane(lane: u64) {
    if number("FIREBRICK_SEED").is_some() {
        return;
    }
    let first = number("FIREBRICK_FIRST_SEED").unwrap_or(1);
    let count = number("FIREBRICK_SEEDS").unwrap_or(SEEDS);
    run_all((first..first + count).filter(|seed| seed % LANES == lane));
}

#[test]
fn seeds_0() {
    lane(0);
}

#[test]
fn seeds_1() {
    lane(1);
}

#[test]
fn seeds_2() {
    lane(2);
}

#[test]
fn seeds_3() {
    lane(3);
}

#[test]
fn seeds_that_once_failed() {
    run_all(REGRESSIONS.iter().copied());
}

/// Runs the seed of `FIREBRICK_SEED`.
#[test]
fn replay_one() {
    if let Some(seed) = number("FIREBRICK_SEED") {
        run_all(std::iter::once(seed));
    }
}

/// The same seed is the same run, poll for poll.
#[test]
fn a_seed_replays() {
    for seed in [1, 2, 3, 5] {
        if let Err(diverged) = check_replay(seed, chaos) {
            panic!("{diverged}");
        }
    }
}
