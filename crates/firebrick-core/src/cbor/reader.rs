//! Reading heads and atoms: the level below values.

use super::CborError;
use crate::cid::Cid;

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
