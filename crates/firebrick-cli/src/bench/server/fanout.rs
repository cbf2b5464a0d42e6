//! Writers and subscribers of one ledger. Writers subscribe, too, as clients do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use firebrick::core::cloud::{Body, MetaEntry, Operation};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::Report;
use super::args::ServerBenchArgs;
use super::client::{self, Client, PATIENCE};
use super::stats::{Deliveries, Received, Shared, Times, lock};
use super::target::Target;
use crate::failure::Result;
use crate::output::Output;

const OPENING: usize = 32;

/// A client, and what it is to publish, the last one first.
struct Party {
    client: Client,
    metas: Vec<MetaEntry>,
}

struct Run {
    deliveries: Deliveries,
    pause: Duration,
    acknowledged: Shared,
    events: Shared,
}

pub(super) async fn run(
    args: &ServerBenchArgs,
    target: &Target,
    output: &Output,
    report: &mut Report,
) -> Result<()> {
    let bar = output.count_bar(Some((args.writers + args.subscribers) as u64));
    bar.set_message("connections");
    let opening = stream::iter(0..args.writers + args.subscribers).map(async |n| {
        let puts = if n < args.writers { args.puts } else { 0 };
        let party = Party::new(target, n, puts).await;
        bar.inc(1);
        party
    });
    let parties: Vec<Party> = opening.buffer_unordered(OPENING).try_collect().await?;
    bar.finish_and_clear();
    let metas = parties.iter().flat_map(|party| &party.metas);
    let run = Arc::new(Run {
        deliveries: Deliveries::new(metas.map(|meta| meta.cid)),
        pause: args.pause(),
        acknowledged: Shared::default(),
        events: Shared::default(),
    });
    let cpu = target.usage().map(|usage| usage.cpu_seconds);
    let bar = output.count_bar(Some((args.writers * args.puts) as u64));
    bar.set_message("acknowledged");
    let start = Instant::now();
    let mut working = JoinSet::new();
    for (n, party) in parties.into_iter().enumerate() {
        let run = run.clone();
        // They do not all begin at the same time.
        let first = start
            + run
                .pause
                .mul_f64(n as f64 / args.writers.max(1) as f64 % 1.0);
        working.spawn(async move { party.work(&run, first).await });
    }
    let mut times = Times::default();
    let (mut lost, mut lacking) = (0, 0);
    let mut clients = Vec::new();
    while let Some(ended) = working.join_next().await {
        let (received, client) = ended.map_err(client::failed)??;
        bar.set_position(run.acknowledged.count.load(Ordering::Relaxed));
        lost += received.left();
        lacking += usize::from(received.left() > 0);
        times.extend(received.times);
        clients.push(client);
    }
    let took = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let rate = |count: f64| count / took;
    let events = run.events.count.load(Ordering::Relaxed) as f64;
    let bytes = run.events.bytes.load(Ordering::Relaxed) as f64;
    let delivered = times.len() as f64;
    report.add(
        "puts acknowledged",
        rate((args.writers * args.puts) as f64),
        "/s",
    );
    report.add("metas delivered", rate(delivered), "/s");
    report.add("events received", rate(events), "/s");
    report.add("bytes received", rate(bytes) / 1e6, "MB/s");
    report.add("metas in an event", delivered / events.max(1.0), "");
    times.report("put sent to event received", report);
    let mut acknowledged = std::mem::take(&mut *lock(&run.acknowledged.times));
    acknowledged.report("put sent to acknowledged", report);
    if let (Some(before), Some(after)) = (cpu, target.usage()) {
        let micros = (after.cpu_seconds - before) * 1e6 / delivered.max(1.0);
        report.add("server: CPU time per meta delivered", micros, "µs");
        report.add("server: memory", after.memory, "MB");
    }
    if lost > 0 {
        report.fault(format!("{lost} metas did not reach {lacking} subscribers"));
    }
    for client in clients {
        client.close().await;
    }
    Ok(())
}

impl Party {
    async fn new(target: &Target, n: usize, puts: usize) -> Result<Self> {
        let mut client = Client::bound(target, target.ticket(n, 1)?).await?;
        let mut metas = Vec::new();
        if puts > 0 {
            // Metas count as replaced only if their CARs are there.
            let (car, bytes) = client::car(64, n as u64);
            let url = client.url(Operation::Put, &car).await?;
            client::upload(&reqwest::Client::new(), url, bytes).await?;
            let unique = |put| (n * puts + put) as u64;
            metas = (0..puts)
                .map(|put| client::meta(car, unique(put)))
                .collect();
        }
        Ok(Self { client, metas })
    }

    /// Publishes its own and receives all others, until it has them or nothing has come for long.
    async fn work(mut self, run: &Run, first: Instant) -> Result<(Received, Client)> {
        let own: Vec<_> = self.metas.iter().map(|meta| meta.cid).collect();
        let mut received = run.deliveries.subscriber(&own);
        let mut times = Times::default();
        // The put that is not acknowledged.
        let mut open: Option<(String, Instant)> = None;
        let mut due = first;
        while received.left() > 0 || open.is_some() || !self.metas.is_empty() {
            let may_put = open.is_none() && !self.metas.is_empty();
            let next = tokio::select! {
                next = timeout(run.pause + PATIENCE, self.client.next()) => next,
                () = sleep_until(due.into()), if may_put => {
                    if let Some(meta) = self.metas.pop() {
                        run.deliveries.sending(&meta.cid);
                        open = Some((self.client.put(meta).await?, Instant::now()));
                        due += run.pause;
                    }
                    continue;
                }
            };
            // Who waits for so long waits for ever: something is lost.
            let Ok(next) = next else { break };
            let (message, bytes) = next?;
            match message.body {
                Body::EventGetMeta { meta, .. } => {
                    run.events.count.fetch_add(1, Ordering::Relaxed);
                    run.events.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                    for entry in &meta.metas {
                        received.got(&entry.cid, &run.deliveries);
                    }
                }
                Body::ResPutMeta { .. } => {
                    if let Some((_, sent)) = open.take_if(|(tid, _)| *tid == message.tid) {
                        times.since(sent);
                        run.acknowledged.count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ => {}
            }
        }
        lock(&run.acknowledged.times).extend(times);
        Ok((received, self.client))
    }
}
