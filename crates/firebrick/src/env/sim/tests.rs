use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::env::{Env, blocking, named, timeout, yield_now};

const SECOND: Duration = Duration::from_secs(1);

/// Several tasks that send their number at random times; the order in which they arrive.
fn race(executor: &Executor) -> Vec<u64> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for number in 0..8 {
        let env = executor.process(&format!("p{number}"));
        let sender = sender.clone();
        let inner = env.clone();
        env.spawn(
            "racer",
            Box::pin(async move {
                for _ in 0..4 {
                    inner.sleep(SECOND).await;
                    yield_now().await;
                    note(|| format!("racer {number}"));
                    sender.send(number).unwrap();
                }
            }),
        );
    }
    drop(sender);
    let all = async {
        let mut order = Vec::new();
        while let Some(number) = receiver.recv().await {
            order.push(number);
        }
        order
    };
    executor.run_until(all, 10 * SECOND).unwrap()
}

#[test]
fn a_seed_replays_and_seeds_differ() {
    let first = check_replay(1, race).unwrap();
    assert_eq!(first.len(), 32);
    assert_eq!(first, race(&Executor::new(1)));
    assert_ne!(first, race(&Executor::new(2)));
}

#[test]
fn what_does_not_replay_is_found() {
    let runs = AtomicU64::new(0);
    let diverged = check_replay(3, |executor| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        let env = executor.process("p");
        env.spawn(
            "t",
            Box::pin(async move { note(|| format!("this is run {run}")) }),
        );
        executor.run_for(SECOND).unwrap();
    });
    let diverged = diverged.unwrap_err();
    assert!(diverged.first.unwrap().contains("this is run 0"));
    assert!(diverged.second.unwrap().contains("this is run 1"));
}

#[test]
fn time_is_virtual() {
    let executor = Executor::new(5);
    let env = executor.process("p");
    let begin = std::time::Instant::now();
    let year = 365 * 24 * 3600 * SECOND;
    executor.run_until(env.sleep(year), 2 * year).unwrap();
    assert_eq!(env.now(), year);
    assert!(begin.elapsed() < SECOND);
    env.set_clock_skew_ms(-1000);
    let skewed = env.unix_ms();
    env.set_clock_skew_ms(0);
    assert_eq!(skewed + 1000, env.unix_ms());
}

#[test]
fn a_deadlock_says_what_everybody_waits_for() {
    let executor = Executor::new(5);
    let env = executor.process("alice");
    let (_keep, receiver) = oneshot::channel::<()>();
    env.spawn(
        "writer",
        Box::pin(async {
            note(|| "begin".into());
            let inner = named("the answer", receiver);
            let _ = named("the commit", inner).await;
        }),
    );
    let stuck = executor
        .run_until(named("godot", std::future::pending::<()>()), SECOND)
        .unwrap_err();
    assert_eq!(stuck.reason, StuckReason::Deadlock);
    let text = stuck.to_string();
    assert!(
        text.contains("alice / writer waits for the commit > the answer"),
        "{text}"
    );
    assert!(text.contains("scenario / main waits for godot"), "{text}");
    assert!(
        text.contains("seed 5") && text.contains("writer: begin"),
        "{text}"
    );
}

#[test]
fn limits_of_time_and_of_polls() {
    let executor = Executor::new(5);
    let env = executor.process("p");
    let ticker = env.clone();
    env.spawn(
        "ticker",
        Box::pin(async move {
            loop {
                ticker.sleep(SECOND).await;
            }
        }),
    );
    let stuck = executor.run_until(std::future::pending::<()>(), 60 * SECOND);
    let stuck = stuck.unwrap_err();
    assert_eq!(
        (stuck.reason, stuck.at),
        (StuckReason::TimeLimit, 60 * SECOND)
    );
    executor.set_poll_limit(1000);
    let spinning = env.clone();
    env.spawn(
        "spinner",
        Box::pin(async move {
            loop {
                spinning.sleep(Duration::ZERO).await;
                yield_now().await;
                spinning.sleep(Duration::from_nanos(0)).await;
            }
        }),
    );
    env.spawn(
        "spinner",
        Box::pin(async {
            loop {
                yield_now().await;
            }
        }),
    );
    let stuck = executor.run_for(60 * SECOND).unwrap_err();
    assert_eq!(stuck.reason, StuckReason::Livelock);
}

#[test]
fn a_crash_drops_all_tasks_of_the_process_and_no_other() {
    struct Dropped(Arc<AtomicU64>, SimEnv);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            // A destructor that tries to go on must not succeed.
            self.1.spawn("ghost", Box::pin(async { panic!("ghost") }));
        }
    }
    let executor = Executor::new(5);
    let (victim, other) = (executor.process("victim"), executor.process("other"));
    let dropped = Arc::new(AtomicU64::new(0));
    let alive = Arc::new(AtomicU64::new(0));
    for env in [&victim, &victim, &other] {
        let (inner, alive) = (env.clone(), Arc::clone(&alive));
        let guard = Dropped(Arc::clone(&dropped), env.clone());
        env.spawn(
            "task",
            Box::pin(async move {
                let guard = guard;
                loop {
                    inner.sleep(SECOND).await;
                    if guard.1.name().as_ref() == "other" {
                        alive.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }),
        );
    }
    executor.run_for(SECOND + Duration::from_millis(1)).unwrap();
    executor.crash(&victim);
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    assert_eq!(executor.task_count(), 1);
    executor.run_for(10 * SECOND).unwrap();
    assert_eq!(alive.load(Ordering::Relaxed), 11);
    assert!(!victim.is_alive());
    // The dead one's timers never fire, and a new process of the same name has new random numbers.
    let stuck = executor.run_until(timeout(&other, SECOND, victim.sleep(SECOND)), 2 * SECOND);
    assert!(stuck.unwrap().is_err());
    let reborn = executor.process("victim");
    let (mut a, mut b) = ([0; 16], [0; 16]);
    victim.fill_random(&mut a);
    reborn.fill_random(&mut b);
    assert_ne!(a, b);
}

#[test]
fn a_task_can_crash_its_own_process() {
    let executor = Executor::new(5);
    let env = executor.process("p");
    let inner = env.clone();
    env.spawn(
        "suicide",
        Box::pin(async move {
            inner.crash();
            std::future::pending::<()>().await;
        }),
    );
    executor.run_for(SECOND).unwrap();
    assert_eq!(executor.task_count(), 0);
}

#[test]
fn a_paused_process_goes_on_later() {
    let executor = Executor::new(5);
    let env = executor.process("p");
    let ticks = Arc::new(AtomicU64::new(0));
    let (inner, count) = (env.clone(), Arc::clone(&ticks));
    env.spawn(
        "ticker",
        Box::pin(async move {
            loop {
                inner.sleep(SECOND).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        }),
    );
    executor.run_for(3 * SECOND + SECOND / 2).unwrap();
    executor.pause(&env);
    executor.run_for(10 * SECOND).unwrap();
    assert_eq!(ticks.load(Ordering::Relaxed), 3);
    executor.resume(&env);
    executor.run_for(SECOND).unwrap();
    assert!(ticks.load(Ordering::Relaxed) >= 4);
}

#[test]
fn blocking_jobs_and_foreign_primitives_work() {
    let executor = Executor::new(9);
    let env = executor.process("p");
    let work = async {
        let jobs = futures_util::stream::iter(0..10u64).map(|n| blocking(&env, move || n * n));
        let mut squares: Vec<u64> = jobs
            .buffer_unordered(4)
            .map(|result| result.unwrap())
            .collect()
            .await;
        squares.sort_unstable();
        squares
    };
    let squares = executor.run_until(work, SECOND).unwrap();
    assert_eq!(squares, (0..10).map(|n| n * n).collect::<Vec<u64>>());
}

#[test]
fn a_panic_of_a_task_ends_the_run() {
    let executor = Executor::new(9);
    let env = executor.process("p");
    env.spawn("bomb", Box::pin(async { panic!("on purpose") }));
    let run = std::panic::AssertUnwindSafe(|| executor.run_for(SECOND));
    assert!(std::panic::catch_unwind(run).is_err());
}
