//! Lists and maps while they are written.

use serde::ser::{self, Serialize};

use super::key::KeySerializer;
use super::{CborError, Entry, LENIENT, OpenMap, Serializer};

/// The map `{variant: …}` around the content of an enum variant.
pub(crate) struct Outer {
    map: OpenMap,
    start: usize,
    value: usize,
}

/// Begins the map around a variant's content.
pub(crate) fn start_variant(
    ser: &mut Serializer,
    variant: &'static str,
) -> Result<Outer, CborError> {
    ser.enter()?;
    let map = OpenMap {
        head: ser.out.as_slice().len(),
        expected: 1,
        base: ser.entries.len(),
    };
    ser.out.map(1);
    let start = ser.out.as_slice().len();
    ser.out.text(variant);
    let value = ser.out.as_slice().len();
    Ok(Outer { map, start, value })
}

/// Ends a map, unless it is the document's own: that one stays open.
fn end_map(ser: &mut Serializer, map: OpenMap) -> Result<(), CborError> {
    let own = ser.document == Some(ser.depth);
    ser.leave();
    if own {
        ser.open = Some(map);
        Ok(())
    } else {
        ser.arrange(map)
    }
}

fn end_variant(ser: &mut Serializer, outer: Option<Outer>) -> Result<(), CborError> {
    let Some(outer) = outer else { return Ok(()) };
    let entry = ser.new_entry(outer.start, outer.value);
    ser.entries.push(entry);
    end_map(ser, outer.map)
}

/// A list being written.
pub(crate) struct List<'a> {
    ser: &'a mut Serializer,
    head: usize,
    expected: usize,
    count: usize,
    outer: Option<Outer>,
}

impl<'a> List<'a> {
    pub(super) fn start(ser: &'a mut Serializer, expected: usize) -> Result<Self, CborError> {
        ser.enter()?;
        let head = ser.out.as_slice().len();
        ser.out.list(expected);
        Ok(Self {
            ser,
            head,
            expected,
            count: 0,
            outer: None,
        })
    }

    pub(super) fn within(self, outer: Outer) -> Self {
        Self {
            outer: Some(outer),
            ..self
        }
    }
}

impl ser::SerializeSeq for List<'_> {
    type Ok = ();
    type Error = CborError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CborError> {
        value.serialize(&mut *self.ser)?;
        self.count += 1;
        match self.ser.omitted {
            Some(omitted) => Err(omitted.error()),
            None => Ok(()),
        }
    }

    fn end(self) -> Result<(), CborError> {
        self.ser.fix_head(4, self.head, self.expected, self.count);
        self.ser.leave();
        end_variant(self.ser, self.outer)
    }
}

impl ser::SerializeTuple for List<'_> {
    type Ok = ();
    type Error = CborError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CborError> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), CborError> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for List<'_> {
    type Ok = ();
    type Error = CborError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CborError> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), CborError> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleVariant for List<'_> {
    type Ok = ();
    type Error = CborError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CborError> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), CborError> {
        ser::SerializeSeq::end(self)
    }
}

/// A map being written.
pub(crate) struct Map<'a> {
    ser: &'a mut Serializer,
    map: OpenMap,
    /// Where the current entry begins, and where its value does.
    start: usize,
    value: usize,
    /// Whether the current key made the rules strict.
    made_strict: bool,
    outer: Option<Outer>,
}

impl<'a> Map<'a> {
    pub(super) fn start(ser: &'a mut Serializer, expected: usize) -> Result<Self, CborError> {
        ser.enter()?;
        let map = OpenMap {
            head: ser.out.as_slice().len(),
            expected,
            base: ser.entries.len(),
        };
        ser.out.map(expected);
        Ok(Self {
            ser,
            map,
            start: 0,
            value: 0,
            made_strict: false,
            outer: None,
        })
    }

    pub(super) fn within(self, outer: Outer) -> Self {
        Self {
            outer: Some(outer),
            ..self
        }
    }

    fn begin(&mut self) {
        self.start = self.ser.out.as_slice().len();
    }

    fn key_done(&mut self, starts_with_underscore: bool) {
        self.value = self.ser.out.as_slice().len();
        self.made_strict = starts_with_underscore && self.ser.is_lenient();
        if self.made_strict {
            self.ser.strict_from = self.ser.depth;
        }
    }

    fn content<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CborError> {
        value.serialize(&mut *self.ser)?;
        if self.made_strict {
            self.ser.strict_from = LENIENT;
        }
        if self.ser.omitted.take().is_some() {
            self.ser.out.buffer().truncate(self.start);
        } else {
            let entry: Entry = self.ser.new_entry(self.start, self.value);
            self.ser.entries.push(entry);
        }
        Ok(())
    }
}

impl ser::SerializeMap for Map<'_> {
    type Ok = ();
    type Error = CborError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CborError> {
        self.begin();
        key.serialize(KeySerializer(&mut self.ser.out))?;
        let written = &self.ser.out.as_slice()[self.start..];
        let underscore = written.get(super::head_len_of(written)) == Some(&b'_');
        self.key_done(underscore);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CborError> {
        self.content(value)
    }

    fn end(self) -> Result<(), CborError> {
        end_map(self.ser, self.map)?;
        end_variant(self.ser, self.outer)
    }
}

impl ser::SerializeStruct for Map<'_> {
    type Ok = ();
    type Error = CborError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), CborError> {
        self.begin();
        self.ser.out.text(key);
        self.key_done(key.starts_with('_'));
        self.content(value)
    }

    fn end(self) -> Result<(), CborError> {
        ser::SerializeMap::end(self)
    }
}

impl ser::SerializeStructVariant for Map<'_> {
    type Ok = ();
    type Error = CborError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), CborError> {
        ser::SerializeStruct::serialize_field(self, key, value)
    }

    fn end(self) -> Result<(), CborError> {
        ser::SerializeMap::end(self)
    }
}
