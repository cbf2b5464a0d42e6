//! All of it for a while, with connections that come and go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firebrick::core::Cid;
use firebrick::core::cloud::{Body, Conn, MetaEntry, Operation};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::args::ServerBenchArgs;
use super::client::{self, Client};
use super::stats::{Shared, lock, slope};
use super::target::Target;
use super::{Report, number};
use crate::failure::Result;
use crate::output::Output;

/// Tasks whose clients come and go.
pub(super) const GUESTS: usize = 16;
const UPLOADERS: usize = 2;
const OPENING: usize = 32;

/// What the tasks have in common.
#[derive(Default)]
struct Run {
    ended: AtomicBool,
    /// When metas were sent: of this sample, and of the one before.
    sent: Mutex<[HashMap<Cid, Instant>; 2]>,
    /// From a put to its event.
    received: Shared,
    puts: Shared,
    visits: Shared,
    uploads: Shared,
}

impl Run {
    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    fn sending(&self, meta: Cid) {
        lock(&self.sent)[0].insert(meta, Instant::now());
    }

    fn got(&self, metas: &[MetaEntry], bytes: usize) {
        self.received.count.fetch_add(1, Ordering::Relaxed);
        self.received
            .bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        let sent = lock(&self.sent);
        let mut times = lock(&self.received.times);
        for meta in metas {
            let found = sent.iter().find_map(|sent| sent.get(&meta.cid));
            found.into_iter().for_each(|sent| times.since(*sent));
        }
    }

    /// Forgets what was sent long ago.
    fn forget(&self) {
        let mut sent = lock(&self.sent);
        sent.swap(0, 1);
        sent[0].clear();
    }
}

/// One look at the server.
struct Sample {
    minutes: f64,
    memory: f64,
}

pub(super) async fn run(
    args: &ServerBenchArgs,
    target: &Target,
    output: &Output,
    report: &mut Report,
) -> Result<()> {
    let residents = args.writers + args.subscribers;
    let ledgers = args.ledgers.min(args.writers.max(1));
    let bar = output.count_bar(Some(residents as u64));
    bar.set_message("connections");
    let opening = stream::iter(0..residents).map(async |n| {
        let client = Resident::new(target, n, ledgers, n < args.writers).await;
        bar.inc(1);
        client
    });
    let opened: Vec<_> = opening.buffer_unordered(OPENING).try_collect().await?;
    bar.finish_and_clear();
    let run = Arc::new(Run::default());
    let start = Instant::now();
    let pause = args.pause().max(Duration::from_millis(1));
    let mut working = JoinSet::new();
    for (n, resident) in opened.into_iter().enumerate() {
        let run = run.clone();
        let first = start + pause.mul_f64(n as f64 / args.writers.max(1) as f64 % 1.0);
        working.spawn(async move { resident.work(&run, first, pause).await });
    }
    // These borrow the target, so they are not tasks of their own.
    let guests = (0..GUESTS).map(|n| {
        let name = Conn {
            req_id: format!("guest-{}-{n}", std::process::id()),
            res_id: "bench".into(),
        };
        visit(target, residents + n, ledgers, name, &run)
    });
    let uploads =
        (0..UPLOADERS).map(|n| upload(target, residents + GUESTS + n, args.car_bytes, &run));
    let guests = futures_util::future::try_join_all(guests);
    let uploads = futures_util::future::try_join_all(uploads);
    let watching = watch(args.duration, target, output, report, &run);
    let (samples, guests, uploads) = tokio::join!(watching, guests, uploads);
    for result in [guests, uploads] {
        if let Err(failure) = result {
            report.fault(format!("a client was turned away: {failure}"));
        }
    }
    let mut gone = 0;
    while let Some(ended) = working.join_next().await {
        if let Err(failure) = ended.map_err(client::failed)? {
            gone += 1;
            if gone == 1 {
                report.fault(format!("a client did not stay connected: {failure}"));
            }
        }
    }
    if gone > 1 {
        report.fault(format!("{gone} clients did not stay connected"));
    }
    let took = start.elapsed().as_secs_f64();
    for (name, shared) in [
        ("puts", &run.puts),
        ("connections that came and went", &run.visits),
        ("CARs put, got and deleted", &run.uploads),
    ] {
        let count = shared.count.load(Ordering::Relaxed) as f64;
        report.add(name, count, "");
        report.add(format!("{name}, rate"), count / took, "/s");
    }
    let late = samples.len() / 2;
    let points = samples[late..]
        .iter()
        .map(|sample| (sample.minutes, sample.memory));
    let growth = slope(&points.collect::<Vec<_>>());
    report.add("server: memory grows, second half", growth * 60.0, "MB/h");
    Ok(())
}

/// Looks at the server now and then, until the time is over.
async fn watch(
    duration: Duration,
    target: &Target,
    output: &Output,
    report: &mut Report,
    run: &Run,
) -> Vec<Sample> {
    let every = Duration::from_secs(60).min(duration / 10);
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < duration {
        sleep(every).await;
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        run.forget();
        let mut times = std::mem::take(&mut *lock(&run.received.times));
        let events = run.received.count.swap(0, Ordering::Relaxed);
        let at = format!("minute {minutes:.1}");
        let mut line = format!(
            "{at}: {events} events, p50 {} ms, p99 {} ms",
            number(times.percentile(50.0)),
            number(times.percentile(99.0))
        );
        report.add(
            format!("{at}: put sent to event received, p50"),
            times.percentile(50.0),
            "ms",
        );
        report.add(
            format!("{at}: put sent to event received, p99"),
            times.percentile(99.0),
            "ms",
        );
        if let Some(usage) = target.usage() {
            let memory = usage.memory;
            line += &format!(", {} MB, {} files", number(memory), usage.open_files);
            report.add(format!("{at}: server: memory"), memory, "MB");
            report.add(
                format!("{at}: server: open files"),
                usage.open_files as f64,
                "",
            );
            samples.push(Sample { minutes, memory });
        }
        output.note(line);
    }
    run.ended.store(true, Ordering::Relaxed);
    samples
}

/// A client that stays. Writers publish now and then.
struct Resident {
    client: Client,
    car: Option<Cid>,
    n: u64,
}

impl Resident {
    async fn new(target: &Target, n: usize, ledgers: usize, writes: bool) -> Result<Self> {
        let mut client = Client::bound(target, target.ticket(n, ledgers)?).await?;
        let car = if writes {
            Some(put_car(&mut client, n as u64).await?)
        } else {
            None
        };
        Ok(Self {
            client,
            car,
            n: n as u64,
        })
    }

    async fn work(mut self, run: &Run, first: Instant, pause: Duration) -> Result<()> {
        let mut due = first;
        let mut puts = 0;
        while run.goes_on() {
            // Looks up now and then, for the end.
            let until = match self.car {
                Some(_) => due.min(Instant::now() + Duration::from_millis(500)),
                None => Instant::now() + Duration::from_millis(500),
            };
            tokio::select! {
                next = self.client.next() => {
                    let (message, bytes) = next?;
                    if let Body::EventGetMeta { meta, .. } = message.body {
                        run.got(&meta.metas, bytes);
                    }
                }
                () = sleep_until(until.into()) => {}
            }
            if let (Some(car), true) = (self.car, Instant::now() >= due) {
                puts += 1;
                let meta = client::meta(car, self.n << 32 | puts);
                run.sending(meta.cid);
                self.client.put(meta).await?;
                run.puts.count.fetch_add(1, Ordering::Relaxed);
                due += pause;
            }
        }
        self.client.close().await;
        Ok(())
    }
}

/// Comes, publishes, goes, and comes again under the same name.
async fn visit(target: &Target, n: usize, ledgers: usize, name: Conn, run: &Run) -> Result<()> {
    let ticket = target.ticket(n, ledgers)?;
    let mut car = None;
    let mut visits = 0;
    while run.goes_on() {
        let mut client = Client::open(target, ticket.clone(), Some(name.clone())).await?;
        client.bind().await?;
        let car = match car {
            Some(car) => car,
            None => *car.insert(put_car(&mut client, n as u64).await?),
        };
        visits += 1;
        let meta = client::meta(car, (n as u64) << 32 | visits);
        run.sending(meta.cid);
        let tid = client.put(meta).await?;
        client.answered(&tid).await?;
        run.visits.count.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(100)).await;
        // Every other one goes without a word.
        if visits % 2 == 0 {
            client.close().await;
        }
    }
    Ok(())
}

async fn upload(target: &Target, n: usize, len: usize, run: &Run) -> Result<()> {
    let mut client = Client::bound(target, target.ticket(n, 1)?).await?;
    let http = reqwest::Client::new();
    let mut count = 0;
    while run.goes_on() {
        count += 1;
        let (car, bytes) = client::car(len, (n as u64) << 32 | count);
        let url = client.url(Operation::Put, &car).await?;
        client::upload(&http, url, bytes).await?;
        let url = client.url(Operation::Get, &car).await?;
        if client::download(&http, url).await? != len {
            return Err(client::failed("a CAR came back with another length"));
        }
        let url = client.url(Operation::Delete, &car).await?;
        client::delete(&http, url).await?;
        run.uploads.count.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(50)).await;
    }
    client.close().await;
    Ok(())
}

async fn put_car(client: &mut Client, n: u64) -> Result<Cid> {
    let (car, bytes) = client::car(64, n);
    let url = client.url(Operation::Put, &car).await?;
    client::upload(&reqwest::Client::new(), url, bytes).await?;
    Ok(car)
}
