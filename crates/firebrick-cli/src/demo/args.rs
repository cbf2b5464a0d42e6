//! The demo's options.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::args::seconds;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Records to use instead of the airports: one JSON object per line
    pub(crate) file: Option<PathBuf>,
    /// How many databases
    #[arg(long, short = 'n', value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) databases: u16,
    /// Take ids from this field; records without an id get one
    #[arg(long, value_name = "FIELD")]
    pub(crate) id_field: Option<String>,
    /// The remote they share, instead of a folder of the demo's own
    #[arg(long, value_name = "URL")]
    pub(crate) remote: Option<String>,
    /// Sync through a server that the demo starts, instead of a folder
    #[arg(long, conflicts_with = "remote")]
    pub(crate) server: bool,
    /// Work in this new or empty folder, and leave it there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Leave the databases and the remote there afterwards
    #[arg(long)]
    pub(crate) keep: bool,
    /// Give up when nothing has moved for this time
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The records that this database begins with
    #[arg(long)]
    pub(crate) share: PathBuf,
    /// The remote to sync with
    #[arg(long)]
    pub(crate) remote: String,
    /// How many documents there are in all
    #[arg(long)]
    pub(crate) expect: u64,
    /// The share was imported before
    #[arg(long)]
    pub(crate) resume: bool,
}
