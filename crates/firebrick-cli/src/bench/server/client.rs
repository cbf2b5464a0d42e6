//! A client without a database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use data_encoding::HEXLOWER;
use firebrick::core::Cid;
use firebrick::core::cid::Codec;
use firebrick::core::cloud::{
    Auth, Body, Conn, DataKind, META_KEY, Message, MetaEntry, MetaSet, MethodParam, OpenConn,
    Operation, Scope, Store, UrlParam, Verb,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::target::{Target, Ticket};
use crate::failure::{Exit, Failure, Result};

/// After which time without an answer a client gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the clients of this process, for their names.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

pub(super) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ticket: Ticket,
    pub(super) conn: Conn,
    count: u64,
}

pub(super) fn failed(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Remote, "bench", text.to_string())
}

impl Client {
    /// Connects, opens a connection of the protocol, and binds the ledger.
    pub(super) async fn bound(target: &Target, ticket: Ticket) -> Result<Self> {
        let mut client = Self::open(target, ticket, None).await?;
        client.bind().await?;
        Ok(client)
    }

    /// Connects, and opens a connection of the protocol: a new one, or one of this name.
    pub(super) async fn open(target: &Target, ticket: Ticket, name: Option<Conn>) -> Result<Self> {
        let url = target.websocket()?;
        // Thousands of these should cost little here, too.
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(0);
        let connecting = connect_async_with_config(url, Some(config), true);
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let (socket, _) = connected.map_err(failed)?.map_err(failed)?;
        let n = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let name = name.map_or_else(
            || OpenConn {
                req_id: format!("bench-{}-{n}", std::process::id()),
                res_id: None,
            },
            |name| OpenConn {
                req_id: name.req_id,
                res_id: Some(name.res_id),
            },
        );
        let mut client = Self {
            socket,
            ticket,
            conn: Conn {
                req_id: name.req_id.clone(),
                res_id: String::new(),
            },
            count: 0,
        };
        match client.ask(Body::ReqOpen { conn: name }).await? {
            Body::ResOpen { conn } => client.conn = conn,
            other => return Err(failed(format_args!("{} for an answer", other.kind()))),
        }
        Ok(client)
    }

    /// Binds the ledger; how many metas it has.
    pub(super) async fn bind(&mut self) -> Result<usize> {
        let scope = self.scope(Verb::Get, Store::Meta, META_KEY);
        match self.ask(Body::BindGetMeta { scope }).await? {
            Body::EventGetMeta { meta, .. } => Ok(meta.metas.len()),
            other => Err(failed(format_args!("{} for an answer", other.kind()))),
        }
    }

    fn scope(&self, method: Verb, store: Store, key: &str) -> Scope {
        Scope {
            conn: self.conn.clone(),
            tenant: Some(self.ticket.ledger.clone()),
            method: MethodParam { method, store },
            url: UrlParam {
                key: key.into(),
                store: Some(store.as_str().into()),
                ..UrlParam::default()
            },
        }
    }

    /// Sends a meta; the answer comes among the events, with this transaction.
    pub(super) async fn put(&mut self, meta: MetaEntry) -> Result<String> {
        let scope = self.scope(Verb::Put, Store::Meta, META_KEY);
        let meta = MetaSet {
            metas: vec![meta],
            keys: Vec::new(),
        };
        self.send(Body::ReqPutMeta { scope, meta }).await
    }

    /// A signed URL for a CAR.
    pub(super) async fn url(&mut self, operation: Operation, car: &Cid) -> Result<String> {
        let verb = match operation {
            Operation::Get => Verb::Get,
            Operation::Put => Verb::Put,
            Operation::Delete => Verb::Delete,
        };
        let request = Body::ReqData {
            operation,
            kind: DataKind::Data,
            scope: self.scope(verb, Store::Car, &car.to_string()),
        };
        match self.ask(request).await? {
            Body::ResData { signed_url, .. } => Ok(signed_url),
            other => Err(failed(format_args!("{} for an answer", other.kind()))),
        }
    }

    async fn send(&mut self, body: Body) -> Result<String> {
        self.count += 1;
        let tid = format!("{}-{}", self.conn.req_id, self.count);
        let message = Message::new(&tid, Auth::token(&self.ticket.token), body);
        let frame = Frame::Binary(message.encode().into());
        let sent = tokio::time::timeout(PATIENCE, self.socket.send(frame)).await;
        sent.map_err(failed)?.map_err(failed)?;
        Ok(tid)
    }

    /// The next message and its length, however long it takes. Nothing is lost if this is dropped.
    pub(super) async fn next(&mut self) -> Result<(Message, usize)> {
        loop {
            let frame = self.socket.next().await;
            let frame = frame.ok_or_else(|| failed("the server has closed a connection"))?;
            let bytes = match frame.map_err(failed)? {
                Frame::Binary(bytes) => bytes,
                Frame::Text(text) => text.into(),
                Frame::Close(close) => {
                    let code = close.map_or(0, |close| u16::from(close.code));
                    return Err(failed(format_args!(
                        "the server has closed a connection with code {code}"
                    )));
                }
                _ => continue,
            };
            let message = Message::parse(&bytes).map_err(failed)?;
            if let Body::Error(error) = &message.body {
                return Err(failed(format_args!("the server says: {}", error.message)));
            }
            return Ok((message, bytes.len()));
        }
    }

    /// The answer to a request. Events that come before it are passed over.
    async fn ask(&mut self, body: Body) -> Result<Body> {
        let tid = self.send(body).await?;
        self.answered(&tid).await
    }

    /// The answer to a request that was sent.
    pub(super) async fn answered(&mut self, tid: &str) -> Result<Body> {
        let answer = async {
            loop {
                let (message, _) = self.next().await?;
                if message.tid == tid {
                    return Ok(message.body);
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .map_err(failed)?
    }

    pub(super) async fn close(mut self) {
        // It may be gone already.
        let _ = tokio::time::timeout(PATIENCE, self.socket.close(None)).await;
    }
}

/// A meta that there is once, and its CAR.
pub(super) fn meta(car: Cid, unique: u64) -> MetaEntry {
    let parent = Cid::of(
        Codec::DagCbor,
        format!("{}-{unique}", std::process::id()).as_bytes(),
    );
    MetaEntry::new(&firebrick::core::meta::MetaEvent {
        cars: vec![car],
        parents: vec![parent],
    })
}

/// Bytes that repeat nowhere, and the name they go by.
pub(super) fn car(len: usize, unique: u64) -> (Cid, Vec<u8>) {
    let mut state = unique.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = HEXLOWER.encode(&unique.to_be_bytes()).into_bytes();
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len.max(1));
    (Cid::of(Codec::Car, &bytes), bytes)
}

/// Puts a CAR where a signed URL says.
pub(super) async fn upload(http: &reqwest::Client, url: String, bytes: Vec<u8>) -> Result<()> {
    let response = http.put(url).body(bytes).send().await.map_err(failed)?;
    response.error_for_status().map_err(failed)?;
    Ok(())
}

pub(super) async fn download(http: &reqwest::Client, url: String) -> Result<usize> {
    let response = http.get(url).send().await.map_err(failed)?;
    let response = response.error_for_status().map_err(failed)?;
    Ok(response.bytes().await.map_err(failed)?.len())
}

pub(super) async fn delete(http: &reqwest::Client, url: String) -> Result<()> {
    let response = http.delete(url).send().await.map_err(failed)?;
    response.error_for_status().map_err(failed)?;
    Ok(())
}
