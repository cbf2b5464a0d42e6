//! What the errors of a server mean.

use std::time::Duration;

use firebrick_core::cloud::ErrorBody;
use reqwest::StatusCode;

use crate::gateway::{GatewayError, GatewayErrorKind};

/// How long to be silent after too many requests.
const SLOWER: Duration = Duration::from_secs(2);

/// The server does not know the connection (any more).
pub(super) fn is_lost_connection(error: &ErrorBody) -> bool {
    error.message.contains("missing connection")
}

/// What an error message of the protocol means. There are no codes: our server gives a reason, of others
/// only the text is known.
pub(super) fn judge(error: &ErrorBody) -> GatewayError {
    let text = error.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let kind = match error.reason.as_deref() {
        Some("token") => GatewayErrorKind::NeedsAuth,
        Some("denied") => GatewayErrorKind::Denied,
        Some("full" | "quota") => GatewayErrorKind::Full,
        Some("not-ready" | "rate") => GatewayErrorKind::Unavailable,
        _ if is_lost_connection(error) || says(&["try again"]) => GatewayErrorKind::Unavailable,
        _ if says(&["access to", "not allowed", "permission", "forbidden"]) => {
            GatewayErrorKind::Denied
        }
        _ if says(&["token", "jwt", "jwk", "auth", "exp\" claim", "signature"]) => {
            GatewayErrorKind::NeedsAuth
        }
        _ => GatewayErrorKind::Other,
    };
    let said: String = error.message.chars().take(500).collect();
    let judged = GatewayError::new(kind, format!("the server says: {said}"));
    match error.reason.as_deref() {
        Some("rate") => judged.with_retry_after(SLOWER),
        _ => judged,
    }
}

/// What the status of an answer to a signed URL means, if it is a failure.
pub(super) fn judge_status(status: StatusCode, what: &str) -> Option<GatewayError> {
    if status.is_success() {
        return None;
    }
    let (kind, hint) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => (
            GatewayErrorKind::TooLarge,
            "; the server's limit has to be raised",
        ),
        StatusCode::INSUFFICIENT_STORAGE => (GatewayErrorKind::Full, "; the server has no room"),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => (GatewayErrorKind::Unavailable, ""),
        // Signed for a while only: a new one may do.
        _ => (GatewayErrorKind::Other, ""),
    };
    let error = GatewayError::new(kind, format!("{what} failed with {status}{hint}"));
    Some(match status {
        StatusCode::TOO_MANY_REQUESTS => error.with_retry_after(SLOWER),
        _ => error,
    })
}

/// No answer came.
pub(super) fn unreachable(what: &str, error: &reqwest::Error) -> GatewayError {
    // Without its URL, which may be a signed one.
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let cause = match causes.last() {
        Some(cause) => cause.clone(),
        None if error.is_timeout() => "no answer in time".into(),
        None => "the connection failed".into(),
    };
    GatewayError::new(
        GatewayErrorKind::Unavailable,
        format!("{what} failed: {cause}"),
    )
}

/// The server said something that it must not.
pub(super) fn wrong_answer(what: impl std::fmt::Display) -> GatewayError {
    GatewayError::new(
        GatewayErrorKind::Other,
        format!("the server gave a wrong answer: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(message: &str, reason: Option<&str>) -> GatewayErrorKind {
        judge(&ErrorBody {
            message: message.into(),
            reason: reason.map(str::to_owned),
            ..ErrorBody::default()
        })
        .kind()
    }

    #[test]
    fn errors_are_told_apart() {
        for (message, reason, expected) in [
            ("nonsense", Some("token"), GatewayErrorKind::NeedsAuth),
            (
                "\"exp\" claim timestamp check failed",
                None,
                GatewayErrorKind::NeedsAuth,
            ),
            ("no access to tenant \"x\"", None, GatewayErrorKind::Denied),
            (
                "no write access to ledger \"x\"; a token is needed",
                None,
                GatewayErrorKind::Denied,
            ),
            (
                "Not Ready",
                Some("not-ready"),
                GatewayErrorKind::Unavailable,
            ),
            ("missing connection", None, GatewayErrorKind::Unavailable),
            ("slow down", Some("rate"), GatewayErrorKind::Unavailable),
            ("10 GB are used", Some("quota"), GatewayErrorKind::Full),
            ("who knows", None, GatewayErrorKind::Other),
        ] {
            assert_eq!(kind(message, reason), expected, "{message}");
        }
    }
}
