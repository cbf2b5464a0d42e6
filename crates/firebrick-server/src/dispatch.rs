//! What is answered to a message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use firebrick_core::cid::Cid;
use firebrick_core::cloud::{
    Access, Auth, Body, Claims, Conn, DataKind, Denied, ErrorBody, Gestalt, META_KEY, Message,
    MetaSet, MethodParam, OpenConn, Operation, Passing, Rejected, Scope, Store, TenantLedger, Verb,
};
use firebrick_core::meta::MetaError;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::AdminToken;
use crate::cars::CarStore;
use crate::clock::now;
use crate::config::Limits;
use crate::hub::{Connection, Hub, Outbox};
use crate::ids::{IdError, LedgerId, Name, ObjectId};
use crate::ledgers::{Ledger, Ledgers};
use crate::metas::{MetaPut, MetaStore, MetaStoreError};
use crate::metrics::{Metrics, Traffic};
use crate::room::{Bind, Tools};
use crate::signed::{Signer, Target};
use crate::tenants::{OverQuota, Stored, Tenant};
use crate::tls::Tls;
use crate::token::{TokenError, Verifier};
use crate::trace::{self, Printable};

/// Why a request is refused. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("only auth of the type fp-cloud-jwk is taken")]
    AuthKind,
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("missing connection: open it with reqOpen first, and use it where it was opened")]
    UnknownConnection,
    #[error("the connection has no id")]
    NoConnectionId,
    #[error("too many connections; close some")]
    TooManyConnections,
    #[error("this connection has bound too many ledgers; open another one")]
    TooManyBinds,
    #[error("methodParam does not fit the type of the message")]
    Method,
    #[error("metas have the key \"main\" and no index")]
    MetaKey,
    #[error("the meta {0} cannot be taken: {1}")]
    Meta(Cid, MetaError),
    #[error("the message has a key that is none")]
    Key,
    #[error("this server does not answer {0}")]
    Unsupported(&'static str),
    #[error(transparent)]
    Store(#[from] MetaStoreError),
    #[error(transparent)]
    Quota(#[from] OverQuota),
    #[error("the tenant {0} sends more messages than it may; try again later")]
    Rate(Name),
    #[error("the server ends; connect again")]
    Draining,
    #[error("the server has no random bytes")]
    Random,
}

impl Refusal {
    /// A word for programs.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Token(_) | Self::AuthKind => Some("token"),
            Self::Denied(_) => Some("denied"),
            Self::Draining | Self::Store(MetaStoreError::Unavailable { .. }) => Some("not-ready"),
            Self::Store(MetaStoreError::Full) => Some("full"),
            Self::Quota(_) => Some("quota"),
            Self::Rate(_) => Some("rate"),
            _ => None,
        }
    }
}

/// Where a message came from.
#[derive(Debug)]
pub(crate) struct Via {
    /// How the client reaches the server, without a slash at the end.
    pub(crate) base: String,
    /// The WebSocket's.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// The WebSocket's, or that of the connection which the message names.
    pub(crate) traffic: Arc<Traffic>,
    /// The connections that were opened here.
    pub(crate) names: BTreeSet<Conn>,
}

/// The server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) hub: Hub,
    pub(crate) ledgers: Ledgers,
    /// Whether what is stored has been counted.
    pub(crate) counted: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admin_token: AdminToken,
    pub(crate) metas: Arc<dyn MetaStore>,
    pub(crate) cars: Arc<dyn CarStore>,
    pub(crate) verifier: Verifier,
    pub(crate) signer: Arc<Signer>,
    pub(crate) public_url: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) websockets: bool,
    pub(crate) limits: Limits,
    /// The end has begun.
    pub(crate) drain: CancellationToken,
    pub(crate) sockets: TaskTracker,
}

/// An answer, or an error that is one.
pub(crate) enum Answer {
    Done(Message),
    /// It has been sent already, in its place among the events.
    Sent,
    Failed(Message),
    /// The request is no message.
    Garbled(Message),
}

impl App {
    pub(crate) async fn answer(&self, bytes: &[u8], via: &mut Via) -> Answer {
        let begun = Instant::now();
        self.metrics
            .messages_traffic
            .received
            .add(bytes.len() as u64);
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(rejected) => {
                self.metrics.message("other", "garbled", begun.elapsed());
                tracing::info!(len = bytes.len(), "no message of the protocol");
                return Answer::Garbled(garbled(*rejected));
            }
        };
        let span = trace::message(&message);
        self.answer_message(message, bytes.len() as u64, via, begun)
            .instrument(span)
            .await
    }

    async fn answer_message(
        &self,
        message: Message,
        len: u64,
        via: &mut Via,
        begun: Instant,
    ) -> Answer {
        let handled = self.handle(&message, len, via).await;
        let outcome = match &handled {
            Ok(_) => "done",
            Err(refusal) => refusal.reason().unwrap_or("refused"),
        };
        let took = begun.elapsed();
        self.metrics.message(message.kind(), outcome, took);
        tracing::debug!(len, outcome, ms = trace::milliseconds(took), "handled");
        match handled {
            Ok(Some(body)) => Answer::Done(Message::new(message.tid, message.auth, body)),
            Ok(None) => Answer::Sent,
            Err(refusal) => {
                if let Refusal::Store(MetaStoreError::Unavailable { cause }) = &refusal {
                    tracing::error!(cause, "the metas cannot be used");
                } else {
                    tracing::info!(%refusal, "refused");
                }
                Answer::Failed(failed(message, &refusal))
            }
        }
    }

    async fn handle(
        &self,
        message: &Message,
        len: u64,
        via: &mut Via,
    ) -> Result<Option<Body>, Refusal> {
        let Auth::Token(jwt) = &message.auth else {
            return Err(Refusal::AuthKind);
        };
        let claims = self.verifier.verify(jwt).await?;
        if self.drain.is_cancelled() {
            return Err(Refusal::Draining);
        }
        let tenant = self.tenant(message, &claims);
        if let Some(tenant) = &tenant {
            self.wait_for_turn(tenant).await?;
        }
        match &message.body {
            Body::ReqGestalt { .. } => {
                let gestalt = self.gestalt();
                return Ok(Some(Body::ResGestalt { gestalt }));
            }
            Body::ReqOpen { conn } => {
                let conn = self.open(conn, &claims, via).await?;
                return Ok(Some(Body::ResOpen { conn }));
            }
            _ => {}
        }
        let connection = self.connection(&message.body, &claims, via).await?;
        via.traffic = connection.traffic.clone();
        let asked = Asked {
            message,
            len,
            claims: &claims,
            connection: &connection,
        };
        match &message.body {
            Body::ReqClose { conn } => {
                self.hub.remove(&connection).await;
                via.names.remove(conn);
                Ok(Some(Body::ResClose { conn: conn.clone() }))
            }
            // Acknowledged and passed on to nobody.
            Body::ReqChat {
                conn,
                message,
                targets,
            } => Ok(Some(Body::ResChat {
                conn: conn.clone(),
                message: message.clone(),
                targets: targets.clone(),
            })),
            Body::BindGetMeta { scope } => self.bind(asked, scope).await,
            Body::ReqPutMeta { scope, meta } => self.put_meta(asked, scope, meta).await.map(Some),
            Body::ReqData {
                operation,
                kind: DataKind::Data,
                scope,
            } => self.data(asked, *operation, scope).await.map(Some),
            other => Err(Refusal::Unsupported(other.kind())),
        }
    }

    fn gestalt(&self) -> Gestalt {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let outside = Some(Passing {
            inband: false,
            outband: true,
        });
        let inside = Some(Passing {
            inband: true,
            outband: false,
        });
        let stream = self.websockets;
        Gestalt {
            id: "firebrick".into(),
            store_types: list(&["meta", "file", "car"]),
            http_endpoints: list(&["/fp"]),
            ws_endpoints: list(if stream { &["/ws"] } else { &[] }),
            encodings: list(&["JSON"]),
            protocol_capabilities: list(if stream {
                &["reqRes", "stream"]
            } else {
                &["reqRes"]
            }),
            auth: Vec::new(),
            requires_auth: true,
            data: outside,
            meta: inside,
            wal: None,
            req_types: list(&[
                "reqGestalt",
                "reqOpen",
                "reqClose",
                "bindGetMeta",
                "reqPutMeta",
                "reqPutData",
                "reqGetData",
                "reqDelData",
            ]),
            res_types: list(&[
                "resGestalt",
                "resOpen",
                "resClose",
                "resPutMeta",
                "resPutData",
                "resGetData",
                "resDelData",
            ]),
            event_types: list(&["eventGetMeta"]),
        }
    }

    /// Whose message it is: of the tenant that it is about, if the token has that one, else of the one
    /// that the token selects.
    fn tenant(&self, message: &Message, claims: &Claims) -> Option<Arc<Tenant>> {
        let scope = match &message.body {
            Body::BindGetMeta { scope }
            | Body::ReqPutMeta { scope, .. }
            | Body::ReqData { scope, .. } => scope.tenant.as_ref(),
            _ => None,
        };
        let named = scope.map(|scope| &scope.tenant);
        let named = named.filter(|named| claims.tenants.iter().any(|tenant| tenant.id == **named));
        let name = Name::new(named.unwrap_or(&claims.selected.tenant)).ok()?;
        Some(self.ledgers.tenants.of(&name))
    }

    /// Slows down whoever sends too much; refuses what would have to wait too long.
    pub(crate) async fn wait_for_turn(&self, tenant: &Tenant) -> Result<(), Refusal> {
        let turn = tenant
            .turn()
            .ok_or_else(|| Refusal::Rate(tenant.name.clone()))?;
        if !turn.is_zero() {
            tokio::time::sleep(turn).await;
        }
        Ok(())
    }

    async fn open(&self, conn: &OpenConn, claims: &Claims, via: &mut Via) -> Result<Conn, Refusal> {
        let res_id = match &conn.res_id {
            Some(res_id) => res_id.clone(),
            None => {
                let mut random = [0; 12];
                getrandom::fill(&mut random).map_err(|_| Refusal::Random)?;
                BASE64URL_NOPAD.encode(&random)
            }
        };
        let name = Conn {
            req_id: conn.req_id.clone(),
            res_id,
        };
        if name.req_id.is_empty() || name.res_id.is_empty() {
            return Err(Refusal::NoConnectionId);
        }
        let known = self.hub.find(&name);
        if known
            .as_ref()
            .is_some_and(|known| known.user != claims.user_id)
        {
            return Err(Refusal::UnknownConnection);
        }
        let room = match &via.outbox {
            Some(_) => via.names.len() < self.limits.names_per_socket || via.names.contains(&name),
            None => known.is_some() || self.hub.polling() < self.limits.polling,
        };
        if !room {
            return Err(Refusal::TooManyConnections);
        }
        let tenant = Name::new(&claims.selected.tenant).ok();
        let seat = tenant
            .map(|name| self.ledgers.tenants.of(&name))
            .map(|tenant| tenant.connect(known.is_some()))
            .transpose()?;
        let connection = Connection::new(
            name.clone(),
            claims.user_id.clone(),
            via.base.clone(),
            via.outbox.clone(),
            via.traffic.clone(),
            seat,
        );
        // Nothing counts as delivered on the new one.
        if let Some(old) = self.hub.add(connection) {
            self.hub.remove(&old).await;
        }
        self.metrics.opened(via.outbox.is_some());
        via.names.insert(name.clone());
        tracing::info!(user = %Printable(&claims.user_id), opened = %Printable(&name), "opened");
        Ok(name)
    }

    /// The connection that a message names. One that asks over HTTP is opened again if nobody knows it
    /// any more: the server was started anew, has forgotten it, or is another node than before. The
    /// JavaScript client never would.
    async fn connection(
        &self,
        body: &Body,
        claims: &Claims,
        via: &mut Via,
    ) -> Result<Arc<Connection>, Refusal> {
        let conn = body.conn().ok_or(Refusal::UnknownConnection)?;
        let (req_id, res_id) = match conn.res_id {
            Some(res_id) if !res_id.is_empty() => (conn.req_id, res_id),
            _ => return Err(Refusal::UnknownConnection),
        };
        let name = Conn { req_id, res_id };
        let mut known = self.hub.find(&name);
        if known.is_none() && via.outbox.is_none() {
            let again = OpenConn {
                req_id: name.req_id.clone(),
                res_id: Some(name.res_id.clone()),
            };
            self.open(&again, claims, via).await?;
            known = self.hub.find(&name);
        }
        let connection = known.ok_or(Refusal::UnknownConnection)?;
        if !connection.is_on(via.outbox.as_ref()) || connection.user != claims.user_id {
            return Err(Refusal::UnknownConnection);
        }
        connection.touch();
        Ok(connection)
    }

    pub(crate) fn tools(&self) -> Tools {
        Tools {
            metas: self.metas.clone(),
            signer: self.signer.clone(),
            url_seconds: self.limits.signed_url.as_secs(),
            ledgers_per_connection: self.limits.ledgers_per_connection,
        }
    }

    /// The ledger that a request is about, if it may be used so.
    fn ledger(
        &self,
        asked: Asked<'_>,
        scope: &Scope,
        access: Access,
    ) -> Result<(Arc<Ledger>, TenantLedger), Refusal> {
        let tenant = scope.tenant.as_ref().unwrap_or(&asked.claims.selected);
        asked.claims.check(&tenant.tenant, &tenant.ledger, access)?;
        let id = LedgerId::new(&tenant.tenant, &tenant.ledger)?;
        let ledger = self.ledgers.of(&id);
        trace::ledger(&id);
        ledger.traffic.received.add(asked.len);
        Ok((ledger, tenant.clone()))
    }

    async fn bind(&self, asked: Asked<'_>, scope: &Scope) -> Result<Option<Body>, Refusal> {
        asked.metas(scope, Verb::Get)?;
        let (ledger, tenant) = self.ledger(asked, scope, Access::Read)?;
        let bind = Bind {
            connection: asked.connection.clone(),
            tid: asked.message.tid.clone(),
            auth: asked.message.auth.clone(),
            scope: asked.echo(scope, tenant),
            valid_until: asked.valid_until(),
        };
        let event = self.hub.room(&ledger).bind(bind, &self.tools()).await?;
        Ok(event.map(|event| event.body))
    }

    async fn put_meta(
        &self,
        asked: Asked<'_>,
        scope: &Scope,
        meta: &MetaSet,
    ) -> Result<Body, Refusal> {
        asked.metas(scope, Verb::Put)?;
        let (ledger, tenant) = self.ledger(asked, scope, Access::Write)?;
        let mut cars = Vec::new();
        for entry in &meta.metas {
            let event = entry.event().map_err(|e| Refusal::Meta(entry.cid, e))?;
            cars.extend(event.cars);
        }
        if meta.keys.iter().any(|key| key.key().is_err()) {
            return Err(Refusal::Key);
        }
        self.renew(asked, &ledger.id).await?;
        if !meta.metas.is_empty() {
            let put = MetaPut {
                owner: asked.connection.name.clone(),
                metas: meta.metas.clone(),
                keys: meta.keys.clone(),
                supersede: self.all_here(&ledger.id, &cars).await,
                limit: self.limits.metas_per_ledger,
            };
            let published = put.metas.len() as u64;
            let growth = asked
                .connection
                .growth(&ledger.id, published, put.supersede);
            ledger.tenant.claim(Stored {
                ledgers: ledger.to_begin(),
                metas: u64::try_from(growth).unwrap_or(0),
                ..Stored::default()
            })?;
            self.hub.room(&ledger).put(put, &self.tools()).await?;
            asked.connection.published(&ledger.id, growth);
            ledger.metas_added(published, growth);
        }
        let signed_url = self.sign(
            asked,
            &ledger.id,
            Verb::Put,
            Store::Meta.as_str(),
            META_KEY,
            scope,
        );
        Ok(Body::ResPutMeta {
            scope: asked.echo(scope, tenant),
            signed_url,
            // The writer's own, nothing of others: it ignores this, and must not count it as delivered.
            meta: meta.clone(),
        })
    }

    /// Whether the CARs of a meta have arrived. Clients send a meta even if their upload failed; then
    /// what it should replace is still needed.
    async fn all_here(&self, ledger: &LedgerId, cars: &[Cid]) -> bool {
        for car in cars {
            let object = ObjectId::new(ledger.clone(), Store::Car.as_str(), &car.to_string());
            let Ok(object) = object else { return false };
            if !matches!(self.cars.contains(object).await, Ok(true)) {
                return false;
            }
        }
        true
    }

    async fn data(
        &self,
        asked: Asked<'_>,
        operation: Operation,
        scope: &Scope,
    ) -> Result<Body, Refusal> {
        let (verb, access) = match operation {
            Operation::Get => (Verb::Get, Access::Read),
            Operation::Put => (Verb::Put, Access::Write),
            Operation::Delete => (Verb::Delete, Access::Write),
        };
        if scope.method.method != verb {
            return Err(Refusal::Method);
        }
        let (ledger, tenant) = self.ledger(asked, scope, access)?;
        let object = ObjectId::of(ledger.id.clone(), scope.method.store, &scope.url)?;
        self.renew(asked, &ledger.id).await?;
        if operation == Operation::Put {
            self.room_for(&ledger, &object).await?;
        }
        let store = object.store.clone();
        let valid = Duration::from_secs(self.expires(asked, scope).saturating_sub(now()));
        let signed_url = match self.cars.presign(object, verb, valid).await {
            Some(url) => url,
            None => self.sign(
                asked,
                &ledger.id,
                verb,
                store.as_str(),
                &scope.url.key,
                scope,
            ),
        };
        Ok(Body::ResData {
            operation,
            kind: DataKind::Data,
            scope: asked.echo(scope, tenant),
            signed_url,
        })
    }

    /// Whether a CAR may come: there is room, or it is there already.
    pub(crate) async fn room_for(
        &self,
        ledger: &Ledger,
        object: &ObjectId,
    ) -> Result<(), OverQuota> {
        let least = Stored {
            ledgers: ledger.to_begin(),
            bytes: 1,
            ..Stored::default()
        };
        match ledger.tenant.allows(least) {
            Ok(()) => Ok(()),
            Err(_) if matches!(self.cars.contains(object.clone()).await, Ok(true)) => Ok(()),
            Err(over) => {
                ledger.tenant.over_quota.add(1);
                Err(over)
            }
        }
    }

    /// A newer token keeps a subscription alive.
    async fn renew(&self, asked: Asked<'_>, ledger: &LedgerId) -> Result<(), Refusal> {
        let valid_until = asked.valid_until();
        if let Some(room) = asked.connection.outlived(ledger, valid_until) {
            let auth = &asked.message.auth;
            room.renew(asked.connection, auth, valid_until, &self.tools())
                .await?;
        }
        Ok(())
    }

    /// When a URL ends: not later than asked for, nor than the server allows, nor than the token.
    fn expires(&self, asked: Asked<'_>, scope: &Scope) -> u64 {
        let most = self.limits.signed_url.as_secs();
        let seconds = scope.url.expires.map_or(most, |asked| asked.min(most));
        (now() + seconds).min(asked.valid_until())
    }

    fn sign(
        &self,
        asked: Asked<'_>,
        ledger: &LedgerId,
        verb: Verb,
        store: &str,
        key: &str,
        scope: &Scope,
    ) -> String {
        let target = Target {
            verb,
            ledger,
            store,
            key,
            expires: self.expires(asked, scope),
        };
        let base = &asked.connection.base;
        self.signer.url(base, &target, &asked.message.tid)
    }
}

/// A request whose sender is known.
#[derive(Clone, Copy)]
struct Asked<'a> {
    message: &'a Message,
    /// In bytes.
    len: u64,
    claims: &'a Claims,
    connection: &'a Arc<Connection>,
}

impl Asked<'_> {
    fn metas(&self, scope: &Scope, method: Verb) -> Result<(), Refusal> {
        let expected = MethodParam {
            method,
            store: Store::Meta,
        };
        if scope.method != expected {
            return Err(Refusal::Method);
        }
        if scope.url.key != META_KEY || scope.url.index.is_some() {
            return Err(Refusal::MetaKey);
        }
        Ok(())
    }

    fn valid_until(&self) -> u64 {
        self.claims.exp.unwrap_or(0)
    }

    fn echo(&self, scope: &Scope, tenant: TenantLedger) -> Scope {
        Scope {
            tenant: Some(tenant),
            ..scope.clone()
        }
    }
}

/// The error to a request. Only that to a bind names the connection: the JavaScript client would end its
/// subscription at any other, and would wait for ever without it.
fn failed(message: Message, refusal: &Refusal) -> Message {
    let conn = match &message.body {
        Body::BindGetMeta { scope } => Some(scope.conn.clone()),
        _ => None,
    };
    let body = ErrorBody {
        conn,
        src: json!({"type": message.kind(), "tid": message.tid}),
        message: refusal.to_string(),
        reason: refusal.reason().map(str::to_owned),
        ..ErrorBody::default()
    };
    Message::new(message.tid, message.auth, Body::Error(body))
}

/// The same to what is no message.
fn garbled(rejected: Rejected) -> Message {
    let is_bind = rejected.kind.as_deref() == Some("bindGetMeta");
    let body = ErrorBody {
        conn: rejected.conn.filter(|_| is_bind),
        src: json!({"type": rejected.kind, "tid": rejected.tid}),
        message: rejected.error.to_string(),
        ..ErrorBody::default()
    };
    let tid = rejected.tid.unwrap_or_else(|| "internal".into());
    Message::new(tid, Auth::none(), Body::Error(body))
}
