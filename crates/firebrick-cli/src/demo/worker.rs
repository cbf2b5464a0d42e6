//! One database of the demo, in a process of its own: imports its share, syncs, proves.

use std::io::{BufReader, Write};
use std::time::Duration;

use firebrick::{Attachment, Database, Document, Remote, RemoteStatus, State};
use firebrick_core::document;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, Lines, Stdin};
use tokio::time::Instant;

use super::args::WorkerArgs;
use super::data;
use super::events::{END, Progress, Proof, Report, SYNC};
use crate::args::Global;
use crate::failure::{Exit, Failure, Result};
use crate::ndjson::Records;
use crate::session;

const BATCH: usize = 250;
/// Even a quiet database looks at its state this often.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: WorkerArgs, global: &Global) -> Result<Exit> {
    let result = work(&args, global).await;
    if let Err(failure) = &result {
        say(&Report::Failed {
            message: failure.message.clone(),
        })?;
    }
    result
}

async fn work(args: &WorkerArgs, global: &Global) -> Result<Exit> {
    let mut stdin = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let database = session::builder(global, &global.db).open().await?;
    let documents = database.count().await? as u64;
    say(&Report::Opened { documents })?;
    if !args.resume {
        import(args, &database).await?;
    }
    say(&Report::Imported {
        documents: database.count().await? as u64,
    })?;
    if next_word(&mut stdin).await? != SYNC {
        return Ok(Exit::Interrupted);
    }
    let attachment = database.attach(Remote::url(args.remote.clone())?.name("hub"))?;
    let ended = tokio::select! {
        result = report(&database, &attachment, args.expect) => result.map(|()| true),
        word = next_word(&mut stdin) => word.map(|word| word == END),
    }?;
    database.close().await?;
    say(&Report::Closed)?;
    Ok(if ended { Exit::Done } else { Exit::Interrupted })
}

/// The next word from the demo; none when it has ended, and then so do we.
async fn next_word(stdin: &mut Lines<tokio::io::BufReader<Stdin>>) -> Result<String> {
    let line = stdin
        .next_line()
        .await
        .map_err(|error| Failure::bad_input(error.to_string()))?;
    Ok(line.unwrap_or_default())
}

async fn import(args: &WorkerArgs, database: &Database) -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::bad_input(format!("cannot read {}: {error}", args.share.display()))
    };
    let file = std::fs::File::open(&args.share).map_err(failed)?;
    let mut records = Records::new(BufReader::new(file), None);
    let mut batch = Vec::with_capacity(BATCH);
    let mut stored = 0;
    loop {
        let record = records.next().map_err(failed)?;
        let ended = record.is_none();
        if let Some(record) = record {
            let record = record
                .map_err(|bad| Failure::bad_input(format!("line {}: {}", bad.line, bad.reason)))?;
            let json = Value::Object(record.document);
            batch.push(
                Document::from_json(&json)
                    .map_err(|error| Failure::bad_input(error.to_string()))?,
            );
        }
        if batch.len() == BATCH || (ended && !batch.is_empty()) {
            database.bulk(&batch).await?;
            stored += batch.len() as u64;
            batch.clear();
            say(&Report::Importing { documents: stored })?;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Reports until told to end: every change of the state, and the proof once everything is here.
async fn report(database: &Database, attachment: &Attachment, expect: u64) -> Result<()> {
    let mut status = attachment.watch();
    let mut counted = (u64::MAX, 0);
    let mut count_again = Instant::now();
    let mut last = Progress::default();
    let mut proven = None;
    loop {
        let now = status.borrow_and_update().clone();
        // Counting walks the tree: it may take a tenth of the time, no more.
        if counted.0 != database.sequence() && Instant::now() >= count_again {
            let began = Instant::now();
            counted = (database.sequence(), database.count().await? as u64);
            count_again = Instant::now() + began.elapsed() * 9;
        }
        let progress = progress(&now, counted.1);
        if progress != last {
            say(&Report::Syncing(progress.clone()))?;
            last = progress;
        }
        let root = database.root();
        if counted == (database.sequence(), expect)
            && now.state == State::UpToDate
            && proven != Some(root)
        {
            say(&Report::Complete(prove(database, &now).await?))?;
            proven = Some(root);
        }
        if let State::Failed { cause } = &now.state {
            return Err(Failure::new(Exit::Remote, "failed", cause.clone()));
        }
        // The timeout is for the count that was put off.
        let _ = tokio::time::timeout(LOOK, status.changed()).await;
    }
}

fn progress(status: &RemoteStatus, documents: u64) -> Progress {
    let (cars_received, cars_to_come, cause) = match &status.state {
        State::Syncing {
            pulled, to_pull, ..
        } => (*pulled, *to_pull, String::new()),
        State::Offline { cause, .. } => (0, 0, cause.clone()),
        _ => (0, 0, String::new()),
    };
    let word = serde_json::to_value(&status.state).ok();
    let word = word
        .as_ref()
        .and_then(|state| state.get("state")?.as_str())
        .unwrap_or_default();
    Progress {
        documents,
        state: word.to_owned(),
        cause,
        cars_received,
        cars_to_come,
        bytes_up: status.traffic.bytes_up,
        bytes_down: status.traffic.bytes_down,
    }
}

/// Reads every document back and hashes what it reads.
async fn prove(database: &Database, status: &RemoteStatus) -> Result<Proof> {
    let root = database.root().to_string();
    let listing = database.all_docs();
    let reading = tokio::task::spawn_blocking(move || -> Result<(u64, String)> {
        let mut proof = data::Proof::default();
        let mut documents = 0;
        for row in listing.rows::<Document>() {
            let row = row?;
            let Some(document) = row.doc else { continue };
            let block = document::encode(&row.id, &document).map_err(firebrick::Error::from)?;
            proof.add(&row.id, &block.cid);
            documents += 1;
        }
        Ok((documents, proof.finish()))
    });
    let (documents, hash) = reading
        .await
        .map_err(|error| Failure::bad_input(error.to_string()))??;
    let traffic = status.traffic;
    Ok(Proof {
        documents,
        root,
        hash,
        bytes_up: traffic.bytes_up,
        bytes_down: traffic.bytes_down,
    })
}

fn say(report: &Report) -> Result<()> {
    let line =
        serde_json::to_string(report).map_err(|error| Failure::bad_input(error.to_string()))?;
    let mut stdout = std::io::stdout().lock();
    let said = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    said.map_err(|_| Failure::interrupted("the demo has ended"))
}
