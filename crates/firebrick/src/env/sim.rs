//! The simulator: one thread, virtual time, and a seed that decides everything else.
//!
//! An [`Executor`] runs tasks one poll at a time. Which of the ready tasks comes next is drawn from
//! the seed, so that each seed is one possible interleaving; when no task is ready, time jumps to
//! the next timer. Tasks belong to *processes*, which can [crash](Executor::crash): all their tasks
//! vanish at once, wherever they are. The same seed gives the same run, poll for poll; the
//! [hash of the event log](Executor::log_hash) proves it, see [`check_replay`].
//!
//! ```
//! use std::time::Duration;
//! use firebrick::env::{Env, sim::Executor};
//!
//! let executor = Executor::new(7);
//! let env = executor.process("a");
//! let (sender, receiver) = tokio::sync::oneshot::channel();
//! let inner = env.clone();
//! env.spawn("sleeper", Box::pin(async move {
//!     inner.sleep(Duration::from_secs(3600)).await;
//!     let _ = sender.send("an hour passed at once");
//! }));
//! let answer = executor.run_until(receiver, Duration::from_secs(7200))?;
//! assert_eq!(answer, Ok("an hour passed at once"));
//! assert_eq!(executor.now(), Duration::from_secs(3600));
//! # Ok::<(), firebrick::env::sim::Stuck>(())
//! ```

mod log;
mod process;
mod replay;
mod stuck;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use self::log::Log;
use self::process::Process;
use self::task::{Current, MAIN, Ready, Task, TaskId};
use super::rng::Rng;
use crate::lock;

pub use self::process::SimEnv;
pub use self::replay::{Diverged, check_replay};
pub use self::stuck::{Stuck, StuckReason, StuckTask};
pub(crate) use self::task::{Wait, report_wait};
pub use self::task::{note, noting};

/// Polls at one instant before a run counts as going round in circles.
const DEFAULT_POLL_LIMIT: u64 = 2_000_000;

/// A deterministic executor with virtual time.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// # let executor = Executor::new(1);
/// let env = executor.process("a");
/// executor.run_until(env.sleep(Duration::from_secs(3600)), Duration::from_secs(7200))?;
/// assert_eq!(executor.now(), Duration::from_secs(3600));
/// # Ok::<(), firebrick::env::sim::Stuck>(())
/// ```
#[derive(Debug)]
pub struct Executor {
    shared: Arc<Shared>,
}

/// What the executor, its environments and their futures share.
#[derive(Debug)]
struct Shared {
    seed: u64,
    state: Mutex<State>,
    ready: Arc<Ready>,
}

#[derive(Debug)]
struct State {
    now: Duration,
    order: Rng,
    tasks: BTreeMap<TaskId, Task>,
    next_task: TaskId,
    /// By due time, then in the order of registration.
    timers: BTreeMap<(Duration, u64), Waker>,
    next_timer: u64,
    processes: Vec<Process>,
    poll_limit: u64,
    log: Log,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panicking task ends the run; the state is then only read for the report.
        lock::lock(&self.state)
    }
}

/// What to do in the next step of a run.
enum Turn {
    Poll(TaskId),
    Jump(Duration),
    Stuck(StuckReason),
}

impl Executor {
    /// An executor whose every choice follows from `seed`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let executor = Executor::new(42);
    /// assert_eq!((executor.seed(), executor.now()), (42, Duration::ZERO));
    /// ```
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_log(seed, Log::new())
    }

    fn with_log(seed: u64, log: Log) -> Self {
        let state = State {
            now: Duration::ZERO,
            order: Rng::derive(seed, "order of tasks"),
            tasks: BTreeMap::new(),
            next_task: MAIN + 1,
            timers: BTreeMap::new(),
            next_timer: 0,
            processes: Vec::new(),
            poll_limit: DEFAULT_POLL_LIMIT,
            log,
        };
        Self {
            shared: Arc::new(Shared {
                seed,
                state: Mutex::new(state),
                ready: Arc::default(),
            }),
        }
    }

    /// The seed.
    ///
    /// ```
    /// use firebrick::env::sim::Executor;
    /// assert_eq!(Executor::new(42).seed(), 42);
    /// ```
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The virtual time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// executor.run_for(Duration::from_secs(3600))?; // takes no time
    /// assert_eq!(executor.now(), Duration::from_secs(3600));
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.state().now
    }

    /// A random generator for the scenario itself, independent of everything else.
    ///
    /// ```
    /// use firebrick::env::sim::Executor;
    /// let (one, other) = (Executor::new(7), Executor::new(7));
    /// assert_eq!(one.rng("writers").next_u64(), other.rng("writers").next_u64());
    /// ```
    #[must_use]
    pub fn rng(&self, purpose: &str) -> Rng {
        Rng::derive(self.shared.seed, purpose)
    }

    /// The hash of everything that has happened: spawns, polls, timers, crashes and notes in order.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let run = |seed, seconds| {
    ///     let executor = Executor::new(seed);
    ///     let env = executor.process("a");
    ///     executor.run_until(env.sleep(Duration::from_secs(seconds)), Duration::from_secs(60))?;
    ///     Ok(executor.log_hash())
    /// };
    /// assert_eq!(run(1, 5)?, run(1, 5)?);
    /// assert_ne!(run(1, 5)?, run(1, 6)?);
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    #[must_use]
    pub fn log_hash(&self) -> u64 {
        self.shared.state().log.hash()
    }

    /// How many tasks exist.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// env.spawn("waits", Box::pin(std::future::pending()));
    /// assert_eq!(executor.task_count(), 1);
    /// env.crash();
    /// assert_eq!(executor.task_count(), 0);
    /// ```
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.shared.state().tasks.len()
    }

    /// How many polls may happen at one instant before the run counts as stuck.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// use firebrick::env::{sim::StuckReason, yield_now};
    /// # let executor = Executor::new(1);
    /// executor.set_poll_limit(100);
    /// let circle = async { loop { yield_now().await } };
    /// let stuck = executor.run_until(circle, Duration::from_secs(1)).unwrap_err();
    /// assert_eq!(stuck.reason, StuckReason::Livelock);
    /// ```
    pub fn set_poll_limit(&self, polls: u64) {
        self.shared.state().poll_limit = polls;
    }

    /// Runs all tasks for this long, in virtual time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// let (sender, mut receiver) = tokio::sync::oneshot::channel();
    /// let slow = env.clone();
    /// env.spawn("slow", Box::pin(async move {
    ///     slow.sleep(Duration::from_secs(10)).await;
    ///     drop(sender.send("done"));
    /// }));
    /// executor.run_for(Duration::from_secs(9))?;
    /// assert!(receiver.try_recv().is_err());
    /// executor.run_for(Duration::from_secs(2))?;
    /// assert_eq!(receiver.try_recv(), Ok("done"));
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    ///
    /// # Errors
    /// [`Stuck`] if some task goes round in circles.
    pub fn run_for(&self, duration: Duration) -> Result<(), Stuck> {
        let done = process::Sleep::of_executor(&self.shared, duration);
        self.run_until(done, duration.saturating_add(Duration::from_secs(1)))
    }

    /// Runs all tasks until `future` is ready.
    ///
    /// `future` is one of the tasks: it too is polled when its turn comes. Tasks that aren't finished
    /// afterwards stay where they are until the next call.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// use firebrick::env::sim::StuckReason;
    /// # let executor = Executor::new(1);
    /// assert_eq!(executor.run_until(async { 6 * 7 }, Duration::from_secs(1))?, 42);
    /// let never = std::future::pending::<()>();
    /// let stuck = executor.run_until(never, Duration::from_secs(1)).unwrap_err();
    /// assert_eq!(stuck.reason, StuckReason::Deadlock);
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    ///
    /// # Errors
    /// [`Stuck`] with what every task waits for, if nothing can ever happen again, if `limit` of
    /// virtual time has passed, or if tasks keep waking each other without time passing.
    ///
    /// # Panics
    /// With the panic of any task; the seed is printed.
    pub fn run_until<F: Future>(&self, future: F, limit: Duration) -> Result<F::Output, Stuck> {
        let mut main = pin!(future);
        let main_waker = self.shared.ready.waker(MAIN);
        let main_name: Arc<str> = "main".into();
        let deadline = self.now().saturating_add(limit);
        let mut main_waits = Vec::new();
        let mut polls_at_instant = 0u64;
        self.shared.ready.push(MAIN);
        loop {
            match self.next_turn(deadline, polls_at_instant) {
                Turn::Poll(MAIN) => {
                    polls_at_instant += 1;
                    let current = Current::enter(&self.shared, MAIN, &main_name);
                    let poll = main.as_mut().poll(&mut Context::from_waker(&main_waker));
                    main_waits = current.leave();
                    if let Poll::Ready(output) = poll {
                        self.shared.ready.remove(MAIN);
                        return Ok(output);
                    }
                }
                Turn::Poll(id) => {
                    polls_at_instant += 1;
                    self.poll_task(id);
                }
                Turn::Jump(to) => {
                    polls_at_instant = 0;
                    self.advance_to(to);
                }
                Turn::Stuck(reason) => {
                    self.shared.ready.remove(MAIN);
                    return Err(self.stuck(reason, &main_waits));
                }
            }
        }
    }

    fn next_turn(&self, deadline: Duration, polls_at_instant: u64) -> Turn {
        let mut state = self.shared.state();
        if polls_at_instant > state.poll_limit {
            return Turn::Stuck(StuckReason::Livelock);
        }
        while let Some(id) = self.shared.ready.take(&mut state.order) {
            if id == MAIN {
                state.log.poll(id);
                return Turn::Poll(id);
            }
            // A waker can outlive its task.
            let Some(task) = state.tasks.get(&id) else {
                continue;
            };
            let process = task.process;
            if state.processes[process].park(id) {
                continue;
            }
            state.log.poll(id);
            return Turn::Poll(id);
        }
        match state.timers.first_key_value() {
            None => Turn::Stuck(StuckReason::Deadlock),
            Some(((due, _), _)) if *due > deadline => Turn::Stuck(StuckReason::TimeLimit),
            Some(((due, _), _)) => Turn::Jump(*due),
        }
    }

    fn poll_task(&self, id: TaskId) {
        let (mut future, waker, name) = {
            let mut state = self.shared.state();
            let now = state.now;
            let Some(task) = state.tasks.get_mut(&id) else {
                return;
            };
            let Some(future) = task.future.take() else {
                return;
            };
            task.polled_at = now;
            (future, task.waker.clone(), Arc::clone(&task.name))
        };
        let current = Current::enter(&self.shared, id, &name);
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        let waits = current.leave();
        {
            let mut state = self.shared.state();
            // The task may have crashed its own process; then it is gone already.
            if poll.is_pending()
                && let Some(task) = state.tasks.get_mut(&id)
            {
                task.waits = waits;
                task.future = Some(future);
                return;
            }
            state.tasks.remove(&id);
        }
        // Without the lock: what the future owns may call the executor when dropped.
        drop(future);
    }

    fn advance_to(&self, to: Duration) {
        let mut state = self.shared.state();
        state.now = state.now.max(to);
        state.log.time(to);
        let later = state.timers.split_off(&(to, u64::MAX));
        let due = std::mem::replace(&mut state.timers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    fn stuck(&self, reason: StuckReason, main_waits: &[Wait]) -> Stuck {
        let state = self.shared.state();
        let mut tasks = vec![StuckTask::main(main_waits)];
        tasks.extend(state.tasks.values().map(|task| {
            let process = &state.processes[task.process];
            StuckTask::of(task, process, state.now)
        }));
        Stuck {
            reason,
            seed: self.shared.seed,
            at: state.now,
            tasks,
            notes: state.log.recent(),
        }
    }

    /// The text of every event so far, if the executor was made to keep it.
    fn transcript(&self) -> Vec<String> {
        self.shared.state().log.transcript()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold environments, and these hold the tasks: break the circle.
        let tasks = {
            let mut state = self.shared.state();
            state.processes.iter_mut().for_each(Process::kill);
            std::mem::take(&mut state.tasks)
        };
        drop(tasks);
    }
}
