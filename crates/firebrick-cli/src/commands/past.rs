//! `history`, `conflicts`, `diff`, `revert`, `log`.

use serde_json::{Value, json};

use super::graph::Graph;
use super::states::text;
use super::{close, unexpected};
use crate::args::Global;
use crate::args::past::{ConflictsArgs, DiffArgs, HistoryArgs, LogArgs, RevertArgs};
use crate::failure::{Exit, Failure, Result};
use crate::output::{Output, document_text, printable};
use crate::session::protocol::{Reply, Request};
use crate::session::{Access, Session};

/// Ids shown of one event.
const IDS_SHOWN: usize = 4;

pub(crate) async fn history(args: HistoryArgs, global: &Global, output: &Output) -> Result<Exit> {
    let (id, limit) = (args.id.clone(), args.limit);
    let mut found = false;
    items(Request::History { id, limit }, global, output, |version| {
        found = true;
        if output.ndjson() {
            return output.value(&version);
        }
        output.line(version_text(&version))
    })
    .await?;
    if found || args.limit == Some(0) {
        Ok(Exit::Done)
    } else {
        let message = format!("no event ever wrote a document {:?}", args.id);
        Err(Failure::not_found(message))
    }
}

pub(crate) async fn conflicts(
    args: ConflictsArgs,
    global: &Global,
    output: &Output,
) -> Result<Exit> {
    let request = Request::Conflicts { id: args.id };
    let mut found = false;
    items(request, global, output, |item| {
        if item.get("complete").is_some() {
            output.warn("only the newest events were looked at; name a document to be sure of it");
            return Ok(());
        }
        found = true;
        if output.ndjson() {
            return output.value(&item);
        }
        let Some(versions) = item["versions"].as_array() else {
            return output.line(printable(text(&item, "id")));
        };
        for version in versions {
            output.line(version_text(version))?;
        }
        output.note(match text(&item, "why") {
            "cid" => "the first one wins: its event is as light as the next, and its CID greater",
            _ => "the first one wins: its event is the lightest",
        });
        Ok(())
    })
    .await?;
    if !found {
        output.note("no conflict");
    }
    Ok(Exit::Done)
}

pub(crate) async fn diff(args: DiffArgs, global: &Global, output: &Output) -> Result<Exit> {
    let request = Request::Diff {
        before: args.before,
        after: args.to,
    };
    items(request, global, output, |row| {
        if output.ndjson() {
            return output.value(&row);
        }
        let id = printable(text(&row, "id"));
        for (sign, side) in [("-", "before"), ("+", "after")] {
            if !row[side].is_null() {
                output.line(format!("{sign} {id}  {}", shown(&row[side])))?;
            }
        }
        Ok(())
    })
    .await?;
    Ok(Exit::Done)
}

pub(crate) async fn revert(args: RevertArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Write, false).await?;
    let reply = session
        .ask(Request::Revert {
            id: args.id.clone(),
            version: args.event,
        })
        .await?;
    let Reply::Written { head, .. } = reply else {
        return Err(unexpected(&reply));
    };
    if output.json() {
        output.value(&json!({ "id": args.id, "head": head }))?;
    } else {
        output.note(format!("{} is as it was then", args.id));
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

pub(crate) async fn log(args: LogArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut graph = args.graph.then(Graph::default);
    let request = Request::Log { limit: args.limit };
    items(request, global, output, |entry| {
        let line = entry_text(&entry);
        match &mut graph {
            _ if output.json() => output.value(&entry),
            Some(graph) => {
                let parents = entry["parents"].as_array().map_or(&[][..], Vec::as_slice);
                let parents: Vec<String> = parents
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect();
                let (before, own, after) = graph.event(text(&entry, "event"), &parents);
                before.iter().try_for_each(|line| output.line(line))?;
                output.line(format!("{own} {line}"))?;
                after.iter().try_for_each(|line| output.line(line))
            }
            None if output.ndjson() => output.value(&entry),
            None => output.line(line),
        }
    })
    .await?;
    Ok(Exit::Done)
}

/// Asks, and hands on what comes.
async fn items(
    request: Request,
    global: &Global,
    output: &Output,
    mut each: impl FnMut(Value) -> Result<()>,
) -> Result<()> {
    let mut session = Session::open(global, Access::Read, false).await?;
    let mut replies = session.call(request).await?;
    while let Some(reply) = replies.next().await? {
        match reply {
            Reply::Item { item } => each(item)?,
            other => return Err(unexpected(&other)),
        }
    }
    close(session, output).await
}

fn shown(document: &Value) -> String {
    let mut document = document.clone();
    if let Value::Object(fields) = &mut document {
        fields.remove("_id");
    }
    printable(&document_text(&document, false))
}

fn origin(item: &Value) -> String {
    printable(item["origin"].as_str().unwrap_or("origin unknown"))
}

fn version_text(version: &Value) -> String {
    let content = match version.get("doc") {
        Some(doc) => shown(doc),
        None if version.get("deleted").is_some() => "deleted".to_owned(),
        None => format!("not here: {}", text(version, "missing")),
    };
    let place = match (version["wins"].as_bool(), version["current"].as_bool()) {
        (Some(true), _) => "  wins",
        (_, Some(true)) => "  concurrent",
        _ => "",
    };
    let (event, origin) = (text(version, "event"), origin(version));
    format!("{event}  {origin}{place}\n    {content}")
}

fn entry_text(entry: &Value) -> String {
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        list.iter()
            .filter_map(Value::as_str)
            .map(printable)
            .collect()
    };
    let (ids, deleted) = (names(&entry["ids"]), names(&entry["deleted"]));
    let shown = ids.iter().take(IDS_SHOWN).map(|id| {
        let sign = if deleted.contains(id) { "-" } else { "" };
        format!("{sign}{id}")
    });
    let mut what = shown.collect::<Vec<_>>().join(", ");
    if ids.len() > IDS_SHOWN {
        what = format!("{what} and {} more", ids.len() - IDS_SHOWN);
    }
    if entry["merge"] == true {
        what = "merge".to_owned();
    } else if ids.is_empty() {
        what = "begin".to_owned();
    }
    let head = if entry["head"] == true { "  head" } else { "" };
    format!(
        "{}  {what}  ({}){head}",
        text(entry, "event"),
        origin(entry)
    )
}
