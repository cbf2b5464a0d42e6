//! Arguments of the commands that keep a database safe.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write, only put in place when it is complete
    pub(crate) file: PathBuf,
    /// Only what this earlier backup lacks; to restore, both are needed
    #[arg(long, value_name = "BACKUP")]
    pub(crate) since: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A full backup, then those that go on from it, in the order they were made
    #[arg(value_name = "BACKUP", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Only check the backups, and say what they hold
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// The ledger's key, if the keybag does not have it; `-` reads it from stdin
    #[arg(
        long,
        value_name = "KEY",
        env = "FIREBRICK_KEY",
        hide_env_values = true
    )]
    pub(crate) key: Option<String>,
}
