//! The admin page in a real browser.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use firebrick::gateway::{CloudGateway, FixedToken};
use firebrick::{Database, Remote};
use firebrick_core::cloud::{Access, Claims};
use serde_json::{Value, json};

use crate::peer::OpenPeer;
use crate::site::{Setup, Site, converge, put};
use crate::team::write;

/// A name that would run if it became markup.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

fn browser(site: &Site) -> OpenPeer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/admin.mjs");
    let mut command = Command::new("node");
    command
        .arg(script)
        .arg(site.http("/admin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    OpenPeer::of(command.spawn().expect("node starts"))
}

fn number(cell: &Value) -> f64 {
    let text = cell.as_str().expect("text").replace(',', "");
    let digits = text.split(' ').next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules and Chromium: cargo xtask test --only interop"]
async fn the_page_shows_what_happens() {
    let site = Site::new(Setup::WebSockets).await;
    let mut js = site.attached("js");
    put(&mut js, "first", 1);
    converge(&mut [&mut js], &[("first", 1)]);
    js.ask(&json!({"op": "idle"}));

    // Whoever may use a server may have any name.
    let claims = Claims::new(HOSTILE, "x@example.com", "2026-01-01T00:00:00Z");
    let token = site.mint(claims.grant(HOSTILE, HOSTILE, Access::Write), 3600);
    let db = Database::memory("hostile").await.unwrap();
    write(&db, "x", 1).await;
    let gateway = CloudGateway::new(site.url(), FixedToken::new(token)).unwrap();
    let attached = db.attach(Remote::gateway(Arc::new(gateway))).unwrap();
    attached.synced().await.unwrap();

    let mut page = browser(&site);
    assert_eq!(page.ask(&json!({"op": "open"})), "Firebrick server");
    let shown = |page: &mut OpenPeer, id: &str| page.ask(&json!({"op": "isShown", "id": id}));
    assert_eq!(shown(&mut page, "shown"), false);
    page.ask(&json!({"op": "enter", "token": "wrong"}));
    page.ask(&json!({"op": "shows", "id": "refused", "text": "not the admin token"}));
    assert_eq!(shown(&mut page, "shown"), false);

    let token = std::fs::read_to_string(site.data().join("admin-token")).unwrap();
    page.ask(&json!({"op": "enter", "token": token.trim()}));
    let row = |page: &mut OpenPeer, table: &str, name: &str, not: &Value| {
        page.ask(&json!({"op": "row", "table": table, "name": name, "not": not}))
    };
    let before = row(&mut page, "ledgers", "tenant/ledger", &Value::Null);
    // Subscribers, metas, CARs.
    assert_eq!(number(&before[1]), 1.0);
    assert!(
        number(&before[2]) >= 1.0 && number(&before[3]) >= 1.0,
        "{before}"
    );
    let client = row(&mut page, "connections", "js", &Value::Null);
    assert_eq!(
        (&client[1], &client[2]),
        (&json!("tenant/ledger"), &json!("WebSocket"))
    );
    let hostile = format!("{HOSTILE}/{HOSTILE}");
    row(&mut page, "ledgers", &hostile, &Value::Null);
    row(&mut page, "connections", HOSTILE, &Value::Null);
    row(&mut page, "tenants", HOSTILE, &Value::Null);

    // It goes on by itself.
    put(&mut js, "second", 2);
    js.ask(&json!({"op": "idle"}));
    let mut after = before.clone();
    while number(&after[3]) <= number(&before[3]) {
        after = row(&mut page, "ledgers", "tenant/ledger", &after);
    }

    page.ask(&json!({"op": "search", "text": "TENANT/led"}));
    page.ask(&json!({"op": "rows", "table": "ledgers", "names": ["tenant/ledger"]}));
    page.ask(&json!({"op": "rows", "table": "connections", "names": ["js"]}));
    page.ask(&json!({"op": "search", "text": ""}));
    page.ask(&json!({"op": "rows", "table": "ledgers", "names": ["tenant/ledger", hostile]}));

    // The token stays until it is forgotten.
    page.ask(&json!({"op": "open"}));
    row(&mut page, "ledgers", "tenant/ledger", &Value::Null);
    if let Ok(folder) = std::env::var("FIREBRICK_SCREENSHOTS") {
        for dark in [false, true] {
            let path = format!("{folder}/admin-{dark}.png");
            page.ask(&json!({"op": "screenshot", "path": path, "dark": dark}));
        }
    }
    page.ask(&json!({"op": "forget"}));
    assert_eq!(shown(&mut page, "shown"), false);
    page.ask(&json!({"op": "open"}));
    assert_eq!(shown(&mut page, "entry"), true);
    assert_eq!(page.ask(&json!({"op": "problems"})), json!([]));
    page.close();
    js.close();
}
