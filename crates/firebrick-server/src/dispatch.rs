//! What is answered to a message.

mod connections;
mod gestalt;
mod ledger;
mod refusal;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use firebrick_core::cloud::{Auth, Body, Claims, Conn, DataKind, Message};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::AdminToken;
use crate::cars::CarStore;
use crate::config::Limits;
use crate::hub::{Hub, Outbox};
use crate::ids::Name;
use crate::ledgers::Ledgers;
use crate::metas::{MetaStore, MetaStoreError};
use crate::metrics::{Metrics, Traffic};
use crate::room::Tools;
use crate::signed::Signer;
use crate::tenants::Tenant;
use crate::tls::Tls;
use crate::token::Verifier;
use crate::trace;

use gestalt::gestalt;
use ledger::Asked;
pub(crate) use refusal::Refusal;
use refusal::{failed, garbled};

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
                let gestalt = gestalt(self.websockets);
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

    pub(crate) fn tools(&self) -> Tools {
        Tools {
            metas: self.metas.clone(),
            signer: self.signer.clone(),
            url_seconds: self.limits.signed_url.as_secs(),
            ledgers_per_connection: self.limits.ledgers_per_connection,
        }
    }
}
