//! A WebSocket: reads requests one after the other, writes answers and events from its outbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::dispatch::{Answer, App, Via};
use crate::hub::Outbox;
use crate::metrics::{Metrics, Traffic};

/// How long the other side may take to hear of the end.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) async fn run(app: Arc<App>, socket: WebSocket, base: String) {
    let limits = &app.limits;
    let begun = Instant::now();
    let _present = app.metrics.websockets.enter();
    let traffic = Arc::new(Traffic::default());
    let outbox = Outbox::new(limits.queue_messages, limits.queue_bytes);
    let (sink, stream) = socket.split();
    let code = Arc::new(AtomicU16::new(close_code::NORMAL));
    let writer = Writer {
        sink,
        outbox: outbox.clone(),
        traffic: traffic.clone(),
        metrics: app.metrics.clone(),
        ping: limits.ping,
        patience: limits.transfer,
    };
    let writing = tokio::spawn(writer.run(code.clone()).in_current_span());
    let mut via = Via {
        base,
        outbox: Some(outbox.clone()),
        traffic: traffic.clone(),
        names: BTreeSet::new(),
    };
    let ended = read(&app, stream, &mut via).await;
    tracing::info!(
        code = ended,
        received = traffic.received.get(),
        sent = traffic.sent.get(),
        seconds = begun.elapsed().as_secs(),
        "a WebSocket ended"
    );
    code.store(ended, Ordering::Relaxed);
    for name in std::mem::take(&mut via.names) {
        if let Some(connection) = app.hub.find(&name)
            && connection.is_on(via.outbox.as_ref())
        {
            app.hub.remove(&connection).await;
        }
    }
    // The writer sends what waits, and ends.
    outbox.end();
    let abort = writing.abort_handle();
    if outbox.overflow.is_cancelled() || timeout(FAREWELL, writing).await.is_err() {
        abort.abort();
    }
}

/// Until the end, whose reason is returned.
async fn read(app: &App, mut stream: SplitStream<WebSocket>, via: &mut Via) -> u16 {
    let Some(overflow) = via.outbox.as_ref().map(|outbox| outbox.overflow.clone()) else {
        return close_code::ERROR;
    };
    // Each ping is answered, so this long nothing is silent.
    let silence = app.limits.ping * 5 / 2;
    // Whoever has no token does not stay.
    let opened = Instant::now() + app.limits.transfer;
    loop {
        let now = Instant::now();
        let until = match via.names.is_empty() {
            // Frames that are there are read before the clock is looked at.
            true if now > opened => return close_code::POLICY,
            true => opened.min(now + silence),
            false => now + silence,
        };
        let frame = tokio::select! {
            biased;
            () = overflow.cancelled() => {
                tracing::info!("a slow reader is disconnected");
                app.metrics.overflows.add(1);
                return close_code::AGAIN;
            }
            () = app.drain.cancelled() => return close_code::AWAY,
            frame = timeout_at(until, stream.next()) => frame,
        };
        let bytes = match frame {
            Ok(Some(Ok(Frame::Binary(bytes)))) => bytes,
            Ok(Some(Ok(Frame::Text(text)))) => Bytes::from(text),
            Ok(Some(Ok(Frame::Ping(_) | Frame::Pong(_)))) => continue,
            Ok(Some(Ok(Frame::Close(_))) | None) => return close_code::NORMAL,
            Ok(Some(Err(error))) => {
                tracing::info!(%error, "a WebSocket fails");
                return close_code::SIZE;
            }
            Err(_) => return close_code::POLICY,
        };
        via.traffic.received.add(bytes.len() as u64);
        // On the heap, or each idle connection would hold a place for it.
        let answer = match Box::pin(app.answer(&bytes, via)).await {
            Answer::Done(answer) | Answer::Failed(answer) | Answer::Garbled(answer) => answer,
            Answer::Sent => continue,
        };
        if let Some(outbox) = &via.outbox {
            outbox.push(answer.encode());
        }
    }
}

struct Writer {
    sink: SplitSink<WebSocket, Frame>,
    outbox: Arc<Outbox>,
    traffic: Arc<Traffic>,
    metrics: Arc<Metrics>,
    ping: Duration,
    /// How long a message may take to be taken.
    patience: Duration,
}

impl Writer {
    async fn run(mut self, code: Arc<AtomicU16>) {
        if self.write().await.is_err() {
            // The reader has noticed too, or is told now.
            self.outbox.overflow.cancel();
            return;
        }
        let close = CloseFrame {
            code: code.load(Ordering::Relaxed),
            reason: "".into(),
        };
        // The other side may be gone.
        let _ = self.sink.send(Frame::Close(Some(close))).await;
    }

    /// Until the end.
    async fn write(&mut self) -> Result<(), Stuck> {
        let mut pings = tokio::time::interval_at(Instant::now() + self.ping, self.ping);
        let patience = self.patience;
        loop {
            tokio::select! {
                batch = self.outbox.next() => {
                    let Some(batch) = batch else { return Ok(()) };
                    // What waits together goes out in few packets.
                    for message in batch {
                        let len = message.len();
                        let frame = Frame::Binary(message.into_bytes());
                        timeout(patience, self.sink.feed(frame)).await??;
                        self.outbox.sent(len);
                        for traffic in [&*self.traffic, &self.metrics.messages_traffic] {
                            traffic.sent.add(len as u64);
                        }
                    }
                }
                _ = pings.tick() => {
                    let frame = Frame::Ping(Bytes::new());
                    timeout(patience, self.sink.feed(frame)).await??;
                }
            }
            timeout(patience, self.sink.flush()).await??;
        }
    }
}

/// The other side takes nothing more.
struct Stuck;

impl From<Elapsed> for Stuck {
    fn from(_: Elapsed) -> Self {
        Self
    }
}

impl From<axum::Error> for Stuck {
    fn from(_: axum::Error) -> Self {
        Self
    }
}
