//! The scenarios of syncing, on virtual time: several seeds each, and silence to the second.

use std::time::Duration;

use firebrick::Cid;
use firebrick::env::sim::Executor;
use firebrick::gateway::{CarFault, FaultPlan, Gateway as _};
use firebrick_core::car::CarReader;
use firebrick_core::header::CarHeader;
use firebrick_core::keys::KeySet;
use firebrick_core::meta::MetaFile;
use firebrick_core::{Block, envelope};

use super::oracle;
use super::world::World;
use crate::common;

const SOON: Duration = Duration::from_secs(1200);

/// Runs a scenario on some seeds.
// Taken by value so that a scenario can be written where it is run.
#[expect(clippy::needless_pass_by_value)]
fn on_seeds(count: u64, scenario: impl AsyncFn(&mut World<'_>)) {
    for seed in 1..=count {
        let executor = Executor::new(seed);
        let mut world = World::new(&executor, "scenario");
        let limit = Duration::from_secs(24 * 3600);
        executor
            .run_until(scenario(&mut world), limit)
            .unwrap_or_else(|stuck| panic!("{stuck}"));
    }
}

impl World<'_> {
    fn attach_home(&mut self, at: usize) {
        for hub in self.nodes[at].home.clone() {
            self.attach(at, hub).expect("attaches");
        }
    }

    async fn write(&mut self, at: usize, label: &str, rows: usize) {
        let name = self.nodes[at].name.clone();
        let ids: Vec<String> = (0..rows)
            .map(|row| format!("{name}-{label}-{row}"))
            .collect();
        self.put(at, &ids).await;
    }

    async fn count(&self, at: usize) -> usize {
        self.open_db(at).count().await.expect("counts")
    }

    /// A connection on which calls fail and CARs arrive late, damaged or not at all. Listings are
    /// right, so that "synced" means something to wait for.
    fn flaky(&self, at: usize) {
        let mut plan = FaultPlan::flaky();
        plan.stale_slots = 0.0;
        plan.partial_lists = 0.0;
        for wire in &self.nodes[at].wires {
            wire.set_plan(plan.clone());
        }
    }

    fn heal_wires(&self, at: usize) {
        for wire in &self.nodes[at].wires {
            wire.heal();
        }
    }

    /// The group that a hub shows, by the one slot that there is.
    async fn shown(&self, hub: usize) -> (Cid, Block, CarHeader) {
        let headers = oracle::headers_at(&self.hubs[hub].remote, self.key(), self.encrypted).await;
        headers.into_iter().next().expect("something is shown")
    }
}

async fn online(world: &mut World<'_>, count: usize, rows: usize) {
    world.add_hubs(1);
    for at in 0..count {
        world.add_node([0]).await;
        world.flaky(at);
        world.write(at, "first", rows).await;
    }
    (0..count).for_each(|at| world.attach_home(at));
    world.converge(SOON).await;
    assert_eq!(world.count(0).await, count * rows);
    for at in 0..count {
        world.write(at, "second", rows).await;
    }
    world.converge(SOON).await;
    assert_eq!(world.count(0).await, 2 * count * rows);
    let last = count - 1;
    for at in [0, last] {
        world.close(at).await;
    }
    for at in 1..last {
        world.write(at, "third", rows).await;
    }
    world.converge(SOON).await;
    for at in [0, last] {
        world.open(at).await;
        assert_eq!(
            world.count(at).await,
            2 * count * rows,
            "it sees what it had"
        );
    }
    for at in 1..last {
        world.write(at, "fourth", rows).await;
    }
    for at in [0, last] {
        world.attach_home(at);
    }
    world.converge(SOON).await;
    (0..count).for_each(|at| world.heal_wires(at));
    world.check_equal().await;
    let all = (2 * count + 2 * (count - 2)) * rows;
    assert_eq!(world.count(0).await, all);
}

#[test]
fn online_3() {
    on_seeds(10, async |world| online(world, 3, 1).await);
    on_seeds(2, async |world| online(world, 3, 100).await);
}

#[test]
fn online_10() {
    on_seeds(3, async |world| online(world, 10, 1).await);
}

#[test]
fn offline() {
    on_seeds(10, async |world| {
        world.add_hubs(1);
        let outbound = world.add_node([0]).await;
        world.write(outbound, "out", 5).await;
        world.attach_home(outbound);
        world.converge(SOON).await;
        world.close(outbound).await;
        let inbound = world.add_node([0]).await;
        world.write(inbound, "in", 5).await;
        world.close(inbound).await;
        world.open(inbound).await;
        assert_eq!(world.count(inbound).await, 5);
        world.flaky(inbound);
        world.attach_home(inbound);
        world.converge(SOON).await;
        assert_eq!(world.count(inbound).await, 10);
        let third = world.add_node([0]).await;
        world.flaky(third);
        world.attach_home(third);
        world.converge(SOON).await;
        assert_eq!(world.count(third).await, 10);
    });
}

#[test]
fn what_comes_from_one_remote_reaches_the_others() {
    on_seeds(10, async |world| {
        world.add_hubs(3);
        for hub in 0..3 {
            world.add_node([hub]).await;
        }
        let middle = world.add_node(0..3).await;
        for at in 0..3 {
            world.write(at, "own", 3).await;
            world.attach_home(at);
        }
        world.flaky(middle);
        world.attach_home(middle);
        world.converge(SOON).await;
        assert_eq!(world.count(2).await, 9);
        world.heal_wires(middle);
        world.falls_silent().await;
        world.check_equal().await;
    });
}

/// A ring of databases and remotes: everything arrives everywhere, and then nothing moves.
#[test]
fn a_ring_falls_silent() {
    on_seeds(5, async |world| {
        world.add_hubs(5);
        for at in 0..5 {
            world.add_node([at, (at + 1) % 5]).await;
            world.write(at, "ring", 4).await;
            world.attach_home(at);
        }
        world.converge(SOON).await;
        world.falls_silent().await;
        world.put(3, &["late".to_owned()]).await;
        world.converge(SOON).await;
        let before = world.announces();
        world.sleep(Duration::from_secs(600)).await;
        assert_eq!(before, world.announces());
        world.check_equal().await;
    });
}

/// Whoever makes the merge event, it is the same; so a crowd that writes at once settles quickly.
#[test]
fn a_crowd_settles_with_few_announcements() {
    on_seeds(2, async |world| {
        world.add_hubs(1);
        for at in 0..16 {
            world.add_node([0]).await;
            world.write(at, "crowd", 1).await;
            world.attach_home(at);
        }
        world.converge(SOON).await;
        world.falls_silent().await;
        let announces = world.announces()[0];
        assert!(announces < 16 * 8, "{announces} announcements");
    });
}

/// One CAR comes late, is missing or damaged on the way: the rest arrives, the status names the
/// CAR, and it heals.
#[test]
fn a_bad_car_keeps_back_only_itself() {
    let faults = [
        CarFault::Missing,
        CarFault::Truncated,
        CarFault::Flipped,
        CarFault::LateUntil(Duration::from_secs(300)),
    ];
    for fault in faults {
        on_seeds(3, async |world| {
            world.add_hubs(1);
            let good = world.add_node([0]).await;
            let bad = world.add_node([0]).await;
            world.write(good, "good", 3).await;
            world.attach_home(good);
            world.converge_only(&[good]).await;
            let first = world.shown(0).await.0;
            world.close(good).await;
            world.write(bad, "bad", 3).await;
            world.attach_home(bad);
            world.converge_only(&[bad]).await;
            let cars = world.hubs[0].remote.dump_cars();
            world.close(bad).await;
            let reader = world.add_node([0]).await;
            for (entry, _) in &cars {
                if entry.cid != first {
                    world.nodes[reader].wires[0].set_car_fault(&entry.cid, Some(fault));
                }
            }
            world.attach_home(reader);
            world.sleep(Duration::from_secs(100)).await;
            assert_eq!(world.count(reader).await, 3, "the rest is here");
            let status = world.attachment(reader, 0).expect("is attached").status();
            assert!(
                status
                    .pending
                    .iter()
                    .any(|pending| !pending.cars.is_empty()),
                "the status names the CAR: {status:?}"
            );
            if !matches!(fault, CarFault::LateUntil(_)) {
                world.nodes[reader].wires[0].heal();
            } else {
                world.sleep(Duration::from_secs(200)).await;
            }
            world.converge(SOON).await;
            assert_eq!(world.count(reader).await, 6);
        });
    }
}

/// A remote that loses or damages something, or everything, gets it back from whoever is there.
#[test]
fn a_remote_that_forgets_is_filled_again() {
    for damage in 0..4 {
        on_seeds(3, async |world| {
            world.add_hubs(1);
            for at in 0..2 {
                world.add_node([0]).await;
                world.write(at, "own", 3).await;
                world.attach_home(at);
            }
            world.converge(SOON).await;
            // The first writer is gone; the second has all of it.
            world.close(0).await;
            let remote = world.hubs[0].remote.clone();
            let cars = remote.dump_cars();
            for (entry, _) in &cars {
                match damage {
                    0 => drop(remote.remove_car(&entry.cid)),
                    1 => drop(remote.corrupt_car(&entry.cid, |bytes| bytes.truncate(20))),
                    2 => drop(remote.corrupt_car(&entry.cid, |bytes| bytes[30] ^= 4)),
                    _ => {}
                }
            }
            if damage == 3 {
                remote.clear();
            }
            let newcomer = world.add_node([0]).await;
            world.attach_home(newcomer);
            world.converge(Duration::from_secs(300)).await;
            assert_eq!(world.count(newcomer).await, 6);
            world.falls_silent().await;
        });
    }
}

/// However often it is pushed, the header stays small and the groups few.
#[test]
fn ten_thousand_pushes_keep_the_header_small() {
    on_seeds(1, async |world| {
        world.add_hubs(1);
        let at = world.add_node([0]).await;
        world.attach_home(at);
        let attachment = world.attachment(at, 0).expect("is attached");
        let db = world.open_db(at).clone();
        let (mut largest, mut most) = (0, 0);
        for n in 0..10_000 {
            let doc = common::doc(format!("d{:04}", n % 500), format!("{n}"));
            db.put_with(&doc, firebrick::Durability::Buffered)
                .await
                .expect("is written");
            attachment.synced().await.expect("syncs");
            let (bytes, header) = newest_header(world).await;
            largest = largest.max(bytes);
            most = most.max(header.cars.len() + 1);
        }
        assert!(largest < 4096, "a header of {largest} bytes");
        assert!(most <= 64, "{most} groups");
        let status = attachment.status();
        assert_eq!(status.traffic.announces, 10_000);
        world.check_equal().await;
    });
}

/// The same with several writers, whose headers list each other's groups.
#[test]
fn many_writers_keep_the_header_small() {
    on_seeds(2, async |world| {
        world.add_hubs(1);
        for at in 0..6 {
            world.add_node([0]).await;
            world.attach_home(at);
        }
        for n in 0..600 {
            let at = world.rng.index(6);
            world.put(at, &[format!("d{}", n % 50)]).await;
            let pause = Duration::from_millis(world.rng.below(400));
            world.sleep(pause).await;
            if n % 10 == 0 {
                let remote = &world.hubs[0].remote;
                for (_, block, header) in
                    oracle::headers_at(remote, world.key(), world.encrypted).await
                {
                    assert!(header.cars.len() < 64, "{} groups", header.cars.len() + 1);
                    assert!(block.bytes.len() < 6000, "{} bytes", block.bytes.len());
                }
            }
        }
        world.converge(SOON).await;
        world.falls_silent().await;
        world.check_equal().await;
    });
}

/// The header that the one slot of the hub leads to, through the gateway.
async fn newest_header(world: &World<'_>) -> (usize, CarHeader) {
    let remote = &world.hubs[0].remote;
    let slots = remote.slots().await.expect("lists");
    let file = MetaFile::parse(&slots[0].1.meta).expect("is well formed");
    let car = file.events[0].1.cars[0];
    let sealed = remote
        .get_car(&car)
        .await
        .expect("reads")
        .expect("is there");
    let keys = KeySet::new("reader", world.key().clone());
    let plain = envelope::open(&sealed, &keys).expect("decrypts");
    let first = CarReader::new(plain)
        .expect("is a CAR")
        .next()
        .expect("has a block")
        .expect("is whole");
    (
        first.bytes.len(),
        CarHeader::decode(&first.bytes).expect("is a header"),
    )
}
