//! A command's way to its database. If this process can open it, requests are answered here;
//! if another process has it open, that one answers over a local socket.

mod address;
mod client;
pub(crate) mod protocol;
mod server;
mod service;

use std::path::Path;
use std::time::Duration;

use firebrick::{Database, Durability};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::args::{DurabilityArg, Global};
use crate::failure::{Exit, Failure, Result};
use address::Address;
use client::RemoteReplies;
use protocol::{Reply, Request};
use server::Server;
use service::Service;

pub(crate) use client::HOLDER_GONE;

/// Replies that may wait to be read, so that a listing never runs ahead of its reader.
const REPLIES_AT_ONCE: usize = 64;
/// The pause between two tries to get at a database that is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(40);

/// What a command wants to do with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read what is there, beside whoever writes: a long listing keeps nobody from writing.
    Read,
    /// Look at its state, and leave it as it is; beside a writer if need be.
    Look,
    /// Write, or be told of changes; the database must exist.
    Write,
    /// Write, and make the database if there is none.
    Create,
}

/// A database that is open here or in another process.
#[derive(Debug)]
pub(crate) struct Session {
    global: Global,
    access: Access,
    remembered: bool,
    end: End,
}

#[derive(Debug)]
enum End {
    Here {
        service: Service,
        server: Option<Server>,
    },
    There(Address),
}

impl Session {
    /// Opens the database, or finds who has it open. With `remembered`, a database that is opened
    /// here connects to its remotes.
    pub(crate) async fn open(global: &Global, access: Access, remembered: bool) -> Result<Session> {
        let end = find(global, access, remembered).await?;
        Ok(Session {
            global: global.clone(),
            access,
            remembered,
            end,
        })
    }

    /// Whether this process has the database open.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.end, End::Here { .. })
    }

    /// From now on other commands can use the database through this process.
    pub(crate) fn serve(&mut self) -> Result<()> {
        if let End::Here {
            service,
            server: server @ None,
        } = &mut self.end
        {
            *server = Some(Server::start(service)?);
        }
        Ok(())
    }

    /// Looks for the database again, after the process that had it went away.
    pub(crate) async fn find_again(&mut self) -> Result<()> {
        self.end = find(&self.global, self.access, self.remembered).await?;
        Ok(())
    }

    /// Asks, and returns the replies as they come.
    pub(crate) async fn call(&mut self, request: Request) -> Result<Replies> {
        loop {
            let address = match &self.end {
                End::Here { service, .. } => {
                    let (sender, receiver) = mpsc::channel(REPLIES_AT_ONCE);
                    let service = service.clone();
                    tokio::spawn(async move { service.answer(request, sender).await });
                    return Ok(Replies::Here(receiver));
                }
                End::There(address) => address,
            };
            match client::connect(address).await {
                Some(stream) => return client::send(stream, &request).await.map(Replies::There),
                None => self.find_again().await?,
            }
        }
    }

    /// Asks for one reply.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Reply> {
        let mut replies = self.call(request).await?;
        let reply = replies.next().await?;
        reply.ok_or_else(|| Failure::new(Exit::Store, "protocol", "the request got no answer"))
    }

    /// Lets go of the database; returns how many commits each remote still lacks.
    pub(crate) async fn close(self) -> Result<Vec<(String, usize)>> {
        let End::Here { service, server } = self.end else {
            return Ok(Vec::new());
        };
        if let Some(server) = server {
            server.stop().await;
        }
        Ok(service.close().await?)
    }
}

/// The answers to one request.
#[derive(Debug)]
pub(crate) enum Replies {
    Here(mpsc::Receiver<Reply>),
    There(RemoteReplies),
}

impl Replies {
    /// The next reply; `None` when the request is done.
    pub(crate) async fn next(&mut self) -> Result<Option<Reply>> {
        let reply = match self {
            // A task that ended without `Done` panicked, or the database was closed under it.
            Replies::Here(receiver) => receiver.recv().await.ok_or_else(|| {
                Failure::new(
                    Exit::Store,
                    "closed",
                    "the database was closed before the request was done",
                )
            })?,
            Replies::There(replies) => replies.next().await?,
        };
        match reply {
            Reply::Done => Ok(None),
            Reply::Failed(failure) => Err(failure),
            reply => Ok(Some(reply)),
        }
    }
}

async fn find(global: &Global, access: Access, remembered: bool) -> Result<End> {
    if access != Access::Create && !global.db.exists() {
        return Err(Failure::new(
            Exit::NotFound,
            "no_database",
            format!("there is no database at {}", global.db.display()),
        )
        .hint("name another with --db or FIREBRICK_DB; put, import and attach make a new one"));
    }
    if access == Access::Read
        && let Ok(database) = open(global, true, false).await
    {
        return Ok(here(global, database));
    }
    let deadline = Instant::now() + global.wait;
    loop {
        let locked = match open(global, false, remembered).await {
            Ok(database) => return Ok(here(global, database)),
            Err(error) => Failure::from(error),
        };
        if locked.kind == "bad_key" {
            // Nobody typed a key: it is the keybag's that does not fit.
            let failure = Failure {
                kind: "wrong_key".to_owned(),
                exit_code: Exit::Store,
                ..locked
            };
            return Err(failure.hint("is this the right --keybag, and the right --ledger?"));
        }
        if locked.kind != "locked" {
            return Err(locked);
        }
        if let Ok(address) = Address::of(&global.db)
            && client::connect(&address).await.is_some()
        {
            return Ok(End::There(address));
        }
        // Nobody to ask: reading works beside the writer, for the rest the writer must end.
        if matches!(access, Access::Read | Access::Look) {
            return Ok(here(global, open(global, true, false).await?));
        }
        if Instant::now() >= deadline {
            return Err(locked.hint(
                "another process has it open and does not take requests; end it, or wait longer with --wait",
            ));
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

fn here(global: &Global, database: Database) -> End {
    End::Here {
        service: Service::new(database, &global.db, global.insecure),
        server: None,
    }
}

async fn open(
    global: &Global,
    read_only: bool,
    remembered: bool,
) -> Result<Database, firebrick::Error> {
    builder(global, &global.db)
        .read_only(read_only)
        .remembered(remembered)
        .open()
        .await
}

/// The options that all commands open databases with.
pub(crate) fn builder(global: &Global, path: &Path) -> firebrick::Builder {
    let mut builder = Database::builder().path(path).insecure(global.insecure);
    if let Some(keybag) = &global.keybag {
        builder = builder.keybag(keybag);
    }
    if let Some(name) = &global.ledger {
        builder = builder.name(name);
    }
    match global.durability {
        Some(DurabilityArg::Buffered) => builder.durability(Durability::Buffered),
        Some(DurabilityArg::Sync) | None => builder.durability(Durability::Sync),
    }
}

impl From<DurabilityArg> for protocol::Durability {
    fn from(level: DurabilityArg) -> Self {
        match level {
            DurabilityArg::Sync => protocol::Durability::Sync,
            DurabilityArg::Buffered => protocol::Durability::Buffered,
        }
    }
}
