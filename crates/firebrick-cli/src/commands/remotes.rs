//! `attach`, `detach`, `remotes`, `status`.

use serde_json::json;

use super::states::{RemoteView, text};
use super::{close, keys, sync, unexpected};
use crate::args::{AttachArgs, DetachArgs, Global};
use crate::failure::{Exit, Failure, Result};
use crate::output::{Output, grouped, printable};
use crate::session::protocol::{Reply, Request, Status};
use crate::session::{Access, Session};

pub(crate) async fn attach(args: AttachArgs, global: &Global, output: &Output) -> Result<Exit> {
    let key = args
        .key
        .map(|key| keys::key(Some(key), output))
        .transpose()?;
    let mut session = Session::open(global, Access::Create, true).await?;
    if session.is_here() {
        session.serve()?;
    }
    let result = attach_and_sync(
        &mut session,
        args.url,
        args.name,
        args.merge,
        key,
        args.timeout,
        output,
    )
    .await;
    let result = match result {
        Ok(_) if args.watch => sync::follow(&mut session, None, output).await,
        Ok(_) => Ok(()),
        Err(failure) => Err(failure),
    };
    let closed = close(session, output).await;
    result?;
    closed?;
    Ok(Exit::Done)
}

async fn attach_and_sync(
    session: &mut Session,
    url: String,
    name: Option<String>,
    merge: bool,
    key: Option<String>,
    timeout: std::time::Duration,
    output: &Output,
) -> Result<()> {
    let reply = session
        .ask(Request::Attach {
            url,
            name,
            merge,
            key,
        })
        .await?;
    let Reply::Attached { name, url } = reply else {
        return Err(unexpected(&reply));
    };
    if !output.json() {
        output.note(format!("attached {name} ({url})"));
    }
    match sync::once(session, Some(name.clone()), Some(timeout), output).await {
        // What needs a decision first is not remembered: the next attach makes it.
        Err(failure) if is_undecided(&failure) => {
            session.ask(Request::Detach { remote: name }).await?;
            Err(failure)
        }
        Err(failure) => {
            output.note(format!(
                "{name} stays attached: `sync` and `watch` go on with it, `detach` forgets it"
            ));
            Err(failure)
        }
        Ok(()) => Ok(()),
    }
}

fn is_undecided(failure: &Failure) -> bool {
    matches!(
        failure.kind.as_str(),
        "needs_merge" | "needs_key" | "needs_auth" | "remote_foreign" | "bad_url"
    )
}

pub(crate) async fn detach(args: DetachArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Write, false).await?;
    let reply = session
        .ask(Request::Detach {
            remote: args.remote,
        })
        .await?;
    let Reply::Detached {
        name,
        url,
        unpushed,
    } = reply
    else {
        return Err(unexpected(&reply));
    };
    if output.json() {
        output.value(&json!({ "detached": name, "url": url, "unpushed": unpushed }))?;
    }
    output.note(format!(
        "detached {name} ({url}); what is stored here and there stays"
    ));
    if unpushed > 0 {
        output.warn(format!("{name} lacks {unpushed} commits of this database"));
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

pub(crate) async fn list(global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Look, false).await?;
    let reply = session.ask(Request::Remotes).await?;
    let Reply::Remotes { remotes } = reply else {
        return Err(unexpected(&reply));
    };
    if output.json() {
        remotes.iter().try_for_each(|remote| output.value(remote))?;
    } else if remotes.is_empty() {
        output.note("no remote is attached");
    } else {
        let mut table = output.table(&["remote", "url"]);
        for remote in &remotes {
            let view = RemoteView(remote);
            table.add_row([view.name(), view.url()]);
        }
        output.print_table(&table)?;
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

pub(crate) async fn status(global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Look, true).await?;
    let here = session.is_here();
    let reply = session.ask(Request::Status).await?;
    let Reply::Status(mut status) = reply else {
        return Err(unexpected(&reply));
    };
    if here {
        status.served_by = None;
    }
    if output.json() {
        output.value(&status)?;
    } else {
        print_status(&status, output)?;
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

fn print_status(status: &Status, output: &Output) -> Result<()> {
    let mut table = output.table(&[]);
    table.add_row(["database", &status.path]);
    table.add_row(["ledger", &status.name]);
    table.add_row(["documents", &grouped(status.documents)]);
    table.add_row(["head", &status.head.join("\n")]);
    table.add_row(["root", &status.root]);
    table.add_row([
        "key",
        status
            .key
            .as_deref()
            .unwrap_or("none: this database is not encrypted"),
    ]);
    if let Some(process) = status.served_by {
        table.add_row(["open in", &format!("process {process}")]);
    }
    output.print_table(&table)?;
    if status.remotes.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let mut table = output.table(&["remote", "state", "sent", "received", "pending", "url"]);
    for remote in &status.remotes {
        let view = RemoteView(remote);
        let pending = view.pending().len().to_string();
        table.add_row([
            view.name(),
            &printable(&view.words()),
            &view.sent(),
            &view.received(),
            &pending,
            view.url(),
        ]);
    }
    output.print_table(&table)?;
    for remote in &status.remotes {
        print_troubles(RemoteView(remote), output)?;
    }
    Ok(())
}

/// What is missing, by name, and why.
fn print_troubles(view: RemoteView<'_>, output: &Output) -> Result<()> {
    for pending in view.pending() {
        let cause = printable(text(pending, "cause"));
        output.line(format!(
            "{}: what {} announced is pending: {cause}",
            view.name(),
            text(pending, "slot")
        ))?;
        for what in ["missing", "cars"] {
            for cid in pending
                .get(what)
                .and_then(serde_json::Value::as_array)
                .into_iter()
                .flatten()
            {
                output.line(format!(
                    "  {} {}",
                    if what == "cars" { "CAR" } else { "block" },
                    cid.as_str().unwrap_or("?")
                ))?;
            }
        }
    }
    for missing in view.missing_documents() {
        output.line(format!("{}: a document is missing: {missing}", view.name()))?;
    }
    if !view.last_error().is_empty() && view.word() != "up_to_date" {
        output.line(format!(
            "{}: last error: {}",
            view.name(),
            printable(view.last_error())
        ))?;
    }
    Ok(())
}
