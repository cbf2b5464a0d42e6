//! Listening.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;

use crate::dispatch::App;
use crate::http;
use crate::metrics::Present;

/// How long a client may take to agree upon TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Until the end has begun, and all that had begun before it has ended.
pub(crate) async fn accept(listener: TcpListener, app: Arc<App>) {
    let slots = Arc::new(Semaphore::new(app.limits.connections));
    let connections = TaskTracker::new();
    let router = http::router(app.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.drain.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: others have to end first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!("too many connections");
            app.metrics.network_refused.add(1);
            continue;
        };
        // Messages are small and waited for.
        let _ = stream.set_nodelay(true);
        let place = (slot, app.metrics.network.enter());
        connections.spawn(begin(stream, place, router.clone(), app.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn begin(stream: TcpStream, place: Place, router: Router, app: Arc<App>) {
    let Some(stream) = agree(stream, &app).await else {
        return;
    };
    let held = Held {
        stream,
        _place: place,
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.limits.transfer)
        .serve_connection(TokioIo::new(held), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    // A client that goes away is no news.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = app.drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Agrees upon TLS, if that is wished. `None` if it failed, or if the end begins before.
async fn agree(stream: TcpStream, app: &App) -> Option<Stream> {
    let Some(tls) = &app.tls else {
        return Some(Either::Left(stream));
    };
    let handshake = tls.acceptor.accept(stream);
    let agreed = tokio::select! {
        agreed = tokio::time::timeout(HANDSHAKE, handshake) => agreed,
        () = app.drain.cancelled() => return None,
    };
    let cause = match agreed {
        Ok(Ok(stream)) => return Some(Either::Right(Box::new(stream))),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "nothing came in time".into(),
    };
    app.metrics.tls_refused.add(1);
    tracing::debug!(cause, "a connection did not agree upon TLS");
    None
}

/// Boxed, so that one without TLS is no larger for it.
type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

type Place = (OwnedSemaphorePermit, Present);

/// A stream that has its place among the connections as long as it lives: a WebSocket outlives the
/// request that it began with.
struct Held {
    stream: Stream,
    _place: Place,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
