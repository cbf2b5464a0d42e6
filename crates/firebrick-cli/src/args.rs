//! What can be said on the command line.

mod backup;
pub(crate) mod help;
mod keys;
pub(crate) mod past;
mod server;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use backup::{BackupArgs, RestoreArgs};
pub(crate) use keys::{KeysCommand, PassphraseArgs};
pub(crate) use server::{Grant, InspectArgs, LogFormat, MintArgs, ServeArgs, TokenCommand};

use crate::bench::BenchArgs;
use crate::demo::args::{DemoArgs, WorkerArgs};

/// A local-first, end-to-end-encrypted document database that syncs through anything.
#[derive(Debug, Parser)]
#[command(name = "firebrick", version, long_about = help::ABOUT, after_long_help = help::EXIT_CODES)]
#[command(
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options for every command")]
pub(crate) struct Global {
    /// Folder of the database
    #[arg(
        long,
        global = true,
        env = "FIREBRICK_DB",
        value_name = "PATH",
        default_value = "firebrick-db"
    )]
    pub(crate) db: PathBuf,
    /// Folder of the keys; without it $HOME/.firebrick/keybag
    #[arg(
        long,
        global = true,
        env = "FIREBRICK_KEYBAG",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub(crate) keybag: Option<PathBuf>,
    /// Name of the ledger, which its key in the keybag is named after; without it the folder's name
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) ledger: Option<String>,
    /// Answer in JSON, one value per line; errors are JSON objects on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results only: no progress, no remarks
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When a write counts as done: on the disk, or in the system's memory
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) durability: Option<DurabilityArg>,
    /// No encryption, neither on the disk nor on remotes
    #[arg(long, global = true)]
    pub(crate) insecure: bool,
    /// How long to wait for a database that another process has open
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) wait: std::time::Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Survives power loss (default)
    Sync,
    /// Survives a crash of the process; reaches the disk a moment later
    Buffered,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a document
    #[command(after_help = help::PUT)]
    Put(PutArgs),
    /// Print a document
    #[command(after_help = help::GET)]
    Get(GetArgs),
    /// Delete documents
    #[command(visible_alias = "delete")]
    Del(DelArgs),
    /// List documents in the order of their ids
    #[command(after_help = help::LIST)]
    List(ListArgs),
    /// List documents by the value of a field
    #[command(after_help = help::QUERY)]
    Query(QueryArgs),
    /// List or drop the indexes that queries made
    #[command(subcommand)]
    Index(IndexCommand),
    /// List what changed, oldest first
    #[command(after_help = help::CHANGES)]
    Changes(ChangesArgs),
    /// List the versions of a document, newest first
    #[command(after_help = help::HISTORY)]
    History(past::HistoryArgs),
    /// List documents in conflict, or the versions of one
    #[command(after_help = help::CONFLICTS)]
    Conflicts(past::ConflictsArgs),
    /// Compare two heads
    #[command(after_help = help::DIFF)]
    Diff(past::DiffArgs),
    /// Write an old version of a document anew
    #[command(after_help = help::REVERT)]
    Revert(past::RevertArgs),
    /// List the events, newest first
    #[command(after_help = help::LOG)]
    Log(past::LogArgs),
    /// Follow changes as they happen, here and on remotes
    #[command(after_help = help::WATCH)]
    Watch(WatchArgs),
    /// Store many documents from NDJSON
    #[command(after_help = help::IMPORT)]
    Import(ImportArgs),
    /// Write all documents as NDJSON
    #[command(after_help = help::EXPORT)]
    Export(ExportArgs),
    /// Connect the database to a remote, and sync
    #[command(after_help = help::ATTACH)]
    Attach(AttachArgs),
    /// Forget a remote
    Detach(DetachArgs),
    /// List the attached remotes
    Remotes,
    /// Bring the database and its remotes to the same state
    #[command(after_help = help::SYNC)]
    Sync(SyncArgs),
    /// Show the state of the database and of each remote
    Status,
    /// Attach files to documents, and read, list and remove them
    #[command(subcommand, after_help = help::FILES)]
    Files(FilesCommand),
    /// Write a backup into one file, while the database is in use
    #[command(after_help = help::BACKUP)]
    Backup(BackupArgs),
    /// Make a database of backups
    #[command(after_help = help::RESTORE)]
    Restore(RestoreArgs),
    /// Check everything that is stored
    #[command(after_help = help::VERIFY)]
    Verify,
    /// Fetch what is damaged or missing from the remotes
    #[command(after_help = help::REPAIR)]
    Repair,
    /// Show how many documents and bytes there are, and what each remote lacks
    #[command(after_help = help::STATS)]
    Stats,
    /// Give back the space of what later writes have replaced
    #[command(after_help = help::COMPACT)]
    Compact(CompactArgs),
    /// List, rotate, export, import or add encryption keys
    #[command(subcommand, after_help = help::KEYS)]
    Keys(KeysCommand),
    /// Run a sync server for Firebrick and Fireproof clients
    #[command(after_help = help::SERVE)]
    Serve(Box<ServeArgs>),
    /// Make and read the tokens that let clients into a server
    #[command(subcommand, after_help = help::TOKEN)]
    Token(TokenCommand),
    /// Type commands at a prompt, with completion and history
    #[command(after_help = help::SHELL)]
    Shell(ShellArgs),
    /// See it work: several databases sync real records through one remote
    #[command(after_help = help::DEMO)]
    Demo(DemoArgs),
    /// Measure this machine's speed
    Bench(BenchArgs),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    ManPages {
        /// The folder, which is made when missing
        folder: PathBuf,
    },
    /// One database of the demo, in a process of its own
    #[command(hide = true)]
    DemoWorker(WorkerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The document as JSON; `-` or nothing reads it from stdin
    pub(crate) document: Option<String>,
    /// Its id, instead of `_id` in the document
    #[arg(long)]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Ids of the documents
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// As they were at this head (as `log` and `status` print it)
    #[arg(long, value_name = "HEAD", value_delimiter = ',')]
    pub(crate) at: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DelArgs {
    /// Ids of the documents
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only ids that begin with this
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Only ids after this one
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
    /// At most this many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only the ids
    #[arg(long)]
    pub(crate) ids: bool,
    /// Deleted documents as well
    #[arg(long)]
    pub(crate) deleted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// A field; a path with dots; fields with commas between; `[]` behind: each element of the list
    pub(crate) field: String,
    /// Only this key: JSON, or else text; several times for several
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) key: Vec<String>,
    /// Only keys from one to another: A..B, A..=B, A.., ..=B
    #[arg(
        long,
        value_name = "RANGE",
        conflicts_with = "key",
        allow_hyphen_values = true
    )]
    pub(crate) range: Option<String>,
    /// Only keys that are lists which begin with this value, or with the values of this list
    #[arg(long, value_name = "VALUE", conflicts_with_all = ["key", "range"], allow_hyphen_values = true)]
    pub(crate) prefix: Option<String>,
    /// From the last to the first
    #[arg(long)]
    pub(crate) descending: bool,
    /// At most this many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Leave out this many at the beginning
    #[arg(long, value_name = "N")]
    pub(crate) offset: Option<usize>,
    /// Print the documents too
    #[arg(long)]
    pub(crate) docs: bool,
    /// Print only how many there are
    #[arg(long, conflicts_with_all = ["explain", "watch"])]
    pub(crate) count: bool,
    /// Print how the query is answered
    #[arg(long, conflicts_with = "watch")]
    pub(crate) explain: bool,
    /// Stay and print what changes in the result
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// List the indexes, and how each is doing
    List,
    /// Give an index up; the next query makes it anew
    Drop {
        /// Its name, as `index list` prints it
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ChangesArgs {
    /// Only what came after this head (as `status` and `changes` print it)
    #[arg(long, value_name = "CID", value_delimiter = ',')]
    pub(crate) since: Vec<String>,
    /// At most this many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Print the documents, not only their ids
    #[arg(long)]
    pub(crate) docs: bool,
    /// Begin after this head instead of now
    #[arg(long, value_name = "CID", value_delimiter = ',')]
    pub(crate) since: Vec<String>,
    /// Stop after this many changes
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Leave the attached remotes alone
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// NDJSON files: one document per line; `-` or nothing reads stdin
    pub(crate) files: Vec<PathBuf>,
    /// Take the id from this field when a record has no `_id`
    #[arg(long, value_name = "FIELD")]
    pub(crate) id_field: Option<String>,
    /// Report lines that are no documents, and go on
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Begin at this line, after an import that stopped
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) start_line: u64,
    /// Documents per commit
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file to write, only put in place when it is complete; `-` or nothing writes to stdout
    pub(crate) file: Option<PathBuf>,
    /// Only ids that begin with this
    #[arg(long)]
    pub(crate) prefix: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Where: file:///a/folder
    pub(crate) url: String,
    /// What to call it; without it the URL
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Join the documents of two ledgers that began apart (cannot be undone)
    #[arg(long)]
    pub(crate) merge: bool,
    /// The ledger's key, from `keys export` on the other side; `-` reads it from stdin
    #[arg(
        long,
        value_name = "KEY",
        env = "FIREBRICK_KEY",
        hide_env_values = true
    )]
    pub(crate) key: Option<String>,
    /// Stay and keep syncing until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// Give up waiting for the first sync after this time; the remote stays attached
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) timeout: std::time::Duration,
}

#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// Name or URL of the remote
    pub(crate) remote: String,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Only this remote: its name or URL
    pub(crate) remote: Option<String>,
    /// Stay and keep syncing until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// Give up after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// Keep the history of this and later shells in this file; it shows what you typed
    #[arg(long, value_name = "FILE", env = "FIREBRICK_HISTORY")]
    pub(crate) history: Option<PathBuf>,
    /// Leave the attached remotes alone
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// Keep the newest N versions of each document; without any of these only the present one
    #[arg(long, value_name = "N", group = "retention")]
    pub(crate) keep_versions: Option<u32>,
    /// Keep what was present within this span, as in 90m, 36h or 30d
    #[arg(long, value_name = "SPAN", group = "retention", value_parser = span)]
    pub(crate) keep_age: Option<std::time::Duration>,
    /// Keep every version
    #[arg(long, group = "retention")]
    pub(crate) keep_all: bool,
    /// Change nothing, and say what a compaction would give back
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// Attach a file to a document, which is made if there is none
    Put(FilesPutArgs),
    /// Write a file's content to a file or to stdout; what is not here is fetched
    Get(FilesGetArgs),
    /// List the files of a document, and how much of each is here
    List(FilesListArgs),
    /// Take files out of a document
    #[command(visible_alias = "rm")]
    Remove(FilesRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FilesPutArgs {
    /// Id of the document
    pub(crate) id: String,
    /// The file; `-` reads stdin
    pub(crate) file: PathBuf,
    /// Its name in the document, instead of the file's own
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its media type; without it guessed from the name
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Keep it in one block whatever its size, for JavaScript to read
    #[arg(long)]
    pub(crate) single_block: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FilesGetArgs {
    /// Id of the document
    pub(crate) id: String,
    /// Name of the file
    pub(crate) name: String,
    /// Where to write it, only put in place when it is complete; `-` or nothing writes to stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only these bytes: START..END, either of which may be missing; END is not included
    #[arg(long, value_name = "RANGE", value_parser = range)]
    pub(crate) range: Option<std::ops::Range<u64>>,
    /// Only what is here already
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FilesListArgs {
    /// Id of the document
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct FilesRemoveArgs {
    /// Id of the document
    pub(crate) id: String,
    /// Names of the files
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// Reads `START..END`.
fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let bound = |text: &str, missing: u64| match text {
        "" => Ok(missing),
        text => text
            .parse()
            .map_err(|_| format!("{text:?} is not a number of bytes")),
    };
    let (start, end) = text
        .split_once("..")
        .ok_or_else(|| "a range is START..END".to_owned())?;
    let (start, end) = (bound(start, 0)?, bound(end, u64::MAX)?);
    if start > end {
        return Err("a range begins before it ends".to_owned());
    }
    Ok(start..end)
}

/// Reads a time span in seconds, with a fraction if wanted.
pub(crate) fn seconds(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds".to_owned())
}

/// Reads a span like 45s, 90m, 36h or 30d.
pub(crate) fn span(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "not a span such as 45s, 90m, 36h or 30d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = count.checked_mul(seconds).ok_or_else(wrong)?;
    Ok(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("90m").unwrap().as_secs(), 5400);
        assert_eq!(span("30d").unwrap().as_secs(), 30 * 24 * 3600);
        for wrong in ["", "5", "d", "-1h", "1.5h", "99999999999999999999d", "5ü"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
