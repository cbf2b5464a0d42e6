//! Keys as text under a passphrase, to carry them from one place to another.
//!
//! ```text
//! firebrick-keys.1.argon2id.65536.3.4.BOX.CHECK
//! ```
//!
//! The fields are the version, the derivation with its memory in KiB, passes and lanes, a box and a
//! check. The box is base64url without padding of a salt (16 bytes), a nonce (12 bytes) and the
//! keys (a keybag file) sealed with AES-256-GCM. Its key is made of the passphrase and the salt by
//! Argon2id; all text before the box is associated data. The check is the first 8 bytes of the
//! SHA-256 of all text before it: it tells a damaged text from a wrong passphrase. White space is
//! ignored, so a text survives being wrapped into lines.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::KeySet;

/// What every wrapped text begins with.
///
/// ```
/// # use firebrick_core::keys::{Key, KeySet};
/// use firebrick_core::keys::wrapped::{Cost, MARK, RANDOM_LEN, wrap};
///
/// # let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
/// # let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
/// let text = wrap(&keys, "four words are better", cost, &[7; RANDOM_LEN])?;
/// assert!(text.starts_with(MARK));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MARK: &str = "firebrick-keys.";

/// Longer texts are refused unread.
///
/// ```
/// use firebrick_core::keys::wrapped::{MARK, TEXT_MAX, WrapError, unwrap};
///
/// let long = format!("{MARK}{}", "1".repeat(TEXT_MAX));
/// assert_eq!(unwrap(&long, "any"), Err(WrapError::Damaged("it is too long")));
/// ```
pub const TEXT_MAX: usize = 256 << 10;

/// The fewest characters of a new passphrase.
///
/// ```
/// # use firebrick_core::keys::{Key, KeySet};
/// use firebrick_core::keys::wrapped::{Cost, PASSPHRASE_MIN, RANDOM_LEN, WrapError, wrap};
///
/// # let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
/// # let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
/// let short = "x".repeat(PASSPHRASE_MIN - 1);
/// assert_eq!(wrap(&keys, &short, cost, &[7; RANDOM_LEN]), Err(WrapError::Short));
/// ```
pub const PASSPHRASE_MIN: usize = 8;

const VERSION: &str = "1";
const KDF: &str = "argon2id";
const SALT_LEN: usize = 16;
const NONCE_LEN: usize = 12;
const CHECK_LEN: usize = 8;

/// Random bytes that wrapping needs.
///
/// ```
/// # use firebrick_core::keys::{Key, KeySet};
/// use firebrick_core::keys::wrapped::{Cost, RANDOM_LEN, wrap};
///
/// # let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
/// # let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
/// let random = [7; RANDOM_LEN]; // take fresh random bytes
/// assert!(wrap(&keys, "four words are better", cost, &random).is_ok());
/// ```
pub const RANDOM_LEN: usize = SALT_LEN + NONCE_LEN;

/// What making a key of a passphrase costs, for the owner once and for a thief at every guess.
///
/// ```
/// use firebrick_core::keys::wrapped::Cost;
///
/// let cost = Cost { passes: 4, ..Cost::default() };
/// assert_eq!((cost.memory_kib, cost.passes, cost.lanes), (64 * 1024, 4, 4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes that can be computed side by side.
    pub lanes: u32,
}

impl Default for Cost {
    /// 64 MiB, 3 passes, 4 lanes: the second recommendation of RFC 9106.
    fn default() -> Self {
        Self {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Cost {
    /// The most that a text may ask of its reader: 1 GiB, 16 passes, 16 lanes.
    ///
    /// ```
    /// # use firebrick_core::keys::{Key, KeySet};
    /// use firebrick_core::keys::wrapped::{Cost, RANDOM_LEN, WrapError, wrap};
    ///
    /// # let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
    /// let cost = Cost { passes: Cost::MAX.passes + 1, ..Cost::default() };
    /// let wrapped = wrap(&keys, "four words are better", cost, &[7; RANDOM_LEN]);
    /// assert_eq!(wrapped, Err(WrapError::TooCostly(cost)));
    /// ```
    pub const MAX: Self = Self {
        memory_kib: 1 << 20,
        passes: 16,
        lanes: 16,
    };

    fn is_bearable(&self) -> bool {
        self.memory_kib <= Self::MAX.memory_kib
            && self.passes <= Self::MAX.passes
            && self.lanes <= Self::MAX.lanes
    }
}

/// Why keys could not be wrapped or unwrapped.
///
/// ```
/// # use firebrick_core::keys::{Key, KeySet};
/// use firebrick_core::keys::wrapped::{Cost, RANDOM_LEN, WrapError, unwrap, wrap};
///
/// # let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
/// # let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
/// let text = wrap(&keys, "four words are better", cost, &[7; RANDOM_LEN])?;
/// assert_eq!(unwrap(&text, "other words"), Err(WrapError::WrongPassphrase));
/// let cut = &text[..text.len() - 1];
/// assert!(matches!(unwrap(cut, "four words are better"), Err(WrapError::Damaged(_))));
/// assert_eq!(unwrap("waves", "other words"), Err(WrapError::NotWrapped));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The text is something else.
    #[error("this is no key export: one begins with {MARK}")]
    NotWrapped,
    /// The text was made by a newer version of this library.
    #[error(
        "the key export has version {0:?}, which this program does not know; update the program"
    )]
    Newer(String),
    /// The text is not the one that was exported.
    #[error("the key export is damaged ({0}); copy it again, whole")]
    Damaged(&'static str),
    /// The text is whole and the passphrase does not open it.
    #[error("the passphrase does not open this key export; try again, or export the keys anew")]
    WrongPassphrase,
    /// The text asks for more memory or time than a reader should give.
    #[error(
        "the key export asks for {0:?} to open it, more than any that this program makes; it is not opened"
    )]
    TooCostly(Cost),
    /// Too short to protect anything.
    #[error(
        "the passphrase is too short: take at least {PASSPHRASE_MIN} characters, better several words"
    )]
    Short,
}

/// Whether a text claims to be wrapped keys.
///
/// ```
/// use firebrick_core::keys::wrapped::is_wrapped;
///
/// assert!(is_wrapped(" firebrick-keys.1.argon2id"));
/// assert!(!is_wrapped("zMCozZ91oiHGYp12nZVhtFh"));
/// ```
#[must_use]
pub fn is_wrapped(text: &str) -> bool {
    text.trim_start().starts_with(MARK)
}

/// Wraps keys. `random` must be fresh for each call.
///
/// ```
/// # use firebrick_core::keys::{Key, KeySet};
/// use firebrick_core::keys::wrapped::{Cost, RANDOM_LEN, wrap};
///
/// # let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
/// # let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
/// let text = wrap(&keys, "four words are better", cost, &[7; RANDOM_LEN])?;
/// assert!(text.starts_with("firebrick-keys.1.argon2id.8.1.1."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`WrapError::Short`] for a passphrase of fewer than [`PASSPHRASE_MIN`] characters,
/// [`WrapError::TooCostly`] for a cost beyond [`Cost::MAX`] or below what Argon2 can do.
pub fn wrap(
    keys: &KeySet,
    passphrase: &str,
    cost: Cost,
    random: &[u8; RANDOM_LEN],
) -> Result<String, WrapError> {
    if passphrase.chars().count() < PASSPHRASE_MIN {
        return Err(WrapError::Short);
    }
    let mut text = format!(
        "{MARK}{VERSION}.{KDF}.{}.{}.{}.",
        cost.memory_kib, cost.passes, cost.lanes
    );
    let (salt, nonce) = random.split_at(SALT_LEN);
    let cipher = cipher(passphrase, salt, cost)?;
    let plain = Zeroizing::new(keys.to_json());
    let sealed = cipher
        .encrypt(
            &nonce_of(nonce),
            Payload {
                msg: plain.as_bytes(),
                aad: text.as_bytes(),
            },
        )
        // Only texts of many gigabytes fail.
        .map_err(|_| WrapError::Damaged("it is too long"))?;
    let sealed = [salt, nonce, &sealed].concat();
    text.push_str(&BASE64URL_NOPAD.encode(&sealed));
    text.push('.');
    let check = check(&text);
    text.push_str(&check);
    Ok(text)
}

/// Unwraps keys.
///
/// ```
/// # use firebrick_core::keys::{Key, KeySet};
/// use firebrick_core::keys::wrapped::{Cost, RANDOM_LEN, unwrap, wrap};
///
/// # let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
/// # let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
/// let text = wrap(&keys, "four words are better", cost, &[7; RANDOM_LEN])?;
/// assert_eq!(unwrap(&text, "four words are better")?, keys);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`WrapError`] says what is wrong; a damaged text and a wrong passphrase are told apart.
pub fn unwrap(text: &str, passphrase: &str) -> Result<KeySet, WrapError> {
    if !is_wrapped(text) {
        return Err(WrapError::NotWrapped);
    }
    if text.len() > TEXT_MAX {
        return Err(WrapError::Damaged("it is too long"));
    }
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let fields: Vec<&str> = text[MARK.len()..].split('.').collect();
    if let Some(version) = fields.first().filter(|version| **version != VERSION) {
        let is_newer = version.parse::<u32>().is_ok() && fields.len() > 1;
        return Err(match is_newer {
            true => WrapError::Newer((*version).to_owned()),
            false => WrapError::Damaged("its version cannot be read"),
        });
    }
    let [_, kdf, memory_kib, passes, lanes, sealed, checked] = fields[..] else {
        return Err(WrapError::Damaged("a part of it is missing"));
    };
    let before = &text[..text.len() - checked.len()];
    if check(before) != checked {
        return Err(WrapError::Damaged("its check does not fit"));
    }
    let number = |text: &str| {
        text.parse()
            .map_err(|_| WrapError::Damaged("its cost cannot be read"))
    };
    let cost = Cost {
        memory_kib: number(memory_kib)?,
        passes: number(passes)?,
        lanes: number(lanes)?,
    };
    if kdf != KDF {
        return Err(WrapError::Newer(kdf.to_owned()));
    }
    if !cost.is_bearable() {
        return Err(WrapError::TooCostly(cost));
    }
    let bytes = BASE64URL_NOPAD
        .decode(sealed.as_bytes())
        .map_err(|_| WrapError::Damaged("it is not base64url"))?;
    let (Some(salt), Some(nonce), Some(sealed_keys)) = (
        bytes.get(..SALT_LEN),
        bytes.get(SALT_LEN..RANDOM_LEN),
        bytes.get(RANDOM_LEN..),
    ) else {
        return Err(WrapError::Damaged("it is too short"));
    };
    let associated = &before[..before.len() - sealed.len() - 1];
    let plain = cipher(passphrase, salt, cost)?
        .decrypt(
            &nonce_of(nonce),
            Payload {
                msg: sealed_keys,
                aad: associated.as_bytes(),
            },
        )
        .map_err(|_| WrapError::WrongPassphrase)?;
    let plain = Zeroizing::new(plain);
    let json = std::str::from_utf8(&plain).ok();
    json.and_then(|json| KeySet::from_json(json).ok())
        .ok_or(WrapError::Damaged("what it holds are no keys"))
}

fn cipher(passphrase: &str, salt: &[u8], cost: Cost) -> Result<Aes256Gcm, WrapError> {
    let too_costly = |_| WrapError::TooCostly(cost);
    if !cost.is_bearable() {
        return Err(WrapError::TooCostly(cost));
    }
    let params =
        Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(too_costly)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(too_costly)?;
    Ok(Aes256Gcm::new(&(*key).into()))
}

fn nonce_of(bytes: &[u8]) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(bytes);
    nonce.into()
}

fn check(text: &str) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(text)[..CHECK_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    const CHEAP: Cost = Cost {
        memory_kib: 32,
        passes: 1,
        lanes: 4,
    };

    fn keys() -> KeySet {
        let mut keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
        let second = Key::generate([2; 32]);
        let id = second.key_id();
        keys.add(second);
        keys.set_default(&id).unwrap();
        keys
    }

    #[test]
    fn both_ways_with_lines_broken_anywhere() {
        let text = wrap(&keys(), "correct horse", CHEAP, &[7; RANDOM_LEN]).unwrap();
        assert!(text.starts_with("firebrick-keys.1.argon2id.32.1.4."));
        assert_eq!(unwrap(&text, "correct horse"), Ok(keys()));
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(40)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        assert_eq!(unwrap(&lines.join("\r\n  "), "correct horse"), Ok(keys()));
        assert!(!text.contains(&Key::generate([1; 32]).to_text()));
    }

    #[test]
    fn a_wrong_passphrase_is_no_damage_and_damage_is_no_wrong_passphrase() {
        let text = wrap(&keys(), "correct horse", CHEAP, &[7; RANDOM_LEN]).unwrap();
        for wrong in ["", "correct hors", "Correct horse", "correct horse "] {
            assert_eq!(unwrap(&text, wrong), Err(WrapError::WrongPassphrase));
        }
        for at in MARK.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
            let changed = String::from_utf8(changed).unwrap();
            let error = unwrap(&changed, "correct horse").unwrap_err();
            assert!(
                matches!(error, WrapError::Damaged(_) | WrapError::Newer(_)),
                "byte {at}: {error}"
            );
            let error = unwrap(&text[..at], "correct horse").unwrap_err();
            assert!(
                matches!(error, WrapError::Damaged(_)),
                "cut at {at}: {error}"
            );
        }
        assert_eq!(unwrap("zMCozZ91", "x"), Err(WrapError::NotWrapped));
    }

    #[test]
    fn hostile_texts_cost_little() {
        let signed = |text: &str| format!("{text}{}", check(text));
        let greedy = signed("firebrick-keys.1.argon2id.4294967295.4294967295.1.AAAA.");
        assert!(matches!(unwrap(&greedy, "x"), Err(WrapError::TooCostly(_))));
        let none = signed(&format!(
            "firebrick-keys.1.argon2id.0.0.0.{}.",
            "A".repeat(80)
        ));
        assert!(matches!(unwrap(&none, "x"), Err(WrapError::TooCostly(_))));
        let newer = signed("firebrick-keys.2.other.AAAA.");
        assert_eq!(unwrap(&newer, "x"), Err(WrapError::Newer("2".into())));
        let short = signed("firebrick-keys.1.argon2id.32.1.4.AAAA.");
        assert!(matches!(unwrap(&short, "x"), Err(WrapError::Damaged(_))));
        let long = format!("{MARK}{}", "A".repeat(TEXT_MAX));
        assert!(matches!(unwrap(&long, "x"), Err(WrapError::Damaged(_))));
    }

    #[test]
    fn short_passphrases_are_refused() {
        let short = wrap(&keys(), "1234567", CHEAP, &[7; RANDOM_LEN]);
        assert_eq!(short, Err(WrapError::Short));
    }
}
