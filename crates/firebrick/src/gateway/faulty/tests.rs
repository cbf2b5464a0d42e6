use std::sync::atomic::{AtomicU64, Ordering};

use firebrick_core::cid::Codec;
use futures_util::StreamExt;

use super::*;
use crate::env::sim::{Executor, check_replay};
use crate::env::timeout;
use crate::gateway::{MemoryRemote, conformance};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(100_000);

struct World {
    executor: Executor,
    remote: MemoryRemote,
    faulty: Faulty<MemoryRemote>,
}

fn world(seed: u64) -> World {
    let executor = Executor::new(seed);
    let remote = MemoryRemote::unnamed();
    let env = Arc::new(executor.process("network"));
    let faulty = Faulty::new(Arc::new(remote.clone()), env, seed);
    World {
        executor,
        remote,
        faulty,
    }
}

impl World {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.executor.run_until(future, LIMIT).unwrap()
    }
}

fn car(n: u32) -> (Cid, Bytes) {
    let bytes: Vec<u8> = n.to_le_bytes().repeat(20);
    (Cid::of(Codec::Car, &bytes), bytes.into())
}

fn slot() -> SlotId {
    "s".repeat(32)
}

fn announcement(n: u32) -> Announcement {
    Announcement::new(format!("[{n}]"))
}

#[test]
fn without_faults_it_conforms() {
    for seed in 0..5 {
        let world = world(seed);
        let env = world.executor.process("suite");
        let faulty = world.faulty.clone();
        let suite = conformance::check(&env, || Arc::new(faulty.clone()));
        world.run(suite).unwrap();
        let counters = world.faulty.fault_counters();
        assert!(counters.total_calls() > 100);
        let calls = counters.calls.clone();
        let quiet = FaultCounters {
            calls,
            ..FaultCounters::default()
        };
        assert_eq!(counters, quiet);
    }
}

/// Does everything until it has worked, as a tracker does.
async fn persist(faulty: &Faulty<MemoryRemote>, env: &dyn Env) {
    for n in 0..30 {
        let (cid, bytes) = car(n);
        loop {
            let put = timeout(env, 30 * SECOND, faulty.put_car(&cid, bytes.clone())).await;
            if matches!(put, Ok(Ok(()))) {
                let get = timeout(env, 30 * SECOND, faulty.get_car(&cid)).await;
                if matches!(get, Ok(Ok(Some(read))) if read == bytes) {
                    break;
                }
            }
            env.sleep(SECOND).await;
        }
        let announcement = announcement(n);
        let slot = slot();
        loop {
            let call = faulty.announce(&slot, &announcement);
            if matches!(timeout(env, 30 * SECOND, call).await, Ok(Ok(()))) {
                break;
            }
            env.sleep(SECOND).await;
        }
        let _ = timeout(env, 30 * SECOND, faulty.slots()).await;
        let _ = timeout(env, 30 * SECOND, faulty.list_cars()).await;
    }
}

#[test]
fn patience_beats_every_random_fault_and_a_seed_replays() {
    let mut seen = FaultCounters::default();
    for seed in 0..20 {
        let counters = check_replay(seed, |executor| {
            let remote = MemoryRemote::unnamed();
            let network = Arc::new(executor.process("network"));
            let faulty = Faulty::new(Arc::new(remote.clone()), network, seed);
            faulty.set_plan(FaultPlan::hostile());
            let env = executor.process("client");
            let mut watch = faulty.watch();
            env.spawn(
                "watcher",
                Box::pin(async move { while watch.next().await.is_some() {} }),
            );
            executor.run_until(persist(&faulty, &env), LIMIT).unwrap();
            faulty.heal();
            executor.run_for(60 * SECOND).unwrap();
            for n in 0..30 {
                let (cid, bytes) = car(n);
                let read = executor.run_until(faulty.get_car(&cid), LIMIT).unwrap();
                assert_eq!(read.unwrap(), Some(bytes));
            }
            faulty.fault_counters()
        });
        let counters = counters.unwrap();
        seen.errors_before += counters.errors_before;
        seen.errors_after += counters.errors_after;
        seen.refused += counters.refused;
        seen.hangs += counters.hangs;
        seen.duplicates += counters.duplicates;
        seen.late_duplicates += counters.late_duplicates;
        seen.lost_puts += counters.lost_puts;
        seen.cut_puts += counters.cut_puts;
        seen.missed += counters.missed;
        seen.truncated += counters.truncated;
        seen.flipped += counters.flipped;
        seen.stale_listings += counters.stale_listings;
        seen.partial_listings += counters.partial_listings;
        seen.dropped_hints += counters.dropped_hints;
        seen.ended_watches += counters.ended_watches;
    }
    // Every kind of fault has really happened.
    let text = format!("{seen:?}").replace("outages: 0", "");
    assert!(!text.contains(": 0,") && !text.contains(": 0 }"), "{text}");
}

#[test]
fn an_error_after_the_effect_has_an_effect_and_one_before_has_none() {
    let world = world(1);
    let (cid, bytes) = car(1);
    world.faulty.set_plan(FaultPlan {
        error_before: 1.0,
        ..FaultPlan::default()
    });
    let error = world.run(world.faulty.put_car(&cid, bytes.clone()));
    assert!(error.unwrap_err().is_retryable());
    assert_eq!(world.remote.counters().puts, 0);
    world.faulty.set_plan(FaultPlan {
        error_after: 1.0,
        duplicate: 1.0,
        ..FaultPlan::default()
    });
    assert!(world.run(world.faulty.put_car(&cid, bytes)).is_err());
    assert_eq!(world.remote.counters().puts, 2);
    assert_eq!(world.remote.counters().duplicate_puts, 1);
}

#[test]
fn a_late_duplicate_overwrites_what_is_newer() {
    let world = world(4);
    let plan = FaultPlan {
        late_duplicate: 1.0,
        delay_max: 10 * SECOND,
        ..FaultPlan::default()
    };
    let slot = slot();
    world.faulty.set_plan(plan);
    world
        .run(world.faulty.announce(&slot, &announcement(1)))
        .unwrap();
    world.faulty.set_plan(FaultPlan::default());
    world
        .run(world.faulty.announce(&slot, &announcement(2)))
        .unwrap();
    world.executor.run_for(11 * SECOND).unwrap();
    let slots = world.run(world.faulty.slots()).unwrap();
    assert_eq!(slots, [(slot, announcement(1))]);
}

#[test]
fn faults_of_single_cars() {
    let world = world(2);
    let (cid, bytes) = car(1);
    let (other, other_bytes) = car(2);
    for (cid, bytes) in [(cid, &bytes), (other, &other_bytes)] {
        world
            .run(world.faulty.put_car(&cid, bytes.clone()))
            .unwrap();
    }
    let get = || world.run(world.faulty.get_car(&cid));
    let listed = || world.run(world.faulty.list_cars()).unwrap().unwrap().len();
    world.faulty.set_car_fault(&cid, Some(CarFault::Missing));
    assert_eq!((get().unwrap(), listed()), (None, 1));
    world.faulty.set_car_fault(&cid, Some(CarFault::Truncated));
    assert!(get().unwrap().unwrap().len() < bytes.len());
    world.faulty.set_car_fault(&cid, Some(CarFault::Flipped));
    let flipped = get().unwrap().unwrap();
    let bits: u32 = flipped
        .iter()
        .zip(&bytes)
        .map(|(a, b)| (a ^ b).count_ones())
        .sum();
    assert_eq!(bits, 1);
    world.faulty.set_car_fault(&cid, Some(CarFault::Denied));
    assert_eq!(get().unwrap_err().kind(), GatewayErrorKind::Denied);
    let later = world.executor.now() + SECOND;
    world
        .faulty
        .set_car_fault(&cid, Some(CarFault::LateUntil(later)));
    assert_eq!(get().unwrap(), None);
    world.executor.run_for(SECOND).unwrap();
    assert_eq!(get().unwrap(), Some(bytes.clone()));
    world.faulty.set_car_fault(&cid, Some(CarFault::Missing));
    assert_eq!(
        world.run(world.faulty.get_car(&other)).unwrap(),
        Some(other_bytes)
    );
    world.faulty.heal();
    assert_eq!((get().unwrap(), listed()), (Some(bytes), 2));
}

#[test]
fn outages_begin_and_end() {
    let world = world(3);
    let (cid, bytes) = car(1);
    let put = || world.run(world.faulty.put_car(&cid, bytes.clone()));
    world.faulty.outage(10 * SECOND);
    assert_eq!(put().unwrap_err().kind(), GatewayErrorKind::Unavailable);
    world.executor.run_for(11 * SECOND).unwrap();
    put().unwrap();
    world.faulty.set_unavailable(true);
    put().unwrap_err();
    world.faulty.set_unavailable(false);
    put().unwrap();
    assert_eq!(world.faulty.fault_counters().refused, 2);
}

#[test]
fn a_hook_makes_crash_points() {
    for point in 0..4 {
        let world = world(5);
        let victim = world.executor.process("victim");
        let process = victim.clone();
        world.faulty.on_call(move |call| {
            let now = call.index * 2 + u64::from(call.phase == Phase::After);
            if now == point {
                process.crash();
                return Step::Hang;
            }
            Step::Continue
        });
        let done = Arc::new(AtomicU64::new(0));
        let (faulty, count) = (world.faulty.clone(), Arc::clone(&done));
        victim.spawn(
            "writer",
            Box::pin(async move {
                for n in 0..2 {
                    let (cid, bytes) = car(n);
                    faulty.put_car(&cid, bytes).await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }),
        );
        world.executor.run_for(SECOND).unwrap();
        // Before or after each effect, and the writer never learns of the last one.
        assert_eq!(world.remote.counters().puts, point.div_ceil(2));
        assert_eq!(done.load(Ordering::Relaxed), point / 2);
        assert!(!victim.is_alive());
    }
}

#[test]
fn limits_hide_capabilities() {
    let world = world(6);
    let none = Capabilities {
        write: true,
        notify: false,
        list: false,
        delete: false,
        shared_pointer: false,
        javascript: false,
        remove_slots: false,
    };
    world.faulty.set_limits(Some(none));
    assert_eq!(world.faulty.capabilities(), none);
    assert_eq!(world.run(world.faulty.list_cars()).unwrap(), None);
    let env = world.executor.process("watcher");
    let mut watch = world.faulty.watch();
    let slot = slot();
    world
        .run(world.faulty.announce(&slot, &announcement(1)))
        .unwrap();
    let hint = world.run(timeout(&env, 60 * SECOND, watch.next()));
    assert!(hint.is_err());
    world.faulty.set_limits(None);
    assert_eq!(world.faulty.capabilities(), Capabilities::FULL);
}
