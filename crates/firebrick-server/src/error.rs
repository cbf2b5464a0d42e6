//! Why a server does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::StoreUrl;
use crate::metas::MetaStoreError;
use crate::token::KeyFormError;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The data directory cannot be used.
    #[error("cannot use {}: {source}; check that the directory can be written", path.display())]
    Data {
        /// What was opened.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the data directory.
    #[error("another server uses {}; end it, or take another data directory", .0.display())]
    Locked(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why it failed.
        source: io::Error,
    },
    /// A key for tokens cannot be used.
    #[error("the key from {place} cannot be used: {source}")]
    Key {
        /// Where it came from.
        place: String,
        /// What is wrong.
        source: KeyFormError,
    },
    /// The metas cannot be opened.
    #[error("the metas cannot be opened: {0}")]
    Metas(#[from] MetaStoreError),
    /// A store outside of the data directory cannot be used.
    #[error("cannot use {url}: {cause}")]
    Store {
        /// Which, without its password.
        url: StoreUrl,
        /// Why it failed.
        cause: String,
    },
    /// The servers of one database must sign tokens with the same key.
    #[error(
        "{} has another key than the servers of {url}; move the file away to use theirs",
        path.display()
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The database.
        url: StoreUrl,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Config(String),
    /// The JWKS URL cannot be used.
    #[error("the keys of {url} cannot be fetched: {cause}")]
    Jwks {
        /// The URL.
        url: String,
        /// Why it failed.
        cause: String,
    },
    /// There is no private key, so no tokens can be made.
    #[error("this server has no private key; mint tokens where the key is")]
    NoSigningKey,
}

impl ServerError {
    /// For what fails with a file or directory.
    pub(crate) fn data(path: impl Into<PathBuf>) -> impl Fn(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Data {
            path: path.clone(),
            source,
        }
    }
}
