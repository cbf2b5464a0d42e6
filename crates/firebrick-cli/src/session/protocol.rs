//! What commands ask of a database, and what it answers. The same values travel through a
//! channel when this process has the database open, and as lines of JSON when another has.

use std::ops::Bound;

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// One question. It is answered by any number of replies, of which `Done` or `Failed` is last.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Stores documents in one commit.
    Put {
        documents: Vec<Value>,
        durability: Option<Durability>,
    },
    Get {
        id: String,
    },
    GetAt {
        id: String,
        head: Vec<String>,
    },
    History {
        id: String,
        limit: Option<usize>,
    },
    Conflicts {
        id: Option<String>,
    },
    Diff {
        before: Vec<String>,
        after: Vec<String>,
    },
    Revert {
        id: String,
        version: String,
    },
    Log {
        limit: Option<usize>,
    },
    Delete {
        id: String,
    },
    List {
        prefix: Option<String>,
        after: Option<String>,
        limit: Option<usize>,
        deleted: bool,
        ids: bool,
    },
    Count,
    Query(Query),
    Indexes,
    DropIndex {
        name: String,
    },
    Changes {
        since: Vec<String>,
        limit: Option<usize>,
    },
    Watch {
        since: Option<Vec<String>>,
        documents: bool,
    },
    Attach {
        url: String,
        name: Option<String>,
        merge: bool,
        key: Option<String>,
    },
    Detach {
        remote: String,
    },
    Remotes,
    /// Reports `Remotes` until all (or one) are in sync; with `follow` it never ends.
    Sync {
        remote: Option<String>,
        timeout_ms: Option<u64>,
        follow: bool,
    },
    Status,
    Backup {
        file: PathBuf,
        since: Option<PathBuf>,
        replace: bool,
    },
    Verify {
        repair: bool,
    },
    Stats,
    Compact {
        retention: Option<Retention>,
        dry_run: bool,
    },
    Keys {
        action: KeyAction,
    },
    /// Attaches the file at a path, or what stdin gives.
    FilesPut {
        id: String,
        name: String,
        path: Option<PathBuf>,
        content_type: String,
        single_block: bool,
    },
    FilesGet {
        id: String,
        name: String,
        start: u64,
        end: u64,
    },
    FilesList {
        id: String,
    },
    FilesRemove {
        id: String,
        name: String,
    },
}

/// Rows of an index. Keys are in the JSON notation of documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Query {
    pub(crate) index: String,
    pub(crate) select: Select,
    pub(crate) descending: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) offset: usize,
    pub(crate) documents: bool,
    pub(crate) answer: QueryAnswer,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Select {
    All,
    Keys(Vec<Value>),
    Range(Bound<Value>, Bound<Value>),
    Prefix(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QueryAnswer {
    Rows,
    Count,
    Explain,
    /// The rows, and what changes in them.
    Watch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    Sync,
    Buffered,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Retention {
    All,
    Versions(u32),
    AgeSeconds(u64),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyAction {
    List,
    Show,
    Rotate,
    Export,
    ExportWrapped(Secret),
    Import(Secret),
    ImportWrapped { text: Secret, passphrase: Secret },
    Add(Secret),
}

/// A key or a passphrase: wiped when dropped, never shown by `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Part of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Reply {
    Written {
        ids: Vec<String>,
        head: Vec<String>,
    },
    /// A document, or none under this id.
    Row {
        id: String,
        document: Option<Value>,
    },
    /// A document that is there but cannot be read.
    Unreadable {
        id: String,
        failure: Failure,
    },
    Count {
        documents: u64,
    },
    /// A row of an index; with a change when a watched result changed.
    IndexRow {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<RowChange>,
        id: String,
        key: Value,
        value: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<Value>,
    },
    /// The whole result so far was told; what follows are changes.
    WatchingResult,
    Explained {
        plan: Value,
    },
    Indexes {
        indexes: Vec<Value>,
    },
    Change {
        id: String,
        document: Option<Value>,
        clock: String,
        /// A compaction dropped this version's value.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        compacted: bool,
    },
    /// A version, a conflict, an event, or what else a listing is of.
    Item {
        item: Value,
    },
    /// The subscription stands: changes after this head will be reported.
    Watching {
        head: Vec<String>,
    },
    Changes(ChangeSet),
    /// The watcher was too slow; what it missed follows.
    Lagged {
        missed: u64,
    },
    Attached {
        name: String,
        url: String,
    },
    Detached {
        name: String,
        url: String,
        unpushed: u64,
    },
    Remotes {
        remotes: Vec<Value>,
    },
    Status(Box<Status>),
    BackingUp {
        events: u64,
        of: u64,
    },
    BackedUp {
        backup: Value,
    },
    Verifying {
        blocks: u64,
        findings: u64,
    },
    Fetching {
        lacking: u64,
        remotes: u64,
    },
    Rebuilding,
    Stats {
        stats: Value,
    },
    /// What a verification found, or what a repair did.
    Verified {
        report: Value,
    },
    Compacting {
        blocks: u64,
        of: u64,
    },
    Compacted {
        report: Value,
    },
    Keys {
        fingerprint: String,
        fingerprints: Vec<String>,
    },
    KeyList {
        keys: Vec<Value>,
    },
    Key {
        key: Secret,
    },
    Files {
        files: Vec<Value>,
    },
    /// The file that the request is about.
    File {
        file: Value,
    },
    /// Bytes that were read so far.
    FileProgress {
        bytes: u64,
    },
    /// The next bytes of a content.
    FilePart {
        #[serde(with = "base64")]
        bytes: Bytes,
    },
    Done,
    Failed(Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowChange {
    Added,
    Removed,
    Updated,
}

/// Bytes in a line of JSON.
mod base64 {
    use bytes::Bytes;
    use data_encoding::BASE64;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = BASE64.decode(text.as_bytes());
        bytes.map(Bytes::from).map_err(D::Error::custom)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ChangeSet {
    pub(crate) sequence: u64,
    /// `local`, or the name of the remote that the changes came from.
    pub(crate) origin: String,
    pub(crate) head: Vec<String>,
    pub(crate) changes: Vec<Changed>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) doc: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) documents: u64,
    pub(crate) head: Vec<String>,
    pub(crate) root: String,
    pub(crate) encrypted: bool,
    pub(crate) key: Option<String>,
    pub(crate) remotes: Vec<Value>,
    /// The process that has the database open, when it is not the one that prints this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) served_by: Option<u32>,
}
