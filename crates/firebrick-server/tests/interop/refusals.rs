//! Clients that are not let in, or not to everything.

use firebrick_core::cloud::{Access, Claims};
use firebrick_server::mint;
use firebrick_server::token::SigningKey;
use serde_json::{Value, json};

use crate::site::{Setup, Site, converge, put};

/// The client hangs where it is refused; its own documents stay usable, and the others do not notice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn bad_and_expired_tokens() {
    let site = Site::new(Setup::WebSockets).await;
    let mut a = site.attached("a");
    put(&mut a, "a", 1);
    a.ask(&json!({"op": "idle"}));
    let claims = Claims::new("x", "x@example.com", "2026-01-01T00:00:00.000Z");
    let claims = claims.grant("tenant", "ledger", Access::Write);
    let own = firebrick_server::signing_key(&site.data()).unwrap();
    let mut old = claims.clone();
    old.exp = Some(1_000_000_000);
    let foreign = SigningKey::generate().unwrap();
    for (name, token) in [
        ("expired", own.sign(&old).unwrap()),
        ("foreign", mint(&foreign, claims, 3600).unwrap()),
    ] {
        let mut client = site.client(name);
        put(&mut client, "mine", 7);
        let mut request = site.attach_request(&token);
        request["withinMs"] = json!(4000);
        assert_eq!(client.ask(&request), false, "{name}");
        put(&mut client, "more", 8);
        converge(&mut [&mut client], &[("mine", 7), ("more", 8)]);
    }
    let mut b = site.attached("b");
    converge(&mut [&mut a, &mut b], &[("a", 1)]);
}

/// Who may only read gets everything and changes nothing for others.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_reader() {
    let site = Site::new(Setup::WebSockets).await;
    let mut a = site.attached("a");
    put(&mut a, "a", 1);
    a.ask(&json!({"op": "idle"}));
    let mut reader = site.client("reader");
    let token = site.token("reader", Access::Read, 3600);
    assert_eq!(reader.ask(&site.attach_request(&token)), Value::Bool(true));
    converge(&mut [&mut reader], &[("a", 1)]);
    put(&mut reader, "mine", 2);
    put(&mut a, "more", 3);
    converge(&mut [&mut reader], &[("a", 1), ("mine", 2), ("more", 3)]);
    let mut b = site.attached("b");
    converge(&mut [&mut a, &mut b], &[("a", 1), ("more", 3)]);
}

/// Beyond what its tenant may store a client keeps what it writes; the others go on. Once there is room, its
/// next session sends all of it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_full_tenant() {
    let site = Site::limited(&json!({})).await;
    let (mut a, mut b) = (site.attached("a"), site.attached("b"));
    put(&mut a, "before", 1);
    converge(&mut [&mut a, &mut b], &[("before", 1)]);
    site.limit(&json!({"storedBytes": 1}));
    put(&mut a, "kept", 2);
    converge(&mut [&mut a], &[("before", 1), ("kept", 2)]);
    let mut late = site.attached("late");
    converge(&mut [&mut b, &mut late], &[("before", 1)]);
    drop(a);

    site.limit(&json!({}));
    let mut a = site.attached("a");
    put(&mut b, "more", 3);
    let all = [("before", 1), ("kept", 2), ("more", 3)];
    converge(&mut [&mut a, &mut b, &mut late], &all);
}

/// Who writes faster than its tenant may is slowed down or refused; its next session sends what was refused.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_rate() {
    let site = Site::limited(&json!({"messagesPerSecond": 3})).await;
    let mut a = site.attached("a");
    let names: Vec<String> = (0..20).map(|n| format!("doc-{n:02}")).collect();
    let all: Vec<(&str, i64)> = names.iter().map(String::as_str).zip(0..).collect();
    for (id, n) in &all {
        put(&mut a, id, *n);
    }
    converge(&mut [&mut a], &all);
    drop(a);
    site.limit(&json!({}));
    let mut a = site.attached("a");
    let mut b = site.attached("b");
    converge(&mut [&mut a, &mut b], &all);
}

/// One client too many is refused, and can work; it gets in once another has left.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn too_many_connections() {
    let site = Site::limited(&json!({"connections": 1})).await;
    let mut a = site.attached("a");
    put(&mut a, "a", 1);
    a.ask(&json!({"op": "idle"}));
    let mut b = site.client("b");
    let mut request = site.attach_request(&site.token("b", Access::Write, 3600));
    request["withinMs"] = json!(4000);
    assert_eq!(b.ask(&request), false);
    put(&mut b, "b", 2);
    converge(&mut [&mut b], &[("b", 2)]);
    drop(b);
    site.leave(a);
    let mut b = site.attached("b");
    converge(&mut [&mut b], &[("a", 1), ("b", 2)]);
}
