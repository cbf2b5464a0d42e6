//! Writing heads and atoms: the level below values.

use super::CborError;
use crate::cid::Cid;

/// Writes canonical dag-cbor to the end of a buffer. Sorting map keys is the caller's part.
///
/// ```
/// use firebrick_core::cbor::Writer;
/// let mut writer = Writer::from(b"before".to_vec());
/// writer.list(2);
/// writer.text("a");
/// writer.bool(true);
/// assert_eq!(writer.into_vec(), b"before\x82\x61a\xf5");
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

/// Goes on at the end of a buffer.
impl From<Vec<u8>> for Writer {
    fn from(out: Vec<u8>) -> Self {
        Self { out }
    }
}

impl Writer {
    /// An empty buffer.
    ///
    /// ```
    /// use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// assert!(writer.as_slice().is_empty());
    /// writer.null();
    /// assert_eq!(writer.as_slice(), [0xf6]);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with room for `bytes` bytes.
    ///
    /// ```
    /// use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::with_capacity(100);
    /// assert!(writer.as_slice().is_empty());
    /// assert!(writer.buffer().capacity() >= 100);
    /// ```
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
        }
    }

    /// What was written.
    ///
    /// ```
    /// use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// writer.text("sea");
    /// let bytes: Vec<u8> = writer.into_vec();
    /// assert_eq!(bytes, b"\x63sea");
    /// ```
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.out
    }

    /// What was written so far.
    ///
    /// ```
    /// use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// writer.uint(1);
    /// assert_eq!(writer.as_slice(), [1]);
    /// writer.uint(2);
    /// assert_eq!(writer.as_slice(), [1, 2]);
    /// ```
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.out
    }

    /// The buffer itself, for callers that rearrange what they wrote (map entries).
    ///
    /// ```
    /// use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// writer.text("b");
    /// writer.text("a");
    /// writer.buffer().rotate_left(2);
    /// assert_eq!(writer.as_slice(), b"\x61a\x61b");
    /// ```
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        match argument {
            0..=23 => self.out.push(major | argument as u8),
            24..=0xff => self.out.extend_from_slice(&[major | 24, argument as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&(argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&(argument as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&argument.to_be_bytes());
            }
        }
    }

    /// Null.
    ///
    /// ```
    /// # use firebrick_core::cbor::{Reader, Token, Writer};
    /// let mut writer = Writer::new();
    /// writer.null();
    /// assert_eq!(Reader::new(writer.as_slice()).token()?, Token::Null);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn null(&mut self) {
        self.out.push(0xf6);
    }

    /// A boolean.
    ///
    /// ```
    /// # use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// writer.bool(false);
    /// writer.bool(true);
    /// assert_eq!(writer.as_slice(), [0xf4, 0xf5]);
    /// ```
    pub fn bool(&mut self, value: bool) {
        self.out.push(if value { 0xf5 } else { 0xf4 });
    }

    /// A non-negative integer.
    ///
    /// ```
    /// # use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// writer.uint(23);
    /// writer.uint(500); // the shortest form that holds it
    /// assert_eq!(writer.as_slice(), [23, 0x19, 0x01, 0xf4]);
    /// ```
    pub fn uint(&mut self, value: u64) {
        self.head(0, value);
    }

    /// The negative integer `-1 - value`.
    ///
    /// ```
    /// # use firebrick_core::cbor::{Reader, Token, Writer};
    /// let mut writer = Writer::new();
    /// writer.negative(u64::MAX); // the least integer that there is
    /// assert_eq!(Reader::new(writer.as_slice()).token()?, Token::Int(-(1 << 64)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn negative(&mut self, value: u64) {
        self.head(1, value);
    }

    /// An integer.
    ///
    /// ```
    /// # use firebrick_core::cbor::{Reader, Token, Writer};
    /// let mut writer = Writer::new();
    /// writer.int(-500);
    /// assert_eq!(Reader::new(writer.as_slice()).token()?, Token::Int(-500));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn int(&mut self, value: i64) {
        if value < 0 {
            self.negative(!value as u64);
        } else {
            self.uint(value as u64);
        }
    }

    /// A number as JavaScript has it: integral within ±(2^53−1) as an integer, else 64-bit.
    ///
    /// ```
    /// # use firebrick_core::cbor::{CborError, Reader, Token, Writer};
    /// let mut writer = Writer::new();
    /// writer.number(2.0)?;
    /// writer.number(0.5)?;
    /// let mut reader = Reader::new(writer.as_slice());
    /// assert_eq!(reader.token()?, Token::Int(2));
    /// assert_eq!(reader.token()?, Token::Float(0.5));
    /// assert_eq!(Writer::new().number(f64::NAN), Err(CborError::NotFinite));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError::NotFinite`] for NaN and infinities.
    pub fn number(&mut self, value: f64) -> Result<(), CborError> {
        const SAFE: f64 = 9_007_199_254_740_991.0;
        if !value.is_finite() {
            return Err(CborError::NotFinite);
        }
        if value.fract() == 0.0 && value.abs() <= SAFE {
            self.int(value as i64);
        } else {
            self.out.push(0xfb);
            self.out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        Ok(())
    }

    /// Text.
    ///
    /// ```
    /// # use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// writer.text("é");
    /// assert_eq!(writer.as_slice(), [0x62, 0xc3, 0xa9]); // two bytes of UTF-8
    /// ```
    pub fn text(&mut self, value: &str) {
        self.head(3, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A byte string.
    ///
    /// ```
    /// # use firebrick_core::cbor::Writer;
    /// let mut writer = Writer::new();
    /// writer.bytes(&[7, 8]);
    /// assert_eq!(writer.as_slice(), [0x42, 7, 8]);
    /// ```
    pub fn bytes(&mut self, value: &[u8]) {
        self.bytes_head(value.len());
        self.out.extend_from_slice(value);
    }

    /// The head of a byte string; `length` bytes must follow.
    ///
    /// ```
    /// # use firebrick_core::cbor::{Reader, Writer};
    /// let mut writer = Writer::new();
    /// writer.bytes_head(2);
    /// writer.buffer().extend_from_slice(&[7, 8]);
    /// assert_eq!(Reader::new(writer.as_slice()).bytes()?, [7, 8]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bytes_head(&mut self, length: usize) {
        self.head(2, length as u64);
    }

    /// A list's head; `items` items must follow.
    ///
    /// ```
    /// # use firebrick_core::cbor::{self, Writer};
    /// let mut writer = Writer::new();
    /// writer.list(2);
    /// writer.text("a");
    /// writer.uint(1);
    /// assert_eq!(cbor::from_slice::<(&str, u8)>(writer.as_slice())?, ("a", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(&mut self, items: usize) {
        self.head(4, items as u64);
    }

    /// A map's head; `entries` keys and values must follow, in canonical order.
    ///
    /// ```
    /// # use firebrick_core::cbor::{self, Writer};
    /// let mut writer = Writer::new();
    /// writer.map(1);
    /// writer.text("n");
    /// writer.uint(5);
    /// let map: cbor::Value = cbor::from_slice(writer.as_slice())?;
    /// assert_eq!(map["n"], 5.into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map(&mut self, entries: usize) {
        self.head(5, entries as u64);
    }

    /// A link.
    ///
    /// ```
    /// # use firebrick_core::cbor::{self, Writer};
    /// # use firebrick_core::{Cid, cid::Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// let mut writer = Writer::new();
    /// writer.link(&cid);
    /// assert_eq!(cbor::from_slice::<cbor::Link>(writer.as_slice())?, cid.into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn link(&mut self, cid: &Cid) {
        self.out.extend_from_slice(&[0xd8, 0x2a, 0x58, 0x25, 0x00]);
        self.out.extend_from_slice(&cid.to_bytes());
    }

    /// A link to a CID of any kind, in its binary form.
    ///
    /// ```
    /// # use firebrick_core::cbor::{Reader, Token, Writer};
    /// let cid = [1, 0x55, 0, 2, 7, 7]; // two bytes as they are, not hashed
    /// let mut writer = Writer::new();
    /// writer.foreign_link(&cid);
    /// assert_eq!(Reader::new(writer.as_slice()).token()?, Token::Link(&cid));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn foreign_link(&mut self, cid: &[u8]) {
        self.out.extend_from_slice(&[0xd8, 0x2a]);
        self.head(2, cid.len() as u64 + 1);
        self.out.push(0);
        self.out.extend_from_slice(cid);
    }
}
