//! Messages that nobody means: those of a client, changed at random. Each is answered, and none of them
//! reaches a ledger that its sender may not use.

use firebrick_core::cloud::{
    Access, Auth, Body, Conn, DataKind, Gestalt, META_KEY, Message, MetaSet, OpenConn, Operation,
    Store, Verb,
};
use futures_util::SinkExt;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{Client, Place, car, key, meta, names, scope};

/// The ids that the victim's connection goes by: everybody may know them.
const VICTIM: [&str; 2] = ["victim", "victim-at-the-server"];

#[derive(Clone, Debug)]
enum Change {
    Replace(Index, Value),
    Remove(Index),
    Copy(Index, Index),
    Flip(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    use Change::{Copy, Flip, Remove, Replace};
    let at = any::<Index>;
    prop_oneof![
        8 => (at(), value()).prop_map(|(at, value)| Replace(at, value)),
        2 => at().prop_map(Remove),
        3 => (at(), at()).prop_map(|(from, to)| Copy(from, to)),
        1 => (at(), 1..=255u8).prop_map(|(at, bits)| Flip(at, bits)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let names = [
        "led", "ten", "own", "ten/led", "..", "../led", "%2e%2e", "", "\0", "meta", "main", "car",
    ];
    let names = [&names[..], &VICTIM].concat();
    prop_oneof![
        6 => select(names).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => ".{0,20}".prop_map(Value::from),
        1 => (0..100_000usize).prop_map(|n| Value::from("x".repeat(n))),
        1 => select(vec![Value::Null, json!([]), json!({}), json!([[[[]]]]), json!(1e300)]),
    ]
}

/// The paths of all values.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                paths(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                paths(value, &format!("{path}/{n}"), found);
            }
        }
        _ => {}
    }
}

fn apply(mut message: Value, changes: &[Change]) -> Vec<u8> {
    let mut flips = Vec::new();
    for change in changes {
        let mut all = Vec::new();
        paths(&message, "", &mut all);
        let pick = |at: &Index| at.get(&all).as_str();
        match change {
            Change::Replace(at, value) => {
                *message.pointer_mut(pick(at)).unwrap() = value.clone();
            }
            Change::Remove(at) => {
                if let Some((parent, name)) = pick(at).rsplit_once('/')
                    && let Some(Value::Object(fields)) = message.pointer_mut(parent)
                {
                    fields.remove(name);
                }
            }
            Change::Copy(from, to) => {
                let value = message.pointer(pick(from)).unwrap().clone();
                *message.pointer_mut(pick(to)).unwrap() = value;
            }
            Change::Flip(at, bits) => flips.push((at, bits)),
        }
    }
    let mut bytes = message.to_string().into_bytes();
    for (at, bits) in flips {
        *at.get_mut(&mut bytes) ^= bits;
    }
    bytes
}

/// One message of each type.
fn requests(conn: &Conn, token: &str) -> Vec<Value> {
    let scope = |verb, store, key: &str| scope(conn, "ten", "own", verb, store, key);
    let object = car("theirs").to_string();
    let data = |operation, verb| Body::ReqData {
        operation,
        kind: DataKind::Data,
        scope: scope(verb, Store::Car, &object),
    };
    let bodies = [
        gestalt(),
        Body::ReqOpen {
            conn: OpenConn {
                req_id: "attacker".into(),
                res_id: Some("again".into()),
            },
        },
        Body::BindGetMeta {
            scope: scope(Verb::Get, Store::Meta, META_KEY),
        },
        Body::ReqPutMeta {
            scope: scope(Verb::Put, Store::Meta, META_KEY),
            meta: MetaSet {
                metas: vec![meta("forged")],
                keys: vec![key(7)],
            },
        },
        data(Operation::Get, Verb::Get),
        data(Operation::Put, Verb::Put),
        data(Operation::Delete, Verb::Delete),
        Body::ReqClose { conn: conn.clone() },
    ];
    let text = |body| Message::new("tid", Auth::token(token), body).encode();
    let value = |body| serde_json::from_str(&text(body)).unwrap();
    bodies.into_iter().map(value).collect()
}

fn gestalt() -> Body {
    Body::ReqGestalt {
        gestalt: Gestalt::default(),
        publish: None,
    }
}

/// The server answers each message before the next one.
async fn attack(place: &Place, token: &str, messages: &[(Index, Vec<Change>)]) {
    let mut attacker = Client::open(place.address(), token).await;
    let requests = requests(&attacker.conn, token);
    for (which, changes) in messages {
        let bytes = apply(which.get(&requests).clone(), changes);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        attacker
            .socket
            .send(Frame::Binary(bytes.into()))
            .await
            .unwrap();
        let probe = attacker.send(gestalt()).await;
        let mut answers = 0;
        while attacker.receive().await.tid != probe {
            answers += 1;
        }
        assert!(answers > 0, "no answer to {shown}");
    }
}

#[test]
fn each_is_answered_and_none_reaches_others() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (place, mut victim) = runtime.block_on(async {
        let place = Place::new().await;
        let token = place.writer("victim");
        let [req_id, res_id] = VICTIM;
        let mut victim = Client::open_as(place.address(), &token, req_id, Some(res_id)).await;
        victim.publish(&["theirs"], &[key(1)]).await;
        victim.bind("ten", "led").await;
        (place, victim)
    });
    let token = place.token("attacker", &[("ten", "own", Access::Write)]);
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let messages = vec((any::<Index>(), vec(change(), 0..4)), 1..20);
    let ran = TestRunner::new(config).run(&messages, |messages| {
        runtime.block_on(attack(&place, &token, &messages));
        Ok(())
    });
    ran.unwrap();
    runtime.block_on(async {
        assert!(victim.has_no_event().await);
        let all = victim.bind("ten", "led").await;
        assert_eq!(
            (names(&all, &["theirs"]), all.keys),
            (vec!["theirs".into()], vec![key(1)])
        );
        let url = victim.url(Operation::Get, "theirs").await;
        let car = reqwest::get(url).await.unwrap();
        assert_eq!(car.text().await.unwrap(), "theirs");
    });
}
