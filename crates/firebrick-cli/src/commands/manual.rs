//! `completions` and the manual pages: both come from the definitions of the commands.

use std::path::Path;

use clap::CommandFactory as _;
use serde_json::json;

use crate::args::Cli;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

pub(crate) fn completions(shell: clap_complete::Shell, output: &Output) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "firebrick", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}

/// One page for each command, `firebrick-backup-create.1` and so on.
pub(crate) fn man_pages(folder: &Path, output: &Output) -> Result<Exit> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::BadInput,
            "bad_file",
            format!(
                "cannot write manual pages into {}: {error}",
                folder.display()
            ),
        )
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
        .map_err(failed)?;
    let pages = std::fs::read_dir(folder).map_err(failed)?.count();
    if output.json() {
        output.value(&json!({ "pages": pages, "folder": folder }))?;
    }
    output.note(format!("{pages} pages in {}", folder.display()));
    Ok(Exit::Done)
}
