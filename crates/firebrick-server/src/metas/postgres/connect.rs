//! How PostgreSQL is reached.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::unavailable;
use crate::StoreUrl;
use crate::metas::MetaStoreError;

/// Connections of a node, besides the one that listens.
const CONNECTIONS: usize = 16;
/// How long connecting may take, and waiting for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// A node that hangs must not keep the others from a ledger for long.
const SESSION: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
     SET idle_in_transaction_session_timeout = '15s'";

type TlsStream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// Knows the database.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// What this side understands of the encryption in a URL.
#[derive(Default)]
struct Encryption {
    mode: Option<String>,
    roots: Option<PathBuf>,
}

impl Connector {
    pub(super) fn new(url: &StoreUrl) -> Result<Self, MetaStoreError> {
        let (url, encryption) = split(url.expose());
        let mut config: Config = url.parse().map_err(|error| unavailable(&error))?;
        let encrypted = match encryption.mode.as_deref() {
            Some("disable") => false,
            // Encrypted without knowing to whom would be little better than not at all.
            Some("require" | "verify-ca" | "verify-full") => true,
            None => !config.get_hosts().iter().all(is_local),
            Some(other) => {
                let text = format!("sslmode={other} is not known; write disable or verify-full");
                return Err(MetaStoreError::Unavailable { cause: text });
            }
        };
        config.ssl_mode(if encrypted {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("firebrick");
        }
        config.keepalives_idle(Duration::from_secs(30));
        config.tcp_user_timeout(Duration::from_secs(20));
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls(encrypted, encryption.roots)?),
        })
    }

    /// Connections that are opened as needed.
    pub(super) fn pool(&self) -> Result<Pool, MetaStoreError> {
        let manager = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(self.config.clone(), self.tls.clone(), manager);
        Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let set = client.batch_execute(SESSION).await;
                    set.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| unavailable(&error))
    }

    /// One connection beside them. Somebody has to drive it.
    pub(super) async fn connect(
        &self,
    ) -> Result<(Client, Connection<Socket, TlsStream>), MetaStoreError> {
        let connecting = self.config.connect(self.tls.clone());
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|error| unavailable(&error)),
            Err(elapsed) => Err(unavailable(&elapsed)),
        }
    }
}

/// Takes out what the client library does not know, or knows otherwise.
fn split(url: &str) -> (String, Encryption) {
    let mut encryption = Encryption::default();
    let Some((place, query)) = url.split_once('?') else {
        return (url.into(), encryption);
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => encryption.mode = Some(mode.into()),
            Some(("sslrootcert", path)) => {
                let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
                encryption.roots = Some(PathBuf::from(path.as_ref()));
            }
            _ => kept.push(pair),
        }
    }
    (format!("{place}?{}", kept.join("&")), encryption)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// Certificates are checked against those that the machine trusts, or those in a file.
fn tls(encrypted: bool, roots: Option<PathBuf>) -> Result<ClientConfig, MetaStoreError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unavailable(&error))?;
    let builder = match roots {
        None if encrypted => builder
            .with_platform_verifier()
            .map_err(|error| unavailable(&error))?,
        None => builder.with_root_certificates(RootCertStore::empty()),
        Some(path) => {
            let failed = |error: &dyn fmt::Display| MetaStoreError::Unavailable {
                cause: format!("sslrootcert {}: {error}", path.display()),
            };
            let mut store = RootCertStore::empty();
            for root in CertificateDer::pem_file_iter(&path).map_err(|error| failed(&error))? {
                let root = root.map_err(|error| failed(&error))?;
                store.add(root).map_err(|error| failed(&error))?;
            }
            builder.with_root_certificates(store)
        }
    };
    Ok(builder.with_no_client_auth())
}

/// An error with what caused it: the first line alone says "db error".
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
