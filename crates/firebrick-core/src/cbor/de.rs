//! dag-cbor into any deserializable type, without an intermediate value.

use std::collections::BTreeSet;

use serde::de::value::BorrowedBytesDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{CborError, MAX_DEPTH, Reader, Token, link};

mod key;

use key::KeyDeserializer;

/// Reads a value from exactly these bytes. Text and byte strings can be borrowed.
///
/// Map entries may come in any order, duplicates are refused. A float with an integral value is
/// accepted where an integer is wanted, because JavaScript writes integers beyond 2^53 so.
///
/// ```
/// use firebrick_core::cbor::{CborError, from_slice};
/// let list: (&str, u8) = from_slice(b"\x82\x61a\x01")?;
/// assert_eq!(list, ("a", 1));
/// assert_eq!(from_slice::<u8>(b"\x01\x02"), Err(CborError::Trailing(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CborError`] for whatever the format forbids, and for values that the type does not take.
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CborError> {
    let mut deserializer = Deserializer::new(Reader::new(bytes), 0);
    let value = T::deserialize(&mut deserializer)?;
    deserializer.finish()?;
    Ok(value)
}

pub(crate) struct Deserializer<'de> {
    reader: Reader<'de>,
    depth: usize,
    /// Keys of all open maps, to find duplicates if the order is not canonical.
    keys: Vec<&'de str>,
}

impl<'de> Deserializer<'de> {
    /// Reads on, inside of `depth` open lists or maps.
    pub(crate) fn new(reader: Reader<'de>, depth: usize) -> Self {
        Self {
            reader,
            depth,
            keys: Vec::new(),
        }
    }

    pub(crate) fn finish(self) -> Result<(), CborError> {
        self.reader.finish()
    }

    fn enter(&mut self) -> Result<(), CborError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CborError::TooDeep(MAX_DEPTH));
        }
        Ok(())
    }

    fn list<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, CborError> {
        self.enter()?;
        let mut list = List {
            de: self,
            left: length,
        };
        let value = visitor.visit_seq(&mut list)?;
        list.end()?;
        self.depth -= 1;
        Ok(value)
    }

    fn map<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, CborError> {
        self.enter()?;
        let base = self.keys.len();
        if base == 0 {
            self.keys.reserve(length.min(16));
        }
        let mut map = Map {
            de: self,
            left: length,
            base,
            seen: None,
        };
        let value = visitor.visit_map(&mut map)?;
        map.end()?;
        self.keys.truncate(base);
        self.depth -= 1;
        Ok(value)
    }

    fn visit<V: Visitor<'de>>(
        &mut self,
        token: Token<'de>,
        visitor: V,
    ) -> Result<V::Value, CborError> {
        match token {
            Token::Null => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Int(value) => visit_int(value, visitor),
            Token::Float(value) => visitor.visit_f64(value),
            Token::Text(text) => visitor.visit_borrowed_str(text),
            Token::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Token::Link(cid) => {
                visitor.visit_newtype_struct(BorrowedBytesDeserializer::<CborError>::new(cid))
            }
            Token::List(length) => self.list(length, visitor),
            Token::Map(length) => self.map(length, visitor),
        }
    }
}

fn visit_int<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, CborError> {
    if let Ok(value) = u64::try_from(value) {
        visitor.visit_u64(value)
    } else if let Ok(value) = i64::try_from(value) {
        visitor.visit_i64(value)
    } else {
        visitor.visit_i128(value)
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
            match self.reader.token()? {
                // Beyond this no float says which integer was meant.
                Token::Float(value) if value.fract() == 0.0 && value.abs() <= 2f64.powi(64) => {
                    visit_int(value as i128, visitor)
                }
                token => self.visit(token, visitor),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = CborError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        let token = self.reader.token()?;
        self.visit(token, visitor)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        if matches!(self.reader.peek(), Some(0xf6 | 0xf7)) {
            self.reader.token()?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, CborError> {
        if name != link::NAME {
            return visitor.visit_newtype_struct(self);
        }
        let at = self.reader.position();
        match self.reader.token()? {
            token @ Token::Link(_) => self.visit(token, visitor),
            _ => Err(CborError::Expected {
                expected: "a link",
                at,
            }),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CborError> {
        let at = self.reader.position();
        match self.reader.token()? {
            Token::Text(variant) => visitor.visit_enum(variant.into_deserializer()),
            Token::Map(1) => {
                self.enter()?;
                let value = visitor.visit_enum(Variant(&mut *self))?;
                self.depth -= 1;
                Ok(value)
            }
            _ => Err(CborError::Expected {
                expected: "text or a map with one entry",
                at,
            }),
        }
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

struct List<'a, 'de> {
    de: &'a mut Deserializer<'de>,
    left: usize,
}

impl List<'_, '_> {
    fn end(&self) -> Result<(), CborError> {
        match self.left {
            0 => Ok(()),
            left => Err(CborError::Message(format!(
                "{left} more items than expected"
            ))),
        }
    }
}

impl<'de> de::SeqAccess<'de> for List<'_, 'de> {
    type Error = CborError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, CborError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.de).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

struct Map<'a, 'de> {
    de: &'a mut Deserializer<'de>,
    left: usize,
    /// The map's first key in `de.keys`.
    base: usize,
    /// All keys so far, once one was out of order.
    seen: Option<BTreeSet<&'de str>>,
}

impl<'de> Map<'_, 'de> {
    fn check(&mut self, key: &'de str) -> Result<(), CborError> {
        let keys = &mut self.de.keys;
        if let Some(seen) = &mut self.seen {
            if !seen.insert(key) {
                return Err(CborError::DuplicateKey(key.into()));
            }
            return Ok(());
        }
        if let Some(last) = keys[self.base..].last()
            && (last.len(), *last) >= (key.len(), key)
        {
            let mut seen: BTreeSet<&str> = keys.drain(self.base..).collect();
            if !seen.insert(key) {
                return Err(CborError::DuplicateKey(key.into()));
            }
            self.seen = Some(seen);
            return Ok(());
        }
        keys.push(key);
        Ok(())
    }

    fn end(&self) -> Result<(), CborError> {
        match self.left {
            0 => Ok(()),
            left => Err(CborError::Message(format!(
                "{left} more entries than expected"
            ))),
        }
    }
}

impl<'de> de::MapAccess<'de> for Map<'_, 'de> {
    type Error = CborError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, CborError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let at = self.de.reader.position();
        let Token::Text(key) = self.de.reader.token()? else {
            return Err(CborError::KeyNotText(at));
        };
        self.check(key)?;
        seed.deserialize(KeyDeserializer(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, CborError> {
        seed.deserialize(&mut *self.de)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The content of the map that an enum variant is.
struct Variant<'a, 'de>(&'a mut Deserializer<'de>);

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = CborError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), CborError> {
        let at = self.0.reader.position();
        let Token::Text(variant) = self.0.reader.token()? else {
            return Err(CborError::KeyNotText(at));
        };
        Ok((seed.deserialize(KeyDeserializer(variant))?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = CborError;

    fn unit_variant(self) -> Result<(), CborError> {
        <()>::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, CborError> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, CborError> {
        de::Deserializer::deserialize_seq(self.0, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CborError> {
        de::Deserializer::deserialize_map(self.0, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::cbor::Value;

    #[test]
    fn foreign_key_order_is_read_and_duplicates_are_refused() {
        let read = |bytes: &[u8]| from_slice::<Value>(bytes);
        assert!(read(b"\xa3\x61b\x01\x61a\x01\x61c\x01").is_ok());
        for (bytes, key) in [
            (&b"\xa2\x61a\x01\x61a\x01"[..], "a"),
            (b"\xa3\x61b\x01\x61a\x01\x61b\x01", "b"),
            (b"\xa3\x61b\x01\x61a\x01\x61a\x01", "a"),
            (b"\xa3\x61b\xa2\x61z\x01\x61a\x01\x61a\x01\x61a\x01", "a"),
        ] {
            assert_eq!(read(bytes), Err(CborError::DuplicateKey(key.into())));
        }
        // A key of an inner map does not count for the outer one.
        assert!(read(b"\xa3\x61b\xa2\x61z\x01\x61a\x01\x61a\x01\x61c\x01").is_ok());
        // Skipped values are checked like others.
        #[derive(serde::Deserialize)]
        struct Empty {}
        assert!(from_slice::<Empty>(b"\xa1\x61b\xa2\x61a\x01\x61a\x01").is_err());
    }

    #[test]
    fn integers_from_floats() {
        let bytes = b"\xfb\x43\x40\0\0\0\0\0\0";
        assert_eq!(from_slice::<u64>(bytes), Ok(1 << 53));
        assert_eq!(from_slice::<f64>(b"\x05"), Ok(5.0));
        assert!(from_slice::<u64>(b"\xfb\x3f\xf8\0\0\0\0\0\0").is_err());
        assert_eq!(from_slice::<f32>(b"\xf9\x3c\x00"), Ok(1.0));
    }

    #[test]
    fn what_a_type_does_not_take() {
        assert!(from_slice::<(u8, u8)>(b"\x83\x01\x02\x03").is_err());
        assert!(from_slice::<u8>(b"\x01\x02").is_err());
        assert!(from_slice::<HashMap<u8, u8>>(b"\xa1\x611\x02").is_ok());
        assert!(from_slice::<HashMap<u8, u8>>(b"\xa1\x61x\x02").is_err());
        assert_eq!(from_slice::<&str>(b"\x61x"), Ok("x"));
        assert_eq!(from_slice::<Option<u8>>(b"\xf7"), Ok(None));
    }
}
