//! What the tests share: databases on both kinds of remote, and what "equal" means.

use std::collections::BTreeMap;
use std::time::Duration;

use firebrick::gateway::MemoryRemote;
use firebrick::{
    Attachment, Cid, Database, Document, Durability, RemoteStatus, State as SyncState,
};

/// No wait of a test is longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The two kinds of remote that every sync test runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Memory,
    Folder,
}

/// Directories and keys of one test.
pub(crate) struct Bed {
    pub(crate) dir: tempfile::TempDir,
    key: String,
    kind: Kind,
}

impl Bed {
    pub(crate) async fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = Database::memory("key-maker").await.expect("opens");
        let key = first.keys().export().expect("has a key").to_string();
        Self { dir, key, kind }
    }

    /// The URL of a remote of this test.
    pub(crate) fn remote(&self, name: &str) -> String {
        match self.kind {
            Kind::Memory => format!(
                "memory://{}-{name}",
                self.dir.path().display().to_string().replace('/', "-")
            ),
            Kind::Folder => format!(
                "file://{}",
                self.dir.path().join("remotes").join(name).display()
            ),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn memory_remote(&self, name: &str) -> MemoryRemote {
        MemoryRemote::named(
            self.remote(name)
                .strip_prefix("memory://")
                .expect("a memory remote"),
        )
    }

    /// A database on disk with its own name and keybag, which shares the ledger by its key.
    pub(crate) async fn open(&self, name: &str) -> Database {
        let db = Database::builder()
            .path(self.dir.path().join("db").join(name))
            .name(name)
            .keybag(self.dir.path().join("keys").join(name))
            .durability(Durability::Buffered)
            .memory(4 << 20)
            .open()
            .await
            .expect("opens");
        db.keys().import(&self.key).expect("the key is good");
        db
    }

    pub(crate) async fn open_all(&self, count: usize) -> Vec<Database> {
        let mut all = Vec::new();
        for n in 0..count {
            all.push(self.open(&format!("db-{n}")).await);
        }
        all
    }
}

/// A document with an id and a value.
pub(crate) fn doc(id: impl Into<String>, value: impl Into<String>) -> Document {
    Document::new()
        .with("_id", id.into())
        .with("value", value.into())
}

/// Writes `rows` documents that name their writer.
pub(crate) async fn write(db: &Database, label: &str, rows: usize) {
    let name = db.name().to_owned();
    let docs: Vec<Document> = (0..rows)
        .map(|row| {
            doc(
                format!("{name}-{label}-{row:04}"),
                format!("{name} {label} {row}"),
            )
        })
        .collect();
    if let [only] = docs.as_slice() {
        db.put(only).await.expect("is written");
    } else {
        db.bulk(&docs).await.expect("is written");
    }
}

/// Everything that "equal" means: ids, values, deletions, root.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) root: Cid,
    pub(crate) docs: BTreeMap<String, Option<serde_json::Value>>,
}

pub(crate) async fn state(db: &Database) -> State {
    let listing = db.all_docs().include_deleted(true);
    let rows = listing
        .collect::<Document>()
        .await
        .expect("every document is here");
    let docs = rows
        .into_iter()
        .map(|row| (row.id, row.doc.map(|doc| doc.to_json())))
        .collect();
    State {
        root: db.root(),
        docs,
    }
}

pub(crate) async fn synced(attachments: &[Attachment]) {
    for attachment in attachments {
        attachment
            .synced_within(DEADLINE)
            .await
            .expect("syncs in time");
    }
}

/// Waits until all databases have one root, then compares everything.
///
/// A database learns of what another one pushed after its own last round, so each is asked to sync
/// until nobody has moved.
pub(crate) async fn converge(databases: &[Database]) -> State {
    let start = std::time::Instant::now();
    loop {
        for db in databases {
            for attachment in db.attachments() {
                attachment
                    .synced_within(DEADLINE)
                    .await
                    .expect("syncs in time");
            }
        }
        let roots: Vec<Cid> = databases.iter().map(Database::root).collect();
        if roots.iter().all(|root| *root == roots[0]) {
            break;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "no convergence: {roots:?}\n{:#?}",
            statuses(databases)
        );
    }
    let first = state(&databases[0]).await;
    for db in &databases[1..] {
        assert_eq!(state(db).await, first, "{} differs", db.name());
    }
    first
}

/// Waits until the status is one that the test expects.
pub(crate) async fn until(
    attachment: &Attachment,
    what: &str,
    mut expected: impl FnMut(&RemoteStatus) -> bool,
) -> RemoteStatus {
    let mut status = attachment.watch();
    let wait = status.wait_for(|status| expected(status));
    match tokio::time::timeout(DEADLINE, wait).await {
        Ok(status) => status.expect("the status is there").clone(),
        Err(_) => panic!("not {what}: {:#?}", attachment.status()),
    }
}

pub(crate) async fn until_up_to_date(attachment: &Attachment) {
    until(attachment, "up to date", |status| {
        status.state == SyncState::UpToDate
    })
    .await;
}

/// Waits until the database holds this document.
pub(crate) async fn until_here(db: &Database, id: &str) {
    let mut events = db.subscribe();
    let wait = async {
        while db.get::<Document>(id).await.expect("reads").is_none() {
            events.next().await.expect("is open").expect("computes");
        }
    };
    if tokio::time::timeout(DEADLINE, wait).await.is_err() {
        panic!(
            "{id} did not arrive: {:#?}",
            statuses(std::slice::from_ref(db))
        );
    }
}

pub(crate) fn statuses(databases: &[Database]) -> Vec<(String, Vec<RemoteStatus>)> {
    let of = |db: &Database| db.attachments().iter().map(Attachment::status).collect();
    databases
        .iter()
        .map(|db| (db.name().to_owned(), of(db)))
        .collect()
}

/// The test on both kinds of remote, with one and with a hundred rows.
macro_rules! on_every_remote {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                for rows in [1, 100] {
                    super::$name($crate::common::Kind::Memory, rows).await;
                }
            })*
        }
        mod folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                for rows in [1, 100] {
                    super::$name($crate::common::Kind::Folder, rows).await;
                }
            })*
        }
    };
}
pub(crate) use on_every_remote;
