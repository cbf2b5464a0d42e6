//! Real traffic again: every request of the captured JavaScript clients gets an answer of the type that
//! it got then.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use firebrick_core::cloud::{Auth, Body, Claims, Conn, Message, OpenConn};
use futures_util::SinkExt;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{Client, Place};

#[derive(Deserialize)]
struct Capture {
    scenario: String,
    tokens: HashMap<String, String>,
    log: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    via: Option<String>,
    dir: Option<String>,
    client: Option<String>,
    msg: Option<Json>,
}

/// The capture's tokens have ended: the same claims, valid now.
fn tokens(place: &Place, capture: &Capture) -> HashMap<String, String> {
    let fresh = |token: &String| {
        let claims: Claims = firebrick_server::token::inspect(token).unwrap();
        place.server.mint(claims, 3600).unwrap()
    };
    let named = capture.tokens.iter();
    named
        .map(|(name, token)| (format!("<{name}>"), fresh(token)))
        .collect()
}

async fn replay(capture: &Capture) -> usize {
    let place = Place::new().await;
    let tokens = tokens(&place, capture);
    let mut sockets: HashMap<String, Client> = HashMap::new();
    // What the server called a connection then, and what it calls it now.
    let mut names: HashMap<Conn, Conn> = HashMap::new();
    let mut answered = 0;
    for (at, row) in capture.log.iter().enumerate() {
        if row.dir.as_deref() != Some("c2s") {
            continue;
        }
        let text = row.msg.as_ref().unwrap().to_string();
        let mut message = Message::parse(text.as_bytes()).unwrap();
        let then = capture.log[at..]
            .iter()
            .filter(|row| row.dir.as_deref() == Some("s2c"));
        let then = then.filter_map(|row| row.msg.as_ref());
        let Some(then) = then.clone().find(|msg| msg["tid"] == message.tid.as_str()) else {
            continue;
        };
        let Auth::Token(token) = &message.auth else {
            panic!("no token");
        };
        message.auth = Auth::token(&tokens[token]);
        let over_http = row.via.as_deref() == Some("http");
        if !over_http {
            let label = row.client.clone().unwrap();
            if let Entry::Vacant(entry) = sockets.entry(label) {
                entry.insert(Client::open(place.address(), &place.writer("unused")).await);
            }
        }
        let mut socket = row.client.as_ref().and_then(|label| sockets.get_mut(label));
        let old = message.body.conn().and_then(|conn| {
            Some(Conn {
                req_id: conn.req_id,
                res_id: conn.res_id?,
            })
        });
        if let Some(old) = old {
            // Some captures begin in the middle of a session.
            if !names.contains_key(&old) && message.kind() != "reqOpen" {
                let open = Body::ReqOpen {
                    conn: OpenConn {
                        req_id: old.req_id.clone(),
                        res_id: Some(old.res_id.clone()),
                    },
                };
                let open = Message::new("open", message.auth.clone(), open);
                ask(&place, socket.as_deref_mut(), &open).await;
                names.insert(old.clone(), old.clone());
            }
            if let Some(current) = names.get(&old) {
                rename(&mut message.body, current);
            }
        }
        let answer = ask(&place, socket, &message).await;
        assert_eq!(
            then["type"],
            answer.kind(),
            "{}: {text}: {answer:?}",
            capture.scenario
        );
        if let (Body::ResOpen { conn }, Some(old)) = (&answer.body, then.get("conn")) {
            names.insert(Conn::deserialize(old).unwrap(), conn.clone());
        }
        answered += 1;
    }
    answered
}

async fn ask(place: &Place, socket: Option<&mut Client>, message: &Message) -> Message {
    let Some(client) = socket else {
        let request = reqwest::Client::new().put(place.http("/fp"));
        let response = request.body(message.encode()).send().await.unwrap();
        return Message::parse(&response.bytes().await.unwrap()).unwrap();
    };
    let frame = Frame::Binary(message.encode().into());
    client.socket.send(frame).await.unwrap();
    loop {
        let answer = client.receive().await;
        if answer.tid == message.tid {
            return answer;
        }
        assert_eq!(answer.kind(), "eventGetMeta");
    }
}

fn rename(body: &mut Body, current: &Conn) {
    match body {
        Body::ReqOpen { conn } => conn.res_id = Some(current.res_id.clone()),
        Body::BindGetMeta { scope }
        | Body::ReqPutMeta { scope, .. }
        | Body::ReqData { scope, .. } => scope.conn = current.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn captured_requests_are_answered_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firebrick-core/tests/golden/cloud");
    let (mut captures, mut answered) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let capture: Capture = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        // Their tokens were bad then.
        if capture.scenario.starts_with("07a") || capture.scenario.starts_with("07b") {
            continue;
        }
        answered += replay(&capture).await;
        captures += 1;
    }
    assert!(captures == 12 && answered > 150, "{captures} {answered}");
}
