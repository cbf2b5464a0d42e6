//! A value of unknown shape.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::link::LinkVisitor;
use super::{Link, MAX_SAFE_INTEGER};

/// Anything that dag-cbor can hold.
///
/// Values made by this crate are in normal form: a number that is integral and within ±(2^53−1) is
/// an [`Int`](Self::Int), as JavaScript stores it, so equal numbers compare equal.
///
/// ```
/// use firebrick_core::cbor::{self, Value};
/// let bytes = cbor::to_vec(&serde_json::json!({"n": 2.0, "list": [null]}))?;
/// let value: Value = cbor::from_slice(&bytes)?;
/// assert_eq!(value["n"], Value::Int(2));
/// assert_eq!(value["list"], Value::List(vec![Value::Null]));
/// assert_eq!(value["nothing here"], Value::Null);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of the range −2^64 … 2^64−1.
    Int(i128),
    /// Any other finite number.
    Float(f64),
    /// Text.
    Text(String),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A link.
    Link(Link),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The entry of a map.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// let map: Value = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.get("a"), Some(&Value::Int(1)));
    /// assert_eq!(map.get("b"), None);
    /// assert_eq!(Value::Null.get("a"), None);
    /// ```
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The text.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// assert_eq!(Value::from("sea").as_str(), Some("sea"));
    /// assert_eq!(Value::from(5).as_str(), None);
    /// ```
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, rounded if it is an integer beyond 2^53.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// assert_eq!(Value::Int(5).as_f64(), Some(5.0));
    /// assert_eq!(Value::Float(0.5).as_f64(), Some(0.5));
    /// assert_eq!(Value::from("5").as_f64(), None);
    /// ```
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The boolean.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// assert_eq!(Value::from(false).as_bool(), Some(false));
    /// assert_eq!(Value::Null.as_bool(), None);
    /// ```
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The list's items.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// let list = Value::from(vec!["a".into(), "b".into()]);
    /// assert_eq!(list.as_list().map(<[Value]>::len), Some(2));
    /// assert_eq!(Value::from("a").as_list(), None);
    /// ```
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The map's entries.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// let value: Value = [("b", 2), ("a", 1)].into_iter().collect();
    /// let map = value.as_map().expect("a map");
    /// assert!(map.keys().eq(["a", "b"]));
    /// ```
    #[must_use]
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Whether it is null.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// assert!(Value::default().is_null());
    /// assert!(!Value::from(0).is_null());
    /// ```
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}

/// The entry of a map; null if there is none.
impl Index<&str> for Value {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        static NULL: Value = Value::Null;
        self.get(key).unwrap_or(&NULL)
    }
}

/// The notation of [`Value::to_json`].
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json().to_string())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER as f64 {
            Value::Int(value as i128)
        } else {
            Value::Float(value)
        }
    }
}

macro_rules! from {
    ($($type:ty => $value:expr;)*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                $value(value.into())
            }
        })*
    };
}

from! {
    bool => Value::Bool;
    u8 => Value::Int;
    u16 => Value::Int;
    u32 => Value::Int;
    u64 => Value::Int;
    i8 => Value::Int;
    i16 => Value::Int;
    i32 => Value::Int;
    i64 => Value::Int;
    &str => Value::Text;
    String => Value::Text;
    crate::Cid => Value::Link;
    Link => Value::Link;
    Vec<Value> => Value::List;
    BTreeMap<String, Value> => Value::Map;
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_u64(value),
                (_, Ok(value)) => serializer.serialize_i64(value),
                _ => serializer.serialize_i128(*value),
            },
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::Link(link) => link.serialize(serializer),
            Value::List(items) => serializer.collect_seq(items),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        Value::deserialize(inner)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.into()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        LinkVisitor.visit_newtype_struct(inner).map(Value::Link)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        // What the input claims is bounded by its length, but a value is larger than a byte.
        let mut items = Vec::with_capacity(list.size_hint().unwrap_or(0).min(64));
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            if entries.insert(key, value).is_some() {
                return Err(de::Error::custom("a map key appears twice"));
            }
        }
        Ok(Value::Map(entries))
    }
}
