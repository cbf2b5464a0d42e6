//! Clients that work together.

use serde_json::json;

use crate::site::{Setup, Site, assert_not_ready, converge, del, everywhere, put, put_file};

everywhere!(two_and_three_online at_the_same_time offline);

async fn two_and_three_online(setup: Setup) {
    let site = Site::new(setup).await;
    let (mut a, mut b) = (site.attached("a"), site.attached("b"));
    put(&mut a, "one", 1);
    put(&mut a, "two", 2);
    converge(&mut [&mut a, &mut b], &[("one", 1), ("two", 2)]);
    put(&mut b, "three", 3);
    put(&mut b, "one", 10);
    converge(
        &mut [&mut a, &mut b],
        &[("one", 10), ("three", 3), ("two", 2)],
    );
    del(&mut a, "two");
    converge(&mut [&mut a, &mut b], &[("one", 10), ("three", 3)]);
    // A newcomer gets all of it, the deletion included.
    let mut c = site.attached("c");
    converge(&mut [&mut c], &[("one", 10), ("three", 3)]);
    put(&mut c, "two", 20);
    let all = [("one", 10), ("three", 3), ("two", 20)];
    converge(&mut [&mut a, &mut b, &mut c], &all);
}

/// Writes at the same time meet: no update is lost, whoever wins.
async fn at_the_same_time(setup: Setup) {
    let site = Site::new(setup).await;
    let (mut a, mut b, mut c) = (site.attached("a"), site.attached("b"), site.attached("c"));
    let mut all = Vec::new();
    let names: Vec<[String; 3]> = (0..6)
        .map(|n| ["a", "b", "c"].map(|who| format!("{who}{n}")))
        .collect();
    for (n, [x, y, z]) in (0..).zip(&names) {
        put(&mut a, x, 3 * n);
        put(&mut b, y, 3 * n + 1);
        put(&mut c, z, 3 * n + 2);
        all.extend([(x.as_str(), 3 * n), (y, 3 * n + 1), (z, 3 * n + 2)]);
    }
    converge(&mut [&mut a, &mut b, &mut c], &all);
    let mut d = site.attached("d");
    converge(&mut [&mut d], &all);
}

/// What was written while nobody was attached goes out with the next session's attach.
async fn offline(setup: Setup) {
    let site = Site::new(setup).await;
    let (mut a, mut b) = (site.attached("a"), site.attached("b"));
    put(&mut a, "both", 1);
    converge(&mut [&mut a, &mut b], &[("both", 1)]);
    site.leave(b);
    let mut b = site.client("b");
    put(&mut b, "b", 2);
    b.ask(&json!({"op": "idle"}));
    b.close();
    put(&mut a, "a", 3);
    del(&mut a, "both");
    a.ask(&json!({"op": "idle"}));
    let mut b = site.attached("b");
    converge(&mut [&mut a, &mut b], &[("a", 3), ("b", 2)]);
}

/// A client reconnects with its next write, and then gets what it missed. One that only listens stays
/// deaf until it writes, which is the client's own doing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_restart_of_the_server() {
    let mut site = Site::new(Setup::WebSockets).await;
    let (mut a, mut b) = (site.attached("a"), site.attached("b"));
    put(&mut a, "before", 1);
    converge(&mut [&mut a, &mut b], &[("before", 1)]);
    site.stop().await;
    site.start().await;
    put(&mut a, "after", 2);
    a.ask(&json!({"op": "idle"}));
    put(&mut b, "late", 3);
    converge(
        &mut [&mut a, &mut b],
        &[("after", 2), ("before", 1), ("late", 3)],
    );
    // And live again, in both directions.
    put(&mut a, "live", 4);
    del(&mut b, "late");
    let all = [("after", 2), ("before", 1), ("live", 4)];
    converge(&mut [&mut a, &mut b], &all);
    let mut c = site.attached("c");
    converge(&mut [&mut c], &all);
}

/// The client neither uploads files nor fetches them; of a file of another client there is only the entry.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_file_stays_where_it_was_put() {
    let site = Site::new(Setup::WebSockets).await;
    let (mut a, mut b) = (site.attached("a"), site.attached("b"));
    put_file(&mut a, "theirs");
    converge(&mut [&mut a, &mut b], &[("theirs", 2)]);
    let doc = b.ask(&json!({"op": "get", "id": "theirs"}));
    assert!(doc["_files"]["a.txt"].is_object(), "{doc}");
    assert_not_ready(&mut b, "theirs", "a.txt");
}

/// What the client gets wrong with any server. A test that fails after an update of the client means that
/// a fault is gone.
mod faults {
    use super::*;

    /// A client that only listens does not notice that its connection is lost.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
    async fn a_listener_is_deaf_after_a_restart() {
        let mut site = Site::new(Setup::WebSockets).await;
        let (mut a, mut b) = (site.attached("a"), site.attached("b"));
        put(&mut a, "before", 1);
        converge(&mut [&mut a, &mut b], &[("before", 1)]);
        site.stop().await;
        site.start().await;
        put(&mut a, "after", 2);
        let mut late = site.attached("late");
        converge(&mut [&mut late], &[("after", 2), ("before", 1)]);
        let all = json!({"after": 2, "before": 1});
        let answer = b.answer(&json!({"op": "awaitDocs", "docs": all, "withinMs": 3000}));
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains(r#"found [["before",1]]"#), "{answer}");
    }

    /// Where there are no WebSockets it cannot be closed.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
    async fn closing_fails_over_http() {
        let site = Site::new(Setup::HttpAlone).await;
        let mut a = site.attached("a");
        put(&mut a, "a", 1);
        a.ask(&json!({"op": "idle"}));
        let answer = a.answer(&json!({"op": "close"}));
        assert_eq!(answer["ok"], false, "{answer}");
    }
}
