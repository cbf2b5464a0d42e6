//! Connections: opening one, and finding that of a message.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use firebrick_core::cloud::{Body, Claims, Conn, OpenConn};

use super::{App, Refusal, Via};
use crate::hub::Connection;
use crate::ids::Name;
use crate::trace::Printable;

impl App {
    pub(super) async fn open(
        &self,
        conn: &OpenConn,
        claims: &Claims,
        via: &mut Via,
    ) -> Result<Conn, Refusal> {
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
    pub(super) async fn connection(
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
}
