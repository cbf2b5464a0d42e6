//! `put`, `get`, `del`, `list`, `changes`.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::{Unreadable, close, unexpected};
use crate::args::{ChangesArgs, DelArgs, GetArgs, Global, ListArgs, PutArgs};
use crate::failure::{Exit, Failure, Result};
use crate::ndjson;
use crate::output::{Output, document_text, printable, short};
use crate::session::protocol::{Reply, Request};
use crate::session::{Access, Session};

/// The most that `put` reads from stdin; a document may have 16 MiB encoded.
const INPUT_BYTES: u64 = 64 << 20;
/// Rows of one table; the columns fit the widest of them.
const ROWS_AT_ONCE: usize = 200;

pub(crate) async fn put(args: PutArgs, global: &Global, output: &Output) -> Result<Exit> {
    let text = match args.document {
        Some(text) if text != "-" => text,
        _ => {
            output.prompt("reading a document from the terminal; Ctrl-D ends it");
            read_stdin()?
        }
    };
    let document = with_id(parse(&text)?, args.id)?;
    let mut session = Session::open(global, Access::Create, false).await?;
    let durability = global.durability.map(Into::into);
    let reply = session
        .ask(Request::Put {
            documents: vec![Value::Object(document)],
            durability,
        })
        .await?;
    let Reply::Written { ids, head } = reply else {
        return Err(unexpected(&reply));
    };
    for id in ids {
        if output.json() {
            output.value(&json!({ "id": id, "head": head }))?;
        } else {
            output.line(id)?;
        }
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(INPUT_BYTES + 1)
        .read_to_string(&mut text);
    read.map_err(|error| Failure::bad_input(format!("cannot read stdin: {error}")))?;
    if text.len() as u64 > INPUT_BYTES {
        return Err(Failure::bad_input(format!(
            "the document is longer than {} MiB",
            INPUT_BYTES >> 20
        )));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Err(Failure::bad_input("there is no document")
            .hint("firebrick put '{\"_id\": \"milk\", \"litres\": 2}'"));
    }
    let value = serde_json::from_str(text).map_err(|error| {
        Failure::new(
            Exit::BadInput,
            "bad_json",
            format!("the document is {}", ndjson::json_reason(&error)),
        )
        .hint("many documents, one per line, are for `firebrick import`")
    })?;
    ndjson::object(value).map_err(|reason| {
        Failure::new(
            Exit::BadInput,
            "bad_document",
            format!("this cannot be stored: {reason}"),
        )
    })
}

fn with_id(mut document: Map<String, Value>, id: Option<String>) -> Result<Map<String, Value>> {
    if let Some(id) = id {
        let id = Value::String(id);
        match document.insert("_id".to_owned(), id.clone()) {
            Some(other) if other != id => {
                return Err(Failure::bad_input(format!(
                    "the document says _id {other}, --id says {id}"
                )));
            }
            _ => {}
        }
    }
    match document.get("_id") {
        None | Some(Value::String(_)) => Ok(document),
        Some(other) => Err(Failure::new(
            Exit::BadInput,
            "bad_id",
            format!("_id is {other}; ids are text"),
        )),
    }
}

pub(crate) async fn get(args: GetArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Read, false).await?;
    let mut missing = Vec::new();
    for id in args.ids {
        let request = match args.at.as_slice() {
            [] => Request::Get { id },
            at => Request::GetAt {
                id,
                head: at.to_vec(),
            },
        };
        let reply = session.ask(request).await?;
        match reply {
            Reply::Row {
                document: Some(document),
                ..
            } => output.document(&document)?,
            Reply::Row { id, document: None } => missing.push(id),
            other => return Err(unexpected(&other)),
        }
    }
    close(session, output).await?;
    if missing.is_empty() {
        Ok(Exit::Done)
    } else {
        Err(no_document(&missing))
    }
}

fn no_document(ids: &[String]) -> Failure {
    let names: Vec<String> = ids.iter().map(|id| format!("{id:?}")).collect();
    Failure::not_found(format!("there is no document {}", names.join(", ")))
}

pub(crate) async fn del(args: DelArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Write, false).await?;
    let mut missing = Vec::new();
    for id in args.ids {
        match session.ask(Request::Delete { id: id.clone() }).await {
            Ok(Reply::Written { head, .. }) if output.json() => {
                output.value(&json!({ "id": id, "deleted": true, "head": head }))?;
            }
            Ok(Reply::Written { .. }) => output.note(format!("deleted {id}")),
            Ok(other) => return Err(unexpected(&other)),
            Err(failure) if failure.kind == "not_found" => missing.push(id),
            Err(failure) => return Err(failure),
        }
    }
    close(session, output).await?;
    if missing.is_empty() {
        Ok(Exit::Done)
    } else {
        Err(no_document(&missing))
    }
}

pub(crate) async fn list(args: ListArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Read, false).await?;
    let ids_only = args.ids;
    let request = Request::List {
        prefix: args.prefix,
        after: args.after,
        limit: args.limit,
        deleted: args.deleted,
        ids: args.ids,
    };
    let mut rows = Table::new(&["id", "document"]);
    let mut unreadable = Unreadable::default();
    let mut replies = session.call(request).await?;
    while let Some(reply) = replies.next().await? {
        let (id, document) = match reply {
            Reply::Row { id, document } => (id, document),
            Reply::Unreadable { id, failure } => {
                unreadable.add(&id, failure, output);
                continue;
            }
            other => return Err(unexpected(&other)),
        };
        match (document, ids_only) {
            (_, true) if output.json() => output.value(&id)?,
            (_, true) => output.line(id)?,
            (Some(document), _) if output.ndjson() => output.document(&document)?,
            (None, _) if output.ndjson() => {
                output.value(&json!({ "_id": id, "_deleted": true }))?;
            }
            (Some(document), _) => {
                rows.add([id, document_text(&without_id(document), false)], output)?;
            }
            (None, _) => rows.add([id, "deleted".to_owned()], output)?,
        }
    }
    rows.print(output)?;
    close(session, output).await?;
    unreadable.end()?;
    Ok(Exit::Done)
}

pub(super) fn without_id(mut document: Value) -> Value {
    if let Value::Object(map) = &mut document {
        map.remove("_id");
    }
    document
}

pub(crate) async fn changes(args: ChangesArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Read, false).await?;
    let mut rows = Table::new(&["id", "document", "clock"]);
    let mut replies = session
        .call(Request::Changes {
            since: args.since,
            limit: args.limit,
        })
        .await?;
    while let Some(reply) = replies.next().await? {
        let Reply::Change {
            id,
            document,
            clock,
            compacted,
        } = reply
        else {
            return Err(unexpected(&reply));
        };
        match document {
            Some(document) if output.ndjson() => {
                output.value(&json!({ "id": id, "doc": document, "clock": clock }))?;
            }
            None if compacted && output.ndjson() => {
                output.value(&json!({ "id": id, "compacted": true, "clock": clock }))?;
            }
            None if output.ndjson() => {
                output.value(&json!({ "id": id, "deleted": true, "clock": clock }))?;
            }
            Some(document) => rows.add(
                [
                    id,
                    document_text(&without_id(document), false),
                    short(&clock),
                ],
                output,
            )?,
            None => {
                let what = if compacted { "compacted" } else { "deleted" };
                rows.add([id, what.to_owned(), short(&clock)], output)?;
            }
        }
    }
    rows.print(output)?;
    close(session, output).await?;
    Ok(Exit::Done)
}

/// Rows for a person: some are collected so that the columns fit, then printed.
pub(super) struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[String; N]>,
    printed: bool,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(header: &[&'static str; N]) -> Self {
        Table {
            header: *header,
            rows: Vec::new(),
            printed: false,
        }
    }

    pub(super) fn add(&mut self, row: [String; N], output: &Output) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() == ROWS_AT_ONCE {
            self.print(output)
        } else {
            Ok(())
        }
    }

    /// The second column takes what room the others leave.
    pub(super) fn print(&mut self, output: &Output) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let header: &[&str] = if self.printed { &[] } else { &self.header };
        let mut table = output.table(header);
        let other_columns = (0..N).filter(|column| *column != 1);
        let widest = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let taken: usize = other_columns.map(|column| widest(column).min(48) + 3).sum();
        let room = usize::from(table.width().unwrap_or(120))
            .saturating_sub(taken + 3)
            .max(20);
        for row in self.rows.drain(..) {
            let mut cells = row.map(|cell| printable(&cell));
            cells[0] = cut(&cells[0], 48);
            cells[1] = cut(&cells[1], room);
            table.add_row(cells);
        }
        self.printed = true;
        output.print_table(&table)
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars()
        .take(width.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_must_agree() {
        let document = || parse(r#"{"_id":"a"}"#).unwrap();
        assert_eq!(with_id(document(), None).unwrap()["_id"], "a");
        assert_eq!(with_id(document(), Some("a".into())).unwrap()["_id"], "a");
        assert_eq!(
            with_id(document(), Some("b".into())).unwrap_err().exit_code,
            Exit::BadInput
        );
        assert_eq!(
            with_id(parse(r#"{"_id":1}"#).unwrap(), None)
                .unwrap_err()
                .exit_code,
            Exit::BadInput
        );
        assert_eq!(parse("[1]").unwrap_err().kind, "bad_document");
        assert_eq!(parse("{").unwrap_err().kind, "bad_json");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
    }
}
