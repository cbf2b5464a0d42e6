//! CARs over HTTP, by signed URLs.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use firebrick_core::cloud::Verb;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::cars::CarStoreError;
use crate::clock::now;
use crate::dispatch::App;
use crate::ids::{LedgerId, ObjectId};
use crate::signed::Target;
use crate::watched::watch;

pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    Path((tenant, ledger, store, key)): Path<(String, String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    method: Method,
    body: Body,
) -> Response {
    let verb = match method {
        Method::GET => Verb::Get,
        Method::PUT => Verb::Put,
        Method::DELETE => Verb::Delete,
        _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
    };
    let field = |name: &str| query.get(name).map_or("", String::as_str);
    let forbidden = |text: String| (StatusCode::FORBIDDEN, text).into_response();
    let ledger = match LedgerId::new(&tenant, &ledger) {
        Ok(ledger) => ledger,
        Err(error) => return forbidden(error.to_string()),
    };
    let target = Target {
        verb,
        ledger: &ledger,
        store: &store,
        key: &key,
        expires: field("x-exp").parse().unwrap_or(0),
    };
    if let Err(error) = app.signer.check(&target, field("x-sig"), now()) {
        return forbidden(error.to_string());
    }
    let Ok(object) = ObjectId::new(ledger.clone(), &store, &key) else {
        // Signed, but nothing that is stored here: the unused URLs of metas.
        return StatusCode::NOT_FOUND.into_response();
    };
    let begun = Instant::now();
    let account = app.ledgers.of(&ledger);
    let done = match verb {
        Verb::Get => match app.cars.get(object).await {
            Ok(Some(found)) => {
                let sending = app.clone();
                let body = watch(Body::from_stream(found.body), move |sent| {
                    sending.metrics.car_get.observe(begun.elapsed());
                    sending.metrics.cars_traffic.sent.add(sent);
                    account.traffic.sent.add(sent);
                });
                return send(found.len, body);
            }
            Ok(None) => return StatusCode::NOT_FOUND.into_response(),
            Err(error) => Err(error),
        },
        Verb::Put => {
            let arriving = (app.clone(), account.clone());
            let body = steady(body.into_data_stream(), app.limits.transfer);
            let body = body.inspect_ok(move |piece| {
                let (app, account) = &arriving;
                for traffic in [&app.metrics.cars_traffic, &account.traffic] {
                    traffic.received.add(piece.len() as u64);
                }
            });
            let done = app.cars.put(object, body.boxed(), app.limits.object).await;
            app.metrics.car_put.observe(begun.elapsed());
            if done.is_ok() {
                account.written();
            }
            done
        }
        Verb::Delete => app.cars.delete(object).await,
    };
    match done {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let status = match &error {
                CarStoreError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
                CarStoreError::Body(_) => StatusCode::BAD_REQUEST,
                CarStoreError::Io(cause) if cause.kind() == io::ErrorKind::StorageFull => {
                    StatusCode::INSUFFICIENT_STORAGE
                }
                CarStoreError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            tracing::warn!(%error, %ledger, key, "a CAR cannot be stored or read");
            (status, error.to_string()).into_response()
        }
    }
}

fn send(len: u64, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, len.into());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Fails when nothing comes for a while.
fn steady(body: BodyDataStream, patience: Duration) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(patience, body.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
    .boxed()
}
