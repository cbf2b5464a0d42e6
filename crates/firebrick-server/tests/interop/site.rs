//! A server, and JavaScript clients in directories of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use firebrick_core::cloud::{Access, Claims};
use firebrick_server::{Config, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::{OpenPeer, Peer};

pub(crate) struct Site {
    dir: TempDir,
    server: Option<Server>,
    address: SocketAddr,
    url: String,
    websockets: bool,
}

impl Site {
    pub(crate) async fn new(websockets: bool) -> Site {
        let mut site = Site {
            dir: TempDir::with_prefix("firebrick-interop-").unwrap(),
            server: None,
            address: ([127, 0, 0, 1], 0).into(),
            url: String::new(),
            websockets,
        };
        site.start().await;
        site
    }

    pub(crate) async fn stop(&mut self) {
        self.server.take().expect("runs").shutdown().await;
    }

    /// Starts the server, at the same address as before.
    pub(crate) async fn start(&mut self) {
        let mut config = Config::new(self.data());
        config.listen = self.address;
        config.websockets = self.websockets;
        let server = Server::start(config).await.unwrap();
        self.address = server.local_addr();
        self.url = server.attach_url().to_string();
        self.server = Some(server);
    }

    /// What clients attach to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn mint(&self, claims: Claims, seconds: u64) -> String {
        let server = self.server.as_ref().expect("runs");
        server.mint(claims, seconds).unwrap()
    }

    /// The directory of a client.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("server")
    }

    pub(crate) fn token(&self, user: &str, access: Access, seconds: u64) -> String {
        let claims = Claims::new(
            user,
            format!("{user}@example.com"),
            "2026-01-01T00:00:00.000Z",
        );
        let claims = claims.grant("tenant", "ledger", access);
        self.mint(claims, seconds)
    }

    /// A client with a directory, keys and a database of its own.
    pub(crate) fn client(&self, name: &str) -> OpenPeer {
        self.peer(name).open()
    }

    pub(crate) fn peer(&self, name: &str) -> Peer {
        Peer::new(&self.place(name), name)
    }

    /// The client ends once it has written what it has to.
    pub(crate) fn leave(&self, mut client: OpenPeer) {
        client.ask(&json!({"op": "idle"}));
        if self.websockets {
            client.close();
        }
        // Without a WebSocket closing fails in the client ("Controller is already closed"): it is killed.
    }

    pub(crate) fn attach_request(&self, token: &str) -> Value {
        json!({"op": "attachCloud", "url": self.url, "token": token})
    }

    /// The client attaches with a good token.
    pub(crate) fn attach(&self, client: &mut OpenPeer, user: &str) {
        let token = self.token(user, Access::Write, 3600);
        assert_eq!(
            client.ask(&self.attach_request(&token)),
            true,
            "{user} attaches"
        );
    }

    pub(crate) fn attached(&self, name: &str) -> OpenPeer {
        let mut client = self.client(name);
        self.attach(&mut client, name);
        client
    }
}

pub(crate) fn put(client: &mut OpenPeer, id: &str, n: i64) {
    client.ask(&json!({"op": "put", "doc": {"_id": id, "n": n}}));
}

/// A document with a file of 13 bytes.
pub(crate) fn put_file(client: &mut OpenPeer, id: &str) {
    let file = json!({"$file": {"text": "by JavaScript", "name": "a.txt", "type": "text/plain"}});
    client.ask(&json!({"op": "put", "doc": {"_id": id, "n": 2, "_files": {"a.txt": file}}}));
}

/// The client has the entry of a file, and not the file.
pub(crate) fn assert_not_ready(client: &mut OpenPeer, id: &str, name: &str) {
    let answer = client.answer(&json!({"op": "file", "id": id, "name": name}));
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(error.contains("car not ready"), "{answer}");
}

pub(crate) fn del(client: &mut OpenPeer, id: &str) {
    client.ask(&json!({"op": "del", "id": id}));
}

/// Waits until each client has exactly these documents, and answers a query alike.
pub(crate) fn converge(clients: &mut [&mut OpenPeer], docs: &[(&str, i64)]) {
    let wanted: BTreeMap<&str, i64> = docs.iter().copied().collect();
    for client in clients {
        client.ask(&json!({"op": "awaitDocs", "docs": wanted}));
    }
}
