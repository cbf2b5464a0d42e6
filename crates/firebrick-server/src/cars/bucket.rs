//! CARs in an object store: S3 and what speaks like it, Google Cloud Storage, Azure.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use firebrick_core::cloud::Verb;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    ClientConfigKey, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;
use url::Url;

use super::incoming::{Incoming, blocking};
use super::{CarStore, CarStoreError, CarUsage, Object};
use crate::StoreUrl;
use crate::ids::{LedgerId, ObjectId};

/// What is longer is uploaded in parts of this length.
const PART: usize = 8 << 20;
/// Uploads at the same time. Each holds one part in memory.
const UPLOADS: usize = 16;
/// Nothing is below this.
const PROBE: &str = ".firebrick-probe";

/// CARs in a bucket: `prefix/tenant/ledger/store/CID`.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    signer: Option<Arc<dyn Signer>>,
    /// Whether anybody can upload to a signed URL. Azure wants a header that clients do not send.
    signs_uploads: bool,
    prefix: Path,
    incoming: Incoming,
    uploads: Arc<Semaphore>,
}

impl Bucket {
    /// The bucket of a URL: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`. Settings
    /// come from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`) and from parameters of the URL without
    /// that prefix, as in `?region=eu-central-1&endpoint=https://minio.example.com`. What arrives through
    /// the server is gathered in the directory `incoming`. Without `presign` everything does.
    ///
    /// Nothing is sent yet; [`check`](CarStore::check) does that.
    ///
    /// # Errors
    /// [`CarStoreError::Config`] names the setting, [`CarStoreError::Io`] is for the directory.
    pub fn open(url: &StoreUrl, incoming: &FilePath, presign: bool) -> Result<Self, CarStoreError> {
        let config = |text: String| CarStoreError::Config(text);
        let parsed = Url::parse(url.expose())
            .map_err(|error| config(format!("the URL of the objects is none: {error}")))?;
        let bucket = parsed.host_str().unwrap_or_default();
        if bucket.is_empty() || !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(config(format!(
                "{url} does not name a bucket; write s3://bucket/prefix, and credentials into the environment"
            )));
        }
        let prefix = percent_decode_str(parsed.path()).decode_utf8_lossy();
        let prefix = Path::parse(prefix.as_ref()).map_err(|error| config(error.to_string()))?;
        // An answer that does not come is an error soon, but a CAR may take its time.
        let timeouts = [
            (ClientConfigKey::ConnectTimeout, "3 seconds"),
            (ClientConfigKey::ReadTimeout, "10 seconds"),
            (ClientConfigKey::Timeout, "10 minutes"),
        ];
        let retry = RetryConfig {
            max_retries: 2,
            retry_timeout: Duration::from_secs(10),
            ..RetryConfig::default()
        };
        macro_rules! build {
            ($builder:ty, $key:ty) => {{
                let mut builder = <$builder>::from_env()
                    .with_url(format!("{}://{bucket}", parsed.scheme()))
                    .with_retry(retry);
                for (key, value) in timeouts {
                    builder = builder.with_config(<$key>::Client(key), value);
                }
                for (key, value) in parsed.query_pairs() {
                    let known = key.parse().map_err(|_| {
                        config(format!(
                            "the URL of the objects has the unknown parameter {key:?}"
                        ))
                    })?;
                    builder = builder.with_config(known, value);
                }
                let built = builder
                    .build()
                    .map_err(|error| config(format!("{url} cannot be used: {error}")))?;
                let store = Arc::new(built);
                let signer: Arc<dyn Signer> = store.clone();
                (store as Arc<dyn ObjectStore>, signer)
            }};
        }
        let (store, signer) = match parsed.scheme() {
            "s3" => build!(AmazonS3Builder, AmazonS3ConfigKey),
            "gs" => build!(GoogleCloudStorageBuilder, GoogleConfigKey),
            "az" => build!(MicrosoftAzureBuilder, AzureConfigKey),
            _ => {
                return Err(config(format!("{url} is neither s3://, gs:// nor az://")));
            }
        };
        Ok(Self {
            store,
            signer: presign.then_some(signer),
            signs_uploads: parsed.scheme() != "az",
            prefix,
            incoming: Incoming::open(incoming)?,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
        })
    }

    fn path(&self, object: &ObjectId) -> Path {
        let ObjectId { ledger, store, cid } = object;
        self.prefix
            .clone()
            .join(ledger.tenant.as_str())
            .join(ledger.ledger.as_str())
            .join(store.as_str())
            .join(cid.to_string())
    }

    fn ledger_of(&self, path: &Path) -> Option<LedgerId> {
        let parts = path.prefix_match(&self.prefix)?;
        let parts: Vec<String> = parts
            .map(|part| percent_decode_str(part.as_ref()).decode_utf8_lossy().into())
            .collect();
        match parts.as_slice() {
            [tenant, ledger, _store, _cid] => LedgerId::new(tenant, ledger).ok(),
            _ => None,
        }
    }

    async fn exists(&self, path: &Path) -> Result<bool, CarStoreError> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn receive(
        &self,
        object: ObjectId,
        body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> Result<(), CarStoreError> {
        let path = self.path(&object);
        let (temporary, len) = self.incoming.receive(body, limit).await?;
        let file = temporary.reopen()?;
        // Never closed.
        let _turn = self.uploads.acquire().await;
        if len > PART as u64 {
            return self.put_parts(&path, file).await;
        }
        let (bytes, _) = read_part(file).await?;
        match self.create(&path, bytes.clone()).await {
            // This store has no condition for that.
            Err(object_store::Error::NotImplemented { .. }) => {
                if !self.exists(&path).await? {
                    self.store.put(&path, bytes.into()).await?;
                }
                Ok(())
            }
            Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            created => Ok(created?),
        }
    }

    async fn create(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        let created = self
            .store
            .put_opts(path, bytes.into(), PutMode::Create.into());
        created.await.map(drop)
    }

    async fn put_parts(&self, path: &Path, mut file: File) -> Result<(), CarStoreError> {
        let mut upload = Upload(Some(self.store.put_multipart(path).await?));
        loop {
            let (part, rest) = read_part(file).await?;
            if part.is_empty() {
                break;
            }
            upload.part(part).await?;
            file = rest;
        }
        // Another copy may have come meanwhile. Between this and the end there is a small gap.
        if self.exists(path).await? {
            return Ok(());
        }
        upload.complete().await
    }
}

/// A part of a file, and the file.
async fn read_part(file: File) -> io::Result<(Bytes, File)> {
    blocking(move || {
        let mut part = Vec::new();
        (&file).take(PART as u64).read_to_end(&mut part)?;
        Ok((part.into(), file))
    })
    .await
}

/// An upload in parts. Dropped before its end it is called off, or its parts would stay for ever.
struct Upload(Option<Box<dyn MultipartUpload>>);

impl Upload {
    async fn part(&mut self, part: Bytes) -> Result<(), CarStoreError> {
        if let Some(upload) = &mut self.0 {
            upload.put_part(PutPayload::from(part)).await?;
        }
        Ok(())
    }

    async fn complete(mut self) -> Result<(), CarStoreError> {
        if let Some(upload) = &mut self.0 {
            upload.complete().await?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut upload) = self.0.take() {
            tokio::spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an upload to the object store cannot be called off");
                }
            });
        }
    }
}

impl From<object_store::Error> for CarStoreError {
    fn from(error: object_store::Error) -> Self {
        Self::Unavailable {
            cause: error.to_string(),
        }
    }
}

impl CarStore for Bucket {
    fn put(
        &self,
        object: ObjectId,
        body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> BoxFuture<'_, Result<(), CarStoreError>> {
        self.receive(object, body, limit).boxed()
    }

    fn get(&self, object: ObjectId) -> BoxFuture<'_, Result<Option<Object>, CarStoreError>> {
        async move {
            let found = match self.store.get(&self.path(&object)).await {
                Ok(found) => found,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let len = found.meta.size;
            let body = found
                .into_stream()
                .map(|piece| piece.map_err(io::Error::other));
            Ok(Some(Object {
                len,
                body: body.boxed(),
            }))
        }
        .boxed()
    }

    fn contains(&self, object: ObjectId) -> BoxFuture<'_, Result<bool, CarStoreError>> {
        async move { self.exists(&self.path(&object)).await }.boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, CarUsage>, CarStoreError>> {
        async move {
            let mut ledgers: HashMap<LedgerId, CarUsage> = HashMap::new();
            let mut found = self.store.list(Some(&self.prefix));
            while let Some(object) = found.next().await {
                let object = object?;
                // What does not have a name of ours is nobody's.
                if let Some(ledger) = self.ledger_of(&object.location) {
                    let usage = ledgers.entry(ledger).or_default();
                    usage.cars += 1;
                    usage.bytes += object.size;
                }
            }
            Ok(ledgers)
        }
        .boxed()
    }

    fn delete(&self, object: ObjectId) -> BoxFuture<'_, Result<(), CarStoreError>> {
        async move {
            match self.store.delete(&self.path(&object)).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                deleted => Ok(deleted?),
            }
        }
        .boxed()
    }

    fn presign(
        &self,
        object: ObjectId,
        verb: Verb,
        valid: Duration,
    ) -> BoxFuture<'_, Option<String>> {
        async move {
            let signer = self.signer.as_ref()?;
            let path = self.path(&object);
            let method = match verb {
                Verb::Get => Method::GET,
                Verb::Delete => Method::DELETE,
                // The store would take a second copy over the first one; the server does not.
                Verb::Put
                    if self.signs_uploads && matches!(self.exists(&path).await, Ok(false)) =>
                {
                    Method::PUT
                }
                Verb::Put => return None,
            };
            match signer.signed_url(method, &path, valid).await {
                Ok(url) => Some(url.into()),
                Err(error) => {
                    tracing::warn!(%error, "the object store signs no URL");
                    None
                }
            }
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CarStoreError>> {
        async move {
            // Who may not list is told "forbidden" for CARs that are not there.
            let probe = self.prefix.clone().join(PROBE);
            match self.store.list(Some(&probe)).next().await {
                Some(Err(error)) => Err(error.into()),
                _ => Ok(()),
            }
        }
        .boxed()
    }
}
