//! Serializers that take one kind of value: map keys, the content of a link, a date.

use serde::ser::{Impossible, Serialize, Serializer};

use super::{CborError, Writer};

/// Refuses everything but what a `Serializer` below overrides.
macro_rules! refuse {
    ($error:expr; $($method:ident($($arg:ident: $type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $($arg: $type),*) -> Result<$ok, CborError> {
            $(let _ = $arg;)*
            Err($error)
        })*
    };
}

macro_rules! refuse_compound {
    ($error:expr) => {
        type Error = CborError;
        type SerializeSeq = Impossible<Self::Ok, CborError>;
        type SerializeTuple = Impossible<Self::Ok, CborError>;
        type SerializeTupleStruct = Impossible<Self::Ok, CborError>;
        type SerializeTupleVariant = Impossible<Self::Ok, CborError>;
        type SerializeMap = Impossible<Self::Ok, CborError>;
        type SerializeStruct = Impossible<Self::Ok, CborError>;
        type SerializeStructVariant = Impossible<Self::Ok, CborError>;

        refuse! { $error;
            serialize_none() -> Self::Ok;
            serialize_unit() -> Self::Ok;
            serialize_unit_struct(a: &'static str) -> Self::Ok;
            serialize_seq(a: Option<usize>) -> Self::SerializeSeq;
            serialize_tuple(a: usize) -> Self::SerializeTuple;
            serialize_tuple_struct(a: &'static str, b: usize) -> Self::SerializeTupleStruct;
            serialize_tuple_variant(a: &'static str, b: u32, c: &'static str, d: usize) -> Self::SerializeTupleVariant;
            serialize_map(a: Option<usize>) -> Self::SerializeMap;
            serialize_struct(a: &'static str, b: usize) -> Self::SerializeStruct;
            serialize_struct_variant(a: &'static str, b: u32, c: &'static str, d: usize) -> Self::SerializeStructVariant;
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<Self::Ok, CborError> {
            Err($error)
        }

        fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Self::Ok, CborError> {
            value.serialize(self)
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            value: &T,
        ) -> Result<Self::Ok, CborError> {
            value.serialize(self)
        }
    };
}

/// Writes a map key: text, or a number, character or boolean as text.
pub(super) struct KeySerializer<'a>(pub(super) &'a mut Writer);

impl KeySerializer<'_> {
    fn display(self, value: impl std::fmt::Display) -> Result<(), CborError> {
        self.0.text(&value.to_string());
        Ok(())
    }

    fn error(&self) -> CborError {
        CborError::KeyNotText(self.0.as_slice().len())
    }
}

macro_rules! as_text {
    ($($method:ident: $type:ty;)*) => {
        $(fn $method(self, v: $type) -> Result<(), CborError> {
            self.display(v)
        })*
    };
}

impl Serializer for KeySerializer<'_> {
    type Ok = ();
    refuse_compound!(CborError::KeyNotText(0));

    as_text! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_i128: i128;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_u128: u128;
        serialize_char: char;
    }

    fn serialize_f32(self, _: f32) -> Result<(), CborError> {
        Err(self.error())
    }

    fn serialize_f64(self, _: f64) -> Result<(), CborError> {
        Err(self.error())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), CborError> {
        Err(self.error())
    }

    fn serialize_str(self, v: &str) -> Result<(), CborError> {
        self.0.text(v);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), CborError> {
        self.serialize_str(variant)
    }
}

fn not_a_link() -> CborError {
    CborError::Message("expected the bytes of a link".into())
}

/// Writes the bytes it gets as a link.
pub(super) struct LinkBytes<'a>(pub(super) &'a mut Writer);

impl Serializer for LinkBytes<'_> {
    type Ok = ();
    refuse_compound!(not_a_link());
    refuse! { not_a_link();
        serialize_bool(v: bool) -> ();
        serialize_i8(v: i8) -> ();
        serialize_i16(v: i16) -> ();
        serialize_i32(v: i32) -> ();
        serialize_i64(v: i64) -> ();
        serialize_u8(v: u8) -> ();
        serialize_u16(v: u16) -> ();
        serialize_u32(v: u32) -> ();
        serialize_u64(v: u64) -> ();
        serialize_f32(v: f32) -> ();
        serialize_f64(v: f64) -> ();
        serialize_char(v: char) -> ();
        serialize_str(v: &str) -> ();
        serialize_unit_variant(a: &'static str, b: u32, c: &'static str) -> ();
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bytes(self, cid: &[u8]) -> Result<(), CborError> {
        self.0.foreign_link(cid);
        Ok(())
    }
}

fn not_a_date() -> CborError {
    CborError::Message("expected a date".into())
}

/// Takes the integer in a date.
pub(super) struct Milliseconds;

impl Serializer for Milliseconds {
    type Ok = i64;
    refuse_compound!(not_a_date());
    refuse! { not_a_date();
        serialize_bool(v: bool) -> i64;
        serialize_i8(v: i8) -> i64;
        serialize_i16(v: i16) -> i64;
        serialize_i32(v: i32) -> i64;
        serialize_u8(v: u8) -> i64;
        serialize_u16(v: u16) -> i64;
        serialize_u32(v: u32) -> i64;
        serialize_u64(v: u64) -> i64;
        serialize_f32(v: f32) -> i64;
        serialize_f64(v: f64) -> i64;
        serialize_char(v: char) -> i64;
        serialize_str(v: &str) -> i64;
        serialize_bytes(v: &[u8]) -> i64;
        serialize_unit_variant(a: &'static str, b: u32, c: &'static str) -> i64;
    }

    fn serialize_i64(self, ms: i64) -> Result<i64, CborError> {
        Ok(ms)
    }
}
