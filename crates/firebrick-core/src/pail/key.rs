//! Which keys the format allows.

/// The longest key, in bytes.
///
/// ```
/// use firebrick_core::pail::{KeyError, MAX_KEY_BYTES, check_key};
///
/// assert!(check_key(&"x".repeat(MAX_KEY_BYTES)).is_ok());
/// assert_eq!(check_key(&"x".repeat(MAX_KEY_BYTES + 1)), Err(KeyError::TooLong(4097)));
/// ```
pub const MAX_KEY_BYTES: usize = 4096;

/// Why text cannot be a key.
///
/// ```
/// use firebrick_core::pail::{KeyError, check_key};
///
/// match check_key("tab\there") {
///     Err(KeyError::Character { byte, at }) => assert_eq!((byte, at), (b'\t', 3)),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The empty key.
    #[error("a key must not be empty")]
    Empty,
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("a key has at most {MAX_KEY_BYTES} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside printable ASCII.
    #[error("a key consists of printable ASCII characters; the byte at {at} is {byte:#04x}")]
    Character {
        /// The byte.
        byte: u8,
        /// Its position.
        at: usize,
    },
}

/// Checks that `key` is one to 4096 characters of printable ASCII (`0x20` to `0x7e`).
///
/// ```
/// use firebrick_core::pail::{KeyError, check_key};
///
/// assert!(check_key("task-1").is_ok());
/// assert_eq!(check_key(""), Err(KeyError::Empty));
/// assert!(check_key("café").is_err());
/// ```
///
/// # Errors
/// [`KeyError`] says what is wrong.
pub fn check_key(key: &str) -> Result<(), KeyError> {
    let bytes = key.as_bytes();
    if bytes.is_empty() {
        return Err(KeyError::Empty);
    }
    if bytes.len() > MAX_KEY_BYTES {
        return Err(KeyError::TooLong(bytes.len()));
    }
    if is_printable(bytes) {
        return Ok(());
    }
    match bytes.iter().position(|byte| !is_printable(&[*byte])) {
        Some(at) => Err(KeyError::Character {
            byte: bytes[at],
            at,
        }),
        None => Ok(()),
    }
}

/// Whether all bytes are printable ASCII. Without an early exit, so that it is vectorised.
pub(super) fn is_printable(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(true, |ok, byte| ok & (byte.wrapping_sub(0x20) < 0x5f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_ascii_of_bounded_length() {
        assert_eq!(check_key(" ~"), Ok(()));
        assert_eq!(check_key(&"x".repeat(4096)), Ok(()));
        assert_eq!(check_key(""), Err(KeyError::Empty));
        assert_eq!(check_key(&"x".repeat(4097)), Err(KeyError::TooLong(4097)));
        for (key, byte, at) in [("a\nb", 10, 1), ("\u{7f}", 0x7f, 0), ("ab\u{e9}", 0xc3, 2)] {
            assert_eq!(check_key(key), Err(KeyError::Character { byte, at }));
        }
    }
}
