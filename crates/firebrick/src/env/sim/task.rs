//! Tasks, and which of them are ready.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Shared;
use crate::env::rng::Rng;
use crate::lock;

pub(super) type TaskId = u64;

/// The future given to `run_until`.
pub(super) const MAIN: TaskId = 0;

/// What a task waits for. Made at every poll, put into words only for a report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Named(&'static str),
    Sleep(Duration),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Named(label) => f.write_str(label),
            Wait::Sleep(due) => write!(f, "sleep until {due:?}"),
        }
    }
}

pub(super) struct Task {
    pub(super) name: Arc<str>,
    pub(super) process: usize,
    /// Not here while it is being polled.
    pub(super) future: Option<BoxFuture<'static, ()>>,
    pub(super) waker: Waker,
    /// What it waited for after its last poll, innermost first.
    pub(super) waits: Vec<Wait>,
    pub(super) polled_at: Duration,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.name)
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}

/// The set of ready tasks, sorted: what wakes several tasks at once may do so in any order (the
/// channels of tokio draw one at random), and the choice among them must not depend on it.
///
/// Has a lock of its own, held for a few instructions: wakers are called from anywhere, also while
/// the executor's state is locked.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<Vec<TaskId>>);

impl Ready {
    fn with<T>(&self, action: impl FnOnce(&mut Vec<TaskId>) -> T) -> T {
        action(&mut lock::lock(&self.0))
    }

    pub(super) fn push(&self, id: TaskId) {
        // Few tasks are ready at a time, so moving them is as good as a tree.
        self.with(|ready| {
            if let Err(at) = ready.binary_search(&id) {
                ready.insert(at, id);
            }
        });
    }

    pub(super) fn remove(&self, id: TaskId) {
        self.with(|ready| ready.retain(|other| *other != id));
    }

    /// Takes any one.
    pub(super) fn take(&self, order: &mut Rng) -> Option<TaskId> {
        self.with(|ready| {
            let at = order.index(ready.len());
            (!ready.is_empty()).then(|| ready.remove(at))
        })
    }

    pub(super) fn waker(self: &Arc<Self>, id: TaskId) -> Waker {
        Arc::new(TaskWaker {
            id,
            ready: Arc::clone(self),
        })
        .into()
    }
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.id);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.push(self.id);
    }
}

thread_local! {
    /// The poll that this thread is in, so that code deep inside can report what it does.
    static CURRENT: RefCell<Option<Running>> = const { RefCell::new(None) };
}

struct Running {
    shared: Arc<Shared>,
    id: TaskId,
    name: Arc<str>,
    waits: Vec<Wait>,
}

/// Guard of one poll.
pub(super) struct Current {
    outer: Option<Running>,
}

impl Current {
    pub(super) fn enter(shared: &Arc<Shared>, id: TaskId, name: &Arc<str>) -> Self {
        let running = Running {
            shared: Arc::clone(shared),
            id,
            name: Arc::clone(name),
            waits: Vec::new(),
        };
        let outer = CURRENT.with(|current| current.replace(Some(running)));
        Self { outer }
    }

    /// Ends the poll and tells what the task waits for.
    pub(super) fn leave(self) -> Vec<Wait> {
        let running = CURRENT.with(|current| current.borrow_mut().take());
        running.map(|running| running.waits).unwrap_or_default()
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let running = CURRENT.with(|current| current.replace(outer));
        if let Some(running) = running
            && std::thread::panicking()
        {
            eprintln!(
                "the simulation with seed {} panicked in task {:?} at {:?}",
                running.shared.seed,
                running.name,
                running.shared.state().now
            );
        }
    }
}

/// Tells the simulator what the current task waits for. Does nothing outside of it.
pub(crate) fn report_wait(wait: Wait) {
    CURRENT.with(|current| {
        if let Some(running) = &mut *current.borrow_mut() {
            running.waits.push(wait);
        }
    });
}

/// Writes a line into the simulator's event log, and its hash. Does nothing outside of a simulation.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// use firebrick::env::sim::note;
/// # let executor = Executor::new(1);
/// let work = async {
///     note(|| "the letter was sent".into());
///     std::future::pending::<()>().await
/// };
/// let stuck = executor.run_until(work, Duration::from_secs(1)).unwrap_err();
/// assert!(stuck.notes.iter().any(|line| line.contains("the letter was sent")));
/// ```
pub fn note(line: impl FnOnce() -> String) {
    let running = CURRENT.with(|current| {
        let current = current.borrow();
        let running = current.as_ref()?;
        Some((
            Arc::clone(&running.shared),
            running.id,
            Arc::clone(&running.name),
        ))
    });
    if let Some((shared, id, name)) = running {
        let line = line();
        let mut state = shared.state();
        let now = state.now;
        state.log.note(now, id, &name, &line);
    }
}

/// Whether [`note`] does anything here.
///
/// ```
/// # use std::time::Duration;
/// # use firebrick::env::{Env, sim::Executor};
/// use firebrick::env::sim::noting;
/// # let executor = Executor::new(1);
/// assert!(!noting());
/// assert!(executor.run_until(async { noting() }, Duration::from_secs(1))?);
/// # Ok::<(), firebrick::env::sim::Stuck>(())
/// ```
#[must_use]
pub fn noting() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}
