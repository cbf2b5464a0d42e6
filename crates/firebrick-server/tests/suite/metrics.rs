//! What Prometheus reads.

use firebrick_core::cloud::{Access, Body, Operation};
use firebrick_server::AdminToken;

use crate::support::{Client, PATIENCE, Place, key, meta};

const TOKEN: &str = "the-token-of-the-tests";

async fn place() -> Place {
    Place::with(|config| {
        config.admin_token = Some(AdminToken::new(TOKEN).unwrap());
        config.limits.ledger_metrics = 1;
    })
    .await
}

async fn page(place: &Place) -> String {
    let request = reqwest::Client::new().get(place.http("/metrics"));
    let response = request.bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    response.text().await.unwrap()
}

/// The number after this.
fn value(page: &str, line: &str) -> f64 {
    let found = page
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    match found {
        Some(number) => number.parse().unwrap(),
        None => panic!("no {line} in\n{page}"),
    }
}

#[tokio::test]
async fn everything_is_counted() {
    let (place, other) = (place().await, place().await);
    let mut a = place.bound("a").await;
    let mut b = place.bound("b").await;
    a.publish(&["a1"], &[key(1)]).await;
    b.event().await;
    let get = b.url(Operation::Get, "a1").await;
    assert_eq!(reqwest::get(get).await.unwrap().text().await.unwrap(), "a1");
    let reader = place.token("r", &[("ten", "led", Access::Read)]);
    let mut reader = Client::open(place.address(), &reader).await;
    reader.refused(reader.put_request(&[meta("x")], &[])).await;
    let bad = reqwest::Client::new().put(place.http("/fp")).body("{");
    assert_eq!(bad.send().await.unwrap().status(), 400);

    // A download is counted when the server is through with it.
    let downloaded = "firebrick_car_seconds_count{operation=\"get\"}";
    let ended = async {
        while value(&page(&place).await, downloaded) < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let text = page(&place).await;
    assert!(text.ends_with("# EOF\n"));
    for (line, expected) in [
        ("firebrick_network_connections{kind=\"websocket\"}", 3.0),
        (
            "firebrick_network_connections_opened_total{kind=\"websocket\"}",
            3.0,
        ),
        (
            "firebrick_network_connections_refused_total{reason=\"limit\"}",
            0.0,
        ),
        (
            "firebrick_protocol_connections{transport=\"websocket\"}",
            3.0,
        ),
        ("firebrick_protocol_connections{transport=\"http\"}", 0.0),
        (
            "firebrick_protocol_connections_opened_total{transport=\"websocket\"}",
            3.0,
        ),
        ("firebrick_rooms", 1.0),
        ("firebrick_outbox_overflows_total", 0.0),
        (
            "firebrick_messages_total{type=\"reqOpen\",outcome=\"done\"}",
            3.0,
        ),
        (
            "firebrick_messages_total{type=\"bindGetMeta\",outcome=\"done\"}",
            2.0,
        ),
        (
            "firebrick_messages_total{type=\"reqPutMeta\",outcome=\"done\"}",
            1.0,
        ),
        (
            "firebrick_messages_total{type=\"reqPutMeta\",outcome=\"denied\"}",
            1.0,
        ),
        (
            "firebrick_messages_total{type=\"other\",outcome=\"garbled\"}",
            1.0,
        ),
        ("firebrick_message_seconds_count{type=\"reqPutMeta\"}", 2.0),
        (
            "firebrick_message_seconds_bucket{le=\"+Inf\",type=\"reqPutMeta\"}",
            2.0,
        ),
        ("firebrick_received_bytes_total{kind=\"car\"}", 2.0),
        ("firebrick_sent_bytes_total{kind=\"car\"}", 2.0),
        ("firebrick_car_seconds_count{operation=\"put\"}", 1.0),
        ("firebrick_car_seconds_count{operation=\"get\"}", 1.0),
        ("firebrick_meta_store_seconds_count{operation=\"put\"}", 1.0),
        (
            "firebrick_meta_store_seconds_count{operation=\"after\"}",
            2.0,
        ),
        ("firebrick_draining", 0.0),
    ] {
        assert_eq!(value(&text, line), expected, "{line}");
    }
    for line in [
        "firebrick_network_connections{kind=\"tcp\"}",
        "firebrick_received_bytes_total{kind=\"message\"}",
        "firebrick_sent_bytes_total{kind=\"message\"}",
        "firebrick_start_time_seconds",
    ] {
        assert!(value(&text, line) > 0.0, "{line}");
    }
    #[cfg(target_os = "linux")]
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    let version = concat!(
        "firebrick_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    );
    assert_eq!(value(&text, version), 1.0);

    drop(a);
    // Another server in this process counts for itself.
    let text = page(&other).await;
    let opened = "firebrick_messages_total{type=\"reqOpen\",outcome=\"done\"}";
    assert_eq!(value(&text, opened), 0.0);
}

/// The busiest ledgers have lines; names of clients do no harm there.
#[tokio::test]
async fn ledgers_are_counted_apart() {
    let place = place().await;
    let odd = "a\"} 1 \u{1F980}";
    let token = place.token(
        "a",
        &[("ten", odd, Access::Write), ("ten", "quiet", Access::Write)],
    );
    let mut a = Client::open(place.address(), &token).await;
    a.bind("ten", odd).await;
    // From here on it is the busiest.
    page(&place).await;
    let before = a.bind("ten", odd).await;
    assert!(before.metas.is_empty());
    a.bind("ten", "quiet").await;
    let text = page(&place).await;
    let line = "firebrick_ledger_events_total{tenant=\"ten\",ledger=\"a\\\"} 1 \u{1F980}\"}";
    assert_eq!(value(&text, line), 1.0);
    assert!(!text.contains("quiet"), "{text}");
    // What was before its line, and what has no line.
    let rest = "firebrick_ledger_events_total{tenant=\"\",ledger=\"\"}";
    assert_eq!(value(&text, rest), 2.0);
    let Body::ResClose { .. } = a
        .ask(Body::ReqClose {
            conn: a.conn.clone(),
        })
        .await
    else {
        panic!("not closed");
    };
}

#[tokio::test]
async fn metrics_need_the_token() {
    let place = place().await;
    let get = || reqwest::Client::new().get(place.http("/metrics"));
    for request in [
        get(),
        get().bearer_auth("the-token-of-the-tester"),
        get().bearer_auth(""),
        get().bearer_auth(place.writer("a")),
        get().basic_auth("admin", Some(TOKEN)),
        reqwest::Client::new().get(place.http(&format!("/metrics?token={TOKEN}"))),
        get().header("Authorization", "Bearer"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(
            response.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
        let text = response.text().await.unwrap();
        assert!(!text.contains("firebrick_"), "{text}");
    }
}

/// Without a setting the server makes a token, for its owner's eyes, and keeps it.
#[tokio::test]
async fn the_token_is_made_once() {
    let place = Place::new().await;
    let path = place.server.admin_token_file().unwrap().to_owned();
    assert_eq!(path, place.dir.path().join("data/admin-token"));
    let token = std::fs::read_to_string(&path).unwrap();
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
    for place in [place, Place::new().await] {
        let own = std::fs::read_to_string(place.server.admin_token_file().unwrap()).unwrap();
        let place = place.restart().await;
        for (token, status) in [
            (&token, if token == own.as_str() { 200 } else { 401 }),
            (&own, 200),
        ] {
            let request = reqwest::Client::new().get(place.http("/metrics"));
            let response = request.bearer_auth(token).send().await.unwrap();
            assert_eq!(response.status(), status);
        }
    }
}

/// WebSockets have their place among the connections until they end.
#[tokio::test]
async fn connections_are_bounded_and_counted() {
    let place = Place::with(|config| {
        config.admin_token = Some(AdminToken::new(TOKEN).unwrap());
        config.limits.connections = 3;
    })
    .await;
    let (a, b) = (place.bound("a").await, place.bound("b").await);
    let http = reqwest::Client::new();
    let read = async || {
        let request = http.get(place.http("/metrics")).bearer_auth(TOKEN);
        request.send().await.ok()?.text().await.ok()
    };
    let text = read().await.unwrap();
    assert_eq!(
        value(&text, "firebrick_network_connections{kind=\"tcp\"}"),
        3.0
    );
    // The client keeps the third one.
    let url = format!("ws://{}/ws", place.address());
    tokio_tungstenite::connect_async(&url).await.unwrap_err();
    let text = read().await.unwrap();
    let refused = "firebrick_network_connections_refused_total{reason=\"limit\"}";
    assert_eq!(value(&text, refused), 1.0);
    drop((a, b));
    let ended = async {
        while value(
            &read().await.unwrap(),
            "firebrick_network_connections{kind=\"tcp\"}",
        ) > 1.0
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    tokio_tungstenite::connect_async(&url).await.unwrap();
}
