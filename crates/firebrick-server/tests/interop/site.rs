//! A server, and JavaScript clients in directories of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use firebrick_core::cloud::{Access, Claims};
use firebrick_server::{Config, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::{OpenPeer, Peer};

pub(crate) struct Site {
    dir: TempDir,
    pub(crate) server: Server,
    websockets: bool,
}

impl Site {
    pub(crate) async fn new(websockets: bool) -> Site {
        let dir = TempDir::with_prefix("firebrick-interop-").unwrap();
        let mut config = Config::new(dir.path().join("server"));
        config.listen = ([127, 0, 0, 1], 0).into();
        config.websockets = websockets;
        let server = Server::start(config).await.unwrap();
        Site {
            dir,
            server,
            websockets,
        }
    }

    /// Ends the server and starts it again at the same address.
    pub(crate) async fn restart(self) -> Site {
        let mut config = Config::new(self.dir.path().join("server"));
        config.listen = self.server.local_addr();
        config.websockets = self.websockets;
        self.server.shutdown().await;
        let server = Server::start(config).await.unwrap();
        Site { server, ..self }
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
        self.server.mint(claims, seconds).unwrap()
    }

    /// A client with a directory, keys and a database of its own.
    pub(crate) fn client(&self, name: &str) -> OpenPeer {
        Peer::new(&self.dir.path().join(name), name).open()
    }

    pub(crate) fn attach_request(&self, token: &str) -> Value {
        let url = self.server.attach_url().to_string();
        json!({"op": "attachCloud", "url": url, "token": token})
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
