//! The encryption envelope around a whole CAR (format §8).
//!
//! `{iv, data, keyId}` with AES-GCM; the nonce is made from the hash of the plain bytes, so equal
//! content under one key gives equal envelopes.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::cbor::{self, Writer};
use crate::keys::{Key, KeyId, Keys};

/// Length of a nonce.
///
/// ```
/// use firebrick_core::envelope::{IV_LEN, iv};
/// assert_eq!(iv(b"content").len(), IV_LEN);
/// ```
pub const IV_LEN: usize = 12;

const TAG_LEN: usize = 16;

/// What an envelope adds to the plain bytes, at most.
///
/// ```
/// use firebrick_core::{envelope, keys::Key};
/// let sealed = envelope::seal(b"content", &Key::generate([7; 32]));
/// assert!(sealed.len() <= b"content".len() + envelope::AROUND_LEN);
/// ```
pub const AROUND_LEN: usize = TAG_LEN + 80;

/// Why an envelope cannot be opened.
///
/// ```
/// use firebrick_core::envelope::{self, EnvelopeError};
/// # use firebrick_core::keys::Key;
/// let [key, other] = [1, 2].map(|byte| Key::generate([byte; 32]));
/// let sealed = envelope::seal(b"content", &key);
/// match envelope::open(&sealed, &other) {
///     Err(EnvelopeError::UnknownKey { key_id }) => assert_eq!(key_id, key.key_id()),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are something else, such as plain CAR bytes.
    #[error("not an encrypted envelope")]
    NotAnEnvelope,
    /// None of the keys made it.
    #[error("encrypted with the key {key_id}, which is not known here")]
    UnknownKey {
        /// Which key it needs; its text is the fingerprint.
        key_id: KeyId,
    },
    /// The content was changed after it was encrypted.
    #[error("the encrypted content was changed")]
    Tampered,
    /// The nonce is not the one that belongs to the content.
    #[error("the nonce does not belong to the content")]
    IvMismatch,
}

/// The nonce for these plain bytes: their multihash folded into 12 bytes.
///
/// ```
/// use firebrick_core::envelope::iv;
/// assert_eq!(iv(b"content"), iv(b"content"));
/// assert_ne!(iv(b"content"), iv(b"other content"));
/// ```
#[must_use]
pub fn iv(plain: &[u8]) -> [u8; IV_LEN] {
    iv_of(&Sha256::digest(plain).into())
}

/// The nonce for plain bytes with this SHA-256 digest, such as that of a CAR's name.
///
/// ```
/// use firebrick_core::{Cid, cid::Codec, envelope};
/// let name = Cid::of(Codec::Car, b"content");
/// assert_eq!(envelope::iv_of(name.digest()), envelope::iv(b"content"));
/// ```
#[must_use]
pub fn iv_of(digest: &[u8; 32]) -> [u8; IV_LEN] {
    let mut iv = [0; IV_LEN];
    for (at, byte) in [0x12, 0x20].iter().chain(digest).enumerate() {
        iv[at % IV_LEN] ^= byte;
    }
    iv
}

/// Encrypts plain CAR bytes.
///
/// ```
/// use firebrick_core::{envelope, keys::Key};
/// let key = Key::generate([7; 32]);
/// let sealed = envelope::seal(b"content", &key);
/// assert_eq!(sealed, envelope::seal(b"content", &key)); // each time the same
/// assert_eq!(envelope::open(&sealed, &key)?, "content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn seal(plain: &[u8], key: &Key) -> Vec<u8> {
    seal_with_iv(plain, key, &iv(plain))
}

/// Encrypts with a nonce of the caller's choice, which must never be used for other content.
/// Readers that check nonces refuse the result, see [`open_any_iv`].
///
/// ```
/// use firebrick_core::{envelope, keys::Key};
/// let key = Key::generate([7; 32]);
/// let sealed = envelope::seal_with_iv(b"content", &key, &[9; 12]);
/// assert_eq!(envelope::open_any_iv(&sealed, &key)?, "content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn seal_with_iv(plain: &[u8], key: &Key, iv: &[u8; IV_LEN]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + AROUND_LEN);
    seal_parts_with_iv(&[plain], key, iv, &mut out);
    out
}

/// [`seal_with_iv`] for plain bytes that lie in several places; the envelope is appended to `out`.
///
/// ```
/// use firebrick_core::{envelope, keys::Key};
/// let key = Key::generate([7; 32]);
/// let mut sealed = Vec::new();
/// envelope::seal_parts_with_iv(&[b"con", b"tent"], &key, &[9; 12], &mut sealed);
/// assert_eq!(sealed, envelope::seal_with_iv(b"content", &key, &[9; 12]));
/// ```
pub fn seal_parts_with_iv(parts: &[&[u8]], key: &Key, iv: &[u8; IV_LEN], out: &mut Vec<u8>) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut writer = Writer::from(std::mem::take(out));
    writer.map(3);
    writer.text("iv");
    writer.bytes(iv);
    writer.text("data");
    writer.bytes_head(len + TAG_LEN);
    let buffer = writer.buffer();
    let start = buffer.len();
    for part in parts {
        buffer.extend_from_slice(part);
    }
    let tag = encrypt(key, iv, &mut buffer[start..]);
    buffer.extend_from_slice(&tag);
    writer.text("keyId");
    writer.bytes(&key.key_id().0);
    *out = writer.into_vec();
}

/// Decrypts an envelope and checks that the nonce belongs to the content.
///
/// ```
/// use firebrick_core::envelope::{self, EnvelopeError};
/// # use firebrick_core::keys::Key;
/// # let key = Key::generate([7; 32]);
/// let mut sealed = envelope::seal(b"content", &key);
/// assert_eq!(envelope::open(&sealed, &key)?, "content");
/// let at = sealed.iter().position(|byte| *byte == b'v').unwrap() + 2;
/// sealed[at] ^= 1; // the nonce
/// assert_eq!(envelope::open(&sealed, &key), Err(EnvelopeError::Tampered));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnvelopeError`] says what is wrong.
pub fn open(envelope: &[u8], keys: &(impl Keys + ?Sized)) -> Result<Bytes, EnvelopeError> {
    let parts = parse(envelope)?;
    let mut plain = Vec::new();
    decrypt(&parts, keys, &mut plain)?;
    if iv(&plain) == parts.iv {
        Ok(plain.into())
    } else {
        Err(EnvelopeError::IvMismatch)
    }
}

/// Decrypts an envelope whatever its nonce is, for ledgers written with `ivHash=random`.
///
/// ```
/// use firebrick_core::envelope::{self, EnvelopeError};
/// # use firebrick_core::keys::Key;
/// # let key = Key::generate([7; 32]);
/// let sealed = envelope::seal_with_iv(b"content", &key, &[9; 12]);
/// assert_eq!(envelope::open(&sealed, &key), Err(EnvelopeError::IvMismatch));
/// assert_eq!(envelope::open_any_iv(&sealed, &key)?, "content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnvelopeError`] says what is wrong.
pub fn open_any_iv(envelope: &[u8], keys: &(impl Keys + ?Sized)) -> Result<Bytes, EnvelopeError> {
    let mut plain = Vec::new();
    open_any_iv_into(envelope, keys, &mut plain)?;
    Ok(plain.into())
}

/// [`open_any_iv`] into a buffer, which is replaced.
///
/// ```
/// use firebrick_core::{envelope, keys::Key};
/// # let key = Key::generate([7; 32]);
/// let mut plain = b"from before".to_vec();
/// envelope::open_any_iv_into(&envelope::seal(b"content", &key), &key, &mut plain)?;
/// assert_eq!(plain, b"content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnvelopeError`] says what is wrong.
pub fn open_any_iv_into(
    envelope: &[u8],
    keys: &(impl Keys + ?Sized),
    plain: &mut Vec<u8>,
) -> Result<(), EnvelopeError> {
    decrypt(&parse(envelope)?, keys, plain)
}

/// Which key an envelope needs.
///
/// ```
/// use firebrick_core::{envelope, keys::Key};
/// let key = Key::generate([7; 32]);
/// let sealed = envelope::seal(b"content", &key);
/// assert_eq!(envelope::key_id_of(&sealed)?, key.key_id());
/// assert!(envelope::key_id_of(b"content").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnvelopeError::NotAnEnvelope`] if the bytes are not one.
pub fn key_id_of(envelope: &[u8]) -> Result<KeyId, EnvelopeError> {
    Ok(parse(envelope)?.key_id)
}

struct Parts<'a> {
    iv: [u8; IV_LEN],
    key_id: KeyId,
    data: &'a [u8],
    tag: [u8; TAG_LEN],
}

fn parse(envelope: &[u8]) -> Result<Parts<'_>, EnvelopeError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Envelope<'a> {
        #[serde(borrow)]
        iv: &'a serde_bytes::Bytes,
        data: &'a serde_bytes::Bytes,
        key_id: &'a serde_bytes::Bytes,
    }

    let read = || {
        let envelope: Envelope<'_> = cbor::from_slice(envelope).ok()?;
        let (data, tag) = envelope.data.split_last_chunk()?;
        Some(Parts {
            iv: envelope.iv.as_ref().try_into().ok()?,
            key_id: KeyId(envelope.key_id.as_ref().try_into().ok()?),
            data,
            tag: *tag,
        })
    };
    read().ok_or(EnvelopeError::NotAnEnvelope)
}

fn encrypt(key: &Key, iv: &[u8; IV_LEN], buffer: &mut [u8]) -> [u8; TAG_LEN] {
    fn with<C: AeadInOut + KeyInit>(key: &[u8], iv: &[u8], buffer: &mut [u8]) -> Option<Vec<u8>> {
        let cipher = C::new_from_slice(key).ok()?;
        let nonce = iv.try_into().ok()?;
        let tag = cipher.encrypt_inout_detached(nonce, &[], buffer.into());
        tag.ok().map(|tag| tag.to_vec())
    }

    let tag = match key.as_bytes().len() {
        16 => with::<Aes128Gcm>(key.as_bytes(), iv, buffer),
        _ => with::<Aes256Gcm>(key.as_bytes(), iv, buffer),
    };
    // The lengths fit by type; the only limit left is 64 GiB of plain bytes.
    tag.and_then(|tag| tag.try_into().ok())
        .expect("content below 64 GiB")
}

fn decrypt(
    parts: &Parts<'_>,
    keys: &(impl Keys + ?Sized),
    plain: &mut Vec<u8>,
) -> Result<(), EnvelopeError> {
    fn with<C: AeadInOut + KeyInit>(
        key: &[u8],
        parts: &Parts<'_>,
        buffer: &mut [u8],
    ) -> Option<()> {
        let cipher = C::new_from_slice(key).ok()?;
        let nonce = parts.iv.as_slice().try_into().ok()?;
        let tag = parts.tag.as_slice().try_into().ok()?;
        cipher
            .decrypt_inout_detached(nonce, &[], buffer.into(), tag)
            .ok()
    }

    let key = keys.key(&parts.key_id).ok_or(EnvelopeError::UnknownKey {
        key_id: parts.key_id,
    })?;
    plain.clear();
    plain.extend_from_slice(parts.data);
    let opened = match key.as_bytes().len() {
        16 => with::<Aes128Gcm>(key.as_bytes(), parts, plain),
        _ => with::<Aes256Gcm>(key.as_bytes(), parts, plain),
    };
    opened.ok_or(EnvelopeError::Tampered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> [Key; 2] {
        [
            Key::from_bytes(&[1; 16]).unwrap(),
            Key::from_bytes(&[2; 32]).unwrap(),
        ]
    }

    #[test]
    fn both_ways() {
        for key in keys() {
            for length in [0, 1, 12, 1000] {
                let plain = vec![7; length];
                let sealed = seal(&plain, &key);
                assert_eq!(open(&sealed, &key).unwrap(), plain);
                assert_eq!(key_id_of(&sealed), Ok(key.key_id()));
                assert_eq!(sealed, seal(&plain, &key));
            }
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let [key, _] = keys();
        let sealed = seal(b"content", &key);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 4;
            assert!(open(&changed, &key).is_err());
            assert!(open(&sealed[..at], &key).is_err());
        }
    }

    #[test]
    fn the_errors() {
        let [key, other] = keys();
        let sealed = seal(b"content", &key);
        assert_eq!(
            open(&sealed, &other),
            Err(EnvelopeError::UnknownKey {
                key_id: key.key_id()
            })
        );
        assert_eq!(open(b"plain", &key), Err(EnvelopeError::NotAnEnvelope));
        let odd = seal_with_iv(b"content", &key, &[9; 12]);
        assert_eq!(open(&odd, &key), Err(EnvelopeError::IvMismatch));
        assert_eq!(open_any_iv(&odd, &key).unwrap(), "content");
        let mut parts = b"before".to_vec();
        seal_parts_with_iv(&[b"con", b"", b"tent"], &key, &[9; 12], &mut parts);
        assert_eq!(parts, [b"before", &*odd].concat());
        open_any_iv_into(&odd, &key, &mut parts).unwrap();
        assert_eq!(parts, b"content");
    }
}
