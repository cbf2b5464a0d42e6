//! What becomes of metas: who gets which, and which stay.

use firebrick_core::cloud::{Access, Auth, Body, Conn, META_KEY, MetaSet, OpenConn, Store, Verb};

use crate::support::{Client, Place, key, names, scope};

const KNOWN: [&str; 6] = ["a1", "a2", "b1", "b2", "c1", "c2"];

fn listed(set: &MetaSet) -> Vec<String> {
    names(set, &KNOWN)
}

#[tokio::test]
async fn each_subscriber_gets_each_meta_once_and_the_writer_not_at_all() {
    let place = Place::new().await;
    let (mut a, mut b) = (place.bound("a").await, place.bound("b").await);
    let answer = a.publish(&["a1"], &[key(1)]).await;
    assert_eq!(listed(&answer), ["a1"]);
    let event = b.event().await;
    assert_eq!(
        (listed(&event), event.keys),
        (vec!["a1".into()], vec![key(1)])
    );
    assert!(a.has_no_event().await && b.has_no_event().await);
    // All keys go with each event.
    b.publish(&["b1"], &[key(2)]).await;
    let event = a.event().await;
    assert_eq!((listed(&event), event.keys.len()), (vec!["b1".into()], 2));
    // A newcomer gets everything.
    let mut c = place.client("c").await;
    let all = c.bind("ten", "led").await;
    assert_eq!(
        (listed(&all), all.keys.len()),
        (vec!["a1".into(), "b1".into()], 2)
    );
    // What is known is not told again; a key alone is.
    a.announce(&["a1"], &[key(1)]).await;
    assert!(b.has_no_event().await);
    a.announce(&["a1"], &[key(3)]).await;
    let event = b.event().await;
    assert_eq!((event.metas.len(), event.keys.len()), (0, 3));
}

/// The answer to a put neither shows what others wrote nor counts it as delivered.
#[tokio::test]
async fn the_answer_to_a_put_consumes_nothing() {
    let place = Place::new().await;
    let (mut a, mut b) = (place.bound("a").await, place.client("b").await);
    b.publish(&["b1"], &[key(2)]).await;
    let answer = a.publish(&["a1"], &[key(1)]).await;
    assert_eq!(listed(&answer), ["a1"]);
    assert_eq!(answer.keys, [key(1)]);
    assert_eq!(listed(&a.event().await), ["b1"]);
    // Nor does a put count as a bind.
    assert_eq!(listed(&b.bind("ten", "led").await), ["a1", "b1"]);
}

#[tokio::test]
async fn a_newer_meta_replaces_those_of_its_own_connection_only() {
    let place = Place::new().await;
    let (mut a, mut b) = (place.bound("a").await, place.bound("b").await);
    a.publish(&["a1"], &[key(1)]).await;
    b.publish(&["b1"], &[key(1)]).await;
    a.publish(&["a2"], &[key(1)]).await;
    let mut c = place.client("c").await;
    assert_eq!(listed(&c.bind("ten", "led").await), ["a2", "b1"]);
    // Whoever was there got each of them.
    assert_eq!(listed(&b.event().await), ["a1"]);
    assert_eq!(listed(&b.event().await), ["a2"]);
}

/// A client sends a meta even if the upload before it has failed.
#[tokio::test]
async fn a_meta_without_its_car_replaces_nothing() {
    let place = Place::new().await;
    let mut a = place.bound("a").await;
    a.publish(&["a1"], &[key(1)]).await;
    a.announce(&["a2"], &[key(1)]).await;
    let mut c = place.client("c").await;
    assert_eq!(listed(&c.bind("ten", "led").await), ["a1", "a2"]);
    // Once it is there, the next one replaces both.
    a.publish(&["c1"], &[key(1)]).await;
    assert_eq!(listed(&c.bind("ten", "led").await), ["c1"]);
}

#[tokio::test]
async fn no_metas_store_no_keys() {
    let place = Place::new().await;
    let mut a = place.bound("a").await;
    a.announce(&[], &[key(1)]).await;
    let set = a.bind("ten", "led").await;
    assert_eq!((set.metas.len(), set.keys.len()), (0, 0));
}

#[tokio::test]
async fn each_bind_gets_the_full_set() {
    let place = Place::new().await;
    let (mut a, mut b) = (place.bound("a").await, place.bound("b").await);
    a.publish(&["a1"], &[key(1)]).await;
    assert_eq!(listed(&b.event().await), ["a1"]);
    assert_eq!(listed(&b.bind("ten", "led").await), ["a1"]);
    assert_eq!(listed(&a.bind("ten", "led").await), ["a1"]);
    // An old connection opened on a new WebSocket begins anew, and the old one gets nothing more.
    let mut again = reopen(&place, &b).await;
    a.publish(&["a2"], &[key(1)]).await;
    assert_eq!(listed(&again.bind("ten", "led").await), ["a2"]);
    let (text, _) = b.refused(b.bind_request("ten", "led")).await;
    assert!(text.contains("missing connection"), "{text}");
    // What it writes replaces what it wrote before.
    again.publish(&["b1"], &[key(1)]).await;
    let mut third = reopen(&place, &again).await;
    third.publish(&["b2"], &[key(1)]).await;
    let mut c = place.client("c").await;
    assert_eq!(listed(&c.bind("ten", "led").await), ["a2", "b2"]);
}

async fn reopen(place: &Place, old: &Client) -> Client {
    let Conn { req_id, res_id } = &old.conn;
    Client::open_as(place.address(), &old.token, req_id, Some(res_id)).await
}

/// Somebody else cannot take over a connection, even with a good token.
#[tokio::test]
async fn a_connection_belongs_to_who_opened_it() {
    let place = Place::new().await;
    let a = place.bound("a").await;
    let mut thief = place.client("thief").await;
    let open = Body::ReqOpen {
        conn: OpenConn {
            req_id: a.conn.req_id.clone(),
            res_id: Some(a.conn.res_id.clone()),
        },
    };
    assert!(matches!(thief.ask(open).await, Body::Error(_)));
    thief.conn = a.conn.clone();
    let (text, _) = thief.refused(thief.put_request(&[], &[])).await;
    assert!(text.contains("missing connection"), "{text}");
}

/// Nothing of one ledger or tenant gets to another, not even over one connection that has both.
#[tokio::test]
async fn ledgers_are_apart() {
    let place = Place::new().await;
    let both = [
        ("ten", "led", Access::Write),
        ("ten", "other", Access::Write),
    ];
    let mut a = Client::open(place.address(), &place.token("a", &both)).await;
    a.bind("ten", "led").await;
    a.bind("ten", "other").await;
    let foreign = place.token("f", &[("foreign", "led", Access::Write)]);
    let mut f = Client::open(place.address(), &foreign).await;
    f.bind("foreign", "led").await;
    let only_other = place.token("o", &[("ten", "other", Access::Write)]);
    let mut o = Client::open(place.address(), &only_other).await;
    o.bind("ten", "other").await;
    let mut b = place.bound("b").await;
    b.publish(&["b1"], &[key(1)]).await;
    let (auth, event) = a.event_message().await;
    assert_eq!(listed(&event), ["b1"]);
    // Nor does the writer's token.
    assert_eq!(auth, Auth::token(&a.token));
    assert!(a.has_no_event().await);
    let set = f.bind("foreign", "led").await;
    assert_eq!((set.metas.len(), set.keys.len()), (0, 0));
    let set = o.bind("ten", "other").await;
    assert_eq!((set.metas.len(), set.keys.len()), (0, 0));
}

/// After its token has ended a subscriber gets nothing; with a new one it gets what it missed.
#[tokio::test]
async fn a_subscription_lasts_as_long_as_its_token() {
    let place = Place::new().await;
    let claims = crate::support::claims("b", &[("ten", "led", Access::Write)]);
    // It ends now, and is taken for as long as clocks may differ.
    let ending = place.server.mint(claims, 0).unwrap();
    let mut b = Client::open(place.address(), &ending).await;
    b.bind("ten", "led").await;
    let mut a = place.bound("a").await;
    a.publish(&["a1"], &[key(1)]).await;
    a.publish(&["a2"], &[key(1)]).await;
    b.token = place.writer("b");
    // Any request renews it, and what was missed comes before the answer.
    assert!(!b.has_no_event().await);
    let (auth, event) = b.event_message().await;
    assert_eq!(listed(&event), ["a2"]);
    assert_eq!(auth, Auth::token(&b.token));
    a.publish(&["c1"], &[key(1)]).await;
    assert_eq!(listed(&b.event().await), ["c1"]);
}

#[tokio::test]
async fn a_renewed_subscription_that_missed_nothing_is_told_nothing() {
    let place = Place::new().await;
    let claims = crate::support::claims("b", &[("ten", "led", Access::Write)]);
    let ending = place.server.mint(claims, 0).unwrap();
    let mut b = Client::open(place.address(), &ending).await;
    b.bind("ten", "led").await;
    b.token = place.writer("b");
    assert!(b.has_no_event().await);
    let mut a = place.bound("a").await;
    a.publish(&["a1"], &[key(1)]).await;
    assert_eq!(listed(&b.event().await), ["a1"]);
}

/// Without WebSockets a client asks again and again with the same transaction.
#[tokio::test]
async fn polling() {
    let place = Place::with(|config| config.websockets = false).await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/ws", place.address())).await;
    assert!(refused.is_err());
    let open = |req_id: &str| Body::ReqOpen {
        conn: OpenConn {
            req_id: req_id.into(),
            res_id: None,
        },
    };
    let put = async |tid: &str, user: &str, body: Body| place.ask_http(tid, user, body).await;
    let (Body::ResOpen { conn: a }, Body::ResOpen { conn: b }) = (
        put("t", "a", open("a")).await,
        put("t", "b", open("b")).await,
    ) else {
        panic!("not opened");
    };
    let bind = async |tid: &str| {
        let scope = scope(&b, "ten", "led", Verb::Get, Store::Meta, META_KEY);
        match put(tid, "b", Body::BindGetMeta { scope }).await {
            Body::EventGetMeta { meta, .. } => listed(&meta),
            other => panic!("{other:?}"),
        }
    };
    let publish = async |name: &str| {
        let body = Body::ReqPutMeta {
            scope: scope(&a, "ten", "led", Verb::Put, Store::Meta, META_KEY),
            meta: MetaSet {
                metas: vec![crate::support::meta(name)],
                keys: vec![key(1)],
            },
        };
        assert!(matches!(put("p", "a", body).await, Body::ResPutMeta { .. }));
    };
    assert!(bind("poll").await.is_empty());
    publish("a1").await;
    publish("a2").await;
    assert_eq!(bind("poll").await, ["a1", "a2"]);
    assert!(bind("poll").await.is_empty());
    publish("c1").await;
    assert_eq!(bind("poll").await, ["c1"]);
    // Another transaction begins anew.
    assert_eq!(bind("again").await, ["a1", "a2", "c1"]);
}

/// Who asks over HTTP names its connection each time, and is not told that the server was started anew.
#[tokio::test]
async fn polling_goes_on_after_a_restart() {
    let place = Place::new().await;
    let open = Body::ReqOpen {
        conn: OpenConn {
            req_id: "a".into(),
            res_id: None,
        },
    };
    let Body::ResOpen { conn } = place.ask_http("t", "a", open).await else {
        panic!("not opened");
    };
    let bind = Body::BindGetMeta {
        scope: scope(&conn, "ten", "led", Verb::Get, Store::Meta, META_KEY),
    };
    let publish = |name: &str| Body::ReqPutMeta {
        scope: scope(&conn, "ten", "led", Verb::Put, Store::Meta, META_KEY),
        meta: MetaSet {
            metas: vec![crate::support::meta(name)],
            keys: vec![key(1)],
        },
    };
    let done = place.ask_http("p", "a", publish("a1")).await;
    assert!(matches!(done, Body::ResPutMeta { .. }));
    let place = place.restart().await;
    let done = place.ask_http("p", "a", publish("a2")).await;
    assert!(matches!(done, Body::ResPutMeta { .. }));
    match place.ask_http("poll", "a", bind.clone()).await {
        Body::EventGetMeta { meta, .. } => assert_eq!(listed(&meta), ["a1", "a2"]),
        other => panic!("{other:?}"),
    }
    // Under somebody else's name nobody gets in.
    let Body::Error(error) = place.ask_http("poll", "b", bind).await else {
        panic!("no error");
    };
    assert!(error.message.contains("missing connection"), "{error:?}");
}
