//! An S3 server that checks signatures.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

const BUCKET: &str = "cars";
const KEY_ID: &str = "test-key";
const SECRET: &str = "test-secret";

/// An S3 server with the bucket `cars`, on threads of its own.
#[derive(Debug)]
pub struct S3 {
    dir: TempDir,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl S3 {
    /// Starts it on a free port.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut this = Self {
            dir,
            address,
            runtime: None,
        };
        this.serve(listener);
        this
    }

    /// Ends it: nobody can connect any more.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it again in the same place.
    pub fn resume(&mut self) {
        assert!(self.runtime.is_none());
        self.serve(std::net::TcpListener::bind(self.address).unwrap());
    }

    fn serve(&mut self, listener: std::net::TcpListener) {
        let mut builder = S3ServiceBuilder::new(FileSystem::new(self.dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let mut threads = Builder::new_multi_thread();
        let runtime = threads.worker_threads(2).enable_all().build().unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
                // A client that goes away is no news.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        self.runtime = Some(runtime);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where CARs go, with everything that is needed to reach it.
    #[must_use]
    pub fn url(&self) -> String {
        let settings = self.settings().map(|(key, value)| format!("{key}={value}"));
        format!("{}?{}", self.bare_url(), settings.join("&"))
    }

    /// The same without settings.
    #[must_use]
    pub fn bare_url(&self) -> String {
        format!("s3://{BUCKET}/some/prefix")
    }

    /// The settings by their names; `AWS_` before them in capitals makes variables of the environment.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("endpoint", format!("http://{}", self.address)),
            ("region", "us-east-1".into()),
            ("allow_http", "true".into()),
            ("access_key_id", KEY_ID.into()),
            ("secret_access_key", SECRET.into()),
        ]
    }

    /// The files of the objects.
    #[must_use]
    pub fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.dir.path().join(BUCKET), &mut found);
        found.sort();
        found
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}
