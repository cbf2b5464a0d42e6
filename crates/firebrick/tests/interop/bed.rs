//! A folder with a ledger that both implementations use, and Firebrick databases beside it.

use std::path::PathBuf;
use std::time::Duration;

use firebrick::{Attachment, Database, Document, Keybag};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::Peer;

/// Nothing here waits this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const LEDGER: &str = "shared";

pub(crate) struct Bed {
    dir: TempDir,
}

/// What a failed test leaves behind is looked at.
impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.dir.path().display());
            self.dir.disable_cleanup(true);
        }
    }
}

impl Bed {
    pub(crate) fn new() -> Bed {
        Bed {
            dir: TempDir::with_prefix("firebrick-interop-").expect("a temporary directory"),
        }
    }

    /// The client on the shared ledger's own directory.
    pub(crate) fn js(&self) -> Peer {
        Peer::new(self.dir.path(), LEDGER)
    }

    /// The client on a ledger of its own beside it, under the same key: it attaches to the shared one.
    pub(crate) fn js_beside(&self, ledger: &str) -> Peer {
        Peer::new(self.dir.path(), ledger).storekey(&key_name())
    }

    /// Such a client with one document, `base`. It is to be opened again before it attaches, or what
    /// it wrote stays behind.
    pub(crate) fn js_beside_with_base(&self, ledger: &str) -> Peer {
        let peer = self.js_beside(ledger);
        peer.run(&[json!({"op": "put", "doc": {"_id": "base", "n": 0}})]);
        peer
    }

    /// The requests with which such a client comes back, and hears and tells everything.
    pub(crate) fn catch_up(&self) -> [Value; 3] {
        [
            json!({"op": "open"}),
            self.attach_request(),
            json!({"op": "idle"}),
        ]
    }

    /// The request that attaches such a client to the shared ledger's directory.
    pub(crate) fn attach_request(&self) -> Value {
        json!({
            "op": "attach", "url": self.dir.path(), "name": LEDGER, "storekey": key_name(),
        })
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join(LEDGER)
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.folder().display())
    }

    pub(crate) fn keybag(&self) -> Keybag {
        Keybag::open(self.js().keybag())
    }

    /// The key that the client encrypts with; it makes one when it first opens the ledger.
    pub(crate) fn js_key(&self) -> String {
        let keys = self.keybag().key_set(&key_name()).expect("a key file");
        keys.expect("the client has a key")
            .default_key()
            .to_text()
            .to_string()
    }

    /// A database with a store, a keybag and a name of its own, and the client's key.
    pub(crate) async fn firebrick(&self, name: &str) -> Database {
        let db = self.stranger(name).await;
        db.keys().import(&self.js_key()).expect("a key");
        db
    }

    /// A database that doesn't have the client's key.
    pub(crate) async fn stranger(&self, name: &str) -> Database {
        let place = self.dir.path().join("firebrick").join(name);
        Database::builder()
            .path(place.join("store"))
            .keybag(place.join("keybag"))
            .name(name)
            .open()
            .await
            .expect("opens")
    }

    /// Attaches the database to the folder and waits until both have everything.
    pub(crate) async fn attach(&self, db: &Database) -> Attachment {
        let attachment = db.attach(self.url().as_str()).expect("attaches");
        settle(db, &attachment).await;
        attachment
    }
}

/// A document from the JSON notation that the client's answers have, too.
pub(crate) fn doc(value: &Value) -> Document {
    Document::from_json(value).expect("a document")
}

pub(crate) fn key_name() -> String {
    format!("@{LEDGER}-data@")
}

/// Waits until everything written before the call is on both sides, and shown to the client: under
/// one head, because resolving several costs it the cube of their distance.
pub(crate) async fn settle(db: &Database, attachment: &Attachment) {
    let mut status = attachment.watch();
    loop {
        if let Err(error) = attachment.synced_within(DEADLINE).await {
            panic!("not in sync: {error}\n{:#?}", attachment.status());
        }
        if db.head().len() == 1 {
            break;
        }
        let joined = tokio::time::timeout(DEADLINE, status.changed());
        joined
            .await
            .expect("the heads are joined")
            .expect("attached");
    }
}

/// Ends Firebrick's part: flushes everything, what the client is shown included.
pub(crate) async fn close(db: Database) {
    let report = db.close().await.expect("closes");
    assert!(report.unpushed.is_empty(), "not pushed: {report:?}");
}
