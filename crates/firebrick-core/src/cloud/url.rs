//! Where a server is: `fpcloud://host[:port][/path]?parameters`.

use std::fmt;

use crate::urls::StoreUrl;

/// Why text is not the URL of a server.
///
/// ```
/// use firebrick_core::cloud::{AttachUrl, UrlError};
///
/// assert_eq!("http://localhost".parse::<AttachUrl>(), Err(UrlError::Scheme));
/// match "fpcloud://localhost?protocol=ftp".parse::<AttachUrl>() {
///     Err(UrlError::Protocol(name)) => assert_eq!(name, "ftp"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme.
    #[error("the URL of a server begins with fpcloud://")]
    Scheme,
    /// No host, a user or a password, an impossible port, or characters that no URL has.
    #[error("{0:?} is not a host with an optional port")]
    Host(String),
    /// Characters that no URL has.
    #[error("{0:?} is not a path of a URL")]
    Path(String),
    /// None of `ws`, `http`, `wss`, `https`.
    #[error("the protocol {0:?} is none of wss, https, ws, http")]
    Protocol(String),
    /// An endpoint of another kind.
    #[error("{0:?} is not an endpoint over HTTP or WebSockets")]
    Endpoint(String),
}

/// Over what an endpoint is used.
///
/// ```
/// use firebrick_core::cloud::{AttachUrl, Protocol};
///
/// let url = AttachUrl::new("localhost", true)?;
/// assert_eq!(url.endpoint("/fp", Protocol::Http)?, "https://localhost/fp");
/// assert_eq!(url.endpoint("/ws", Protocol::WebSocket)?, "wss://localhost/ws");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// WebSockets.
    WebSocket,
}

/// The URL that a client attaches to.
///
/// ```
/// use firebrick_core::cloud::{AttachUrl, Protocol};
///
/// let url: AttachUrl = "fpcloud://localhost:8909?protocol=ws&tenant=acme&ledger=notes".parse()?;
/// assert_eq!(url.gestalt(), "http://localhost:8909/fp");
/// assert_eq!(url.endpoint("/ws", Protocol::WebSocket)?, "ws://localhost:8909/ws");
/// assert_eq!(url.ledger.as_deref(), Some("notes"));
/// # Ok::<(), firebrick_core::cloud::UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttachUrl {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Host and port.
    authority: String,
    /// Empty, or begins with a slash.
    path: String,
    /// The tenant; what the token selects comes first.
    pub tenant: Option<String>,
    /// The ledger; what the token selects comes first.
    pub ledger: Option<String>,
    /// What the client calls this remote.
    pub name: Option<String>,
}

impl AttachUrl {
    /// A server without a path. `authority` is a host with an optional port.
    ///
    /// ```
    /// use firebrick_core::cloud::AttachUrl;
    ///
    /// let url = AttachUrl::new("localhost:8909", true)?;
    /// assert_eq!(url.to_string(), "fpcloud://localhost:8909");
    /// assert!(AttachUrl::new("user@localhost", true).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`UrlError::Host`].
    pub fn new(authority: &str, tls: bool) -> Result<Self, UrlError> {
        Ok(Self {
            tls,
            authority: check_authority(authority)?.into(),
            path: String::new(),
            tenant: None,
            ledger: None,
            name: None,
        })
    }

    /// Host and port.
    ///
    /// ```
    /// use firebrick_core::cloud::AttachUrl;
    ///
    /// let url: AttachUrl = "fpcloud://localhost:8909/path".parse()?;
    /// assert_eq!(url.authority(), "localhost:8909");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Where the first message is `PUT`: at the URL's path, or `/fp`.
    ///
    /// ```
    /// use firebrick_core::cloud::AttachUrl;
    ///
    /// let url: AttachUrl = "fpcloud://example.com".parse()?;
    /// assert_eq!(url.gestalt(), "https://example.com/fp");
    /// let url: AttachUrl = "fpcloud://example.com/sync".parse()?;
    /// assert_eq!(url.gestalt(), "https://example.com/sync");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn gestalt(&self) -> String {
        let path = match self.path.as_str() {
            "" | "/" => "/fp",
            path => path,
        };
        self.origin(Protocol::Http) + path
    }

    /// An endpoint that the server's gestalt names: a path, a path beside this one, or a whole URL.
    /// Whether it is encrypted is up to this URL unless it says so itself.
    ///
    /// ```
    /// use firebrick_core::cloud::{AttachUrl, Protocol::WebSocket};
    ///
    /// let url: AttachUrl = "fpcloud://example.com/api/fp".parse()?;
    /// assert_eq!(url.endpoint("/ws", WebSocket)?, "wss://example.com/ws");
    /// assert_eq!(url.endpoint("ws", WebSocket)?, "wss://example.com/api/ws");
    /// assert_eq!(url.endpoint("http://other/ws", WebSocket)?, "ws://other/ws");
    /// assert!(url.endpoint("//other/ws", WebSocket).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`UrlError`] if it is none of these.
    pub fn endpoint(&self, endpoint: &str, protocol: Protocol) -> Result<String, UrlError> {
        let bad = || UrlError::Endpoint(endpoint.into());
        if let Some((scheme, rest)) = endpoint.split_once("://") {
            let tls = match scheme {
                "https" | "wss" => true,
                "http" | "ws" => false,
                _ => return Err(bad()),
            };
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            check_authority(&rest[..end])?;
            check_path(&rest[end..])?;
            return Ok(format!("{}://{rest}", scheme_of(protocol, tls)));
        }
        check_path(endpoint)?;
        // `//host/path` would name another host.
        if endpoint.starts_with("//") || endpoint.is_empty() {
            return Err(bad());
        }
        let origin = self.origin(protocol);
        if endpoint.starts_with('/') {
            return Ok(origin + endpoint);
        }
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Ok(format!("{origin}{folder}/{endpoint}"))
    }

    fn origin(&self, protocol: Protocol) -> String {
        format!("{}://{}", scheme_of(protocol, self.tls), self.authority)
    }
}

fn scheme_of(protocol: Protocol, tls: bool) -> &'static str {
    match (protocol, tls) {
        (Protocol::Http, false) => "http",
        (Protocol::Http, true) => "https",
        (Protocol::WebSocket, false) => "ws",
        (Protocol::WebSocket, true) => "wss",
    }
}

/// `host`, `host:port`, `[address]` or `[address]:port`.
fn check_authority(authority: &str) -> Result<&str, UrlError> {
    let bad = || UrlError::Host(authority.into());
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(bad)?;
        let hex = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
        if !address.chars().all(hex) {
            return Err(bad());
        }
        match rest {
            "" => (address, None),
            rest => (address, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !host.chars().all(plain) {
            return Err(bad());
        }
        (host, port)
    };
    let digits =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if host.is_empty() || host.len() > 255 || port.is_some_and(|port| !digits(port)) {
        return Err(bad());
    }
    Ok(authority)
}

fn check_path(path: &str) -> Result<&str, UrlError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '#');
    if path.len() > super::MAX_TEXT_LEN || path.chars().any(odd) {
        return Err(UrlError::Path(path.chars().take(100).collect()));
    }
    Ok(path)
}

impl std::str::FromStr for AttachUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("fpcloud://").ok_or(UrlError::Scheme)?;
        let url = StoreUrl::parse(rest);
        let end = url.path().find('/').unwrap_or(url.path().len());
        let (authority, path) = url.path().split_at(end);
        let tls = match url.get("protocol") {
            None | Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            Some(other) => return Err(UrlError::Protocol(other.into())),
        };
        let text = |key| {
            url.get(key)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        Ok(Self {
            tls,
            authority: check_authority(authority)?.into(),
            path: check_path(path)?.into(),
            tenant: text("tenant"),
            ledger: text("ledger"),
            name: text("name"),
        })
    }
}

/// The URL with its parameters in order.
impl fmt::Display for AttachUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = StoreUrl::parse(&format!("fpcloud://{}{}", self.authority, self.path));
        if !self.tls {
            url.default("protocol", "ws");
        }
        for (key, value) in [
            ("tenant", &self.tenant),
            ("ledger", &self.ledger),
            ("name", &self.name),
        ] {
            if let Some(value) = value {
                url.default(key, value);
            }
        }
        fmt::Display::fmt(&url, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let url: AttachUrl = "fpcloud://h:1/a/fp?x=1&tenant=&name=n".parse().unwrap();
        assert!(url.tls && url.tenant.is_none() && url.name.as_deref() == Some("n"));
        assert_eq!(url.gestalt(), "https://h:1/a/fp");
        for (endpoint, expected) in [
            ("/ws", "wss://h:1/ws"),
            ("ws?x", "wss://h:1/a/ws?x"),
            ("http://other/ws", "ws://other/ws"),
            ("wss://[::1]:9", "wss://[::1]:9"),
        ] {
            let found = url.endpoint(endpoint, Protocol::WebSocket);
            assert_eq!(found.as_deref(), Ok(expected));
        }
        for bad in [
            "",
            "//evil/ws",
            "ftp://x",
            "http://u@x/",
            "a b",
            "https://x:99999",
            "/\\x",
        ] {
            assert!(url.endpoint(bad, Protocol::Http).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_ways() {
        for text in [
            "fpcloud://h",
            "fpcloud://h:1/p?ledger=l&protocol=ws&tenant=a%20b",
        ] {
            let url: AttachUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
        for bad in [
            "http://h",
            "fpcloud://",
            "fpcloud:///p",
            "fpcloud://u:p@h",
            "fpcloud://h:",
            "fpcloud://h:0x1",
            "fpcloud://h?protocol=ftp",
            "fpcloud://h/a b",
            "fpcloud://[::1",
        ] {
            assert!(bad.parse::<AttachUrl>().is_err(), "{bad}");
        }
    }
}
