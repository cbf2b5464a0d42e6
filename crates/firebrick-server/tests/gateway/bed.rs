//! A server, and databases that sync over it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebrick::gateway::{CloudGateway, FixedToken};
use firebrick::{Attachment, Database, Document, Remote, State};
use firebrick_core::cloud::{Access, Claims};
use firebrick_server::{Config, Server};
use tempfile::TempDir;

/// Nothing here takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bed {
    dir: TempDir,
    change: Box<dyn Fn(&mut Config)>,
    server: Mutex<Option<Server>>,
    address: std::net::SocketAddr,
    key: String,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl Fn(&mut Config) + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("data"));
        config.listen = ([127, 0, 0, 1], 0).into();
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        let address = server.local_addr();
        // All databases read what the others write.
        let first = Database::memory("key").await.unwrap();
        let key = first.keys().export().unwrap().to_string();
        Self {
            dir,
            change: Box::new(change),
            server: Mutex::new(Some(server)),
            address,
            key,
        }
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) async fn stop(&self) {
        let server = self.server.lock().unwrap().take();
        server.unwrap().shutdown().await;
    }

    pub(crate) async fn start(&self) {
        let mut config = Config::new(self.data());
        (self.change)(&mut config);
        config.listen = self.address;
        let server = Server::start(config).await.unwrap();
        *self.server.lock().unwrap() = Some(server);
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub(crate) fn reload(&self) {
        let server = self.server.lock().unwrap();
        server.as_ref().unwrap().reload().unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("fpcloud://{}?protocol=ws", self.address)
    }

    pub(crate) fn token_for(&self, tenant: &str, access: Access, seconds: u64) -> String {
        let claims = Claims::new("user", "user@example.com", "2026-01-01T00:00:00Z");
        let claims = claims.grant(tenant, "led", access);
        let server = self.server.lock().unwrap();
        server.as_ref().unwrap().mint(claims, seconds).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.token_for("ten", Access::Write, 3600)
    }

    pub(crate) fn gateway(&self) -> CloudGateway {
        CloudGateway::new(&self.url(), FixedToken::new(self.token())).unwrap()
    }

    /// A database with the key of all.
    pub(crate) async fn open(&self, name: &str) -> Database {
        let path = self.dir.path().join("clients").join(name);
        let keybag = self.dir.path().join("keys").join(name);
        let builder = Database::builder().name(name).path(path).keybag(keybag);
        builder.key(self.key.as_str()).open().await.unwrap()
    }

    pub(crate) fn attach(&self, db: &Database) -> Attachment {
        attach(db, self.gateway())
    }
}

pub(crate) fn attach(db: &Database, gateway: CloudGateway) -> Attachment {
    db.attach(Remote::gateway(Arc::new(gateway))).unwrap()
}

pub(crate) async fn write(db: &Database, prefix: &str, count: usize) {
    for n in 0..count {
        let id = format!("{}-{prefix}-{n}", db.name());
        db.put(&Document::new().with("_id", id).with("n", n as i64))
            .await
            .unwrap();
    }
}

pub(crate) async fn count(db: &Database) -> usize {
    db.count().await.unwrap()
}

/// Waits until every database has this many documents and the same root.
pub(crate) async fn converge(databases: &[Database], documents: usize) {
    let all = async {
        loop {
            for db in databases {
                for attachment in db.attachments() {
                    attachment.synced_within(PATIENCE).await.unwrap();
                }
            }
            let mut counts = Vec::new();
            for db in databases {
                counts.push((count(db).await, db.root()));
            }
            if counts
                .iter()
                .all(|found| found.0 == documents && found.1 == counts[0].1)
            {
                return;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        for db in databases {
            let states: Vec<_> = db.attachments().iter().map(Attachment::status).collect();
            eprintln!("{} has {}: {states:?}", db.name(), count(db).await);
        }
        panic!("no agreement on {documents} documents");
    }
}

/// Waits until the state is as wished.
pub(crate) async fn wait(attachment: &Attachment, wished: impl Fn(&State) -> bool) -> State {
    let mut status = attachment.watch();
    let reached = tokio::time::timeout(PATIENCE, async {
        let found = status.wait_for(|status| wished(&status.state)).await;
        found.unwrap().state.clone()
    });
    match reached.await {
        Ok(state) => state,
        Err(_) => panic!("it stays {:?}", attachment.status()),
    }
}
