//! What can be set.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use firebrick_core::cloud::{AttachUrl, MAX_ENTRIES, MAX_MESSAGE_LEN};

use crate::metas::MetaLimit;
use crate::{AdminToken, ServerError, StoreUrl, TenantLimits, TlsFiles};

/// Whoever binds gets all metas and keys in one message. The rest of it has room, too: the token above all.
const MAX_METAS_LEN: usize = MAX_MESSAGE_LEN - (1 << 20);

/// Where a server has its data, where it listens, whom it believes.
///
/// ```
/// use firebrick_server::{Config, StoreUrl};
///
/// let mut config = Config::new("/srv/firebrick");
/// config.listen = "0.0.0.0:8909".parse()?;
/// config.public_url = Some("https://sync.example.com".into());
/// config.objects = Some(StoreUrl::new("s3://bucket/cars?region=eu-central-1"));
/// config.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory; made when it is missing.
    pub data: PathBuf,
    /// Where metas and the keys of ledgers are, if not in the data directory: `postgres://…`. Servers
    /// that share them are one.
    pub metas: Option<StoreUrl>,
    /// Where CARs are, if not in the data directory: `s3://bucket/prefix`.
    pub objects: Option<StoreUrl>,
    /// Whether clients get URLs of that store. Without them its bytes go through this server.
    pub presign: bool,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// How clients reach the server: `http://host:port` or `https://host`. Without it, each client is
    /// answered under the name that it has used itself.
    pub public_url: Option<String>,
    /// Public keys that tokens are checked with. Without these and without [`jwks_url`](Self::jwks_url)
    /// the server makes a pair and keeps it in the data directory.
    pub keys: Vec<KeySource>,
    /// A URL of public keys, fetched again now and then ([`Limits::keys_age`]) and when a token has an
    /// unknown key.
    pub jwks_url: Option<String>,
    /// Only tokens of this issuer.
    pub issuer: Option<String>,
    /// Only tokens for this audience.
    pub audience: Option<String>,
    /// Whether WebSockets are offered. Without them clients ask once a second.
    pub websockets: bool,
    /// For encrypted connections. Without it something before the server has to encrypt.
    pub tls: Option<TlsFiles>,
    /// What lets in to the metrics and the admin page. Without it the server makes one and keeps it
    /// in the data directory.
    pub admin_token: Option<AdminToken>,
    /// What each tenant may use.
    pub tenants: TenantLimits,
    /// A file with what tenants may use, in JSON:
    /// `{"all": {…}, "tenants": {"acme": {"storedBytes": 1000000}}}`. It comes before
    /// [`tenants`](Self::tenants).
    pub tenants_file: Option<PathBuf>,
    /// Bounds.
    pub limits: Limits,
}

/// A public key for tokens, and where it came from.
///
/// ```
/// use firebrick_server::token::SigningKey;
/// use firebrick_server::{Config, KeySource};
///
/// let mut config = Config::new("/srv/firebrick");
/// let issuer = SigningKey::generate()?; // elsewhere, most of the time
/// config.keys.push(KeySource { place: "issuer.json".into(), text: issuer.public_jwk() });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeySource {
    /// Named in errors.
    pub place: String,
    /// The key: a JWK, a set of them, or either in base58 (`z…`) or base64.
    pub text: String,
}

/// Bounds of everything that a client can make the server hold.
///
/// ```
/// use firebrick_server::Config;
///
/// let mut config = Config::new("/srv/firebrick");
/// config.limits.object = 64 << 20;
/// config.limits.message = usize::MAX;
/// assert!(config.check().is_err()); // more than the protocol allows
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of the network, WebSockets included.
    pub connections: usize,
    /// Connections of the protocol without a WebSocket.
    pub polling: usize,
    /// After which time such a connection is forgotten.
    pub polling_idle: Duration,
    /// Connections of the protocol on one WebSocket.
    pub names_per_socket: usize,
    /// Ledgers that one connection subscribes to.
    pub ledgers_per_connection: usize,
    /// Length of a message in bytes.
    pub message: usize,
    /// Length of a CAR in bytes.
    pub object: u64,
    /// What a ledger's metas and keys may be.
    pub metas_per_ledger: MetaLimit,
    /// Messages that wait for a slow reader; then it is disconnected.
    pub queue_messages: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// Validity of a signed URL, and the most that a client can ask for.
    pub signed_url: Duration,
    /// How long a request may take to arrive, and a message to be taken.
    pub transfer: Duration,
    /// After which silence a WebSocket is pinged.
    pub ping: Duration,
    /// After which time what is stored is counted again.
    pub count: Duration,
    /// Ledgers that have metrics of their own: the busiest ones.
    pub ledger_metrics: usize,
    /// How long requests that have begun may go on at the end.
    pub drain: Duration,
    /// After which time the public keys of a URL are fetched again.
    pub keys_age: Duration,
    /// They are not fetched more often than this, however many tokens with unknown keys come along.
    pub keys_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            polling: 10_000,
            polling_idle: Duration::from_secs(120),
            names_per_socket: 64,
            ledgers_per_connection: 256,
            message: 4 << 20,
            object: 256 << 20,
            metas_per_ledger: MetaLimit {
                entries: 50_000,
                bytes: MAX_METAS_LEN,
            },
            queue_messages: 1024,
            queue_bytes: 16 << 20,
            signed_url: Duration::from_secs(3600),
            transfer: Duration::from_secs(30),
            ping: Duration::from_secs(30),
            count: Duration::from_secs(15 * 60),
            ledger_metrics: 50,
            drain: Duration::from_secs(10),
            keys_age: Duration::from_secs(30 * 60),
            keys_pause: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// A server with its data in a directory, on port 8909 of this machine only.
    ///
    /// ```
    /// use firebrick_server::Config;
    ///
    /// let config = Config::new("/srv/firebrick");
    /// assert_eq!(config.listen.to_string(), "127.0.0.1:8909");
    /// ```
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            metas: None,
            objects: None,
            presign: true,
            listen: (Ipv4Addr::LOCALHOST, 8909).into(),
            public_url: None,
            keys: Vec::new(),
            jwks_url: None,
            issuer: None,
            audience: None,
            websockets: true,
            tls: None,
            admin_token: None,
            tenants: TenantLimits::default(),
            tenants_file: None,
            limits: Limits::default(),
        }
    }

    /// Whether the settings make sense together.
    ///
    /// ```
    /// use firebrick_server::Config;
    ///
    /// let mut config = Config::new("/srv/firebrick");
    /// assert!(config.check().is_ok());
    /// config.public_url = Some("sync.example.com".into());
    /// let refused = config.check().expect_err("it has no scheme");
    /// assert!(refused.to_string().contains("https://host"));
    /// ```
    ///
    /// # Errors
    /// [`ServerError::Config`] names the one that does not.
    pub fn check(&self) -> Result<(), ServerError> {
        let refuse = |text: String| Err(ServerError::Config(text));
        if let Some(url) = &self.public_url
            && parse_public(url).is_none()
        {
            return refuse(format!(
                "the public URL {url:?} is not http://host:port or https://host"
            ));
        }
        if let Some(url) = &self.metas
            && !["postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.expose().starts_with(scheme))
        {
            return refuse(format!(
                "{url} is no place for metas; write postgres://user:password@host/database"
            ));
        }
        if let Some(url) = &self.jwks_url
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            return refuse(format!("the JWKS URL {url:?} is neither https nor http"));
        }
        if self.limits.message > MAX_MESSAGE_LEN {
            return refuse(format!("messages have at most {MAX_MESSAGE_LEN} bytes"));
        }
        let metas = self.limits.metas_per_ledger;
        if metas.entries > MAX_ENTRIES || metas.bytes > MAX_METAS_LEN {
            return refuse(format!(
                "a ledger has at most {MAX_ENTRIES} metas, and {MAX_METAS_LEN} bytes of them"
            ));
        }
        Ok(())
    }
}

/// The public URL as clients attach to it.
pub(crate) fn parse_public(url: &str) -> Option<AttachUrl> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    AttachUrl::new(rest.strip_suffix('/').unwrap_or(rest), tls).ok()
}

/// What URLs of the server begin with.
pub(crate) fn origin(url: &AttachUrl) -> String {
    let scheme = if url.tls { "https" } else { "http" };
    format!("{scheme}://{}", url.authority())
}
