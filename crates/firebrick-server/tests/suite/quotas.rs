//! What tenants may use.

use std::path::PathBuf;

use firebrick_core::cloud::{Access, Auth, Body, Message, OpenConn, Operation, Store};
use firebrick_server::TenantLimits;
use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Place, car, meta, scope};

/// A server that reads limits from a file.
async fn place(tenants: &Value) -> Place {
    Place::with(|config| {
        let path = config.data.with_file_name("tenants.json");
        std::fs::write(&path, tenants.to_string()).unwrap();
        config.tenants_file = Some(path);
    })
    .await
}

fn file(place: &Place) -> PathBuf {
    place.dir.path().join("tenants.json")
}

fn change(place: &Place, tenants: &Value) {
    std::fs::write(file(place), tenants.to_string()).unwrap();
    place.server.reload().unwrap();
}

/// The reason and the text of a refusal.
async fn refused(client: &mut Client, body: Body) -> (String, String) {
    match client.ask(body).await {
        Body::Error(error) => {
            assert!(error.conn.is_none());
            (error.reason.unwrap(), error.message)
        }
        other => panic!("{other:?}"),
    }
}

async fn put(url: &str, bytes: &'static str) -> u16 {
    let request = reqwest::Client::new().put(url).body(bytes);
    request.send().await.unwrap().status().as_u16()
}

fn open(req_id: &str) -> Body {
    Body::ReqOpen {
        conn: OpenConn {
            req_id: req_id.into(),
            res_id: None,
        },
    }
}

#[tokio::test]
async fn connections() {
    let place = place(&json!({"tenants": {"ten": {"connections": 2}}})).await;
    let mut a = place.bound("a").await;
    let b = place.bound("b").await;
    let (reason, text) = refused(&mut a, open("third")).await;
    assert_eq!(reason, "quota");
    assert!(text.contains("\"ten\"") || text.contains("ten"), "{text}");
    let message = Message::new("t", Auth::token(place.writer("p")), open("p"));
    let request = reqwest::Client::new()
        .put(place.http("/fp"))
        .body(message.encode());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["reason"], "quota");
    // The same one again is no more than there was, and other tenants have their own.
    let again = Body::ReqOpen {
        conn: OpenConn {
            req_id: a.conn.req_id.clone(),
            res_id: Some(a.conn.res_id.clone()),
        },
    };
    assert!(matches!(a.ask(again).await, Body::ResOpen { .. }));
    let other = place.token("o", &[("other", "led", Access::Write)]);
    Client::open(place.address(), &other)
        .await
        .bind("other", "led")
        .await;
    // Whoever goes makes room.
    drop(b);
    let opened = async {
        while !matches!(a.ask(open("third")).await, Body::ResOpen { .. }) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.unwrap();
}

#[tokio::test]
async fn bytes() {
    let place = place(&json!({"all": {"storedBytes": 10}})).await;
    let mut a = place.bound("a").await;
    let mut url = async |operation, name| a.url(operation, name).await;
    let (x, y, z) = (
        url(Operation::Put, "x").await,
        url(Operation::Put, "y").await,
        url(Operation::Put, "z").await,
    );
    let delete = url(Operation::Delete, "x").await;
    let get = url(Operation::Get, "y").await;
    assert_eq!(put(&x, "12345678").await, 200);
    assert_eq!(put(&y, "123").await, 507);
    assert_eq!(reqwest::get(&get).await.unwrap().status(), 404);
    assert_eq!(put(&y, "12").await, 200);
    // What is there may come again: JavaScript sends it at each attach.
    assert_eq!(put(&x, "12345678").await, 200);
    assert_eq!(put(&z, "1").await, 507);
    let request = a.data_request(Operation::Put, Store::Car, &car("z").to_string());
    let (reason, text) = refused(&mut a, request).await;
    assert_eq!(reason, "quota");
    assert!(text.contains("10 bytes"), "{text}");
    a.url(Operation::Put, "x").await;
    // Reading and publishing go on, and so do other tenants.
    assert_eq!(
        reqwest::get(&get).await.unwrap().text().await.unwrap(),
        "12"
    );
    a.announce(&["x"], &[]).await;
    let other = place.token("o", &[("other", "led", Access::Write)]);
    let mut other = Client::open(place.address(), &other).await;
    let request = Body::ReqData {
        operation: Operation::Put,
        kind: firebrick_core::cloud::DataKind::Data,
        scope: scope(
            &other.conn,
            "other",
            "led",
            firebrick_core::cloud::Verb::Put,
            Store::Car,
            &car("o").to_string(),
        ),
    };
    let Body::ResData { signed_url, .. } = other.ask(request).await else {
        panic!("no URL");
    };
    assert_eq!(put(&signed_url, "1234567890").await, 200);
    // Room is made by deleting, or by whoever runs the server.
    let deleted = reqwest::Client::new().delete(&delete).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    assert_eq!(put(&z, "12345678").await, 200);
    assert_eq!(put(&x, "1").await, 507);
    change(&place, &json!({"tenants": {"ten": {"storedBytes": null}}}));
    assert_eq!(put(&x, "12345678").await, 200);
}

#[tokio::test]
async fn ledgers_and_metas() {
    let place = Place::with(|config| {
        config.tenants = TenantLimits {
            ledgers: Some(1),
            metas: Some(2),
            ..TenantLimits::default()
        };
    })
    .await;
    let both = [("ten", "led", Access::Write), ("ten", "two", Access::Write)];
    let token = place.token("a", &both);
    let mut a = Client::open(place.address(), &token).await;
    a.publish(&["a1"], &[]).await;
    // Reading another one makes nothing.
    a.bind("ten", "two").await;
    let request = Body::ReqPutMeta {
        scope: scope(
            &a.conn,
            "ten",
            "two",
            firebrick_core::cloud::Verb::Put,
            Store::Meta,
            "main",
        ),
        meta: firebrick_core::cloud::MetaSet {
            metas: vec![meta("x")],
            keys: Vec::new(),
        },
    };
    let (reason, text) = refused(&mut a, request).await;
    assert!(reason == "quota" && text.contains("1 ledgers"), "{text}");
    // A writer's metas replace its former ones, so it goes on writing.
    let mut b = place.client("b").await;
    b.publish(&["b1"], &[]).await;
    for name in ["a2", "a3"] {
        a.publish(&[name], &[]).await;
    }
    let mut c = place.client("c").await;
    let request = c.put_request(&[meta("c1")], &[]);
    let (reason, text) = refused(&mut c, request).await;
    assert!(reason == "quota" && text.contains("2 metas"), "{text}");
    assert_eq!(c.bind("ten", "led").await.metas.len(), 2);
}

#[tokio::test]
async fn rates() {
    let place = place(&json!({})).await;
    let mut a = place.bound("a").await;
    let url = a.url(Operation::Put, "x").await;
    change(
        &place,
        &json!({"tenants": {"ten": {"messagesPerSecond": 0}}}),
    );
    let request = a.put_request(&[meta("x")], &[]);
    let (reason, text) = refused(&mut a, request).await;
    assert!(
        reason == "rate" && text.contains("try again later"),
        "{text}"
    );
    let response = reqwest::Client::new()
        .put(&url)
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    let other = place.token("o", &[("other", "led", Access::Write)]);
    Client::open(place.address(), &other)
        .await
        .bind("other", "led")
        .await;
    // More than at once is slowed down, and nothing is refused of what waits a little.
    change(&place, &json!({"all": {"messagesPerSecond": 200}}));
    for _ in 0..250 {
        a.url(Operation::Get, "x").await;
    }
    // A file with a mistake changes nothing.
    std::fs::write(file(&place), "{").unwrap();
    let error = place.server.reload().unwrap_err().to_string();
    assert!(error.contains("tenants.json"), "{error}");
    a.url(Operation::Get, "x").await;
}

/// What is stored is counted at the start.
#[tokio::test]
async fn a_restart_counts_again() {
    let place = Place::new().await;
    let mut a = place.bound("a").await;
    a.publish(&["a1"], &[]).await;
    a.upload("a2", b"four").await;
    let place = place.restart().await;
    let token = std::fs::read_to_string(place.server.admin_token_file().unwrap()).unwrap();
    let wanted = [
        "firebrick_stored_counted 1",
        "firebrick_stored_ledgers 1",
        "firebrick_stored_cars 2",
        "firebrick_stored_bytes 6",
        "firebrick_stored_metas 1",
    ];
    let counted = async {
        loop {
            let request = reqwest::Client::new().get(place.http("/metrics"));
            let page = request.bearer_auth(&token).send().await.unwrap();
            let page = page.text().await.unwrap();
            if wanted
                .iter()
                .all(|line| page.lines().any(|found| found == *line))
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
}
