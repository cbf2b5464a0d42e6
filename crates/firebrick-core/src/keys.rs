//! Encryption keys and the keybag's JSON (format §8, §9).

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

mod keybag;
pub mod wrapped;

pub use keybag::{KeySet, file_name};

/// Why text or bytes are not a key, a fingerprint or a keybag entry.
///
/// ```
/// use firebrick_core::keys::{Key, KeyError};
///
/// assert_eq!(Key::from_text("not a key"), Err(KeyError::Base58));
/// assert_eq!(Key::from_bytes(&[0; 5]), Err(KeyError::Length(5)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not multibase `z` (base58btc).
    #[error("not base58 text that begins with z")]
    Base58,
    /// Key material of another length than AES-128 or AES-256 needs.
    #[error("a key has 16 or 32 bytes, not {0}")]
    Length(usize),
    /// A fingerprint that is not the hash of its key, or not a hash at all.
    #[error("the fingerprint {0} does not belong to its key")]
    Fingerprint(String),
    /// The entry is not JSON of a known form.
    #[error("not a keybag entry: {0}")]
    Json(String),
    /// The entry is of another kind, such as a device id or a token.
    #[error("a keybag entry of the kind {0}, which holds no ledger keys")]
    OtherKind(String),
    /// The entry has no keys.
    #[error("the keybag entry {0:?} has no key")]
    Empty(String),
    /// The key is not in the set.
    #[error("the key {0} is not in the set")]
    Unknown(KeyId),
}

/// Text of multibase `z`: base58btc.
///
/// ```
/// assert_eq!(firebrick_core::keys::to_base58(&[0, 0, 1, 2]), "z115T");
/// ```
#[must_use]
pub fn to_base58(bytes: &[u8]) -> String {
    format!("z{}", bs58::encode(bytes).into_string())
}

/// Reads text of multibase `z`.
///
/// ```
/// use firebrick_core::keys::{KeyError, from_base58};
///
/// assert_eq!(from_base58("z115T"), Ok(vec![0, 0, 1, 2]));
/// assert_eq!(from_base58("115T"), Err(KeyError::Base58));
/// ```
///
/// # Errors
/// [`KeyError::Base58`], also for texts much longer than any key.
pub fn from_base58(text: &str) -> Result<Vec<u8>, KeyError> {
    // Decoding takes quadratic time.
    let digits = text.strip_prefix('z').filter(|digits| digits.len() <= 256);
    bs58::decode(digits.ok_or(KeyError::Base58)?)
        .into_vec()
        .map_err(|_| KeyError::Base58)
}

/// Which key something was encrypted with: the sha2-256 of the key material.
///
/// Its text form is the *fingerprint*, `z…`.
///
/// ```
/// use firebrick_core::keys::{Key, KeyId};
///
/// let key = Key::generate([7; 32]);
/// let id: KeyId = key.fingerprint().parse()?;
/// assert_eq!(id, key.key_id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 32]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_base58(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = from_base58(text)?;
        let bytes = bytes.try_into();
        bytes
            .map(Self)
            .map_err(|_| KeyError::Fingerprint(text.into()))
    }
}

/// A symmetric key of 16 bytes (AES-128, what JavaScript makes) or 32 bytes (AES-256, ours).
///
/// The material is erased from memory when the key is dropped; `Debug` shows the fingerprint.
///
/// ```
/// use firebrick_core::keys::Key;
///
/// let key = Key::from_text("zMCozZ91oiHGYp12nZVhtFh")?;
/// let shown = format!("{key:?}");
/// assert_eq!(shown, "Key(z9GuuJQqXhzUd7UugvBvNHVinf2d6UmBxSUfcpt37E4AE)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Key {
    material: Material,
    id: KeyId,
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
enum Material {
    Aes128([u8; 16]),
    Aes256([u8; 32]),
}

impl Key {
    /// A 256-bit key from random bytes.
    ///
    /// ```
    /// use firebrick_core::keys::Key;
    ///
    /// let random = [7; 32]; // take fresh random bytes
    /// assert_eq!(Key::generate(random).as_bytes(), random);
    /// ```
    #[must_use]
    pub fn generate(random: [u8; 32]) -> Self {
        Self::from_material(Material::Aes256(random))
    }

    /// A key from its material.
    ///
    /// ```
    /// use firebrick_core::keys::{Key, KeyError};
    ///
    /// assert_eq!(Key::from_bytes(&[7; 16])?.as_bytes(), [7; 16]);
    /// assert_eq!(Key::from_bytes(&[7; 20]), Err(KeyError::Length(20)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError::Length`] for anything but 16 or 32 bytes.
    pub fn from_bytes(material: &[u8]) -> Result<Self, KeyError> {
        if let Ok(material) = material.try_into() {
            Ok(Self::from_material(Material::Aes128(material)))
        } else if let Ok(material) = material.try_into() {
            Ok(Self::from_material(Material::Aes256(material)))
        } else {
            Err(KeyError::Length(material.len()))
        }
    }

    fn from_material(material: Material) -> Self {
        let id = KeyId(Sha256::digest(material.as_bytes()).into());
        Self { material, id }
    }

    /// Reads the text form of the material, `z…`.
    ///
    /// ```
    /// use firebrick_core::keys::{Key, KeyError};
    ///
    /// assert_eq!(Key::from_text("zMCozZ91oiHGYp12nZVhtFh")?.as_bytes().len(), 16);
    /// assert_eq!(Key::from_text("z115T"), Err(KeyError::Length(4)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError`] for anything else.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut material = from_base58(text)?;
        let key = Self::from_bytes(&material);
        material.zeroize();
        key
    }

    /// The text form of the material. It is the secret.
    ///
    /// ```
    /// use firebrick_core::keys::Key;
    ///
    /// let key = Key::generate([7; 32]);
    /// assert_eq!(Key::from_text(&key.to_text())?, key);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let digits = Zeroizing::new(bs58::encode(self.as_bytes()).into_string());
        ["z", &digits].concat()
    }

    /// The material. It is the secret.
    ///
    /// ```
    /// use firebrick_core::keys::Key;
    ///
    /// assert_eq!(Key::generate([7; 32]).as_bytes(), [7; 32]);
    /// ```
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.material.as_bytes()
    }

    /// Which key this is.
    ///
    /// ```
    /// use firebrick_core::keys::Key;
    ///
    /// let (one, two) = (Key::generate([1; 32]), Key::generate([2; 32]));
    /// assert_eq!(one.key_id(), one.clone().key_id());
    /// assert_ne!(one.key_id(), two.key_id());
    /// ```
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// The text of [`key_id`](Self::key_id), `z…`.
    ///
    /// ```
    /// use firebrick_core::keys::Key;
    ///
    /// let key = Key::from_text("zMCozZ91oiHGYp12nZVhtFh")?;
    /// assert_eq!(key.fingerprint(), "z9GuuJQqXhzUd7UugvBvNHVinf2d6UmBxSUfcpt37E4AE");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.id.to_string()
    }

    /// Another key derived from this one for one purpose.
    ///
    /// ```
    /// use firebrick_core::keys::Key;
    ///
    /// let key = Key::generate([7; 32]);
    /// assert_eq!(key.subkey("names"), key.subkey("names"));
    /// assert_ne!(key.subkey("names"), key.subkey("sums"));
    /// ```
    #[must_use]
    pub fn subkey(&self, purpose: &str) -> [u8; 32] {
        let mut out = [0; 32];
        // 32 bytes are far below what this can expand to.
        let _ = Hkdf::<Sha256>::new(None, self.as_bytes()).expand(purpose.as_bytes(), &mut out);
        out
    }

    /// The subkey that salts the names of CARs.
    ///
    /// ```
    /// use firebrick_core::{genesis::GENESIS, group, keys::Key};
    ///
    /// let salt = |n| group::salt(&Key::generate([n; 32]).salt_key(), [&GENESIS.event.cid]);
    /// assert_eq!(salt(1), salt(1));
    /// assert_ne!(salt(1), salt(2));
    /// ```
    #[must_use]
    pub fn salt_key(&self) -> SaltKey {
        SaltKey(self.subkey("firebrick car salt"))
    }
}

impl Material {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Material::Aes128(bytes) => bytes,
            Material::Aes256(bytes) => bytes,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Salts the names of CARs, see [`Car::commit_salted`](crate::group::Car::commit_salted).
///
/// ```
/// use firebrick_core::keys::{Key, SaltKey};
///
/// let key: SaltKey = Key::generate([7; 32]).salt_key();
/// assert_eq!(format!("{key:?}"), "SaltKey(…)"); // it is a secret
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SaltKey(pub(crate) [u8; 32]);

impl fmt::Debug for SaltKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaltKey(…)")
    }
}

/// Where a key can be looked up.
///
/// ```
/// use firebrick_core::keys::{Key, KeyId, Keys};
///
/// struct OnlyOne(Key);
///
/// impl Keys for OnlyOne {
///     fn key(&self, id: &KeyId) -> Option<&Key> {
///         (self.0.key_id() == *id).then_some(&self.0)
///     }
/// }
/// let keys = OnlyOne(Key::generate([1; 32]));
/// assert!(keys.key(&Key::generate([2; 32]).key_id()).is_none());
/// ```
pub trait Keys {
    /// The key with this id.
    ///
    /// ```
    /// use firebrick_core::keys::{Key, Keys};
    ///
    /// let keys = vec![Key::generate([1; 32]), Key::generate([2; 32])];
    /// assert_eq!(keys.key(&keys[1].key_id()), Some(&keys[1]));
    /// assert_eq!(keys.key(&Key::generate([3; 32]).key_id()), None);
    /// ```
    fn key(&self, id: &KeyId) -> Option<&Key>;
}

impl Keys for Key {
    fn key(&self, id: &KeyId) -> Option<&Key> {
        (self.id == *id).then_some(self)
    }
}

impl Keys for [Key] {
    fn key(&self, id: &KeyId) -> Option<&Key> {
        self.iter().find(|key| key.id == *id)
    }
}

impl Keys for Vec<Key> {
    fn key(&self, id: &KeyId) -> Option<&Key> {
        self.as_slice().key(id)
    }
}

impl Keys for KeySet {
    fn key(&self, id: &KeyId) -> Option<&Key> {
        self.keys().key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        let key = Key::from_text("zMCozZ91oiHGYp12nZVhtFh").unwrap();
        assert_eq!(key.as_bytes().len(), 16);
        assert_eq!(key.to_text(), "zMCozZ91oiHGYp12nZVhtFh");
        assert_eq!(
            key.fingerprint(),
            "z9GuuJQqXhzUd7UugvBvNHVinf2d6UmBxSUfcpt37E4AE"
        );
        assert_eq!(key.fingerprint().parse(), Ok(key.key_id()));
        assert!(!format!("{key:?}").contains("zMCoz"));
    }

    #[test]
    fn wrong_texts() {
        assert_eq!(Key::from_text("MCoz"), Err(KeyError::Base58));
        assert_eq!(Key::from_text("z0"), Err(KeyError::Base58));
        assert_eq!(Key::from_text("z115T"), Err(KeyError::Length(4)));
        assert_eq!(Key::from_text(&"z".repeat(10_000)), Err(KeyError::Base58));
        assert_eq!(from_base58("z115T"), Ok(vec![0, 0, 1, 2]));
    }

    #[test]
    fn subkeys_differ_by_purpose() {
        let key = Key::generate([1; 32]);
        assert_ne!(key.subkey("a"), key.subkey("b"));
        assert_ne!(key.subkey("a"), Key::generate([2; 32]).subkey("a"));
    }
}
