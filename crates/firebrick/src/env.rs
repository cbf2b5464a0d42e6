//! What the library asks of the world around it: time, tasks and randomness.
//!
//! Nothing in this crate calls a clock, a timer, a random source or a runtime by itself; it goes
//! through an [`Env`]. [`RealEnv`] is the one for users. The simulator's environment in [`sim`] has
//! virtual time and one seed for everything, so that a whole network of databases replays exactly.
//!
//! Code that runs on an `Env` uses only what works on any executor: `tokio::sync`, `futures-util`
//! and this module.

mod real;
mod rng;
pub mod sim;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};

pub use real::RealEnv;
pub use rng::Rng;

pub use sim::SimEnv;

/// Time, tasks and randomness.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// # let executor = Executor::new(1);
/// // What works with any environment works in a simulation, where time costs nothing.
/// async fn patient(env: &dyn Env) -> Duration {
///     env.sleep(Duration::from_secs(3600)).await;
///     env.now()
/// }
/// let env = executor.process("a");
/// let hour = executor.run_until(patient(&env), Duration::from_secs(7200))?;
/// assert_eq!(hour, Duration::from_secs(3600));
/// # Ok::<(), firebrick::env::sim::Stuck>(())
/// ```
pub trait Env: Send + Sync + 'static {
    /// Time since some fixed point. Never goes back.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// let before = env.now();
    /// executor.run_for(Duration::from_secs(5))?;
    /// assert_eq!(env.now() - before, Duration::from_secs(5));
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    fn now(&self) -> Duration;

    /// Wall clock in milliseconds since 1970. May jump; never order anything by it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// let before = env.unix_ms();
    /// env.set_clock_skew_ms(-60_000); // somebody sets the clock
    /// assert_eq!(env.unix_ms(), before - 60_000);
    /// ```
    fn unix_ms(&self) -> u64;

    /// Completes after `duration`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// executor.run_until(env.sleep(Duration::from_secs(60)), Duration::from_secs(61))?;
    /// assert_eq!(env.now(), Duration::from_secs(60));
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs `task` in the background. `name` says in a few words what the task is for.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// let env = executor.process("a");
    /// let (sender, receiver) = tokio::sync::oneshot::channel();
    /// env.spawn("answers", Box::pin(async move { drop(sender.send(42)) }));
    /// assert_eq!(executor.run_until(receiver, Duration::from_secs(1))?, Ok(42));
    /// # Ok::<(), firebrick::env::sim::Stuck>(())
    /// ```
    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>);

    /// Fills `buffer` with random bytes that are good enough for keys.
    ///
    /// ```
    /// use firebrick::env::{Env, RealEnv};
    /// let mut key = [0; 32];
    /// RealEnv::new().fill_random(&mut key);
    /// assert_ne!(key, [0; 32]);
    /// ```
    fn fill_random(&self, buffer: &mut [u8]);

    /// Runs a job that blocks its thread (file calls) where it disturbs no async task, and
    /// completes when it has ended. Dropping the future doesn't stop a job that has begun.
    ///
    /// [`blocking`] is the convenient form.
    ///
    /// ```
    /// # use firebrick::Error;
    /// use firebrick::env::{Env, RealEnv};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// RealEnv::new().run_blocking(Box::new(move || drop(sender.send("read")))).await;
    /// assert_eq!(receiver.recv(), Ok("read"));
    /// # Ok(()) }
    /// ```
    fn run_blocking(&self, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// Whether this environment replays from a seed. Code then leaves out whatever a foreign thread
    /// would trigger (file watchers).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use firebrick::env::{Env, sim::Executor};
    /// # let executor = Executor::new(1);
    /// assert!(executor.process("a").is_simulated());
    /// assert!(!firebrick::env::RealEnv::new().is_simulated());
    /// ```
    fn is_simulated(&self) -> bool {
        false
    }
}

/// The environment went away while a blocking job ran, or the job panicked.
///
/// ```
/// # use firebrick::Error;
/// use firebrick::env::{JobLost, RealEnv, blocking};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let lost = blocking(&RealEnv::new(), || panic!("on purpose")).await;
/// assert_eq!(lost, Err::<(), _>(JobLost));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the background job was stopped before it ended")]
pub struct JobLost;

/// Runs `job` through [`Env::run_blocking`] and hands back its result.
///
/// ```
/// use firebrick::env::{JobLost, RealEnv, blocking};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), JobLost> {
/// let text = blocking(&RealEnv::new(), || "read from a slow disk").await?;
/// assert_eq!(text, "read from a slow disk");
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`JobLost`] if the job panicked or the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(
    env: &dyn Env,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobLost> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done = env.run_blocking(Box::new(move || {
        // The caller may have gone away; then nobody wants the result.
        let _ = sender.send(job());
    }));
    done.await;
    receiver.await.map_err(|_| JobLost)
}

/// How long to wait after so many tries in vain: twice as long each time, but not longer than `most`.
pub(crate) fn backoff(first: Duration, tries: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << tries.min(16)).min(most)
}

/// The time limit was reached first.
///
/// ```
/// # use firebrick::Error;
/// use std::time::Duration;
/// use firebrick::env::{Elapsed, RealEnv, timeout};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let limit = Duration::from_millis(5);
/// let late = timeout(&RealEnv::new(), limit, std::future::pending::<()>()).await;
/// assert_eq!(late, Err(Elapsed(limit)));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no result within {0:?}")]
pub struct Elapsed(pub Duration);

/// Waits for `future`, but not longer than `limit`.
///
/// ```
/// # use firebrick::Error;
/// use std::time::Duration;
/// use firebrick::env::{RealEnv, timeout};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let soon = timeout(&RealEnv::new(), Duration::from_secs(5), async { "soon" }).await;
/// assert_eq!(soon, Ok("soon"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Elapsed`] if the time is over first; the future is dropped then.
pub async fn timeout<F: Future>(
    env: &dyn Env,
    limit: Duration,
    future: F,
) -> Result<F::Output, Elapsed> {
    let future = std::pin::pin!(future);
    match select(future, env.sleep(limit)).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(_) => Err(Elapsed(limit)),
    }
}

/// Lets every other ready task run once.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// # let executor = Executor::new(1);
/// let env = executor.process("a");
/// let (sender, mut receiver) = tokio::sync::oneshot::channel();
/// env.spawn("other", Box::pin(async move { drop(sender.send("its turn")) }));
/// let wait = async {
///     loop {
///         match receiver.try_recv() {
///             Ok(text) => break text,
///             Err(_) => firebrick::env::yield_now().await,
///         }
///     }
/// };
/// assert_eq!(executor.run_until(wait, Duration::from_secs(1))?, "its turn");
/// # Ok::<(), firebrick::env::sim::Stuck>(())
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Gives a wait a name, which the simulator prints when a run gets stuck. Costs nothing elsewhere.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// use firebrick::env::named;
/// # let executor = Executor::new(1);
/// let never = named("a letter", std::future::pending::<()>());
/// let stuck = executor.run_until(never, Duration::from_secs(1)).unwrap_err();
/// assert!(stuck.to_string().contains("waits for a letter"));
/// ```
pub fn named<F: Future>(label: &'static str, future: F) -> Named<F> {
    Named {
        label,
        future: Box::pin(future),
    }
}

/// Future of [`named`].
///
/// ```
/// # use firebrick::Error;
/// use firebrick::env::named;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// // It gives what the future inside gives.
/// assert_eq!(named("an answer", async { 42 }).await, 42);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Named<F> {
    label: &'static str,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let poll = self.future.as_mut().poll(context);
        if poll.is_pending() {
            sim::report_wait(sim::Wait::Named(self.label));
        }
        poll
    }
}
