//! A WebSocket: reads requests one after the other, writes answers and events from its outbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
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
    let (outbox, queue) = Outbox::new(limits.queue_messages, limits.queue_bytes);
    let (sink, stream) = socket.split();
    let code = Arc::new(AtomicU16::new(close_code::NORMAL));
    let writer = Writer {
        sink,
        queue,
        outbox: outbox.clone(),
        traffic: traffic.clone(),
        metrics: app.metrics.clone(),
        ping: limits.ping,
        patience: limits.transfer,
    };
    let writing = tokio::spawn(writer.run(code.clone()).in_current_span());
    let overflow = outbox.overflow.clone();
    let mut via = Via {
        base,
        outbox: Some(outbox),
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
    // The last one to hold the outbox: the writer sends what waits, and ends.
    drop(via);
    let abort = writing.abort_handle();
    if overflow.is_cancelled() || timeout(FAREWELL, writing).await.is_err() {
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
        let answer = match app.answer(&bytes, via).await {
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
    queue: mpsc::Receiver<String>,
    outbox: Arc<Outbox>,
    traffic: Arc<Traffic>,
    metrics: Arc<Metrics>,
    ping: Duration,
    patience: Duration,
}

impl Writer {
    async fn run(self, code: Arc<AtomicU16>) {
        let Self {
            mut sink,
            mut queue,
            outbox,
            traffic,
            metrics,
            ping,
            patience,
        } = self;
        // Held weakly, so that the queue ends when the reader has gone.
        let outbox = {
            let weak = Arc::downgrade(&outbox);
            drop(outbox);
            weak
        };
        let mut pings = tokio::time::interval_at(Instant::now() + ping, ping);
        loop {
            let (frame, len) = tokio::select! {
                text = queue.recv() => match text {
                    Some(text) => {
                        let len = text.len();
                        (Frame::Binary(text.into()), len)
                    }
                    None => break,
                },
                _ = pings.tick() => (Frame::Ping(Bytes::new()), 0),
            };
            match timeout(patience, sink.send(frame)).await {
                Ok(Ok(())) => {}
                // The reader has noticed too, or is told now.
                Ok(Err(_)) | Err(_) => {
                    if let Some(outbox) = outbox.upgrade() {
                        outbox.overflow.cancel();
                    }
                    return;
                }
            }
            if let Some(outbox) = outbox.upgrade() {
                outbox.sent(len);
            }
            for traffic in [&*traffic, &metrics.messages_traffic] {
                traffic.sent.add(len as u64);
            }
        }
        let close = CloseFrame {
            code: code.load(Ordering::Relaxed),
            reason: "".into(),
        };
        // The other side may be gone.
        let _ = sink.send(Frame::Close(Some(close))).await;
    }
}
