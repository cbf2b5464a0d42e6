//! Two servers with one database and one object store.

use std::collections::BTreeSet;

use firebrick_core::cloud::{Access, Auth, Body, Message, MetaSet, OpenConn, Operation};
use firebrick_server::StoreUrl;
use firebrick_testbed::{Postgres, S3};
use tokio::time::timeout;

use crate::support::{Client, PATIENCE, Place, key, meta, names};

struct Nodes {
    postgres: Postgres,
    _s3: S3,
    one: Place,
    two: Place,
}

impl Nodes {
    async fn new() -> Self {
        Self::with(true).await
    }

    async fn with(presign: bool) -> Self {
        let (postgres, s3) = (Postgres::start(), S3::start());
        let place = || {
            Place::with(|config| {
                config.metas = Some(StoreUrl::new(postgres.url()));
                config.objects = Some(StoreUrl::new(s3.url()));
                config.presign = presign;
            })
        };
        // At the same time: they make the tables and the keys together.
        let (one, two) = tokio::join!(place(), place());
        Self {
            postgres,
            _s3: s3,
            one,
            two,
        }
    }

    /// A client of the second node. Its token is of the first.
    async fn bound_at_two(&self, user: &str) -> Client {
        let token = self.one.writer(user);
        let mut client = Client::open(self.two.address(), &token).await;
        client.bind("ten", "led").await;
        client
    }
}

#[tokio::test]
async fn metas_cross_once() {
    let nodes = Nodes::new().await;
    let mut a = nodes.one.bound("a").await;
    let mut beside = nodes.one.bound("beside").await;
    let mut b = nodes.bound_at_two("b").await;
    for (n, name) in ["a1", "a2", "a3"].into_iter().enumerate() {
        a.publish(&[name], &[key(n as u8)]).await;
        for other in [&mut b, &mut beside] {
            let event = other.event().await;
            assert_eq!(names(&event, &[name]), [name]);
            assert_eq!(event.keys.len(), n + 1);
        }
    }
    b.publish(&["b1"], &[key(0)]).await;
    for other in [&mut a, &mut beside] {
        assert_eq!(names(&other.event().await, &["b1"]), ["b1"]);
    }
    // A key alone, too.
    b.publish(&["b1"], &[key(9)]).await;
    for other in [&mut a, &mut beside] {
        let event = other.event().await;
        assert!(event.metas.is_empty() && event.keys.contains(&key(9)));
    }
    for client in [&mut a, &mut beside, &mut b] {
        assert!(client.has_no_event().await);
    }
    // Whoever comes to either has all.
    let mut late = nodes.one.client("late").await;
    let all = late.bind("ten", "led").await;
    assert_eq!(names(&all, &["a3", "b1"]), ["a3", "b1"]);
}

/// Everybody writes at once; everybody gets what all others wrote, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_missed_and_none_comes_twice() {
    const WRITERS: usize = 6;
    const PUTS: usize = 20;
    let nodes = Nodes::new().await;
    let mut clients = Vec::new();
    for n in 0..WRITERS {
        let user = format!("u{n}");
        clients.push(match n % 2 {
            0 => nodes.one.bound(&user).await,
            _ => nodes.bound_at_two(&user).await,
        });
    }
    let name = |writer: usize, n: usize| format!("{writer}-{n}");
    let running = clients.into_iter().enumerate().map(|(writer, mut client)| {
        tokio::spawn(async move {
            for n in 0..PUTS {
                // Without its CAR a meta replaces none.
                client.announce(&[&name(writer, n)], &[]).await;
            }
            let mut expected: BTreeSet<_> = (0..WRITERS)
                .filter(|other| *other != writer)
                .flat_map(|other| (0..PUTS).map(move |n| meta(&name(other, n)).cid))
                .collect();
            while !expected.is_empty() {
                for entry in client.event().await.metas {
                    assert!(expected.remove(&entry.cid), "{} came twice", entry.cid);
                }
            }
            assert!(client.has_no_event().await);
        })
    });
    let running: Vec<_> = running.collect();
    for client in running {
        timeout(PATIENCE * 3, client).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_lost_database_is_an_error_until_it_is_back() {
    let mut nodes = Nodes::new().await;
    let mut a = nodes.one.bound("a").await;
    let mut b = nodes.bound_at_two("b").await;
    a.publish(&["a1"], &[key(1)]).await;
    assert_eq!(names(&b.event().await, &["a1"]), ["a1"]);

    nodes.postgres.stop();
    let put = a.put_request(&[meta("lost")], &[]);
    let Body::Error(error) = a.ask(put).await else {
        panic!("stored without a database");
    };
    assert_eq!(error.reason.as_deref(), Some("not-ready"));
    assert_eq!(error.conn, None);
    let Body::Error(error) = b.ask(b.bind_request("ten", "led")).await else {
        panic!("bound without a database");
    };
    assert!(error.conn.is_some());
    let ready = async |place: &Place| reqwest::get(place.http("/readyz")).await.unwrap().status();
    assert_eq!(ready(&nodes.one).await, 503);

    nodes.postgres.resume();
    assert_eq!(ready(&nodes.one).await, 200);
    // At once: the other node may not listen again yet, but it will look.
    a.publish(&["a2"], &[key(1)]).await;
    assert_eq!(names(&b.event().await, &["a2"]), ["a2"]);
    b.publish(&["b1"], &[key(1)]).await;
    assert_eq!(names(&a.event().await, &["b1"]), ["b1"]);
    assert!(a.has_no_event().await && b.has_no_event().await);
    let mut late = nodes.two.client("late").await;
    let all = late.bind("ten", "led").await;
    assert_eq!(names(&all, &["a2", "b1"]), ["a2", "b1"]);
}

/// The URLs that one signs the other takes.
#[tokio::test]
async fn urls_are_good_at_both() {
    let nodes = Nodes::with(false).await;
    let mut a = nodes.one.client("a").await;
    let elsewhere = |url: String| {
        let (one, two) = (nodes.one.address(), nodes.two.address());
        url.replace(&one.to_string(), &two.to_string())
    };
    let http = reqwest::Client::new();
    let put = elsewhere(a.url(Operation::Put, "a").await);
    let upload = http.put(put).body("bytes").send().await.unwrap();
    assert_eq!(upload.status(), 200);
    let get = a.url(Operation::Get, "a").await;
    for url in [get.clone(), elsewhere(get)] {
        let read = http.get(url).send().await.unwrap();
        assert_eq!(read.text().await.unwrap(), "bytes");
    }
}

/// Requests of one client by turns at the two, as a load balancer sends them.
struct Wanderer<'a> {
    nodes: &'a Nodes,
    client: Client,
    count: usize,
}

impl Wanderer<'_> {
    async fn ask(&mut self, tid: &str, body: Body) -> Body {
        self.count += 1;
        let place = [&self.nodes.one, &self.nodes.two][self.count % 2];
        let message = Message::new(tid, Auth::token(&self.client.token), body);
        let request = reqwest::Client::new().put(place.http("/fp"));
        let answer = request.body(message.encode()).send().await.unwrap();
        Message::parse(&answer.bytes().await.unwrap()).unwrap().body
    }

    /// Asks again with the same transaction.
    async fn poll(&mut self) -> MetaSet {
        match self
            .ask("poll", self.client.bind_request("ten", "led"))
            .await
        {
            Body::EventGetMeta { meta, .. } => meta,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn without_a_websocket_every_node_will_do() {
    let nodes = Nodes::new().await;
    let mut writer = nodes.bound_at_two("writer").await;
    let mut wanderer = Wanderer {
        nodes: &nodes,
        client: nodes.one.client("w").await,
        count: 0,
    };
    let conn = OpenConn {
        req_id: "wanderer".into(),
        res_id: None,
    };
    let Body::ResOpen { conn } = wanderer.ask("open", Body::ReqOpen { conn }).await else {
        panic!("not opened");
    };
    wanderer.client.conn = conn;
    assert!(wanderer.poll().await.metas.is_empty());
    for name in ["1", "2", "3", "4", "5"] {
        writer.publish(&[name], &[key(1)]).await;
        // The next poll has it, wherever it ends up. What one node has sent the other may send again.
        assert!(wanderer.poll().await.metas.contains(&meta(name)));
    }
    wanderer.poll().await;
    assert!(wanderer.poll().await.metas.is_empty());
    // Its own metas replace each other, wherever they were put.
    for name in ["w1", "w2", "w3"] {
        writer.upload(name, b"x").await;
        let put = wanderer.client.put_request(&[meta(name)], &[]);
        let answer = wanderer.ask("put", put).await;
        assert!(matches!(answer, Body::ResPutMeta { .. }), "{answer:?}");
        assert_eq!(names(&writer.event().await, &[name]), [name]);
    }
    let mut late = nodes.one.client("late").await;
    let all = late.bind("ten", "led").await;
    assert_eq!(names(&all, &["5", "w3"]), ["5", "w3"]);
    // Somebody else does not get in under its name.
    wanderer.client.token = nodes.one.token("other", &[("ten", "led", Access::Write)]);
    for _ in 0..2 {
        let bind = wanderer.client.bind_request("ten", "led");
        let Body::Error(error) = wanderer.ask("poll", bind).await else {
            panic!("let in");
        };
        assert!(error.message.contains("missing connection"), "{error:?}");
    }
}

/// A data directory whose key is another one does not fit to the others.
#[tokio::test]
async fn nodes_have_one_key() {
    let postgres = Postgres::start();
    let alone = Place::new().await;
    let token = alone.writer("a");
    // Its key becomes that of all.
    alone.server.shutdown().await;
    let mut config = crate::support::config(&alone.dir);
    config.metas = Some(StoreUrl::new(postgres.url()));
    let first = firebrick_server::Server::start(config).await.unwrap();
    let url = || Some(StoreUrl::new(postgres.url()));
    let second = Place::with(|config| config.metas = url()).await;
    Client::open(first.local_addr(), &token).await;
    Client::open(second.address(), &token).await;
    // A copy for who mints tokens.
    let own = |place: &Place| {
        let key = firebrick_server::signing_key(&place.dir.path().join("data"));
        key.unwrap().public_jwk()
    };
    let third = Place::new().await;
    let key_of_third = own(&third);
    third.server.shutdown().await;
    assert_eq!(own(&second), {
        let key = firebrick_server::signing_key(&alone.dir.path().join("data"));
        key.unwrap().public_jwk()
    });
    let mut config = crate::support::config(&third.dir);
    config.metas = url();
    let error = firebrick_server::Server::start(config).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("token-key.json") && text.contains("move the file away"),
        "{text}"
    );
    let kept = firebrick_server::signing_key(&third.dir.path().join("data"));
    assert_eq!(kept.unwrap().public_jwk(), key_of_third);
}
