//! CARs by signed URLs: put, then got.

use std::time::Instant;

use firebrick::core::cloud::Operation;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

use super::Report;
use super::args::ServerBenchArgs;
use super::client::{self, Client};
use super::stats::Times;
use super::target::Target;
use crate::failure::Result;
use crate::output::Output;

pub(super) async fn run(
    args: &ServerBenchArgs,
    target: &Target,
    output: &Output,
    report: &mut Report,
) -> Result<()> {
    let client = Mutex::new(Client::bound(target, target.ticket(0, 1)?).await?);
    let http = reqwest::Client::new();
    let megabytes = (args.cars * args.car_bytes) as f64 / 1e6;
    report.add("CARs", args.cars as f64, "");
    report.add("their length", args.car_bytes as f64 / 1e3, "kB");
    for (operation, name) in [(Operation::Put, "put"), (Operation::Get, "get")] {
        let bar = output.count_bar(Some(args.cars as u64));
        bar.set_message(name);
        let start = Instant::now();
        let working = stream::iter(0..args.cars).map(async |n| {
            let (cid, bytes) = client::car(args.car_bytes, n as u64);
            let mut time = Times::default();
            let start = Instant::now();
            let url = client.lock().await.url(operation, &cid).await?;
            let len = bytes.len();
            let arrived = match operation {
                Operation::Put => client::upload(&http, url, bytes).await.map(|()| len)?,
                _ => client::download(&http, url).await?,
            };
            time.since(start);
            bar.inc(1);
            if arrived != len {
                return Err(client::failed("a CAR came back with another length"));
            }
            Ok(time)
        });
        let all: Vec<_> = working
            .buffer_unordered(args.parallel)
            .try_collect()
            .await?;
        let took = start.elapsed().as_secs_f64();
        bar.finish_and_clear();
        let mut times = Times::default();
        all.into_iter().for_each(|time| times.extend(time));
        report.add(name, megabytes / took, "MB/s");
        report.add(format!("{name}, CARs"), args.cars as f64 / took, "/s");
        times.report(name, report);
    }
    client.into_inner().close().await;
    Ok(())
}
