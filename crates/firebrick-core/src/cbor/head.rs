//! Heads and atoms: the level below values.

use crate::cid::{Cid, CidError};

/// Why bytes are not dag-cbor of this format, or a value cannot be written as such.
///
/// ```
/// use firebrick_core::cbor::{CborError, from_slice};
/// assert_eq!(from_slice::<u8>(b""), Err(CborError::Truncated(0)));
/// assert_eq!(from_slice::<u8>(b"\x18\x05"), Err(CborError::NotCanonical(0)));
/// assert_eq!(CborError::Trailing(2).to_string(), "2 bytes follow the item");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// The input ends inside an item.
    #[error("the data ends inside an item, at byte {0}")]
    Truncated(usize),
    /// Bytes follow the top-level item.
    #[error("{0} bytes follow the item")]
    Trailing(usize),
    /// A head that is not in its shortest form, an indefinite length, or a reserved value.
    #[error("not canonical dag-cbor at byte {0}")]
    NotCanonical(usize),
    /// A tag other than 42, or a simple value that dag-cbor lacks.
    #[error("unsupported tag or simple value at byte {0}")]
    Unsupported(usize),
    /// NaN or an infinity.
    #[error("NaN and infinities cannot be stored")]
    NotFinite,
    /// A map key that is not text.
    #[error("a map key is not text, at byte {0}")]
    KeyNotText(usize),
    /// The same map key twice.
    #[error("the map key {0:?} appears twice")]
    DuplicateKey(String),
    /// Text that is not UTF-8.
    #[error("text is not UTF-8, at byte {0}")]
    Utf8(usize),
    /// A link that is not a CID.
    #[error("a link is not a CID: {0}")]
    Link(CidError),
    /// Nested deeper than the documented limit.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// An integer outside −2^64 … 2^64−1.
    #[error("the integer {0} does not fit into 64 bits and a sign")]
    IntegerRange(String),
    /// JavaScript's `undefined` where it cannot be left out.
    #[error("undefined cannot be stored")]
    Undefined,
    /// A date where it is not turned into text.
    #[error("a date cannot be stored here")]
    Date,
    /// Something else than expected.
    #[error("expected {expected}, at byte {at}")]
    Expected {
        /// What the reader wanted.
        expected: &'static str,
        /// Where it was wanted.
        at: usize,
    },
    /// What the type being read or written says.
    #[error("{0}")]
    Message(String),
}

impl serde::ser::Error for CborError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }
}

impl serde::de::Error for CborError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }
}

/// One item's head, its atom included; the content of lists and maps follows in the input.
///
/// ```
/// use firebrick_core::cbor::{Reader, Token};
/// let mut reader = Reader::new(b"\x82\x61a\xf5");
/// assert_eq!(reader.token()?, Token::List(2));
/// assert_eq!(reader.token()?, Token::Text("a"));
/// assert_eq!(reader.token()?, Token::Bool(true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// `null`, or `undefined`, which is read as null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of the range −2^64 … 2^64−1.
    Int(i128),
    /// A finite float.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A link: the binary CID, of any kind.
    Link(&'a [u8]),
    /// A list with this many items.
    List(usize),
    /// A map with this many entries.
    Map(usize),
}

/// Reads dag-cbor items from a slice without copying.
///
/// ```
/// use firebrick_core::cbor::Reader;
/// let mut reader = Reader::new(b"\xa1\x64name\x63sea");
/// reader.map(1)?;
/// reader.key("name")?;
/// assert_eq!(reader.text()?, "sea");
/// reader.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `input`.
    ///
    /// ```
    /// use firebrick_core::cbor::{Reader, Token};
    /// let mut reader = Reader::new(b"\x05");
    /// assert_eq!(reader.position(), 0);
    /// assert_eq!(reader.token()?, Token::Int(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// The next byte, if there is one.
    ///
    /// ```
    /// use firebrick_core::cbor::Reader;
    /// let mut reader = Reader::new(b"\x61a");
    /// assert_eq!(reader.peek(), Some(0x61)); // stays where it is
    /// assert_eq!(reader.text()?, "a");
    /// assert_eq!(reader.peek(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// The position in bytes.
    ///
    /// ```
    /// use firebrick_core::cbor::Reader;
    /// let mut reader = Reader::new(b"\x63sea\x63sky");
    /// reader.text()?;
    /// assert_eq!(reader.position(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Ends the read.
    ///
    /// ```
    /// use firebrick_core::cbor::{CborError, Reader};
    /// let mut reader = Reader::new(b"\x61a\x61b");
    /// reader.text()?;
    /// assert_eq!(reader.clone().finish(), Err(CborError::Trailing(2)));
    /// reader.text()?;
    /// assert_eq!(reader.finish(), Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), CborError> {
        match self.input.len() - self.at {
            0 => Ok(()),
            left => Err(CborError::Trailing(left)),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CborError> {
        let rest = &self.input[self.at..];
        if length > rest.len() {
            return Err(CborError::Truncated(self.input.len()));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// Major type and argument, in the shortest form only.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let at = self.at;
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..=23 => u64::from(info),
            24 => u64::from(self.take(1)?[0]),
            25 => self.take(2)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            26 => self.take(4)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            27 => self.take(8)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            _ => return Err(CborError::NotCanonical(at)),
        };
        let shortest = match info {
            24 => argument >= 24,
            25 => argument > 0xff,
            26 => argument > 0xffff,
            27 => argument > 0xffff_ffff,
            _ => true,
        };
        if major != 7 && !shortest {
            return Err(CborError::NotCanonical(at));
        }
        Ok((major, argument))
    }

    fn slice(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// A count of items that each take at least `least` bytes of what is left.
    fn count(&self, count: u64, least: usize) -> Result<usize, CborError> {
        let left = (self.input.len() - self.at) / least;
        match usize::try_from(count) {
            Ok(count) if count <= left => Ok(count),
            _ => Err(CborError::Truncated(self.input.len())),
        }
    }

    /// The next item's head.
    ///
    /// ```
    /// use firebrick_core::cbor::{CborError, Reader, Token};
    /// let mut reader = Reader::new(b"\x20\xf6\xf9\x7e\x00");
    /// assert_eq!(reader.token()?, Token::Int(-1));
    /// assert_eq!(reader.token()?, Token::Null);
    /// assert_eq!(reader.token(), Err(CborError::NotFinite)); // a NaN
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError`] for whatever the format forbids.
    #[inline]
    pub fn token(&mut self) -> Result<Token<'a>, CborError> {
        // Short texts and small numbers are most of what there is.
        if let Some((first, rest)) = self.input.get(self.at..).and_then(<[u8]>::split_first) {
            match first {
                0x00..=0x17 => {
                    self.at += 1;
                    return Ok(Token::Int(i128::from(*first)));
                }
                0x60..=0x77 => {
                    let length = usize::from(first & 31);
                    if let Some(text) = rest.get(..length) {
                        let text =
                            std::str::from_utf8(text).map_err(|_| CborError::Utf8(self.at))?;
                        self.at += 1 + length;
                        return Ok(Token::Text(text));
                    }
                }
                _ => {}
            }
        }
        self.any_token()
    }

    fn any_token(&mut self) -> Result<Token<'a>, CborError> {
        let at = self.at;
        let float_width = self.input.get(at).map(|b| b & 31);
        let (major, argument) = self.head()?;
        Ok(match major {
            0 => Token::Int(i128::from(argument)),
            1 => Token::Int(-1 - i128::from(argument)),
            2 => Token::Bytes(self.slice(argument)?),
            3 => Token::Text(
                std::str::from_utf8(self.slice(argument)?).map_err(|_| CborError::Utf8(at))?,
            ),
            4 => Token::List(self.count(argument, 1)?),
            5 => Token::Map(self.count(argument, 2)?),
            6 if argument == 42 => {
                let (2, length) = self.head()? else {
                    return Err(CborError::Expected {
                        expected: "the bytes of a link",
                        at,
                    });
                };
                match self.slice(length)? {
                    [0, cid @ ..] => Token::Link(cid),
                    _ => {
                        return Err(CborError::Expected {
                            expected: "a link",
                            at,
                        });
                    }
                }
            }
            7 => match (float_width, argument) {
                (Some(20), _) => Token::Bool(false),
                (Some(21), _) => Token::Bool(true),
                (Some(22 | 23), _) => Token::Null,
                (Some(25), bits) => finite(half(bits as u16))?,
                (Some(26), bits) => finite(f64::from(f32::from_bits(bits as u32)))?,
                (Some(27), bits) => finite(f64::from_bits(bits))?,
                _ => return Err(CborError::Unsupported(at)),
            },
            _ => return Err(CborError::Unsupported(at)),
        })
    }

    /// A map's head with exactly `entries` entries.
    ///
    /// ```
    /// use firebrick_core::cbor::Reader;
    /// assert!(Reader::new(b"\xa1\x61a\x01").map(1).is_ok());
    /// assert!(Reader::new(b"\xa1\x61a\x01").map(2).is_err());
    /// ```
    ///
    /// # Errors
    /// [`CborError::Expected`] for anything else.
    pub fn map(&mut self, entries: usize) -> Result<(), CborError> {
        let at = self.at;
        match self.token()? {
            Token::Map(n) if n == entries => Ok(()),
            _ => Err(CborError::Expected {
                expected: "a map of another size",
                at,
            }),
        }
    }

    /// A list's head; the number of items follows from the input's length at most.
    ///
    /// ```
    /// use firebrick_core::cbor::Reader;
    /// assert_eq!(Reader::new(b"\x82\x01\x02").list()?, 2);
    /// assert!(Reader::new(b"\x82\x01").list().is_err()); // there is no room for two
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError::Expected`] for anything else.
    pub fn list(&mut self) -> Result<usize, CborError> {
        let at = self.at;
        match self.token()? {
            Token::List(n) => Ok(n),
            _ => Err(CborError::Expected {
                expected: "a list",
                at,
            }),
        }
    }

    /// Text.
    ///
    /// ```
    /// use firebrick_core::cbor::Reader;
    /// assert_eq!(Reader::new(b"\x63sea").text()?, "sea");
    /// assert!(Reader::new(b"\x05").text().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError::Expected`] for anything else.
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let at = self.at;
        match self.token()? {
            Token::Text(text) => Ok(text),
            _ => Err(CborError::Expected {
                expected: "text",
                at,
            }),
        }
    }

    /// Exactly this map key.
    ///
    /// ```
    /// use firebrick_core::cbor::{CborError, Reader};
    /// assert_eq!(Reader::new(b"\x63sea").key("sea"), Ok(()));
    /// let other = CborError::Expected { expected: "sky", at: 0 };
    /// assert_eq!(Reader::new(b"\x63sea").key("sky"), Err(other));
    /// ```
    ///
    /// # Errors
    /// [`CborError::Expected`] for anything else.
    pub fn key(&mut self, key: &'static str) -> Result<(), CborError> {
        let at = self.at;
        if self.text()? == key {
            Ok(())
        } else {
            Err(CborError::Expected { expected: key, at })
        }
    }

    /// A link of this format.
    ///
    /// ```
    /// use firebrick_core::cbor::{Reader, Writer};
    /// # use firebrick_core::{Cid, cid::Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// let mut writer = Writer::new();
    /// writer.link(&cid);
    /// assert_eq!(Reader::new(writer.as_slice()).link()?, cid);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError::Expected`] for another item, [`CborError::Link`] for a foreign CID.
    pub fn link(&mut self) -> Result<Cid, CborError> {
        let at = self.at;
        match self.token()? {
            Token::Link(cid) => Cid::from_bytes(cid).map_err(CborError::Link),
            _ => Err(CborError::Expected {
                expected: "a link",
                at,
            }),
        }
    }

    /// A byte string.
    ///
    /// ```
    /// use firebrick_core::cbor::Reader;
    /// assert_eq!(Reader::new(b"\x42\x07\x08").bytes()?, [7, 8]);
    /// assert!(Reader::new(b"\x62ab").bytes().is_err()); // that is text
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError::Expected`] for anything else.
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let at = self.at;
        match self.token()? {
            Token::Bytes(bytes) => Ok(bytes),
            _ => Err(CborError::Expected {
                expected: "bytes",
                at,
            }),
        }
    }
}

fn finite<'a>(value: f64) -> Result<Token<'a>, CborError> {
    if value.is_finite() {
        Ok(Token::Float(value))
    } else {
        Err(CborError::NotFinite)
    }
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = ((bits >> 10) & 31, f64::from(bits & 0x3ff));
    let value = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + mantissa) * 2f64.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

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
