//! One server or two, and JavaScript clients in directories of their own.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use firebrick_core::cloud::{Access, Claims};
use firebrick_server::{Config, Server, StoreUrl};
use firebrick_testbed::{Postgres, S3};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::{OpenPeer, Peer};

/// Over WebSockets, over HTTP alone, and with two servers.
macro_rules! everywhere {
    ($($test:ident)*) => {$(
        mod $test {
            use crate::site::Setup;

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
            async fn over_websockets() {
                super::$test(Setup::WebSockets).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
            async fn over_http_alone() {
                super::$test(Setup::HttpAlone).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
            async fn on_two_nodes() {
                super::$test(Setup::TwoNodes).await;
            }
        }
    )*};
}

pub(crate) use everywhere;

/// What the clients attach to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    WebSockets,
    HttpAlone,
    /// With one PostgreSQL and one object store. Clients attach to them in turn.
    TwoNodes,
}

/// The servers' directories.
const NODES: [&str; 2] = ["server", "second-server"];

struct Node {
    server: Option<Server>,
    address: SocketAddr,
    url: String,
}

pub(crate) struct Site {
    dir: TempDir,
    setup: Setup,
    nodes: Vec<Node>,
    shared: Option<(Postgres, S3)>,
    attached: Cell<usize>,
}

impl Site {
    pub(crate) async fn new(setup: Setup) -> Site {
        let mut site = Site::unstarted(setup);
        site.start().await;
        site
    }

    fn unstarted(setup: Setup) -> Site {
        let dir = TempDir::with_prefix("firebrick-interop-").unwrap();
        let two = setup == Setup::TwoNodes;
        let mut site = Site {
            dir,
            setup,
            nodes: Vec::new(),
            shared: two.then(|| (Postgres::start(), S3::start())),
            attached: Cell::new(0),
        };
        site.nodes.resize_with(if two { 2 } else { 1 }, || Node {
            server: None,
            address: ([127, 0, 0, 1], 0).into(),
            url: String::new(),
        });
        site
    }

    /// A server that reads these limits of tenants from a file.
    pub(crate) async fn limited(limits: &Value) -> Site {
        let mut site = Site::unstarted(Setup::WebSockets);
        site.write_limits(limits);
        site.start().await;
        site
    }

    pub(crate) fn limit(&self, limits: &Value) {
        self.write_limits(limits);
        self.server().reload().unwrap();
    }

    fn write_limits(&self, limits: &Value) {
        std::fs::write(self.limits(), json!({"all": limits}).to_string()).unwrap();
    }

    fn limits(&self) -> PathBuf {
        self.dir.path().join("tenants.json")
    }

    pub(crate) async fn stop(&mut self) {
        for n in 0..self.nodes.len() {
            self.stop_node(n).await;
        }
    }

    pub(crate) async fn stop_node(&mut self, n: usize) {
        let server = self.nodes[n].server.take().expect("runs");
        server.shutdown().await;
    }

    /// Starts the servers, at the same addresses as before.
    pub(crate) async fn start(&mut self) {
        for n in 0..self.nodes.len() {
            self.start_node(n).await;
        }
    }

    pub(crate) async fn start_node(&mut self, n: usize) {
        let mut config = Config::new(self.place(NODES[n]));
        config.listen = self.nodes[n].address;
        config.websockets = self.setup != Setup::HttpAlone;
        config.tenants_file = Some(self.limits()).filter(|path| path.exists());
        if let Some((postgres, s3)) = &self.shared {
            config.metas = Some(StoreUrl::new(postgres.url()));
            config.objects = Some(StoreUrl::new(s3.url()));
        }
        let server = Server::start(config).await.unwrap();
        self.nodes[n] = Node {
            address: server.local_addr(),
            url: server.attach_url().to_string(),
            server: Some(server),
        };
    }

    fn server(&self) -> &Server {
        self.nodes[0].server.as_ref().expect("runs")
    }

    /// What the next client attaches to.
    pub(crate) fn url(&self) -> &str {
        let turn = self.attached.get();
        self.attached.set(turn + 1);
        &self.nodes[turn % self.nodes.len()].url
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.nodes[0].address)
    }

    pub(crate) fn mint(&self, claims: Claims, seconds: u64) -> String {
        self.server().mint(claims, seconds).unwrap()
    }

    /// The directory of a client.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.place(NODES[0])
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
        if self.setup != Setup::HttpAlone {
            client.close();
        }
        // Without a WebSocket closing fails in the client ("Controller is already closed"): it is killed.
    }

    pub(crate) fn attach_request(&self, token: &str) -> Value {
        json!({"op": "attachCloud", "url": self.url(), "token": token})
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
