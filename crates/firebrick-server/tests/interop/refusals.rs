//! Clients that are not let in, or not to everything.

use firebrick_core::cloud::{Access, Claims};
use firebrick_server::mint;
use firebrick_server::token::SigningKey;
use serde_json::{Value, json};

use crate::site::{Site, converge, put};

/// The client hangs where it is refused; its own documents stay usable, and the others do not notice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn bad_and_expired_tokens() {
    let site = Site::new(true).await;
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
    let site = Site::new(true).await;
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
