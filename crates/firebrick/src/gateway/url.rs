//! Reading the URL of a remote.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use firebrick_core::cloud::AttachUrl;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::error::{GatewayError, GatewayErrorKind};

/// Schemes that the design has but this version lacks, with the cargo feature they will need.
const PLANNED: [(&str, &str); 6] = [
    ("s3", "object-store"),
    ("gs", "object-store"),
    ("az", "object-store"),
    ("http", "object-store"),
    ("https", "object-store"),
    ("iroh", "p2p"),
];

/// What can't stand in the path of a URL as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\');

/// What can't stand in a query parameter as it is.
const ESCAPED_PARAM: &AsciiSet = &ESCAPED.add(b'&').add(b'=').add(b'+');

/// Where a remote is, and what its URL says besides.
///
/// [`fmt::Display`] gives the URL in its normal form, parameters included.
///
/// ```
/// use firebrick::gateway::{Place, RemoteUrl};
/// let url = RemoteUrl::parse("memory://hub?name=home")?;
/// assert_eq!(url.place, Place::Memory("hub".into()));
/// assert_eq!(url.params, [("name".into(), "home".into())]);
/// assert_eq!(url.to_string(), "memory://hub?name=home");
/// # Ok::<(), firebrick::gateway::GatewayError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    /// The place.
    pub place: Place,
    /// The query parameters in their order, such as `storekey` or `name`. The gateways don't look at
    /// them.
    pub params: Vec<(String, String)>,
}

/// The kinds of place that a remote can be in.
///
/// ```
/// use firebrick::gateway::{Place, RemoteUrl};
/// match RemoteUrl::parse("file:///mnt/hub")?.place {
///     Place::Folder(path) => assert!(path.ends_with("mnt/hub")),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), firebrick::gateway::GatewayError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// `memory://name`
    Memory(String),
    /// `file:///path`, as an absolute path.
    Folder(PathBuf),
    /// `fpcloud://host[:port][/path]`: host, port and path.
    Cloud(String),
}

impl RemoteUrl {
    /// Reads a URL, or the path of a folder.
    ///
    /// A path is told from a mistyped word by a separator in it or a directory of this name; it is
    /// taken literally, without escapes and parameters. `file://./x` and `file:x` are relative to
    /// the current directory, as Fireproof has them.
    ///
    /// ```
    /// use firebrick::gateway::{GatewayErrorKind, RemoteUrl};
    /// assert_eq!(RemoteUrl::parse("/mnt/hub")?, RemoteUrl::parse("file:///mnt/hub")?);
    /// let mistyped = RemoteUrl::parse("flie:///mnt/hub").unwrap_err();
    /// assert_eq!(mistyped.kind(), GatewayErrorKind::Unsupported);
    /// # Ok::<(), firebrick::gateway::GatewayError>(())
    /// ```
    ///
    /// # Errors
    /// [`GatewayErrorKind::InvalidUrl`] if it can't be understood, [`GatewayErrorKind::Unsupported`]
    /// for a scheme that this version doesn't have.
    pub fn parse(text: &str) -> Result<Self, GatewayError> {
        let Some((scheme, rest)) = split_scheme(text) else {
            return Self::parse_path(text);
        };
        // No parameter is a fragment; it would be lost without a word.
        if rest.contains('#') {
            return Err(invalid(text, "`#` has no meaning here; write %23"));
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let place = match scheme.as_str() {
            "memory" => Place::Memory(memory_name(text, location)?),
            "file" => Place::Folder(file_path(text, location)?),
            "fpcloud" => Place::Cloud(location.to_owned()),
            other => return Err(unknown_scheme(other)),
        };
        let params = parse_query(text, query)?;
        if let Place::Cloud(_) = &place {
            check_cloud(&place, &params)?;
        }
        Ok(Self { place, params })
    }

    fn parse_path(text: &str) -> Result<Self, GatewayError> {
        let path = Path::new(text);
        let looks_like_path =
            text == "." || text == ".." || text.contains(['/', '\\']) || path.is_dir();
        if text.is_empty() || !looks_like_path {
            let hint = format!(
                "it is neither a URL nor a path; for a folder of this name write ./{text}, else one \
                 of {}",
                known_schemes()
            );
            return Err(invalid(text, &hint));
        }
        Ok(Self {
            place: Place::Folder(absolute(text, path)?),
            params: Vec::new(),
        })
    }

    /// The first parameter of this name.
    ///
    /// ```
    /// use firebrick::gateway::RemoteUrl;
    /// let url = RemoteUrl::parse("memory://hub?name=at+home")?;
    /// assert_eq!(url.param("name"), Some("at home"));
    /// assert_eq!(url.param("storekey"), None);
    /// # Ok::<(), firebrick::gateway::GatewayError>(())
    /// ```
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Place {
    /// The URL of the place, without parameters.
    ///
    /// ```
    /// use firebrick::gateway::RemoteUrl;
    /// let url = RemoteUrl::parse("memory://my hub?name=home")?;
    /// assert_eq!(url.place.url(), "memory://my%20hub");
    /// # Ok::<(), firebrick::gateway::GatewayError>(())
    /// ```
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Place::Memory(name) => format!("memory://{}", utf8_percent_encode(name, ESCAPED)),
            Place::Folder(path) => {
                let path = path.to_string_lossy();
                // On Windows paths have back slashes and begin with a letter.
                let path = if cfg!(windows) {
                    Cow::from(format!("/{}", path.replace('\\', "/")))
                } else {
                    path
                };
                format!("file://{}", utf8_percent_encode(&path, ESCAPED))
            }
            Place::Cloud(location) => format!("fpcloud://{location}"),
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.url())?;
        for (at, (key, value)) in self.params.iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            let key = utf8_percent_encode(key, ESCAPED_PARAM);
            let value = utf8_percent_encode(value, ESCAPED_PARAM);
            write!(f, "{mark}{key}={value}")?;
        }
        Ok(())
    }
}

/// Splits `scheme://rest`, and `file:rest`. One letter is a Windows drive, not a scheme.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let valid = scheme.len() > 1
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let scheme = scheme.to_ascii_lowercase();
    let rest = match rest.strip_prefix("//") {
        Some(rest) => rest,
        None if scheme == "file" => rest,
        None => return None,
    };
    valid.then_some((scheme, rest))
}

/// A token is a secret, and this URL is shown, logged and remembered.
fn check_cloud(place: &Place, params: &[(String, String)]) -> Result<(), GatewayError> {
    let url = place.url();
    if params
        .iter()
        .any(|(key, _)| key == "token" || key == "authJWK")
    {
        return Err(invalid(
            &url,
            "a token does not belong into a URL, which is shown and remembered; put it into a file and \
             write tokenFile=/path",
        ));
    }
    let parsed: Result<AttachUrl, _> = url.parse();
    parsed.map_or_else(|error| Err(invalid(&url, &error.to_string())), |_| Ok(()))
}

fn memory_name(text: &str, location: &str) -> Result<String, GatewayError> {
    let name = decode(text, location)?;
    if name.is_empty() {
        return Err(invalid(text, "a memory remote needs a name: memory://name"));
    }
    Ok(name)
}

fn file_path(text: &str, location: &str) -> Result<PathBuf, GatewayError> {
    let location = location
        .strip_prefix("localhost/")
        .map_or(location.into(), |path| Cow::from(format!("/{path}")));
    if location.is_empty() {
        return Err(invalid(text, "the path is missing: file:///path"));
    }
    let host = location.split('/').next().unwrap_or("");
    let relative = matches!(host, "." | "..") || !text.contains("//");
    let drive = location.as_bytes().get(1) == Some(&b':');
    if !host.is_empty() && !relative && !drive {
        let hint = format!(
            "it names the host {host:?}, but only folders of this machine can be opened; for a path \
             write file:///{location}, for a relative one file://./{location}"
        );
        return Err(invalid(text, &hint));
    }
    let decoded = decode(text, &location)?;
    if decoded.contains('\0') {
        return Err(invalid(text, "a path can't contain a zero byte"));
    }
    // file:///C:/x is C:/x.
    let path = match decoded.strip_prefix('/') {
        Some(rest) if cfg!(windows) && rest.as_bytes().get(1) == Some(&b':') => rest,
        _ => &decoded,
    };
    absolute(text, Path::new(path))
}

fn absolute(text: &str, path: &Path) -> Result<PathBuf, GatewayError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| invalid(text, "it can't be made an absolute path").with_source(error))?;
    // Without this, two spellings of one folder would count as two remotes.
    let mut normal = PathBuf::new();
    for part in absolute.components() {
        if part == std::path::Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    Ok(normal)
}

fn parse_query(text: &str, query: &str) -> Result<Vec<(String, String)>, GatewayError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode_param(text, key)?, decode_param(text, value)?))
        })
        .collect()
}

fn decode_param(text: &str, part: &str) -> Result<String, GatewayError> {
    decode(text, &part.replace('+', " "))
}

fn decode(text: &str, part: &str) -> Result<String, GatewayError> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|error| invalid(text, "its escapes aren't UTF-8").with_source(error))
}

fn invalid(text: &str, why: &str) -> GatewayError {
    GatewayError::new(
        GatewayErrorKind::InvalidUrl,
        format!("{text:?} can't be the URL of a remote: {why}"),
    )
}

/// The schemes of this build, for messages.
fn known_schemes() -> String {
    let known = [
        (cfg!(feature = "folder"), "file:///path"),
        (cfg!(feature = "memory"), "memory://name"),
        (cfg!(feature = "cloud"), "fpcloud://host"),
    ];
    let known: Vec<&str> = known
        .iter()
        .filter(|(has, _)| *has)
        .map(|(_, url)| *url)
        .collect();
    match known.is_empty() {
        true => "(none: this build has no gateway, enable the feature `folder`)".into(),
        false => known.join(", "),
    }
}

fn unknown_scheme(scheme: &str) -> GatewayError {
    let planned = PLANNED.iter().find(|(name, _)| *name == scheme);
    let why = match planned {
        Some((_, feature)) => format!(
            "{scheme}:// remotes are planned (feature `{feature}`), but this version doesn't have \
             them yet"
        ),
        None => format!("there are no {scheme}:// remotes"),
    };
    GatewayError::new(
        GatewayErrorKind::Unsupported,
        format!("{why}; this build knows {}", known_schemes()),
    )
}

/// A scheme that exists, but was left out of this build.
#[cfg(not(all(feature = "memory", feature = "folder", feature = "cloud")))]
pub(super) fn left_out(scheme: &str, feature: &str) -> GatewayError {
    GatewayError::new(
        GatewayErrorKind::Unsupported,
        format!(
            "{scheme}:// remotes need the cargo feature `{feature}`, which this build was made \
             without; it knows {}",
            known_schemes()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> String {
        match RemoteUrl::parse(text).unwrap().place {
            Place::Folder(path) => path.to_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(text: &str) -> (GatewayErrorKind, String) {
        let error = RemoteUrl::parse(text).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn memory_names() {
        let url = RemoteUrl::parse("memory://a%20b?storekey=%40x%40&name=n+m&flag").unwrap();
        assert_eq!(url.place, Place::Memory("a b".into()));
        assert_eq!(url.param("storekey"), Some("@x@"));
        assert_eq!(url.param("name"), Some("n m"));
        assert_eq!(url.param("flag"), Some(""));
        assert_eq!(url.param("other"), None);
        let text = url.to_string();
        assert_eq!(text, "memory://a%20b?storekey=@x@&name=n%20m&flag=");
        assert_eq!(RemoteUrl::parse(&text).unwrap(), url);
        assert!(refusal("memory://").1.contains("needs a name"));
    }

    #[test]
    fn servers() {
        let text = "fpcloud://host:8909/fp?protocol=ws&tenant=a&ledger=b&tokenFile=/run/token";
        let url = RemoteUrl::parse(text).unwrap();
        assert_eq!(url.place, Place::Cloud("host:8909/fp".into()));
        assert_eq!(url.to_string(), text);
        for bad in [
            "fpcloud://",
            "fpcloud://user@host",
            "fpcloud://host?token=a.b.c",
            "fpcloud://host?authJWK=a.b.c",
        ] {
            let (kind, text) = refusal(bad);
            assert_eq!(kind, GatewayErrorKind::InvalidUrl, "{bad}");
            assert!(!text.contains("a.b.c"), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn folders() {
        assert_eq!(folder("file:///a/b"), "/a/b");
        assert_eq!(folder("file:///a/b/?x=1"), "/a/b");
        assert_eq!(folder("FILE:///a%20b/%C3%A9"), "/a b/é");
        assert_eq!(folder("file://localhost/a"), "/a");
        assert_eq!(folder("file:/a"), "/a");
        assert_eq!(folder("/a/./b/../what? #1 %41"), "/a/what? #1 %41");
        let here = std::env::current_dir().unwrap();
        let below = |name: &str| here.join(name).to_str().unwrap().to_owned();
        assert_eq!(folder("./x"), below("x"));
        assert_eq!(folder("file://./x"), below("x"));
        assert_eq!(folder("file:x/y"), below("x/y"));
        assert_eq!(folder("."), here.to_str().unwrap());
        // The normal form leads to the same place.
        for text in ["/a/what? #1 %41", "file:///a%20b/%C3%A9", "./x"] {
            let place = RemoteUrl::parse(text).unwrap().place;
            assert_eq!(RemoteUrl::parse(&place.url()).unwrap().place, place);
        }
    }

    #[cfg(all(feature = "memory", feature = "folder"))]
    #[test]
    fn refusals_say_what_to_write() {
        let (kind, text) = refusal("ftp://x");
        assert_eq!(kind, GatewayErrorKind::Unsupported);
        assert!(
            text.contains("file:///path") && text.contains("memory://name"),
            "{text}"
        );
        let (kind, text) = refusal("s3://bucket/x");
        assert_eq!(kind, GatewayErrorKind::Unsupported);
        assert!(text.contains("`object-store`"), "{text}");
        let (kind, text) = refusal("file://server/share");
        assert_eq!(kind, GatewayErrorKind::InvalidUrl);
        assert!(text.contains("file:///server/share"), "{text}");
        for text in [
            "",
            "no-such-directory-here",
            "memory:x",
            "file://",
            "file:///a#b",
            "file:///%ff",
        ] {
            assert_eq!(refusal(text).0, GatewayErrorKind::InvalidUrl, "{text}");
        }
        assert!(refusal("notes").1.contains("./notes"));
    }
}
