//! `query` and `index`: documents by the values of their fields.

use std::ops::Bound;

use serde_json::{Value, json};

use super::documents::{Table, without_id};
use super::{close, interrupted, unexpected};
use crate::args::{Global, IndexCommand, QueryArgs};
use crate::failure::{Exit, Failure, Result};
use crate::output::{Output, document_text};
use crate::session::protocol::{Query, QueryAnswer, Reply, Request, RowChange, Select};
use crate::session::{Access, Session};

pub(crate) async fn run(args: QueryArgs, global: &Global, output: &Output) -> Result<Exit> {
    let query = request(args)?;
    // The first query makes an index, which is kept if the database can be written to.
    let access = match query.answer {
        QueryAnswer::Watch => Access::Write,
        _ => Access::Look,
    };
    let mut session = Session::open(global, access, query.answer == QueryAnswer::Watch).await?;
    if query.answer == QueryAnswer::Watch && session.is_here() {
        session.serve()?;
    }
    let result = print(query, &mut session, output).await;
    let closed = close(session, output).await;
    result?;
    closed?;
    Ok(Exit::Done)
}

fn request(args: QueryArgs) -> Result<Query> {
    let select = match (args.key.is_empty(), &args.range, &args.prefix) {
        (false, ..) => Select::Keys(args.key.iter().map(|key| value(key)).collect()),
        (_, Some(text), _) => range(text)?,
        (_, _, Some(prefix)) => Select::Prefix(value(prefix)),
        _ => Select::All,
    };
    Ok(Query {
        index: args.field,
        select,
        descending: args.descending,
        limit: args.limit,
        offset: args.offset.unwrap_or(0),
        documents: args.docs,
        answer: match (args.count, args.explain, args.watch) {
            (true, ..) => QueryAnswer::Count,
            (_, true, _) => QueryAnswer::Explain,
            (.., true) => QueryAnswer::Watch,
            _ => QueryAnswer::Rows,
        },
    })
}

/// JSON, or else text.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn range(text: &str) -> Result<Select> {
    let Some((from, to)) = text.split_once("..") else {
        return Err(Failure::bad_input(format!("{text:?} is no range"))
            .hint("A..B, A..=B, A.., ..=B; without = the end does not belong to it"));
    };
    let from = match from {
        "" => Bound::Unbounded,
        from => Bound::Included(value(from)),
    };
    let to = match (to, to.strip_prefix('=')) {
        ("", _) => Bound::Unbounded,
        (_, Some(to)) => Bound::Included(value(to)),
        (to, None) => Bound::Excluded(value(to)),
    };
    Ok(Select::Range(from, to))
}

async fn print(query: Query, session: &mut Session, output: &Output) -> Result<()> {
    let mut interrupt = std::pin::pin!(interrupted());
    let mut table = Table::new(&["key", "document", "id"]);
    let mut replies = session.call(Request::Query(query)).await?;
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply?,
            () = &mut interrupt => return Ok(()),
        };
        match reply {
            None => return table.print(output),
            Some(Reply::Count { documents }) if output.json() => output.value(&documents)?,
            Some(Reply::Count { documents }) => output.line(documents.to_string())?,
            Some(Reply::Explained { plan }) => explain(&plan, output)?,
            Some(Reply::WatchingResult) => {
                table.print(output)?;
                output.note(
                    "watching until Ctrl-C; other commands on this database work through this one",
                );
                output.flush()?;
            }
            Some(Reply::IndexRow {
                change,
                id,
                key,
                value,
                document,
            }) => {
                let row = Row {
                    change,
                    id,
                    key,
                    value,
                    document,
                };
                row.print(&mut table, output)?;
            }
            Some(other) => return Err(unexpected(&other)),
        }
    }
}

struct Row {
    change: Option<RowChange>,
    id: String,
    key: Value,
    value: Value,
    document: Option<Value>,
}

impl Row {
    fn print(self, table: &mut Table<3>, output: &Output) -> Result<()> {
        if output.ndjson() {
            let mut json = json!({ "id": self.id, "key": self.key });
            if !self.value.is_null() {
                json["value"] = self.value;
            }
            if let Some(document) = self.document {
                json["doc"] = document;
            }
            if let Some(change) = self.change {
                json["change"] = json!(change);
            }
            output.value(&json)?;
            return match self.change {
                Some(_) => output.flush(),
                None => Ok(()),
            };
        }
        let document = self.document.map_or_else(String::new, |document| {
            document_text(&without_id(document), false)
        });
        let mark = match self.change {
            None => "",
            Some(RowChange::Added) => "+ ",
            Some(RowChange::Removed) => "- ",
            Some(RowChange::Updated) => "~ ",
        };
        table.add([format!("{mark}{}", self.key), document, self.id], output)?;
        match self.change {
            Some(_) => table.print(output),
            None => Ok(()),
        }
    }
}

fn state(status: &Value) -> String {
    match status["state"].as_str() {
        Some("building") => format!("building, {} of {}", status["done"], status["total"]),
        Some("failed") => format!("failed: {}", status["cause"].as_str().unwrap_or_default()),
        other => other.unwrap_or("unknown").to_owned(),
    }
}

fn explain(plan: &Value, output: &Output) -> Result<()> {
    if output.ndjson() {
        return output.value(plan);
    }
    let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    output.line(format!(
        "index       {} ({})",
        text("index"),
        state(&plan["status"])
    ))?;
    output.line(format!(
        "rows        {} of {}",
        plan["rows"], plan["index_rows"]
    ))?;
    output.line(format!(
        "ranges      {}, {} levels deep",
        plan["ranges"], plan["height"]
    ))?;
    output.line(format!(
        "documents   {}",
        match plan["reads_documents"].as_bool() {
            Some(true) => "read",
            _ => "not read",
        }
    ))?;
    output.line(format!(
        "left out    {} values that cannot be keys",
        plan["skipped"]
    ))
}

pub(crate) async fn index(command: IndexCommand, global: &Global, output: &Output) -> Result<Exit> {
    match command {
        IndexCommand::List => {
            let mut session = Session::open(global, Access::Look, false).await?;
            let reply = session.ask(Request::Indexes).await?;
            let Reply::Indexes { indexes } = reply else {
                return Err(unexpected(&reply));
            };
            let mut table = Table::new(&["index", "state", "rows"]);
            for index in indexes {
                if output.ndjson() {
                    output.value(&index)?;
                    continue;
                }
                let name = index["name"].as_str().unwrap_or_default().to_owned();
                table.add(
                    [name, state(&index["status"]), index["rows"].to_string()],
                    output,
                )?;
            }
            table.print(output)?;
            close(session, output).await?;
        }
        IndexCommand::Drop { name } => {
            let mut session = Session::open(global, Access::Write, false).await?;
            let mut replies = session
                .call(Request::DropIndex { name: name.clone() })
                .await?;
            if let Some(reply) = replies.next().await? {
                return Err(unexpected(&reply));
            }
            output.note(format!("dropped {name}"));
            close(session, output).await?;
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let shown = |text: &str| match range(text) {
            Ok(Select::Range(from, to)) => format!("{from:?} {to:?}"),
            other => format!("{other:?}"),
        };
        assert_eq!(shown("1..5"), "Included(Number(1)) Excluded(Number(5))");
        assert_eq!(shown("1..=5"), "Included(Number(1)) Included(Number(5))");
        assert_eq!(shown("-1.5.."), "Included(Number(-1.5)) Unbounded");
        assert_eq!(shown("..=b"), "Unbounded Included(String(\"b\"))");
        assert_eq!(shown("..\"3\""), "Unbounded Excluded(String(\"3\"))");
        assert_eq!(range("5").unwrap_err().exit_code, Exit::BadInput);
    }
}
