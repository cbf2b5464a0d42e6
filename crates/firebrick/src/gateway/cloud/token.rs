//! Where tokens come from, and when a new one is needed.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use data_encoding::BASE64URL_NOPAD;
use firebrick_core::cloud::{Claims, MAX_TOKEN_LEN};
use futures_util::future::BoxFuture;

use crate::env::Env;
use crate::gateway::{GatewayError, GatewayErrorKind, GatewayResult};
use crate::lock::lock;

/// A token is renewed this long before it ends, in seconds.
const RENEW: u64 = 120;
/// Ends beyond this are milliseconds, as some tools write them: practically never.
const MOST_SECONDS: u64 = 100_000_000_000;

/// Gives the token that goes with every message.
///
/// Asked when the last one ends within two minutes or was refused. A closure that returns a future is
/// one, too.
///
/// ```
/// use firebrick::gateway::{CloudGateway, Gateway, GatewayErrorKind};
/// # fn main() -> Result<(), firebrick::gateway::GatewayError> {
/// async fn ask_the_issuer() -> Result<String, firebrick::gateway::GatewayError> {
///     Ok("a.b.c".into()) // a request to whoever signs tokens
/// }
/// let remote = CloudGateway::new("fpcloud://sync.example.com", ask_the_issuer)?;
/// assert_eq!(remote.url(), "fpcloud://sync.example.com");
/// # Ok(()) }
/// ```
pub trait TokenProvider: Send + Sync + 'static {
    /// A token, as new as there is.
    ///
    /// # Errors
    /// [`GatewayErrorKind::NeedsAuth`] if somebody has to sign in; others as they come.
    fn token(&self) -> BoxFuture<'_, GatewayResult<String>>;
}

impl<F, A> TokenProvider for F
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = GatewayResult<String>> + Send + 'static,
{
    fn token(&self) -> BoxFuture<'_, GatewayResult<String>> {
        Box::pin(self())
    }
}

/// Always the same token.
///
/// ```
/// use firebrick::gateway::{CloudGateway, FixedToken};
/// let remote = CloudGateway::new("fpcloud://sync.example.com", FixedToken::new("a.b.c"))?;
/// # Ok::<(), firebrick::gateway::GatewayError>(())
/// ```
#[derive(Clone)]
pub struct FixedToken(String);

impl FixedToken {
    /// This one.
    #[must_use]
    pub fn new(jwt: impl Into<String>) -> Self {
        Self(jwt.into())
    }
}

impl fmt::Debug for FixedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedToken(…)")
    }
}

impl TokenProvider for FixedToken {
    fn token(&self) -> BoxFuture<'_, GatewayResult<String>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

/// The token in a file, which somebody else renews.
///
/// ```
/// use firebrick::gateway::{CloudGateway, TokenFile};
/// let remote = CloudGateway::new("fpcloud://sync.example.com", TokenFile::new("/run/token"))?;
/// # Ok::<(), firebrick::gateway::GatewayError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// The file at `path`. It is read when a token is needed.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl TokenProvider for TokenFile {
    fn token(&self) -> BoxFuture<'_, GatewayResult<String>> {
        Box::pin(async {
            // A token is short; the read is one of a local file, now and then.
            let text = std::fs::read_to_string(&self.0).map_err(|error| {
                let path = self.0.display();
                let text = format!("the token cannot be read from {path}; put one there: {error}");
                GatewayError::new(GatewayErrorKind::NeedsAuth, text).with_source(error)
            })?;
            Ok(text.trim().to_owned())
        })
    }
}

/// A token and what it says.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) jwt: String,
    /// Nothing if it says something else than the tokens of this protocol.
    pub(super) claims: Option<Arc<Claims>>,
}

impl Token {
    fn read(jwt: String) -> GatewayResult<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if jwt.is_empty() || jwt.len() > MAX_TOKEN_LEN || !jwt.bytes().all(plain) {
            return Err(GatewayError::new(
                GatewayErrorKind::NeedsAuth,
                "what was given as a token is none; a JWT is needed, three parts with dots between",
            ));
        }
        let part = jwt.split('.').nth(1).unwrap_or("");
        let json = BASE64URL_NOPAD.decode(part.as_bytes()).unwrap_or_default();
        // Signed by whomever: it is the server that has to believe it.
        let claims = serde_json::from_slice(&json).ok().map(Arc::new);
        Ok(Self { jwt, claims })
    }

    /// In seconds since 1970, if ever.
    fn ends(&self) -> Option<u64> {
        let ends = self.claims.as_ref()?.exp?;
        (ends < MOST_SECONDS).then_some(ends)
    }
}

/// The present token of a gateway.
pub(super) struct Tokens {
    provider: Arc<dyn TokenProvider>,
    env: Arc<dyn Env>,
    present: Mutex<Option<Token>>,
}

impl Tokens {
    pub(super) fn new(provider: Arc<dyn TokenProvider>, env: Arc<dyn Env>) -> Self {
        Self {
            provider,
            env,
            present: Mutex::default(),
        }
    }

    /// One that is valid now, as far as can be told here.
    pub(super) async fn get(&self) -> GatewayResult<Token> {
        let now = self.env.unix_ms() / 1000;
        let lasts = |token: &Token, by: u64| token.ends().is_none_or(|ends| ends > now + by);
        let present = lock(&self.present).clone();
        if let Some(token) = present.filter(|token| lasts(token, RENEW)) {
            return Ok(token);
        }
        let token = Token::read(self.provider.token().await?)?;
        if !lasts(&token, 0) {
            let ago = now.saturating_sub(token.ends().unwrap_or(now));
            return Err(GatewayError::new(
                GatewayErrorKind::NeedsAuth,
                format!("the token ended {ago} s ago; a new one is needed"),
            ));
        }
        *lock(&self.present) = Some(token.clone());
        Ok(token)
    }

    /// The server has refused this token: the provider is asked for another one.
    pub(super) fn refused(&self, token: &Token) {
        let mut present = lock(&self.present);
        if present.as_ref().is_some_and(|known| known.jwt == token.jwt) {
            *present = None;
        }
    }
}
