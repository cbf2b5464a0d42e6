//! Backups and checks: long work with progress.

use std::path::{Path, PathBuf};

use firebrick::{BackupProgress, RepairProgress, VerifyProgress};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::super::protocol::Reply;
use super::{Asker, Service};
use crate::failure::{Exit, Failure, Result};

impl Service {
    pub(super) async fn backup(
        &self,
        file: &Path,
        since: Option<PathBuf>,
        replace: bool,
        asker: &Asker,
    ) -> Result<()> {
        let (tell, told) = watch::channel(BackupProgress::default());
        let mut backup = self
            .database()
            .backup()
            .replace(replace)
            .on_progress(move |progress| {
                tell.send_replace(progress);
            });
        if let Some(since) = since {
            backup = backup.since_backup(since);
        }
        let info = watched(backup.to_file(file), told, asker, |progress| {
            Reply::BackingUp {
                events: progress.events,
                of: progress.events_total,
            }
        })
        .await?;
        let backup = value(&info)?;
        asker.reply(Reply::BackedUp { backup }).await
    }

    pub(super) async fn verify(&self, asker: &Asker) -> Result<()> {
        let (tell, told) = watch::channel(VerifyProgress::default());
        let run = self.database().verify_with(move |progress| {
            tell.send_replace(progress);
        });
        let report = watched(run, told, asker, |progress| Reply::Verifying {
            blocks: progress.blocks,
            findings: progress.findings,
        })
        .await?;
        let report = value(&report)?;
        asker.reply(Reply::Verified { report }).await
    }

    pub(super) async fn stats(&self, asker: &Asker) -> Result<()> {
        let stats = value(&self.database().full_stats().await?)?;
        asker.reply(Reply::Stats { stats }).await
    }

    pub(super) async fn repair(&self, asker: &Asker) -> Result<()> {
        let (tell, told) = watch::channel(RepairProgress::Verifying(VerifyProgress::default()));
        let run = self.database().repair_with(move |progress| {
            tell.send_replace(progress);
        });
        let report = watched(run, told, asker, |progress| match progress {
            RepairProgress::Verifying(VerifyProgress {
                blocks, findings, ..
            }) => Reply::Verifying { blocks, findings },
            RepairProgress::Fetching { lacking, remotes } => Reply::Fetching { lacking, remotes },
            // What else there will be takes no time that anyone sees.
            _ => Reply::Rebuilding,
        })
        .await?;
        let report = value(&report)?;
        asker.reply(Reply::Verified { report }).await
    }
}

/// Waits for long work, and tells the asker how far it is.
async fn watched<T, P: Copy>(
    work: impl Future<Output = Result<T, firebrick::Error>>,
    mut told: watch::Receiver<P>,
    asker: &Asker,
    reply: impl Fn(P) -> Reply,
) -> Result<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return Ok(result?),
            Ok(()) = told.changed() => {
                let progress = *told.borrow_and_update();
                asker.reply(reply(progress)).await?;
            }
        }
    }
}

fn value(report: &impl Serialize) -> Result<Value> {
    serde_json::to_value(report)
        .map_err(|error| Failure::new(Exit::Negative, "failed", error.to_string()))
}
