use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::super::{CborError, Date, Link, MAX_DEPTH, Undefined, Value, from_slice, to_vec};
use crate::cid::{Cid, Codec};

fn hex<T: Serialize>(value: &T) -> String {
    data_encoding::HEXLOWER.encode(&to_vec(value).unwrap())
}

#[test]
fn structs_are_sorted_by_length_then_bytes() {
    #[derive(Serialize)]
    struct Doc {
        zz: u8,
        aa: u8,
        b: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        c: Option<u8>,
    }
    let doc = Doc {
        zz: 1,
        aa: 2,
        b: None,
        c: None,
    };
    assert_eq!(hex(&doc), "a36162f662616102627a7a01");
}

#[test]
fn maps_and_lists_of_unknown_length() {
    #[derive(Serialize)]
    struct Outer {
        #[serde(flatten)]
        inner: BTreeMap<u32, u8>,
    }
    let outer = Outer {
        inner: (0..30).map(|n| (n, 1)).collect(),
    };
    let bytes = to_vec(&outer).unwrap();
    assert_eq!(bytes[..2], [0xb8, 30]);
    let back: BTreeMap<u32, u8> = from_slice(&bytes).unwrap();
    assert_eq!(back, outer.inner);
}

#[test]
fn enums_are_text_or_single_entry_maps() {
    #[derive(Serialize, serde::Deserialize, PartialEq, Debug)]
    enum Shape {
        Unit,
        New(u8),
        Pair(u8, u8),
        Named { x: u8, a: u8 },
    }
    let all = vec![
        Shape::Unit,
        Shape::New(1),
        Shape::Pair(1, 2),
        Shape::Named { x: 3, a: 4 },
    ];
    let bytes = to_vec(&all).unwrap();
    assert_eq!(from_slice::<Vec<Shape>>(&bytes).unwrap(), all);
    let value: Value = from_slice(&bytes).unwrap();
    assert_eq!(
        value.to_json(),
        json!(["Unit", {"New": 1}, {"Pair": [1, 2]}, {"Named": {"a": 4, "x": 3}}])
    );
}

#[test]
fn duplicate_keys_are_refused() {
    #[derive(Serialize)]
    struct Twice {
        a: u8,
        #[serde(rename = "a")]
        b: u8,
    }
    assert_eq!(
        to_vec(&Twice { a: 1, b: 2 }),
        Err(CborError::DuplicateKey("a".into()))
    );
}

#[test]
fn what_cannot_be_stored() {
    assert_eq!(to_vec(&f64::NAN), Err(CborError::NotFinite));
    assert_eq!(to_vec(&[f64::INFINITY]), Err(CborError::NotFinite));
    assert_eq!(to_vec(&Undefined), Err(CborError::Undefined));
    assert_eq!(to_vec(&[Date(0)]), Err(CborError::Date));
    assert!(matches!(
        to_vec(&(u64::MAX as i128 + 1)),
        Err(CborError::IntegerRange(_))
    ));
    assert!(to_vec(&BTreeMap::from([(vec![1u8], 1)])).is_err());
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let mut value = Value::Null;
        for _ in 0..depth {
            value = Value::List(vec![value]);
        }
        value
    };
    let bytes = to_vec(&nested(MAX_DEPTH)).unwrap();
    assert_eq!(from_slice::<Value>(&bytes).unwrap(), nested(MAX_DEPTH));
    assert_eq!(
        to_vec(&nested(MAX_DEPTH + 1)),
        Err(CborError::TooDeep(MAX_DEPTH))
    );
    let deep = [vec![0x81; MAX_DEPTH + 1], vec![0]].concat();
    assert_eq!(
        from_slice::<Value>(&deep),
        Err(CborError::TooDeep(MAX_DEPTH))
    );
}

#[test]
fn links_and_bytes_in_a_type() {
    #[derive(Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Doc {
        link: Link,
        links: Vec<Option<Link>>,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    }
    let link = Link::from(Cid::of(Codec::Raw, b"x"));
    let doc = Doc {
        link: link.clone(),
        links: vec![None, Some(link.clone())],
        bytes: vec![1, 2],
    };
    let bytes = to_vec(&doc).unwrap();
    assert_eq!(from_slice::<Doc>(&bytes).unwrap(), doc);
    let value: Value = from_slice(&bytes).unwrap();
    assert_eq!(value["link"], Value::Link(link));
    assert_eq!(value["bytes"], Value::Bytes(vec![1, 2]));
    assert_eq!(to_vec(&value).unwrap(), bytes);
}
