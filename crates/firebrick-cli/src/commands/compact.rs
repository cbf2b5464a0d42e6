//! `compact`: gives back the space of what later writes have replaced.

use serde_json::Value;

use super::{close, unexpected};
use crate::args::{CompactArgs, Global};
use crate::failure::{Exit, Result};
use crate::output::{self, Output};
use crate::session::protocol::{Reply, Request, Retention};
use crate::session::{Access, Session};

pub(crate) async fn run(args: CompactArgs, global: &Global, output: &Output) -> Result<Exit> {
    let retention = match (args.keep_all, args.keep_versions, args.keep_age) {
        (true, ..) => Some(Retention::All),
        (_, Some(count), _) => Some(Retention::Versions(count)),
        (_, _, Some(age)) => Some(Retention::AgeSeconds(age.as_secs())),
        _ => None,
    };
    let access = if args.dry_run {
        Access::Look
    } else {
        Access::Write
    };
    let mut session = Session::open(global, access, false).await?;
    let request = Request::Compact {
        retention,
        dry_run: args.dry_run,
    };
    let mut replies = session.call(request).await?;
    let bar = output.count_bar(None);
    let mut report = None;
    while let Some(reply) = replies.next().await? {
        match reply {
            Reply::Compacting { blocks, of } => {
                bar.set_length(of);
                bar.set_position(blocks);
            }
            Reply::Compacted { report: done } => report = Some(done),
            other => return Err(unexpected(&other)),
        }
    }
    bar.finish_and_clear();
    drop(replies);
    if let Some(report) = report {
        print(&report, output)?;
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

fn print(report: &Value, output: &Output) -> Result<()> {
    if output.json() {
        return output.value(report);
    }
    let number = |field: &str| report[field].as_u64().unwrap_or(0);
    let bytes = |field: &str| output::bytes(number(field));
    if report["dry_run"] == true {
        return output.line(format!(
            "{} are needed, {} could be given back ({} blocks)",
            bytes("live_bytes"),
            bytes("reclaimable_bytes"),
            output::grouped(number("dropped_blocks")),
        ));
    }
    output.line(format!(
        "{} before, {} now; dropped {} blocks, kept {}",
        bytes("bytes_before"),
        bytes("bytes_after"),
        output::grouped(number("dropped_blocks")),
        output::grouped(number("kept_blocks")),
    ))
}
