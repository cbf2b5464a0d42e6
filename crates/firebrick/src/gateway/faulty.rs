//! A gateway that misbehaves on purpose.
//!
//! [`Faulty`] stands between a replica and any gateway, as the network does: calls fail before or
//! after they took effect, hang, come late, come twice; what is read is missing, cut, damaged or
//! old. All of it is drawn from a seed, and [`Faulty::heal`] ends it.

mod calls;
mod plan;
#[cfg(feature = "memory")]
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::Cid;
use futures_util::future::BoxFuture;

use super::announcement::{Announcement, SlotId};
use super::error::{GatewayError, GatewayErrorKind};
use super::{Capabilities, CarEntry, Gateway, GatewayResult};
use crate::env::{Env, Rng};
use crate::lock;

pub use self::plan::{Call, CallKind, CarFault, FaultCounters, FaultPlan, Phase, Step};

/// How many slot listings are remembered, to be answered again when they are stale.
const STALE_LISTINGS: usize = 8;

type Hook = Arc<dyn Fn(Call) -> Step + Send + Sync>;

/// Wraps a gateway and injects faults. Clones share everything.
///
/// In a simulation give it the environment of a process that never crashes: what is under way in a
/// network arrives although its sender is gone.
///
/// ```
/// # use firebrick::Cid;
/// # use std::{sync::Arc, time::Duration};
/// # use firebrick::core::cid::Codec;
/// # use firebrick::env::RealEnv;
/// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
/// # let remote = MemoryRemote::unnamed();
/// # let car = bytes::Bytes::from("the bytes of a CAR");
/// # let cid = Cid::of(Codec::Car, &car);
/// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
/// faulty.put_car(&cid, car.clone()).await?;
/// faulty.set_unavailable(true);
/// assert!(faulty.get_car(&cid).await.is_err());
/// faulty.heal();
/// assert_eq!(faulty.get_car(&cid).await?, Some(car));
/// # Ok(()) }
/// ```
pub struct Faulty<G: ?Sized = dyn Gateway> {
    inner: Arc<G>,
    control: Arc<Control>,
}

struct Control {
    env: Arc<dyn Env>,
    label: String,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    plan: FaultPlan,
    /// Faults of single CARs.
    cars: BTreeMap<Cid, CarFault>,
    /// When each CAR that is late becomes visible.
    visible: BTreeMap<Cid, Duration>,
    unavailable: bool,
    outage_until: Duration,
    limits: Option<Capabilities>,
    listings: VecDeque<Vec<(SlotId, Announcement)>>,
    hook: Option<Hook>,
    counters: FaultCounters,
}

/// What will happen to one call.
struct Fate {
    call: Call,
    unavailable: bool,
    delay_before: Duration,
    error_before: bool,
    hang_before: bool,
    hang_after: bool,
    twice: bool,
    again_after: Option<Duration>,
    delay_after: Duration,
    error_after: bool,
}

impl<G: Gateway + ?Sized> Faulty<G> {
    /// A wrapper without any fault so far.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.prepare().await?; // works as the gateway inside
    /// assert_eq!(faulty.url(), faulty.inner().url());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new(inner: Arc<G>, env: Arc<dyn Env>, seed: u64) -> Self {
        let label = inner.url().to_owned();
        Self {
            inner,
            control: Arc::new(Control {
                env,
                label,
                state: Mutex::new(State {
                    rng: Rng::derive(seed, "faults"),
                    plan: FaultPlan::default(),
                    cars: BTreeMap::new(),
                    visible: BTreeMap::new(),
                    unavailable: false,
                    outage_until: Duration::ZERO,
                    limits: None,
                    listings: VecDeque::new(),
                    hook: None,
                    counters: FaultCounters::default(),
                }),
            }),
        }
    }

    /// The gateway inside.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.set_unavailable(true);
    /// faulty.inner().put_car(&cid, car).await?; // not through the faults
    /// assert_eq!(faulty.inner().counters().puts, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn inner(&self) -> &Arc<G> {
        &self.inner
    }

    /// Replaces the plan of random faults.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// let mut plan = FaultPlan::default();
    /// plan.error_before = 1.0;
    /// faulty.set_plan(plan);
    /// assert!(faulty.put_car(&cid, car).await.is_err());
    /// assert_eq!(faulty.inner().counters().puts, 0);
    /// # Ok(()) }
    /// ```
    pub fn set_plan(&self, plan: FaultPlan) {
        self.state().plan = plan;
    }

    /// Ends all faults: random ones, those of single CARs, outages. Calls that hang, hang on, and a
    /// hook stays.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.set_car_fault(&cid, Some(CarFault::Denied));
    /// faulty.outage(Duration::from_secs(3600));
    /// assert!(faulty.get_car(&cid).await.is_err());
    /// faulty.heal();
    /// assert_eq!(faulty.get_car(&cid).await?, None);
    /// # Ok(()) }
    /// ```
    pub fn heal(&self) {
        let mut state = self.state();
        state.plan = FaultPlan::default();
        state.cars.clear();
        state.visible.clear();
        state.unavailable = false;
        state.outage_until = Duration::ZERO;
    }

    /// Gives one CAR a fault, or takes it away with `None`. Counts for reads and listings.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.put_car(&cid, car.clone()).await?;
    /// faulty.set_car_fault(&cid, Some(CarFault::Missing));
    /// assert_eq!(faulty.get_car(&cid).await?, None);
    /// faulty.set_car_fault(&cid, None);
    /// assert_eq!(faulty.get_car(&cid).await?, Some(car));
    /// # Ok(()) }
    /// ```
    pub fn set_car_fault(&self, cid: &Cid, fault: Option<CarFault>) {
        let mut state = self.state();
        match fault {
            Some(fault) => state.cars.insert(*cid, fault),
            None => state.cars.remove(cid),
        };
    }

    /// Lets every call fail with `Unavailable` until switched off.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.set_unavailable(true);
    /// let error = faulty.slots().await.unwrap_err();
    /// assert!(error.is_retryable());
    /// # Ok(()) }
    /// ```
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    /// Lets every call fail with `Unavailable` for this long.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.outage(Duration::from_millis(10));
    /// assert!(faulty.slots().await.is_err());
    /// tokio::time::sleep(Duration::from_millis(11)).await;
    /// assert!(faulty.slots().await?.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn outage(&self, duration: Duration) {
        let until = self.control.env.now().saturating_add(duration);
        self.state().outage_until = until;
    }

    /// Hides capabilities of the gateway inside; `None` shows all again.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// let mut limits = Capabilities::FULL;
    /// limits.list = false;
    /// faulty.set_limits(Some(limits));
    /// assert!(!faulty.capabilities().list);
    /// assert_eq!(faulty.list_cars().await?, None);
    /// # Ok(()) }
    /// ```
    pub fn set_limits(&self, limits: Option<Capabilities>) {
        self.state().limits = limits;
    }

    /// Calls `hook` before and after each call takes effect, and does what it says. A crash point is
    /// a hook that crashes the simulated process and answers [`Step::Hang`].
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// // The upload happens, and its answer gets lost.
    /// faulty.on_call(|call| match (call.kind, call.phase) {
    ///     (CallKind::PutCar, Phase::After) => Step::Fail,
    ///     _ => Step::Continue,
    /// });
    /// assert!(faulty.put_car(&cid, car.clone()).await.is_err());
    /// assert_eq!(faulty.get_car(&cid).await?, Some(car));
    /// # Ok(()) }
    /// ```
    pub fn on_call(&self, hook: impl Fn(Call) -> Step + Send + Sync + 'static) {
        self.state().hook = Some(Arc::new(hook));
    }

    /// Takes the hook away.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.on_call(|_| Step::Fail);
    /// assert!(faulty.slots().await.is_err());
    /// faulty.clear_hook();
    /// assert!(faulty.slots().await.is_ok());
    /// # Ok(()) }
    /// ```
    pub fn clear_hook(&self) {
        self.state().hook = None;
    }

    /// What has happened so far.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use std::{sync::Arc, time::Duration};
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::env::RealEnv;
    /// # use firebrick::gateway::{Capabilities, CallKind, CarFault, FaultPlan, Faulty, Gateway, GatewayError, MemoryRemote, Phase, Step};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GatewayError> {
    /// # let remote = MemoryRemote::unnamed();
    /// # let car = bytes::Bytes::from("the bytes of a CAR");
    /// # let cid = Cid::of(Codec::Car, &car);
    /// let faulty = Faulty::new(Arc::new(remote), Arc::new(RealEnv::new()), 7);
    /// faulty.set_car_fault(&cid, Some(CarFault::Missing));
    /// faulty.put_car(&cid, car).await?;
    /// faulty.get_car(&cid).await?;
    /// let counters = faulty.fault_counters();
    /// assert_eq!(counters.total_calls(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fault_counters(&self) -> FaultCounters {
        self.state().counters.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.control.state()
    }
}

impl<G: ?Sized> Clone for Faulty<G> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            control: Arc::clone(&self.control),
        }
    }
}

impl<G: ?Sized> fmt::Debug for Faulty<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("url", &self.control.label)
            .field("plan", &self.control.state().plan)
            .finish_non_exhaustive()
    }
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        lock::lock(&self.state)
    }

    /// Draws all there is to draw for one call, at once and always the same number of draws.
    fn fate(&self, kind: CallKind) -> Fate {
        let now = self.env.now();
        let mut state = self.state();
        let call = state.counters.begin(kind);
        let plan = state.plan.clone();
        let rng = &mut state.rng;
        let outage = rng.chance(plan.outage);
        let outage_length = span(rng, plan.outage_max);
        let delay_before = rng.chance(plan.delay);
        let delay_before = if delay_before {
            plan.delay_max
        } else {
            Duration::ZERO
        };
        let delay_after = rng.chance(plan.delay);
        let delay_after = if delay_after {
            plan.delay_max
        } else {
            Duration::ZERO
        };
        let hang = rng.chance(plan.hang);
        let hang_early = rng.chance(0.5);
        let again_after = span(rng, plan.delay_max);
        let fate = Fate {
            call,
            unavailable: false,
            delay_before: span(rng, delay_before),
            error_before: rng.chance(plan.error_before),
            hang_before: hang && hang_early,
            hang_after: hang && !hang_early,
            twice: rng.chance(plan.duplicate) && kind.is_write(),
            again_after: (rng.chance(plan.late_duplicate) && kind.is_write())
                .then_some(again_after),
            delay_after: span(rng, delay_after),
            error_after: rng.chance(plan.error_after),
        };
        if outage {
            state.outage_until = state.outage_until.max(now.saturating_add(outage_length));
            state.counters.outages += 1;
        }
        let unavailable = state.unavailable || now < state.outage_until;
        Fate {
            unavailable,
            ..fate
        }
    }

    fn count(&self, which: impl FnOnce(&mut FaultCounters) -> &mut u64) {
        *which(&mut self.state().counters) += 1;
    }

    /// Asks the hook; an error means that the call fails here. A hanging call never returns.
    async fn hook(&self, call: Call) -> GatewayResult<()> {
        let hook = self.state().hook.clone();
        match hook.map_or(Step::Continue, |hook| hook(call)) {
            Step::Continue => Ok(()),
            Step::Fail => Err(self.lost(call)),
            Step::Hang => self.hang().await,
        }
    }

    async fn hang<T>(&self) -> T {
        self.count(|counters| &mut counters.hangs);
        crate::env::named("an answer that never comes", std::future::pending()).await
    }

    fn lost(&self, call: Call) -> GatewayError {
        let what = match call.phase {
            Phase::Before => "the request was lost",
            Phase::After => "the answer was lost",
        };
        let Call { kind, .. } = call;
        GatewayError::new(
            GatewayErrorKind::Unavailable,
            format!("{} {kind:?}: {what} (injected)", self.label),
        )
    }

    fn down(&self, call: Call) -> GatewayError {
        let Call { kind, .. } = call;
        GatewayError::new(
            GatewayErrorKind::Unavailable,
            format!("{} {kind:?}: not reachable (injected)", self.label),
        )
    }

    /// Applies the faults of reads to a CAR that was read.
    fn damage(&self, cid: &Cid, bytes: Option<Bytes>) -> GatewayResult<Option<Bytes>> {
        let now = self.env.now();
        let mut state = self.state();
        let plan = state.plan.clone();
        let rng = &mut state.rng;
        let (miss, cut, flip) = (
            rng.chance(plan.miss),
            rng.chance(plan.truncate),
            rng.chance(plan.flip),
        );
        let at = rng.next_u64();
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let hidden = state.is_hidden(cid, now);
        let fault = state.cars.get(cid).copied();
        if matches!(fault, Some(CarFault::Denied)) {
            let message = format!("{}: {cid} is denied (injected)", self.label);
            return Err(GatewayError::new(GatewayErrorKind::Denied, message));
        }
        if hidden || miss {
            state.counters.missed += 1;
            return Ok(None);
        }
        let cut = cut || matches!(fault, Some(CarFault::Truncated));
        let flip = flip || matches!(fault, Some(CarFault::Flipped));
        if cut {
            state.counters.truncated += 1;
            return Ok(Some(bytes.slice(..position(at, bytes.len()))));
        }
        if flip && !bytes.is_empty() {
            state.counters.flipped += 1;
            let mut copy = bytes.to_vec();
            copy[position(at, bytes.len())] ^= 1 << (at % 8);
            return Ok(Some(copy.into()));
        }
        Ok(Some(bytes))
    }

    /// Applies the faults of listings to the CARs that were listed.
    fn hide_cars(&self, mut entries: Vec<CarEntry>) -> Vec<CarEntry> {
        let now = self.env.now();
        let mut state = self.state();
        let partial = state.plan.partial_lists;
        let partial = state.rng.chance(partial);
        entries.retain(|entry| {
            let hidden = state.is_hidden(&entry.cid, now);
            let lost = partial && state.rng.chance(0.5);
            !(hidden || lost)
        });
        entries
    }

    /// Applies the faults of listings to the slots that were listed.
    fn hide_slots(&self, slots: Vec<(SlotId, Announcement)>) -> Vec<(SlotId, Announcement)> {
        let mut state = self.state();
        let (stale, partial) = (state.plan.stale_slots, state.plan.partial_lists);
        let (stale, partial) = (state.rng.chance(stale), state.rng.chance(partial));
        if state.listings.len() == STALE_LISTINGS {
            state.listings.pop_front();
        }
        state.listings.push_back(slots.clone());
        let mut answer = slots;
        if stale {
            state.counters.stale_listings += 1;
            let count = state.listings.len();
            let at = state.rng.index(count);
            answer = state.listings.get(at).cloned().unwrap_or_default();
        }
        if partial {
            state.counters.partial_listings += 1;
            answer.retain(|_| state.rng.chance(0.5));
        }
        answer
    }

    /// What really arrives of a CAR that is put, and whether the sender is told of a failure.
    fn upload(&self, bytes: &Bytes) -> Upload {
        let mut state = self.state();
        let (lose, cut) = (state.plan.lose_put, state.plan.cut_put);
        let (lose, cut) = (state.rng.chance(lose), state.rng.chance(cut));
        let at = state.rng.next_u64();
        if lose {
            state.counters.lost_puts += 1;
            Upload::Lost
        } else if cut {
            state.counters.cut_puts += 1;
            Upload::Cut(bytes.slice(..position(at, bytes.len())))
        } else {
            Upload::Whole
        }
    }
}

enum Upload {
    Whole,
    /// Nothing arrives, although the answer is good.
    Lost,
    /// Only this arrives, and the answer is an error.
    Cut(Bytes),
}

impl State {
    fn is_hidden(&mut self, cid: &Cid, now: Duration) -> bool {
        let late = self.rng.chance(self.plan.late);
        let delay = span(&mut self.rng, self.plan.late_max);
        let visible = *self
            .visible
            .entry(*cid)
            .or_insert_with(|| if late { now.saturating_add(delay) } else { now });
        let fault = match self.cars.get(cid) {
            Some(CarFault::Missing) => true,
            Some(CarFault::LateUntil(time)) => now < *time,
            _ => false,
        };
        fault || now < visible
    }
}

/// A random time up to `max`.
fn span(rng: &mut Rng, max: Duration) -> Duration {
    let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(rng.below(nanos + 1))
}

/// A place in something of this length.
fn position(random: u64, len: usize) -> usize {
    usize::try_from(random % (len.max(1) as u64)).unwrap_or(0)
}

/// A call that can be made any number of times.
type Action<T> = Arc<dyn Fn() -> BoxFuture<'static, GatewayResult<T>> + Send + Sync>;
