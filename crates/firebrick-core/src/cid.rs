//! Content identifiers (format §2).
//!
//! The format uses one family only: CIDv1 over sha2-256, with three codecs. A [`Cid`] is therefore
//! 33 bytes, `Copy`, and ordered as its binary form is.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use sha2::{Digest, Sha256};

/// Length of the binary form in bytes.
///
/// ```
/// use firebrick_core::cid::{BINARY_LEN, Cid, Codec};
/// assert_eq!(Cid::of(Codec::Raw, b"content").to_bytes().len(), BINARY_LEN);
/// ```
pub const BINARY_LEN: usize = 36;

/// A CIDv1 with a sha2-256 multihash: the name of a block or of a whole CAR.
///
/// The order of this type is the order of the binary form (*by bytes* in the format); the order of
/// the base32 text is another one, see [`Cid::cmp_text`].
///
/// ```
/// use firebrick_core::{Cid, cid::Codec};
/// let cid = Cid::of(Codec::Raw, b"");
/// assert_eq!(cid.to_string(), "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
/// assert_eq!(cid.to_string().parse::<Cid>()?, cid);
/// # Ok::<(), firebrick_core::cid::CidError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cid {
    codec: Codec,
    digest: [u8; 32],
}

/// What a CID's bytes are.
///
/// ```
/// use firebrick_core::{cid::Codec, document};
/// let block = document::encode("one", &serde_json::json!({}))?;
/// assert_eq!(block.cid.codec(), Codec::DagCbor);
/// assert_eq!(Codec::DagCbor as u8, 0x71);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Codec {
    /// A whole CAR, data or file (`0x18`, private to the format).
    Car = 0x18,
    /// File content (`0x55`).
    Raw = 0x55,
    /// Every structured block (`0x71`).
    DagCbor = 0x71,
}

impl Codec {
    /// The codec with this multicodec number.
    ///
    /// ```
    /// use firebrick_core::cid::{CidError, Codec};
    /// assert_eq!(Codec::from_number(0x55), Ok(Codec::Raw));
    /// assert_eq!(Codec::from_number(0x70), Err(CidError::Codec(0x70)));
    /// ```
    ///
    /// # Errors
    /// [`CidError::Codec`] for any other number.
    pub fn from_number(number: u8) -> Result<Self, CidError> {
        match number {
            0x18 => Ok(Codec::Car),
            0x55 => Ok(Codec::Raw),
            0x71 => Ok(Codec::DagCbor),
            other => Err(CidError::Codec(other)),
        }
    }
}

/// Why bytes or text are not a CID of this format.
///
/// ```
/// use firebrick_core::cid::{Cid, CidError};
/// assert_eq!("hello".parse::<Cid>(), Err(CidError::Text));
/// assert_eq!(Cid::from_bytes(&[1; 35]), Err(CidError::Length(35)));
/// assert_eq!(CidError::Length(35).to_string(), "a CID has 36 bytes, not 35");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidError {
    /// The text is not multibase `b` (base32, lower case, no padding).
    #[error("not a base32 CID")]
    Text,
    /// The binary form has another length than 36 bytes.
    #[error("a CID has 36 bytes, not {0}")]
    Length(usize),
    /// Not a CIDv1 with a sha2-256 multihash.
    #[error("not a CIDv1 with a sha2-256 multihash")]
    Kind,
    /// A codec that the format does not use.
    #[error("codec {0:#x} is not used by this format")]
    Codec(u8),
}

impl Cid {
    /// The CID of `data`.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// assert_eq!(cid, Cid::of(Codec::Raw, b"content"));
    /// assert_ne!(cid, Cid::of(Codec::Raw, b"other content"));
    /// assert_ne!(cid, Cid::of(Codec::DagCbor, b"content"));
    /// ```
    #[must_use]
    pub fn of(codec: Codec, data: &[u8]) -> Self {
        Self {
            codec,
            digest: Sha256::digest(data).into(),
        }
    }

    /// A CID from its parts.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, Codec};
    /// let raw = Cid::of(Codec::Raw, b"content");
    /// let car = Cid::from_digest(Codec::Car, *raw.digest());
    /// assert_eq!(car, Cid::of(Codec::Car, b"content"));
    /// ```
    #[must_use]
    pub const fn from_digest(codec: Codec, digest: [u8; 32]) -> Self {
        Self { codec, digest }
    }

    /// The codec.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, Codec};
    /// assert_eq!(Cid::of(Codec::Car, b"content").codec(), Codec::Car);
    /// ```
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The sha2-256 digest.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, Codec};
    /// let digest = *Cid::of(Codec::Raw, b"").digest();
    /// assert_eq!(digest[..4], [0xe3, 0xb0, 0xc4, 0x42]); // SHA-256 of nothing
    /// ```
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether `data` has this CID.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// assert!(cid.matches(b"content"));
    /// assert!(!cid.matches(b"changed"));
    /// ```
    #[must_use]
    pub fn matches(&self, data: &[u8]) -> bool {
        Self::of(self.codec, data) == *self
    }

    /// The binary form.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, Codec};
    /// let bytes = Cid::from_digest(Codec::Raw, [7; 32]).to_bytes();
    /// assert_eq!(bytes[..4], [0x01, 0x55, 0x12, 0x20]);
    /// assert_eq!(bytes[4..], [7; 32]);
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BINARY_LEN] {
        let mut out = [0; BINARY_LEN];
        out[..4].copy_from_slice(&[0x01, self.codec as u8, 0x12, 0x20]);
        out[4..].copy_from_slice(&self.digest);
        out
    }

    /// Reads the binary form; `bytes` must be exactly one CID.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, CidError, Codec};
    /// let cid = Cid::of(Codec::Raw, b"content");
    /// assert_eq!(Cid::from_bytes(&cid.to_bytes()), Ok(cid));
    /// assert_eq!(Cid::from_bytes(&[1; 36]), Err(CidError::Kind));
    /// ```
    ///
    /// # Errors
    /// [`CidError`] if the bytes are anything but a CIDv1 with sha2-256 and a known codec.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        let bytes: &[u8; BINARY_LEN] = bytes
            .try_into()
            .map_err(|_| CidError::Length(bytes.len()))?;
        let [version, codec, hash, length, digest @ ..] = bytes;
        if (*version, *hash, *length) != (0x01, 0x12, 0x20) {
            return Err(CidError::Kind);
        }
        Ok(Self {
            codec: Codec::from_number(*codec)?,
            digest: *digest,
        })
    }

    /// The first eight bytes of the digest.
    fn leading(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.digest[..8]);
        u64::from_be_bytes(first)
    }

    /// Compares by base32 text, the order that decides between concurrent events (format §6.4).
    ///
    /// Digits sort before letters in text although they stand for greater values, so this is not
    /// the order of the binary form.
    ///
    /// ```
    /// use firebrick_core::cid::{Cid, Codec};
    /// let [a, b] = [[0; 32], [31; 32]].map(|digest| Cid::from_digest(Codec::Raw, digest));
    /// assert!(a < b); // by bytes
    /// assert!(a.cmp_text(&b).is_gt()); // by text: a letter in `a`, a digit in `b`
    /// assert!(a.to_string() > b.to_string());
    /// ```
    #[must_use]
    pub fn cmp_text(&self, other: &Self) -> Ordering {
        // Nearly always the first eight bytes of the digests decide.
        let (x, y) = (self.leading(), other.leading());
        let start = (32 + (x ^ y).leading_zeros()) / 5 * 5;
        if self.codec == other.codec && start <= 96 - 5 {
            // The four bytes before the digest end with five zero bits.
            let digit = |word: u64| {
                let value = (u128::from(word) >> (96 - 5 - start)) as u8 & 31;
                if value >= 26 { value - 26 } else { value + 6 }
            };
            return digit(x).cmp(&digit(y));
        }
        let (a, b) = (self.to_bytes(), other.to_bytes());
        let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else {
            return Ordering::Equal;
        };
        // The first differing five-bit group lies at the first differing bit; a digit (26..=31)
        // sorts before a letter (0..=25).
        let bit = at * 8 + (a[at] ^ b[at]).leading_zeros() as usize;
        let group = |bytes: &[u8; BINARY_LEN]| {
            let start = bit / 5 * 5;
            let word = (u16::from(bytes[start / 8]) << 8)
                | bytes.get(start / 8 + 1).map_or(0, |b| u16::from(*b));
            let value = (word >> (11 - start % 8)) & 31;
            if value >= 26 { value - 26 } else { value + 6 }
        };
        group(&a).cmp(&group(&b))
    }
}

impl Hash for Cid {
    /// A digest is as good a hash as any, so a part of it is enough. Hashing that again, as maps do
    /// with a seed, keeps chosen CIDs from clustering.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.leading());
    }
}

/// base32 in lower case without padding, the digits of multibase `b`.
pub(crate) static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.encoding().expect("a valid alphabet")
});

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'b'; 59];
        BASE32.encode_mut(&self.to_bytes(), &mut text[1..]);
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let digits = text.strip_prefix('b').ok_or(CidError::Text)?;
        if digits.len() != 58 {
            return Err(CidError::Text);
        }
        let bytes = BASE32
            .decode(digits.as_bytes())
            .map_err(|_| CidError::Text)?;
        Self::from_bytes(&bytes)
    }
}

impl serde::Serialize for Cid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Cid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_order_is_the_order_of_the_texts() {
        let mut cids: Vec<Cid> = (0..200u32)
            .map(|n| Cid::of(Codec::DagCbor, &n.to_le_bytes()))
            .collect();
        // Neighbours that differ in one bit, wherever it is.
        for bit in 0..256 {
            let mut digest = *cids[7].digest();
            digest[bit / 8] ^= 0x80 >> (bit % 8);
            cids.push(Cid::from_digest(Codec::DagCbor, digest));
        }
        cids.push(Cid::from_digest(Codec::Raw, *cids[7].digest()));
        cids.push(Cid::from_digest(Codec::Car, *cids[8].digest()));
        for a in &cids {
            for b in &cids {
                assert_eq!(a.cmp_text(b), a.to_string().cmp(&b.to_string()));
                assert_eq!(a.cmp(b), a.to_bytes().cmp(&b.to_bytes()));
            }
        }
    }

    #[test]
    fn other_kinds_are_refused() {
        assert_eq!("zabc".parse::<Cid>(), Err(CidError::Text));
        assert_eq!(Cid::from_bytes(&[1; 35]), Err(CidError::Length(35)));
        assert_eq!(Cid::from_bytes(&[1; 36]), Err(CidError::Kind));
    }
}
