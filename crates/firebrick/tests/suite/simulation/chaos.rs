//! One random run.

use std::time::Duration;

use firebrick::env::sim::Executor;
use firebrick::gateway::{FaultPlan, MemoryBackup};
use firebrick::store::SimFault;

use super::world::{World, say};

/// What may happen in a run.
#[derive(Clone, Copy, Debug)]
struct Climate {
    /// Remotes keep what they confirmed.
    honest: bool,
    /// Crashes may lose what was not synced. Together with remotes that lose things, data can be
    /// gone for good, so that is one or the other.
    power: bool,
    faults: f64,
    plan: u8,
    steps: usize,
    ids: usize,
}

/// How long everything may take to become equal once nothing fails any more.
const LIVENESS: Duration = Duration::from_secs(300);

/// Random things, then calm, then equality. Panics if anything is wrong.
pub(crate) fn chaos(executor: &Executor) {
    let mut world = World::new(executor, "chaos");
    let limit = Duration::from_secs(24 * 3600);
    executor
        .run_until(run(&mut world), limit)
        .unwrap_or_else(|stuck| panic!("{stuck}"));
}

async fn run(world: &mut World<'_>) {
    let climate = Climate {
        honest: world.rng.chance(0.5),
        power: world.rng.chance(0.5),
        faults: [0.0, 0.1, 0.25, 0.5][world.rng.index(4)],
        plan: world.rng.index(3) as u8,
        steps: 15 + world.rng.index(60),
        ids: 1 + world.rng.index(12),
    };
    let climate = Climate {
        honest: climate.honest || climate.power,
        ..climate
    };
    world.encrypted = world.rng.chance(0.8);
    world.power = climate.power;
    say(|| format!("{climate:?}, encrypted: {}", world.encrypted));
    let hubs = 1 + world.rng.index(2);
    let nodes = 2 + world.rng.index(5);
    world.add_hubs(hubs);
    // One database belongs everywhere, so that all are connected.
    world.add_node(0..hubs).await;
    for _ in 1..nodes {
        let home = world.rng.index(hubs);
        let both = world.rng.chance(0.3);
        world
            .add_node((0..hubs).filter(|hub| both || *hub == home))
            .await;
    }
    for at in 0..nodes {
        for hub in 0..hubs {
            connect(world, climate, at, hub);
        }
    }
    let mut backups: Vec<Option<MemoryBackup>> = vec![None; hubs];
    for _ in 0..climate.steps {
        step(world, climate, &mut backups).await;
    }
    world.heal().await;
    world.converge(LIVENESS).await;
    world.falls_silent().await;
    world.check_equal().await;
}

fn plan(world: &mut World<'_>, climate: Climate) -> FaultPlan {
    let mut plan = if climate.honest {
        let mut plan = FaultPlan::flaky();
        // An upload that is cut can leave a part in the place of a copy that was whole.
        plan.cut_put = 0.0;
        plan
    } else {
        FaultPlan::hostile()
    };
    match (climate.plan, world.rng.index(4)) {
        (0, _) | (_, 0) => return FaultPlan::default(),
        (2, 1) => {
            plan.error_before = 0.3;
            plan.error_after = 0.3;
            plan.miss = 0.3;
            plan.stale_slots = 0.4;
            plan.partial_lists = 0.4;
            plan.drop_hint = 0.8;
        }
        _ => {}
    }
    plan
}

fn connect(world: &mut World<'_>, climate: Climate, at: usize, hub: usize) {
    let plan = plan(world, climate);
    world.hubs[hub].lied |= plan.lose_put > 0.0 || plan.late_duplicate > 0.0;
    world.nodes[at].wires[hub].set_plan(plan);
}

async fn step(world: &mut World<'_>, climate: Climate, backups: &mut [Option<MemoryBackup>]) {
    let at = world.rng.index(world.nodes.len());
    let hub = world.rng.index(world.hubs.len());
    let name = world.nodes[at].name.clone();
    if !world.reap(at) && world.rng.chance(0.6) {
        world.open(at).await;
    }
    if world.rng.chance(climate.faults) {
        fault(world, climate, at, hub, backups).await;
        return;
    }
    match world.rng.index(100) {
        0..30 => {
            let id = id(world, climate, at);
            world.put(at, &[id]).await;
        }
        30..38 => {
            let id = id(world, climate, at);
            world.delete(at, &id).await;
        }
        38..46 => {
            let mut ids: Vec<String> = Vec::new();
            for _ in 0..2 + world.rng.index(20) {
                ids.push(id(world, climate, at));
            }
            world.put(at, &ids).await;
        }
        46..64 => {
            if world.nodes[at].home.contains(&hub) {
                say(|| format!("{name} attaches hub-{hub}"));
                world.attach(at, hub);
            }
        }
        64..67 => {
            if let Some(attachment) = world.attachment(at, hub) {
                let limit = Duration::from_secs(60);
                let left = firebrick::env::timeout(&world.network, limit, attachment.detach());
                let left = left.await;
                say(|| format!("{name} detaches hub-{hub}: {left:?}"));
            }
        }
        67..71 => world.close(at).await,
        71..76 => {
            let exact = climate.plan == 0;
            world.check_synced(at, hub, exact).await;
        }
        76..80 => world.compact(at).await,
        _ => {
            let longest = [10, 300, 5_000, 60_000][world.rng.index(4)];
            let pause = Duration::from_millis(world.rng.below(longest));
            world.sleep(pause).await;
        }
    }
}

fn id(world: &mut World<'_>, climate: Climate, at: usize) -> String {
    if world.rng.chance(0.3) {
        format!("{}-{}", world.nodes[at].name, world.rng.index(1000))
    } else {
        format!("shared-{}", world.rng.index(climate.ids))
    }
}

async fn fault(
    world: &mut World<'_>,
    climate: Climate,
    at: usize,
    hub: usize,
    backups: &mut [Option<MemoryBackup>],
) {
    let name = world.nodes[at].name.clone();
    match world.rng.index(10) {
        0 => {
            let power = climate.power && world.rng.chance(0.7);
            if world.db(at).is_some() {
                world.crash(at, power);
            }
        }
        1 => {
            let faults = [SimFault::CrashBefore, SimFault::CrashAfter, SimFault::Io];
            let fault = faults[world.rng.index(faults.len())];
            let after = world.rng.below(8);
            say(|| format!("{name}: {fault:?} after {after} storage calls"));
            world.plan_storage_fault(at, after, fault);
        }
        2 | 3 => {
            let after = world.rng.below(12);
            say(|| format!("{name} will crash after {after} calls to hub-{hub}"));
            world.plan_remote_crash(at, hub, after);
        }
        4 => {
            let down = Duration::from_millis(world.rng.below(60_000));
            say(|| format!("{name} does not reach hub-{hub} for {down:?}"));
            world.nodes[at].wires[hub].outage(down);
        }
        5 => {
            let paused = world.rng.chance(0.3);
            let env = world.nodes[at].env.clone();
            if paused {
                world.executor.pause(&env);
            } else {
                world.executor.resume(&env);
            }
        }
        6..8 if !climate.honest => lie(world, hub, backups),
        _ => {
            say(|| format!("{name} has another connection to hub-{hub}"));
            connect(world, climate, at, hub);
        }
    }
}

/// A remote loses or changes what it had confirmed.
fn lie(world: &mut World<'_>, hub: usize, backups: &mut [Option<MemoryBackup>]) {
    world.hubs[hub].lied = true;
    let remote = world.hubs[hub].remote.clone();
    let cars: Vec<_> = remote
        .dump_cars()
        .into_iter()
        .map(|(entry, _)| entry.cid)
        .collect();
    let car = (!cars.is_empty()).then(|| cars[world.rng.index(cars.len())]);
    match (world.rng.index(5), car) {
        (0, _) => {
            say(|| format!("hub-{hub} forgets everything"));
            remote.clear();
        }
        (1, Some(car)) => {
            say(|| format!("hub-{hub} loses {car}"));
            let _ = remote.remove_car(&car);
        }
        (2, Some(car)) => {
            say(|| format!("hub-{hub} flips a bit of {car}"));
            let random = world.rng.next_u64() as usize;
            remote.corrupt_car(&car, |bytes| {
                let at = random % bytes.len().max(1);
                bytes[at] ^= 1;
            });
        }
        (3, Some(car)) => {
            say(|| format!("hub-{hub} cuts {car}"));
            let random = world.rng.next_u64() as usize;
            remote.corrupt_car(&car, |bytes| bytes.truncate(random % bytes.len().max(1)));
        }
        _ => match backups[hub].take() {
            Some(backup) => {
                say(|| format!("hub-{hub} is set back to an earlier state"));
                remote.restore(&backup);
            }
            None => backups[hub] = Some(remote.backup()),
        },
    }
}
