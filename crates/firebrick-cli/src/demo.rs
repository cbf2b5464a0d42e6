//! `firebrick demo`: several databases, each a process of its own, sync real records through one
//! remote. One is killed on the way. The end is a table that proves what each holds.

pub(crate) mod args;
mod child;
mod data;
mod events;
mod report;
mod stage;
pub(crate) mod worker;

use std::path::PathBuf;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::args::Global;
use crate::commands::interrupted;
use crate::failure::{Exit, Failure, Result};
use crate::output::{Output, grouped};
use args::DemoArgs;
use child::{Heard, Process, What};
use data::Deal;
use events::{END, Progress, Proof, Report, SYNC};
use report::{Outcome, Show};
use stage::Stage;

/// One of the databases.
#[derive(Debug)]
struct Replica {
    folder: PathBuf,
    keybag: PathBuf,
    share: PathBuf,
    /// How many processes it had before this one.
    run: u32,
    process: Option<Process>,
    imported: bool,
    progress: Progress,
    proof: Option<Proof>,
    /// When it held everything, since the sync began.
    done_after: Option<f64>,
    closed: bool,
}

/// The kill, as it happened.
#[derive(Debug, Clone, serde::Serialize)]
struct Kill {
    database: usize,
    process: Option<u32>,
    /// What had gone over its wire by then.
    bytes: u64,
    /// Documents that it held when it was started again.
    documents: Option<u64>,
    /// Whether it lacked some of them then.
    mid_sync: bool,
}

pub(crate) async fn run(args: DemoArgs, global: &Global, output: &Output) -> Result<Exit> {
    let stage = Stage::set(&args)?;
    let deal = data::deal(
        args.file.as_deref(),
        args.id_field.as_deref(),
        usize::from(args.databases),
        stage.folder(),
    )?;
    if deal.repeated > 0 {
        output.warn(format!(
            "{} lines repeat an id; the last line of each counts",
            deal.repeated
        ));
    }
    output.note(format!(
        "{} records from {}, dealt to {} databases in {}",
        grouped(deal.records),
        deal.source,
        args.databases,
        stage.folder().display()
    ));
    let replicas = stage.replicas(&deal, global).await?;
    let (heard, hear) = unbounded_channel();
    let (server, remote) = match &args.remote {
        Some(remote) => (None, remote.clone()),
        None if args.server => {
            let (server, url) = stage.serve().await?;
            (Some(server), url)
        }
        None => (None, stage.remote()),
    };
    let show = Show::new(output, replicas.len(), deal.records);
    let mut demo = Demo {
        args: &args,
        global,
        output,
        deal: &deal,
        remote,
        replicas,
        heard,
        show,
        kill: None,
        sync_began: None,
    };
    let began = Instant::now();
    let result = tokio::select! {
        result = demo.play(hear) => result,
        () = interrupted() => Err(Failure::interrupted("the demo was stopped")),
    };
    let (seconds, sync_began) = (began.elapsed().as_secs_f64(), demo.sync_began);
    let sync_seconds = sync_began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    demo.end().await;
    if let Some(server) = server {
        server.shutdown().await;
    }
    let outcome = Outcome {
        deal: &deal,
        replicas: &demo.replicas,
        kill: demo.kill.as_ref(),
        remote: &demo.remote,
        seconds,
        sync_seconds,
        trouble: result.as_ref().err().map(|failure| failure.message.clone()),
    };
    if let Err(failure) = &result
        && failure.is_interrupted()
    {
        return Err(failure.clone());
    }
    let converged = outcome.print(output)?;
    if let Some(kept) = stage.leave() {
        output.note(format!(
            "the databases, their keybags and the remote are in {}",
            kept.display()
        ));
    }
    Ok(if converged {
        Exit::Done
    } else {
        Exit::Negative
    })
}

struct Demo<'a> {
    args: &'a DemoArgs,
    global: &'a Global,
    output: &'a Output,
    deal: &'a Deal,
    remote: String,
    replicas: Vec<Replica>,
    heard: tokio::sync::mpsc::UnboundedSender<Heard>,
    show: Show,
    kill: Option<Kill>,
    sync_began: Option<Instant>,
}

impl Demo<'_> {
    /// Import everywhere, then sync everywhere, until every database has proven itself.
    async fn play(&mut self, mut hear: UnboundedReceiver<Heard>) -> Result<()> {
        for index in 0..self.replicas.len() {
            self.start(index)?;
        }
        let mut deadline = tokio::time::Instant::now() + self.args.timeout;
        loop {
            let heard = tokio::time::timeout_at(deadline, hear.recv()).await;
            let Ok(Some(heard)) = heard else {
                return Err(Failure::new(
                    Exit::Negative,
                    "timeout",
                    format!(
                        "nothing has moved for {:.0} s",
                        self.args.timeout.as_secs_f64()
                    ),
                ));
            };
            if heard.run != self.replicas[heard.replica].run {
                continue;
            }
            let What::Said(report) = heard.what else {
                return Err(self.lost(heard.replica));
            };
            // A remote that is tried again and again is no progress.
            if self.moves(heard.replica, &report) {
                deadline = tokio::time::Instant::now() + self.args.timeout;
            }
            self.said(heard.replica, report).await?;
            if self.is_proven() {
                return Ok(());
            }
        }
    }

    fn moves(&self, index: usize, report: &Report) -> bool {
        let before = &self.replicas[index].progress;
        match report {
            Report::Syncing(now) => {
                (now.documents, now.bytes_up, now.bytes_down)
                    != (before.documents, before.bytes_up, before.bytes_down)
            }
            _ => true,
        }
    }

    fn start(&mut self, index: usize) -> Result<()> {
        let replica = &self.replicas[index];
        let process = Process::start(
            index,
            replica,
            &self.remote,
            self.deal.records,
            self.global,
            self.heard.clone(),
        )?;
        let pid = process.id();
        self.show.started(self.output, index, pid, replica.run);
        self.replicas[index].process = Some(process);
        Ok(())
    }

    async fn said(&mut self, index: usize, report: Report) -> Result<()> {
        match report {
            Report::Opened { documents } => self.opened(index, documents),
            Report::Importing { documents } => self.show.documents(index, documents, "importing"),
            Report::Imported { documents } => {
                self.show.imported(self.output, index, documents);
                self.replicas[index].imported = true;
                self.replicas[index].progress.documents = documents;
                if self.sync_began.is_some() {
                    self.sync(index).await;
                } else if self.replicas.iter().all(|replica| replica.imported) {
                    self.sync_began = Some(Instant::now());
                    for index in 0..self.replicas.len() {
                        self.sync(index).await;
                    }
                }
            }
            Report::Syncing(progress) => {
                self.show
                    .documents(index, progress.documents, &words(&progress));
                // Something has gone over the wire, and not everything has arrived.
                let moved = progress.bytes_up + progress.bytes_down > 0;
                let in_the_middle = moved && progress.documents < self.deal.records;
                self.replicas[index].progress = progress;
                if in_the_middle && self.is_victim(index) {
                    self.kill_and_restart(index).await?;
                }
            }
            Report::Complete(proof) => {
                if self.is_victim(index) {
                    return self.kill_and_restart(index).await;
                }
                let after = self
                    .sync_began
                    .map_or(0.0, |began| began.elapsed().as_secs_f64());
                self.show.complete(self.output, index, &proof);
                self.replicas[index].done_after = Some(after);
                self.replicas[index].proof = Some(proof);
            }
            Report::Closed => {}
            Report::Failed { message } => {
                return Err(Failure::new(
                    Exit::Negative,
                    "failed",
                    format!("database {}: {message}", index + 1),
                ));
            }
        }
        Ok(())
    }

    async fn sync(&mut self, index: usize) {
        if let Some(process) = &mut self.replicas[index].process {
            process.say(SYNC).await;
        }
    }

    /// The last database is the one to be killed, once.
    fn is_victim(&self, index: usize) -> bool {
        self.kill.is_none() && index + 1 == self.replicas.len()
    }

    async fn kill_and_restart(&mut self, index: usize) -> Result<()> {
        let Some(mut process) = self.replicas[index].process.take() else {
            return Ok(());
        };
        let pid = process.id();
        process.kill().await;
        let progress = &self.replicas[index].progress;
        let kill = Kill {
            database: index + 1,
            process: pid,
            bytes: progress.bytes_up + progress.bytes_down,
            documents: None,
            mid_sync: false,
        };
        self.show.killed(self.output, index, &kill);
        self.kill = Some(kill);
        self.replicas[index].run += 1;
        self.start(index)
    }

    fn opened(&mut self, index: usize, documents: u64) {
        self.show.documents(index, documents, "open");
        let total = self.deal.records;
        let replica = &self.replicas[index];
        if let Some(kill) = &mut self.kill
            && replica.run > 0
            && kill.database == index + 1
        {
            kill.documents = Some(documents);
            kill.mid_sync = documents < total;
        }
    }

    fn lost(&self, index: usize) -> Failure {
        Failure::new(
            Exit::Negative,
            "failed",
            format!("the process of database {} ended too early", index + 1),
        )
    }

    fn is_proven(&self) -> bool {
        self.replicas.iter().all(|replica| replica.proof.is_some())
            && report::agree(self.deal, &self.replicas)
    }

    /// Lets the children close, and ends those that don't.
    async fn end(&mut self) {
        let clean = self.is_proven();
        for replica in &mut self.replicas {
            if let Some(process) = &mut replica.process {
                if clean {
                    process.say(END).await;
                    if tokio::time::timeout(self.args.timeout, process.ended())
                        .await
                        .is_ok()
                    {
                        replica.closed = true;
                        continue;
                    }
                }
                process.kill().await;
            }
        }
        self.show.end();
    }
}

fn words(progress: &Progress) -> String {
    let state = progress.state.replace('_', " ");
    let (received, all) = (
        progress.cars_received,
        progress.cars_received + progress.cars_to_come,
    );
    if !progress.cause.is_empty() {
        format!("{state}: {}", progress.cause)
    } else if all > 0 {
        format!("{state}: {received} of {all} CARs received")
    } else {
        state
    }
}
