//! What a database of the demo reports: lines of JSON from the child process to the demo.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The database is open and holds this many documents.
    Opened {
        documents: u64,
    },
    Importing {
        documents: u64,
    },
    /// The share is stored; the next line on stdin starts the sync.
    Imported {
        documents: u64,
    },
    Syncing(Progress),
    /// Everything expected is here and the remote has everything from here.
    Complete(Proof),
    Closed,
    Failed {
        message: String,
    },
}

/// A step of the sync.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) documents: u64,
    /// The state in one word.
    pub(crate) state: String,
    /// What keeps it, when something does.
    pub(crate) cause: String,
    /// CARs received, and known to be there but not received yet.
    pub(crate) cars_received: u64,
    pub(crate) cars_to_come: u64,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) documents: u64,
    pub(crate) root: String,
    /// Over ids and values of all documents.
    pub(crate) hash: String,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
}

/// What the demo says to a database, one word per line.
pub(crate) const SYNC: &str = "sync";
pub(crate) const END: &str = "end";
