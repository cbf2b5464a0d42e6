//! Index keys as text whose order is the order of the keys (format §13.2).
//!
//! The order is null, booleans, numbers, text, lists, undefined. Texts compare by UTF-16 code units,
//! see [`cmp`].
//!
//! ```
//! use firebrick_core::charwise::{self, Key};
//! assert_eq!(charwise::encode(&Key::Number(12.5)), "FE501M1.2500000000000000000000");
//! assert!(charwise::cmp(&charwise::encode(&9.0.into()), &charwise::encode(&10.0.into())).is_lt());
//! ```

use std::cmp::Ordering;

use crate::cbor::Value;
use crate::number;

mod decode;
mod sortable;

pub use decode::decode;
pub use sortable::{from_sortable, to_sortable};

/// How deeply lists in a key may be nested.
///
/// ```
/// use firebrick_core::charwise::{self, CharwiseError, MAX_DEPTH};
/// let nested = |depth| "K".repeat(depth) + &"!".repeat(depth);
/// assert!(charwise::decode(&nested(MAX_DEPTH)).is_ok());
/// assert_eq!(charwise::decode(&nested(MAX_DEPTH + 1)), Err(CharwiseError::TooDeep));
/// ```
pub const MAX_DEPTH: usize = crate::cbor::MAX_DEPTH;

/// Why something cannot be an index key.
///
/// ```
/// use firebrick_core::cbor::Value;
/// use firebrick_core::charwise::{self, CharwiseError, Key};
/// let map: Value = [("a", 1)].into_iter().collect();
/// assert_eq!(Key::try_from(&map), Err(CharwiseError::Kind("a map")));
/// assert_eq!(charwise::decode("?"), Err(CharwiseError::NotAKey));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CharwiseError {
    /// The value is or contains a map, bytes or a link.
    #[error("{0} cannot be an index key")]
    Kind(&'static str),
    /// The text is not an encoded key.
    #[error("not an encoded index key")]
    NotAKey,
    /// Lists are nested deeper than [`MAX_DEPTH`].
    #[error("an index key is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// An index key.
///
/// ```
/// use firebrick_core::{cbor::Value, charwise::Key};
/// let key = Key::try_from(&Value::from("sea"))?;
/// assert_eq!(key, Key::Text("sea".into()));
/// assert_eq!(Value::from(&Key::List(vec![1.5.into()])), vec![1.5.into()].into());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// `null`.
    Null,
    /// `undefined`.
    Undefined,
    /// A boolean.
    Bool(bool),
    /// A number; NaN and infinities bound ranges.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Key>),
}

impl Key {
    /// Whether JavaScript takes it as true.
    ///
    /// ```
    /// use firebrick_core::charwise::Key;
    /// assert!(Key::from("0").is_truthy());
    /// assert!(Key::List(Vec::new()).is_truthy());
    /// assert!(!Key::from(0.0).is_truthy());
    /// assert!(!Key::from("").is_truthy());
    /// ```
    #[must_use]
    pub fn is_truthy(&self) -> bool {
        match self {
            Key::Null | Key::Undefined => false,
            Key::Bool(value) => *value,
            Key::Number(value) => *value != 0.0 && !value.is_nan(),
            Key::Text(text) => !text.is_empty(),
            Key::List(_) => true,
        }
    }
}

impl From<bool> for Key {
    fn from(value: bool) -> Self {
        Key::Bool(value)
    }
}

impl From<f64> for Key {
    fn from(value: f64) -> Self {
        Key::Number(value)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key::Text(text.into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Key::Text(text)
    }
}

impl From<Vec<Key>> for Key {
    fn from(items: Vec<Key>) -> Self {
        Key::List(items)
    }
}

/// The key that a document's value is. Integers beyond 2^53 are rounded.
impl TryFrom<&Value> for Key {
    type Error = CharwiseError;

    fn try_from(value: &Value) -> Result<Self, CharwiseError> {
        Ok(match value {
            Value::Null => Key::Null,
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Number(*value as f64),
            Value::Float(value) => Key::Number(*value),
            Value::Text(text) => Key::Text(text.clone()),
            Value::List(items) => {
                Key::List(items.iter().map(Key::try_from).collect::<Result<_, _>>()?)
            }
            Value::Map(_) => return Err(CharwiseError::Kind("a map")),
            Value::Bytes(_) => return Err(CharwiseError::Kind("a byte string")),
            Value::Link(_) => return Err(CharwiseError::Kind("a link")),
        })
    }
}

/// The key as a value again; undefined, NaN and infinities become null, as in JSON.
impl From<&Key> for Value {
    fn from(key: &Key) -> Self {
        match key {
            Key::Null | Key::Undefined => Value::Null,
            Key::Bool(value) => Value::Bool(*value),
            Key::Number(value) if value.is_finite() => Value::from(*value),
            Key::Number(_) => Value::Null,
            Key::Text(text) => Value::Text(text.clone()),
            Key::List(items) => Value::List(items.iter().map(Value::from).collect()),
        }
    }
}

/// The text of a key.
///
/// ```
/// use firebrick_core::charwise::{Key, encode};
/// assert_eq!(encode(&Key::Null), "A");
/// assert_eq!(encode(&Key::from("sea")), "Jsea");
/// assert_eq!(encode(&Key::List(vec!["a".into(), true.into()])), "KJa\"C!");
/// ```
#[must_use]
pub fn encode(key: &Key) -> String {
    let mut out = String::new();
    write(key, &mut out);
    out
}

/// The bounds of the keys that `prefix` selects, both inclusive: lists that go on with a number ≥ 0.
///
/// ```
/// use firebrick_core::charwise::{self, Key};
/// let (low, high) = charwise::prefix_bounds(&["sea".into()]);
/// let inside = |key: Vec<Key>| {
///     let key = charwise::encode(&key.into());
///     charwise::cmp(&low, &key).is_le() && charwise::cmp(&key, &high).is_le()
/// };
/// assert!(inside(vec!["sea".into(), 3.0.into()]));
/// assert!(!inside(vec!["sky".into(), 3.0.into()]));
/// ```
#[must_use]
pub fn prefix_bounds(prefix: &[Key]) -> (String, String) {
    let bound = |last: f64| {
        let mut items = prefix.to_vec();
        items.push(Key::Number(last));
        encode(&Key::List(items))
    };
    (bound(f64::NAN), bound(f64::INFINITY))
}

/// Compares encoded keys, or any texts, as JavaScript does: by UTF-16 code units.
///
/// ```
/// use firebrick_core::charwise::cmp;
/// assert!(cmp("a", "b").is_lt());
/// assert!(cmp("😀", "\u{fffd}").is_lt()); // by UTF-16 code units
/// assert!("😀" > "\u{fffd}"); // by characters
/// ```
#[must_use]
pub fn cmp(a: &str, b: &str) -> Ordering {
    let pair = a.bytes().zip(b.bytes()).find(|(x, y)| x != y);
    match pair {
        // Characters from U+E000 sort after the surrogates that stand for those beyond U+FFFF.
        Some((0xee | 0xef, 0xf0..)) => Ordering::Greater,
        Some((0xf0.., 0xee | 0xef)) => Ordering::Less,
        Some((x, y)) => x.cmp(&y),
        None => a.len().cmp(&b.len()),
    }
}

fn write(key: &Key, out: &mut String) {
    match key {
        Key::Null => out.push('A'),
        Key::Undefined => out.push('L'),
        Key::Bool(false) => out.push('B'),
        Key::Bool(true) => out.push('C'),
        Key::Number(value) => write_number(*value, out),
        Key::Text(text) => {
            out.push('J');
            if text.contains(['\0', '\x01']) {
                out.push_str(&text.replace('\x01', "\x01\x01").replace('\0', "\x01"));
            } else {
                out.push_str(text);
            }
        }
        Key::List(items) => {
            out.push('K');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push('"');
                }
                write_item(item, out);
            }
            out.push('!');
        }
    }
}

fn write_item(item: &Key, out: &mut String) {
    let start = out.len();
    write(item, out);
    let is_plain = matches!(item, Key::List(_) | Key::Null);
    if !is_plain && out[start..].contains(['!', '"']) {
        let plain = out.split_off(start);
        for c in plain.chars() {
            match c {
                '?' => out.push_str("?@"),
                '!' => out.push_str("??"),
                '"' => out.push_str("?%"),
                _ => out.push(c),
            }
        }
    }
}

fn write_number(value: f64, out: &mut String) {
    if value.is_nan() {
        return out.push_str("DaN");
    }
    if value == 0.0 {
        return out.push_str("FE  0M0");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "FF" } else { "DD" });
    }
    let (digits, exponent) = number::shortest_digits(value.abs());
    let (first, rest) = digits.split_at(1);
    let body = format!("{:>3}M{first}.{rest}{:020}", exponent + 500, 0);
    if value > 0.0 {
        out.push_str("FE");
        out.push_str(&body);
    } else {
        out.push_str("DE");
        // The nines' complement turns the order around.
        out.extend(body.chars().map(complement));
    }
}

fn complement(c: char) -> char {
    match c.to_digit(10) {
        Some(digit) => char::from(b'9' - digit as u8),
        None => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_kinds() {
        let list = |items: &[Key]| Key::List(items.to_vec());
        let sorted = [
            Key::Null,
            false.into(),
            true.into(),
            f64::NEG_INFINITY.into(),
            (-10.0).into(),
            (-9.5).into(),
            (-1e-7).into(),
            0.0.into(),
            5e-324.into(),
            1.0.into(),
            f64::MAX.into(),
            f64::INFINITY.into(),
            "".into(),
            "a".into(),
            "b".into(),
            "😀".into(),
            "\u{fffd}".into(),
            list(&[]),
            list(&[1.0.into()]),
            list(&["a".into()]),
            list(&["a".into(), 1.0.into()]),
            Key::Undefined,
        ];
        for pair in sorted.windows(2) {
            let (a, b) = (encode(&pair[0]), encode(&pair[1]));
            assert_eq!(cmp(&a, &b), Ordering::Less, "{a} {b}");
            assert_eq!(cmp(&b, &a), Ordering::Greater);
            assert_eq!(a.encode_utf16().cmp(b.encode_utf16()), Ordering::Less);
        }
    }

    #[test]
    fn maps_are_refused() {
        let map: Value = [("a", 1)].into_iter().collect();
        assert!(Key::try_from(&map).is_err());
        assert!(Key::try_from(&Value::List(vec![map])).is_err());
    }
}
