//! `watch`: changes as they happen.

use serde_json::json;

use super::{close, interrupted, unexpected};
use crate::args::{Global, WatchArgs};
use crate::failure::{Exit, Result};
use crate::output::{Output, document_text, printable};
use crate::session::protocol::{ChangeSet, Reply, Request};
use crate::session::{Access, HOLDER_GONE, Session};

pub(crate) async fn run(args: WatchArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut session = Session::open(global, Access::Write, !args.offline).await?;
    if session.is_here() {
        session.serve()?;
    }
    let mut watch = Watch {
        output,
        documents: args.docs,
        left: args.limit.unwrap_or(usize::MAX),
        since: (!args.since.is_empty()).then_some(args.since),
        begun: false,
    };
    let result = watch.follow(&mut session).await;
    let closed = close(session, output).await;
    result?;
    closed?;
    Ok(Exit::Done)
}

struct Watch<'a> {
    output: &'a Output,
    documents: bool,
    /// Changes that are still to be printed.
    left: usize,
    /// The head up to which changes were printed.
    since: Option<Vec<String>>,
    begun: bool,
}

impl Watch<'_> {
    async fn follow(&mut self, session: &mut Session) -> Result<()> {
        let mut interrupt = std::pin::pin!(interrupted());
        loop {
            let request = Request::Watch {
                since: self.since.clone(),
                documents: self.documents,
            };
            let mut replies = session.call(request).await?;
            while self.left > 0 {
                let reply = tokio::select! {
                    reply = replies.next() => reply,
                    () = &mut interrupt => return Ok(()),
                };
                match reply {
                    Ok(Some(reply)) => self.print(reply)?,
                    Ok(None) => return Ok(()),
                    Err(failure) if failure.kind == HOLDER_GONE => break,
                    Err(failure) => return Err(failure),
                }
            }
            if self.left == 0 {
                return Ok(());
            }
            // The process that had the database open has ended: take over where it stopped.
            session.find_again().await?;
            if session.is_here() {
                session.serve()?;
            }
        }
    }

    fn print(&mut self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Watching { head } => {
                if !self.begun {
                    self.begun = true;
                    if self.output.json() {
                        self.output
                            .value(&json!({ "watching": true, "head": head }))?;
                    }
                    self.output.note("watching until Ctrl-C; other commands on this database work through this one");
                }
                self.since.get_or_insert(head);
            }
            Reply::Changes(set) => self.changes(set)?,
            Reply::Lagged { missed } => {
                self.output.warn(format!(
                    "{missed} steps came too fast to be shown one by one; what they changed follows"
                ));
            }
            other => return Err(unexpected(&other)),
        }
        self.output.flush()
    }

    fn changes(&mut self, mut set: ChangeSet) -> Result<()> {
        set.changes.truncate(self.left);
        self.left -= set.changes.len();
        self.since = Some(set.head.clone());
        if self.output.ndjson() {
            return self.output.value(&set);
        }
        let origin = printable(&set.origin);
        for change in set.changes {
            let id = printable(&change.id);
            match change.doc {
                Some(document) => self.output.line(format!(
                    "{origin:12} put  {}",
                    printable(&document_text(&document, false))
                ))?,
                None if change.deleted => self.output.line(format!("{origin:12} del  {id}"))?,
                None => self.output.line(format!("{origin:12} put  {id}"))?,
            }
        }
        Ok(())
    }
}
