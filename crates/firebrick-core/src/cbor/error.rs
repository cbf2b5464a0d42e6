//! What can be wrong with dag-cbor.

use crate::cid::CidError;

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
