//! Simulated processes and their environment.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::task::{Task, TaskId, Wait, report_wait};
use super::{Executor, Shared};
use crate::env::rng::Rng;
use crate::env::{Env, yield_now};
use crate::lock;

/// Wall clock at the start of every simulation: 2024-01-01.
const START_UNIX_MS: u64 = 1_704_067_200_000;

#[derive(Debug)]
pub(super) struct Process {
    name: Arc<str>,
    alive: bool,
    /// While paused: the tasks whose turn would have come.
    paused: Option<Vec<TaskId>>,
    /// How far its wall clock is off.
    skew_ms: i64,
}

impl Process {
    pub(super) fn kill(&mut self) {
        self.alive = false;
        self.paused = None;
    }

    /// Sets a task aside if the process is paused.
    pub(super) fn park(&mut self, id: TaskId) -> bool {
        let Some(parked) = &mut self.paused else {
            return false;
        };
        parked.push(id);
        true
    }

    pub(super) fn describe(&self) -> String {
        let state = match (self.alive, &self.paused) {
            (false, _) => " (dead)",
            (true, Some(_)) => " (paused)",
            (true, None) => "",
        };
        format!("{}{state}", self.name)
    }
}

impl Executor {
    /// Starts a process. Its random numbers follow from the seed, the name, and how many processes
    /// of this name there were before.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let (ann, bob) = (executor.process("ann"), executor.process("bob"));
    /// let random = |env: &dyn Env| {
    ///     let mut bytes = [0; 8];
    ///     env.fill_random(&mut bytes);
    ///     bytes
    /// };
    /// assert_ne!(random(&ann), random(&bob));
    /// ```
    #[must_use]
    pub fn process(&self, name: &str) -> SimEnv {
        let mut state = self.shared.state();
        let earlier = state.processes.iter().filter(|p| &*p.name == name).count();
        let id = state.processes.len();
        state.processes.push(Process {
            name: name.into(),
            alive: true,
            paused: None,
            skew_ms: 0,
        });
        let random = Rng::derive(self.shared.seed, &format!("process {name} #{earlier}"));
        SimEnv {
            shared: Arc::clone(&self.shared),
            process: id,
            random: Arc::new(Mutex::new(random)),
        }
    }

    /// Ends a process as `kill -9` does: its tasks never run again, what they own is dropped, and
    /// its environment does nothing any more. Start the next with [`Executor::process`].
    ///
    /// A task may crash its own process; it must not go on then, so await a future that never ends.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// env.spawn("waits", Box::pin(std::future::pending()));
    /// executor.crash(&env);
    /// assert!(!env.is_alive());
    /// assert_eq!(executor.task_count(), 0);
    /// ```
    pub fn crash(&self, process: &SimEnv) {
        process.crash();
    }

    /// Stops a process without ending it, as a closed lid does. Its timers run on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// let (sender, mut receiver) = tokio::sync::oneshot::channel();
    /// env.spawn("answers", Box::pin(async move { drop(sender.send(42)) }));
    /// executor.pause(&env);
    /// executor.run_for(Duration::from_secs(60))?;
    /// assert!(receiver.try_recv().is_err());
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    pub fn pause(&self, process: &SimEnv) {
        let mut state = self.shared.state();
        state.log.pause(process.process, true);
        let process = &mut state.processes[process.process];
        if process.alive {
            process.paused.get_or_insert_default();
        }
    }

    /// Lets a paused process go on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// let (sender, receiver) = tokio::sync::oneshot::channel();
    /// executor.pause(&env);
    /// env.spawn("answers", Box::pin(async move { drop(sender.send(42)) }));
    /// executor.run_for(Duration::from_secs(60))?;
    /// executor.resume(&env);
    /// assert_eq!(executor.run_until(receiver, Duration::from_secs(1))?, Ok(42));
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    pub fn resume(&self, process: &SimEnv) {
        let mut state = self.shared.state();
        state.log.pause(process.process, false);
        let parked = state.processes[process.process].paused.take();
        for id in parked.into_iter().flatten() {
            self.shared.ready.push(id);
        }
    }
}

/// The environment of one simulated process. Clones belong to the same process.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// # let executor = Executor::new(1);
/// let env = executor.process("laptop");
/// let same = env.clone();
/// same.crash();
/// assert!(!env.is_alive());
/// ```
#[derive(Clone)]
pub struct SimEnv {
    shared: Arc<Shared>,
    process: usize,
    random: Arc<Mutex<Rng>>,
}

impl SimEnv {
    /// The name of the process.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// assert_eq!(&*executor.process("laptop").name(), "laptop");
    /// ```
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.shared.state().processes[self.process].name)
    }

    /// Whether the process hasn't crashed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("laptop");
    /// assert!(env.is_alive());
    /// env.crash();
    /// assert!(!env.is_alive());
    /// ```
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.state().processes[self.process].alive
    }

    /// Sets the wall clock of this process wrong, or right again with 0.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let (ann, bob) = (executor.process("ann"), executor.process("bob"));
    /// bob.set_clock_skew_ms(3_600_000);
    /// assert_eq!(bob.unix_ms(), ann.unix_ms() + 3_600_000);
    /// assert_eq!(bob.now(), ann.now()); // the time that timers use
    /// ```
    pub fn set_clock_skew_ms(&self, skew_ms: i64) {
        self.shared.state().processes[self.process].skew_ms = skew_ms;
    }

    /// See [`Executor::crash`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// env.crash();
    /// env.spawn("too late", Box::pin(async { unreachable!() }));
    /// executor.run_for(Duration::from_secs(1))?;
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    pub fn crash(&self) {
        let gone: Vec<Task> = {
            let mut state = self.shared.state();
            state.log.crash(self.process);
            state.processes[self.process].kill();
            let tasks = &mut state.tasks;
            tasks
                .extract_if(.., |_, task| task.process == self.process)
                .map(|(_, task)| task)
                .collect()
        };
        // Without the lock: what a task owns may call the environment when dropped.
        drop(gone);
    }

    fn sleep_for(&self, duration: Duration) -> Sleep {
        Sleep {
            due: self.now().saturating_add(duration),
            shared: Arc::clone(&self.shared),
            process: Some(self.process),
            timer: None,
            done: false,
        }
    }
}

impl fmt::Debug for SimEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimEnv").field(&self.name()).finish()
    }
}

impl Env for SimEnv {
    fn now(&self) -> Duration {
        self.shared.state().now
    }

    fn unix_ms(&self) -> u64 {
        let state = self.shared.state();
        let passed = u64::try_from(state.now.as_millis()).unwrap_or(u64::MAX);
        START_UNIX_MS
            .saturating_add(passed)
            .saturating_add_signed(state.processes[self.process].skew_ms)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.sleep_for(duration))
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        let mut state = self.shared.state();
        if !state.processes[self.process].alive {
            drop(state);
            drop(task);
            return;
        }
        let id = state.next_task;
        state.next_task += 1;
        state.log.spawn(self.process, id, name);
        let polled_at = state.now;
        let waker = self.shared.ready.waker(id);
        state.tasks.insert(
            id,
            Task {
                name: name.into(),
                process: self.process,
                future: Some(task),
                waker,
                waits: vec![Wait::Named("its first turn")],
                polled_at,
            },
        );
        drop(state);
        self.shared.ready.push(id);
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        let mut random = lock::lock(&self.random);
        random.fill(buffer);
    }

    /// Runs the job on the spot, between two points where other tasks may come first.
    fn run_blocking(&self, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let env = self.clone();
        Box::pin(async move {
            yield_now().await;
            if env.is_alive() {
                job();
            }
            yield_now().await;
        })
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

/// A wait for virtual time to pass. Lets the other tasks run at least once, however short it is.
#[derive(Debug)]
pub(super) struct Sleep {
    due: Duration,
    shared: Arc<Shared>,
    process: Option<usize>,
    /// Key of the registered timer.
    timer: Option<(Duration, u64)>,
    done: bool,
}

impl Sleep {
    pub(super) fn of_executor(shared: &Arc<Shared>, duration: Duration) -> Self {
        Self {
            due: shared.state().now.saturating_add(duration),
            shared: Arc::clone(shared),
            process: None,
            timer: None,
            done: false,
        }
    }

    fn unregister(&mut self) {
        if let Some(key) = self.timer.take() {
            // The waker is dropped after the lock is released.
            let waker = self.shared.state().timers.remove(&key);
            drop(waker);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let due = self.due;
        if !self.done && (self.timer.is_none() || self.shared.state().now < due) {
            self.unregister();
            let mut state = self.shared.state();
            if self.process.is_none_or(|id| state.processes[id].alive) {
                let key = (due.max(state.now), state.next_timer);
                state.next_timer += 1;
                state.timers.insert(key, context.waker().clone());
                drop(state);
                self.timer = Some(key);
            }
            report_wait(Wait::Sleep(due));
            return Poll::Pending;
        }
        self.timer = None;
        self.done = true;
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}
