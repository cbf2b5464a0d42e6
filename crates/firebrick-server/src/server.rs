//! Starting and ending.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use firebrick_core::cloud::{AttachUrl, Claims, Conn};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::admin_token;
use crate::cars::CarStore;
use crate::config::{origin, parse_public};
use crate::dispatch::App;
use crate::files::private_directory;
use crate::hub::Hub;
use crate::ledgers::Ledgers;
use crate::listen::accept;
use crate::metas::MetaStore;
use crate::metrics::{Metrics, Timed};
use crate::signed::Signer;
use crate::start::{self, Stores};
use crate::tenants::Tenants;
use crate::tls::{self, Tls};
use crate::token::{SigningKey, Verifier};
use crate::{Config, ServerError, TlsFiles, usage, wake};

/// The admin token in the data directory.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";
const LOCK_FILE: &str = "lock";

/// A server that runs. Dropped without [`shutdown`](Self::shutdown) it ends in the background; nothing
/// that was acknowledged is lost.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    attach: AttachUrl,
    signing: Option<SigningKey>,
    admin_token_file: Option<PathBuf>,
    accepting: JoinHandle<()>,
    _ends_when_dropped: DropGuard,
    /// Held while the server runs.
    _lock: File,
}

impl Server {
    /// Opens the data directory and listens.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use firebrick_server::{Config, Server};
    ///
    /// let mut config = Config::new(dir.path());
    /// config.listen = ([127, 0, 0, 1], 0).into(); // any port that is free
    /// let server = Server::start(config).await?;
    /// println!("attach to {}", server.attach_url());
    /// server.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ServerError`] says what is missing.
    pub async fn start(config: Config) -> Result<Self, ServerError> {
        Self::launch(config, None).await
    }

    /// Like [`start`](Self::start), with metas and CARs elsewhere. Keys stay in the data directory.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use std::sync::Arc;
    ///
    /// use firebrick_server::cars::Disk;
    /// use firebrick_server::metas::Sqlite;
    /// use firebrick_server::{Config, Server};
    ///
    /// let metas = Sqlite::open(&dir.path().join("metas.sqlite"))?;
    /// let cars = Disk::open(&dir.path().join("cars"))?;
    /// let mut config = Config::new(dir.path().join("data"));
    /// config.listen = ([127, 0, 0, 1], 0).into();
    /// let server = Server::start_with(config, Arc::new(metas), Arc::new(cars)).await?;
    /// server.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        config: Config,
        metas: Arc<dyn MetaStore>,
        cars: Arc<dyn CarStore>,
    ) -> Result<Self, ServerError> {
        Self::launch(config, Some((metas, cars))).await
    }

    async fn launch(config: Config, stores: Option<Stores>) -> Result<Self, ServerError> {
        config.check()?;
        let data = &config.data;
        private_directory(data).map_err(ServerError::data(data))?;
        let lock_path = data.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(ServerError::data(lock_path))?;
        if lock.try_lock().is_err() {
            return Err(ServerError::Locked(data.clone()));
        }
        let (admin_token, admin_token_file) = match &config.admin_token {
            Some(token) => (token.clone(), None),
            None => {
                let path = data.join(ADMIN_TOKEN_FILE);
                (admin_token(&path)?, Some(path))
            }
        };
        let (metas, cars) = match stores {
            Some(stores) => stores,
            None => start::stores(&config).await?,
        };
        let (keys, signing) = start::keys(&config, &*metas).await?;
        let url_key = start::url_key(&config, &*metas).await?;
        let listener = TcpListener::bind(config.listen).await;
        let unbound = |source| ServerError::Listen {
            address: config.listen,
            source,
        };
        let listener = listener.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let tls = config.tls.clone();
        let public = config.public_url.as_deref().and_then(parse_public);
        let attach = match &public {
            Some(public) => public.clone(),
            None => AttachUrl::new(&reachable(address).to_string(), tls.is_some())
                .map_err(|error| ServerError::Config(error.to_string()))?,
        };
        let tenants = Tenants::new(config.tenants, config.tenants_file.clone())?;
        let metrics = Arc::new(Metrics::new());
        let app = Arc::new(App {
            hub: Hub::default(),
            ledgers: Ledgers::new(tenants, config.limits.ledger_metrics),
            counted: AtomicBool::new(false),
            metas: Arc::new(Timed {
                store: metas,
                metrics: metrics.clone(),
            }),
            metrics,
            admin_token,
            cars,
            verifier: Verifier::new(&config, keys)?,
            signer: Arc::new(Signer::new(&url_key)),
            public_url: public.as_ref().map(origin),
            tls: tls.map(Tls::new).transpose()?,
            websockets: config.websockets,
            limits: config.limits,
            drain: CancellationToken::new(),
            sockets: TaskTracker::new(),
        });
        let accepting = tokio::spawn(accept(listener, app.clone()));
        tokio::spawn(sweep(app.clone()));
        tokio::spawn(usage::count(app.clone()));
        tokio::spawn(wake::follow(app.clone()));
        tokio::spawn(tls::follow(app.clone()));
        tracing::info!(%address, "listening");
        Ok(Self {
            _ends_when_dropped: app.drain.clone().drop_guard(),
            app,
            address,
            attach,
            signing,
            admin_token_file,
            accepting,
            _lock: lock,
        })
    }

    /// Whether a server could start: settings, keys, data directory, stores, address. Nothing is made or
    /// changed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use firebrick_server::{Config, Server};
    ///
    /// let mut config = Config::new(dir.path().join("data"));
    /// config.listen = ([127, 0, 0, 1], 0).into();
    /// Server::check(&config).await?;
    /// assert!(!config.data.exists()); // nothing was made
    /// config.tenants_file = Some("no such file".into());
    /// assert!(Server::check(&config).await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What [`start`](Self::start) would say.
    pub async fn check(config: &Config) -> Result<(), ServerError> {
        config.check()?;
        start::public_keys(config)?;
        Tenants::new(config.tenants, config.tenants_file.clone())?;
        config.tls.as_ref().map_or(Ok(()), TlsFiles::check)?;
        let mut existing = config.data.as_path();
        while !existing.exists() {
            existing = match existing.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
        }
        let writable = tempfile::tempfile_in(existing).map(drop);
        writable.map_err(ServerError::data(&config.data))?;
        start::probe(config).await?;
        let listener = TcpListener::bind(config.listen).await.map(drop);
        listener.map_err(|source| ServerError::Listen {
            address: config.listen,
            source,
        })
    }

    /// Where it listens.
    ///
    /// ```
    /// # use firebrick_server::{Config, Server};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let mut config = Config::new(dir.path());
    /// # config.listen = ([127, 0, 0, 1], 0).into();
    /// # let server = Server::start(config).await?;
    /// assert!(server.local_addr().port() > 0);
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What clients attach to.
    ///
    /// ```
    /// # use firebrick_server::{Config, Server};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let mut config = Config::new(dir.path());
    /// # config.listen = ([127, 0, 0, 1], 0).into();
    /// # let server = Server::start(config).await?;
    /// let url = server.attach_url().to_string();
    /// assert_eq!(url, format!("fpcloud://{}?protocol=ws", server.local_addr()));
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn attach_url(&self) -> &AttachUrl {
        &self.attach
    }

    /// The URL of the admin page.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use firebrick_server::{Config, Server};
    ///
    /// let mut config = Config::new(dir.path());
    /// config.listen = ([127, 0, 0, 1], 0).into();
    /// config.public_url = Some("https://sync.example.com".into());
    /// let server = Server::start(config).await?;
    /// assert_eq!(server.admin_url(), "https://sync.example.com/admin");
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn admin_url(&self) -> String {
        origin(self.attach_url()) + "/admin"
    }

    /// The file with the admin token, unless that was in the settings.
    ///
    /// ```
    /// # use firebrick_server::{Config, Server};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let mut config = Config::new(dir.path());
    /// # config.listen = ([127, 0, 0, 1], 0).into();
    /// # let server = Server::start(config).await?;
    /// let file = server.admin_token_file().expect("the settings have none");
    /// assert!(file.ends_with(firebrick_server::ADMIN_TOKEN_FILE));
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn admin_token_file(&self) -> Option<&Path> {
        self.admin_token_file.as_deref()
    }

    /// Reads files of the settings again that may change: what tenants may use, and the certificate.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use firebrick_server::{Config, Server};
    /// # let dir = tempfile::tempdir()?;
    /// # let mut config = Config::new(dir.path());
    /// # config.listen = ([127, 0, 0, 1], 0).into();
    /// let tenants = dir.path().join("tenants.json");
    /// std::fs::write(&tenants, r#"{"all": {"connections": 10}}"#)?;
    /// config.tenants_file = Some(tenants.clone());
    /// let server = Server::start(config).await?;
    ///
    /// std::fs::write(&tenants, r#"{"all": {"connections": 20}}"#)?;
    /// server.reload()?;
    /// std::fs::write(&tenants, "{")?;
    /// assert!(server.reload().is_err()); // there are still 20
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ServerError`] says what is wrong; then everything stays as it was.
    pub fn reload(&self) -> Result<(), ServerError> {
        self.app.ledgers.tenants.reload()?;
        self.app.tls.as_ref().map_or(Ok(()), Tls::reload)?;
        tracing::info!("read the settings again");
        Ok(())
    }

    /// Whether a connection of the protocol is open.
    ///
    /// ```
    /// # use firebrick_server::{Config, Server};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let mut config = Config::new(dir.path());
    /// # config.listen = ([127, 0, 0, 1], 0).into();
    /// # let server = Server::start(config).await?;
    /// use firebrick_core::cloud::Conn;
    ///
    /// let conn = Conn { req_id: "a".into(), res_id: "b".into() };
    /// assert!(!server.is_connected(&conn));
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_connected(&self, connection: &Conn) -> bool {
        self.app.hub.find(connection).is_some()
    }

    /// Makes a token that is valid for some seconds.
    ///
    /// ```
    /// # use firebrick_server::{Config, Server};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let mut config = Config::new(dir.path());
    /// # config.listen = ([127, 0, 0, 1], 0).into();
    /// # let server = Server::start(config).await?;
    /// use firebrick_core::cloud::{Access, Claims};
    ///
    /// let ada = Claims::new("ada", "ada@example.com", "2026-01-01T00:00:00Z");
    /// let token = server.mint(ada.grant("acme", "notes", Access::Write), 3600)?;
    /// assert_eq!(token.split('.').count(), 3); // a JWT
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ServerError::NoSigningKey`] if tokens come from elsewhere.
    pub fn mint(&self, claims: Claims, seconds: u64) -> Result<String, ServerError> {
        let key = self.signing.as_ref().ok_or(ServerError::NoSigningKey)?;
        mint(key, claims, seconds)
    }

    /// Takes no more requests, ends those that have begun, says good-bye on WebSockets.
    ///
    /// ```
    /// # use firebrick_server::{Config, Server};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let mut config = Config::new(dir.path());
    /// # config.listen = ([127, 0, 0, 1], 0).into();
    /// let server = Server::start(config.clone()).await?;
    /// assert!(Server::start(config.clone()).await.is_err()); // the data directory is taken
    /// server.shutdown().await;
    /// Server::start(config).await?.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(self) {
        let app = &self.app;
        app.drain.cancel();
        app.sockets.close();
        let ended = async {
            app.sockets.wait().await;
            // It waits for requests that have begun.
            let _ = self.accepting.await;
        };
        if tokio::time::timeout(app.limits.drain, ended).await.is_err() {
            tracing::warn!("some clients did not end in time");
        }
    }
}

/// A token that is valid for some seconds from now, as the reference's issuer makes them.
///
/// ```
/// use firebrick_core::cloud::{Access, Claims};
/// use firebrick_server::mint;
/// use firebrick_server::token::SigningKey;
///
/// let key = SigningKey::generate()?;
/// let ada = Claims::new("ada", "ada@example.com", "2026-01-01T00:00:00Z");
/// let token = mint(&key, ada.grant("acme", "notes", Access::Read), 3600)?;
/// assert_eq!(token.split('.').count(), 3); // a JWT
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ServerError::Key`] if signing fails.
pub fn mint(key: &SigningKey, mut claims: Claims, seconds: u64) -> Result<String, ServerError> {
    let now = crate::clock::now();
    claims.iat = Some(now);
    claims.exp = Some(now.saturating_add(seconds));
    claims.iss.get_or_insert_with(|| "FP_CLOUD".into());
    claims
        .aud
        .get_or_insert_with(|| firebrick_core::cloud::Audience::One("PUBLIC".into()));
    key.sign(&claims).map_err(|source| ServerError::Key {
        place: "the data directory".into(),
        source,
    })
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    }
    address
}

async fn sweep(app: Arc<App>) {
    let idle = app.limits.polling_idle;
    // A timeout is what it waits for.
    while tokio::time::timeout(idle / 2, app.drain.cancelled())
        .await
        .is_err()
    {
        app.hub.sweep(idle).await;
    }
}
