//! Every decoder on bytes that nobody meant it to read: random ones, and valid ones with a few
//! changes. None may panic or take more than its input warrants; what is valid must come back.

use std::collections::BTreeMap;

use bytes::Bytes;
use firebrick_core::backup;
use firebrick_core::car::{self, CarReader};
use firebrick_core::cbor::{self, CborError, Value};
use firebrick_core::charwise::{self, Key};
use firebrick_core::cid::Codec;
use firebrick_core::clock::Event;
use firebrick_core::cloud::{
    self, AttachUrl, Auth, Body, Claims, Message, MetaEntry, MetaSet, Protocol,
};
use firebrick_core::envelope;
use firebrick_core::genesis::GENESIS;
use firebrick_core::group::Car;
use firebrick_core::header::{CarHeader, IndexMeta};
use firebrick_core::index::{self, Query, Row, Trees};
use firebrick_core::keys::{self, Key as Secret, KeySet};
use firebrick_core::ledger::{Ledger, Part};
use firebrick_core::meta::{MetaEvent, MetaFile};
use firebrick_core::pail::Shard;
use firebrick_core::prolly::{self, RowKey};
use firebrick_core::urls::{StoreUrl, UrlOptions, store_urls};
use firebrick_core::wal::Wal;
use firebrick_core::{Block, Cid, document};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Gives the bytes to everything that reads bytes.
fn feed(bytes: &[u8]) {
    if let Ok(value) = cbor::from_slice::<Value>(bytes) {
        // What was read can be written, and reads back as the same.
        let again = cbor::to_vec(&value).expect("a value that was read");
        assert_eq!(cbor::from_slice::<Value>(&again).as_ref(), Ok(&value));
        let json = value.to_json();
        if let Ok(back) = Value::from_json(&json) {
            let _ = back.to_string();
        }
        let _ = Key::try_from(&value).map(|key| charwise::encode(&key));
        let _ = Query::from_js(&value).map(|query| query.ranges());
    }
    let _ = cbor::from_slice::<BTreeMap<String, Option<u64>>>(bytes);
    let _ = cbor::from_slice::<(Option<bool>, f64, Vec<i8>)>(bytes);
    let _ = document::decode::<Value>(bytes);
    let _ = Event::decode(bytes).map(|event| event.encode());
    if let Ok(shard) = Shard::decode(bytes) {
        assert_eq!(shard.bytes(), bytes);
        let _ = shard.entries().count();
    }
    if let Ok(header) = CarHeader::decode(bytes) {
        let again = CarHeader::decode(&header.encode().bytes);
        assert!(again.is_ok());
    }
    if let Ok(event) = MetaEvent::decode(bytes) {
        let again = MetaEvent::decode(&event.encode().bytes);
        assert!(again.is_ok());
    }
    if let Ok(file) = MetaFile::parse(bytes) {
        for (_, event) in file.events {
            let again = MetaFile::parse(event.to_main_json().as_bytes());
            assert!(again.is_ok_and(|file| file.events.len() == 1));
        }
    }
    if let Ok(wal) = Wal::parse(bytes) {
        assert_eq!(Wal::parse(wal.to_json().as_bytes()), Ok(wal));
    }
    if let Ok(message) = Message::parse(bytes) {
        let again = Message::parse(message.encode().as_bytes());
        assert_eq!(again.as_ref(), Ok(&message));
        if let Body::ReqPutMeta { meta, .. } = &message.body {
            for entry in &meta.metas {
                let _ = entry.event();
            }
            for key in &meta.keys {
                let _ = key.key();
            }
        }
    }
    let _ = serde_json::from_slice::<Claims>(bytes);
    if let Some(preamble) = bytes.first_chunk().map(backup::Preamble::decode) {
        assert!(preamble.is_err() || bytes.starts_with(backup::MAGIC));
    }
    if let Ok(header) = backup::Header::decode(bytes) {
        let again = header.encode().expect("a header that was read");
        assert_eq!(backup::Header::decode(&again), Ok(header));
    }
    if let Ok(trailer) = backup::Trailer::decode(bytes) {
        let again = trailer.encode().expect("a trailer that was read");
        assert_eq!(backup::Trailer::decode(&again), Ok(trailer));
    }
    if let Some(head) = backup::FileHead::decode(bytes) {
        assert_eq!(head.encode(), bytes);
    }
    let _ = envelope::key_id_of(bytes);
    let _ = envelope::open(bytes, &secret());
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(reader) = CarReader::new(bytes.clone()) {
        let length: usize = reader
            .clone()
            .trusting()
            .flatten()
            .map(|b| b.bytes.len())
            .sum();
        assert!(length <= bytes.len());
        let _ = reader.surviving().count();
    }
    let root = Cid::of(Codec::DagCbor, &bytes);
    let get = |cid: &Cid| (*cid == root).then(|| bytes.clone());
    let _ = prolly::entries::<RowKey, _>(root, get, None).count();
    let _ = prolly::entries::<String, _>(root, get, Some("k".into())).count();
    let _ = Cid::from_bytes(&bytes);
    let _ = cbor::Link::from_bytes(&bytes).map(|link| link.to_string());
    ledger(&bytes);
}

/// A ledger whose one CAR and whose meta are these bytes.
fn ledger(bytes: &Bytes) {
    let cid = Cid::of(Codec::Car, bytes);
    let meta = MetaEvent {
        cars: vec![cid],
        parents: Vec::new(),
    };
    for meta in [Bytes::from(meta.to_main_json()), bytes.clone()] {
        let source = |path: &str| {
            Ok(match path {
                "meta/main.json" => Some(meta.clone()),
                path if path.ends_with(".car") => Some(bytes.clone()),
                _ => None,
            })
        };
        let ledger = Ledger::open(source, None::<Secret>, Part::Data);
        let _ = ledger.documents();
        let _ = ledger.salvage();
    }
}

fn secret() -> Secret {
    Secret::generate([7; 32])
}

/// The same for texts.
fn feed_text(text: &str) {
    let _ = text.parse::<Cid>();
    let _ = text.parse::<cbor::Link>();
    let _ = charwise::decode(text).map(|key| charwise::encode(&key));
    let _ = KeySet::from_json(text);
    let _ = Secret::from_text(text);
    let _ = text.parse::<keys::KeyId>();
    let _ = keys::file_name(text);
    assert!(text.contains(index::name(text)));
    let url = StoreUrl::parse(text).to_string();
    assert_eq!(StoreUrl::parse(&url).to_string(), url);
    for text in [text, &format!("fpcloud://{text}")] {
        if let Ok(url) = text.parse::<AttachUrl>() {
            assert_eq!(url.to_string().parse::<AttachUrl>().as_ref(), Ok(&url));
            let _ = url.endpoint(text, Protocol::Http);
        }
    }
    let options = UrlOptions {
        base: text.into(),
        ..UrlOptions::default()
    };
    let _ = store_urls(text, &options);
    if document::check_id(text).is_ok() {
        assert!(document::encode(text, &BTreeMap::<String, u8>::new()).is_ok());
    }
}

/// Valid input of each kind.
fn samples() -> Vec<Vec<u8>> {
    let value = Value::from_json(&serde_json::json!({
        "a": [1, -5, 1.5, null, true, "text", {"/": {"bytes": "AQIDBA"}}],
        "nested": {"b": {"c": [[], {}]}, "link": {"/": GENESIS.event.cid.to_string()}},
        "big": {"$bigint": "18446744073709551615"}
    }))
    .expect("a value");
    let document = document::encode("id", &value).expect("a document");
    let index = IndexMeta {
        name: "name".into(),
        map: index::FIELD_MAP.into(),
        by_id: Some(document.cid),
        by_key: Some(document.cid),
        head: vec![GENESIS.event.cid],
    };
    let header = CarHeader {
        cars: vec![vec![GENESIS.car.cid], vec![GENESIS.car.cid; 2]],
        compact: vec![vec![GENESIS.car.cid]],
        head: Some(vec![GENESIS.event.cid]),
        indexes: Some(vec![index]),
        salt: Some([1; 16]),
        ..CarHeader::default()
    };
    let meta = MetaEvent {
        cars: vec![GENESIS.car.cid],
        parents: vec![GENESIS.event.cid],
    };
    let wal = Wal {
        file_operations: vec![(GENESIS.car.cid, true)],
        operations: vec![vec![GENESIS.car.cid]],
        ..Wal::default()
    };
    let rows: Vec<Row> = (0..60)
        .filter_map(|n| Row::emit_key(&format!("d{n}"), &f64::from(n).into(), Value::Null))
        .collect();
    let trees = Trees::build(&rows).expect("trees");
    let preamble = backup::Preamble {
        key: Some(secret().key_id()),
    };
    let backed_up = backup::Header {
        ledger: "name".into(),
        created_ms: 1,
        head: vec![GENESIS.event.cid],
        root: GENESIS.root.cid,
        base: vec![GENESIS.event.cid; 2],
    };
    let trailer = backup::Trailer {
        missing: vec!["id".into()],
        missing_files: vec![("id".into(), "file".into())],
        ..backup::Trailer::default()
    };
    let put_meta = Body::ReqPutMeta {
        scope: cloud::Scope {
            conn: cloud::Conn {
                req_id: "r".into(),
                res_id: "s".into(),
            },
            tenant: None,
            method: cloud::MethodParam {
                method: cloud::Verb::Put,
                store: cloud::Store::Meta,
            },
            url: cloud::UrlParam::default(),
        },
        meta: MetaSet {
            metas: vec![MetaEntry::new(&meta)],
            keys: vec![cloud::KeyText::new(&secret())],
        },
    };
    let put_meta = Message::new("t", Auth::token("a.b.c"), put_meta);
    let content = backup::FileHead {
        cid: document.cid,
        len: 9,
    };
    let mut samples = vec![
        preamble.encode().to_vec(),
        backed_up.encode().expect("bytes"),
        trailer.encode().expect("bytes"),
        content.encode(),
        put_meta.encode().into_bytes(),
        cbor::to_vec(&value).expect("bytes"),
        header.encode().bytes.to_vec(),
        meta.encode().bytes.to_vec(),
        meta.to_main_json().into_bytes(),
        wal.to_json().into_bytes(),
        GENESIS.event.bytes.to_vec(),
        GENESIS.root.bytes.to_vec(),
        GENESIS.car.bytes.to_vec(),
        envelope::seal(&GENESIS.car.bytes, &secret()),
        Car::commit(&header, [&document]).bytes.to_vec(),
        KeySet::new("@n-data@", secret()).to_json().into_bytes(),
        charwise::encode(&Key::List(vec![
            "a\"!".into(),
            1.5.into(),
            Key::List(vec![]),
        ]))
        .into(),
        document.bytes.to_vec(),
    ];
    samples.extend(trees.blocks().map(|block| block.bytes.to_vec()));
    samples
}

/// One change to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    use Change::{Cut, Flip, Insert, Remove, Repeat};
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), 1..=255u8).prop_map(|(at, bits)| Flip(at, bits)),
        1 => at().prop_map(Cut),
        1 => (at(), 1..20usize).prop_map(|(at, n)| Remove(at, n)),
        1 => (at(), vec(any::<u8>(), 1..12)).prop_map(|(at, new)| Insert(at, new)),
        1 => (at(), 1..40usize).prop_map(|(at, n)| Repeat(at, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Flip(at, bits) => *at.get_mut(bytes) ^= bits,
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Remove(at, n) => {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + n).min(bytes.len()));
        }
        Change::Insert(at, new) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Repeat(at, n) => {
            let at = at.index(bytes.len());
            let part = bytes[at..(at + n).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

/// Any value in normal form.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0..1i128 << 64).prop_map(|n| Value::Int(-1 - n)),
        any::<f64>().prop_filter_map("finite", |n| n.is_finite().then(|| n.into())),
        ".{0,12}".prop_map(Value::from),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        any::<u64>().prop_map(|n| Cid::of(Codec::Raw, &n.to_le_bytes()).into()),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::List),
            btree_map(".{0,5}", inner, 0..8).prop_map(Value::Map),
        ]
    })
}

/// Any index key that JavaScript reads back unchanged.
fn key() -> impl Strategy<Value = Key> {
    let leaf = prop_oneof![
        Just(Key::Null),
        Just(Key::Undefined),
        any::<bool>().prop_map(Key::from),
        any::<f64>().prop_filter_map("a number", |n| {
            (!n.is_nan()).then_some(Key::Number(if n == 0.0 { 0.0 } else { n }))
        }),
        (-1000..1000i32).prop_map(|n| f64::from(n).into()),
        "[a-c!\"\u{e000}\u{ffff}😀]{0,6}".prop_map(Key::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| vec(inner, 0..4).prop_map(Key::List))
}

/// The order of keys that are no lists.
fn order(a: &Key, b: &Key) -> std::cmp::Ordering {
    let rank = |key: &Key| match key {
        Key::Null => 0,
        Key::Bool(_) => 1,
        Key::Number(_) => 2,
        Key::Text(_) => 3,
        Key::List(_) => 4,
        Key::Undefined => 5,
    };
    match (a, b) {
        (Key::Bool(a), Key::Bool(b)) => a.cmp(b),
        (Key::Number(a), Key::Number(b)) => a.total_cmp(b),
        (Key::Text(a), Key::Text(b)) => a.encode_utf16().cmp(b.encode_utf16()),
        _ => rank(a).cmp(&rank(b)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        feed(&bytes);
        feed_text(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_text(text in ".{0,200}") {
        feed(text.as_bytes());
        feed_text(&text);
    }

    #[test]
    fn changed_samples(
        sample in any::<prop::sample::Index>(),
        changes in vec(change(), 1..6),
    ) {
        let samples = samples();
        let mut bytes = sample.get(&samples).clone();
        for change in &changes {
            apply(&mut bytes, change);
        }
        feed(&bytes);
        feed_text(&String::from_utf8_lossy(&bytes));
        // A CAR and an envelope around it, so that the damage is behind good hashes.
        let block = Block::new(Codec::DagCbor, bytes);
        let car = car::encode(&[block.cid], [&block]);
        feed(&car);
        feed(&envelope::seal(&car, &secret()));
    }

    #[test]
    fn values_come_back(value in value()) {
        let bytes = cbor::to_vec(&value).expect("any value can be stored");
        prop_assert_eq!(cbor::from_slice::<Value>(&bytes), Ok(value.clone()));
        prop_assert_eq!(Value::from_json(&value.to_json()).ok(), Some(value.clone()));
        let document = Value::Map([("v".to_owned(), value)].into());
        let block = document::encode("id", &document).expect("a document");
        let back: Value = document::decode(&block.bytes).expect("readable").expect("no tombstone");
        prop_assert_eq!(&back["v"], &document["v"]);
        prop_assert_eq!(document::encode("id", &back), Ok(block));
    }

    #[test]
    fn keys_come_back_in_order(a in key(), b in key()) {
        let (x, y) = (charwise::encode(&a), charwise::encode(&b));
        prop_assert_eq!(charwise::decode(&x), Ok(a.clone()));
        let utf16 = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        prop_assert_eq!(charwise::cmp(&x, &y), utf16(&x).cmp(&utf16(&y)));
        if !matches!((&a, &b), (Key::List(_), Key::List(_))) {
            prop_assert_eq!(charwise::cmp(&x, &y), order(&a, &b));
        }
    }
}

/// Heads that claim far more than there is.
#[test]
fn bombs() {
    for head in [0x5b, 0x7b, 0x9b, 0xbb] {
        for claim in [u64::MAX, 1 << 60, 1 << 33] {
            let mut bytes = vec![head];
            bytes.extend(claim.to_be_bytes());
            feed(&bytes);
            bytes.extend([0; 40]);
            feed(&bytes);
            assert!(cbor::from_slice::<Value>(&bytes).is_err());
        }
    }
    for opening in [
        &b"\x81"[..],
        b"\xa1\x60",
        b"\xd8\x2a",
        b"[",
        b"{\"a\":",
        b"K",
    ] {
        let bytes = opening.repeat(200_000);
        feed(&bytes);
        feed_text(&String::from_utf8_lossy(&bytes));
    }
    let deep = cbor::from_slice::<Value>(&b"\x81".repeat(200_000));
    assert_eq!(deep, Err(CborError::TooDeep(cbor::MAX_DEPTH)));
    feed(&[0xff; 5000]);
    feed_text(&"z".repeat(100_000));
}

/// A map out of order in every level costs no more than the map itself.
#[test]
fn unsorted_maps_are_read_in_linear_time() {
    let mut bytes = vec![0x00];
    for _ in 0..200 {
        let inner = std::mem::take(&mut bytes);
        bytes.extend(b"\xa3\x61c\x00\x61b");
        bytes.extend(inner);
        bytes.extend(b"\x61a\x00");
    }
    assert!(cbor::from_slice::<Value>(&bytes).is_ok());
    let mut wide = vec![0xba];
    wide.extend(70_000u32.to_be_bytes());
    for n in (0..70_000u32).rev() {
        wide.push(0x65);
        wide.extend(format!("{n:05}").bytes());
        wide.push(0x00);
    }
    assert!(cbor::from_slice::<Value>(&wide).is_ok());
}
