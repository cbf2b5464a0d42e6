//! The JSON notation for values that JSON lacks.
//!
//! Bytes are `{"/": {"bytes": "<base64, no padding>"}}`, links `{"/": "<CID>"}`, integers that a
//! JavaScript number cannot hold `{"$bigint": "<digits>"}`.

use data_encoding::BASE64_NOPAD;
use serde_json::{Map, Number, Value as Json};

use super::{MAX_SAFE_INTEGER, Value};
use crate::cid::CidError;

/// Why JSON is not a value in this notation.
///
/// ```
/// use firebrick_core::cbor::{JsonError, Value};
/// let json = serde_json::json!({"$bigint": "a lot"});
/// assert_eq!(Value::from_json(&json), Err(JsonError::Integer("a lot".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text of a byte string is not base64.
    #[error("{0:?} is not base64 without padding")]
    Base64(String),
    /// The text of a link is not a CID.
    #[error("{text:?} is not a CID: {source}")]
    Link {
        /// The text.
        text: String,
        /// Why.
        source: CidError,
    },
    /// The text of an integer is not one of 64 bits and a sign.
    #[error("{0:?} is not an integer of 64 bits and a sign")]
    Integer(String),
    /// A document must be an object.
    #[error("not a JSON object")]
    NotAnObject,
}

impl Value {
    /// The value in JSON; [`Value::from_json`] reads it back.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// use serde_json::json;
    /// assert_eq!(Value::Bytes(vec![1, 2]).to_json(), json!({"/": {"bytes": "AQI"}}));
    /// assert_eq!(Value::Int(1 << 53).to_json(), json!({"$bigint": "9007199254740992"}));
    /// assert_eq!(Value::from(5).to_json(), json!(5));
    /// ```
    #[must_use]
    pub fn to_json(&self) -> Json {
        let single = |key: &str, value| Json::Object(Map::from_iter([(key.to_owned(), value)]));
        match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => match i64::try_from(*value) {
                Ok(small) if small.unsigned_abs() <= MAX_SAFE_INTEGER as u64 => small.into(),
                _ => single("$bigint", value.to_string().into()),
            },
            Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Text(text) => text.as_str().into(),
            Value::Bytes(bytes) => single("/", single("bytes", BASE64_NOPAD.encode(bytes).into())),
            Value::Link(link) => single("/", link.to_string().into()),
            Value::List(items) => items.iter().map(Value::to_json).collect(),
            Value::Map(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), value.to_json()))
                .collect(),
        }
    }

    /// Reads a value from JSON. A number is a JavaScript number, so digits beyond 2^53 are rounded.
    ///
    /// ```
    /// use firebrick_core::cbor::Value;
    /// use serde_json::json;
    /// let value = Value::from_json(&json!({"n": 1.0, "b": {"/": {"bytes": "AQI"}}}))?;
    /// assert_eq!(value["n"], Value::Int(1));
    /// assert_eq!(value["b"], Value::Bytes(vec![1, 2]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`] if one of the special forms has another content than it should.
    pub fn from_json(json: &Json) -> Result<Self, JsonError> {
        Ok(match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => number.as_f64().unwrap_or_default().into(),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(
                items
                    .iter()
                    .map(Self::from_json)
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(map) => match special(map)? {
                Some(value) => value,
                None => Value::Map(
                    map.iter()
                        .map(|(key, value)| Ok((key.clone(), Self::from_json(value)?)))
                        .collect::<Result<_, _>>()?,
                ),
            },
        })
    }
}

/// The value of one of the special forms.
fn special(map: &Map<String, Json>) -> Result<Option<Value>, JsonError> {
    let Some((key, content)) = map.iter().next().filter(|_| map.len() == 1) else {
        return Ok(None);
    };
    Ok(match (key.as_str(), content) {
        ("/", Json::String(text)) => match text.parse() {
            Ok(link) => Some(Value::Link(link)),
            Err(source) => {
                return Err(JsonError::Link {
                    text: text.clone(),
                    source,
                });
            }
        },
        ("/", Json::Object(inner)) if inner.len() == 1 => match inner.get("bytes") {
            Some(Json::String(text)) => Some(Value::Bytes(
                BASE64_NOPAD
                    .decode(text.as_bytes())
                    .map_err(|_| JsonError::Base64(text.clone()))?,
            )),
            _ => None,
        },
        ("$bigint", Json::String(text)) => {
            let value = text.parse::<i128>().ok();
            let value = value.filter(|n| (-(1i128 << 64)..1i128 << 64).contains(n));
            match value {
                Some(value) => Some(Value::Int(value)),
                None => return Err(JsonError::Integer(text.clone())),
            }
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_ways() {
        let json = json!({
            "n": null, "i": -5, "f": 1.5, "big": {"$bigint": "9007199254740992"},
            "b": {"/": {"bytes": "AQI"}}, "l": [{"/": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"}],
            "plain": {"/": 5}
        });
        let value = Value::from_json(&json).unwrap();
        assert_eq!(value["b"], Value::Bytes(vec![1, 2]));
        assert_eq!(value.to_json(), json);
        assert_eq!(Value::from_json(&json!(1.0)).unwrap(), Value::Int(1));
    }

    #[test]
    fn wrong_content() {
        for json in [
            json!({"/": "x"}),
            json!({"/": {"bytes": "="}}),
            json!({"$bigint": "1x"}),
            json!({"$bigint": "18446744073709551616"}),
        ] {
            assert!(Value::from_json(&json).is_err(), "{json}");
        }
    }
}
