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
pub trait Env: Send + Sync + 'static {
    /// Time since some fixed point. Never goes back.
    fn now(&self) -> Duration;

    /// Wall clock in milliseconds since 1970. May jump; never order anything by it.
    fn unix_ms(&self) -> u64;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs `task` in the background. `name` says in a few words what the task is for.
    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>);

    /// Fills `buffer` with random bytes that are good enough for keys.
    fn fill_random(&self, buffer: &mut [u8]);

    /// Runs a job that blocks its thread (file calls) where it disturbs no async task, and
    /// completes when it has ended. Dropping the future doesn't stop a job that has begun.
    ///
    /// [`blocking`] is the convenient form.
    fn run_blocking(&self, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// Whether this environment replays from a seed. Code then leaves out whatever a foreign thread
    /// would trigger (file watchers).
    fn is_simulated(&self) -> bool {
        false
    }
}

/// The environment went away while a blocking job ran, or the job panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the background job was stopped before it ended")]
pub struct JobLost;

/// Runs `job` through [`Env::run_blocking`] and hands back its result.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no result within {0:?}")]
pub struct Elapsed(pub Duration);

/// Waits for `future`, but not longer than `limit`.
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
pub fn named<F: Future>(label: &'static str, future: F) -> Named<F> {
    Named {
        label,
        future: Box::pin(future),
    }
}

/// Future of [`named`].
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
