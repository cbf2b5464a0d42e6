//! `files`: contents that belong to documents.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{close, unexpected};
use crate::args::{FilesCommand, FilesGetArgs, FilesPutArgs, Global};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Output, grouped, printable};
use crate::session::protocol::{Reply, Request};
use crate::session::{Access, Replies, Session};

pub(crate) async fn run(command: FilesCommand, global: &Global, output: &Output) -> Result<Exit> {
    match command {
        FilesCommand::Put(args) => put(args, global, output).await,
        FilesCommand::Get(args) => get(args, global, output).await,
        FilesCommand::List(args) => list(&args.id, global, output).await,
        FilesCommand::Remove(args) => remove(&args.id, args.names, global, output).await,
    }
}

async fn put(args: FilesPutArgs, global: &Global, output: &Output) -> Result<Exit> {
    let stdin = args.file == Path::new("-");
    let own_name = args.file.file_name().filter(|_| !stdin);
    let name = args
        .name
        .or_else(|| Some(own_name?.to_string_lossy().into_owned()))
        .ok_or_else(|| Failure::bad_input("the file has no name").hint("give one with --name"))?;
    let content_type = args.content_type.unwrap_or_else(|| {
        let guess = mime_guess::from_path(&name).first_or_octet_stream();
        guess.essence_str().to_owned()
    });
    let path = match stdin {
        true => None,
        // Another process may read it, in another directory.
        false => Some(std::path::absolute(&args.file).map_err(|e| cannot("read", &args.file, &e))?),
    };
    let length = path.as_ref().and_then(|path| path.metadata().ok());
    let mut session = Session::open(global, Access::Create, false).await?;
    if stdin && !session.is_here() {
        return Err(Failure::bad_input(
            "another process has the database open, and it cannot read this one's stdin",
        )
        .hint("give a path, or end that process"));
    }
    let request = Request::FilesPut {
        id: args.id,
        name,
        path,
        content_type,
        single_block: args.single_block,
    };
    let bar = output.byte_bar(length.map(|about| about.len()));
    let mut replies = session.call(request).await?;
    let file = read_replies(&mut replies, &bar, |_| Ok(())).await?;
    if output.json() {
        output.value(&file)?;
    } else {
        output.note(format!(
            "{} bytes in {}",
            grouped(size(&file)),
            text(&file, "name")
        ));
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

/// Follows a transfer to its end; the file that it was about.
async fn read_replies(
    replies: &mut Replies,
    bar: &ProgressBar,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Value> {
    let mut about = Value::Null;
    while let Some(reply) = replies.next().await? {
        match reply {
            Reply::FileProgress { bytes } => bar.set_position(bytes),
            Reply::File { file } => about = file,
            Reply::FilePart { bytes } => {
                take(&bytes)?;
                bar.inc(bytes.len() as u64);
            }
            other => return Err(unexpected(&other)),
        }
    }
    bar.finish_and_clear();
    Ok(about)
}

async fn get(args: FilesGetArgs, global: &Global, output: &Output) -> Result<Exit> {
    let to_stdout = args
        .output
        .as_deref()
        .is_none_or(|path| path == Path::new("-"));
    if to_stdout && output.terminal() {
        return Err(
            Failure::bad_input("this would print the file on the terminal")
                .hint("name a file with --output, or use a pipe"),
        );
    }
    let mut session = Session::open(global, Access::Read, false).await?;
    let files = files_of(&mut session, &args.id).await?;
    let file = find(&files, &args.id, &args.name)?;
    if !args.offline && file["local_bytes"].as_u64() < file["size"].as_u64() {
        // What is missing comes from the remotes.
        close(session, output).await?;
        session = Session::open(global, Access::Write, true).await?;
    }
    let range = args.range.unwrap_or(0..u64::MAX);
    let end = range.end.min(size(file));
    let bar = output.byte_bar(Some(end.saturating_sub(range.start)));
    let request = Request::FilesGet {
        id: args.id,
        name: args.name,
        start: range.start,
        end,
    };
    let mut replies = session.call(request).await?;
    if to_stdout {
        let mut stdout = std::io::stdout().lock();
        let write = |bytes: &[u8]| {
            stdout
                .write_all(bytes)
                .map_err(|_| Failure::output_closed())
        };
        read_replies(&mut replies, &bar, write).await?;
        stdout.flush().map_err(|_| Failure::output_closed())?;
    } else {
        let path = args.output.unwrap_or_default();
        let file = into_file(&mut replies, &bar, &path).await?;
        if output.json() {
            output.value(&json!({ "file": file, "path": path }))?;
        }
        output.note(format!("{} in {}", text(&file, "name"), path.display()));
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

/// Writes a file that appears under its name only when it is complete.
async fn into_file(replies: &mut Replies, bar: &ProgressBar, path: &Path) -> Result<Value> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let failed = |error: &std::io::Error| cannot("write", path, error);
    let mut temporary = tempfile::Builder::new()
        .prefix(".files-get-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(|error| failed(&error))?;
    let write = |bytes: &[u8]| temporary.write_all(bytes).map_err(|error| failed(&error));
    let file = read_replies(replies, bar, write).await?;
    let synced = temporary.as_file().sync_all();
    synced.map_err(|error| failed(&error))?;
    temporary
        .persist(path)
        .map_err(|error| failed(&error.error))?;
    Ok(file)
}

async fn files_of(session: &mut Session, id: &str) -> Result<Vec<Value>> {
    match session
        .ask(Request::FilesList { id: id.to_owned() })
        .await?
    {
        Reply::Files { files } => Ok(files),
        other => Err(unexpected(&other)),
    }
}

fn find<'a>(files: &'a [Value], id: &str, name: &str) -> Result<&'a Value> {
    let found = files.iter().find(|file| file["name"] == name);
    found.ok_or_else(|| {
        Failure::not_found(format!("document {id:?} has no file {name:?}"))
            .hint("`firebrick files list` shows those that it has")
    })
}

async fn list(id: &str, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Read, false).await?;
    let files = files_of(&mut session, id).await?;
    if output.ndjson() {
        files.iter().try_for_each(|file| output.value(file))?;
    } else {
        let mut table = output.table(&["name", "size", "here", "type", "form"]);
        for file in &files {
            let form = match file["single_block"].as_bool() {
                Some(true) => "one block",
                _ => "pieces",
            };
            table.add_row([
                text(file, "name"),
                output::bytes(size(file)),
                output::bytes(file["local_bytes"].as_u64().unwrap_or(0)),
                text(file, "content_type"),
                form.to_owned(),
            ]);
        }
        output.print_table(&table)?;
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

async fn remove(id: &str, names: Vec<String>, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Write, false).await?;
    for name in names {
        let request = Request::FilesRemove {
            id: id.to_owned(),
            name: name.clone(),
        };
        match session.ask(request).await? {
            Reply::File { .. } if output.json() => output.value(&json!({ "removed": name }))?,
            Reply::File { .. } => output.note(format!("removed {}", printable(&name))),
            other => return Err(unexpected(&other)),
        }
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

fn size(file: &Value) -> u64 {
    file["size"].as_u64().unwrap_or(0)
}

fn text(file: &Value, field: &str) -> String {
    printable(file[field].as_str().unwrap_or(""))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let path: PathBuf = path.to_owned();
    Failure::new(
        Exit::BadInput,
        "bad_file",
        format!("cannot {what} {}: {error}", path.display()),
    )
}
