//! `firebrick bench server`: how much a sync server bears.
//!
//! Thousands of clients in this process speak the protocol to a server in another one, whose memory is
//! measured alone. They have no databases: what they publish names a CAR that says nothing.

mod args;
mod client;
mod fanout;
mod idle;
mod soak;
mod stats;
mod target;
mod upload;

use serde::Serialize;

use args::Scenario;
pub(crate) use args::ServerBenchArgs;
use target::Target;

use crate::failure::{Exit, Failure, Result};
use crate::output::{Output, grouped};

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    scenario: Scenario,
    figure: String,
    value: f64,
    unit: &'static str,
}

/// The figures of a scenario, and what went wrong.
#[derive(Debug)]
struct Report {
    scenario: Scenario,
    figures: Vec<Figure>,
    /// What a server must not do: lose events, drop clients.
    faults: Vec<String>,
}

impl Report {
    fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            figures: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn add(&mut self, figure: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            scenario: self.scenario,
            figure: figure.into(),
            value,
            unit,
        });
    }

    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }
}

pub(crate) async fn run(args: ServerBenchArgs, output: &Output) -> Result<Exit> {
    let scenarios = args.scenarios();
    let clients = scenarios.iter().map(|scenario| args.clients(*scenario));
    open_files(clients.max().unwrap_or(0))?;
    let mut all = Vec::new();
    let mut faults = 0;
    for scenario in scenarios {
        // A new server for each, so that each has its own peak of memory.
        let target = Target::start(&args).await?;
        let mut report = Report::new(scenario);
        match scenario {
            Scenario::Idle => idle::run(&args, &target, output, &mut report).await?,
            Scenario::Fanout => fanout::run(&args, &target, output, &mut report).await?,
            Scenario::Upload => upload::run(&args, &target, output, &mut report).await?,
            Scenario::Soak => soak::run(&args, &target, output, &mut report).await?,
        }
        if let Some(usage) = target.usage() {
            report.add("server: peak memory", usage.peak, "MB");
            report.add("server: CPU time", usage.cpu_seconds, "s");
        }
        target.end().await;
        if output.json() {
            for figure in &report.figures {
                output.value(figure)?;
            }
            output.flush()?;
        }
        for fault in &report.faults {
            output.warn(fault);
        }
        faults += report.faults.len();
        all.extend(report.figures);
    }
    if !output.json() {
        let mut table = output.table(&["scenario", "figure", "value", ""]);
        for figure in &all {
            table.add_row([
                figure.scenario.name(),
                &figure.figure,
                &number(figure.value),
                figure.unit,
            ]);
        }
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        output.print_table(&table)?;
    }
    Ok(if faults == 0 {
        Exit::Done
    } else {
        Exit::Negative
    })
}

/// Lets this process, and the server that it starts, have a socket for each client.
fn open_files(clients: usize) -> Result<()> {
    // Besides: the runtime's, the database's, and uploads.
    let needed = clients as u64 + 200;
    let allowed = rlimit::increase_nofile_limit(needed.max(65_536)).unwrap_or(u64::MAX);
    if allowed < needed {
        return Err(Failure::bad_input(format!(
            "{clients} clients need {needed} open files, and only {allowed} are allowed"
        ))
        .hint("raise the limit (ulimit -n, LimitNOFILE), or take fewer clients"));
    }
    Ok(())
}

fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        format!("{value:.2}")
    } else {
        grouped(value.round() as u64)
    }
}
