//! Connections that do nothing.

use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Report;
use super::args::ServerBenchArgs;
use super::client::Client;
use super::stats::Times;
use super::target::Target;
use crate::failure::Result;
use crate::output::Output;

/// How many open at once.
const OPENING: usize = 32;

pub(super) async fn run(
    args: &ServerBenchArgs,
    target: &Target,
    output: &Output,
    report: &mut Report,
) -> Result<()> {
    let count = args.connections;
    // Made before, so that signing is not measured.
    let tickets: Vec<_> = (0..count)
        .map(|n| target.ticket(n, args.ledgers))
        .collect::<Result<_>>()?;
    let before = target.usage();
    let bar = output.count_bar(Some(count as u64));
    bar.set_message("connections");
    let start = Instant::now();
    let opening = stream::iter(tickets).map(async |ticket| {
        let start = Instant::now();
        let client = Client::bound(target, ticket).await?;
        bar.inc(1);
        let mut time = Times::default();
        time.since(start);
        Result::<_>::Ok((client, time))
    });
    let opened: Vec<_> = opening.buffer_unordered(OPENING).try_collect().await?;
    let took = start.elapsed();
    bar.finish_and_clear();
    let mut times = Times::default();
    let mut staying = JoinSet::new();
    let (end, ended) = watch::channel(false);
    for (mut client, time) in opened {
        times.extend(time);
        let mut ended = ended.clone();
        staying.spawn(async move {
            // Pings are answered in the course of reading.
            loop {
                tokio::select! {
                    biased;
                    // Also if that was long before this task had its first turn.
                    _ = ended.wait_for(|ended| *ended) => break,
                    message = client.next() => if message.is_err() {
                        return false;
                    },
                }
            }
            client.close().await;
            true
        });
    }
    tokio::time::sleep(args.settle).await;
    report.add("connections", count as f64, "");
    report.add("opened and bound", count as f64 / took.as_secs_f64(), "/s");
    times.report("time to open and bind", report);
    if let (Some(before), Some(after)) = (before, target.usage()) {
        let each = (after.memory - before.memory) * 1000.0 / count as f64;
        report.add("server: memory before", before.memory, "MB");
        report.add("server: memory", after.memory, "MB");
        report.add("server: memory per connection", each, "kB");
        report.add("server: open files", after.open_files as f64, "");
    }
    end.send_replace(true);
    let stayed = staying.join_all().await;
    let gone = stayed.iter().filter(|stayed| !**stayed).count();
    if gone > 0 {
        report.fault(format!("{gone} of {count} connections did not stay open"));
    }
    if let Some(after) = target.usage() {
        report.add("server: memory when all have gone", after.memory, "MB");
    }
    Ok(())
}
