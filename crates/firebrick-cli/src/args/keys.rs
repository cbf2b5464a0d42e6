//! `keys`: what can be said.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys: which writes, since when they are here, which are missing
    #[command(visible_alias = "ls")]
    List,
    /// Show the fingerprints of the keys; the first is the one that writes
    Show,
    /// Make a new key, which encrypts what is written for remotes from now on
    Rotate,
    /// Print the key itself: whoever has it can read everything. With a passphrase, all keys
    Export(ExportKeysArgs),
    /// Take over a key, or an export with a passphrase; from now on it encrypts what is written for
    /// remotes
    Import(ImportKeyArgs),
    /// Add a key that only decrypts
    Add(KeyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportKeysArgs {
    /// Print all keys as one line that only a passphrase opens
    #[arg(long)]
    pub(crate) passphrase: bool,
    #[command(flatten)]
    pub(crate) source: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportKeyArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    #[command(flatten)]
    pub(crate) source: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The key, as `keys export` prints it; `-` or nothing reads it from stdin
    pub(crate) key: Option<String>,
}

/// Where a passphrase comes from. Never from the command line, which others can see.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// Read the passphrase from the first line of this file; without it from
    /// $FIREBRICK_PASSPHRASE, else from the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}
