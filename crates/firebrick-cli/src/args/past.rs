//! Arguments of the commands on history and conflicts.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Id of the document
    pub(crate) id: String,
    /// At most this many versions, the newest
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct ConflictsArgs {
    /// Id of a document; without it all documents in conflict are listed
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The older head: events, separated by commas
    #[arg(value_name = "HEAD", value_delimiter = ',', required = true)]
    pub(crate) before: Vec<String>,
    /// The newer head; without it the present one
    #[arg(long, value_name = "HEAD", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RevertArgs {
    /// Id of the document
    pub(crate) id: String,
    /// The version: its event, as `history` prints it
    #[arg(value_name = "EVENT")]
    pub(crate) event: String,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Draw how the events follow each other
    #[arg(long)]
    pub(crate) graph: bool,
    /// At most this many events, the newest
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
}
