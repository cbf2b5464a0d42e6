//! HTTP: messages by `PUT`, and CARs over signed URLs.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use firebrick_core::cloud::{MAX_MESSAGE_LEN, Message};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response, StatusCode};

use super::link::ANSWER;
use super::refusal::{judge_status, unreachable, wrong_answer};
use crate::gateway::{GatewayError, GatewayErrorKind, GatewayResult};

/// The longest CAR that is read: servers take no longer ones.
const MAX_CAR_LEN: usize = 512 << 20;
/// After this long without a byte, a transfer is given up.
const STALLED: Duration = Duration::from_secs(30);

/// Reading up to this keeps the connection for the next request, and costs less than a new one.
const LITTLE: u64 = 64 << 10;
const DOWNLOAD: &str = "the download of a CAR";

/// Opens connections as needed.
#[derive(Clone)]
pub(super) struct Web {
    client: Client,
    /// Signed URLs must be encrypted, as the server's own is.
    tls: bool,
}

impl Web {
    pub(super) fn new(tls: bool) -> GatewayResult<Self> {
        let client = Client::builder()
            // Where a signed URL leads is the server's word; it goes nowhere else from there.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(ANSWER)
            .read_timeout(STALLED)
            .build()
            .map_err(|error| {
                let text = format!("this machine cannot use HTTP: {error}");
                GatewayError::new(GatewayErrorKind::Other, text)
            })?;
        Ok(Self { client, tls })
    }

    /// Sends a request and waits for its answer, which may be an error message.
    pub(super) async fn ask(&self, endpoint: &str, message: &Message) -> GatewayResult<Message> {
        let what = message.kind();
        let request = self
            .client
            .put(endpoint)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .timeout(ANSWER)
            .body(message.encode());
        let response = request.send().await.map_err(|e| unreachable(what, &e))?;
        let status = response.status();
        let body = read(response, MAX_MESSAGE_LEN, what).await?;
        match Message::parse(&body) {
            Ok(answer) => Ok(answer),
            // Not from a server of this protocol, but from something before it.
            Err(_) if judge_status(status, what).is_some() => {
                Err(judge_status(status, what).unwrap_or_else(|| wrong_answer(status)))
            }
            Err(rejected) => Err(wrong_answer(format!("{what} was answered with {rejected}"))),
        }
    }

    pub(super) async fn put(&self, url: &str, bytes: Bytes) -> GatewayResult<()> {
        let what = "the upload of a CAR";
        let request = self.client.put(self.checked(url)?).body(bytes);
        let response = request.send().await.map_err(|e| unreachable(what, &e))?;
        judge_status(response.status(), what).map_or(Ok(()), Err)
    }

    pub(super) async fn get(&self, url: &str) -> GatewayResult<Option<Bytes>> {
        match self.start_download(url).await? {
            Some(response) => read(response, MAX_CAR_LEN, DOWNLOAD).await.map(Some),
            None => Ok(None),
        }
    }

    /// The length of what `get` would give. A signed URL is for one method, so it is the same request;
    /// what is longer than a little is left there.
    pub(super) async fn len(&self, url: &str) -> GatewayResult<Option<u64>> {
        let Some(response) = self.start_download(url).await? else {
            return Ok(None);
        };
        match response.content_length() {
            Some(len) if len > LITTLE => Ok(Some(len)),
            _ => {
                let body = read(response, MAX_CAR_LEN, DOWNLOAD).await?;
                Ok(Some(body.len() as u64))
            }
        }
    }

    async fn start_download(&self, url: &str) -> GatewayResult<Option<Response>> {
        let request = self.client.get(self.checked(url)?);
        let response = request
            .send()
            .await
            .map_err(|e| unreachable(DOWNLOAD, &e))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        match judge_status(response.status(), DOWNLOAD) {
            Some(error) => Err(error),
            None => Ok(Some(response)),
        }
    }

    pub(super) async fn delete(&self, url: &str) -> GatewayResult<()> {
        let what = "the deletion of a CAR";
        let request = self.client.delete(self.checked(url)?).timeout(ANSWER);
        let response = request.send().await.map_err(|e| unreachable(what, &e))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        judge_status(response.status(), what).map_or(Ok(()), Err)
    }

    fn checked(&self, url: &str) -> GatewayResult<url::Url> {
        let parsed = url::Url::parse(url).map_err(|_| wrong_answer("a signed URL is none"))?;
        match parsed.scheme() {
            "https" => Ok(parsed),
            "http" if !self.tls => Ok(parsed),
            "http" => Err(wrong_answer("a signed URL is not encrypted")),
            _ => Err(wrong_answer("a signed URL is not one of HTTP")),
        }
    }
}

/// The body, if it is not too long. Memory grows with what arrives, not with what is claimed.
async fn read(mut response: Response, most: usize, what: &str) -> GatewayResult<Bytes> {
    let too_long = || wrong_answer(format!("{what} brings more than {most} bytes"));
    let claimed = response.content_length().unwrap_or(0);
    if claimed > most as u64 {
        return Err(too_long());
    }
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(|e| unreachable(what, &e))? {
        if body.len() + piece.len() > most {
            return Err(too_long());
        }
        body.extend_from_slice(&piece);
    }
    if (body.len() as u64) < claimed {
        return Err(wrong_answer(format!("{what} ended early")));
    }
    Ok(body.freeze())
}
