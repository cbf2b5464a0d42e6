//! A server in a directory of its own, and clients that speak the protocol by hand.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::cloud::{
    Access, Auth, Body, Claims, Conn, DataKind, KeyText, META_KEY, Message, MetaEntry, MetaSet,
    MethodParam, OpenConn, Operation, Scope, Store, TenantLedger, UrlParam, Verb,
};
use firebrick_core::keys::Key;
use firebrick_core::meta::MetaEvent;
use firebrick_server::cars::{CarStore, Disk};
use firebrick_server::metas::{MetaStore, Sqlite};
use firebrick_server::{Config, Server};
use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Nothing here takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
}

pub(crate) fn config(dir: &TempDir) -> Config {
    let mut config = Config::new(dir.path().join("data"));
    config.listen = ([127, 0, 0, 1], 0).into();
    config
}

impl Place {
    pub(crate) async fn new() -> Place {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir);
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        Place { dir, server }
    }

    /// A server over stores that are made from the usual ones.
    pub(crate) async fn over<M: MetaStore, C: CarStore>(
        stores: impl FnOnce(Sqlite, Disk) -> (M, C),
    ) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let metas = Sqlite::open(&dir.path().join("metas")).unwrap();
        let cars = Disk::open(&dir.path().join("cars")).unwrap();
        let (metas, cars) = stores(metas, cars);
        let server = Server::start_with(config(&dir), Arc::new(metas), Arc::new(cars)).await;
        let server = server.unwrap();
        Place { dir, server }
    }

    /// Ends the server and starts another one in the same place.
    pub(crate) async fn restart(self) -> Place {
        let mut config = config(&self.dir);
        config.listen = self.address();
        self.server.shutdown().await;
        let server = Server::start(config).await.unwrap();
        Place {
            dir: self.dir,
            server,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub(crate) fn token(&self, user: &str, ledgers: &[(&str, &str, Access)]) -> String {
        self.server.mint(claims(user, ledgers), 3600).unwrap()
    }

    pub(crate) fn writer(&self, user: &str) -> String {
        self.token(user, &[("ten", "led", Access::Write)])
    }

    /// A client of the ledger `led` that has bound it and has seen what there was.
    pub(crate) async fn bound(&self, user: &str) -> Client {
        let mut client = Client::open(self.address(), &self.writer(user)).await;
        client.bind("ten", "led").await;
        client
    }

    /// The answer to a message over HTTP.
    pub(crate) async fn ask_http(&self, tid: &str, user: &str, body: Body) -> Body {
        let message = Message::new(tid, Auth::token(self.writer(user)), body);
        let request = reqwest::Client::new().put(self.http("/fp"));
        let response = request.body(message.encode()).send().await.unwrap();
        let answer = Message::parse(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(answer.tid, tid);
        answer.body
    }

    /// A client that is only connected.
    pub(crate) async fn client(&self, user: &str) -> Client {
        Client::open(self.address(), &self.writer(user)).await
    }
}

pub(crate) fn claims(user: &str, ledgers: &[(&str, &str, Access)]) -> Claims {
    let claims = Claims::new(user, format!("{user}@example.com"), "2026-01-01T00:00:00Z");
    ledgers
        .iter()
        .fold(claims, |claims, (tenant, ledger, access)| {
            claims.grant(tenant, ledger, *access)
        })
}

pub(crate) fn car(name: &str) -> Cid {
    Cid::of(Codec::Car, name.as_bytes())
}

/// A meta that names one CAR.
pub(crate) fn meta(name: &str) -> MetaEntry {
    MetaEntry::new(&MetaEvent {
        cars: vec![car(name)],
        parents: Vec::new(),
    })
}

pub(crate) fn key(n: u8) -> KeyText {
    KeyText::new(&Key::generate([n; 32]))
}

/// The names of the CARs in an event, sorted.
pub(crate) fn names(set: &MetaSet, known: &[&str]) -> Vec<String> {
    let name = |entry: &MetaEntry| {
        let found = known.iter().find(|name| meta(name) == *entry);
        found.map_or_else(|| entry.cid.to_string(), |name| (*name).to_owned())
    };
    let mut names: Vec<_> = set.metas.iter().map(name).collect();
    names.sort();
    names
}

pub(crate) fn scope(
    conn: &Conn,
    tenant: &str,
    ledger: &str,
    method: Verb,
    store: Store,
    key: &str,
) -> Scope {
    Scope {
        conn: conn.clone(),
        tenant: Some(TenantLedger::new(tenant, ledger)),
        method: MethodParam { method, store },
        url: UrlParam {
            key: key.into(),
            store: Some(store.as_str().into()),
            tenant: Some(tenant.into()),
            ledger: Some(ledger.into()),
            name: Some("toCloud".into()),
            ..UrlParam::default()
        },
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct Client {
    pub(crate) socket: Socket,
    pub(crate) token: String,
    pub(crate) conn: Conn,
    events: VecDeque<Message>,
    count: u32,
}

pub(crate) async fn connect(address: SocketAddr) -> Socket {
    let url = format!("ws://{address}/ws?random=x");
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

impl Client {
    pub(crate) async fn open(address: SocketAddr, token: &str) -> Client {
        Self::open_as(address, token, "req", None).await
    }

    pub(crate) async fn open_as(
        address: SocketAddr,
        token: &str,
        req_id: &str,
        res_id: Option<&str>,
    ) -> Client {
        let mut client = Client {
            socket: connect(address).await,
            token: token.to_owned(),
            conn: Conn {
                req_id: req_id.into(),
                res_id: String::new(),
            },
            events: VecDeque::new(),
            count: 0,
        };
        let open = Body::ReqOpen {
            conn: OpenConn {
                req_id: req_id.into(),
                res_id: res_id.map(str::to_owned),
            },
        };
        let Body::ResOpen { conn } = client.ask(open).await else {
            panic!("not opened");
        };
        client.conn = conn;
        client
    }

    pub(crate) async fn send(&mut self, body: Body) -> String {
        self.count += 1;
        let tid = format!("{}-{}", self.conn.req_id, self.count);
        let message = Message::new(&tid, Auth::token(&self.token), body);
        let frame = Frame::Binary(message.encode().into());
        self.socket.send(frame).await.unwrap();
        tid
    }

    pub(crate) async fn receive(&mut self) -> Message {
        loop {
            let frame = timeout(PATIENCE, self.socket.next())
                .await
                .expect("in time");
            match frame.expect("open").expect("a frame") {
                Frame::Binary(bytes) => return Message::parse(&bytes).unwrap(),
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The answer to a request; events that come before it are kept.
    pub(crate) async fn ask(&mut self, body: Body) -> Body {
        let tid = self.send(body).await;
        loop {
            let message = self.receive().await;
            if message.tid == tid {
                return message.body;
            }
            assert_eq!(message.kind(), "eventGetMeta");
            self.events.push_back(message);
        }
    }

    /// The text of the error that a request ends with, and whether it names the connection.
    pub(crate) async fn refused(&mut self, body: Body) -> (String, bool) {
        match self.ask(body).await {
            Body::Error(error) => (error.message, error.conn.is_some()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn scope(&self, method: Verb, store: Store, key: &str) -> Scope {
        scope(&self.conn, "ten", "led", method, store, key)
    }

    pub(crate) fn bind_request(&self, tenant: &str, ledger: &str) -> Body {
        Body::BindGetMeta {
            scope: scope(&self.conn, tenant, ledger, Verb::Get, Store::Meta, META_KEY),
        }
    }

    pub(crate) async fn bind(&mut self, tenant: &str, ledger: &str) -> MetaSet {
        match self.ask(self.bind_request(tenant, ledger)).await {
            Body::EventGetMeta { scope, meta, .. } => {
                assert_eq!(scope.conn, self.conn);
                meta
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put_request(&self, metas: &[MetaEntry], keys: &[KeyText]) -> Body {
        Body::ReqPutMeta {
            scope: self.scope(Verb::Put, Store::Meta, META_KEY),
            meta: MetaSet {
                metas: metas.to_vec(),
                keys: keys.to_vec(),
            },
        }
    }

    /// Uploads the CARs and publishes the metas of these names; returns what the answer carries.
    pub(crate) async fn publish(&mut self, named: &[&str], keys: &[KeyText]) -> MetaSet {
        for name in named {
            self.upload(name, name.as_bytes()).await;
        }
        self.announce(named, keys).await
    }

    /// Publishes without uploading.
    pub(crate) async fn announce(&mut self, named: &[&str], keys: &[KeyText]) -> MetaSet {
        let metas: Vec<_> = named.iter().map(|name| meta(name)).collect();
        match self.ask(self.put_request(&metas, keys)).await {
            Body::ResPutMeta { meta, .. } => meta,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn data_request(&self, operation: Operation, store: Store, key: &str) -> Body {
        let verb = match operation {
            Operation::Get => Verb::Get,
            Operation::Put => Verb::Put,
            Operation::Delete => Verb::Delete,
        };
        Body::ReqData {
            operation,
            kind: DataKind::Data,
            scope: self.scope(verb, store, key),
        }
    }

    pub(crate) async fn url(&mut self, operation: Operation, name: &str) -> String {
        let request = self.data_request(operation, Store::Car, &car(name).to_string());
        match self.ask(request).await {
            Body::ResData { signed_url, .. } => signed_url,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn upload(&mut self, name: &str, bytes: &[u8]) {
        let url = self.url(Operation::Put, name).await;
        let response = reqwest::Client::new().put(url).body(bytes.to_vec()).send();
        assert_eq!(response.await.unwrap().status(), 200);
    }

    pub(crate) async fn event(&mut self) -> MetaSet {
        self.event_message().await.1
    }

    pub(crate) async fn event_message(&mut self) -> (Auth, MetaSet) {
        let message = match self.events.pop_front() {
            Some(message) => message,
            None => self.receive().await,
        };
        match message.body {
            Body::EventGetMeta { scope, meta, .. } => {
                assert_eq!(scope.conn, self.conn);
                (message.auth, meta)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether nothing was sent to this client before now: what is sent is sent in order.
    pub(crate) async fn has_no_event(&mut self) -> bool {
        self.url(Operation::Get, "any").await;
        self.events.is_empty()
    }

    /// The code of the close frame that comes, or nothing if the connection just ends.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match timeout(PATIENCE, self.socket.next())
                .await
                .expect("in time")
            {
                Some(Ok(Frame::Close(close))) => return close.map(|close| close.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
