//! `firebrick bench`: how fast this machine is.
//!
//! Every workload runs on encrypted data through the public interface, in a process of its own: so each
//! has its own peak of memory, and nothing that another one left behind. So has what needs a cold
//! process (opening, gets after reopening).

mod files;
mod server;
mod workloads;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

/// Measures puts, gets, scans, opening and syncing.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: Option<BenchCommand>,

    /// Documents of the large workloads
    #[arg(long, default_value_t = 100_000)]
    documents: usize,

    /// Which ids the documents have
    #[arg(long, value_enum, default_value_t = Ids::Both)]
    ids: Ids,

    /// Only workloads whose name contains this text
    #[arg(long)]
    only: Option<String>,

    /// Where to work; a temporary directory by default. The disk under it is what is measured
    #[arg(long)]
    dir: Option<PathBuf>,

    /// A step in a process of its own
    #[arg(long, hide = true)]
    cold: Option<PathBuf>,

    /// One workload, in this process
    #[arg(long, hide = true)]
    workload: Option<String>,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Measure how much a sync server bears
    #[command(after_help = crate::args::help::BENCH_SERVER)]
    Server(server::ServerBenchArgs),
}

impl BenchArgs {
    /// The arguments for one workload in a process of its own.
    fn for_child(&self, workload: &str, ids: &str) -> Vec<OsString> {
        let mut args = vec!["--workload".into(), workload.into()];
        args.extend(["--ids".into(), ids.into(), "--documents".into()]);
        args.push(self.documents.to_string().into());
        if let Some(dir) = &self.dir {
            args.extend(["--dir".into(), dir.into()]);
        }
        args
    }
}

/// How the documents are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ids {
    /// `doc-00000001` and so on
    Sequential,
    /// Generated: UUIDs that sort by time
    Generated,
    /// One after the other
    Both,
}

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Figure {
    workload: String,
    ids: Ids,
    value: f64,
    unit: String,
    /// What the value rests on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    note: String,
}

impl Figure {
    fn new(workload: &str, ids: Ids, value: f64, unit: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            ids,
            value,
            unit: unit.to_owned(),
            note: String::new(),
        }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

pub(crate) async fn run(args: BenchArgs, _global: &Global, output: &Output) -> Result<Exit> {
    if let Some(BenchCommand::Server(args)) = args.command {
        return server::run(args, output).await;
    }
    if let Some(path) = &args.cold {
        let figures = workloads::cold(path).await.map_err(failed)?;
        for figure in figures {
            output.value(&figure)?;
        }
        output.flush()?;
        return Ok(Exit::Done);
    }
    if let Some(name) = &args.workload {
        show(&measure(&args, name).await?, output)?;
        return Ok(Exit::Done);
    }
    let mut all = Vec::new();
    for (kind, ids) in [
        (Ids::Sequential, "sequential"),
        (Ids::Generated, "generated"),
    ] {
        for (name, _) in workloads::ALL {
            let wanted = args
                .only
                .as_ref()
                .is_none_or(|only| name.contains(only.as_str()));
            if wanted && (args.ids == Ids::Both || args.ids == kind) {
                output.note(format!("{name}, {ids} ids …"));
                let figures = workloads::in_child(args.for_child(name, ids)).map_err(failed)?;
                show(&figures, output)?;
                all.extend(figures);
            }
        }
    }
    if !output.json() {
        for figure in &all {
            let ids = match figure.ids {
                Ids::Sequential => "sequential",
                Ids::Generated => "generated",
                Ids::Both => "",
            };
            output.line(format!(
                "{:<34} {ids:<11} {:>12} {:<9} {}",
                figure.workload,
                thousands(figure.value),
                figure.unit,
                figure.note
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// One workload with one kind of ids, and the peak of this process.
async fn measure(args: &BenchArgs, name: &str) -> Result<Vec<Figure>> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .map_err(|error| {
        failed(firebrick::Error::Config(format!(
            "no directory to work in: {error}"
        )))
    })?;
    let found = workloads::ALL.iter().find(|(known, _)| *known == name);
    let Some((_, work)) = found else {
        return Err(failed(firebrick::Error::Config(format!(
            "there is no workload {name:?}"
        ))));
    };
    let bed = workloads::Bed::new(dir.path(), args.ids, args.documents);
    let mut figures = work(bed.clone()).await.map_err(failed)?;
    figures.extend(bed.peak_memory(name));
    Ok(figures)
}

/// For programs, as soon as they are known.
fn show(figures: &[Figure], output: &Output) -> Result<()> {
    if output.json() {
        for figure in figures {
            output.value(figure)?;
        }
        output.flush()?;
    }
    Ok(())
}

/// `12,345` or, for small values, `1.23`.
fn thousands(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn failed(error: firebrick::Error) -> Failure {
    Failure::from(error)
}
