//! Bad input, slow readers, restarts, a database that fails.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::cloud::{Auth, Body, Message, MetaEntry, Operation};
use firebrick_server::Server;
use firebrick_server::cars::{CarStore, CarStoreError, CarUsage, Disk, Object};
use firebrick_server::ids::{LedgerId, ObjectId};
use firebrick_server::metas::{MetaPut, MetaStore, MetaStoreError, MetaUsage, MetaView, Sqlite};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, SinkExt};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{Client, PATIENCE, Place, car, config, connect, key, meta, names};

#[tokio::test]
async fn forged_metas_are_refused_as_a_whole() {
    let place = Place::new().await;
    let (mut a, mut b) = (place.bound("a").await, place.bound("b").await);
    let forged = MetaEntry {
        cid: meta("other").cid,
        ..meta("a1")
    };
    let request = a.put_request(&[meta("a2"), forged], &[key(1)]);
    let (text, named) = a.refused(request).await;
    assert!(text.contains("does not have the name") && !named, "{text}");
    let bad_key = a.put_request(&[meta("a2")], &["zBad0".to_owned().into()]);
    let (text, _) = a.refused(bad_key).await;
    assert!(text.contains("key"), "{text}");
    assert!(b.has_no_event().await);
    let all = b.bind("ten", "led").await;
    assert_eq!((all.metas.len(), all.keys.len()), (0, 0));
}

#[tokio::test]
async fn garbage_is_answered() {
    let place = Place::new().await;
    let mut a = place.bound("a").await;
    for garbage in [
        "",
        "{",
        "[]",
        "\u{0}",
        r#"{"type":"reqOpen"}"#,
        r#"{"type":"nope","tid":"t"}"#,
    ] {
        a.socket.send(Frame::Text(garbage.into())).await.unwrap();
        let Body::Error(error) = a.receive().await.body else {
            panic!("no error");
        };
        assert!(error.conn.is_none() && !error.message.is_empty());
    }
    // Only a bind's error names the connection.
    let text = r#"{"type":"bindGetMeta","tid":"t","conn":{"reqId":"r","resId":"s"}}"#;
    a.socket.send(Frame::Text(text.into())).await.unwrap();
    let message = a.receive().await;
    let Body::Error(error) = message.body else {
        panic!("no error");
    };
    assert_eq!((message.tid.as_str(), error.conn.is_some()), ("t", true));
    // It still works.
    assert!(a.has_no_event().await);
    let http = reqwest::Client::new();
    let response = http.put(place.http("/fp")).body("{").send().await.unwrap();
    assert_eq!(response.status(), 400);
    let answer = Message::parse(&response.bytes().await.unwrap()).unwrap();
    assert!(matches!(answer.body, Body::Error(_)) && answer.auth == Auth::none());
    // Answers and events are no requests, and an unopened connection is none.
    let answer = Body::ResOpen {
        conn: a.conn.clone(),
    };
    a.refused(answer).await;
    a.conn.res_id = "unknown".into();
    let (text, _) = a.refused(a.bind_request("ten", "led")).await;
    assert!(text.contains("missing connection"), "{text}");
}

#[tokio::test]
async fn long_messages_end_their_connection_only() {
    let place = Place::with(|config| config.limits.message = 10_000).await;
    let (mut a, mut b) = (place.bound("a").await, place.bound("b").await);
    a.socket
        .send(Frame::Binary(vec![b' '; 10_001].into()))
        .await
        .unwrap();
    a.closed().await;
    b.publish(&["b1"], &[key(1)]).await;
    let http = reqwest::Client::new();
    let long = " ".repeat(10_001);
    let response = http.put(place.http("/fp")).body(long).send().await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn what_a_client_can_hold_is_bounded() {
    let place = Place::with(|config| {
        config.limits.names_per_socket = 2;
        config.limits.polling = 1;
        config.limits.metas_per_ledger.entries = 1;
    })
    .await;
    let mut a = place.bound("a").await;
    let open = |req_id: &str| Body::ReqOpen {
        conn: firebrick_core::cloud::OpenConn {
            req_id: req_id.into(),
            res_id: None,
        },
    };
    assert!(matches!(a.ask(open("second")).await, Body::ResOpen { .. }));
    let (text, _) = a.refused(open("third")).await;
    assert!(text.contains("too many connections"), "{text}");
    let mut opened = 0;
    for _ in 0..3 {
        let message = Message::new("t", Auth::token(place.writer("p")), open("p"));
        let request = reqwest::Client::new().put(place.http("/fp"));
        let response = request.body(message.encode()).send().await.unwrap();
        opened += u32::from(response.status() == 200);
    }
    assert_eq!(opened, 1);
    a.publish(&["a1"], &[]).await;
    let mut b = place.bound("b").await;
    let (text, _) = b.refused(b.put_request(&[meta("b1")], &[])).await;
    assert!(text.contains("more metas or keys"), "{text}");
}

/// Whoever does not read is disconnected, holds up nobody, and gets all of it when it comes back.
#[tokio::test]
async fn a_slow_reader_is_disconnected() {
    let place = Place::with(|config| {
        config.limits.queue_messages = 4;
        config.limits.queue_bytes = 100_000;
    })
    .await;
    let slow = place.bound("slow").await;
    let (mut quick, mut writer) = (place.bound("quick").await, place.bound("w").await);
    // Metas with so many parents that the network's own buffers are full soon.
    let parents: Vec<_> = (0..2_000u32)
        .map(|n| firebrick_core::Cid::of(firebrick_core::cid::Codec::DagCbor, &n.to_le_bytes()))
        .collect();
    let mut last = None;
    for n in 0..2000 {
        let entry = MetaEntry::new(&firebrick_core::meta::MetaEvent {
            cars: vec![car("there"), car(&n.to_string())],
            parents: parents.clone(),
        });
        let request = writer.put_request(std::slice::from_ref(&entry), &[]);
        assert!(matches!(writer.ask(request).await, Body::ResPutMeta { .. }));
        assert_eq!(quick.event().await.metas, std::slice::from_ref(&entry));
        last = Some(entry);
        if !place.server.is_connected(&slow.conn) {
            break;
        }
    }
    assert!(!place.server.is_connected(&slow.conn));
    let mut back = Client::open_as(
        place.address(),
        &slow.token,
        &slow.conn.req_id,
        Some(&slow.conn.res_id),
    )
    .await;
    let all = back.bind("ten", "led").await;
    assert!(all.metas.contains(&last.unwrap()));
    drop(slow);
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let place = Place::new().await;
    let mut a = place.bound("a").await;
    a.publish(&["a1"], &[key(1)]).await;
    let get = a.url(Operation::Get, "a1").await;
    let place = place.restart().await;
    // It said good-bye.
    assert_eq!(a.closed().await, Some(1001));
    let response = reqwest::get(&get).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "a1");
    // The token of before, the connection of before.
    let (req_id, res_id) = (a.conn.req_id.clone(), a.conn.res_id.clone());
    let mut again = Client::open_as(place.address(), &a.token, &req_id, Some(&res_id)).await;
    assert_eq!(again.conn, a.conn);
    let all = again.bind("ten", "led").await;
    assert_eq!(
        (names(&all, &["a1"]), all.keys),
        (vec!["a1".into()], vec![key(1)])
    );
    again.publish(&["a2"], &[key(1)]).await;
    let mut b = place.client("b").await;
    assert_eq!(names(&b.bind("ten", "led").await, &["a2"]), ["a2"]);
}

/// A database that fails now and then.
#[derive(Debug)]
struct Flaky {
    inner: Sqlite,
    broken: Arc<AtomicBool>,
}

impl Flaky {
    fn state(&self) -> Result<(), MetaStoreError> {
        if self.broken.load(Ordering::SeqCst) {
            let cause = "the disk is full".into();
            return Err(MetaStoreError::Unavailable { cause });
        }
        Ok(())
    }
}

impl MetaStore for Flaky {
    fn put(
        &self,
        ledger: LedgerId,
        put: MetaPut,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        async move {
            self.state()?;
            self.inner.put(ledger, put).await
        }
        .boxed()
    }

    fn after(
        &self,
        ledger: LedgerId,
        position: i64,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        async move {
            self.state()?;
            self.inner.after(ledger, position).await
        }
        .boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, MetaUsage>, MetaStoreError>> {
        self.inner.usage()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MetaStoreError>> {
        async move {
            self.state()?;
            self.inner.check().await
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_lost_database_is_an_error_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(false));
    let flaky = |inner| Flaky {
        inner,
        broken: broken.clone(),
    };
    let place = Place::over(|metas, cars| (flaky(metas), cars)).await;
    let (mut a, mut b) = (place.bound("a").await, place.bound("b").await);
    a.publish(&["a1"], &[key(1)]).await;
    b.event().await;
    broken.store(true, Ordering::SeqCst);
    let (text, named) = a.refused(a.put_request(&[meta("a2")], &[])).await;
    assert!(
        text.contains("try again") && !text.contains("full") && !named,
        "{text}"
    );
    let (_, named) = b.refused(b.bind_request("ten", "led")).await;
    assert!(named);
    let ready = reqwest::get(place.http("/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(
        reqwest::get(place.http("/healthz")).await.unwrap().status(),
        200
    );
    broken.store(false, Ordering::SeqCst);
    assert_eq!(
        reqwest::get(place.http("/readyz")).await.unwrap().status(),
        200
    );
    a.publish(&["c1"], &[key(1)]).await;
    assert_eq!(names(&b.event().await, &["c1"]), ["c1"]);
}

/// A disk that is full now and then.
#[derive(Debug)]
struct Narrow {
    inner: Disk,
    full: Arc<AtomicBool>,
}

impl CarStore for Narrow {
    fn put(
        &self,
        object: ObjectId,
        body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> BoxFuture<'_, Result<(), CarStoreError>> {
        if self.full.load(Ordering::SeqCst) {
            let error = CarStoreError::Io(io::ErrorKind::StorageFull.into());
            return async { Err(error) }.boxed();
        }
        self.inner.put(object, body, limit)
    }

    fn get(&self, object: ObjectId) -> BoxFuture<'_, Result<Option<Object>, CarStoreError>> {
        self.inner.get(object)
    }

    fn contains(&self, object: ObjectId) -> BoxFuture<'_, Result<bool, CarStoreError>> {
        self.inner.contains(object)
    }

    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, CarUsage>, CarStoreError>> {
        self.inner.usage()
    }

    fn delete(&self, object: ObjectId) -> BoxFuture<'_, Result<(), CarStoreError>> {
        self.inner.delete(object)
    }
}

/// A full disk is named to whoever uploads; what is there stays, and later there is room again.
#[tokio::test]
async fn a_full_disk_is_an_error_and_has_room_again() {
    let full = Arc::new(AtomicBool::new(false));
    let narrow = |inner| Narrow {
        inner,
        full: full.clone(),
    };
    let place = Place::over(|metas, cars| (metas, narrow(cars))).await;
    let (mut a, mut b) = (place.bound("a").await, place.bound("b").await);
    a.publish(&["a1"], &[key(1)]).await;
    b.event().await;
    full.store(true, Ordering::SeqCst);
    let put = a.url(Operation::Put, "a2").await;
    let http = reqwest::Client::new();
    let refused = http.put(&put).body("a2").send().await.unwrap();
    assert_eq!(refused.status(), 507);
    // A meta whose CAR is not there replaces nothing.
    let request = a.put_request(&[meta("a2")], &[]);
    assert!(matches!(a.ask(request).await, Body::ResPutMeta { .. }));
    assert_eq!(names(&b.event().await, &["a2"]), ["a2"]);
    let all = b.bind("ten", "led").await;
    assert_eq!(names(&all, &["a1", "a2"]), ["a1", "a2"]);
    let got = reqwest::get(a.url(Operation::Get, "a1").await)
        .await
        .unwrap();
    assert_eq!(got.text().await.unwrap(), "a1");
    full.store(false, Ordering::SeqCst);
    let stored = http.put(&put).body("a2").send().await.unwrap();
    assert_eq!(stored.status(), 200);
}

#[tokio::test]
async fn browsers_may_use_everything() {
    let place = Place::new().await;
    for path in ["/fp", "/store/a/b/c/d", "/whatever"] {
        let url = place.http(path);
        let request = reqwest::Client::new().request(reqwest::Method::OPTIONS, url);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "*");
        assert!(header("access-control-allow-methods").contains("PUT"));
        assert!(header("access-control-allow-headers").contains("Content-Type"));
    }
    let missing = reqwest::get(place.http("/whatever")).await.unwrap();
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.headers()["access-control-allow-origin"], "*");
}

/// Silence is broken by pings; a client that does not answer them is gone after a while.
#[tokio::test]
async fn dead_clients_are_forgotten() {
    let place = Place::with(|config| config.limits.ping = Duration::from_millis(100)).await;
    let a = place.bound("a").await;
    // It never reads again, so it never answers a ping.
    let gone = async {
        while place.server.is_connected(&a.conn) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

/// Connecting is open to all; staying is for those with a token.
#[tokio::test]
async fn who_opens_nothing_does_not_stay() {
    let place = Place::with(|config| config.limits.transfer = Duration::from_millis(500)).await;
    let mut stranger = place.client("a").await;
    stranger.socket = connect(place.address()).await;
    assert_eq!(stranger.closed().await, Some(1008));
    // Not even with bad requests, one after the other.
    stranger.socket = connect(place.address()).await;
    let end = async {
        while stranger.socket.send(Frame::Text("{".into())).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
}

/// Without a good-bye everything ends all the same, and the place is free.
#[tokio::test]
async fn a_dropped_server_ends() {
    let place = Place::new().await;
    let mut a = place.bound("a").await;
    let Place { dir, server } = place;
    let mut config = config(&dir);
    config.listen = server.local_addr();
    drop(server);
    assert_eq!(a.closed().await, Some(1001));
    let again = async {
        loop {
            match Server::start(config.clone()).await {
                Ok(server) => break server,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let server = tokio::time::timeout(PATIENCE, again).await.unwrap();
    server.shutdown().await;
}
