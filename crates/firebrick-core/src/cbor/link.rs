//! Links to CIDs of any kind.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cid::{BASE32, Cid, CidError};

/// Marks a link on its way through serde.
pub(super) const NAME: &str = "$firebrick::link";

/// A link, as a value inside a document.
///
/// Documents may link to CIDs of foreign kinds; those are kept as they are. A link to a block of
/// this format converts to [`Cid`] and back.
///
/// ```
/// use firebrick_core::cbor::{Link, Value};
/// use firebrick_core::{Cid, cid::Codec};
/// let cid = Cid::of(Codec::Raw, b"content");
/// let document: Value = [("picture", cid)].into_iter().collect();
/// assert_eq!(document["picture"], Value::Link(Link::from(cid)));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Known(Cid),
    Foreign(Box<[u8]>),
}

impl Link {
    /// Reads the binary form of a CID, version 0 or 1, with any codec and hash.
    ///
    /// ```
    /// use firebrick_core::cbor::Link;
    /// let link = Link::from_bytes(&[1, 0x55, 0, 2, 7, 7])?; // two bytes as they are, not hashed
    /// assert_eq!(link.to_bytes(), [1, 0x55, 0, 2, 7, 7]);
    /// assert!(Link::from_bytes(&[1, 0x55, 0, 2, 7]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CidError`] if the bytes are not exactly one CID.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        if let Ok(cid) = Cid::from_bytes(bytes) {
            return Ok(Self(Repr::Known(cid)));
        }
        if is_cid(bytes) {
            Ok(Self(Repr::Foreign(bytes.into())))
        } else {
            Err(CidError::Kind)
        }
    }

    /// The binary form.
    ///
    /// ```
    /// use firebrick_core::{Cid, cbor::Link, cid::Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// assert_eq!(Link::from(cid).to_bytes(), cid.to_bytes());
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Repr::Known(cid) => cid.to_bytes().to_vec(),
            Repr::Foreign(bytes) => bytes.to_vec(),
        }
    }

    /// The CID, if it is of this format's family.
    ///
    /// ```
    /// use firebrick_core::{Cid, cbor::Link, cid::Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// assert_eq!(Link::from(cid).cid(), Some(cid));
    /// let foreign: Link = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG".parse()?;
    /// assert_eq!(foreign.cid(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cid(&self) -> Option<Cid> {
        match &self.0 {
            Repr::Known(cid) => Some(*cid),
            Repr::Foreign(_) => None,
        }
    }
}

/// Whether these bytes have the structure of a CID.
fn is_cid(bytes: &[u8]) -> bool {
    if let [0x12, 0x20, digest @ ..] = bytes {
        return digest.len() == 32;
    }
    let mut rest = bytes;
    let mut varint = || {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let (first, tail) = rest.split_first()?;
            rest = tail;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    let (Some(1), Some(_codec), Some(_hash), Some(length)) =
        (varint(), varint(), varint(), varint())
    else {
        return false;
    };
    u64::try_from(rest.len()) == Ok(length)
}

impl From<Cid> for Link {
    fn from(cid: Cid) -> Self {
        Self(Repr::Known(cid))
    }
}

impl TryFrom<Link> for Cid {
    type Error = CidError;

    fn try_from(link: Link) -> Result<Self, CidError> {
        link.cid().ok_or(CidError::Kind)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Known(cid) => cid.fmt(f),
            Repr::Foreign(bytes) if bytes.starts_with(&[0x12, 0x20]) => {
                f.pad(&bs58::encode(bytes).into_string())
            }
            Repr::Foreign(bytes) => f.pad(&format!("b{}", BASE32.encode(bytes))),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Link {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let bytes = match text.strip_prefix('b') {
            Some(digits) => BASE32
                .decode(digits.as_bytes())
                .map_err(|_| CidError::Text)?,
            None if text.starts_with("Qm") && text.len() == 46 => {
                bs58::decode(text).into_vec().map_err(|_| CidError::Text)?
            }
            None => return Err(CidError::Text),
        };
        Self::from_bytes(&bytes)
    }
}

/// In dag-cbor a link; in other formats the map `{"/": "<text>"}`, as dag-json has it.
impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(NAME, &Content(self))
    }
}

/// What is inside the marker.
struct Content<'a>(&'a Link);

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return match &self.0.0 {
                Repr::Known(cid) => serializer.serialize_bytes(&cid.to_bytes()),
                Repr::Foreign(bytes) => serializer.serialize_bytes(bytes),
            };
        }
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("/", &self.0.to_string())?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NAME, LinkVisitor)
    }
}

pub(super) struct LinkVisitor;

impl<'de> Visitor<'de> for LinkVisitor {
    type Value = Link;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a link")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Link, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Link, E> {
        Link::from_bytes(bytes).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Link, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Link, A::Error> {
        match map.next_entry::<String, String>()? {
            Some((key, text)) if key == "/" => text.parse().map_err(de::Error::custom),
            _ => Err(de::Error::custom("expected a link")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::Codec;

    #[test]
    fn any_cid_is_kept() {
        let known = Link::from(Cid::of(Codec::Raw, b"x"));
        assert_eq!(known.to_string().parse::<Link>().unwrap(), known);
        let v0 = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
        let link: Link = v0.parse().unwrap();
        assert_eq!(link.to_string(), v0);
        assert_eq!(link.cid(), None);
        let identity = Link::from_bytes(&[1, 0x55, 0, 2, 7, 7]).unwrap();
        assert_eq!(identity.to_string().parse::<Link>().unwrap(), identity);
        assert!(Link::from_bytes(&[1, 0x55, 0, 3, 7, 7]).is_err());
        assert!(Link::from_bytes(&[]).is_err());
        assert!(Link::from_bytes(&[0xff; 36]).is_err());
    }

    #[test]
    fn json_has_the_dag_json_form() {
        let link = Link::from(Cid::of(Codec::Raw, b"x"));
        let json = serde_json::to_string(&link).unwrap();
        assert_eq!(json, format!("{{\"/\":\"{link}\"}}"));
        assert_eq!(serde_json::from_str::<Link>(&json).unwrap(), link);
    }
}
