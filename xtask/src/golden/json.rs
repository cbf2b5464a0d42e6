//! JSON whose objects keep their order, and the fixtures' notation in it.

use std::fmt;

use anyhow::{Context, Result, anyhow};
use firebrick_core::cbor::{Date, Link, Undefined};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use super::lcg_bytes;
use super::tagged::parse_date;

/// A JSON value; the fixtures' special forms are kept as objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        let entries = self.entries()?;
        entries.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    pub(crate) fn entries(&self) -> Option<&[(String, Json)]> {
        match self {
            Json::Object(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str> {
        match self.get(key) {
            Some(Json::Text(text)) => Ok(text),
            _ => Err(anyhow!("there is no text {key:?}")),
        }
    }

    pub(crate) fn number(&self, key: &str) -> Result<f64> {
        match self.get(key) {
            Some(Json::Number(number)) => Ok(*number),
            _ => Err(anyhow!("there is no number {key:?}")),
        }
    }

    /// The content of `{"$name": …}` or `{"/": …}`.
    fn special(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(entries) if entries.len() == 1 && entries[0].0 == name => {
                Some(&entries[0].1)
            }
            _ => None,
        }
    }
}

/// The content of a file as described in `ops.json`.
pub(crate) fn file_content(file: &Json) -> Result<Vec<u8>> {
    if let Some(lcg) = file.get("lcgBytes") {
        return Ok(lcg_bytes(
            lcg.number("seed")? as u32,
            lcg.number("length")? as usize,
        ));
    }
    if let Ok(hex) = file.text("hex") {
        return Ok(data_encoding::HEXLOWER.decode(hex.as_bytes())?);
    }
    let text = file.text("utf8").context("a file without content")?;
    Ok(text.as_bytes().to_vec())
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Json::Object(entries))
    }
}

/// As an application's data: the special forms become what they stand for.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(Json::Text(date)) = self.special("$date") {
            let date: Date = parse_date(date).map_err(S::Error::custom)?;
            return date.serialize(serializer);
        }
        if self.special("$undefined").is_some() {
            return Undefined.serialize(serializer);
        }
        if self.special("$nan").is_some() {
            return serializer.serialize_f64(f64::NAN);
        }
        if let Some(Json::Text(digits)) = self.special("$bigint") {
            return serializer.serialize_i128(digits.parse().map_err(S::Error::custom)?);
        }
        if let Some(Json::Text(cid)) = self.special("/") {
            let link: Link = cid.parse().map_err(S::Error::custom)?;
            return link.serialize(serializer);
        }
        if let Some(Json::Text(text)) = self.special("/").and_then(|inner| inner.special("bytes")) {
            let bytes = data_encoding::BASE64_NOPAD.decode(text.as_bytes());
            return serializer.serialize_bytes(&bytes.map_err(S::Error::custom)?);
        }
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(value) => serializer.serialize_f64(*value),
            Json::Text(text) => serializer.serialize_str(text),
            Json::List(items) => serializer.collect_seq(items),
            Json::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
