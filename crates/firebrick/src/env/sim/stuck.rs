//! The report of a run that doesn't end.

use std::fmt;
use std::time::Duration;

use super::process::Process;
use super::task::{Task, Wait};

/// A run that didn't end, with what every task waits for.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// # let executor = Executor::new(1);
/// let env = executor.process("laptop");
/// env.spawn("reader", Box::pin(std::future::pending()));
/// let never = std::future::pending::<()>();
/// let stuck = executor.run_until(never, Duration::from_secs(1)).unwrap_err();
/// assert_eq!((stuck.seed, stuck.tasks.len()), (1, 2));
/// assert!(stuck.to_string().contains("laptop / reader waits for"));
/// ```
#[derive(Clone)]
pub struct Stuck {
    /// What happened.
    pub reason: StuckReason,
    /// The seed that replays it.
    pub seed: u64,
    /// The virtual time.
    pub at: Duration,
    /// All tasks, the awaited future first.
    pub tasks: Vec<StuckTask>,
    /// The last notes of the event log.
    pub notes: Vec<String>,
}

/// Why a run counts as stuck.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// use firebrick::env::sim::StuckReason;
/// # let executor = Executor::new(1);
/// let sleep = executor.process("a").sleep(Duration::from_secs(3600));
/// let stuck = executor.run_until(sleep, Duration::from_secs(60)).unwrap_err();
/// assert_eq!(stuck.reason, StuckReason::TimeLimit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StuckReason {
    /// No task is ready and no timer is set: nothing can ever happen again.
    Deadlock,
    /// The limit of virtual time was reached.
    TimeLimit,
    /// Tasks wake each other for ever without time passing.
    Livelock,
}

/// One task of a stuck run.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// use firebrick::env::named;
/// # let executor = Executor::new(1);
/// let never = named("a letter", std::future::pending::<()>());
/// let stuck = executor.run_until(never, Duration::from_secs(1)).unwrap_err();
/// assert_eq!(stuck.tasks[0].name, "main");
/// assert_eq!(stuck.tasks[0].waits, ["a letter"]);
/// ```
#[derive(Clone, Debug)]
pub struct StuckTask {
    /// Name of the process.
    pub process: String,
    /// Name of the task.
    pub name: String,
    /// What it waits for, outermost first; empty if nothing inside has a name.
    pub waits: Vec<String>,
    /// Time since it last did anything.
    pub idle: Duration,
}

impl StuckTask {
    pub(super) fn main(waits: &[Wait]) -> Self {
        Self {
            process: "scenario".into(),
            name: "main".into(),
            waits: outermost_first(waits),
            idle: Duration::ZERO,
        }
    }

    pub(super) fn of(task: &Task, process: &Process, now: Duration) -> Self {
        Self {
            process: process.describe(),
            name: task.name.to_string(),
            waits: outermost_first(&task.waits),
            idle: now.saturating_sub(task.polled_at),
        }
    }
}

fn outermost_first(waits: &[Wait]) -> Vec<String> {
    waits.iter().rev().map(Wait::to_string).collect()
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            StuckReason::Deadlock => "nothing can happen any more",
            StuckReason::TimeLimit => "the time limit was reached",
            StuckReason::Livelock => "tasks go round in circles",
        };
        writeln!(f, "seed {}: {what} at {:?}", self.seed, self.at)?;
        for task in &self.tasks {
            let waits = match task.waits.as_slice() {
                [] => "something without a name".to_owned(),
                waits => waits.join(" > "),
            };
            let StuckTask {
                process,
                name,
                idle,
                ..
            } = task;
            writeln!(
                f,
                "  {process} / {name} waits for {waits}; idle for {idle:?}"
            )?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "last events:")?;
        }
        self.notes
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// As [`fmt::Display`], so that `unwrap()` in a test prints the report.
impl fmt::Debug for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Stuck {}
