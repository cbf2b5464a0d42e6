//! `sync`: progress until the remotes and this database hold the same.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use serde_json::Value;

use super::states::RemoteView;
use super::{close, interrupted, unexpected};
use crate::args::{Global, SyncArgs};
use crate::failure::{Exit, Failure, Result};
use crate::output::{Output, style};
use crate::session::protocol::{Reply, Request};
use crate::session::{Access, HOLDER_GONE, Session};

pub(crate) async fn run(args: SyncArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Write, true).await?;
    if session.is_here() {
        session.serve()?;
    }
    let result = if args.watch {
        follow(&mut session, args.remote, output).await
    } else {
        once(&mut session, args.remote, args.timeout, output).await
    };
    let closed = close(session, output).await;
    result?;
    closed?;
    Ok(Exit::Done)
}

/// Syncs until everything is in sync, and prints the outcome.
pub(super) async fn once(
    session: &mut Session,
    remote: Option<String>,
    timeout: Option<Duration>,
    output: &Output,
) -> Result<()> {
    let timeout_ms = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let mut replies = session
        .call(Request::Sync {
            remote,
            timeout_ms,
            follow: false,
        })
        .await?;
    let mut show = Show::new(output);
    let mut last = Vec::new();
    let mut interrupt = std::pin::pin!(interrupted());
    let result = loop {
        let reply = tokio::select! {
            reply = replies.next() => reply,
            () = &mut interrupt => break Err(Failure::interrupted("stopped; the rest goes out with the next sync")),
        };
        match reply {
            Ok(Some(Reply::Remotes { remotes })) => {
                show.update(&remotes);
                last = remotes;
            }
            Ok(Some(other)) => break Err(unexpected(&other)),
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    show.clear();
    report(&last, output)?;
    result
}

fn report(remotes: &[Value], output: &Output) -> Result<()> {
    for remote in remotes {
        let view = RemoteView(remote);
        if output.json() {
            output.value(remote)?;
        } else if !output.quiet() {
            output.line(format!(
                "{}: {}  (sent {}, received {})",
                view.name(),
                view.words(),
                view.sent(),
                view.received()
            ))?;
        }
    }
    Ok(())
}

/// Keeps syncing until interrupted; when the process that had the database ends, takes over.
pub(super) async fn follow(
    session: &mut Session,
    remote: Option<String>,
    output: &Output,
) -> Result<()> {
    let mut shown = BTreeMap::new();
    let mut interrupt = std::pin::pin!(interrupted());
    output.note("syncing until Ctrl-C; other commands on this database work through this one");
    loop {
        let request = Request::Sync {
            remote: remote.clone(),
            timeout_ms: None,
            follow: true,
        };
        let mut replies = session.call(request).await?;
        loop {
            let reply = tokio::select! {
                reply = replies.next() => reply,
                () = &mut interrupt => return Ok(()),
            };
            match reply {
                Ok(Some(Reply::Remotes { remotes })) => {
                    print_changes(&remotes, &mut shown, output)?;
                }
                Ok(Some(other)) => return Err(unexpected(&other)),
                Ok(None) => return Ok(()),
                Err(failure) if failure.kind == HOLDER_GONE => break,
                Err(failure) => return Err(failure),
            }
        }
        session.find_again().await?;
        if session.is_here() {
            session.serve()?;
        }
    }
}

/// One line whenever a remote's state is another one.
fn print_changes(
    remotes: &[Value],
    shown: &mut BTreeMap<String, String>,
    output: &Output,
) -> Result<()> {
    for remote in remotes {
        let view = RemoteView(remote);
        // The steps of a sync under way would be a line each.
        let summary = format!("{} {} {}", view.word(), view.sent(), view.received());
        if shown.get(view.url()) == Some(&summary) || view.word() == "syncing" {
            continue;
        }
        shown.insert(view.url().to_owned(), summary);
        if output.json() {
            output.value(remote)?;
        } else if !output.quiet() {
            output.line(format!(
                "{}: {}  (sent {}, received {})",
                view.name(),
                view.words(),
                view.sent(),
                view.received()
            ))?;
        }
    }
    output.flush()
}

/// A bar per remote on a terminal; with `--json` a line per report.
struct Show<'a> {
    output: &'a Output,
    bars: MultiProgress,
    by_url: BTreeMap<String, ProgressBar>,
}

impl<'a> Show<'a> {
    fn new(output: &'a Output) -> Self {
        Show {
            output,
            bars: output.bars(),
            by_url: BTreeMap::new(),
        }
    }

    fn update(&mut self, remotes: &[Value]) {
        if !self.output.draws_bars() {
            return;
        }
        for remote in remotes {
            let view = RemoteView(remote);
            let bar = self.by_url.entry(view.url().to_owned()).or_insert_with(|| {
                let bar = self.bars.add(
                    ProgressBar::new(1).with_style(style("{prefix:16} {bar:24.green/dim} {msg}")),
                );
                bar.set_prefix(view.name().to_owned());
                bar
            });
            match view.progress() {
                Some((done, all)) => {
                    bar.set_length(all.max(1));
                    bar.set_position(done);
                }
                None if view.word() == "up_to_date" => bar.set_position(bar.length().unwrap_or(1)),
                None => {}
            }
            bar.set_message(format!(
                "{}  ↑ {} ↓ {}",
                view.words(),
                view.sent(),
                view.received()
            ));
        }
    }

    fn clear(self) {
        for bar in self.by_url.values() {
            bar.finish_and_clear();
        }
        let _ = self.bars.clear();
    }
}
