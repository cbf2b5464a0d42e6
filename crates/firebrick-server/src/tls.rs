//! Encrypted connections.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::ServerError;
use crate::dispatch::App;
use crate::lock::lock;

/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(5);

/// Where the certificate of the server is, and its key. Both are PEM files.
///
/// ```
/// use firebrick_server::{Config, TlsFiles};
///
/// let mut config = Config::new("/srv/firebrick");
/// config.tls = Some(TlsFiles {
///     cert: "/etc/firebrick/cert.pem".into(),
///     key: "/etc/firebrick/key.pem".into(),
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those that lead to one that clients trust.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    fn load(&self) -> Result<CertifiedKey, ServerError> {
        let failed = |path: &PathBuf, cause: String| {
            let place = path.display();
            ServerError::Config(format!("{place} cannot be used for TLS: {cause}"))
        };
        let of_cert = |cause: String| failed(&self.cert, cause);
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| of_cert(error.to_string()))?;
        if chain.is_empty() {
            return Err(of_cert("there is no certificate in it".into()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| failed(&self.key, error.to_string()))?;
        // A key that belongs to another certificate is found here.
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| failed(&self.key, error.to_string()))
    }

    /// Changes when the files do.
    fn stamp(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.cert, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    /// Whether they can be used.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        self.load().map(drop)
    }
}

/// What new connections are answered with.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

pub(crate) struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    seen: Mutex<[Option<(SystemTime, u64)>; 2]>,
    pub(crate) acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new(files: TlsFiles) -> Result<Self, ServerError> {
        let seen = Mutex::new(files.stamp());
        let current = Arc::new(Current(RwLock::new(Arc::new(files.load()?))));
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| ServerError::Config(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            files,
            current,
            seen,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Reads the files again, for connections that begin from now on.
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        *lock(&self.seen) = self.files.stamp();
        let fresh = Arc::new(self.files.load()?);
        *self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn has_changed(&self) -> bool {
        *lock(&self.seen) != self.files.stamp()
    }
}

/// Reads the files again when they change.
pub(crate) async fn follow(app: Arc<App>) {
    let Some(tls) = &app.tls else { return };
    // A timeout is what it waits for.
    while tokio::time::timeout(LOOK, app.drain.cancelled())
        .await
        .is_err()
    {
        if tls.has_changed() {
            match tls.reload() {
                Ok(()) => tracing::info!("read the certificate again"),
                // The other file may come a little later.
                Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
            }
        }
    }
}
