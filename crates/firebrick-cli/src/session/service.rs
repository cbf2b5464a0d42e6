//! What the requests do to an open database. The same code answers this process's own commands
//! and those of others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firebrick::{
    Attachment, Cid, Database, Document, Durability, Event, Join, Origin, Remote, State,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, select_all};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::Instant;

use super::protocol::{self, ChangeSet, Changed, KeyAction, Reply, Request, Status};
use crate::failure::{Exit, Failure, Result};

/// Changes in one reply, so that a first sync of a million documents is no single message.
const CHANGES_AT_ONCE: usize = 256;
/// The pause between two reports on a sync under way.
const REPORT_PAUSE: Duration = Duration::from_millis(80);
/// How long `sync` waits for a remote that is out of reach.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long `sync` waits for the status to show what is so.
const SETTLING: Duration = Duration::from_secs(2);
/// How long `status` waits for a remote's first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

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
            Request::Watch { .. } | Request::Sync { follow: true, .. }
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
            } => self.list(prefix, after, limit, deleted, ids, asker).await,
            Request::Count => {
                let documents = database.count().await? as u64;
                asker.reply(Reply::Count { documents }).await
            }
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
            Request::Keys { action } => self.keys(action, asker).await,
        }
    }

    fn written(&self, written: firebrick::Written) -> Reply {
        Reply::Written {
            sequence: written.sequence,
            head: texts(&written.head),
            ids: written.ids,
        }
    }

    /// Reading never waits for anything but the disk, so it runs beside the async threads.
    async fn list(
        &self,
        prefix: Option<String>,
        after: Option<String>,
        limit: Option<usize>,
        deleted: bool,
        ids: bool,
        asker: &Asker,
    ) -> Result<()> {
        let mut listing = self.database().all_docs().include_deleted(deleted);
        if let Some(prefix) = prefix {
            listing = listing.prefix(prefix);
        }
        if let Some(after) = after {
            listing = listing.after(after);
        }
        if let Some(limit) = limit {
            listing = listing.limit(limit);
        }
        if ids {
            for id in listing.ids().await? {
                asker.reply(Reply::Row { id, document: None }).await?;
            }
            return Ok(());
        }
        let sender = asker.0.clone();
        let reading = tokio::task::spawn_blocking(move || -> Result<()> {
            for row in listing.rows::<Document>() {
                let row = row?;
                let document = row.doc.map(|document| document.to_json());
                sender
                    .blocking_send(Reply::Row {
                        id: row.id,
                        document,
                    })
                    .map_err(|_| Failure::output_closed())?;
            }
            Ok(())
        });
        reading
            .await
            .map_err(|error| Failure::new(Exit::Store, "internal", error.to_string()))?
    }

    /// Subscribes first, then catches up from `since`, so that nothing falls between the two.
    async fn watch(
        &self,
        since: Option<Vec<String>>,
        documents: bool,
        asker: &Asker,
    ) -> Result<()> {
        let database = self.database();
        let mut subscription = database.subscribe();
        let mut seen = 0;
        asker
            .reply(Reply::Watching {
                head: texts(&database.head()),
            })
            .await?;
        if let Some(since) = since {
            seen = database.sequence();
            let changes = database.changes(&cids(&since)?);
            let head = texts(changes.head());
            let rows = changes.collect::<Document>().await?.into_iter();
            let changes = rows.map(|row| Changed {
                id: row.id,
                deleted: row.doc.is_none(),
                doc: row
                    .doc
                    .filter(|_| documents)
                    .map(|document| document.to_json()),
            });
            let changes = changes.collect();
            self.report(
                ChangeSet {
                    sequence: seen,
                    origin: "earlier".to_owned(),
                    head,
                    changes,
                },
                asker,
            )
            .await?;
        }
        while let Some(event) = subscription.next().await {
            let set = match event? {
                Event::Changes(set) if set.sequence <= seen => continue,
                Event::Changes(set) => set,
                Event::Lagged { missed } => {
                    asker.reply(Reply::Lagged { missed }).await?;
                    continue;
                }
            };
            let mut changes = Vec::with_capacity(set.changes.len());
            for change in set.changes {
                let doc = if documents && !change.deleted {
                    database
                        .get::<Document>(&change.id)
                        .await?
                        .map(|document| document.to_json())
                } else {
                    None
                };
                changes.push(Changed {
                    id: change.id,
                    deleted: change.deleted,
                    doc,
                });
            }
            let origin = match set.origin {
                Origin::Local => "local".to_owned(),
                Origin::Remote(name) => name,
                Origin::Several => "several".to_owned(),
            };
            self.report(
                ChangeSet {
                    sequence: set.sequence,
                    origin,
                    head: texts(&set.head),
                    changes,
                },
                asker,
            )
            .await?;
        }
        Ok(())
    }

    async fn report(&self, mut set: ChangeSet, asker: &Asker) -> Result<()> {
        while !set.changes.is_empty() {
            let rest = set
                .changes
                .split_off(set.changes.len().min(CHANGES_AT_ONCE));
            let changes = std::mem::replace(&mut set.changes, rest);
            asker
                .reply(Reply::Changes(ChangeSet {
                    changes,
                    ..set.clone()
                }))
                .await?;
        }
        Ok(())
    }

    async fn attach(
        &self,
        url: &str,
        name: Option<String>,
        merge: bool,
        key: Option<String>,
        asker: &Asker,
    ) -> Result<()> {
        let mut remote =
            Remote::url(url)?
                .remember(true)
                .join(if merge { Join::Merge } else { Join::Refuse });
        if let Some(name) = name {
            remote = remote.name(name);
        }
        if let Some(key) = key {
            self.database().keys().import(key.trim())?;
        }
        let attachment = self.database().attach(remote)?;
        asker
            .reply(Reply::Attached {
                name: attachment.name().to_owned(),
                url: attachment.url().to_owned(),
            })
            .await
    }

    async fn detach(&self, wanted: &str, asker: &Asker) -> Result<()> {
        let database = self.database();
        let attached = database
            .attachments()
            .into_iter()
            .find(|a| a.name() == wanted || a.url() == wanted);
        let remembered = database
            .remembered()
            .into_iter()
            .find(|(name, url)| name == wanted || url == wanted);
        let (name, url) = match (&attached, &remembered) {
            (Some(attachment), _) => (attachment.name().to_owned(), attachment.url().to_owned()),
            (None, Some(found)) => found.clone(),
            (None, None) => return Err(no_remote(wanted)),
        };
        let unpushed = match attached {
            Some(attachment) => attachment.detach().await.unpushed as u64,
            None => 0,
        };
        if remembered.is_some() {
            database.forget(&name)?;
        }
        asker
            .reply(Reply::Detached {
                name,
                url,
                unpushed,
            })
            .await
    }

    /// The attached remotes, or one of them. Remembered ones are attached now if they were not.
    fn attachments(&self, wanted: Option<&str>) -> Result<Vec<Attachment>> {
        let database = self.database();
        for (name, url) in database.remembered() {
            if database
                .attachments()
                .iter()
                .all(|attachment| attachment.url() != url)
            {
                database.attach(Remote::url(&url)?.name(name).remember(true))?;
            }
        }
        let mut all = database.attachments();
        if let Some(wanted) = wanted {
            all.retain(|attachment| attachment.name() == wanted || attachment.url() == wanted);
            if all.is_empty() {
                return Err(no_remote(wanted));
            }
        }
        if all.is_empty() {
            return Err(
                Failure::new(Exit::NotFound, "no_remote", "no remote is attached")
                    .hint("attach one: firebrick attach file:///path/to/a/shared/folder"),
            );
        }
        Ok(all)
    }

    async fn sync(
        &self,
        remote: Option<String>,
        timeout_ms: Option<u64>,
        follow: bool,
        asker: &Asker,
    ) -> Result<()> {
        let all = self.attachments(remote.as_deref())?;
        let timeout = timeout_ms.map(Duration::from_millis);
        let mut states = select_all(all.iter().map(|attachment| changes_of(attachment.watch())));
        let mut synced = Box::pin(join_all(
            all.iter()
                .map(|attachment| synced(attachment, timeout, follow)),
        ));
        let mut ended = false;
        loop {
            asker.reply(self.remotes(&all)).await?;
            tokio::select! {
                results = &mut synced, if !ended => {
                    // The last state is worth showing, whatever the outcome.
                    asker.reply(self.remotes(&all)).await?;
                    results.into_iter().collect::<Result<Vec<()>>>()?;
                    if !follow {
                        return Ok(());
                    }
                    ended = true;
                }
                _ = states.next() => tokio::time::sleep(REPORT_PAUSE).await,
            }
        }
    }

    fn remotes(&self, all: &[Attachment]) -> Reply {
        let remotes = all
            .iter()
            .map(|a| serde_json::to_value(a.status()).unwrap_or_default());
        Reply::Remotes {
            remotes: remotes.collect(),
        }
    }

    fn remote_state(&self, name: &str, url: &str) -> Value {
        let attached = self
            .database()
            .attachments()
            .into_iter()
            .find(|attachment| attachment.url() == url);
        match attached {
            Some(attachment) => serde_json::to_value(attachment.status()).unwrap_or_default(),
            None => serde_json::json!({ "remote": name, "url": url }),
        }
    }

    async fn status(&self) -> Result<Status> {
        let database = self.database();
        let remotes = self.attachments(None).unwrap_or_default();
        let answered = join_all(remotes.iter().map(|attachment| async move {
            let mut watch = attachment.watch();
            let _ = watch
                .wait_for(|status| !matches!(status.state, State::Connecting))
                .await;
        }));
        let _ = tokio::time::timeout(FIRST_ANSWER, answered).await;
        let Reply::Remotes { remotes } = self.remotes(&remotes) else {
            return Err(Failure::output_closed());
        };
        Ok(Status {
            path: self
                .path()
                .canonicalize()
                .unwrap_or_else(|_| self.path().to_owned())
                .display()
                .to_string(),
            name: database.name().to_owned(),
            documents: database.count().await? as u64,
            sequence: database.sequence(),
            head: texts(&database.head()),
            root: database.root().to_string(),
            encrypted: !self.0.insecure,
            key: database.keys().fingerprint(),
            remotes,
            served_by: Some(std::process::id()),
        })
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
            KeyAction::Export => {
                return asker
                    .reply(Reply::Key {
                        key: keys.export()?.to_string(),
                    })
                    .await;
            }
            KeyAction::Import(text) => drop(keys.import(text.trim())?),
            KeyAction::Add(text) => drop(keys.add(text.trim())?),
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

fn no_remote(wanted: &str) -> Failure {
    Failure::new(
        Exit::NotFound,
        "no_remote",
        format!("no remote {wanted:?} is attached"),
    )
    .hint("`firebrick remotes` lists them")
}

/// Waits until a remote is in sync. One that stays out of reach is given up, unless the sync is
/// to go on for ever.
async fn synced(attachment: &Attachment, timeout: Option<Duration>, follow: bool) -> Result<()> {
    let synced = async {
        match timeout {
            Some(timeout) => attachment.synced_within(timeout).await,
            None => attachment.synced().await,
        }
    };
    let failure = tokio::select! {
        result = synced => match result {
            Ok(()) => {
                settle(attachment).await;
                return Ok(());
            }
            Err(error) => Failure::from(error),
        },
        cause = out_of_reach(attachment), if !follow => {
            Failure::new(Exit::Remote, "remote_unavailable", format!("out of reach: {cause}"))
                .hint("nothing is lost: what is stored here goes out with the next sync")
        }
    };
    let failure = match attachment.status().state {
        State::Failed { .. } => Failure {
            exit_code: Exit::Remote,
            kind: "remote_failed".to_owned(),
            ..failure
        },
        _ => failure,
    };
    Err(Failure {
        message: format!("remote {}: {}", attachment.name(), failure.message),
        ..failure
    })
}

/// In sync, the remote may be told so before the status says it: the report should show the end.
async fn settle(attachment: &Attachment) {
    let mut status = attachment.watch();
    let up_to_date = status.wait_for(|status| matches!(status.state, State::UpToDate));
    let _ = tokio::time::timeout(SETTLING, up_to_date).await;
}

/// Completes with the cause when a remote has been out of reach for a while.
async fn out_of_reach(attachment: &Attachment) -> String {
    let mut status = attachment.watch();
    let mut since = None;
    loop {
        match &status.borrow_and_update().state {
            State::Offline { cause, .. } => {
                let since = *since.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE {
                    return cause.clone();
                }
            }
            // The next attempt is under way; it is no success yet.
            State::Connecting => {}
            _ => since = None,
        }
        let wait = since.map_or(PATIENCE, |since| PATIENCE.saturating_sub(since.elapsed()));
        // A channel that ends is the end of the attachment, which `synced` reports.
        let _ = tokio::time::timeout(wait, status.changed()).await;
    }
}

/// The changes of a watch channel as a stream; ends with the channel.
fn changes_of<T: Send + Sync + 'static>(receiver: watch::Receiver<T>) -> BoxStream<'static, ()> {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.changed().await.ok()?;
        Some(((), receiver))
    })
    .boxed()
}
