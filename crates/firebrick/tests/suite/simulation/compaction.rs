//! Replicas that compact on their own and then sync: nothing is missing, and the outcome is that of
//! the same history without compaction.

use std::time::Duration;

use firebrick::env::sim::Executor;

use super::oracle;
use super::world::World;
use crate::common::{self, State};

const SOON: Duration = Duration::from_secs(1200);

// Taken by value so that a scenario can be written where it is run.
#[expect(clippy::needless_pass_by_value)]
fn run<T>(seed: u64, scenario: impl AsyncFn(&mut World<'_>) -> T) -> T {
    let executor = Executor::new(seed);
    let mut world = World::new(&executor, "compaction");
    let limit = Duration::from_secs(24 * 3600);
    let outcome = executor.run_until(scenario(&mut world), limit);
    outcome.unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"))
}

/// Writes, syncs and compactions at random; then everyone syncs with everyone.
async fn history(world: &mut World<'_>, compacting: bool) -> State {
    let mut choices = world.executor.rng("compactions");
    let hubs = 1 + world.rng.index(2);
    world.add_hubs(hubs);
    let nodes = 2 + world.rng.index(4);
    for _ in 0..nodes {
        world.add_node(0..hubs).await;
    }
    let ids = 2 + world.rng.index(12);
    for _ in 0..20 + world.rng.index(80) {
        let at = world.rng.index(nodes);
        match world.rng.index(10) {
            0..5 => {
                let id = format!("doc-{}", world.rng.index(ids));
                world.put(at, &[id]).await;
            }
            5 => {
                let id = format!("doc-{}", world.rng.index(ids));
                world.delete(at, &id).await;
            }
            6 => {
                let some: Vec<String> = (0..1 + world.rng.index(ids))
                    .map(|n| format!("doc-{n}"))
                    .collect();
                world.put(at, &some).await;
            }
            _ => {
                let hub = world.rng.index(hubs);
                let attachment = world.attach(at, hub).expect("attaches");
                attachment.synced().await.expect("syncs");
                attachment.detach().await;
            }
        }
        let compacts = choices.chance(0.15);
        let who = choices.index(nodes);
        if compacting && compacts {
            let done = world.open_db(who).compact().run().await;
            done.expect("compacts");
        }
    }
    for at in 0..nodes {
        if compacting && choices.chance(0.5) {
            world.open_db(at).compact().run().await.expect("compacts");
        }
        for hub in 0..hubs {
            world.attach(at, hub).expect("attaches");
        }
    }
    world.converge(SOON).await;
    world.check_equal().await;
    common::state(world.open_db(0)).await
}

#[test]
fn compacting_changes_no_outcome() {
    let first = super::number("FIREBRICK_FIRST_SEED").unwrap_or(1);
    let count = super::number("FIREBRICK_SEEDS").unwrap_or(60);
    for seed in first..first + count {
        let with = run(seed, async |world| history(world, true).await);
        let without = run(seed, async |world| history(world, false).await);
        assert_eq!(with, without, "seed {seed}");
    }
}

/// CARs of a hub, and the most that a header lists.
async fn cars(world: &World<'_>) -> (usize, usize) {
    let remote = &world.hubs[0].remote;
    let headers = oracle::headers_at(remote, world.key(), true).await;
    let listed = headers.iter().map(|(_, _, header)| header.cars.len());
    (remote.dump_cars().len(), listed.max().unwrap_or(0))
}

#[test]
fn replaced_cars_are_deleted_after_a_while_and_no_others() {
    run(1, async |world| {
        world.add_hubs(1);
        let writer = world.add_node([0]).await;
        let reader = world.add_node([0]).await;
        for at in [writer, reader] {
            world.attach(at, 0).expect("attaches");
        }
        for n in 0..200 {
            world.put(writer, &[format!("doc-{}", n % 10)]).await;
            world.converge_only(&[writer]).await;
            if n % 20 == 0 {
                // Merging groups needs blocks that are not here any more.
                world.compact(writer).await;
                world.compact(reader).await;
            }
        }
        let (there, listed) = cars(world).await;
        assert!(there > 200 && listed <= 64, "{there} CARs, {listed} listed");
        world.sleep(Duration::from_secs(600)).await;
        assert_eq!(cars(world).await.0, there, "deleted too early");
        world.sleep(Duration::from_secs(1200)).await;
        let (left, listed) = cars(world).await;
        assert!(left <= listed + 2, "{left} CARs are left, {listed} listed");
        world.converge(SOON).await;
        world.check_equal().await;
    });
}

#[test]
fn a_car_that_is_lost_after_a_compaction_comes_back_with_what_is_left() {
    for seed in 1..=10 {
        run(seed, async |world| {
            world.add_hubs(1);
            let at = world.add_node([0]).await;
            for n in 0..12 {
                world
                    .put(at, &["same".to_owned(), format!("own-{n}")])
                    .await;
                let attachment = world.attach(at, 0).expect("attaches");
                attachment.synced().await.expect("syncs");
                attachment.detach().await;
            }
            world.open_db(at).compact().run().await.expect("compacts");
            let remote = world.hubs[0].remote.clone();
            if seed == 1 {
                remote.clear();
            } else {
                let cars = remote.dump_cars();
                let doomed = world.rng.index(cars.len());
                let _ = remote.remove_car(&cars[doomed].0.cid);
            }
            world.attach(at, 0).expect("attaches");
            world.converge(SOON).await;
            // Slots that name what is lost go.
            world.falls_silent().await;
            world.check_equal().await;
        });
    }
}

#[test]
fn versions_are_kept_by_their_age() {
    use firebrick::Retention;
    run(1, async |world| {
        world.add_hubs(0);
        let at = world.add_node([]).await;
        for _ in 0..10 {
            world.put(at, &["same".to_owned()]).await;
            // A mark is made when shards are stored, and opening makes none.
            world.close(at).await;
            world.open(at).await;
            world.sleep(Duration::from_secs(3600)).await;
        }
        let dropped = async |hours: u64| {
            let age = Retention::Age(Duration::from_secs(hours * 3600));
            let compact = world.open_db(at).compact().retention(age);
            let report = compact.dry_run(true).run().await.expect("counts");
            report.dropped_blocks
        };
        let by_age = [dropped(100).await, dropped(5).await, dropped(1).await];
        assert!(
            by_age.is_sorted() && by_age[0] < by_age[1] && by_age[1] < by_age[2],
            "{by_age:?}"
        );
        let all = world
            .open_db(at)
            .compact()
            .dry_run(true)
            .run()
            .await
            .expect("counts");
        assert!(by_age[2] <= all.dropped_blocks);
    });
}
