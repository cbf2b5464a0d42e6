//! `attach`, `detach`, `sync`, and the states of remotes.

use std::time::Duration;

use firebrick::{Attachment, Join, Remote, RemoteStatus, State};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, select_all};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::protocol::Reply;
use super::{Asker, Service};
use crate::failure::{Exit, Failure, Result};

/// The pause between two reports on a sync under way.
const REPORT_PAUSE: Duration = Duration::from_millis(80);
/// How long `sync` waits for a remote that is out of reach.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long `sync` waits for the status to show what is so.
const SETTLING: Duration = Duration::from_secs(2);
/// How long `status` waits for a remote to show its state.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

impl Service {
    pub(super) async fn attach(
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

    pub(super) async fn detach(&self, wanted: &str, asker: &Asker) -> Result<()> {
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

    pub(super) async fn sync(
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

    pub(super) fn remote_state(&self, name: &str, url: &str) -> Value {
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

    /// The state of every remembered remote, once each had the time to answer.
    pub(super) async fn remote_states(&self) -> Vec<Value> {
        // A database that is open for reading only attaches nothing.
        let attached = self.attachments(None).unwrap_or_default();
        let answered = join_all(attached.iter().map(|attachment| async move {
            let mut watch = attachment.watch();
            let settled = |status: &RemoteStatus| {
                !matches!(status.state, State::Connecting | State::Syncing { .. })
            };
            let _ = watch.wait_for(settled).await;
        }));
        let _ = tokio::time::timeout(FIRST_ANSWER, answered).await;
        let remembered = self.database().remembered().into_iter();
        remembered
            .map(|(name, url)| self.remote_state(&name, &url))
            .collect()
    }
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
