//! The folders of the demo: databases, keybags, the shared remote.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use firebrick::core::cloud::{Access, Claims};
use firebrick_server::{Config, Server};
use tempfile::TempDir;

use super::Replica;
use super::args::DemoArgs;
use super::data::Deal;
use super::events::Progress;
use crate::args::Global;
use crate::failure::{Failure, Result};
use crate::session;

/// No demo goes on for longer.
const TOKEN_SECONDS: u64 = 24 * 3600;

/// Where the demo plays.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    /// Removes the folder at the end; `None` if it is kept.
    temporary: Option<TempDir>,
}

impl Stage {
    pub(super) fn set(args: &DemoArgs) -> Result<Stage> {
        if let Some(remote) = &args.remote {
            let _ = firebrick::Remote::url(remote.clone())?;
            if remote.starts_with("memory:") {
                return Err(Failure::bad_input(
                    "the demo's databases are processes: they cannot share a memory:// remote",
                )
                .hint("a folder works: file:///path"));
            }
        }
        if let Some(folder) = &args.dir {
            let cannot = |error: std::io::Error| {
                Failure::bad_input(format!("cannot use {}: {error}", folder.display()))
            };
            std::fs::create_dir_all(folder).map_err(cannot)?;
            if std::fs::read_dir(folder).map_err(cannot)?.next().is_some() {
                return Err(
                    Failure::bad_input(format!("{} is not empty", folder.display()))
                        .hint("give a new folder; the demo would not know its files from yours"),
                );
            }
            let folder = folder.canonicalize().map_err(cannot)?;
            return Ok(Stage {
                folder,
                temporary: None,
            });
        }
        let temporary = tempfile::Builder::new()
            .prefix("firebrick-demo-")
            .tempdir()
            .map_err(|error| {
                Failure::bad_input(format!("cannot make a temporary folder: {error}"))
            })?;
        let folder = temporary
            .path()
            .canonicalize()
            .unwrap_or_else(|_| temporary.path().to_owned());
        if args.keep {
            return Ok(Stage {
                folder: temporary.keep(),
                temporary: None,
            });
        }
        Ok(Stage {
            folder,
            temporary: Some(temporary),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of the shared folder.
    pub(super) fn remote(&self) -> String {
        format!("file://{}", encoded(&self.folder.join("remote")))
    }

    /// A server with its data among the demo's, and the URL to attach to it.
    pub(super) async fn serve(&self) -> Result<(Server, String)> {
        let mut config = Config::new(self.folder.join("server"));
        config.listen = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::start(config).await?;
        let claims = Claims::new("demo", "demo@example.com", "2026-01-01T00:00:00Z");
        let claims = claims.grant("default", "default", Access::Write);
        let token = server.mint(claims, TOKEN_SECONDS)?;
        let file = self.folder.join("server").join("demo-token");
        std::fs::write(&file, token).map_err(|error| {
            Failure::bad_input(format!("cannot write {}: {error}", file.display()))
        })?;
        let url = format!("{}&tokenFile={}", server.attach_url(), encoded(&file));
        Ok((server, url))
    }

    /// Makes the databases, each with a keybag of its own, and gives all of them the first one's
    /// key: that is what makes them replicas of one ledger.
    pub(super) async fn replicas(&self, deal: &Deal, global: &Global) -> Result<Vec<Replica>> {
        let mut key = None;
        let mut replicas = Vec::new();
        for (number, share) in (1..).zip(&deal.shares) {
            let replica = Replica {
                folder: self.folder.join(format!("database-{number}")),
                keybag: self.folder.join(format!("keybag-{number}")),
                share: share.file.clone(),
                run: 0,
                process: None,
                imported: false,
                progress: Progress::default(),
                proof: None,
                done_after: None,
                closed: false,
            };
            if !global.insecure {
                let own = Global {
                    keybag: Some(replica.keybag.clone()),
                    ledger: None,
                    ..global.clone()
                };
                let database = session::builder(&own, &replica.folder).open().await?;
                match &key {
                    None => key = Some(database.keys().export()?),
                    Some(key) => drop(database.keys().import(key)?),
                }
                database.close().await?;
            }
            replicas.push(replica);
        }
        Ok(replicas)
    }

    /// Removes the shares, which hold the records in plain text, and the rest unless it is kept.
    /// Returns what is left.
    pub(super) fn leave(self) -> Option<PathBuf> {
        if self.temporary.is_some() {
            return None;
        }
        for entry in std::fs::read_dir(&self.folder).ok()?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("share-") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Some(self.folder)
    }
}

/// A path as it stands in URLs.
fn encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}
