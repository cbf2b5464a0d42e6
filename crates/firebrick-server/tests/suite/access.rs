//! Who may do what.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use firebrick_core::cloud::{
    Access, Auth, Body, Gestalt, META_KEY, Message, Operation, Store, Verb,
};
use firebrick_server::token::SigningKey;
use firebrick_server::{Config, KeySource, Server, ServerError, mint};

use crate::support::{Client, Place, car, claims, config, key, meta, scope};

async fn gestalt(place: &Place, token: &str) -> (u16, Body) {
    let body = Body::ReqGestalt {
        gestalt: Gestalt::default(),
        publish: None,
    };
    let message = Message::new("t", Auth::token(token), body);
    let request = reqwest::Client::new().put(place.http("/fp"));
    let response = request.body(message.encode()).send().await.unwrap();
    let status = response.status().as_u16();
    let answer = Message::parse(&response.bytes().await.unwrap()).unwrap();
    (status, answer.body)
}

#[tokio::test]
async fn only_good_tokens_are_taken() {
    let place = Place::new().await;
    let good = place.writer("a");
    let (status, body) = gestalt(&place, &good).await;
    let Body::ResGestalt { gestalt: found } = body else {
        panic!("{body:?}");
    };
    assert_eq!((status, found.ws_endpoints), (200, vec!["/ws".to_owned()]));
    let mine = claims("a", &[("ten", "led", Access::Write)]);
    let other = SigningKey::generate().unwrap();
    let foreign = mint(&other, mine.clone(), 3600).unwrap();
    let mut old = mine.clone();
    old.exp = Some(1000);
    let mut early = mine.clone();
    early.exp = Some(u64::MAX);
    early.nbf = Some(u64::MAX / 2);
    let own = firebrick_server::signing_key(&place.dir.path().join("data")).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let none = BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#);
    let changed = BASE64URL_NOPAD.encode(&serde_json::to_vec(&old).unwrap());
    for (token, expected) in [
        (foreign.as_str(), "signature verification failed"),
        (&own.sign(&old).unwrap(), "\"exp\" claim"),
        (&own.sign(&mine).unwrap(), "\"exp\" claim"),
        (&own.sign(&early).unwrap(), "\"nbf\" claim"),
        ("", "not a JWT"),
        ("a.b.c", "not a JWT"),
        (&format!("{none}.{}.", parts[1]), "not a JWT"),
        (
            &format!("{}.{changed}.{}", parts[0], parts[2]),
            "signature verification failed",
        ),
    ] {
        let (status, body) = gestalt(&place, token).await;
        let Body::Error(error) = body else {
            panic!("{body:?}");
        };
        assert_eq!((status, error.conn), (500, None));
        assert!(
            error.message.contains(expected),
            "{}: {token}",
            error.message
        );
    }
    // Milliseconds are far in the future.
    let mut long = mine;
    long.exp = Some(1_795_358_716_000);
    assert_eq!(gestalt(&place, &own.sign(&long).unwrap()).await.0, 200);
}

#[tokio::test]
async fn issuer_and_audience() {
    let place = Place::with(|config| {
        config.issuer = Some("FP_CLOUD".into());
        config.audience = Some("PUBLIC".into());
    })
    .await;
    assert_eq!(gestalt(&place, &place.writer("a")).await.0, 200);
    let mut other = claims("a", &[("ten", "led", Access::Write)]);
    other.iss = Some("else".into());
    let token = place.server.mint(other.clone(), 60).unwrap();
    assert_eq!(gestalt(&place, &token).await.0, 500);
    other.iss = None;
    other.aud = Some(firebrick_core::cloud::Audience::Many(vec!["x".into()]));
    let token = place.server.mint(other, 60).unwrap();
    assert_eq!(gestalt(&place, &token).await.0, 500);
}

/// Keys from elsewhere: then the server cannot make tokens itself.
#[tokio::test]
async fn keys_from_outside() {
    let signing = SigningKey::generate().unwrap();
    let jwks = format!(r#"{{"keys":[{}]}}"#, signing.public_jwk());
    let router = axum::Router::new().route(
        "/.well-known/jwks.json",
        axum::routing::get(async move || jwks.clone()),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/.well-known/jwks.json",
        listener.local_addr().unwrap()
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mine = || claims("a", &[("ten", "led", Access::Write)]);
    let text = signing.public_jwk();
    let from_text = |config: &mut Config| {
        let place = "the test".into();
        config.keys = vec![KeySource { place, text }];
    };
    let from_url = |config: &mut Config| config.jwks_url = Some(url);
    for place in [Place::with(from_text).await, Place::with(from_url).await] {
        let token = mint(&signing, mine(), 3600).unwrap();
        assert_eq!(gestalt(&place, &token).await.0, 200);
        let other = mint(&SigningKey::generate().unwrap(), mine(), 3600).unwrap();
        assert_eq!(gestalt(&place, &other).await.0, 500);
        let refused = place.server.mint(mine(), 3600);
        assert!(matches!(refused, Err(ServerError::NoSigningKey)));
    }
}

/// The issuer changes its key: tokens of the new one are let in at once, those of the old one no more.
#[tokio::test]
async fn keys_change_at_their_url() {
    let (old, new) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let set = |key: &SigningKey| format!(r#"{{"keys":[{}]}}"#, key.public_jwk());
    let keys = Arc::new(Mutex::new(set(&old)));
    let served = keys.clone();
    let router = axum::Router::new().route(
        "/jwks",
        axum::routing::get(async move || served.lock().unwrap().clone()),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let place = Place::with(|config| {
        config.jwks_url = Some(url);
        config.limits.keys_pause = Duration::ZERO;
    })
    .await;
    let token = |key: &SigningKey| {
        let claims = claims("a", &[("ten", "led", Access::Write)]);
        mint(key, claims, 3600).unwrap()
    };
    let (of_old, of_new) = (token(&old), token(&new));
    assert_eq!(gestalt(&place, &of_old).await.0, 200);
    assert_eq!(gestalt(&place, &of_new).await.0, 500);
    *keys.lock().unwrap() = set(&new);
    assert_eq!(gestalt(&place, &of_new).await.0, 200);
    assert_eq!(gestalt(&place, &of_old).await.0, 500);
    // Nothing that can be read at the URL: the keys of before are good.
    *keys.lock().unwrap() = "gone".into();
    assert_eq!(gestalt(&place, &of_old).await.0, 500);
    assert_eq!(gestalt(&place, &of_new).await.0, 200);
}

/// Each refusal says why, leaves the connection usable, and names it only where a bind was refused.
#[tokio::test]
async fn rights_are_checked_on_every_message() {
    let place = Place::new().await;
    let token = place.token(
        "r",
        &[("ten", "led", Access::Read), ("other", "x", Access::Write)],
    );
    let mut reader = Client::open(place.address(), &token).await;
    reader.bind("ten", "led").await;
    let put = reader.put_request(&[meta("a1")], &[key(1)]);
    let (text, named) = reader.refused(put).await;
    assert!(text.contains("no write access to ledger"), "{text}");
    assert!(!named);
    let cid = car("a1").to_string();
    reader.url(Operation::Get, "a1").await;
    for operation in [Operation::Put, Operation::Delete] {
        let request = reader.data_request(operation, Store::Car, &cid);
        let (text, named) = reader.refused(request).await;
        assert!(text.contains("no write access") && !named, "{text}");
    }
    for (tenant, ledger, expected) in [
        ("ten", "none", "no access to ledger"),
        ("none", "led", "no access to tenant"),
        ("ten", "../led", "no access to ledger"),
    ] {
        let (text, named) = reader.refused(reader.bind_request(tenant, ledger)).await;
        assert!(text.contains(expected), "{text}");
        assert!(named);
    }
    // A right to write one thing is none to write another.
    let mut other = reader.put_request(&[meta("a1")], &[]);
    if let Body::ReqPutMeta { scope, .. } = &mut other {
        scope.tenant = None;
    }
    let (text, _) = reader.refused(other).await;
    assert!(text.contains("no write access"), "{text}");
    // An expired token is refused in the middle of a session, and a new one is taken.
    let good = std::mem::replace(&mut reader.token, "a.b.c".into());
    let (text, named) = reader.refused(reader.bind_request("ten", "led")).await;
    assert!(text.contains("token rejected") && named, "{text}");
    reader.token = good;
    assert!(reader.bind("ten", "led").await.metas.is_empty());
}

/// A type and a method that do not fit each other do not open a way around a right.
#[tokio::test]
async fn the_method_must_fit_the_type() {
    let place = Place::new().await;
    let mut a = place.bound("a").await;
    let mut request = a.data_request(Operation::Get, Store::Car, &car("x").to_string());
    if let Body::ReqData { scope, .. } = &mut request {
        scope.method.method = Verb::Put;
    }
    let (text, _) = a.refused(request).await;
    assert!(text.contains("methodParam"), "{text}");
    for (method, store, key) in [
        (Verb::Get, Store::Meta, META_KEY),
        (Verb::Put, Store::Car, META_KEY),
        (Verb::Put, Store::Meta, "other"),
    ] {
        let body = Body::ReqPutMeta {
            scope: scope(&a.conn, "ten", "led", method, store, key),
            meta: firebrick_core::cloud::MetaSet::default(),
        };
        a.refused(body).await;
    }
}

#[tokio::test]
async fn what_does_not_start() {
    let place = Place::new().await;
    let mut second = config(&place.dir);
    let locked = Server::start(second.clone()).await.unwrap_err();
    assert!(matches!(locked, ServerError::Locked(_)), "{locked}");
    let dir = tempfile::tempdir().unwrap();
    second = config(&dir);
    Server::check(&second).await.unwrap();
    assert!(!second.data.exists());
    second.listen = place.address();
    assert!(matches!(
        Server::check(&second).await,
        Err(ServerError::Listen { .. })
    ));
    second = config(&dir);
    second.public_url = Some("ftp://x".into());
    assert!(matches!(
        Server::check(&second).await,
        Err(ServerError::Config(_))
    ));
    second = config(&dir);
    second.limits.metas_per_ledger.bytes = 16 << 20;
    let error = Server::check(&second).await.unwrap_err().to_string();
    assert!(error.contains("15728640 bytes"), "{error}");
    second = config(&dir);
    let place = "FILE".to_owned();
    let text = "no key".to_owned();
    second.keys = vec![KeySource { place, text }];
    let error = Server::check(&second).await.unwrap_err().to_string();
    assert!(error.contains("FILE"), "{error}");
    second = config(&dir);
    std::fs::write(dir.path().join("file"), "").unwrap();
    second.data = dir.path().join("file/data");
    assert!(matches!(
        Server::check(&second).await,
        Err(ServerError::Data { .. })
    ));
}
