//! `verify` and `repair`.

use serde_json::Value;

use super::states::{number, text};
use super::{close, unexpected};
use crate::args::Global;
use crate::failure::{Exit, Result};
use crate::output::{self, Output, grouped, printable};
use crate::session::protocol::{Reply, Request};
use crate::session::{Access, Session};

pub(crate) async fn run(repair: bool, global: &Global, output: &Output) -> Result<Exit> {
    let access = if repair { Access::Write } else { Access::Look };
    let mut session = Session::open(global, access, repair).await?;
    let mut replies = session.call(Request::Verify { repair }).await?;
    let bar = output.count_bar(None);
    let mut report = Value::Null;
    while let Some(reply) = replies.next().await? {
        match reply {
            Reply::Verifying { blocks, findings } => {
                bar.set_position(blocks);
                if findings > 0 {
                    bar.set_message(format!("{} faults", grouped(findings)));
                }
            }
            Reply::Fetching { lacking, remotes } => bar.set_message(format!(
                "asking {} remotes for {} blocks",
                grouped(remotes),
                grouped(lacking)
            )),
            Reply::Rebuilding => bar.set_message("making parts again from events"),
            Reply::Verified { report: done } => report = done,
            other => return Err(unexpected(&other)),
        }
    }
    bar.finish_and_clear();
    drop(replies);
    let after = if repair { &report["after"] } else { &report };
    let is_good = after["findings"].as_array().is_some_and(Vec::is_empty);
    if output.json() {
        output.value(&report)?;
    } else {
        if repair {
            did(&report, output)?;
        }
        found(after, output)?;
    }
    close(session, output).await?;
    Ok(if is_good { Exit::Done } else { Exit::Negative })
}

fn did(report: &Value, output: &Output) -> Result<()> {
    let count = |field: &str| report[field].as_array().map_or(0, Vec::len) as u64;
    if count("before") == 0 {
        return Ok(());
    }
    output.line(format!(
        "{} faults: {} fetched, {} made again from events, {} indexes to be made anew",
        grouped(count("before")),
        grouped(count("fetched")),
        grouped(count("rebuilt")),
        grouped(count("indexes")),
    ))
}

fn found(report: &Value, output: &Output) -> Result<()> {
    let none = Vec::new();
    let findings = report["findings"].as_array().unwrap_or(&none);
    for finding in findings {
        let remotes: Vec<&str> = finding["remotes"].as_array().map_or(Vec::new(), |all| {
            all.iter().filter_map(Value::as_str).collect()
        });
        let source = match remotes.as_slice() {
            [] => "no remote is known to have it".to_owned(),
            some => format!("to be had from {}", some.join(", ")),
        };
        let fault = match finding["cause"].as_str() {
            Some(cause) => format!("damaged ({cause})"),
            None => "missing".to_owned(),
        };
        let line = format!(
            "{}: {fault}; {source}; block {}",
            held(finding),
            text(finding, "cid")
        );
        output.line(printable(&line))?;
    }
    for place in report["store_damage"].as_array().unwrap_or(&none) {
        output.warn(format!(
            "damage that hit nothing which is needed: {}",
            place.as_str().unwrap_or_default()
        ));
    }
    let summary = format!(
        "{} blocks are good: {} documents, {} earlier versions, {} events, {}",
        grouped(number(report, "blocks")),
        grouped(number(report, "documents")),
        grouped(number(report, "versions")),
        grouped(number(report, "events")),
        output::bytes(number(report, "bytes")),
    );
    output.line(summary)?;
    if !findings.is_empty() {
        output.note(format!("{} faults", grouped(findings.len() as u64)));
    }
    Ok(())
}

/// What a finding is about, in words.
fn held(finding: &Value) -> String {
    let of = |field: &str| text(finding, field);
    match of("holds") {
        "event" => "an event".to_owned(),
        "shard" => format!("the documents whose ids begin with {:?}", of("prefix")),
        "document" => format!("document {:?}", of("id")),
        "version" => format!("an earlier version of document {:?}", of("id")),
        "file" => format!("file {:?} of document {:?}", of("name"), of("id")),
        "index_node" => format!("a part of the index {:?}", of("index")),
        "car_list" => format!("the list of what a CAR at {} holds", of("remote")),
        other => other.to_owned(),
    }
}
