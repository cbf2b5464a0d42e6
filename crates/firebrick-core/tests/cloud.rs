//! The messages of the cloud against real traffic (`tests/golden/cloud`), and as laws.

use std::collections::BTreeMap;
use std::path::Path;

use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::cloud::{
    Access, Auth, Body, Claims, Conn, DataKind, ErrorBody, Gestalt, KeyText, MAX_ID_LEN,
    MAX_MESSAGE_LEN, Message, MetaEntry, MetaSet, MethodParam, OpenConn, Operation, Passing,
    ProtocolError, Scope, Store, TenantLedger, UrlParam, Verb,
};
use firebrick_core::meta::{MetaError, MetaEvent};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value as Json;

#[derive(Deserialize)]
struct Capture {
    tokens: BTreeMap<String, String>,
    log: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    dir: Option<String>,
    msg: Option<Json>,
}

/// A message as it stands in the file, so that the order of its fields is seen.
struct Captured {
    from_client: bool,
    text: String,
}

fn captures() -> Vec<(String, Vec<Captured>, Capture)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cloud");
    let mut captures: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            let capture: Capture = serde_json::from_str(&text).expect("a capture");
            let rows = capture.log.iter().filter(|row| row.msg.is_some());
            let compacted = compact(&text);
            let texts: Vec<_> = compacted.split(r#""msg":"#).skip(1).map(object).collect();
            assert_eq!(texts.len(), rows.clone().count());
            let messages = rows
                .zip(texts)
                .map(|(row, text)| Captured {
                    from_client: row.dir.as_deref() == Some("c2s"),
                    text: text.to_owned(),
                })
                .collect();
            (path.display().to_string(), messages, capture)
        })
        .collect();
    captures.sort_by(|a, b| a.0.cmp(&b.0));
    captures
}

/// The object that a text begins with.
fn object(text: &str) -> &str {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Json>();
    assert!(values.next().is_some_and(|value| value.is_ok()));
    &text[..values.byte_offset()]
}

/// The text without spaces outside of strings.
fn compact(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    text.chars()
        .filter(|c| {
            let kept = quoted || !c.is_whitespace();
            quoted ^= *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            kept
        })
        .collect()
}

/// Both sides' messages come out as they came in, to the byte.
#[test]
fn captured_messages_come_back() {
    let mut kinds: BTreeMap<(bool, &'static str), usize> = BTreeMap::new();
    for (path, messages, _) in captures() {
        for Captured { from_client, text } in messages {
            let message = Message::parse(text.as_bytes())
                .unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
            let encoded = message.encode();
            if let Body::Error(error) = &message.body {
                // The order inside of the offending message is not kept.
                let json: Json = serde_json::from_str(&text).expect("JSON");
                assert_eq!(serde_json::from_str::<Json>(&encoded).ok(), Some(json));
                assert!(!error.message.is_empty());
            } else {
                assert_eq!(encoded, text, "{path}");
            }
            *kinds.entry((from_client, message.kind())).or_default() += 1;
        }
    }
    let expected = [
        (false, "error"),
        (false, "eventGetMeta"),
        (false, "resGestalt"),
        (false, "resGetData"),
        (false, "resOpen"),
        (false, "resPutData"),
        (false, "resPutMeta"),
        (true, "bindGetMeta"),
        (true, "reqGestalt"),
        (true, "reqGetData"),
        (true, "reqOpen"),
        (true, "reqPutData"),
        (true, "reqPutMeta"),
    ];
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), expected);
    assert!(kinds.values().sum::<usize>() > 300, "{kinds:?}");
}

/// Real metas have the names they go by, and are written the same again. Real keys can be read.
#[test]
fn captured_metas_and_keys_are_sound() {
    let mut metas = 0;
    for (path, messages, _) in captures() {
        for Captured { text, .. } in messages {
            let message = Message::parse(text.as_bytes()).expect("a message");
            let (Body::ReqPutMeta { meta, .. } | Body::EventGetMeta { meta, .. }) = message.body
            else {
                continue;
            };
            for entry in &meta.metas {
                let event = entry.event().unwrap_or_else(|e| panic!("{path}: {e}"));
                assert!(event.cars.iter().all(|car| car.codec() == Codec::Car));
                assert_eq!(&MetaEntry::new(&event).data, &entry.data);
                metas += 1;
            }
            for key in &meta.keys {
                assert_eq!(&KeyText::new(&key.key().expect("a key")), key);
            }
        }
    }
    assert!(metas > 20);
}

/// The claims of the tokens that real clients sent.
#[test]
fn captured_claims_come_back() {
    for (path, _, capture) in captures() {
        assert!(!capture.tokens.is_empty(), "{path}");
        for token in capture.tokens.values() {
            let part = token.split('.').nth(1).expect("claims");
            let json = data_encoding::BASE64URL_NOPAD
                .decode(part.as_bytes())
                .expect("base64");
            let claims: Claims = serde_json::from_slice(&json).expect("claims");
            let back = serde_json::to_value(&claims).expect("JSON");
            assert_eq!(back, serde_json::from_slice::<Json>(&json).expect("JSON"));
            assert!(!claims.user_id.is_empty() && claims.exp.is_some());
        }
    }
}

#[test]
fn rights() {
    let claims = Claims::new("u", "u@example.com", "2026-01-01T00:00:00Z")
        .grant("t", "read", Access::Read)
        .grant("t", "write", Access::Write);
    assert_eq!(claims.selected, TenantLedger::new("t", "read"));
    for (tenant, ledger, access, allowed) in [
        ("t", "read", Access::Read, true),
        ("t", "read", Access::Write, false),
        ("t", "write", Access::Read, true),
        ("t", "write", Access::Write, true),
        ("t", "other", Access::Read, false),
        ("other", "read", Access::Read, false),
        ("", "", Access::Read, false),
    ] {
        let found = claims.check(tenant, ledger, access);
        assert_eq!(found.is_ok(), allowed, "{tenant} {ledger} {access}");
    }
    // A right from the future allows nothing.
    let json = serde_json::json!({
        "userId": "u", "email": "u@example.com", "created": 5,
        "tenants": [{"id": "t", "role": "guest"}],
        "ledgers": [{"id": "l", "role": "guest", "right": "append"}],
        "selected": {"tenant": "t", "ledger": "l"},
    });
    let claims: Claims = serde_json::from_value(json).expect("claims");
    assert!(claims.check("t", "l", Access::Read).is_err());
}

#[test]
fn what_is_wrong_is_said() {
    let auth = r#""auth":{"type":"fp-cloud-jwk","params":{"jwk":"t"}}"#;
    let long = "x".repeat(MAX_ID_LEN + 1);
    for (text, expected) in [
        ("[]".to_owned(), "not a message"),
        ("{".to_owned(), "not a message"),
        (format!(r#"{{"tid":"t",{auth}}}"#), "no type"),
        (format!(r#"{{"type":"reqOpen",{auth}}}"#), "no tid"),
        (r#"{"type":"reqOpen","tid":"t"}"#.to_owned(), "no auth"),
        (
            format!(r#"{{"tid":"t","type":"nope",{auth}}}"#),
            "unknown message type",
        ),
        (
            format!(r#"{{"tid":"t","type":"reqOpen",{auth}}}"#),
            "no conn",
        ),
        (
            format!(r#"{{"tid":"t","type":"reqClose","conn":{{"reqId":"r"}},{auth}}}"#),
            "no conn.resId",
        ),
        (
            format!(r#"{{"tid":5,"type":"reqOpen",{auth}}}"#),
            "not a message",
        ),
        (
            format!(r#"{{"tid":"{long}","type":"reqOpen",{auth}}}"#),
            "tid is longer",
        ),
        (
            format!(r#"{{"tid":"t","tid":"u","type":"reqOpen",{auth}}}"#),
            "duplicate field",
        ),
        (
            r#"{"tid":"t","type":"reqOpen","auth":{"type":"fp-cloud-jwk"}}"#.to_owned(),
            "params.jwk",
        ),
    ] {
        let rejected = Message::parse(text.as_bytes()).expect_err("a mistake");
        assert!(
            rejected.to_string().contains(expected),
            "{rejected}: {text}"
        );
    }
    let huge = vec![b' '; MAX_MESSAGE_LEN + 1];
    let rejected = Message::parse(&huge).expect_err("too long");
    assert_eq!(rejected.error, ProtocolError::TooLong(huge.len()));
    // Enough of it is read to answer.
    let text = r#"{"tid":"t","type":"bindGetMeta","conn":{"reqId":"a","resId":"b"},"auth":1}"#;
    let rejected = Message::parse(text.as_bytes()).expect_err("a mistake");
    assert_eq!(rejected.tid.as_deref(), Some("t"));
    assert_eq!(rejected.kind.as_deref(), Some("bindGetMeta"));
    assert_eq!(
        rejected.conn.map(|conn| conn.to_string()).as_deref(),
        Some("a:b")
    );
}

#[test]
fn unknown_fields_are_ignored() {
    let text = r#"{"tid":"t","type":"reqOpen","new":{"a":[1]},"auth":{"type":"fp-cloud-jwk",
        "params":{"jwk":"j","more":1},"x":null},"conn":{"reqId":"r","y":2}}"#;
    let message = Message::parse(text.as_bytes()).expect("a message");
    let conn = OpenConn {
        req_id: "r".into(),
        res_id: None,
    };
    assert_eq!(message.body, Body::ReqOpen { conn });
}

#[test]
fn forged_metas_are_seen() {
    let event = MetaEvent {
        cars: vec![Cid::of(Codec::Car, b"car")],
        parents: Vec::new(),
    };
    let mut entry = MetaEntry::new(&event);
    assert_eq!(entry.event(), Ok(event.clone()));
    let other = Cid::of(Codec::DagCbor, b"other");
    entry.cid = other;
    assert_eq!(entry.event(), Err(MetaError::Name(other)));
    entry = MetaEntry::new(&event);
    entry.data.pop();
    assert_eq!(entry.event(), Err(MetaError::Base64));
    let block = b"\xa0";
    let entry = MetaEntry {
        cid: Cid::of(Codec::DagCbor, block),
        parents: Vec::new(),
        data: format!("M{}", data_encoding::BASE64.encode(block)),
    };
    assert!(matches!(entry.event(), Err(MetaError::Block(_))));
}

/// Secrets do not get into logs.
#[test]
fn debug_shows_no_secrets() {
    let meta = MetaSet {
        metas: Vec::new(),
        keys: vec![KeyText::from("zSecretKey".to_owned())],
    };
    let body = Body::ReqPutMeta {
        scope: scope_of("c", None),
        meta,
    };
    let text = format!("{:?}", Message::new("t", Auth::token("secret.jwt"), body));
    assert!(
        !text.contains("zSecretKey") && !text.contains("secret.jwt"),
        "{text}"
    );
}

fn scope_of(req_id: &str, tenant: Option<TenantLedger>) -> Scope {
    Scope {
        conn: Conn {
            req_id: req_id.into(),
            res_id: "s".into(),
        },
        tenant,
        method: MethodParam {
            method: Verb::Get,
            store: Store::Meta,
        },
        url: UrlParam::default(),
    }
}

fn conn() -> impl Strategy<Value = Conn> {
    (".{0,20}", ".{0,20}").prop_map(|(req_id, res_id)| Conn { req_id, res_id })
}

fn scope() -> impl Strategy<Value = Scope> {
    let verb = prop_oneof![Just(Verb::Get), Just(Verb::Put), Just(Verb::Delete)];
    let store = prop_oneof![
        Just(Store::Meta),
        Just(Store::Car),
        Just(Store::Wal),
        Just(Store::File)
    ];
    let text = || option::of(".{0,9}");
    let url = (
        ".{0,60}",
        text(),
        text(),
        text(),
        text(),
        text(),
        option::of(any::<u64>()),
    );
    let url = url.prop_map(
        |(key, store, tenant, name, path, index, expires)| UrlParam {
            key,
            store,
            ledger: tenant.clone(),
            tenant,
            name,
            path,
            index,
            expires,
        },
    );
    let tenant = option::of(
        (".{0,9}", ".{0,9}", text()).prop_map(|(tenant, ledger, app_id)| TenantLedger {
            tenant,
            ledger,
            app_id,
        }),
    );
    (conn(), tenant, verb, store, url).prop_map(|(conn, tenant, method, store, url)| Scope {
        conn,
        tenant,
        method: MethodParam { method, store },
        url,
    })
}

fn meta() -> impl Strategy<Value = MetaSet> {
    let cid = || any::<u8>().prop_map(|n| Cid::of(Codec::DagCbor, &[n]));
    let entry = (cid(), vec(cid(), 0..3), ".{0,30}");
    let entry = entry.prop_map(|(cid, parents, data)| MetaEntry { cid, parents, data });
    let keys = vec("z[a-zA-Z1-9]{0,15}".prop_map(KeyText::from), 0..3);
    (vec(entry, 0..4), keys).prop_map(|(metas, keys)| MetaSet { metas, keys })
}

fn gestalt() -> impl Strategy<Value = Gestalt> {
    let list = || vec("[a-z/]{0,9}", 0..3);
    let passing = option::of(any::<(bool, bool)>());
    (".{0,9}", list(), list(), any::<bool>(), passing).prop_map(
        |(id, store_types, ws_endpoints, requires_auth, passing)| Gestalt {
            id,
            store_types,
            http_endpoints: ws_endpoints.clone(),
            ws_endpoints,
            requires_auth,
            data: passing.map(|(inband, outband)| Passing { inband, outband }),
            ..Gestalt::default()
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    let operation = || {
        prop_oneof![
            Just(Operation::Get),
            Just(Operation::Put),
            Just(Operation::Delete)
        ]
    };
    let kind = || prop_oneof![Just(DataKind::Data), Just(DataKind::Wal)];
    let chat = || (conn(), ".{0,20}", vec(conn(), 0..3));
    let open = (".{0,9}", option::of(".{0,9}"));
    prop_oneof![
        (gestalt(), option::of(any::<bool>()))
            .prop_map(|(gestalt, publish)| Body::ReqGestalt { gestalt, publish }),
        gestalt().prop_map(|gestalt| Body::ResGestalt { gestalt }),
        open.prop_map(|(req_id, res_id)| Body::ReqOpen {
            conn: OpenConn { req_id, res_id }
        }),
        conn().prop_map(|conn| Body::ResOpen { conn }),
        conn().prop_map(|conn| Body::ReqClose { conn }),
        conn().prop_map(|conn| Body::ResClose { conn }),
        chat().prop_map(|(conn, message, targets)| Body::ReqChat {
            conn,
            message,
            targets
        }),
        chat().prop_map(|(conn, message, targets)| Body::ResChat {
            conn,
            message,
            targets
        }),
        scope().prop_map(|scope| Body::BindGetMeta { scope }),
        (scope(), ".{0,20}", meta()).prop_map(|(scope, signed_url, meta)| Body::EventGetMeta {
            scope,
            signed_url,
            meta
        }),
        (scope(), meta()).prop_map(|(scope, meta)| Body::ReqPutMeta { scope, meta }),
        (scope(), ".{0,20}", meta()).prop_map(|(scope, signed_url, meta)| Body::ResPutMeta {
            scope,
            signed_url,
            meta
        }),
        (scope(), option::of(meta())).prop_map(|(scope, meta)| Body::ReqDelMeta { scope, meta }),
        (scope(), option::of(".{0,20}"), option::of(meta())).prop_map(
            |(scope, signed_url, meta)| Body::ResDelMeta {
                scope,
                signed_url,
                meta
            }
        ),
        (operation(), kind(), scope()).prop_map(|(operation, kind, scope)| Body::ReqData {
            operation,
            kind,
            scope
        }),
        (operation(), kind(), scope(), ".{0,20}").prop_map(
            |(operation, kind, scope, signed_url)| Body::ResData {
                operation,
                kind,
                scope,
                signed_url
            }
        ),
        (option::of(conn()), ".{0,20}", option::of(".{0,9}")).prop_map(
            |(conn, message, reason)| Body::Error(ErrorBody {
                conn,
                message,
                reason,
                src: serde_json::json!({"a": [1, null]}),
                ..ErrorBody::default()
            })
        ),
    ]
}

proptest! {
    #[test]
    fn messages_come_back(tid in ".{0,20}", version in ".{0,9}", jwt in option::of(".{0,20}"), body in body()) {
        let auth = jwt.map_or_else(Auth::none, Auth::Token);
        let message = Message { tid, version, auth, body };
        let text = message.encode();
        prop_assert_eq!(Message::parse(text.as_bytes()), Ok(message));
    }
}
