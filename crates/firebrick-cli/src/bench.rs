//! `firebrick bench`: how fast this machine is.
//!
//! Every workload runs on encrypted data through the public interface. What needs a cold process
//! (gets after reopening, opening, peak memory) runs in a child: the same program.

mod workloads;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

/// Measures puts, gets, scans, opening and syncing.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
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
    if let Some(path) = &args.cold {
        let figures = workloads::cold(path).await.map_err(failed)?;
        for figure in figures {
            output.value(&figure)?;
        }
        output.flush()?;
        return Ok(Exit::Done);
    }
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .map_err(|error| {
        failed(firebrick::Error::Config(format!(
            "no directory to work in: {error}"
        )))
    })?;
    let kinds: &[Ids] = match args.ids {
        Ids::Both => &[Ids::Sequential, Ids::Generated],
        Ids::Sequential => &[Ids::Sequential],
        Ids::Generated => &[Ids::Generated],
    };
    let mut all = Vec::new();
    for ids in kinds {
        let bed = workloads::Bed::new(dir.path(), *ids, args.documents);
        for (name, work) in workloads::ALL {
            if args
                .only
                .as_ref()
                .is_some_and(|only| !name.contains(only.as_str()))
            {
                continue;
            }
            output.note(format!("{name} …"));
            let figures = work(bed.clone()).await.map_err(failed)?;
            for figure in &figures {
                if output.json() {
                    output.value(figure)?;
                    output.flush()?;
                }
            }
            all.extend(figures);
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
