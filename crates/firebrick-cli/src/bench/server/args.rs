//! What can be said.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::{seconds, span};

/// Measures how much a sync server bears.
#[derive(Debug, Args)]
pub(crate) struct ServerBenchArgs {
    /// What to measure, one after the other; without any: idle, fanout and upload
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,

    /// A server that runs already, instead of one that is started for this: fpcloud://...
    #[arg(long, value_name = "URL", requires = "token")]
    pub(super) url: Option<String>,
    /// Token for it; all clients use it, and the ledgers that it may write
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "url",
        env = "FIREBRICK_BENCH_TOKEN",
        hide_env_values = true
    )]
    pub(super) token: Option<String>,
    /// Its process on this machine, to measure its memory
    #[arg(long, value_name = "PID", requires = "url")]
    pub(super) pid: Option<u32>,
    /// Where the server that is started has its data; a temporary directory below this one
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,

    /// idle: connections
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = at_least_one)]
    pub(super) connections: usize,
    /// idle, soak: ledgers that clients spread over
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = at_least_one)]
    pub(super) ledgers: usize,
    /// idle: how long they stay before memory is measured
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(super) settle: Duration,

    /// fanout, soak: clients that publish
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) writers: usize,
    /// fanout, soak: clients that only listen
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(super) subscribers: usize,
    /// fanout: metas that each writer publishes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    pub(super) puts: usize,
    /// fanout, soak: how many a writer publishes in a second; 0: the next one as soon as one is
    /// acknowledged
    #[arg(long, value_name = "RATE", default_value_t = 0.2, value_parser = rate)]
    pub(super) rate: f64,

    /// upload: CARs
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = at_least_one)]
    pub(super) cars: usize,
    /// upload, soak: their length
    #[arg(long, value_name = "BYTES", default_value_t = 256 * 1024, value_parser = at_least_one)]
    pub(super) car_bytes: usize,
    /// upload: how many are on their way at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub(super) parallel: usize,

    /// soak: how long
    #[arg(long, value_name = "SPAN", default_value = "15m", value_parser = span)]
    pub(super) duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Connections that do nothing: memory of each, time to open it
    Idle,
    /// Writers and subscribers of one ledger: latency from sent to received, rates, nothing lost
    Fanout,
    /// CARs put and got by signed URLs
    Upload,
    /// All of it for a while, with connections that come and go: does memory stay flat?
    Soak,
}

impl Scenario {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fanout => "fanout",
            Self::Upload => "upload",
            Self::Soak => "soak",
        }
    }
}

impl ServerBenchArgs {
    pub(super) fn scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() {
            return vec![Scenario::Idle, Scenario::Fanout, Scenario::Upload];
        }
        self.scenarios.clone()
    }

    /// How many sockets a scenario has at once.
    pub(super) fn clients(&self, scenario: Scenario) -> usize {
        match scenario {
            Scenario::Idle => self.connections,
            Scenario::Fanout => self.writers + self.subscribers,
            Scenario::Upload => 2 * self.parallel,
            Scenario::Soak => self.writers + self.subscribers + super::soak::GUESTS,
        }
    }

    /// Between two puts of a writer.
    pub(super) fn pause(&self) -> Duration {
        if self.rate > 0.0 {
            Duration::from_secs_f64(1.0 / self.rate)
        } else {
            Duration::ZERO
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("not a number from 1 on".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate == 0.0 || (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("not 0, nor a rate from 0.001 on".to_owned()),
    }
}
