//! Tokens: JWTs signed with ES256.

mod jwks;
mod keys;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use firebrick_core::cloud::Claims;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use sha2::{Digest, Sha256};

pub use keys::{KeyFormError, PublicKey, SigningKey};

use crate::clock::now;
use crate::lock::lock;
use crate::{Config, ServerError};
use jwks::Jwks;

/// How far the clocks of who signs and who checks may be apart, in seconds.
const LEEWAY: u64 = 5;
/// Tokens that need not be verified again: those of the last uses up to so many, and as many before.
const CACHED: usize = 10_000;

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token, or not of ES256.
    #[error("token rejected: it is not a JWT signed with ES256: {0}")]
    Form(String),
    /// The signature is not by a key that the server knows.
    #[error(
        "token rejected: signature verification failed; it was signed with a key that this server does not know"
    )]
    Signature,
    /// It says too little or something else.
    #[error("token rejected: its claims cannot be read: {0}")]
    Claims(String),
    /// It has ended, or never ends.
    #[error("token rejected: \"exp\" claim timestamp check failed; a new token is needed")]
    Expired,
    /// It has not begun.
    #[error("token rejected: \"nbf\" claim timestamp check failed; it is not valid yet")]
    Early,
    /// It is by somebody else.
    #[error("token rejected: this server takes no tokens of its issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("token rejected: it is meant for another audience")]
    Audience,
}

/// Claims by the hash of their token. When there are too many, those go that were not used of late.
#[derive(Debug, Default)]
struct Seen {
    recent: HashMap<[u8; 32], Arc<Claims>>,
    before: HashMap<[u8; 32], Arc<Claims>>,
}

impl Seen {
    fn get(&mut self, hash: &[u8; 32]) -> Option<Arc<Claims>> {
        if let Some(claims) = self.recent.get(hash) {
            return Some(claims.clone());
        }
        let claims = self.before.remove(hash)?;
        self.insert(*hash, claims.clone());
        Some(claims)
    }

    fn insert(&mut self, hash: [u8; 32], claims: Arc<Claims>) {
        if self.recent.len() >= CACHED {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(hash, claims);
    }
}

/// Checks tokens.
#[derive(Debug)]
pub struct Verifier {
    /// From files and the environment.
    fixed: Vec<PublicKey>,
    jwks: Option<Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
    /// By hash: tokens whose signature was good, as long as the keys stay the same.
    seen: Mutex<Seen>,
    fetched: RwLock<Vec<PublicKey>>,
}

impl Verifier {
    pub(crate) fn new(config: &Config, fixed: Vec<PublicKey>) -> Result<Self, ServerError> {
        let jwks = config.jwks_url.as_deref();
        let jwks = jwks.map(|url| Jwks::new(url, &config.limits)).transpose()?;
        Ok(Self {
            fixed,
            jwks,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            seen: Mutex::default(),
            fetched: RwLock::default(),
        })
    }

    /// The claims of a token that is valid now.
    ///
    /// # Errors
    /// [`TokenError`] says why it is refused.
    pub async fn verify(&self, jwt: &str) -> Result<Arc<Claims>, TokenError> {
        self.refresh(false).await;
        let hash: [u8; 32] = Sha256::digest(jwt).into();
        let known = lock(&self.seen).get(&hash);
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = match self.signature(jwt) {
                    // Somebody else may have fetched the key meanwhile.
                    Err(TokenError::Signature) if self.jwks.is_some() => {
                        self.refresh(true).await;
                        self.signature(jwt)
                    }
                    result => result,
                };
                let claims = Arc::new(claims?);
                lock(&self.seen).insert(hash, claims.clone());
                claims
            }
        };
        self.check(&claims, now())?;
        Ok(claims)
    }

    /// Fetches the keys again when it is time, or when one is missing.
    async fn refresh(&self, missing: bool) {
        let Some(jwks) = &self.jwks else { return };
        let Some(keys) = jwks.fetch_if_due(missing).await else {
            return;
        };
        let mut fetched = self.fetched.write().unwrap_or_else(PoisonError::into_inner);
        if *fetched != keys {
            *fetched = keys;
            *lock(&self.seen) = Seen::default();
        }
    }

    fn signature(&self, jwt: &str) -> Result<Claims, TokenError> {
        let fetched = self.fetched.read().unwrap_or_else(PoisonError::into_inner);
        check_signature(jwt, self.fixed.iter().chain(fetched.iter()))
    }

    fn check(&self, claims: &Claims, now: u64) -> Result<(), TokenError> {
        if claims
            .exp
            .is_none_or(|exp| now >= exp.saturating_add(LEEWAY))
        {
            return Err(TokenError::Expired);
        }
        if claims
            .nbf
            .is_some_and(|nbf| now.saturating_add(LEEWAY) < nbf)
        {
            return Err(TokenError::Early);
        }
        if self.issuer.is_some() && self.issuer != claims.iss {
            return Err(TokenError::Issuer);
        }
        if let Some(audience) = &self.audience
            && !claims
                .aud
                .as_ref()
                .is_some_and(|aud| aud.contains(audience))
        {
            return Err(TokenError::Audience);
        }
        Ok(())
    }
}

/// The claims of a token that one of the keys has signed. Times, issuer and audience are not looked at.
///
/// # Errors
/// [`TokenError`] if it is not a token, or not signed by one of them.
pub fn check_signature<'a>(
    jwt: &str,
    keys: impl IntoIterator<Item = &'a PublicKey>,
) -> Result<Claims, TokenError> {
    let header = jsonwebtoken::decode_header(jwt).map_err(|e| TokenError::Form(e.to_string()))?;
    if header.alg != Algorithm::ES256 {
        return Err(TokenError::Form(format!("{:?}", header.alg)));
    }
    let mut validation = Validation::new(Algorithm::ES256);
    // The server checks these each time, not only the first.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    for key in keys {
        if let (Some(a), Some(b)) = (&header.kid, key.id())
            && a != b
        {
            continue;
        }
        match jsonwebtoken::decode::<Claims>(jwt, key.decoding(), &validation) {
            Ok(token) => return Ok(token.claims),
            Err(error) => match error.kind() {
                jsonwebtoken::errors::ErrorKind::Json(error) => {
                    return Err(TokenError::Claims(error.to_string()));
                }
                jsonwebtoken::errors::ErrorKind::InvalidSignature => {}
                other => return Err(TokenError::Form(format!("{other:?}"))),
            },
        }
    }
    Err(TokenError::Signature)
}

/// The claims of a token whose signature nobody has checked.
///
/// # Errors
/// [`TokenError`] if it is not a token.
pub fn inspect(jwt: &str) -> Result<Claims, TokenError> {
    jsonwebtoken::dangerous::insecure_decode_claims(jwt)
        .map_err(|e| TokenError::Form(e.to_string()))
}

fn decoding(x: &str, y: &str) -> Option<DecodingKey> {
    DecodingKey::from_ec_components(x, y).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_use_stay_known() {
        let claims = Arc::new(Claims::new("u", "u@example.com", "2026-01-01T00:00:00Z"));
        let hash = |n: usize| -> [u8; 32] { Sha256::digest(n.to_be_bytes()).into() };
        let mut seen = Seen::default();
        for n in 0..4 * CACHED {
            seen.insert(hash(n), claims.clone());
            assert!(seen.get(&hash(0)).is_some(), "after {n}");
        }
        assert!(seen.get(&hash(1)).is_none());
        assert!(seen.recent.len() + seen.before.len() <= 2 * CACHED);
    }
}
