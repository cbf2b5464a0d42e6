//! Document blocks (format §4): `{doc: {…, _id}}` and the tombstone.
//!
//! ```
//! use firebrick_core::document;
//! let block = document::encode("id-0", &serde_json::json!({"value": "value-0"}))?;
//! assert_eq!(block.cid.to_string(), "bafyreiebw4nnyq7dtmtlbuf3lz5nspuh4p6wcmyp2uvve263pmfb3hdtei");
//! let back: Option<firebrick_core::cbor::Value> = document::decode(&block.bytes)?;
//! assert_eq!(back.unwrap()["_id"].as_str(), Some("id-0"));
//! # Ok::<(), document::DocumentError>(())
//! ```

use std::sync::LazyLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::cbor::{CborError, Deserializer, Reader, Serializer, Token, Writer};
use crate::cid::Codec;
use crate::number;

/// The id that holds the document of the genesis event (format §4.4). Plain text, not a real CID.
///
/// ```
/// use firebrick_core::document::{self, GENESIS_KEY};
/// assert!(document::check_id(GENESIS_KEY).is_ok());
/// assert!(GENESIS_KEY.contains("fireproofgenesis"));
/// ```
pub const GENESIS_KEY: &str = "baembeiarootfireproofgenesisblockaaaafireproofgenesisblocka";

/// The longest id in bytes.
///
/// ```
/// use firebrick_core::document::{self, DocumentError, MAX_ID_BYTES};
/// assert!(document::check_id(&"x".repeat(MAX_ID_BYTES)).is_ok());
/// let longer = "x".repeat(MAX_ID_BYTES + 1);
/// assert_eq!(document::check_id(&longer), Err(DocumentError::IdTooLong(4097)));
/// ```
pub const MAX_ID_BYTES: usize = 4096;

/// The largest document block in bytes. The format has no limit; this one bounds memory.
///
/// ```
/// use firebrick_core::document::{self, DocumentError, MAX_DOCUMENT_BYTES};
/// let large = serde_json::json!({"text": "x".repeat(MAX_DOCUMENT_BYTES)});
/// let refused = document::encode("a", &large);
/// assert!(matches!(refused, Err(DocumentError::TooLarge { bytes }) if bytes > MAX_DOCUMENT_BYTES));
/// ```
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// How deeply a document's lists and maps may be nested, its own map included.
///
/// ```
/// use firebrick_core::cbor::Value;
/// use firebrick_core::document::{self, MAX_DOCUMENT_DEPTH};
/// let mut deep = Value::Null;
/// for _ in 1..MAX_DOCUMENT_DEPTH {
///     deep = vec![deep].into();
/// }
/// let nested = |value| [("deep", value)].into_iter().collect::<Value>();
/// assert!(document::encode("a", &nested(deep.clone())).is_ok());
/// assert!(document::encode("a", &nested(vec![deep].into())).is_err());
/// ```
pub const MAX_DOCUMENT_DEPTH: usize = crate::cbor::MAX_DEPTH - 1;

/// The block of every deleted document, `{del: true}`.
///
/// ```
/// use firebrick_core::{cbor::Value, document};
/// let block = &*document::TOMBSTONE;
/// assert!(document::is_tombstone(&block.bytes));
/// assert_eq!(document::decode::<Value>(&block.bytes)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub static TOMBSTONE: LazyLock<Block> =
    LazyLock::new(|| Block::new(Codec::DagCbor, Bytes::from_static(TOMBSTONE_BYTES)));

const TOMBSTONE_BYTES: &[u8] = b"\xa1\x63del\xf5";
const PREFIX: &[u8] = b"\xa1\x63doc";

/// Why something cannot be a document.
///
/// ```
/// use firebrick_core::document::{self, DocumentError};
/// assert_eq!(document::encode("a", &5), Err(DocumentError::NotAMap));
/// match document::check_id("naïve") {
///     Err(DocumentError::IdCharacter { character, at }) => assert_eq!((character, at), ('ï', 2)),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The value is not a map.
    #[error("a document must be a map with text keys, such as a struct")]
    NotAMap,
    /// The id is empty.
    #[error("a document id must not be empty")]
    EmptyId,
    /// The id is too long.
    #[error("a document id has at most {MAX_ID_BYTES} bytes, not {0}")]
    IdTooLong(usize),
    /// The id has a character that the format does not allow.
    #[error("a document id is printable ASCII; {character:?} at byte {at} is not")]
    IdCharacter {
        /// The character.
        character: char,
        /// Its position in bytes.
        at: usize,
    },
    /// `_id` is neither text nor a number.
    #[error("the field _id must be text or a number")]
    IdKind,
    /// The encoded document is too large.
    #[error("the document has {bytes} bytes, the limit is {MAX_DOCUMENT_BYTES}")]
    TooLarge {
        /// The size of its block.
        bytes: usize,
    },
    /// The block is neither `{doc}` nor `{del: true}`.
    #[error("the block is not a document")]
    NotADocument,
    /// A value that cannot be stored, or bytes that are not dag-cbor, or another type than asked.
    #[error(transparent)]
    Cbor(#[from] CborError),
}

/// Encodes a document under the given id.
///
/// `_id` is written into the document; one that it brings along is replaced, except that a number
/// whose text is the id stays a number. `None` becomes null, a NaN as a map entry is left out
/// (format §4.3).
///
/// ```
/// use firebrick_core::{cbor::Value, document};
/// let block = document::encode("one", &serde_json::json!({"_id": "other", "n": 1}))?;
/// let stored: Option<Value> = document::decode(&block.bytes)?;
/// let expected = serde_json::json!({"_id": "one", "n": 1});
/// assert_eq!(stored.map(|stored| stored.to_json()), Some(expected));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DocumentError`] for an id outside [`check_id`], for values that cannot be stored (NaN in a
/// list, infinities), and beyond the limits of size and depth.
pub fn encode<T: Serialize + ?Sized>(id: &str, document: &T) -> Result<Block, DocumentError> {
    check_id(id)?;
    let mut serializer = fields(document)?;
    let own = serializer.entry("_id").ok_or(DocumentError::NotAMap)?;
    let keep = own.is_some_and(|own| id_of(own).is_ok_and(|own| own.as_deref() == Some(id)));
    if !keep {
        serializer.put("_id", id);
    }
    finish(serializer)
}

/// Encodes a document under its own `_id`, or under the id that `generate` makes if it has none
/// (missing, null or empty). Returns the id too.
///
/// ```
/// use firebrick_core::document;
/// use serde_json::json;
/// let (id, _) = document::encode_own(&json!({"_id": "one"}), || "made".into())?;
/// assert_eq!(id, "one");
/// let (id, block) = document::encode_own(&json!({"n": 1}), || "made".into())?;
/// assert_eq!(id, "made");
/// assert_eq!(block, document::encode("made", &json!({"n": 1}))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`encode`], and [`DocumentError::IdKind`].
pub fn encode_own<T: Serialize + ?Sized>(
    document: &T,
    generate: impl FnOnce() -> String,
) -> Result<(String, Block), DocumentError> {
    let mut serializer = fields(document)?;
    let own = serializer.entry("_id").ok_or(DocumentError::NotAMap)?;
    let id = match own.map_or(Ok(None), id_of)? {
        Some(id) => {
            check_id(&id)?;
            id
        }
        None => {
            let id = generate();
            check_id(&id)?;
            serializer.put("_id", &id);
            id
        }
    };
    Ok((id, finish(serializer)?))
}

/// The `_id` that a document brings along: `None` if it is missing, null or empty.
///
/// ```
/// use firebrick_core::document::split_id;
/// use serde_json::json;
/// assert_eq!(split_id(&json!({"_id": "one", "n": 1}))?.as_deref(), Some("one"));
/// assert_eq!(split_id(&json!({"_id": 5}))?.as_deref(), Some("5"));
/// assert_eq!(split_id(&json!({"n": 1}))?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`encode_own`].
pub fn split_id<T: Serialize + ?Sized>(document: &T) -> Result<Option<String>, DocumentError> {
    let serializer = fields(document)?;
    let own = serializer.entry("_id").ok_or(DocumentError::NotAMap)?;
    let id = own.map_or(Ok(None), id_of)?;
    id.as_deref().map_or(Ok(()), check_id)?;
    Ok(id)
}

/// Writes the fields, leaving the map open.
fn fields<T: Serialize + ?Sized>(document: &T) -> Result<Serializer, DocumentError> {
    let mut out = Writer::with_capacity(256);
    out.buffer().extend_from_slice(PREFIX);
    let mut serializer = Serializer::document(out, 1);
    document.serialize(&mut serializer)?;
    Ok(serializer)
}

fn finish(mut serializer: Serializer) -> Result<Block, DocumentError> {
    serializer.close()?;
    let bytes = serializer.out.into_vec();
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(DocumentError::TooLarge { bytes: bytes.len() });
    }
    Ok(Block::new(Codec::DagCbor, bytes))
}

/// The id that an encoded `_id` stands for.
fn id_of(encoded: &[u8]) -> Result<Option<String>, DocumentError> {
    match Reader::new(encoded).token()? {
        Token::Null | Token::Text("") => Ok(None),
        Token::Text(text) => Ok(Some(text.into())),
        Token::Int(number) => Ok(Some(number.to_string())),
        Token::Float(number) => Ok(Some(number::to_text(number))),
        _ => Err(DocumentError::IdKind),
    }
}

/// Reads a document block; `None` for a tombstone. The type gets all fields, `_id` included.
///
/// ```
/// use firebrick_core::document;
/// #[derive(serde::Deserialize)]
/// struct Task<'a> {
///     _id: &'a str,
///     done: bool,
/// }
/// let block = document::encode("one", &serde_json::json!({"done": true}))?;
/// let task: Task = document::decode(&block.bytes)?.expect("not a tombstone");
/// assert_eq!((task._id, task.done), ("one", true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DocumentError`] if the block is something else or the type does not take it.
pub fn decode<'de, T: Deserialize<'de>>(block: &'de [u8]) -> Result<Option<T>, DocumentError> {
    if block == TOMBSTONE_BYTES {
        return Ok(None);
    }
    let fields = fields_of(block)?;
    if fields.first().is_none_or(|first| first >> 5 != 5) {
        return Err(DocumentError::NotADocument);
    }
    let mut deserializer = Deserializer::new(Reader::new(fields), 1);
    let document = T::deserialize(&mut deserializer)?;
    deserializer.finish()?;
    Ok(Some(document))
}

/// The encoded map of fields in a document block that is not a tombstone, unchecked.
///
/// ```
/// use firebrick_core::{cbor, document};
/// let block = document::encode("one", &serde_json::json!({"n": 1}))?;
/// let fields: cbor::Value = cbor::from_slice(document::fields_of(&block.bytes)?)?;
/// assert_eq!(fields["n"], 1.into());
/// assert!(document::fields_of(b"something else").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DocumentError::NotADocument`] if the block does not begin like one.
pub fn fields_of(block: &[u8]) -> Result<&[u8], DocumentError> {
    block
        .strip_prefix(PREFIX)
        .ok_or(DocumentError::NotADocument)
}

/// Whether the block is the tombstone.
///
/// ```
/// use firebrick_core::document::{TOMBSTONE, encode, is_tombstone};
/// assert!(is_tombstone(&TOMBSTONE.bytes));
/// assert!(!is_tombstone(&encode("one", &serde_json::json!({"del": true}))?.bytes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn is_tombstone(block: &[u8]) -> bool {
    block == TOMBSTONE_BYTES
}

/// Whether a text can be a document id: printable ASCII, 1 to [`MAX_ID_BYTES`] bytes.
///
/// ```
/// use firebrick_core::document::{DocumentError, check_id};
/// assert!(check_id("task 1").is_ok());
/// assert_eq!(check_id(""), Err(DocumentError::EmptyId));
/// assert!(check_id("two\nlines").is_err());
/// ```
///
/// # Errors
/// [`DocumentError`] says what is wrong.
pub fn check_id(id: &str) -> Result<(), DocumentError> {
    if id.is_empty() {
        return Err(DocumentError::EmptyId);
    }
    if id.len() > MAX_ID_BYTES {
        return Err(DocumentError::IdTooLong(id.len()));
    }
    match id.char_indices().find(|(_, c)| !(' '..='~').contains(c)) {
        Some((at, character)) => Err(DocumentError::IdCharacter { character, at }),
        None => Ok(()),
    }
}

/// An id for a document that has none: a UUIDv7 of the Unix time in milliseconds and random bytes,
/// so ids sort by time.
///
/// ```
/// use firebrick_core::document::generate_id;
/// let id = generate_id(0x0123_4567_89ab, [0xcd; 10]);
/// assert_eq!(id, "01234567-89ab-7cdc-bdcd-cdcdcdcdcdcd");
/// assert!(id < generate_id(0x0123_4567_89ac, [0; 10]));
/// ```
#[must_use]
pub fn generate_id(unix_ms: u64, random: [u8; 10]) -> String {
    let [_, _, time @ ..] = unix_ms.to_be_bytes();
    let mut hex = data_encoding::HEXLOWER.encode(&time);
    data_encoding::HEXLOWER.encode_append(&random, &mut hex);
    let parts = [
        &hex[..8],
        "-",
        &hex[8..12],
        "-7",
        &hex[12..15],
        "-b",
        &hex[15..18],
        "-",
        &hex[18..30],
    ];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::cbor::{Date, Undefined, Value};

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Task {
        #[serde(rename = "_id", default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        title: String,
        done: bool,
    }

    fn task(id: Option<&str>) -> Task {
        Task {
            id: id.map(Into::into),
            title: "t".into(),
            done: false,
        }
    }

    fn stored(id: &str, document: &(impl Serialize + ?Sized)) -> Result<Value, DocumentError> {
        let block = encode(id, document)?;
        Ok(decode(&block.bytes)?.unwrap())
    }

    #[test]
    fn the_id_is_written() {
        for own in [None, Some("a"), Some(""), Some("b")] {
            let block = encode("a", &task(own)).unwrap();
            assert_eq!(block, encode("a", &task(Some("a"))).unwrap());
            assert_eq!(decode(&block.bytes), Ok(Some(task(Some("a")))));
        }
        let (id, block) = encode_own(&task(Some("a")), || unreachable!()).unwrap();
        assert_eq!((&*id, &block), ("a", &encode("a", &task(None)).unwrap()));
        let (id, block) = encode_own(&task(None), || "made".into()).unwrap();
        assert_eq!(
            (&*id, &block),
            ("made", &encode("made", &task(None)).unwrap())
        );
        assert_eq!(split_id(&task(Some("a"))), Ok(Some("a".into())));
        assert_eq!(split_id(&task(None)), Ok(None));
    }

    #[test]
    fn a_number_as_id_stays_a_number() {
        let (id, block) = encode_own(&json!({"_id": 5.0}), || unreachable!()).unwrap();
        assert_eq!(id, "5");
        assert_eq!(encode("5", &json!({"_id": 5})).unwrap(), block);
        let value: Option<Value> = decode(&block.bytes).unwrap();
        assert_eq!(value.unwrap()["_id"], Value::Int(5));
        assert_eq!(
            stored("6", &json!({"_id": 5})).unwrap()["_id"],
            Value::from("6")
        );
        assert_eq!(
            encode_own(&json!({"_id": true}), || unreachable!()),
            Err(DocumentError::IdKind)
        );
    }

    #[test]
    fn ids_are_checked() {
        assert_eq!(check_id(""), Err(DocumentError::EmptyId));
        assert_eq!(
            check_id(&"x".repeat(4097)),
            Err(DocumentError::IdTooLong(4097))
        );
        assert!(check_id(&"x".repeat(4096)).is_ok());
        assert!(check_id(" ~").is_ok());
        for bad in ["é", "a\n", "\u{7f}"] {
            assert!(matches!(
                check_id(bad),
                Err(DocumentError::IdCharacter { .. })
            ));
        }
        let id = generate_id(0x0123_4567_89ab, [0xcd; 10]);
        assert_eq!(id, "01234567-89ab-7cdc-bdcd-cdcdcdcdcdcd");
    }

    #[test]
    fn values_that_are_left_out_or_turned_into_text() {
        #[derive(Serialize)]
        struct Odd {
            nan: f64,
            gone: Undefined,
            date: Date,
            list: Vec<Date>,
            _nan: f64,
        }
        let odd = Odd {
            nan: f64::NAN,
            gone: Undefined,
            date: Date(0),
            list: vec![Date(5)],
            _nan: f64::NAN,
        };
        assert_eq!(
            stored("a", &odd).unwrap().to_json(),
            json!({"_id": "a", "date": "1970-01-01T00:00:00.000Z", "list": ["1970-01-01T00:00:00.005Z"]})
        );
        let strict = |value: Vec<f64>| encode("a", &BTreeMap::from([("_p", value)]));
        assert_eq!(
            strict(vec![f64::NAN]),
            Err(DocumentError::Cbor(CborError::NotFinite))
        );
        assert!(strict(vec![1.0]).is_ok());
        assert!(encode("a", &BTreeMap::from([("_d", Date(0))])).is_err());
        assert!(encode("a", &BTreeMap::from([("l", [f64::NAN])])).is_err());
        assert!(encode("a", &BTreeMap::from([("i", f64::INFINITY)])).is_err());
        let nested = BTreeMap::from([("_p", BTreeMap::from([("u", Undefined)]))]);
        assert!(encode("a", &nested).is_err());
        // Strictness ends with the value.
        let two = BTreeMap::from([("_p", f64::MAX), ("z", f64::NAN)]);
        assert!(stored("a", &two).unwrap().get("z").is_none());
    }

    #[test]
    fn only_maps() {
        assert_eq!(encode("a", &5), Err(DocumentError::NotAMap));
        assert_eq!(encode("a", &vec![1]), Err(DocumentError::NotAMap));
        assert_eq!(encode("a", &vec![json!({})]), Err(DocumentError::NotAMap));
        assert!(encode("a", &json!({})).is_ok());
        assert_eq!(
            encode(
                "a",
                &BTreeMap::from([("x", "y".repeat(MAX_DOCUMENT_BYTES))])
            ),
            Err(DocumentError::TooLarge {
                bytes: MAX_DOCUMENT_BYTES + 19
            })
        );
    }

    #[test]
    fn other_blocks() {
        assert_eq!(decode::<Value>(&TOMBSTONE.bytes), Ok(None));
        assert_eq!(
            TOMBSTONE.cid.to_string(),
            "bafyreicanszdxh2xkhp3ihpunne7jnhd6zde5ppdv6mc74cihlcy2mgr6q"
        );
        for bytes in [
            &b""[..],
            b"\xa1\x63del\xf4",
            b"\xa1\x63doc",
            b"\xa1\x63doc\x05",
            b"\xa1\x63doc\xa0\x00",
            b"\xa2\x63doc\xa0\x63del\xf5",
        ] {
            assert!(decode::<Value>(bytes).is_err());
        }
    }
}
