//! `export`: all documents as NDJSON, in a stream.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Unreadable, close, unexpected};
use crate::args::{ExportArgs, Global};
use crate::failure::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Output, document_text, grouped};
use crate::session::protocol::{Reply, Request};
use crate::session::{Access, Session};

pub(crate) async fn run(args: ExportArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Read, false).await?;
    let mut target = match args.file.filter(|file| file.as_os_str() != "-") {
        Some(file) => Target::File(NewFile::create(&file)?),
        None => Target::Stdout,
    };
    let total = match args.prefix {
        None => count(&mut session).await?,
        Some(_) => None,
    };
    // Documents that run over the terminal are their own progress report.
    let bar = match target {
        Target::Stdout if output.terminal() => indicatif::ProgressBar::hidden(),
        _ => output.count_bar(total),
    };
    let request = Request::List {
        prefix: args.prefix,
        after: None,
        limit: None,
        deleted: false,
        ids: false,
    };
    let mut replies = session.call(request).await?;
    let mut exported = 0;
    let mut unreadable = Unreadable::default();
    while let Some(reply) = replies.next().await? {
        let document = match reply {
            Reply::Row {
                document: Some(document),
                ..
            } => document,
            Reply::Unreadable { id, failure } => {
                unreadable.add(&id, failure, output);
                continue;
            }
            other => return Err(unexpected(&other)),
        };
        target.line(&document_text(&document, false), output)?;
        exported += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Target::File(file) = target {
        let path = file.finish()?;
        if output.json() {
            output.value(&json!({ "exported": exported, "file": path }))?;
        }
        output.note(format!(
            "{} documents in {}",
            grouped(exported),
            path.display()
        ));
    }
    close(session, output).await?;
    unreadable.end()?;
    Ok(Exit::Done)
}

async fn count(session: &mut Session) -> Result<Option<u64>> {
    match session.ask(Request::Count).await? {
        Reply::Count { documents } => Ok(Some(documents)),
        other => Err(unexpected(&other)),
    }
}

enum Target {
    Stdout,
    File(NewFile),
}

impl Target {
    fn line(&mut self, text: &str, output: &Output) -> Result<()> {
        match self {
            Target::Stdout => output.line(text),
            Target::File(file) => {
                let write = |writer: &mut BufWriter<File>| -> std::io::Result<()> {
                    writer.write_all(text.as_bytes())?;
                    writer.write_all(b"\n")
                };
                write(&mut file.writer).map_err(|error| cannot_write(&file.path, &error))
            }
        }
    }
}

/// A file that appears under its name only when it is complete.
struct NewFile {
    path: PathBuf,
    temporary: tempfile::TempPath,
    writer: BufWriter<File>,
}

impl NewFile {
    fn create(path: &Path) -> Result<NewFile> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".export-")
            .tempfile_in(folder)
            .map_err(|error| cannot_write(path, &error))?;
        let (file, temporary) = temporary.into_parts();
        Ok(NewFile {
            path: path.to_owned(),
            temporary,
            writer: BufWriter::with_capacity(256 * 1024, file),
        })
    }

    fn finish(self) -> Result<PathBuf> {
        let NewFile {
            path,
            temporary,
            writer,
        } = self;
        let file = writer
            .into_inner()
            .map_err(|error| cannot_write(&path, error.error()))?;
        file.sync_all()
            .map_err(|error| cannot_write(&path, &error))?;
        temporary
            .persist(&path)
            .map_err(|error| cannot_write(&path, &error.error))?;
        Ok(path)
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::BadInput,
        "bad_file",
        format!("cannot write {}: {error}", path.display()),
    )
}
