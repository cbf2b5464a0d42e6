//! The token of whoever runs the server.

use std::fmt;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ServerError;
use crate::files::{read_secret, write_new};

/// Shorter ones could be guessed.
const MIN_LEN: usize = 16;
const MAX_LEN: usize = 1024;

/// What lets in to the metrics and the admin page. A secret: it is never printed.
#[derive(Clone)]
pub struct AdminToken {
    text: Zeroizing<String>,
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

impl AdminToken {
    /// A token of 16 to 1024 visible ASCII characters. White space around it is left out.
    ///
    /// ```
    /// use firebrick_server::AdminToken;
    ///
    /// let token = AdminToken::new("correct-horse-battery-staple\n")?;
    /// assert_eq!(format!("{token:?}"), "AdminToken");
    /// assert!(AdminToken::new("short").is_err());
    /// # Ok::<(), firebrick_server::ServerError>(())
    /// ```
    ///
    /// # Errors
    /// [`ServerError::Config`] if it is something else.
    pub fn new(text: &str) -> Result<Self, ServerError> {
        let text = text.trim();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(MIN_LEN..=MAX_LEN).contains(&text.len()) {
            return Err(ServerError::Config(format!(
                "the admin token has {MIN_LEN} to {MAX_LEN} visible ASCII characters; \
                 without one the server makes its own"
            )));
        }
        Ok(Self {
            text: Zeroizing::new(text.into()),
        })
    }

    fn generate() -> Result<Self, getrandom::Error> {
        let mut random = Zeroizing::new([0; 24]);
        getrandom::fill(&mut *random)?;
        Ok(Self {
            text: Zeroizing::new(BASE64URL_NOPAD.encode(&*random)),
        })
    }

    /// Takes the same time for all that it is not.
    pub(crate) fn is(&self, given: &str) -> bool {
        let hash = |text: &str| Sha256::digest(text.as_bytes());
        let (mine, given) = (hash(&self.text), hash(given));
        aws_lc_rs::constant_time::verify_slices_are_equal(&mine, &given).is_ok()
    }
}

/// The token in a file; made when the file is missing.
pub(crate) fn admin_token(path: &Path) -> Result<AdminToken, ServerError> {
    let failed = ServerError::data(path);
    if let Some(text) = read_secret(path).map_err(&failed)? {
        return AdminToken::new(&text);
    }
    let token =
        AdminToken::generate().map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    write_new(path, token.text.as_bytes()).map_err(failed)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let token = AdminToken::new(" 0123456789abcdef\n").unwrap();
        assert!(token.is("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcdeg",
            "0123456789abcde",
            "0123456789abcdef ",
        ] {
            assert!(!token.is(other), "{other}");
        }
        for bad in [
            "",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789äbcdef",
        ] {
            assert!(AdminToken::new(bad).is_err(), "{bad}");
        }
    }
}
