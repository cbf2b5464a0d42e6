//! Why a gateway call failed.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A failed gateway call: what kind, why, and what to do about it.
///
/// ```
/// use firebrick::gateway::{GatewayError, GatewayErrorKind};
/// let error = GatewayError::new(GatewayErrorKind::Full, "the disk is full; make room");
/// assert_eq!(error.to_string(), "the disk is full; make room");
/// assert!(error.is_retryable());
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct GatewayError {
    kind: GatewayErrorKind,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The kinds of failure that a caller tells apart.
///
/// ```
/// use firebrick::gateway::{GatewayErrorKind, open};
/// let error = open("gopher://hub").err().expect("there are none");
/// match error.kind() {
///     GatewayErrorKind::Unsupported => println!("{error}"),
///     other => panic!("{other:?}"),
/// }
/// ```
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
    ///
    /// ```
    /// use firebrick::gateway::{GatewayError, GatewayErrorKind};
    /// let error = GatewayError::new(GatewayErrorKind::NotFound, "there is no folder /mnt/hub");
    /// assert_eq!(error.kind(), GatewayErrorKind::NotFound);
    /// ```
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
    ///
    /// ```
    /// use std::error::Error as _;
    /// use firebrick::gateway::{GatewayError, GatewayErrorKind};
    /// let cause = std::io::Error::other("the cable is out");
    /// let error = GatewayError::new(GatewayErrorKind::Other, "no answer").with_source(cause);
    /// assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the cable is out"));
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Adds the time that the remote asked to be left alone.
    ///
    /// ```
    /// use std::time::Duration;
    /// use firebrick::gateway::{GatewayError, GatewayErrorKind};
    /// let busy = GatewayError::new(GatewayErrorKind::Unavailable, "too many requests");
    /// let busy = busy.with_retry_after(Duration::from_secs(30));
    /// assert_eq!(busy.retry_after(), Some(Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub const fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The kind.
    ///
    /// ```
    /// use firebrick::gateway::{GatewayErrorKind, RemoteUrl};
    /// let error = RemoteUrl::parse("memory://").unwrap_err();
    /// assert_eq!(error.kind(), GatewayErrorKind::InvalidUrl);
    /// ```
    #[must_use]
    pub const fn kind(&self) -> GatewayErrorKind {
        self.kind
    }

    /// How long the remote asked to wait before the next try.
    ///
    /// ```
    /// use firebrick::gateway::{GatewayError, GatewayErrorKind};
    /// let error = GatewayError::new(GatewayErrorKind::Unavailable, "no answer");
    /// assert_eq!(error.retry_after(), None); // it did not say
    /// ```
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same call may succeed later without anybody doing anything.
    ///
    /// A full disk counts: people make room. So does a missing permission on a folder, but that is
    /// worth a slow retry at most, and is not included.
    ///
    /// ```
    /// use firebrick::gateway::{GatewayError, GatewayErrorKind};
    /// assert!(GatewayError::new(GatewayErrorKind::Unavailable, "no answer").is_retryable());
    /// assert!(!GatewayError::new(GatewayErrorKind::NeedsAuth, "sign in").is_retryable());
    /// ```
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            GatewayErrorKind::Unavailable | GatewayErrorKind::Full | GatewayErrorKind::Other
        )
    }
}
