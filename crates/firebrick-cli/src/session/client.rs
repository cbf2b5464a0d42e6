//! Asking the process that has the database open: one connection per request.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use super::address::{self, Address};
use super::protocol::{Reply, Request};
use crate::failure::{Exit, Failure, Result};

/// The longest line that either side reads.
pub(crate) const MESSAGE_BYTES: u64 = 64 << 20;

/// The kind of a failure where the other process went away before it had answered.
pub(crate) const HOLDER_GONE: &str = "holder_gone";

/// Replies to one request, as lines from the socket.
#[derive(Debug)]
pub(crate) struct RemoteReplies {
    lines: BufReader<OwnedReadHalf>,
    buffer: Vec<u8>,
}

/// Connects, if somebody listens there.
pub(crate) async fn connect(address: &Address) -> Option<UnixStream> {
    let stream = UnixStream::connect(address.path()).await.ok()?;
    address::is_ours(&stream, address).then_some(stream)
}

/// Sends a request over a fresh connection.
pub(crate) async fn send(stream: UnixStream, request: &Request) -> Result<RemoteReplies> {
    let mut line = serde_json::to_vec(request).map_err(|e| Failure::bad_input(e.to_string()))?;
    line.push(b'\n');
    if line.len() as u64 > MESSAGE_BYTES {
        return Err(Failure::bad_input(format!(
            "the request has {} MiB; over the local socket it may have {}",
            line.len() >> 20,
            MESSAGE_BYTES >> 20
        ))
        .hint("stop the process that has the database open, or send less at once"));
    }
    let (read, mut write) = stream.into_split();
    write.write_all(&line).await.map_err(|_| gone())?;
    // The write half stays open inside `read`'s socket; the server reads one line only.
    write.forget();
    Ok(RemoteReplies {
        lines: BufReader::new(read),
        buffer: Vec::new(),
    })
}

impl RemoteReplies {
    pub(crate) async fn next(&mut self) -> Result<Reply> {
        self.buffer.clear();
        let read = (&mut self.lines)
            .take(MESSAGE_BYTES)
            .read_until(b'\n', &mut self.buffer)
            .await;
        if read.is_err() || self.buffer.last() != Some(&b'\n') {
            return Err(gone());
        }
        serde_json::from_slice(&self.buffer).map_err(|error| {
            Failure::new(
                Exit::Store,
                "protocol",
                format!("the process that has the database open answered: {error}"),
            )
            .hint("both must be the same version of this program")
        })
    }
}

fn gone() -> Failure {
    Failure::new(
        Exit::Store,
        HOLDER_GONE,
        "the process that had the database open ended before it answered",
    )
    .hint("look whether the change was made, and run the command again")
}
