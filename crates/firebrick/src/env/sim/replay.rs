//! Proof that a seed replays.

use super::Executor;
use super::log::Log;

/// Two runs of one seed that went different ways.
///
/// ```
/// use firebrick::env::sim::{Executor, check_replay, note};
/// let runs = std::cell::Cell::new(0);
/// let diverged = check_replay(7, |executor: &Executor| {
///     runs.set(runs.get() + 1);
///     let run = runs.get(); // state that two runs share
///     let work = async move { note(|| format!("run {run}")) };
///     executor.run_until(work, std::time::Duration::from_secs(1)).unwrap();
/// });
/// let diverged = diverged.unwrap_err();
/// assert_eq!(diverged.seed, 7);
/// assert_ne!(diverged.first, diverged.second);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "seed {seed} doesn't replay: event {at} was {first:?} and then {second:?}; look for hash map \
     order, real time, real randomness or state shared between runs"
)]
pub struct Diverged {
    /// The seed.
    pub seed: u64,
    /// Index of the first event that differs.
    pub at: usize,
    /// The event in the first run, if there was one.
    pub first: Option<String>,
    /// The event in the second run, if there was one.
    pub second: Option<String>,
}

/// Runs `scenario` twice with the same seed, and compares the two event logs.
///
/// ```
/// # use std::time::Duration;
/// use firebrick::env::{Env, sim::check_replay};
/// let hour = check_replay(7, |executor| {
///     let env = executor.process("a");
///     let sleep = env.sleep(Duration::from_secs(3600));
///     executor.run_until(sleep, Duration::from_secs(7200)).unwrap();
///     executor.now()
/// })?;
/// assert_eq!(hour, Duration::from_secs(3600));
/// # Ok::<(), firebrick::env::sim::Diverged>(())
/// ```
///
/// # Errors
/// [`Diverged`] with the first event that differs.
pub fn check_replay<T>(seed: u64, scenario: impl Fn(&Executor) -> T) -> Result<T, Diverged> {
    let run = || {
        let executor = Executor::with_log(seed, Log::with_transcript());
        let output = scenario(&executor);
        (output, executor.log_hash(), executor.transcript())
    };
    let (output, hash, transcript) = run();
    let (_, other_hash, other) = run();
    if hash == other_hash {
        return Ok(output);
    }
    let same = transcript.iter().zip(&other).take_while(|(a, b)| a == b);
    let at = same.count();
    Err(Diverged {
        seed,
        at,
        first: transcript.get(at).cloned(),
        second: other.get(at).cloned(),
    })
}
