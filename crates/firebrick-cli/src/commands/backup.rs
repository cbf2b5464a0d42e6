//! `backup` and `restore`.

use serde_json::{Value, json};

use super::keys::{date, key};
use super::states::{number, text};
use super::{close, unexpected};
use crate::args::{BackupArgs, Global, RestoreArgs};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Output, grouped};
use crate::session::protocol::{Reply, Request};
use crate::session::{self, Access, Session};

/// Ids shown of those that a backup lacks.
const MISSING_SHOWN: usize = 10;

pub(crate) async fn run(args: BackupArgs, global: &Global, output: &Output) -> Result<Exit> {
    // Another process may write it, from another folder.
    let absolute = |path| {
        std::path::absolute(path)
            .map_err(|error| Failure::bad_input(format!("cannot find the folder: {error}")))
    };
    let request = Request::Backup {
        file: absolute(args.file)?,
        since: args.since.map(absolute).transpose()?,
        replace: args.replace,
    };
    let mut session = Session::open(global, Access::Look, false).await?;
    let mut replies = session.call(request).await?;
    let bar = output.count_bar(None);
    let mut backup = Value::Null;
    while let Some(reply) = replies.next().await? {
        match reply {
            Reply::BackingUp { events, of } => {
                bar.set_length(of);
                bar.set_position(events);
            }
            Reply::BackedUp { backup: done } => backup = done,
            other => return Err(unexpected(&other)),
        }
    }
    bar.finish_and_clear();
    drop(replies);
    print(&backup, output)?;
    close(session, output).await?;
    Ok(Exit::Done)
}

pub(crate) async fn restore(args: RestoreArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut builder = session::builder(global, &global.db);
    if args.key.is_some() {
        builder = builder.key(key(args.key, output)?);
    }
    if args.dry_run {
        for file in args.files {
            let info = builder.inspect_backup(file).await?;
            print(&json!(info), output)?;
        }
        return Ok(Exit::Done);
    }
    let spinner = output.count_bar(None);
    let restored = builder.restore_backup(args.files).await;
    spinner.finish_and_clear();
    let (database, report) = restored?;
    let documents = database.count().await?;
    database.close().await?;
    let mut report = json!(report);
    report["documents"] = json!(documents);
    report["path"] = json!(global.db);
    if output.json() {
        output.value(&report)?;
    } else {
        output.line(format!(
            "{} documents in {}",
            grouped(documents as u64),
            global.db.display()
        ))?;
    }
    lacks(&report, output);
    Ok(Exit::Done)
}

fn print(backup: &Value, output: &Output) -> Result<()> {
    if output.json() {
        output.value(backup)?;
    } else {
        let kind = match backup["base"].as_array().is_some_and(Vec::is_empty) {
            true => "full",
            false => "incremental",
        };
        output.line(format!(
            "{kind} backup of {:?}, {} UTC: {} events, {} blocks, {}",
            text(backup, "ledger"),
            date(number(backup, "created_ms")),
            grouped(number(backup, "events")),
            grouped(number(backup, "blocks") + number(backup, "contents")),
            output::bytes(number(backup, "file_bytes")),
        ))?;
    }
    lacks(backup, output);
    Ok(())
}

/// Warns of what could not be read when the backup was made.
fn lacks(report: &Value, output: &Output) {
    let list = |field: &str| report[field].as_array().cloned().unwrap_or_default();
    let documents = list("missing").into_iter();
    let files = list("missing_files").into_iter();
    let documents = documents.map(|id| format!("document {id}"));
    let files = files.map(|file| format!("file {} of document {}", file[1], file[0]));
    let missing: Vec<String> = documents.chain(files).collect();
    for one in missing.iter().take(MISSING_SHOWN) {
        output.warn(format!(
            "it lacks {one}, which was not here when it was made"
        ));
    }
    if missing.len() > MISSING_SHOWN {
        let more = missing.len() - MISSING_SHOWN;
        output.warn(format!("it lacks {more} more; --json lists them"));
    }
}
