//! Meta events: the pointer to the newest CAR group (format §10).

use std::fmt::Write;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::block::Block;
use crate::cbor::{CborError, Reader, Writer};
use crate::cid::{Cid, CidError, Codec};

/// Why a meta event cannot be read.
///
/// ```
/// use firebrick_core::meta::{MetaError, MetaFile};
///
/// assert!(matches!(MetaFile::parse(b"{}"), Err(MetaError::Json(_))));
/// let file = MetaFile::parse(br#"[{"data": "no base64"}]"#)?;
/// assert_eq!(file.damaged, [(0, MetaError::Base64)]);
/// # Ok::<(), MetaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// Neither a JSON array of events nor an object with `metas`.
    #[error("not a list of meta events: {0}")]
    Json(String),
    /// The element has no event.
    #[error("a meta event without data")]
    NoData,
    /// The event is not base64 of multibase `M`.
    #[error("the data of a meta event is not base64")]
    Base64,
    /// The event's block is not one.
    #[error("the block of a meta event cannot be read: {0}")]
    Block(#[from] CborError),
    /// The names of the CARs cannot be read.
    #[error("the CARs of a meta event cannot be read: {0}")]
    Cars(String),
    /// A name is not a CID.
    #[error("not a CID: {0}")]
    Cid(#[from] CidError),
    /// The event goes by the name of another block.
    #[error("the block of a meta event does not have the name {0}")]
    Name(Cid),
}

/// Says which CAR group is the newest.
///
/// ```
/// use firebrick_core::genesis::GENESIS;
/// use firebrick_core::meta::MetaEvent;
///
/// let event = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
/// let next = MetaEvent { parents: vec![event.encode().cid], ..event.clone() };
/// assert_ne!(next.encode().cid, event.encode().cid);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetaEvent {
    /// The CARs of the group.
    pub cars: Vec<Cid>,
    /// The meta events that were known when this one was made.
    pub parents: Vec<Cid>,
}

impl MetaEvent {
    /// `{"cars":[{"/":"…"},…]}`, the dag-json inside the event.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::meta::MetaEvent;
    /// let event = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// assert_eq!(event.db_meta(), format!(r#"{{"cars":[{{"/":"{}"}}]}}"#, GENESIS.car.cid));
    /// ```
    #[must_use]
    pub fn db_meta(&self) -> String {
        let mut text = String::from(r#"{"cars":["#);
        for (at, car) in self.cars.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing into a string cannot fail.
            let _ = write!(text, r#"{comma}{{"/":"{car}"}}"#);
        }
        text.push_str("]}");
        text
    }

    /// The event's block, with the parents sorted.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::meta::MetaEvent;
    /// let event = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// let block = event.encode();
    /// assert_eq!(MetaEvent::decode(&block.bytes)?.cars, [GENESIS.car.cid]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn encode(&self) -> Block {
        self.encode_with(&self.db_meta())
    }

    /// The same with other dag-json inside, which must name the same CARs.
    pub(crate) fn encode_with(&self, db_meta: &str) -> Block {
        let mut parents = self.parents.clone();
        parents.sort_unstable();
        parents.dedup();
        let mut out = Writer::new();
        out.map(2);
        out.text("data");
        out.map(1);
        out.text("dbMeta");
        out.bytes(db_meta.as_bytes());
        out.text("parents");
        out.list(parents.len());
        for parent in &parents {
            out.link(parent);
        }
        Block::new(Codec::DagCbor, out.into_vec())
    }

    /// Reads the event's block.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::meta::MetaEvent;
    /// let event = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// assert_eq!(MetaEvent::decode(&event.encode().bytes)?, event);
    /// assert!(MetaEvent::decode(b"waves").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MetaError`] says what is wrong.
    pub fn decode(block: &[u8]) -> Result<Self, MetaError> {
        Self::decode_with(block).map(|(event, _)| event)
    }

    /// The same, and the dag-json inside.
    pub(crate) fn decode_with(block: &[u8]) -> Result<(Self, &[u8]), MetaError> {
        let mut reader = Reader::new(block);
        reader.map(2)?;
        reader.key("data")?;
        reader.map(1)?;
        reader.key("dbMeta")?;
        let db_meta = reader.bytes()?;
        let cars = read_db_meta(db_meta)?;
        reader.key("parents")?;
        let parents = (0..reader.list()?)
            .map(|_| reader.link())
            .collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok((Self { cars, parents }, db_meta))
    }

    /// `meta/main.json` with this event alone, as JavaScript writes it.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::meta::MetaEvent;
    /// let event = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// let json = event.to_main_json();
    /// assert!(json.starts_with(&format!(r#"[{{"cid":"{}","parents":[]"#, event.encode().cid)));
    /// ```
    #[must_use]
    pub fn to_main_json(&self) -> String {
        let block = self.encode();
        let mut text = format!(r#"[{{"cid":"{}","parents":["#, block.cid);
        for (at, parent) in self.parents.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(text, r#"{comma}"{parent}""#);
        }
        let _ = write!(text, r#"],"data":"M{}"}}]"#, BASE64.encode(&block.bytes));
        text
    }
}

fn read_db_meta(json: &[u8]) -> Result<Vec<Cid>, MetaError> {
    #[derive(Deserialize)]
    struct DbMeta {
        cars: Vec<CarLink>,
    }
    #[derive(Deserialize)]
    struct CarLink {
        #[serde(rename = "/")]
        cid: String,
    }
    let meta: DbMeta = serde_json::from_slice(json).map_err(|e| MetaError::Cars(e.to_string()))?;
    let cars = meta.cars.iter().map(|car| car.cid.parse());
    Ok(cars.collect::<Result<_, CidError>>()?)
}

/// What a `meta/main.json` or a message of the cloud holds.
///
/// ```
/// use firebrick_core::meta::MetaFile;
///
/// let file = MetaFile::parse(br#"{"metas": [], "keys": ["zMCozZ91oiHGYp12nZVhtFh"]}"#)?;
/// assert_eq!(file.keys, ["zMCozZ91oiHGYp12nZVhtFh"]);
/// assert!(file.events.is_empty() && file.damaged.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MetaFile {
    /// The readable events with the CIDs of their blocks, in the file's order.
    pub events: Vec<(Cid, MetaEvent)>,
    /// Key material that came along, `z…`, each once.
    pub keys: Vec<String>,
    /// Elements that could not be read, by position.
    pub damaged: Vec<(usize, MetaError)>,
}

impl MetaFile {
    /// Reads all forms: an array of events, with keys per event (V1), or an object with `metas` and
    /// `keys` (V2). An event's CID is that of its block, whatever the text next to it says.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::meta::{MetaEvent, MetaFile};
    /// let event = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// let file = MetaFile::parse(event.to_main_json().as_bytes())?;
    /// assert_eq!(file.events, [(event.encode().cid, event)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MetaError::Json`] if it is none of these. A bad element alone is reported in
    /// [`damaged`](Self::damaged).
    pub fn parse(json: &[u8]) -> Result<Self, MetaError> {
        let json: Json =
            serde_json::from_slice(json).map_err(|e| MetaError::Json(e.to_string()))?;
        let mut file = Self::default();
        let elements = match &json {
            Json::Array(elements) => elements,
            Json::Object(object) => {
                file.add_keys(object.get("keys"));
                match object.get("metas") {
                    Some(Json::Array(elements)) => elements,
                    _ => return Err(MetaError::Json("there is no list metas".into())),
                }
            }
            _ => return Err(MetaError::Json("neither a list nor an object".into())),
        };
        for (at, element) in elements.iter().enumerate() {
            match read_element(element) {
                Ok(event) => file.events.push(event),
                Err(error) => file.damaged.push((at, error)),
            }
            file.add_keys(element.get("key"));
            file.add_keys(element.get("keys"));
        }
        Ok(file)
    }

    /// Adds key material: a text or a list of texts.
    fn add_keys(&mut self, json: Option<&Json>) {
        let keys = match json {
            Some(Json::String(_)) => std::slice::from_ref(json.unwrap_or(&Json::Null)),
            Some(Json::Array(keys)) => keys,
            _ => return,
        };
        for key in keys.iter().filter_map(Json::as_str) {
            if !self.keys.iter().any(|known| known == key) {
                self.keys.push(key.into());
            }
        }
    }
}

/// The event in an element; its `parents` text is not needed, the block has them.
fn read_element(element: &Json) -> Result<(Cid, MetaEvent), MetaError> {
    let data = element.get("data").and_then(Json::as_str).unwrap_or("");
    if data.is_empty() {
        return Err(MetaError::NoData);
    }
    let digits = data.strip_prefix('M').ok_or(MetaError::Base64)?;
    let block = BASE64
        .decode(digits.as_bytes())
        .map_err(|_| MetaError::Base64)?;
    let mut event = MetaEvent::decode(&block)?;
    // The text keeps the order in which the writer had them.
    let listed: Option<Vec<Cid>> = element.get("parents").and_then(Json::as_array).map(|list| {
        let texts = list.iter().filter_map(Json::as_str);
        texts.filter_map(|text| text.parse().ok()).collect()
    });
    if let Some(listed) = listed {
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        if sorted == event.parents {
            event.parents = listed;
        }
    }
    Ok((Cid::of(Codec::DagCbor, &block), event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u8) -> MetaEvent {
        MetaEvent {
            cars: vec![Cid::of(Codec::Car, &[n]), Cid::of(Codec::Car, &[n, n])],
            parents: (0..n).map(|n| event(n).encode().cid).collect(),
        }
    }

    #[test]
    fn both_ways() {
        for n in 0..4 {
            let text = event(n).to_main_json();
            let file = MetaFile::parse(text.as_bytes()).unwrap();
            assert_eq!(file.events, [(event(n).encode().cid, event(n))]);
            assert_eq!(file.events[0].1.to_main_json(), text);
            assert!(file.damaged.is_empty() && file.keys.is_empty());
        }
    }

    #[test]
    fn forms_with_keys() {
        let plain = event(0).to_main_json();
        let element = plain.trim_matches(['[', ']']);
        let inner = &element[..element.len() - 1];
        for form in [
            format!(r#"[{inner},"key":["zA","zB"]}}]"#),
            format!(r#"[{inner},"key":"zA"}},{inner},"keys":["zA","zB"]}}]"#),
            format!(r#"{{"metas":{plain},"keys":["zA","zB"]}}"#),
        ] {
            let file = MetaFile::parse(form.as_bytes()).unwrap();
            assert_eq!(file.keys, ["zA", "zB"]);
            assert_eq!(file.events[0].1, event(0));
        }
    }

    #[test]
    fn damaged_elements_do_not_hide_others() {
        let text = format!(
            r#"[{{"cid":"x"}},{},{{"data":"Mx"}},5]"#,
            event(0).to_main_json().trim_matches(['[', ']'])
        );
        let file = MetaFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.events.len(), 1);
        assert_eq!(
            file.damaged.iter().map(|d| d.0).collect::<Vec<_>>(),
            [0, 2, 3]
        );
        assert_eq!(MetaFile::parse(b"[]").unwrap(), MetaFile::default());
        for bad in [&b""[..], b"{}", b"5", b"[", b"\xff"] {
            assert!(MetaFile::parse(bad).is_err());
        }
    }
}
