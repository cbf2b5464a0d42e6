//! Why a gateway call failed.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A failed gateway call: what kind, why, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct GatewayError {
    kind: GatewayErrorKind,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The kinds of failure that a caller tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GatewayErrorKind {
    /// The remote itself doesn't exist.
    NotFound,
    /// Not reachable or overloaded now. Trying again later may help.
    Unavailable,
    /// The remote wants credentials, or has refused the ones it got.
    NeedsAuth,
    /// The credentials or file permissions don't allow this.
    Denied,
    /// The remote can be read but not written.
    ReadOnly,
    /// No space or quota left.
    Full,
    /// This remote or this build can't do that.
    Unsupported,
    /// The URL can't be understood.
    InvalidUrl,
    /// The place holds something else; writing there could do harm.
    Foreign,
    /// What was read or is to be written can't be right.
    Corrupt,
    /// More than the limit.
    TooLarge,
    /// Anything else.
    Other,
}

impl GatewayError {
    /// An error with its cause and the way out in words.
    #[must_use]
    pub fn new(kind: GatewayErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            source: None,
        }
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Adds the time that the remote asked to be left alone.
    #[must_use]
    pub const fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> GatewayErrorKind {
        self.kind
    }

    /// How long the remote asked to wait before the next try.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same call may succeed later without anybody doing anything.
    ///
    /// A full disk counts: people make room. So does a missing permission on a folder, but that is
    /// worth a slow retry at most, and is not included.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            GatewayErrorKind::Unavailable | GatewayErrorKind::Full | GatewayErrorKind::Other
        )
    }
}
