//! Hints.

use std::time::Instant;

use futures_util::StreamExt;

use super::*;
use crate::env::sim::Executor;
use crate::env::timeout;

#[tokio::test]
async fn a_watcher_is_told_quickly() {
    let (directory, gateway) = prepared().await;
    // Polling alone would take a minute.
    let minute = Duration::from_secs(60);
    let slow = PollInterval {
        busy: minute,
        idle: minute,
    };
    let mut watch = folder(directory.path()).with_poll_interval(slow).watch();
    watch.next().await.unwrap();
    let begin = Instant::now();
    gateway
        .announce(&slot("a"), &announcement("y"))
        .await
        .unwrap();
    let env = RealEnv::new();
    let hint = timeout(&env, Duration::from_secs(20), watch.next()).await;
    if cfg!(target_os = "linux") {
        hint.unwrap().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

/// In a simulation there is no file watcher, so these are the polls alone, in virtual time.
#[test]
fn polls_find_every_kind_of_change() {
    let directory = tempfile::tempdir().unwrap();
    let executor = Executor::new(1);
    let env = executor.process("p");
    let gateway = FolderGateway::new(directory.path(), Arc::new(env.clone()));
    let run = async {
        gateway.prepare().await.unwrap();
        let mut watch = gateway.watch();
        watch.next().await.unwrap();
        let pointer = directory.path().join("meta/main.json");
        let copy = directory.path().join("meta/heads").join(slot("a") + " 2");
        for round in 0..5 {
            match round {
                0 => gateway
                    .announce(&slot("a"), &announcement("y"))
                    .await
                    .unwrap(),
                1 => fs::write(&pointer, "[1]").unwrap(),
                // In place, with the same length.
                2 => fs::write(&pointer, "[2]").unwrap(),
                3 => fs::write(&copy, "x").unwrap(),
                _ => gateway.remove_slot(&slot("a")).await.unwrap(),
            }
            let begin = env.now();
            watch.next().await.unwrap();
            let passed = env.now() - begin;
            assert!(passed <= Duration::from_millis(50), "{round}: {passed:?}");
        }
        // After a while without changes it looks once a second, and quickly again after a change.
        env.sleep(Duration::from_secs(600)).await;
        let quiet = timeout(&env, Duration::from_secs(600), watch.next()).await;
        assert!(quiet.is_err());
        for text in ["1", "2"] {
            let begin = env.now();
            gateway
                .announce(&slot("b"), &announcement(text))
                .await
                .unwrap();
            watch.next().await.unwrap();
            let limit = if text == "1" { 1000 } else { 50 };
            assert!(env.now() - begin <= Duration::from_millis(limit));
        }
        // A folder that goes and comes back is a change, not an end.
        let away = directory.path().join("away");
        fs::rename(directory.path().join("meta"), &away).unwrap();
        watch.next().await.unwrap();
        fs::rename(&away, directory.path().join("meta")).unwrap();
        watch.next().await.unwrap();
    };
    executor.run_until(run, LIMIT).unwrap();
}
