//! Servers with clients of both kinds, each with a directory of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firebrick::gateway::{CloudGateway, FixedToken};
use firebrick::{Attachment, Database, Document, Remote};
use firebrick_core::cloud::Access;
use serde_json::{Value, json};

use crate::compare::{Stand, compare};
use crate::peer::OpenPeer;
use crate::site::{Setup, Site, converge};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Team {
    site: Site,
    databases: Vec<Option<Database>>,
    clients: Vec<Option<(String, OpenPeer)>>,
}

impl Team {
    pub(crate) async fn new(setup: Setup) -> Team {
        Team {
            site: Site::new(setup).await,
            databases: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// A JavaScript client that is attached.
    pub(crate) fn client(&mut self, name: &str) -> usize {
        let client = self.site.attached(name);
        self.clients.push(Some((name.to_owned(), client)));
        self.clients.len() - 1
    }

    pub(crate) fn js(&mut self, client: usize) -> &mut OpenPeer {
        let client = self.clients[client].as_mut();
        &mut client.expect("has not left").1
    }

    pub(crate) fn offline_js(&self, name: &str) -> OpenPeer {
        self.site.client(name)
    }

    pub(crate) fn leave_js(&mut self, client: usize) {
        let (_, client) = self.clients[client].take().expect("has not left");
        self.site.leave(client);
    }

    /// A database that is attached.
    pub(crate) async fn database(&mut self, name: &str) -> usize {
        let db = self.offline_db(name).await;
        self.attach(&db, &self.site.token(name, Access::Write, 3600));
        self.databases.push(Some(db));
        self.databases.len() - 1
    }

    pub(crate) fn db(&self, database: usize) -> &Database {
        self.databases[database].as_ref().expect("has not left")
    }

    pub(crate) async fn offline_db(&self, name: &str) -> Database {
        let path = self.site.place(name).join("rust");
        let keybag = self.site.place(name).join("keys");
        let builder = Database::builder().name(name).path(path).keybag(keybag);
        builder.open().await.unwrap()
    }

    pub(crate) async fn leave_db(&mut self, database: usize) {
        let db = self.databases[database].take().expect("has not left");
        assert!(db.close().await.unwrap().unpushed.is_empty());
    }

    /// A database of which nobody else hears.
    pub(crate) async fn outsider(&self, name: &str, token: &str) -> Database {
        let db = self.offline_db(name).await;
        self.attach(&db, token);
        db
    }

    pub(crate) fn token_of(&self, user: &str, access: Access, seconds: u64) -> String {
        self.site.token(user, access, seconds)
    }

    fn attach(&self, db: &Database, token: &str) -> Attachment {
        let url = format!("{}&keys=share", self.site.url());
        let gateway = CloudGateway::new(&url, FixedToken::new(token)).unwrap();
        db.attach(Remote::gateway(Arc::new(gateway))).unwrap()
    }

    pub(crate) async fn stop(&mut self) {
        self.site.stop().await;
    }

    pub(crate) async fn start(&mut self) {
        self.site.start().await;
    }

    pub(crate) async fn stop_node(&mut self, n: usize) {
        self.site.stop_node(n).await;
    }

    pub(crate) async fn start_node(&mut self, n: usize) {
        self.site.start_node(n).await;
    }

    /// Waits until all have exactly these documents.
    pub(crate) async fn all_have(&mut self, wanted: &[(&str, i64)]) {
        for db in self.databases.iter().flatten() {
            self.has(db, wanted).await;
        }
        for (_, client) in self.clients.iter_mut().flatten() {
            converge(&mut [client], wanted);
        }
    }

    pub(crate) async fn has(&self, db: &Database, wanted: &[(&str, i64)]) {
        let wanted: BTreeMap<&str, i64> = wanted.iter().copied().collect();
        until(db, |found| {
            let found: BTreeMap<&str, i64> =
                found.iter().map(|(id, n)| (id.as_str(), *n)).collect();
            found == wanted
        })
        .await;
    }

    /// Waits until a document has one of these values at a database and at all clients; which.
    pub(crate) async fn value_of(&mut self, id: &str, database: usize, values: &[i64]) -> i64 {
        let db = self.db(database);
        for attachment in db.attachments() {
            attachment.synced_within(PATIENCE).await.unwrap();
        }
        // Both sides hold both versions once the other documents that came with them are here.
        let found = until(db, |found| found.contains_key("js-alone")).await;
        let n = found[id];
        assert!(values.contains(&n), "{n}");
        n
    }

    /// A document with a file.
    pub(crate) async fn put_file(&self, database: usize, id: &str, name: &str, content: &[u8]) {
        let document = Document::new().with("_id", id).with("n", 1);
        let files = [(name, content.to_vec())];
        self.db(database)
            .put_with_files(&document, files)
            .await
            .unwrap();
    }

    pub(crate) async fn file(
        &self,
        database: usize,
        id: &str,
        name: &str,
    ) -> Result<Vec<u8>, String> {
        let files = self.db(database).files(id);
        let file = files.get(name).await.map_err(|error| error.to_string())?;
        let file = file.ok_or("no such file")?;
        let bytes = tokio::time::timeout(PATIENCE, file.bytes()).await;
        let bytes = bytes.map_err(|_| format!("{name} does not come"))?;
        let bytes = bytes.map_err(|error| error.to_string())?;
        Ok(bytes.to_vec())
    }

    /// Everyone answers everything alike: root, documents, deletions, changes, queries.
    pub(crate) async fn ends_alike(mut self) {
        // One event above all others, so that all have the same head.
        let first = self.databases.iter().flatten().next().expect("a database");
        let first = first.clone();
        write(&first, "the-end", 999).await;
        let wanted = numbers(&first).await;
        let wanted: Vec<(&str, i64)> = wanted.iter().map(|(id, n)| (id.as_str(), *n)).collect();
        self.all_have(&wanted).await;
        let deadline = Instant::now() + PATIENCE;
        for db in self.databases.iter().flatten() {
            while db.head() != first.head() || db.head().len() > 1 {
                pause(deadline).await;
            }
            assert_eq!(db.root(), first.root(), "{} has another root", db.name());
        }
        for (_, client) in self.clients.iter_mut().flatten() {
            loop {
                let head = first.head();
                let before = client.ask(&json!({"op": "head"}));
                let stand = Stand::of(&first).await;
                let answers = stand.questions().map(|question| client.ask(&question));
                let after = client.ask(&json!({"op": "head"}));
                let one = json!([head[0].to_string()]);
                if first.head() == head && head.len() == 1 && before == one && after == one {
                    compare(&stand, &answers);
                    break;
                }
                pause(deadline).await;
            }
        }
    }
}

/// Events that only merge heads may still be under way when all documents are there. Before, a client tells
/// changes in the order in which heads came to it.
async fn pause(deadline: Instant) {
    assert!(Instant::now() < deadline, "their heads stay apart");
    tokio::time::sleep(Duration::from_millis(20)).await;
}

pub(crate) async fn write(db: &Database, id: &str, n: i64) {
    let document = Document::new().with("_id", id).with("n", n);
    db.put(&document).await.unwrap();
}

/// The numbers of all documents that have one.
async fn numbers(db: &Database) -> BTreeMap<String, i64> {
    let rows = db.all_docs().collect::<Document>().await.unwrap();
    let n = |doc: Document| doc.to_json()["n"].as_i64();
    let pairs = rows.into_iter();
    pairs
        .filter_map(|row| Some((row.id, row.doc.and_then(n)?)))
        .collect()
}

/// Waits for a change until the documents are as wished.
async fn until(
    db: &Database,
    wished: impl Fn(&BTreeMap<String, i64>) -> bool,
) -> BTreeMap<String, i64> {
    let mut events = db.subscribe();
    let there = tokio::time::timeout(PATIENCE, async {
        loop {
            let found = numbers(db).await;
            if wished(&found) {
                return found;
            }
            let event = events.next().await;
            event.expect("the database is open").unwrap();
        }
    });
    match there.await {
        Ok(found) => found,
        Err(_) => {
            let states: Vec<_> = db.attachments().iter().map(Attachment::status).collect();
            let found: Value = json!(numbers(db).await);
            panic!("{} has {found}: {states:#?}", db.name());
        }
    }
}
