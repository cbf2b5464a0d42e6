//! Two servers over one database and one object store, of which one is killed.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebrick::core::Cid;
use firebrick::core::cid::Codec;
use firebrick::core::cloud::{
    Auth, Body, Conn, META_KEY, Message, MetaEntry, MetaSet, MethodParam, OpenConn, Scope, Store,
    TenantLedger, UrlParam, Verb,
};
use firebrick::core::meta::MetaEvent;
use firebrick::gateway::{CloudGateway, FixedToken};
use firebrick::{Database, Document, Remote};
use firebrick_testbed::{Postgres, S3};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Place, Running, signal};

const PATIENCE: Duration = Duration::from_secs(120);

/// A ledger of its own: no database could read what is put there.
const HAMMERED: &str = "hammered";

struct Stores {
    postgres: Postgres,
    s3: S3,
}

impl Stores {
    fn start() -> Self {
        Self {
            postgres: Postgres::start(),
            s3: S3::start(),
        }
    }

    /// A command that is told where they are by its environment alone.
    fn serve(&self, place: &Place, data: &str, more: &[&str]) -> Command {
        let serve = ["serve", "--json", "--listen", "127.0.0.1:0", "--data", data];
        let mut command = place.command(&[&serve[..], more].concat());
        command
            .env("FIREBRICK_METAS", self.postgres.url())
            .env("FIREBRICK_OBJECTS", self.s3.bare_url());
        for (key, value) in self.s3.settings() {
            command.env(format!("AWS_{}", key.to_uppercase()), value);
        }
        command
    }
}

struct Node {
    process: Running,
    address: SocketAddr,
    line: Value,
}

/// What the token that a server prints is for.
const GRANTS: [&str; 4] = ["--grant", "default/default", "--grant", "default/hammered"];

impl Node {
    fn start(stores: &Stores, place: &Place, data: &str) -> Self {
        Self::running(&mut stores.serve(place, data, &GRANTS))
    }

    /// A server that has everything in its data directory.
    fn alone(place: &Place, data: &str) -> Self {
        let serve = ["serve", "--json", "--listen", "127.0.0.1:0", "--data", data];
        Self::running(&mut place.command(&[&serve[..], &GRANTS].concat()))
    }

    fn running(command: &mut Command) -> Self {
        let process = Running::spawn(command);
        let line = process.line();
        Self {
            address: line["listening"].as_str().unwrap().parse().unwrap(),
            process,
            line,
        }
    }

    fn token(&self) -> String {
        self.line["token"].as_str().unwrap().to_owned()
    }

    fn kill(self) {
        signal("KILL", self.process.id());
        self.process.wait();
    }
}

/// Sends each new connection to the next node that lives.
struct Balancer {
    address: SocketAddr,
    nodes: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    async fn start(nodes: &[&Node]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let nodes: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let nodes = Arc::new(Mutex::new(nodes));
        let living = Arc::clone(&nodes);
        tokio::spawn(async move {
            let turns = AtomicUsize::new(0);
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let turn = turns.fetch_add(1, Ordering::Relaxed);
                let mut nodes: Vec<SocketAddr> = living.lock().unwrap().clone();
                let first = turn % nodes.len();
                nodes.rotate_left(first);
                tokio::spawn(pass(client, nodes));
            }
        });
        Self { address, nodes }
    }

    fn replace(&self, old: SocketAddr, new: SocketAddr) {
        for node in self.nodes.lock().unwrap().iter_mut() {
            if *node == old {
                *node = new;
            }
        }
    }
}

async fn pass(mut client: TcpStream, nodes: Vec<SocketAddr>) {
    for node in nodes {
        if let Ok(mut server) = TcpStream::connect(node).await {
            // Either side may break off.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

async fn write(db: Database, phase: &'static str, count: usize) {
    for n in 0..count {
        let id = format!("{}-{phase}-{n}", db.name());
        db.put(&Document::new().with("_id", id)).await.unwrap();
    }
}

/// Waits until every database has this many documents and the same root.
async fn converge(databases: &[Database], documents: usize) {
    let all = async {
        loop {
            let mut found = Vec::new();
            for db in databases {
                for attachment in db.attachments() {
                    attachment.synced_within(PATIENCE).await.unwrap();
                }
                found.push((db.count().await.unwrap(), db.root()));
            }
            if found.iter().all(|f| f.0 == documents && f.1 == found[0].1) {
                return;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        for db in databases {
            let states: Vec<_> = db
                .attachments()
                .iter()
                .map(firebrick::Attachment::status)
                .collect();
            let count = db.count().await.unwrap();
            eprintln!("{} has {count}: {states:?}", db.name());
        }
        panic!("no agreement on {documents} documents");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_costs_nothing() {
    const DATABASES: usize = 4;
    const WRITES: usize = 12;
    let (stores, place) = (Stores::start(), Place::new());
    let one = Node::start(&stores, &place, "one");
    let two = Node::start(&stores, &place, "two");
    let balancer = Balancer::start(&[&one, &two]).await;
    let url = format!("fpcloud://{}?protocol=ws", balancer.address);
    let token = one.token();
    // All databases read what the others write.
    let key = Database::memory("key").await.unwrap();
    let key = key.keys().export().unwrap().to_string();
    let open = async |name: &str| {
        let (path, keys) = (place.path("clients"), place.path("bags"));
        let builder = Database::builder().name(name).path(path.join(name));
        let builder = builder.keybag(keys.join(name)).key(key.as_str());
        let db = builder.open().await.unwrap();
        let gateway = CloudGateway::new(&url, FixedToken::new(token.clone())).unwrap();
        db.attach(Remote::gateway(Arc::new(gateway))).unwrap();
        db
    };
    let mut databases = Vec::new();
    for n in 0..DATABASES {
        databases.push(open(&format!("db-{n}")).await);
    }
    let write_all = |phase| {
        let writes = databases.iter().map(|db| write(db.clone(), phase, WRITES));
        futures_util::future::join_all(writes.collect::<Vec<_>>())
    };
    write_all("first").await;
    converge(&databases, DATABASES * WRITES).await;

    // In the middle of writing.
    let address = one.address;
    let hammer = Hammer::start(address, &token, "hammer").await;
    let writing = tokio::spawn(write_all("second"));
    hammer.warm().await;
    one.kill();
    let acknowledged = hammer.finish().await;
    writing.await.unwrap();
    assert!(acknowledged.len() >= Hammer::ENOUGH);
    converge(&databases, 2 * DATABASES * WRITES).await;
    are_stored(&two, &acknowledged).await;

    let one = Node::start(&stores, &place, "one");
    balancer.replace(address, one.address);
    write_all("third").await;
    converge(&databases, 3 * DATABASES * WRITES).await;
    for db in databases {
        assert!(db.close().await.unwrap().unpushed.is_empty());
    }
    // Both end. What they were told is in the stores.
    two.kill();
    assert_eq!(one.process.terminate(), 0);
    let (old, again) = (one.address, Node::start(&stores, &place, "three"));
    balancer.replace(old, again.address);
    let late = open("late").await;
    converge(&[late], 3 * DATABASES * WRITES).await;
}

async fn are_stored(node: &Node, acknowledged: &[Cid]) {
    let caller = Caller::open(node.address, &node.token()).await;
    let stored = caller.bind().await;
    let stored: Vec<Cid> = stored.metas.iter().map(|entry| entry.cid).collect();
    for cid in acknowledged {
        assert!(stored.contains(cid), "an acknowledged meta is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_what_it_acknowledged() {
    let place = Place::new();
    let mut acknowledged = Vec::new();
    for round in ["first", "second", "third"] {
        let node = Node::alone(&place, "data");
        are_stored(&node, &acknowledged).await;
        let hammer = Hammer::start(node.address, &node.token(), round).await;
        hammer.warm().await;
        node.kill();
        let more = hammer.finish().await;
        assert!(more.len() >= Hammer::ENOUGH);
        acknowledged.extend(more);
    }
    are_stored(&Node::alone(&place, "data"), &acknowledged).await;
}

/// Puts metas as fast as it can and remembers which were acknowledged.
struct Hammer {
    count: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<Cid>>,
}

impl Hammer {
    const ENOUGH: usize = 20;

    async fn start(address: SocketAddr, token: &str, name: &'static str) -> Self {
        let mut caller = Caller::open(address, token).await;
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                // Its CAR is nowhere, so it replaces none.
                let car = format!("{name} {}", acknowledged.len());
                let car = Cid::of(Codec::Car, car.as_bytes());
                let entry = MetaEntry::new(&MetaEvent {
                    cars: vec![car],
                    parents: Vec::new(),
                });
                let cid = entry.cid;
                if !caller.put(entry).await {
                    return acknowledged;
                }
                acknowledged.push(cid);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { count, task }
    }

    /// Until some have been acknowledged.
    async fn warm(&self) {
        let enough = async {
            while self.count.load(Ordering::Relaxed) < Self::ENOUGH {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.unwrap();
    }

    /// What was acknowledged before the node ended.
    async fn finish(self) -> Vec<Cid> {
        self.task.await.unwrap()
    }
}

/// A client by HTTP alone.
struct Caller {
    http: reqwest::Client,
    url: String,
    token: String,
    conn: Conn,
}

impl Caller {
    async fn open(address: SocketAddr, token: &str) -> Self {
        let mut caller = Self {
            http: reqwest::Client::new(),
            url: format!("http://{address}/fp"),
            token: token.to_owned(),
            conn: Conn {
                req_id: "caller".into(),
                res_id: String::new(),
            },
        };
        let conn = OpenConn {
            req_id: "caller".into(),
            res_id: None,
        };
        match caller.ask(Body::ReqOpen { conn }).await {
            Some(Body::ResOpen { conn }) => caller.conn = conn,
            other => panic!("{other:?}"),
        }
        caller
    }

    /// Nothing if nobody answers.
    async fn ask(&self, body: Body) -> Option<Body> {
        let message = Message::new("tid", Auth::token(&self.token), body);
        let request = self.http.put(&self.url).body(message.encode());
        let answer = request.send().await.ok()?.bytes().await.ok()?;
        Some(Message::parse(&answer).unwrap().body)
    }

    fn scope(&self, method: Verb) -> Scope {
        Scope {
            conn: self.conn.clone(),
            tenant: Some(TenantLedger::new("default", HAMMERED)),
            method: MethodParam {
                method,
                store: Store::Meta,
            },
            url: UrlParam {
                key: META_KEY.into(),
                ..UrlParam::default()
            },
        }
    }

    /// Whether it was acknowledged.
    async fn put(&mut self, entry: MetaEntry) -> bool {
        let put = Body::ReqPutMeta {
            scope: self.scope(Verb::Put),
            meta: MetaSet {
                metas: vec![entry],
                keys: Vec::new(),
            },
        };
        matches!(self.ask(put).await, Some(Body::ResPutMeta { .. }))
    }

    async fn bind(&self) -> MetaSet {
        let scope = self.scope(Verb::Get);
        match self.ask(Body::BindGetMeta { scope }).await {
            Some(Body::EventGetMeta { meta, .. }) => meta,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn stores_are_checked() {
    let (mut stores, place) = (Stores::start(), Place::new());
    let check = |stores: &Stores, more: &[&str]| {
        let more = [&["--check-config"], more].concat();
        let output = stores.serve(&place, "data", &more).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap();
        (code, text(&output.stdout), text(&output.stderr))
    };
    let (code, _, stderr) = check(&stores, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!place.path("data").exists());
    let schema = stores.postgres.query("SELECT to_regnamespace('firebrick')");
    assert_eq!(schema, "", "nothing is made");

    for (setting, url, why) in [
        ("--metas", "postgres://user:sesame@127.0.0.1:1/x", "refused"),
        (
            "--metas",
            "postgres://user:sesame@127.0.0.1/x?colour=red",
            "colour",
        ),
        ("--metas", "mysql://user:sesame@127.0.0.1/x", "postgres://"),
        ("--objects", "s3://other-bucket", "NoSuchBucket"),
        (
            "--objects",
            "s3://cars?secret_access_key=sesame",
            "SignatureDoesNotMatch",
        ),
        ("--objects", "http://user:sesame@cars", "s3://"),
    ] {
        let (code, stdout, stderr) = check(&stores, &[setting, url]);
        assert_ne!(code, 0, "{url}");
        assert!(stderr.contains(why), "{url}: {stderr}");
        assert!(!format!("{stdout}{stderr}").contains("sesame"), "{stderr}");
    }
    stores.s3.stop();
    let (code, _, stderr) = check(&stores, &[]);
    assert!(code == 6 && stderr.contains("s3://cars"), "{code} {stderr}");
    stores.postgres.stop();
    let (code, _, stderr) = check(&stores, &[]);
    assert!(
        code == 6 && stderr.contains("postgresql://"),
        "{code} {stderr}"
    );
    // Nor does the help show what the environment has.
    let mut help = stores.serve(&place, "data", &["--help"]);
    help.env("FIREBRICK_METAS", "postgres://user:sesame@host/x");
    let help = help.output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("FIREBRICK_METAS") && !help.contains("sesame"));
}
