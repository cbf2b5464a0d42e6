//! serde into canonical dag-cbor, without an intermediate value.
//!
//! Map entries are written in the order they come and then arranged by their spans in the output.

use serde::ser::{self, Serialize};

use super::date::{DATE, Date, UNDEFINED};
use super::{CborError, MAX_DEPTH, Writer, link};

mod compound;
mod key;

use compound::{List, Map};

/// Writes any serializable value as canonical dag-cbor.
///
/// Numbers follow JavaScript: a float with an integral value within ±(2^53−1) becomes an integer.
/// Byte strings need `serde_bytes` or a type like it, links need [`Link`](super::Link).
///
/// ```
/// use firebrick_core::cbor::{CborError, to_vec};
/// assert_eq!(to_vec(&("a", 1.0, None::<u8>))?, b"\x83\x61a\x01\xf6");
/// assert_eq!(to_vec(&f64::NAN), Err(CborError::NotFinite));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CborError`] for NaN, infinities, integers beyond 64 bits, map keys that are not text (numbers
/// and booleans are taken as text), duplicate keys, and nesting deeper than [`MAX_DEPTH`].
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CborError> {
    let mut serializer = Serializer::new(Writer::with_capacity(128));
    value.serialize(&mut serializer)?;
    match serializer.omitted {
        Some(omitted) => Err(omitted.error()),
        None => Ok(serializer.out.into_vec()),
    }
}

/// A map entry in the output.
#[derive(Clone, Copy)]
struct Entry {
    /// The first eight bytes of the encoded key: decides most comparisons.
    rank: u64,
    start: usize,
    value: usize,
    end: usize,
}

/// What a value said that can only be left out of a map.
#[derive(Clone, Copy)]
enum Omitted {
    NaN,
    Undefined,
}

impl Omitted {
    fn error(self) -> CborError {
        match self {
            Omitted::NaN => CborError::NotFinite,
            Omitted::Undefined => CborError::Undefined,
        }
    }
}

/// A map that has its entries but not its order.
#[derive(Clone, Copy)]
struct OpenMap {
    /// Where its head is, written for `expected` entries.
    head: usize,
    expected: usize,
    /// Its first entry in `entries`.
    base: usize,
}

/// Never a depth: no key above begins with `_`.
const LENIENT: usize = usize::MAX;

pub(crate) struct Serializer {
    pub(crate) out: Writer,
    /// Entries of all open maps, outer ones first.
    entries: Vec<Entry>,
    scratch: Vec<u8>,
    depth: usize,
    /// While a document is written: the depth of its own map.
    document: Option<usize>,
    /// The document's own map, kept open at its end.
    open: Option<OpenMap>,
    /// The depth of the map with the outermost key that begins with `_`.
    strict_from: usize,
    omitted: Option<Omitted>,
}

impl Serializer {
    pub(crate) fn new(out: Writer) -> Self {
        Self {
            out,
            entries: Vec::new(),
            scratch: Vec::new(),
            depth: 0,
            document: None,
            open: None,
            strict_from: LENIENT,
            omitted: None,
        }
    }

    /// For the fields of a document: the rules of format §4.3 apply, and its own map is left open
    /// for [`entry`](Self::entry) and [`put`](Self::put) until [`close`](Self::close).
    /// `outer` maps are already open around it.
    pub(crate) fn document(out: Writer, outer: usize) -> Self {
        Self {
            entries: Vec::with_capacity(16),
            depth: outer,
            document: Some(outer + 1),
            ..Self::new(out)
        }
    }

    /// The encoded value of a field of the document; the outer `None` if what was written is not a
    /// map.
    pub(crate) fn entry(&self, key: &str) -> Option<Option<&[u8]>> {
        let open = self.open?;
        let out = self.out.as_slice();
        let found = self.entries[open.base..].iter().find(|e| {
            let encoded = &out[e.start..e.value];
            encoded.ends_with(key.as_bytes()) && encoded.len() == key.len() + head_len(key.len())
        });
        Some(found.map(|e| &out[e.value..e.end]))
    }

    /// Sets a field of the document to a text.
    pub(crate) fn put(&mut self, key: &str, text: &str) {
        let Some(open) = self.open else { return };
        let start = self.out.as_slice().len();
        self.out.text(key);
        let value = self.out.as_slice().len();
        self.out.text(text);
        let new = self.new_entry(start, value);
        let out = self.out.as_slice();
        let same = self.entries[open.base..]
            .iter_mut()
            .find(|e| out[e.start..e.value] == out[start..value]);
        match same {
            Some(entry) => *entry = new,
            None => self.entries.push(new),
        }
    }

    /// Ends the document's map.
    pub(crate) fn close(&mut self) -> Result<(), CborError> {
        match self.open.take() {
            Some(open) => self.arrange(open),
            None => Ok(()),
        }
    }

    fn new_entry(&self, start: usize, value: usize) -> Entry {
        let out = self.out.as_slice();
        let key = value - start;
        let rank = match out[start..].first_chunk() {
            Some(first) if key < 8 => u64::from_be_bytes(*first) & !(u64::MAX >> (8 * key)),
            Some(first) => u64::from_be_bytes(*first),
            None => {
                let bytes = out[start..value].iter();
                bytes.fold(0, |rank, b| rank << 8 | u64::from(*b)) << (64 - 8 * key.min(8))
            }
        };
        Entry {
            rank,
            start,
            value,
            end: out.len(),
        }
    }

    fn enter(&mut self) -> Result<(), CborError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CborError::TooDeep(MAX_DEPTH));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether the rules for document values apply to a value at this place.
    fn is_lenient(&self) -> bool {
        self.document.is_some() && self.strict_from == LENIENT
    }

    /// Says that the value being written has to be left out.
    fn omit(&mut self, what: Omitted) -> Result<(), CborError> {
        // Directly under a key with `_` the entry is dropped like any other; deeper it is an error.
        if self.is_lenient() || (self.document.is_some() && self.depth == self.strict_from) {
            self.omitted = Some(what);
            Ok(())
        } else {
            Err(what.error())
        }
    }

    /// Corrects a head that was written for `expected` items or entries.
    fn fix_head(&mut self, major: u8, at: usize, expected: usize, actual: usize) {
        if expected == actual {
            return;
        }
        let mut head = Writer::with_capacity(9);
        if major == 4 {
            head.list(actual);
        } else {
            head.map(actual);
        }
        self.out
            .buffer()
            .splice(at..at + head_len(expected), head.into_vec());
    }

    /// Puts a map's entries in canonical order. The head's length may change.
    fn arrange(&mut self, map: OpenMap) -> Result<(), CborError> {
        let out = self.out.buffer();
        let entries = &mut self.entries[map.base..];
        let count = entries.len();
        let order = |a: &Entry, b: &Entry| {
            a.rank
                .cmp(&b.rank)
                .then_with(|| out[a.start..a.value].cmp(&out[b.start..b.value]))
        };
        // Heads of longer texts compare greater, so encoded keys compare as the format wants.
        let content = map.head + head_len(map.expected);
        let in_place = entries
            .iter()
            .try_fold(content, |at, e| (e.start == at).then_some(e.end))
            == Some(out.len());
        if !in_place || !entries.is_sorted_by(|a, b| order(a, b).is_lt()) {
            entries.sort_unstable_by(order);
            if let Some(twice) = entries.windows(2).find(|w| order(&w[0], &w[1]).is_eq()) {
                let key = Vec::from(&out[twice[0].start..twice[0].value]);
                let key = key.get(head_len_of(&key)..).unwrap_or_default();
                return Err(CborError::DuplicateKey(
                    String::from_utf8_lossy(key).into_owned(),
                ));
            }
            self.scratch.clear();
            self.scratch.reserve(out.len() - content);
            for entry in entries.iter() {
                self.scratch.extend_from_slice(&out[entry.start..entry.end]);
            }
            out.truncate(content);
            out.extend_from_slice(&self.scratch);
        }
        self.entries.truncate(map.base);
        self.fix_head(5, map.head, map.expected, count);
        Ok(())
    }
}

/// The length of a head with this argument.
fn head_len(argument: usize) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// The length of the head that these bytes begin with.
fn head_len_of(bytes: &[u8]) -> usize {
    match bytes.first().map_or(0, |b| b & 31) {
        24 => 2,
        25 => 3,
        26 => 5,
        27 => 9,
        _ => 1,
    }
}

impl<'a> ser::Serializer for &'a mut Serializer {
    type Ok = ();
    type Error = CborError;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Map<'a>;
    type SerializeStruct = Map<'a>;
    type SerializeStructVariant = Map<'a>;

    fn serialize_bool(self, v: bool) -> Result<(), CborError> {
        self.out.bool(v);
        Ok(())
    }

    fn serialize_i8(self, v: i8) -> Result<(), CborError> {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<(), CborError> {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<(), CborError> {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<(), CborError> {
        self.out.int(v);
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Result<(), CborError> {
        if let Ok(v) = u64::try_from(v) {
            self.out.uint(v);
        } else if let Ok(v) = u64::try_from(-1 - v) {
            self.out.negative(v);
        } else {
            return Err(CborError::IntegerRange(v.to_string()));
        }
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), CborError> {
        self.serialize_u64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<(), CborError> {
        self.serialize_u64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<(), CborError> {
        self.serialize_u64(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<(), CborError> {
        self.out.uint(v);
        Ok(())
    }

    fn serialize_u128(self, v: u128) -> Result<(), CborError> {
        match u64::try_from(v) {
            Ok(v) => self.serialize_u64(v),
            Err(_) => Err(CborError::IntegerRange(v.to_string())),
        }
    }

    fn serialize_f32(self, v: f32) -> Result<(), CborError> {
        self.serialize_f64(v.into())
    }

    fn serialize_f64(self, v: f64) -> Result<(), CborError> {
        if v.is_nan() {
            self.omit(Omitted::NaN)
        } else {
            self.out.number(v)
        }
    }

    fn serialize_char(self, v: char) -> Result<(), CborError> {
        self.out.text(v.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, v: &str) -> Result<(), CborError> {
        self.out.text(v);
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), CborError> {
        self.out.bytes(v);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), CborError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CborError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), CborError> {
        self.out.null();
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), CborError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), CborError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), CborError> {
        match name {
            link::NAME => value.serialize(key::LinkBytes(&mut self.out)),
            UNDEFINED => self.omit(Omitted::Undefined),
            DATE if self.is_lenient() => {
                let ms = value.serialize(key::Milliseconds)?;
                self.out.text(&Date(ms).to_string());
                Ok(())
            }
            DATE => Err(CborError::Date),
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), CborError> {
        let mut map = Map::start(self, 1)?;
        ser::SerializeStruct::serialize_field(&mut map, variant, value)?;
        ser::SerializeStruct::end(map)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<List<'a>, CborError> {
        List::start(self, len.unwrap_or(0))
    }

    fn serialize_tuple(self, len: usize) -> Result<List<'a>, CborError> {
        List::start(self, len)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<List<'a>, CborError> {
        List::start(self, len)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<List<'a>, CborError> {
        let outer = compound::start_variant(self, variant)?;
        Ok(List::start(self, len)?.within(outer))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Map<'a>, CborError> {
        Map::start(self, len.unwrap_or(0))
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Map<'a>, CborError> {
        Map::start(self, len)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Map<'a>, CborError> {
        let outer = compound::start_variant(self, variant)?;
        Ok(Map::start(self, len)?.within(outer))
    }
}

#[cfg(test)]
mod tests;
