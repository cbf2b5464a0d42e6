//! Messages over a WebSocket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::cloud::{Body, MAX_MESSAGE_LEN, Message};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::link::ANSWER;
use super::network::Task;
use super::refusal::wrong_answer;
use crate::gateway::{GatewayError, GatewayErrorKind, GatewayResult};
use crate::lock::lock;

/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(20);
/// After this silence it is not.
const SILENCE: Duration = Duration::from_secs(50);
/// How long a frame may take to go out.
const SEND: Duration = Duration::from_secs(30);
/// Requests that wait to be sent.
const QUEUE: usize = 64;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Message>>>>;

/// An open WebSocket. Ends when dropped.
pub(super) struct Socket {
    queue: mpsc::Sender<String>,
    waiting: Waiting,
    closed: watch::Sender<bool>,
    _task: Task,
}

impl Socket {
    /// Opens one. `events` is given every event, in order.
    pub(super) async fn open(
        url: &str,
        events: impl Fn(Message) -> bool + Send + Sync + 'static,
    ) -> GatewayResult<Self> {
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_MESSAGE_LEN);
        config.max_frame_size = Some(MAX_MESSAGE_LEN);
        let opening = connect_async_with_config(url, Some(config), true);
        let failed = |cause: String| {
            GatewayError::new(
                GatewayErrorKind::Unavailable,
                format!("no WebSocket can be opened: {cause}"),
            )
        };
        let (stream, _) = match timeout(ANSWER, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("no answer in time".into())),
        };
        let (queue, requests) = mpsc::channel(QUEUE);
        let waiting = Waiting::default();
        let closed = watch::Sender::new(false);
        let task = Task::spawn({
            let (waiting, closed) = (waiting.clone(), closed.clone());
            async move {
                let (sink, stream) = stream.split();
                let heard = Mutex::new(Instant::now());
                // Whichever ends first ends the other.
                let cause = tokio::select! {
                    cause = write(sink, requests, &heard) => cause,
                    cause = read(stream, &waiting, &heard, events) => cause,
                };
                tracing::debug!(cause, "the WebSocket ended");
                closed.send_replace(true);
                // Whoever waits is told by this.
                lock(&waiting).clear();
            }
        });
        Ok(Self {
            queue,
            waiting,
            closed,
            _task: task,
        })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(&self, message: &Message) -> GatewayResult<Message> {
        let lost = || {
            GatewayError::new(
                GatewayErrorKind::Unavailable,
                "the connection to the server was lost; it is opened again",
            )
        };
        let (sender, answer) = oneshot::channel();
        let _entry = Entry::new(&self.waiting, &message.tid, sender);
        if self.is_closed() {
            return Err(lost());
        }
        let answered = timeout(ANSWER, async {
            self.queue.send(message.encode()).await.ok()?;
            answer.await.ok()
        });
        match answered.await {
            Ok(answer) => answer.ok_or_else(lost),
            Err(_) => {
                // Whatever is the matter, a new one may do better.
                self.end();
                Err(GatewayError::new(
                    GatewayErrorKind::Unavailable,
                    format!("no answer to {} in time", message.kind()),
                ))
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(super) fn end(&self) {
        self.closed.send_replace(true);
    }

    /// Returns when it has ended.
    pub(super) async fn ended(&self) {
        // The sender is `self`'s.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

/// Somebody who waits for an answer. Forgotten with the wait.
struct Entry<'a> {
    waiting: &'a Waiting,
    tid: &'a str,
}

impl<'a> Entry<'a> {
    fn new(waiting: &'a Waiting, tid: &'a str, sender: oneshot::Sender<Message>) -> Self {
        lock(waiting).insert(tid.to_owned(), sender);
        Self { waiting, tid }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(self.tid);
    }
}

/// Sends requests and pings until that fails; says why.
async fn write(
    mut sink: SplitSink<Stream, Frame>,
    mut requests: mpsc::Receiver<String>,
    heard: &Mutex<Instant>,
) -> String {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            request = requests.recv() => match request {
                // Binary, as JavaScript sends it.
                Some(request) => Frame::Binary(request.into()),
                None => return "nobody asks any more".into(),
            },
            _ = pings.tick() => {
                if lock(heard).elapsed() > SILENCE {
                    return "the server is silent".into();
                }
                Frame::Ping(Bytes::new())
            }
        };
        match timeout(SEND, sink.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the server takes nothing".into(),
        }
    }
}

/// Receives answers and events until that fails; says why.
async fn read(
    mut stream: SplitStream<Stream>,
    waiting: &Waiting,
    heard: &Mutex<Instant>,
    events: impl Fn(Message) -> bool,
) -> String {
    loop {
        let frame = match stream.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return error.to_string(),
            None => return "the server has closed it".into(),
        };
        *lock(heard) = Instant::now();
        let bytes = match frame {
            Frame::Binary(bytes) => bytes,
            Frame::Text(text) => Bytes::from(text),
            Frame::Close(_) => return "the server closes it".into(),
            Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => continue,
        };
        let message = match Message::parse(&bytes) {
            Ok(message) => message,
            // One that is not understood is as if it had not come: whoever waits for it gives up.
            Err(rejected) => {
                tracing::debug!(error = %wrong_answer(&rejected), "a message is left out");
                continue;
            }
        };
        if matches!(message.body, Body::EventGetMeta { .. }) {
            if !events(message) {
                return "the server sends too much".into();
            }
            continue;
        }
        if let Some(waiter) = lock(waiting).remove(&message.tid) {
            // It may have given up.
            let _ = waiter.send(message);
        }
    }
}
