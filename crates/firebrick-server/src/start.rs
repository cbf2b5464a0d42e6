//! What a server needs before it listens: stores and keys.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cars::{Bucket, CarStore, CarStoreError, Disk};
use crate::files::{private_directory, private_file, read_secret, write_new};
use crate::metas::{MetaStore, MetaStoreError, Postgres, Sqlite};
use crate::token::{KeyFormError, PublicKey, SigningKey};
use crate::{Config, ServerError, StoreUrl};

/// The private key in the data directory.
pub const KEY_FILE: &str = "token-key.json";
const URL_KEY_FILE: &str = "url-key";
const METAS_FILE: &str = "metas.sqlite";
const OBJECTS: &str = "objects";
const INCOMING: &str = "incoming";
/// What servers of one store share.
const TOKEN_KEY: &str = "token-key";
const URL_KEY: &str = "url-key";

pub(crate) type Stores = (Arc<dyn MetaStore>, Arc<dyn CarStore>);

/// Opens the stores, which answer now.
pub(crate) async fn stores(config: &Config) -> Result<Stores, ServerError> {
    let metas: Arc<dyn MetaStore> = match &config.metas {
        Some(url) => {
            let opened = Postgres::open(url).await;
            Arc::new(opened.map_err(|error| bad_metas(url, error))?)
        }
        None => {
            let path = config.data.join(METAS_FILE);
            // Before SQLite makes it readable for all.
            private_file(&path).map_err(ServerError::data(&path))?;
            Arc::new(Sqlite::open(&path)?)
        }
    };
    let cars: Arc<dyn CarStore> = match &config.objects {
        Some(url) => {
            let incoming = config.data.join(INCOMING);
            Arc::new(bucket(url, &incoming, config.presign).await?)
        }
        None => {
            let path = config.data.join(OBJECTS);
            Arc::new(Disk::open(&path).map_err(ServerError::data(&path))?)
        }
    };
    Ok((metas, cars))
}

/// Whether stores elsewhere can be used. Nothing is changed there.
pub(crate) async fn probe(config: &Config) -> Result<(), ServerError> {
    if let Some(url) = &config.metas {
        let probed = Postgres::probe(url).await;
        probed.map_err(|error| bad_metas(url, error))?;
    }
    if let Some(url) = &config.objects {
        let incoming = tempfile::tempdir().map_err(ServerError::data(std::env::temp_dir()))?;
        bucket(url, incoming.path(), config.presign).await?;
    }
    Ok(())
}

async fn bucket(url: &StoreUrl, incoming: &Path, presign: bool) -> Result<Bucket, ServerError> {
    let bad = |error| {
        let cause = match error {
            CarStoreError::Unavailable { cause } => cause,
            CarStoreError::Config(text) => return ServerError::Config(text),
            other => other.to_string(),
        };
        let url = url.clone();
        ServerError::Store { url, cause }
    };
    let bucket = Bucket::open(url, incoming, presign).map_err(bad)?;
    bucket.check().await.map_err(bad)?;
    Ok(bucket)
}

fn bad_metas(url: &StoreUrl, error: MetaStoreError) -> ServerError {
    let cause = match error {
        MetaStoreError::Unavailable { cause } => cause,
        other @ MetaStoreError::Full => other.to_string(),
    };
    let url = url.clone();
    ServerError::Store { url, cause }
}

pub(crate) fn public_keys(config: &Config) -> Result<Vec<PublicKey>, ServerError> {
    let mut keys = Vec::new();
    for source in &config.keys {
        let parsed = PublicKey::parse(&source.text).map_err(|error| ServerError::Key {
            place: source.place.clone(),
            source: error,
        })?;
        keys.extend(parsed);
    }
    Ok(keys)
}

/// The keys that tokens are checked with, and the private one if the server has made it.
pub(crate) async fn keys(
    config: &Config,
    metas: &dyn MetaStore,
) -> Result<(Vec<PublicKey>, Option<SigningKey>), ServerError> {
    let keys = public_keys(config)?;
    if !keys.is_empty() || config.jwks_url.is_some() {
        return Ok((keys, None));
    }
    let signing = shared_signing_key(config, metas).await?;
    Ok((vec![signing.public().clone()], Some(signing)))
}

/// The key of all servers with these metas. A copy is in the data directory, for who mints tokens there.
async fn shared_signing_key(
    config: &Config,
    metas: &dyn MetaStore,
) -> Result<SigningKey, ServerError> {
    let Some(url) = &config.metas else {
        return signing_key(&config.data);
    };
    let own = read_signing_key(&config.data)?;
    let proposal = |key: &SigningKey| Zeroizing::new(key.to_jwk().as_bytes().to_vec());
    let proposed = match &own {
        Some(own) => proposal(own),
        None => proposal(&generate()?),
    };
    let Some(shared) = metas.secret(TOKEN_KEY, proposed).await? else {
        return signing_key(&config.data);
    };
    let text = std::str::from_utf8(&shared).map_err(|_| KeyFormError::Text);
    let shared = text.and_then(SigningKey::parse);
    let shared = shared.map_err(|source| ServerError::Key {
        place: url.to_string(),
        source,
    })?;
    let path = config.data.join(KEY_FILE);
    match own {
        Some(own) if own.public() != shared.public() => Err(ServerError::OtherKey {
            path,
            url: url.clone(),
        }),
        Some(_) => Ok(shared),
        None => {
            let written = write_new(&path, shared.to_jwk().as_bytes());
            written.map_err(ServerError::data(&path))?;
            Ok(shared)
        }
    }
}

/// The private key of a data directory; made when it is missing.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use firebrick_server::{KEY_FILE, signing_key};
///
/// let key = signing_key(dir.path())?;
/// assert!(dir.path().join(KEY_FILE).exists());
/// assert_eq!(signing_key(dir.path())?.public(), key.public());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ServerError`] if it cannot be read or written.
pub fn signing_key(data: &Path) -> Result<SigningKey, ServerError> {
    if let Some(key) = read_signing_key(data)? {
        return Ok(key);
    }
    let path = data.join(KEY_FILE);
    let key = generate()?;
    private_directory(data).map_err(ServerError::data(&path))?;
    match write_new(&path, key.to_jwk().as_bytes()) {
        // Another process was faster: its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read_signing_key(data)?.ok_or_else(|| ServerError::data(&path)(error))
        }
        written => written.map(|()| key).map_err(ServerError::data(&path)),
    }
}

fn read_signing_key(data: &Path) -> Result<Option<SigningKey>, ServerError> {
    let path = data.join(KEY_FILE);
    let bad = |source| ServerError::Key {
        place: path.display().to_string(),
        source,
    };
    let text = read_secret(&path).map_err(ServerError::data(&path))?;
    let key = text.map(|text| SigningKey::parse(&text).map_err(bad));
    key.transpose()
}

fn generate() -> Result<SigningKey, ServerError> {
    SigningKey::generate().map_err(|source| ServerError::Key {
        place: KEY_FILE.into(),
        source,
    })
}

/// The key that signs URLs: that of all servers with these metas, or that of the data directory.
pub(crate) async fn url_key(
    config: &Config,
    metas: &dyn MetaStore,
) -> Result<Zeroizing<[u8; 32]>, ServerError> {
    let path = config.data.join(URL_KEY_FILE);
    let known = |bytes: &[u8]| {
        let key = bytes.try_into().map(Zeroizing::new);
        key.map_err(|_| ServerError::data(&path)(io::Error::other("it does not have 32 bytes")))
    };
    let (own, is_new) = match fs::read(&path).map(Zeroizing::new) {
        Ok(bytes) => (known(&bytes)?, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = Zeroizing::new([0; 32]);
            let filled = getrandom::fill(&mut *key);
            filled.map_err(|error| ServerError::data(&path)(io::Error::other(error)))?;
            (key, true)
        }
        Err(error) => return Err(ServerError::data(&path)(error)),
    };
    let proposed = Zeroizing::new(own.to_vec());
    if let Some(shared) = metas.secret(URL_KEY, proposed).await? {
        return known(&shared);
    }
    if is_new {
        write_new(&path, &*own).map_err(ServerError::data(&path))?;
    }
    Ok(own)
}
