//! `firebrick bench`: how fast this machine is.

use clap::Args;

use crate::args::Global;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {}

pub(crate) async fn run(_args: BenchArgs, _global: &Global, _output: &Output) -> Result<Exit> {
    Err(Failure::new(
        Exit::Usage,
        "not_there",
        "there is no benchmark in this version",
    ))
}
