//! CARs in an object store.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::cloud::{Operation, Verb};
use firebrick_server::StoreUrl;
use firebrick_server::cars::{Bucket, CarStore, CarStoreError};
use firebrick_server::ids::{LedgerId, ObjectId};
use firebrick_testbed::S3;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tempfile::TempDir;

use crate::support::{Place, car};

struct Store {
    s3: S3,
    dir: TempDir,
    bucket: Bucket,
}

impl Store {
    fn new() -> Self {
        let (s3, dir) = (S3::start(), tempfile::tempdir().unwrap());
        let bucket = Bucket::open(&StoreUrl::new(s3.url()), dir.path(), true).unwrap();
        Self { s3, dir, bucket }
    }

    async fn put(&self, name: &str, pieces: Vec<Vec<u8>>, limit: u64) -> Result<(), CarStoreError> {
        let pieces = pieces.into_iter().map(|piece| Ok(Bytes::from(piece)));
        let body = stream::iter(pieces.collect::<Vec<_>>()).boxed();
        self.put_body(name, body, limit).await
    }

    async fn put_body(
        &self,
        name: &str,
        body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> Result<(), CarStoreError> {
        let put = self.bucket.put(object(name), body, limit).await;
        // Nothing of it stays where it has arrived.
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 0);
        put
    }

    async fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut found = self.bucket.get(object(name)).await.unwrap()?;
        let mut bytes = Vec::new();
        while let Some(piece) = found.body.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(bytes.len() as u64, found.len);
        Some(bytes)
    }
}

fn object(name: &str) -> ObjectId {
    let ledger = LedgerId::new("A tenant", "led%2F..ger").unwrap();
    ObjectId::new(ledger, "car", &car(name).to_string()).unwrap()
}

#[tokio::test]
async fn the_first_copy_stays() {
    let store = Store::new();
    store.bucket.check().await.unwrap();
    assert_eq!(store.read("a").await, None);
    assert!(!store.bucket.contains(object("a")).await.unwrap());
    let put = |text: &str| store.put("a", vec![text.into(), b"!".to_vec()], 6);
    put("first").await.unwrap();
    put("other").await.unwrap();
    assert_eq!(store.read("a").await.unwrap(), b"first!");
    assert!(store.bucket.contains(object("a")).await.unwrap());
    let path = store.s3.objects().remove(0);
    let path = path.to_string_lossy();
    assert!(path.ends_with(&format!("car/{}", car("a"))), "{path}");
    assert!(path.contains("/cars/some/prefix/A tenant/"), "{path}");
    // Several at once, of which each finds nothing at first.
    let racing = (0..8).map(|n| store.bucket.put(object("b"), slow(n), 100));
    for put in futures_util::future::join_all(racing).await {
        put.unwrap();
    }
    assert_eq!(store.read("b").await.unwrap().len(), 2);
    let usage = store.bucket.usage().await.unwrap();
    let usage = usage[&object("a").ledger];
    assert_eq!((usage.cars, usage.bytes), (2, 8));
    for name in ["a", "a", "b"] {
        store.bucket.delete(object(name)).await.unwrap();
    }
    assert!(!store.bucket.contains(object("a")).await.unwrap());
}

fn slow(n: u8) -> BoxStream<'static, io::Result<Bytes>> {
    stream::iter([n, n])
        .then(|n| async move {
            tokio::task::yield_now().await;
            Ok(Bytes::from(vec![n]))
        })
        .boxed()
}

/// Longer than one part.
#[tokio::test]
async fn long_ones_go_in_parts() {
    let store = Store::new();
    let piece = |n: usize| {
        (0..1 << 20)
            .map(|i| (i * 31 + n) as u8)
            .collect::<Vec<u8>>()
    };
    let pieces: Vec<Vec<u8>> = (0..19).map(piece).collect();
    let all = pieces.concat();
    store.put("long", pieces, 19 << 20).await.unwrap();
    store
        .put("long", vec![vec![0; 17 << 20]], 19 << 20)
        .await
        .unwrap();
    assert!(store.read("long").await.unwrap() == all);
    assert_eq!(store.s3.objects().len(), 1, "no parts are left");
}

#[tokio::test]
async fn what_is_not_whole_is_not_there() {
    let store = Store::new();
    let long = store.put("a", vec![b"abcd".to_vec()], 3).await;
    assert!(matches!(long, Err(CarStoreError::TooLong(3))));
    let broken = stream::iter([
        Ok(Bytes::from_static(b"ab")),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ]);
    let broken = store.put_body("a", broken.boxed(), 9).await;
    assert!(matches!(broken, Err(CarStoreError::Body(_))));
    assert!(store.s3.objects().is_empty());
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_and_comes_back() {
    let mut store = Store::new();
    store.put("a", vec![b"a".to_vec()], 9).await.unwrap();
    store.s3.stop();
    let failed = store.put("b", vec![b"b".to_vec()], 9).await;
    assert!(matches!(failed, Err(CarStoreError::Unavailable { .. })));
    assert!(store.bucket.get(object("a")).await.is_err());
    assert!(store.bucket.check().await.is_err());
    store.s3.resume();
    store.bucket.check().await.unwrap();
    store.put("b", vec![b"b".to_vec()], 9).await.unwrap();
    assert_eq!(store.read("a").await.unwrap(), b"a");
}

#[tokio::test]
async fn settings() {
    let s3 = S3::start();
    let dir = tempfile::tempdir().unwrap();
    let open = |url: &str| Bucket::open(&StoreUrl::new(url), dir.path(), true);
    for bad in [
        "cars",
        "s3://",
        "ftp://cars/x",
        "s3://user:secret@cars/x",
        "s3://cars/a//b",
        "s3://cars/x?colour=red",
        "s3://cars/x?allow_http=maybe",
    ] {
        let error = open(bad).unwrap_err();
        assert!(
            matches!(error, CarStoreError::Config(_)),
            "{bad}: {error:?}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let cause = async |url: String| match open(&url).unwrap().check().await {
        Err(CarStoreError::Unavailable { cause }) => cause,
        other => panic!("{other:?}"),
    };
    let missing = cause(s3.url().replace("//cars", "//other")).await;
    assert!(missing.contains("NoSuchBucket"), "{missing}");
    let wrong = cause(s3.url().replace("test-secret", "wrong")).await;
    assert!(wrong.contains("SignatureDoesNotMatch"), "{wrong}");
}

/// URLs of the store's own: the bytes do not go through the server.
#[tokio::test]
async fn clients_get_urls_of_the_store() {
    let s3 = S3::start();
    let place = Place::with(|config| config.objects = Some(StoreUrl::new(s3.url()))).await;
    let mut client = place.client("a").await;
    let foreign = format!("http://{}/", s3.address());
    let http = reqwest::Client::new();
    let get = client.url(Operation::Get, "a").await;
    assert!(get.starts_with(&foreign), "{get}");
    assert_eq!(http.get(&get).send().await.unwrap().status(), 404);
    let put = client.url(Operation::Put, "a").await;
    assert!(put.starts_with(&foreign), "{put}");
    // For this method and this object only.
    assert_eq!(http.get(&put).send().await.unwrap().status(), 403);
    let other = put.replace(&car("a").to_string(), &car("b").to_string());
    let other = http.put(other).body("b").send().await.unwrap();
    assert_eq!(other.status(), 403);
    assert!(s3.objects().is_empty());
    let upload = http.put(&put).body("first").send().await.unwrap();
    assert_eq!(upload.status(), 200);
    let read = async || http.get(&get).send().await.unwrap().text().await.unwrap();
    assert_eq!(read().await, "first");
    // What is there the server does not let be written again: it takes the bytes, and drops them.
    let again = client.url(Operation::Put, "a").await;
    assert!(again.starts_with(&place.http("/store/")), "{again}");
    let upload = http.put(&again).body("second").send().await.unwrap();
    assert_eq!(upload.status(), 200);
    assert_eq!(read().await, "first");
    client.publish(&["a"], &[]).await;
    let delete = client.url(Operation::Delete, "a").await;
    assert!(
        http.delete(delete)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    assert_eq!(http.get(&get).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn without_them_the_server_carries_the_bytes() {
    let s3 = S3::start();
    let place = Place::with(|config| {
        config.objects = Some(StoreUrl::new(s3.url()));
        config.presign = false;
        config.limits.object = 10;
    })
    .await;
    let mut client = place.client("a").await;
    client.upload("a", b"first").await;
    client.upload("a", b"second").await;
    let http = reqwest::Client::new();
    let get = client.url(Operation::Get, "a").await;
    assert!(get.starts_with(&place.http("/store/")), "{get}");
    let read = http.get(&get).send().await.unwrap();
    assert_eq!(read.text().await.unwrap(), "first");
    let put = client.url(Operation::Put, "b").await;
    let long = http.put(put).body("longer than ten").send().await.unwrap();
    assert_eq!(long.status(), 413);
    assert_eq!(s3.objects().len(), 1);
}

#[tokio::test]
async fn urls_end() {
    let store = Store::new();
    let url = store
        .bucket
        .presign(object("a"), Verb::Put, Duration::from_secs(1))
        .await
        .unwrap();
    let http = reqwest::Client::new();
    let expired = async {
        while http.put(&url).body("a").send().await.unwrap().status() != 403 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, expired)
        .await
        .unwrap();
}
