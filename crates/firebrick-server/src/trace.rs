//! What is logged: each request has an id, each line below it names that.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use data_encoding::HEXLOWER;
use firebrick_core::cloud::Message;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::ids::LedgerId;
use crate::watched::watch;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_LEN: usize = 64;
/// What clients say is cut off there.
const MAX_TEXT_LEN: usize = 128;
/// Who asks for these asks all the time.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What clients say, fit for one line of a log.
pub(crate) struct Printable<T>(pub(crate) T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>, usize);

        impl fmt::Write for Filter<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for c in text.chars() {
                    if self.1 == 0 {
                        return Ok(());
                    }
                    self.1 -= 1;
                    self.0
                        .write_char(if c.is_control() { '\u{FFFD}' } else { c })?;
                }
                Ok(())
            }
        }

        write!(Filter(f, MAX_TEXT_LEN), "{}", self.0)
    }
}

pub(crate) fn milliseconds(took: Duration) -> f64 {
    took.as_micros() as f64 / 1000.0
}

/// Of a message: what it is, and on whose behalf. Errors have their spans whatever is logged besides.
pub(crate) fn message(message: &Message) -> Span {
    let span = tracing::error_span!(
        "message",
        kind = message.kind(),
        tid = %Printable(&message.tid),
        connection = Empty,
        tenant = Empty,
        ledger = Empty,
    );
    if let Some(conn) = message.body.conn() {
        let res_id = conn.res_id.unwrap_or_default();
        let name = Printable(format!("{}:{res_id}", conn.req_id));
        span.record("connection", tracing::field::display(name));
    }
    span
}

/// The ledger that the message is about.
pub(crate) fn ledger(id: &LedgerId) {
    let span = Span::current();
    span.record("tenant", id.tenant.as_str());
    span.record("ledger", id.ledger.as_str());
}

/// Gives a request its id, and logs how it ended.
pub(crate) async fn follow(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    // Without the query, which may have a signature.
    let path = Printable(request.uri().path()).to_string();
    let span = tracing::error_span!("request", id = %id, %method, path);
    let received = Arc::new(AtomicU64::new(0));
    let request = request.map(|body| {
        let received = received.clone();
        watch(body, move |len| received.store(len, Ordering::Relaxed))
    });
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    let is_probe = PROBES.contains(&path.as_str());
    response.map(|body| {
        watch(body, move |sent| {
            let _in = span.entered();
            let received = received.load(Ordering::Relaxed);
            let ms = milliseconds(begun.elapsed());
            if is_probe {
                tracing::debug!(status, received, sent, ms, "answered");
            } else {
                tracing::info!(status, received, sent, ms, "answered");
            }
        })
    })
}

/// The one that comes along if it can be one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    match given {
        Some(id) if (1..=MAX_ID_LEN).contains(&id.len()) && id.bytes().all(is_plain) => id.into(),
        _ => {
            let mut random = [0; 12];
            match getrandom::fill(&mut random) {
                Ok(()) => HEXLOWER.encode(&random),
                // Without an id the request is answered all the same.
                Err(_) => "none".into(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_fit_into_a_line() {
        assert_eq!(
            Printable("a\nb\u{1b}[1mc").to_string(),
            "a\u{FFFD}b\u{FFFD}[1mc"
        );
        assert_eq!(Printable("é".repeat(500)).to_string(), "é".repeat(128));
    }

    #[test]
    fn ids() {
        let headers = |id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(id));
            headers
        };
        assert_eq!(request_id(&headers("Abc-1_2.3")), "Abc-1_2.3");
        let long: &str = "x".repeat(65).leak();
        for odd in ["", "a b", "a=b", "\"", long] {
            let id = request_id(&headers(odd));
            assert_eq!(id.len(), 24, "{odd}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
