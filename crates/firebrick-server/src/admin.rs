//! What is for whoever runs the server: behind a token of its own.

mod overview;
mod page;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use token::AdminToken;
pub(crate) use token::admin_token;

use crate::dispatch::App;
use crate::metrics::{CONTENT_TYPE, exposition};

/// Browsers may not use this from other pages, so it has no CORS headers.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/admin/api/overview", get(overview::overview))
        .route_layer(middleware::from_fn_with_state(app.clone(), guard))
        .merge(page::router())
}

/// Lets in who has the token.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !allowed(&app.admin_token, request.headers()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"firebrick\"")];
        let text = "the admin token is needed: Authorization: Bearer TOKEN";
        return (StatusCode::UNAUTHORIZED, challenge, text).into_response();
    }
    let mut response = next.run(request).await;
    let no_store = header::HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

fn allowed(token: &AdminToken, headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION);
    let value = value.and_then(|value| value.to_str().ok());
    let given = value.and_then(|value| value.split_once(' '));
    given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case("bearer") && token.is(given.trim())
    })
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match exposition(&app) {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
