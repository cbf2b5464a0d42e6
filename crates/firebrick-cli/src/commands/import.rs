//! `import`: documents from NDJSON, batch by batch. Only some batches are held at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use firebrick_core::document;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{close, interrupted, unexpected};
use crate::args::{Global, ImportArgs};
use crate::failure::{Exit, Failure, Result};
use crate::ndjson::{BadLine, Records};
use crate::output::{Output, grouped};
use crate::session::protocol::{Durability, Reply, Request};
use crate::session::{Access, HOLDER_GONE, Session};

/// Read ahead while the batch before is being stored.
const BATCHES_AHEAD: usize = 2;
/// A batch ends early when its lines have this many bytes.
const BATCH_BYTES: u64 = 4 << 20;
/// Bad lines that are printed one by one, and listed with `--json`.
const BAD_LINES_SHOWN: usize = 20;

/// What one commit stores.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<(u64, Value)>,
    /// Lines that hold no document.
    bad: Vec<BadLine>,
    /// Bytes of the file up to here.
    bytes: u64,
    last_line: u64,
}

#[derive(Debug, Default)]
struct Summary {
    imported: u64,
    skipped: u64,
    bad_lines: Vec<BadLine>,
}

pub(crate) async fn run(args: ImportArgs, global: &Global, output: &Output) -> Result<Exit> {
    let began = Instant::now();
    let sources = if args.files.is_empty() {
        vec![PathBuf::from("-")]
    } else {
        args.files.clone()
    };
    if args.start_line > 1 && sources.len() > 1 {
        return Err(Failure::new(
            Exit::Usage,
            "usage",
            "--start-line is for one file",
        ));
    }
    if sources.iter().any(|source| source.as_os_str() == "-") {
        output.prompt("reading documents from the terminal, one per line; Ctrl-D ends them");
    }
    // A file that cannot be read is found before a database is made.
    let sources = sources.iter().map(|path| Source::open(path));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let mut session = Session::open(global, Access::Create, false).await?;
    if session.is_here() {
        session.serve()?;
    }
    let mut import = Import {
        args: &args,
        session,
        output,
        durability: global.durability.map(Into::into),
        summary: Summary::default(),
    };
    let mut result = Ok(());
    for source in sources {
        result = import.source(source).await;
        if result.is_err() {
            break;
        }
    }
    let Import {
        session, summary, ..
    } = import;
    let closed = close(session, output).await;
    result?;
    closed?;
    let seconds = began.elapsed().as_secs_f64();
    if output.json() {
        output.value(&json!({
            "imported": summary.imported,
            "skipped": summary.skipped,
            "bad_lines": summary.bad_lines,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        }))?;
    }
    let skipped = if summary.skipped > 0 {
        format!(", {} bad lines skipped", grouped(summary.skipped))
    } else {
        String::new()
    };
    output.note(format!(
        "{} documents imported in {seconds:.1} s{skipped}",
        grouped(summary.imported)
    ));
    Ok(Exit::Done)
}

struct Source {
    name: String,
    length: Option<u64>,
    reader: Box<dyn BufRead + Send>,
}

impl Source {
    fn open(path: &Path) -> Result<Source> {
        if path.as_os_str() == "-" {
            let reader = Box::new(BufReader::with_capacity(256 * 1024, std::io::stdin()));
            return Ok(Source {
                name: "stdin".to_owned(),
                length: None,
                reader,
            });
        }
        let name = path.display().to_string();
        let cannot_read = |error: std::io::Error| {
            Failure::new(
                Exit::BadInput,
                "bad_file",
                format!("cannot read {name}: {error}"),
            )
        };
        let file = File::open(path).map_err(cannot_read)?;
        let metadata = file.metadata().map_err(cannot_read)?;
        if metadata.is_dir() {
            return Err(cannot_read(std::io::ErrorKind::IsADirectory.into()));
        }
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Source {
            name,
            length,
            reader: Box::new(BufReader::with_capacity(256 * 1024, file)),
        })
    }
}

struct Import<'a> {
    args: &'a ImportArgs,
    session: Session,
    output: &'a Output,
    durability: Option<Durability>,
    summary: Summary,
}

impl Import<'_> {
    async fn source(&mut self, source: Source) -> Result<()> {
        let bar = self.output.byte_bar(source.length);
        let (batches, mut read) = mpsc::channel(BATCHES_AHEAD);
        let mut records = Records::new(source.reader, self.args.id_field.clone());
        let (start_line, batch) = (self.args.start_line, self.args.batch as usize);
        let stop_at_bad = !self.args.skip_bad;
        // Reading stdin can block for ever: the thread is left behind if we end before it.
        let reading = std::thread::spawn(move || {
            read_batches(&mut records, start_line, batch, stop_at_bad, &batches)
        });
        let mut last_line = start_line.saturating_sub(1);
        let mut interrupt = std::pin::pin!(interrupted());
        loop {
            let next = tokio::select! {
                next = read.recv() => next,
                () = &mut interrupt => {
                    bar.finish_and_clear();
                    return Err(Failure::interrupted(format!(
                        "stopped after line {last_line} of {}: {} documents are stored",
                        source.name, grouped(self.summary.imported),
                    ))
                    .hint(format!("go on with --start-line {}", last_line + 1)));
                }
            };
            let Some(batch) = next else { break };
            bar.set_position(batch.bytes);
            last_line = batch.last_line;
            let result = self.batch(batch, &source.name).await;
            bar.set_message(format!("{} documents", grouped(self.summary.imported)));
            if result.is_err() {
                bar.finish_and_clear();
                return result;
            }
        }
        bar.finish_and_clear();
        match reading.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(
                Exit::BadInput,
                "bad_file",
                format!(
                    "cannot read {} after line {last_line}: {error}",
                    source.name
                ),
            )
            .hint(format!(
                "{} documents are stored; go on with --start-line {}",
                grouped(self.summary.imported),
                last_line + 1
            ))),
            Err(_) => Err(Failure::bad_input(format!(
                "reading {} failed",
                source.name
            ))),
        }
    }

    /// Stores a batch. If the database refuses it, its documents are stored one by one, to find
    /// the one that it refuses.
    async fn batch(&mut self, batch: Batch, source: &str) -> Result<()> {
        let Batch { records, bad, .. } = batch;
        let (lines, documents): (Vec<u64>, Vec<Value>) = records.into_iter().unzip();
        if !documents.is_empty() {
            match self.put(documents.clone()).await {
                Ok(()) => self.summary.imported += documents.len() as u64,
                Err(failure) if failure.exit_code == Exit::BadInput => {
                    for (line, document) in lines.into_iter().zip(documents) {
                        match self.put(vec![document]).await {
                            Ok(()) => self.summary.imported += 1,
                            Err(failure) if failure.exit_code == Exit::BadInput => {
                                self.bad(
                                    BadLine {
                                        line,
                                        reason: failure.message,
                                    },
                                    source,
                                )?;
                            }
                            Err(failure) => return Err(self.stopped_before(line, failure)),
                        }
                    }
                }
                Err(failure) => return Err(self.stopped_before(lines[0], failure)),
            }
        }
        bad.into_iter().try_for_each(|bad| self.bad(bad, source))
    }

    /// Every document has its id by now, so storing a batch again after a lost answer is harmless.
    async fn put(&mut self, documents: Vec<Value>) -> Result<()> {
        let request = Request::Put {
            documents,
            durability: self.durability,
        };
        let again = (!self.session.is_here()).then(|| request.clone());
        let reply = match (self.session.ask(request).await, again) {
            (Err(failure), Some(request)) if failure.kind == HOLDER_GONE => {
                self.session.find_again().await?;
                self.session.ask(request).await?
            }
            (reply, _) => reply?,
        };
        match reply {
            Reply::Written { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn stopped_before(&self, line: u64, failure: Failure) -> Failure {
        let stored = grouped(self.summary.imported);
        let hint = failure
            .hint
            .clone()
            .map_or(String::new(), |hint| format!("{hint}; "));
        failure.hint(format!(
            "{hint}{stored} documents are stored; go on with --start-line {line}"
        ))
    }

    fn bad(&mut self, bad: BadLine, source: &str) -> Result<()> {
        if !self.args.skip_bad {
            return Err(Failure::new(
                Exit::BadInput,
                "bad_line",
                format!("line {} of {source} is no document: {}", bad.line, bad.reason),
            )
            .hint(format!(
                "the {} documents before it are stored; correct it and go on with --start-line {}, or leave such lines out with --skip-bad",
                grouped(self.summary.imported), bad.line,
            )));
        }
        self.summary.skipped += 1;
        if self.summary.bad_lines.len() < BAD_LINES_SHOWN {
            self.output.warn(format!(
                "line {} of {source} skipped: {}",
                bad.line, bad.reason
            ));
            self.summary.bad_lines.push(bad);
        } else if self.summary.skipped == BAD_LINES_SHOWN as u64 + 1 {
            self.output
                .warn("more bad lines follow; they are counted, not named");
        }
        Ok(())
    }
}

/// Reads to the end, or to the first bad line, or until nobody wants more.
fn read_batches(
    records: &mut Records<Box<dyn BufRead + Send>>,
    start_line: u64,
    size: usize,
    stop_at_bad: bool,
    batches: &mpsc::Sender<Batch>,
) -> std::io::Result<()> {
    records.start_at(start_line)?;
    let mut batch = Batch::default();
    let mut began = records.bytes();
    loop {
        let next = records.next()?;
        let ended = next.is_none();
        let mut stop = ended;
        match next {
            Some(Ok(record)) => {
                let mut document = record.document;
                if !document.contains_key("_id") {
                    document.insert("_id".to_owned(), Value::String(new_id()?));
                }
                batch.last_line = record.line;
                batch.records.push((record.line, Value::Object(document)));
            }
            Some(Err(bad)) => {
                stop |= stop_at_bad;
                batch.last_line = bad.line;
                batch.bad.push(bad);
            }
            None => {}
        }
        let full =
            batch.records.len() + batch.bad.len() >= size || records.bytes() - began >= BATCH_BYTES;
        if full || stop {
            batch.bytes = records.bytes();
            began = batch.bytes;
            let full = std::mem::take(&mut batch);
            let empty = full.records.is_empty() && full.bad.is_empty();
            if (!empty && batches.blocking_send(full).is_err()) || stop {
                return Ok(());
            }
        }
    }
}

/// An id as the format makes them.
pub(crate) fn new_id() -> std::io::Result<String> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(document::generate_id(
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        random,
    ))
}
