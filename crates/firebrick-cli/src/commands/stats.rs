//! `stats`: how much there is.

use serde_json::Value;

use super::states::{number, text};
use super::{close, unexpected};
use crate::args::Global;
use crate::failure::{Exit, Result};
use crate::output::{self, Output, grouped, printable};
use crate::session::protocol::{Reply, Request};
use crate::session::{Access, Session};

pub(crate) async fn run(global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Look, false).await?;
    let stats = match session.ask(Request::Stats).await? {
        Reply::Stats { stats } => stats,
        other => return Err(unexpected(&other)),
    };
    if output.json() {
        output.value(&stats)?;
    } else {
        print(&stats, output)?;
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

const NOT_KNOWN: &str = "not known, because something is damaged";

fn print(stats: &Value, output: &Output) -> Result<()> {
    let count = |field: &str| grouped(number(stats, field));
    let bytes = |field: &str| output::bytes(number(stats, field));
    let mut table = output.table(&[]);
    let deleted = format!("{} ({} deleted)", count("documents"), count("deleted"));
    table.add_row(["documents", &deleted]);
    table.add_row(["earlier versions", &count("versions")]);
    table.add_row(["files", &count("contents")]);
    table.add_row(["events", &count("events")]);
    let live = format!("{}, {}", count("live_blocks"), bytes("live_bytes"));
    table.add_row(["blocks", &live]);
    table.add_row(["log", &bytes("log_bytes")]);
    let reclaimable = stats["reclaimable_bytes"].as_u64();
    let reclaimable = reclaimable.map_or_else(|| NOT_KNOWN.to_owned(), output::bytes);
    table.add_row(["reclaimable", &reclaimable]);
    let list = |field: &str| stats[field].as_array().cloned().unwrap_or_default();
    for index in list("indexes") {
        let size = format!(
            "{} nodes, {}",
            grouped(number(&index, "nodes")),
            output::bytes(number(&index, "bytes"))
        );
        let name = format!("index {}", text(&index, "name"));
        table.add_row([&printable(&name), &size]);
    }
    for remote in list("remotes") {
        let lag = match remote["events_to_push"].as_u64() {
            None => NOT_KNOWN.to_owned(),
            Some(0) => "has everything".to_owned(),
            Some(events) => format!(
                "lacks {} events, {} documents",
                grouped(events),
                grouped(number(&remote, "documents_to_push"))
            ),
        };
        let name = format!("remote {}", text(&remote, "remote"));
        table.add_row([&printable(&name), &lag]);
    }
    output.print_table(&table)?;
    match number(stats, "faults") {
        0 => {}
        faults => output.warn(format!(
            "{} blocks are missing or damaged: firebrick verify",
            grouped(faults)
        )),
    }
    Ok(())
}
