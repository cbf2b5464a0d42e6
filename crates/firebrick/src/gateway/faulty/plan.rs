//! What can be made to go wrong.

use std::collections::BTreeMap;
use std::time::Duration;

/// Probabilities (0.0 to 1.0) of random faults per call. The default is none.
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
/// plan.lose_put = 1.0;
/// faulty.set_plan(plan);
/// faulty.put_car(&cid, car).await?; // it says
/// assert_eq!(faulty.get_car(&cid).await?, None);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FaultPlan {
    /// The call fails and nothing has happened.
    pub error_before: f64,
    /// The call fails although it has happened.
    pub error_after: f64,
    /// The call is never answered; half of them have happened.
    pub hang: f64,
    /// The call takes up to `delay_max` before it happens; and, drawn apart, until it is answered.
    pub delay: f64,
    /// Longest delay.
    pub delay_max: Duration,
    /// A write happens twice in a row.
    pub duplicate: f64,
    /// A write happens again up to `delay_max` after it was answered, perhaps over a newer one.
    pub late_duplicate: f64,
    /// An upload is answered well, but nothing was stored.
    pub lose_put: f64,
    /// An upload fails and leaves a part behind.
    pub cut_put: f64,
    /// A CAR that is there isn't found, this time.
    pub miss: f64,
    /// A CAR is read only in part, this time.
    pub truncate: f64,
    /// A CAR is read with a bit flipped, this time.
    pub flip: f64,
    /// A CAR becomes visible through this gateway up to `late_max` after it was first asked for.
    pub late: f64,
    /// Longest lateness.
    pub late_max: Duration,
    /// The slots are listed as they were some listings ago.
    pub stale_slots: f64,
    /// A listing (of slots or CARs) lacks about half of its entries.
    pub partial_lists: f64,
    /// A hint of [`watch`](crate::gateway::Gateway::watch) gets lost.
    pub drop_hint: f64,
    /// A hint comes twice.
    pub duplicate_hint: f64,
    /// The stream of hints ends instead of giving a hint.
    pub end_watch: f64,
    /// The remote is unreachable from this call on, for up to `outage_max`.
    pub outage: f64,
    /// Longest outage.
    pub outage_max: Duration,
}

impl FaultPlan {
    /// A bit of everything that a flaky network and an eventually consistent store do. Everything
    /// in it is cured by trying again.
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
    /// faulty.set_plan(FaultPlan::flaky());
    /// while faulty.put_car(&cid, car.clone()).await.is_err() {} // again, until it works
    /// faulty.heal();
    /// assert_eq!(faulty.get_car(&cid).await?, Some(car));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn flaky() -> Self {
        Self {
            error_before: 0.05,
            error_after: 0.05,
            delay: 0.3,
            delay_max: Duration::from_millis(500),
            duplicate: 0.05,
            cut_put: 0.02,
            miss: 0.05,
            truncate: 0.02,
            flip: 0.02,
            late: 0.1,
            late_max: Duration::from_secs(5),
            stale_slots: 0.1,
            partial_lists: 0.1,
            drop_hint: 0.2,
            duplicate_hint: 0.1,
            end_watch: 0.01,
            outage: 0.01,
            outage_max: Duration::from_secs(20),
            ..Self::default()
        }
    }

    /// As [`FaultPlan::flaky`], with calls that hang, writes that come back later, and uploads that
    /// are confirmed and lost.
    ///
    /// ```
    /// use firebrick::gateway::FaultPlan;
    /// let plan = FaultPlan::hostile();
    /// assert!(plan.hang > 0.0 && FaultPlan::flaky().hang == 0.0);
    /// ```
    #[must_use]
    pub fn hostile() -> Self {
        Self {
            hang: 0.01,
            late_duplicate: 0.03,
            lose_put: 0.02,
            ..Self::flaky()
        }
    }
}

/// A fault of one CAR, until it is taken away.
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
/// faulty.set_car_fault(&cid, Some(CarFault::Flipped));
/// let read = faulty.get_car(&cid).await?.expect("it is there");
/// assert!(read != car && !cid.matches(&read));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CarFault {
    /// It isn't there.
    Missing,
    /// Only a part of it is read.
    Truncated,
    /// One bit of it is wrong.
    Flipped,
    /// It isn't there before this time of the environment's clock.
    LateUntil(Duration),
    /// Reading it is refused.
    Denied,
}

/// The calls of a gateway.
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
/// faulty.slots().await?;
/// faulty.slots().await?;
/// assert_eq!(faulty.fault_counters().calls[&CallKind::Slots], 2);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the method of the same name")]
pub enum CallKind {
    Prepare,
    PutCar,
    PutFileCar,
    GetCar,
    GetFileCar,
    DeleteCar,
    DeleteFileCar,
    ListCars,
    Announce,
    Slots,
    RemoveSlot,
    ReadPointer,
    WritePointer,
}

impl CallKind {
    /// Whether the call changes the remote.
    ///
    /// ```
    /// use firebrick::gateway::CallKind;
    /// assert!(CallKind::Announce.is_write());
    /// assert!(!CallKind::Slots.is_write());
    /// ```
    #[must_use]
    pub const fn is_write(self) -> bool {
        use CallKind::{
            Announce, DeleteCar, DeleteFileCar, PutCar, PutFileCar, RemoveSlot, WritePointer,
        };
        matches!(
            self,
            PutCar | PutFileCar | DeleteCar | DeleteFileCar | Announce | RemoveSlot | WritePointer
        )
    }
}

/// One call, as a hook sees it.
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
/// // The second call fails, whichever it is.
/// faulty.on_call(|call| if call.index == 1 { Step::Fail } else { Step::Continue });
/// assert!(faulty.slots().await.is_ok());
/// assert!(faulty.slots().await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number of the call at this gateway, from 0.
    pub index: u64,
    /// Which call.
    pub kind: CallKind,
    /// Whether it has happened.
    pub phase: Phase,
}

/// Where in a call a hook is asked.
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
/// faulty.on_call(|call| match call.phase {
///     Phase::Before => Step::Fail,
///     Phase::After => Step::Continue,
/// });
/// assert!(faulty.put_car(&cid, car).await.is_err());
/// assert_eq!(faulty.inner().counters().puts, 0); // it has not happened
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has happened yet.
    Before,
    /// The remote has done it, the caller doesn't know yet.
    After,
}

/// What a hook lets happen.
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
/// faulty.on_call(|_| Step::Hang);
/// let never = tokio::time::timeout(Duration::from_millis(10), faulty.slots()).await;
/// assert!(never.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The call goes on.
    Continue,
    /// The call fails here, as `Unavailable`.
    Fail,
    /// The call is never answered.
    Hang,
}

/// What has happened at a [`Faulty`](super::Faulty) gateway.
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
/// assert!(faulty.slots().await.is_err());
/// assert_eq!(faulty.fault_counters().refused, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "each counts the fault of the plan with this name"
)]
pub struct FaultCounters {
    /// Calls of each kind.
    pub calls: BTreeMap<CallKind, u64>,
    pub errors_before: u64,
    pub errors_after: u64,
    /// Calls refused while the remote was unavailable.
    pub refused: u64,
    pub outages: u64,
    pub hangs: u64,
    pub duplicates: u64,
    pub late_duplicates: u64,
    pub lost_puts: u64,
    pub cut_puts: u64,
    pub missed: u64,
    pub truncated: u64,
    pub flipped: u64,
    pub stale_listings: u64,
    pub partial_listings: u64,
    pub dropped_hints: u64,
    pub ended_watches: u64,
}

impl FaultCounters {
    /// All calls.
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
    /// faulty.prepare().await?;
    /// faulty.slots().await?;
    /// assert_eq!(faulty.fault_counters().total_calls(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.calls.values().sum()
    }

    pub(super) fn begin(&mut self, kind: CallKind) -> Call {
        let index = self.total_calls();
        *self.calls.entry(kind).or_default() += 1;
        Call {
            index,
            kind,
            phase: Phase::Before,
        }
    }
}
