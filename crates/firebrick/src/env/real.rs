//! The environment of real programs.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};

use super::Env;

/// The system's clock and entropy, and a tokio runtime.
///
/// Tasks run on the runtime of whoever made it. Without one they run on a small runtime of our own,
/// which starts when first needed and lives as long as the process. Timers and blocking jobs always
/// use our own: the caller's runtime may have been built without timers, and a future that sleeps
/// may outlive it.
///
/// ```
/// # use firebrick::Error;
/// use std::{sync::Arc, time::Duration};
/// use firebrick::env::{Env, RealEnv};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let env: Arc<dyn Env> = Arc::new(RealEnv::new());
/// let before = env.now();
/// env.sleep(Duration::from_millis(2)).await;
/// assert!(env.now() - before >= Duration::from_millis(2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RealEnv {
    tasks: Option<Handle>,
}

impl RealEnv {
    /// Runs tasks on the current tokio runtime, or on our own if there is none.
    ///
    /// ```
    /// # use firebrick::Error;
    /// use firebrick::env::{Env, RealEnv};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let env = RealEnv::new(); // tasks run on this runtime
    /// let (sender, receiver) = tokio::sync::oneshot::channel();
    /// env.spawn("answers", Box::pin(async move { drop(sender.send(42)) }));
    /// assert_eq!(receiver.await, Ok(42));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            tasks: Handle::try_current().ok(),
        }
    }

    /// Runs tasks on our own runtime, whatever the caller uses.
    ///
    /// ```
    /// use firebrick::env::{Env, RealEnv};
    /// let env = RealEnv::independent();
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// env.spawn("answers", Box::pin(async move { drop(sender.send(42)) }));
    /// assert_eq!(receiver.recv(), Ok(42)); // although nobody drives a runtime here
    /// ```
    #[must_use]
    pub const fn independent() -> Self {
        Self { tasks: None }
    }
}

impl Default for RealEnv {
    fn default() -> Self {
        Self::new()
    }
}

/// The runtime of our own.
///
/// Starting it can only fail if the system refuses a thread; nothing useful can run then.
#[allow(clippy::expect_used)]
fn own() -> &'static Handle {
    static OWN: OnceLock<Runtime> = OnceLock::new();
    OWN.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("firebrick")
            .enable_time()
            .build()
            .expect("the system refuses to start a thread")
    })
    .handle()
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl Env for RealEnv {
    fn now(&self) -> Duration {
        start().elapsed()
    }

    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let _context = own().enter();
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, _name: &str, task: BoxFuture<'static, ()>) {
        self.tasks.as_ref().unwrap_or_else(|| own()).spawn(task);
    }

    /// # Panics
    /// If the system has no entropy: no key or nonce could be made safely.
    fn fill_random(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the system's random source fails: {error}");
        }
    }

    fn run_blocking(&self, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let handle = own().spawn_blocking(job);
        Box::pin(async move {
            // A panic of the job is seen by the caller as a missing result.
            let _ = handle.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::env::{blocking, timeout};

    #[test]
    fn works_without_a_runtime() {
        let env = RealEnv::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        let inner = env.clone();
        env.spawn(
            "test",
            Box::pin(async move {
                inner.sleep(Duration::from_millis(2)).await;
                let sum = blocking(&inner, || 1 + 1).await;
                let late = timeout(
                    &inner,
                    Duration::from_millis(1),
                    std::future::pending::<()>(),
                );
                sender.send((sum, late.await.is_err())).unwrap();
            }),
        );
        assert_eq!(receiver.recv().unwrap(), (Ok(2), true));
    }

    #[test]
    fn sleeps_on_a_runtime_without_timers() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let env: Arc<dyn Env> = Arc::new(RealEnv::new());
            let before = env.now();
            env.sleep(Duration::from_millis(3)).await;
            assert!(env.now() - before >= Duration::from_millis(3));
        });
    }

    #[tokio::test]
    async fn a_panicking_job_is_reported() {
        let env = RealEnv::new();
        let lost = blocking(&env, || assert!(env_is_sane(), "on purpose")).await;
        assert!(lost.is_err());
    }

    fn env_is_sane() -> bool {
        std::env::args().count() == usize::MAX
    }
}
