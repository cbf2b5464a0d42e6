//! Serving other commands while this one has the database open.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::REPLIES_AT_ONCE;
use super::address::{self, Address};
use super::client::MESSAGE_BYTES;
use super::protocol::{Reply, Request};
use super::service::Service;
use crate::failure::{Exit, Failure, Result};

/// Requests that are answered at the same time; more wait.
const REQUESTS_AT_ONCE: usize = 64;
/// How long requests under way may take at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// A running server; it ends by [`Server::stop`].
#[derive(Debug)]
pub(crate) struct Server {
    address: Address,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens. The caller holds the database's lock, so a socket that is there is a leftover.
    pub(crate) fn start(service: &Service) -> Result<Server> {
        let address = Address::of(service.path()).map_err(|e| cannot_listen(&e))?;
        address.prepare().map_err(|e| cannot_listen(&e))?;
        let _ = fs::remove_file(address.path());
        let listener = UnixListener::bind(address.path()).map_err(|e| cannot_listen(&e))?;
        fs::set_permissions(address.path(), fs::Permissions::from_mode(0o600))
            .map_err(|e| cannot_listen(&e))?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, address.clone(), service.clone(), stopped));
        Ok(Server {
            address,
            stop,
            task,
        })
    }

    /// Takes no more requests, lets those under way finish, ends those that never would.
    pub(crate) async fn stop(self) {
        let _ = fs::remove_file(self.address.path());
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn accept(
    listener: UnixListener,
    address: Address,
    service: Service,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
    let mut requests = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of file handles, most likely: let others end first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = stopped.changed() => break,
        };
        while requests.try_join_next().is_some() {}
        if !address::is_ours(&stream, &address) {
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let (service, stopped) = (service.clone(), stopped.clone());
        requests.spawn(async move {
            // A client that goes away is no error of ours.
            let _ = serve(stream, service, stopped).await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_REQUESTS, async {
        while requests.join_next().await.is_some() {}
    })
    .await;
}

async fn serve(
    stream: UnixStream,
    service: Service,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (read, write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut write = BufWriter::new(write);
    let mut line = Vec::new();
    {
        let mut bounded = (&mut lines).take(MESSAGE_BYTES);
        tokio::select! {
            read = bounded.read_until(b'\n', &mut line) => drop(read?),
            _ = stopped.changed() => return Ok(()),
        }
    }
    if line.last() != Some(&b'\n') {
        let failure = Failure::bad_input("the request is no line, or too long a line");
        return send(&mut write, &Reply::Failed(failure)).await;
    }
    let request: Request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => {
            let failure = Failure::new(
                Exit::BadInput,
                "protocol",
                format!("the request cannot be understood: {error}"),
            )
            .hint("both processes must be the same version of this program");
            return send(&mut write, &Reply::Failed(failure)).await;
        }
    };
    drop(line);
    let endless = request.is_endless();
    let (replies, mut answers) = mpsc::channel(REPLIES_AT_ONCE);
    let answering = tokio::spawn(async move { service.answer(request, replies).await });
    let result = pass_on(
        &mut answers,
        &mut lines,
        &mut write,
        endless.then_some(&mut stopped),
    )
    .await;
    drop(answers);
    if endless {
        answering.abort();
    }
    let _ = answering.await;
    result
}

/// Writes the answers as they come; flushes whenever there is nothing more to write at once.
async fn pass_on(
    answers: &mut mpsc::Receiver<Reply>,
    client: &mut (impl AsyncReadExt + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
    mut stopped: Option<&mut watch::Receiver<bool>>,
) -> std::io::Result<()> {
    let mut byte = [0_u8];
    loop {
        let stop = async {
            match stopped.as_mut() {
                Some(stopped) => drop(stopped.changed().await),
                None => std::future::pending().await,
            }
        };
        let reply = tokio::select! {
            reply = answers.recv() => reply,
            // The client says nothing more: this is its end.
            _ = client.read(&mut byte) => return Ok(()),
            () = stop => return Ok(()),
        };
        let Some(reply) = reply else {
            return write.flush().await;
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        write.write_all(&line).await?;
        if answers.is_empty() {
            write.flush().await?;
        }
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    write.flush().await
}

fn cannot_listen(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Store,
        "socket",
        format!("other commands cannot reach this one: {error}"),
    )
}
