//! What the requests do to an open database. The same code answers this process's own commands
//! and those of others.

mod files;
mod listing;
mod past;
mod queries;
mod remotes;
mod upkeep;
mod watching;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebrick::{Cid, CompactProgress, Database, Document, Durability, Retention};
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use self::listing::Selection;
use super::protocol::{self, KeyAction, Reply, Request, Status};
use crate::failure::{Exit, Failure, Result};

/// An open database that answers requests.
#[derive(Debug, Clone)]
pub(crate) struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    path: PathBuf,
    insecure: bool,
}

impl Request {
    /// Whether it goes on until somebody ends it.
    pub(crate) fn is_endless(&self) -> bool {
        matches!(
            self,
            Request::Watch { .. }
                | Request::Sync { follow: true, .. }
                | Request::Query(protocol::Query {
                    answer: protocol::QueryAnswer::Watch,
                    ..
                })
        )
    }
}

/// The asking side, which may go away at any time.
struct Asker(Sender<Reply>);

impl Asker {
    async fn reply(&self, reply: Reply) -> Result<()> {
        self.0
            .send(reply)
            .await
            .map_err(|_| Failure::output_closed())
    }
}

impl Service {
    pub(crate) fn new(database: Database, path: &Path, insecure: bool) -> Service {
        Service(Arc::new(Inner {
            database,
            path: path.to_owned(),
            insecure,
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) async fn close(&self) -> Result<Vec<(String, usize)>, firebrick::Error> {
        Ok(self.database().close().await?.unpushed)
    }

    /// Answers a request; the last reply is `Done` or `Failed`.
    pub(crate) async fn answer(&self, request: Request, replies: Sender<Reply>) {
        let asker = Asker(replies);
        let last = match self.handle(request, &asker).await {
            Ok(()) => Reply::Done,
            Err(failure) => Reply::Failed(failure),
        };
        // Nobody may be left to hear it.
        let _ = asker.reply(last).await;
    }

    async fn handle(&self, request: Request, asker: &Asker) -> Result<()> {
        let database = self.database();
        match request {
            Request::Put {
                documents,
                durability,
            } => {
                let documents = documents.iter().map(document).collect::<Result<Vec<_>>>()?;
                let durability = durability.map_or(Durability::Sync, Durability::from);
                let written = match documents.as_slice() {
                    [single] => database.put_with(single, durability).await?,
                    many => database.bulk_with(many, durability).await?,
                };
                asker.reply(self.written(written)).await
            }
            Request::Get { id } => {
                let document = database
                    .get::<Document>(&id)
                    .await?
                    .map(|document| document.to_json());
                asker.reply(Reply::Row { id, document }).await
            }
            Request::GetAt { id, head } => self.get_at(id, &head, asker).await,
            Request::History { id, limit } => self.history(id, limit, asker).await,
            Request::Conflicts { id } => self.conflicts(id, asker).await,
            Request::Diff { before, after } => self.diff(&before, &after, asker).await,
            Request::Revert { id, version } => self.revert(&id, &version, asker).await,
            Request::Log { limit } => self.log(limit, asker).await,
            Request::Delete { id } => {
                if database.get::<Document>(&id).await?.is_none() {
                    return Err(Failure::not_found(format!("there is no document {id:?}")));
                }
                let written = database.delete(&id).await?;
                asker.reply(self.written(written)).await
            }
            Request::List {
                prefix,
                after,
                limit,
                deleted,
                ids,
            } => {
                let selection = Selection {
                    prefix,
                    after,
                    limit,
                    deleted,
                };
                self.list(selection, ids, asker).await
            }
            Request::Count => {
                let documents = database.count().await? as u64;
                asker.reply(Reply::Count { documents }).await
            }
            Request::Query(query) => self.query(query, asker).await,
            Request::Indexes => self.indexes(asker).await,
            Request::DropIndex { name } => self.drop_index(&name),
            Request::Changes { since, limit } => {
                let mut changes = database.changes(&cids(&since)?);
                if let Some(limit) = limit {
                    changes = changes.limit(limit);
                }
                for change in changes.collect::<Document>().await? {
                    let document = change.doc.map(|document| document.to_json());
                    asker
                        .reply(Reply::Change {
                            id: change.id,
                            document,
                            clock: change.clock.to_string(),
                            compacted: change.compacted,
                        })
                        .await?;
                }
                Ok(())
            }
            Request::Watch { since, documents } => self.watch(since, documents, asker).await,
            Request::Attach {
                url,
                name,
                merge,
                key,
            } => self.attach(&url, name, merge, key, asker).await,
            Request::Detach { remote } => self.detach(&remote, asker).await,
            Request::Remotes => {
                let remotes = database
                    .remembered()
                    .into_iter()
                    .map(|(name, url)| self.remote_state(&name, &url));
                asker
                    .reply(Reply::Remotes {
                        remotes: remotes.collect(),
                    })
                    .await
            }
            Request::Sync {
                remote,
                timeout_ms,
                follow,
            } => self.sync(remote, timeout_ms, follow, asker).await,
            Request::Status => {
                asker
                    .reply(Reply::Status(Box::new(self.status().await?)))
                    .await
            }
            Request::Backup {
                file,
                since,
                replace,
            } => self.backup(&file, since, replace, asker).await,
            Request::Verify { repair: false } => self.verify(asker).await,
            Request::Verify { repair: true } => self.repair(asker).await,
            Request::Stats => self.stats(asker).await,
            Request::Compact { retention, dry_run } => {
                self.compact(retention, dry_run, asker).await
            }
            Request::Keys { action } => self.keys(action, asker).await,
            Request::FilesPut {
                id,
                name,
                path,
                content_type,
                single_block,
            } => {
                let file = files::NewFile {
                    name,
                    path,
                    content_type,
                    single_block,
                };
                self.files_put(&id, file, asker).await
            }
            Request::FilesGet {
                id,
                name,
                start,
                end,
            } => self.files_get(&id, &name, start..end, asker).await,
            Request::FilesList { id } => self.files_list(&id, asker).await,
            Request::FilesRemove { id, name } => self.files_remove(&id, &name, asker).await,
        }
    }

    fn written(&self, written: firebrick::Written) -> Reply {
        Reply::Written {
            head: texts(&written.head),
            ids: written.ids,
        }
    }

    async fn status(&self) -> Result<Status> {
        let database = self.database();
        Ok(Status {
            path: self
                .path()
                .canonicalize()
                .unwrap_or_else(|_| self.path().to_owned())
                .display()
                .to_string(),
            name: database.name().to_owned(),
            documents: database.count().await? as u64,
            head: texts(&database.head()),
            root: database.root().to_string(),
            encrypted: !self.0.insecure,
            key: database.keys().fingerprint(),
            remotes: self.remote_states().await,
            served_by: Some(std::process::id()),
        })
    }

    async fn compact(
        &self,
        retention: Option<protocol::Retention>,
        dry_run: bool,
        asker: &Asker,
    ) -> Result<()> {
        let mut compact = self.database().compact().dry_run(dry_run);
        if let Some(retention) = retention {
            compact = compact.retention(match retention {
                protocol::Retention::All => Retention::All,
                protocol::Retention::Versions(count) => Retention::Versions(count),
                protocol::Retention::AgeSeconds(seconds) => {
                    Retention::Age(std::time::Duration::from_secs(seconds))
                }
            });
        }
        let (tell, mut told) = tokio::sync::watch::channel(CompactProgress::default());
        let run = compact
            .on_progress(move |progress| {
                tell.send_replace(progress);
            })
            .run();
        tokio::pin!(run);
        let report = loop {
            tokio::select! {
                report = &mut run => break report?,
                Ok(()) = told.changed() => {
                    let CompactProgress { blocks, of, .. } = *told.borrow_and_update();
                    asker.reply(Reply::Compacting { blocks, of }).await?;
                }
            }
        };
        let report = serde_json::to_value(report)
            .map_err(|error| Failure::new(Exit::Negative, "failed", error.to_string()))?;
        asker.reply(Reply::Compacted { report }).await
    }

    async fn keys(&self, action: KeyAction, asker: &Asker) -> Result<()> {
        let keys = self.database().keys();
        if self.0.insecure {
            return Err(Failure::bad_input(
                "a database without encryption has no keys",
            ));
        }
        match action {
            KeyAction::Show => {}
            KeyAction::List => {
                let keys = keys.list().into_iter().map(serde_json::to_value);
                let keys = keys.filter_map(Result::ok).collect();
                return asker.reply(Reply::KeyList { keys }).await;
            }
            KeyAction::Rotate => drop(keys.rotate()?),
            KeyAction::Export => {
                let key = keys.export()?.to_string().into();
                return asker.reply(Reply::Key { key }).await;
            }
            KeyAction::ExportWrapped(passphrase) => {
                let key = keys.export_wrapped(passphrase.as_str())?.into();
                return asker.reply(Reply::Key { key }).await;
            }
            KeyAction::Import(text) => drop(keys.import(text.as_str().trim())?),
            KeyAction::ImportWrapped { text, passphrase } => {
                drop(keys.import_wrapped(text.as_str(), passphrase.as_str())?);
            }
            KeyAction::Add(text) => drop(keys.add(text.as_str().trim())?),
        }
        let (fingerprint, fingerprints) =
            (keys.fingerprint().unwrap_or_default(), keys.fingerprints());
        asker
            .reply(Reply::Keys {
                fingerprint,
                fingerprints,
            })
            .await
    }
}

impl From<protocol::Durability> for Durability {
    fn from(level: protocol::Durability) -> Self {
        match level {
            protocol::Durability::Sync => Durability::Sync,
            protocol::Durability::Buffered => Durability::Buffered,
        }
    }
}

fn document(json: &Value) -> Result<Document> {
    Document::from_json(json)
        .map_err(|error| Failure::new(Exit::BadInput, "bad_document", error.to_string()))
}

fn texts(cids: &[Cid]) -> Vec<String> {
    cids.iter().map(Cid::to_string).collect()
}

fn cids(texts: &[String]) -> Result<Vec<Cid>> {
    let parse = |text: &String| {
        text.parse().map_err(|error| {
            Failure::new(
                Exit::BadInput,
                "bad_cid",
                format!("{text:?} is no head: {error}"),
            )
            .hint("`status` and `changes` print heads")
        })
    };
    texts.iter().map(parse).collect()
}
