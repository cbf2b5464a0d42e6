//! What the admin page is told.

use axum::http::StatusCode;
use firebrick_server::AdminToken;
use serde_json::{Value, json};

use crate::support::{Place, key};

const TOKEN: &str = "the-token-of-the-tests";

async fn place() -> Place {
    Place::with(|config| {
        config.admin_token = Some(AdminToken::new(TOKEN).unwrap());
        config.tenants.connections = Some(7);
    })
    .await
}

async fn overview(place: &Place, query: &str) -> Value {
    let url = place.http(&format!("/admin/api/overview{query}"));
    let request = reqwest::Client::new().get(url).bearer_auth(TOKEN);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_overview_says_who_does_what() {
    let place = place().await;
    let mut a = place.bound("ada").await;
    let _b = place.bound("bob").await;
    a.publish(&["a1", "a2"], &[key(1)]).await;
    let seen = overview(&place, "").await;
    assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&seen["draining"], &seen["websockets"]),
        (&json!(false), &json!(2))
    );
    let ledger = &seen["ledgers"]["rows"][0];
    assert_eq!(
        (&ledger["tenant"], &ledger["name"]),
        (&json!("ten"), &json!("led"))
    );
    assert_eq!(
        (&ledger["subscribers"], &ledger["cars"]),
        (&json!(2), &json!(2))
    );
    assert!(ledger["lastWrite"].as_u64().unwrap() > 1_700_000_000);
    let tenant = &seen["tenants"]["rows"][0];
    assert_eq!(
        (&tenant["name"], &tenant["connections"]),
        (&json!("ten"), &json!(2))
    );
    assert_eq!(
        (&tenant["maxConnections"], &tenant["maxBytes"]),
        (&json!(7), &Value::Null)
    );
    // The busiest first.
    let first = &seen["connections"]["rows"][0];
    assert_eq!(
        (&first["user"], &first["websocket"]),
        (&json!("ada"), &json!(true))
    );
    assert_eq!(first["ledgers"], json!(["ten/led"]));

    // Lists are searched and bounded, and say so.
    let seen = overview(&place, "?search=BOB&rows=1").await;
    let users = &seen["connections"];
    assert_eq!(users["rows"][0]["user"], "bob");
    assert_eq!((&users["found"], &users["total"]), (&json!(1), &json!(2)));
    assert_eq!(seen["ledgers"]["rows"], json!([]));
    let seen = overview(&place, "?rows=1").await;
    assert_eq!(seen["connections"]["rows"].as_array().unwrap().len(), 1);
    assert_eq!(seen["connections"]["found"], 2);
}

#[tokio::test]
async fn only_the_page_itself_is_for_everybody() {
    let place = place().await;
    let client = reqwest::Client::new();
    let url = place.http("/admin/api/overview");
    for token in ["", "wrong", "the-token-of-the-test"] {
        let response = client.get(&url).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED.as_u16());
        assert!(!response.text().await.unwrap().contains("tenants"));
    }
    for (path, kind) in [
        ("/admin", "text/html; charset=utf-8"),
        ("/admin/", "text/html; charset=utf-8"),
        ("/admin/page.js", "text/javascript"),
        ("/admin/page.css", "text/css"),
    ] {
        let response = client.get(place.http(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), kind);
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
