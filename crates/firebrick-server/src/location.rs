//! URLs of stores.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

/// The URL of a store. It may have a password in it, which is not shown.
///
/// ```
/// use firebrick_server::StoreUrl;
/// let url = StoreUrl::new("postgres://ada:secret@db.example.com/firebrick?sslmode=require");
/// assert_eq!(url.to_string(), "postgres://ada:***@db.example.com/firebrick?sslmode=***");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Zeroizing<String>);

impl StoreUrl {
    /// Any text; who opens the store finds out whether it is a URL.
    ///
    /// ```
    /// use firebrick_server::StoreUrl;
    ///
    /// assert_eq!(StoreUrl::new("s3://bucket/cars").to_string(), "s3://bucket/cars");
    /// assert_eq!(StoreUrl::new("no URL").to_string(), "***"); // it may be a secret
    /// ```
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// With all secrets.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(url) = Url::parse(&self.0) else {
            // Nobody knows which part of it is secret.
            return f.write_str("***");
        };
        write!(f, "{}://", url.scheme())?;
        if !url.username().is_empty() {
            f.write_str(url.username())?;
        }
        if url.password().is_some() {
            f.write_str(":***")?;
        }
        if !url.username().is_empty() || url.password().is_some() {
            f.write_str("@")?;
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        for (n, (key, _)) in url.query_pairs().enumerate() {
            write!(f, "{}{key}=***", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (text, shown) in [
            ("postgres://u:pw@h:5/d", "postgres://u:***@h:5/d"),
            ("postgres://:pw@h/d", "postgres://:***@h/d"),
            (
                "postgres://%2Frun/d?password=pw",
                "postgres://%2Frun/d?password=***",
            ),
            ("postgres://u:pw@a:1,b:2/d", "***"),
            (
                "s3://bucket/a/b?secret_access_key=pw&region=x",
                "s3://bucket/a/b?secret_access_key=***&region=***",
            ),
            ("pw", "***"),
        ] {
            let url = StoreUrl::new(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(url.expose(), text);
        }
    }
}
