//! The commands on one database. Each asks a [`Session`] and prints.

pub(crate) mod backup;
pub(crate) mod compact;
pub(crate) mod documents;
pub(crate) mod export;
pub(crate) mod files;
mod graph;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod manual;
pub(crate) mod past;
pub(crate) mod queries;
pub(crate) mod remotes;
pub(crate) mod serve;
mod states;
pub(crate) mod stats;
pub(crate) mod sync;
pub(crate) mod token;
pub(crate) mod verify;
pub(crate) mod watch;

use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::session::Session;
use crate::session::protocol::Reply;

/// Closes the database and says what remotes lack.
pub(crate) async fn close(session: Session, output: &Output) -> Result<()> {
    for (remote, commits) in session.close().await? {
        if commits > 0 {
            output.warn(format!(
                "remote {remote} lacks {commits} commits; they go out with the next sync"
            ));
        }
    }
    Ok(())
}

/// Documents of a listing that could not be read. Each is named; the others are printed.
#[derive(Default)]
struct Unreadable {
    count: u64,
    last: Option<Failure>,
}

impl Unreadable {
    fn add(&mut self, id: &str, failure: Failure, output: &Output) {
        output.warn(format!("{id:?} cannot be read: {failure}"));
        self.count += 1;
        self.last = Some(failure);
    }

    fn end(self) -> Result<()> {
        match self.last {
            None => Ok(()),
            Some(last) => {
                let message = format!(
                    "{} documents cannot be read; all others are there",
                    self.count
                );
                Err(Failure { message, ..last })
            }
        }
    }
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::new(
        Exit::Store,
        "protocol",
        format!("unexpected answer: {reply:?}"),
    )
    .hint("both processes must be the same version of this program")
}

/// Completes when the user or the system asks the process to end.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => if result.is_err() { std::future::pending::<()>().await },
        () = terminate => {}
    }
}

/// Completes when the process is asked to read its settings again.
pub(crate) async fn hung_up() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::hangup()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}
