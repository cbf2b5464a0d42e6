//! Public keys from a URL.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::PublicKey;
use crate::{Limits, ServerError};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_LEN: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Jwks {
    url: String,
    client: reqwest::Client,
    age: Duration,
    pause: Duration,
    last: Mutex<Option<Instant>>,
}

impl Jwks {
    pub(super) fn new(url: &str, limits: &Limits) -> Result<Self, ServerError> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| ServerError::Jwks {
                url: url.into(),
                cause: error.to_string(),
            })?;
        Ok(Self {
            url: url.into(),
            client,
            age: limits.keys_age,
            pause: limits.keys_pause,
            last: Mutex::new(None),
        })
    }

    /// The keys, if it was time to fetch them and that succeeded.
    pub(super) async fn fetch_if_due(&self, missing: bool) -> Option<Vec<PublicKey>> {
        // Whoever needs a new key waits for the one who fetches; the others go on with the old keys.
        let mut last = if missing {
            self.last.lock().await
        } else {
            self.last.try_lock().ok()?
        };
        let age = if missing { self.pause } else { self.age };
        if last.is_some_and(|last| last.elapsed() < age) {
            return None;
        }
        *last = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => Some(keys),
            Err(cause) => {
                tracing::warn!(
                    url = self.url,
                    cause,
                    "the keys for tokens cannot be fetched"
                );
                None
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<PublicKey>, String> {
        let response = self.client.get(&self.url).send().await;
        let mut response = response
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| error.to_string())?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_LEN {
                return Err("the answer is too long".into());
            }
        }
        let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
        PublicKey::parse(text).map_err(|error| error.to_string())
    }
}
