//! CARs over HTTP, by signed URLs.

use std::collections::HashMap;
use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use firebrick_core::cloud::Verb;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::cars::{CarStoreError, discard};
use crate::clock::now;
use crate::dispatch::App;
use crate::ids::{LedgerId, ObjectId};
use crate::ledgers::Ledger;
use crate::lock::lock;
use crate::signed::Target;
use crate::tenants::{Arriving, OverQuota};
use crate::watched::watch;

/// So much of a body that is refused is read, in bytes.
const UNREAD: usize = 8 << 20;

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
    if let Err(refusal) = app.wait_for_turn(&account.tenant).await {
        let later = [(header::RETRY_AFTER, "1")];
        return (StatusCode::TOO_MANY_REQUESTS, later, refusal.to_string()).into_response();
    }
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
            let done = receive(&app, &account, object, body).await;
            app.metrics.car_put.observe(begun.elapsed());
            done
        }
        Verb::Delete => delete(&app, &account, object).await,
    };
    match done {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let cause = match &error {
                CarStoreError::Unavailable { cause } => cause,
                _ => "",
            };
            tracing::warn!(%error, cause, %ledger, key, "a CAR cannot be stored or read");
            refuse(&error)
        }
    }
}

fn refuse(error: &CarStoreError) -> Response {
    let status = match error {
        CarStoreError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
        CarStoreError::Body(cause) => match quota(cause) {
            Some(over) => {
                return (StatusCode::INSUFFICIENT_STORAGE, over.to_string()).into_response();
            }
            None => StatusCode::BAD_REQUEST,
        },
        CarStoreError::Io(cause) if cause.kind() == io::ErrorKind::StorageFull => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        CarStoreError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        CarStoreError::Io(_) | CarStoreError::Config(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string()).into_response()
}

/// What ended a body, if that was the tenant's quota.
fn quota(cause: &io::Error) -> Option<&OverQuota> {
    cause.get_ref()?.downcast_ref()
}

async fn receive(
    app: &Arc<App>,
    ledger: &Arc<Ledger>,
    object: ObjectId,
    body: Body,
) -> Result<(), CarStoreError> {
    let mut body = steady(body.into_data_stream(), app.limits.transfer);
    let over = |over| CarStoreError::Body(io::Error::other(over));
    // There it takes no room again: the first copy stays.
    let known = app.cars.contains(object.clone()).await;
    if !matches!(known, Ok(true))
        && let Err(refused) = ledger.claim_car()
    {
        // A client that is still sending would take an early answer for a failure of the network.
        let mut rest = UNREAD;
        while let Some(Ok(piece)) = body.next().await
            && rest > piece.len()
        {
            rest -= piece.len();
        }
        return Err(over(refused));
    }
    let known = known?;
    let (metrics, account) = (app.metrics.clone(), ledger.clone());
    let body = body.inspect_ok(move |piece| {
        for traffic in [&metrics.cars_traffic, &account.traffic] {
            traffic.received.add(piece.len() as u64);
        }
    });
    let limit = app.limits.object;
    if known {
        return discard(body.boxed(), limit).await;
    }
    let arriving = Arc::new(Mutex::new(Arriving::new(ledger.tenant.clone())));
    let room = arriving.clone();
    let body = body.and_then(move |piece| {
        let grown = lock(&room).grow(piece.len() as u64);
        ready(grown.map(|()| piece).map_err(io::Error::other))
    });
    app.cars.put(object, body.boxed(), limit).await?;
    ledger.car_added(lock(&arriving).bytes());
    Ok(())
}

async fn delete(app: &App, ledger: &Ledger, object: ObjectId) -> Result<(), CarStoreError> {
    let len = app.cars.get(object.clone()).await?.map(|found| found.len);
    app.cars.delete(object).await?;
    if let Some(len) = len {
        ledger.car_deleted(len);
    }
    Ok(())
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
