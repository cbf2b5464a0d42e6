//! HTTP: messages by `PUT /fp`, WebSockets at `/ws`, objects below `/store`, and how the server is.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, put};
use firebrick_core::cloud::AttachUrl;
use tracing::{Instrument, Span};

use crate::dispatch::{Answer, App, Via};
use crate::metrics::Traffic;
use crate::{admin, objects, socket, trace};

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/fp", put(message))
        .route("/ws", get(upgrade))
        .route(
            "/store/{tenant}/{ledger}/{store}/{key}",
            any(objects::serve),
        )
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(middleware::from_fn(cors))
        .merge(admin::router(&app))
        .layer(middleware::from_fn(trace::follow))
        .with_state(app)
}

/// Browsers may use everything: whoever has a token or a signed URL is let in, whatever page they are on.
async fn cors(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        let mut response = StatusCode::OK.into_response();
        for (name, value) in [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                "GET,POST,OPTIONS,PUT,DELETE",
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Origin, Content-Type, Accept",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response
}

async fn message(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let reading = axum::body::to_bytes(body, app.limits.message);
    let bytes = match tokio::time::timeout(app.limits.transfer, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let text = format!("a message has at most {} bytes here", app.limits.message);
            return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
        }
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let mut via = Via {
        base: base(&app, &headers),
        outbox: None,
        traffic: Arc::new(Traffic::default()),
        names: BTreeSet::new(),
    };
    let (status, message) = match app.answer(&bytes, &mut via).await {
        Answer::Done(message) => (StatusCode::OK, message),
        Answer::Failed(message) => (StatusCode::INTERNAL_SERVER_ERROR, message),
        Answer::Garbled(message) => (StatusCode::BAD_REQUEST, message),
        // Only over a WebSocket.
        Answer::Sent => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let text = message.encode();
    via.traffic.received.add(bytes.len() as u64);
    for traffic in [&*via.traffic, &app.metrics.messages_traffic] {
        traffic.sent.add(text.len() as u64);
    }
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, text).into_response()
}

async fn upgrade(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !app.websockets || app.drain.is_cancelled() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let base = base(&app, &headers);
    let limit = app.limits.message;
    // Everything on the WebSocket has the id of the request that it began with.
    let span = Span::current();
    upgrade
        // Thousands of idle connections should cost little.
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| {
            let sockets = app.sockets.clone();
            sockets.track_future(socket::run(app, socket, base).instrument(span))
        })
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.drain.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server ends").into_response();
    }
    match app.metas.check().await {
        Ok(()) => "ready".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

/// How the client reaches the server. Without a setting that is the name that it has used itself, which
/// only goes into URLs for that client.
fn base(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.public_url {
        return url.clone();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let tls = app.tls.is_some() || text("x-forwarded-proto") == Some("https");
    let host = text("host").and_then(|host| AttachUrl::new(host, tls).ok());
    let scheme = if tls { "https" } else { "http" };
    let host = host.as_ref().map_or("localhost", AttachUrl::authority);
    format!("{scheme}://{host}")
}
