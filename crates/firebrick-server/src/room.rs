//! A ledger and those who subscribe to it.
//!
//! What changes a ledger's metas and what answers a bind happens under the room's lock. So whoever has
//! bound has been sent everything, in order, and nothing has to be remembered as delivered: a message
//! that did not arrive is gone with its WebSocket, and the next bind gets the full set again.
//! Only those without a WebSocket have a position. They move on when they ask again with the same
//! transaction, because that says that the last answer has arrived.

use std::collections::HashMap;
use std::sync::Arc;

use firebrick_core::cloud::{
    Auth, Body, Conn, KeyText, META_KEY, Message, MetaEntry, MetaSet, MethodParam, Scope, Store,
    TenantLedger, UrlParam, Verb,
};
use tokio::sync::Mutex;

use crate::clock::now;
use crate::dispatch::Refusal;
use crate::hub::{Connection, Outbox};
use crate::ids::LedgerId;
use crate::ledgers::Ledger;
use crate::metas::{MetaPut, MetaStore, MetaStoreError, MetaView, StoredMeta};
use crate::signed::{Signer, Target};

#[derive(Debug)]
pub(crate) struct Room {
    ledger: LedgerId,
    account: Arc<Ledger>,
    members: Mutex<HashMap<Conn, Member>>,
}

/// A bind.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) connection: Arc<Connection>,
    pub(crate) tid: String,
    /// The subscriber's own, never the writer's.
    pub(crate) auth: Auth,
    pub(crate) url: UrlParam,
    pub(crate) tenant: TenantLedger,
    /// When its token ends, in seconds since 1970. From then on it is sent nothing.
    pub(crate) valid_until: u64,
    /// The last meta that it was sent.
    pub(crate) position: i64,
}

/// What rooms need of the server.
#[derive(Clone, Copy)]
pub(crate) struct Tools<'a> {
    pub(crate) metas: &'a dyn MetaStore,
    pub(crate) signer: &'a Signer,
    pub(crate) url_seconds: u64,
    pub(crate) ledgers_per_connection: usize,
}

impl Room {
    pub(crate) fn new(account: Arc<Ledger>) -> Self {
        Self {
            ledger: account.id.clone(),
            account,
            members: Mutex::default(),
        }
    }

    /// Adds a subscriber, or one that binds again, and answers it: over its WebSocket, else by the
    /// message that is returned.
    pub(crate) async fn bind(
        self: &Arc<Self>,
        mut member: Member,
        tools: Tools<'_>,
    ) -> Result<Option<Message>, Refusal> {
        let mut members = self.members.lock().await;
        let connection = member.connection.clone();
        let before = members.get(&connection.name);
        let goes_on = before.filter(|before| {
            connection.outbox.is_none()
                && before.tid == member.tid
                && Arc::ptr_eq(&before.connection, &connection)
        });
        let position = goes_on.map_or(0, |before| before.position);
        let view = tools.metas.after(self.ledger.clone(), position).await?;
        let remembered = connection.remember(
            self.ledger.clone(),
            self.clone(),
            member.valid_until,
            tools.ledgers_per_connection,
        );
        if !remembered {
            return Err(Refusal::TooManyBinds);
        }
        member.position = last(&view.metas).unwrap_or(position);
        // Its own it has, unless it begins anew.
        let foreign = |meta: &&StoredMeta| position == 0 || meta.owner != connection.name;
        let metas = view.metas.iter().filter(foreign);
        let event = self.event(&member, metas.map(|m| &m.entry), &view.keys, tools);
        members.insert(connection.name.clone(), member);
        if connection.is_closed() {
            members.remove(&connection.name);
            return Err(Refusal::UnknownConnection);
        }
        Ok(match &connection.outbox {
            Some(outbox) => {
                self.send(outbox, &event);
                None
            }
            None => Some(event),
        })
    }

    pub(crate) async fn leave(&self, connection: &Arc<Connection>) {
        let mut members = self.members.lock().await;
        if let Some(member) = members.get(&connection.name)
            && Arc::ptr_eq(&member.connection, connection)
        {
            members.remove(&connection.name);
        }
    }

    /// Stores metas and tells all others.
    pub(crate) async fn put(&self, put: MetaPut, tools: Tools<'_>) -> Result<(), MetaStoreError> {
        let mut members = self.members.lock().await;
        let writer = put.owner.clone();
        let fresh = tools.metas.put(self.ledger.clone(), put).await?;
        let Some(position) = last(&fresh.metas) else {
            // Keys alone are told, too: somebody may wait for one.
            if fresh.new_keys {
                self.tell(&mut members, &writer, &fresh, None, tools);
            }
            return Ok(());
        };
        self.tell(&mut members, &writer, &fresh, Some(position), tools);
        Ok(())
    }

    fn tell(
        &self,
        members: &mut HashMap<Conn, Member>,
        writer: &Conn,
        fresh: &MetaView,
        position: Option<i64>,
        tools: Tools<'_>,
    ) {
        let now = now();
        for member in members.values_mut() {
            let Some(outbox) = &member.connection.outbox else {
                continue;
            };
            // Once its token is renewed it gets what it has missed.
            if member.valid_until <= now {
                continue;
            }
            if member.connection.name != *writer {
                let metas = fresh.metas.iter().map(|meta| &meta.entry);
                let event = self.event(member, metas, &fresh.keys, tools);
                self.send(outbox, &event);
            }
            member.position = position.unwrap_or(member.position);
        }
    }

    /// A subscriber has a new token. What it missed while the old one had ended is sent now.
    pub(crate) async fn renew(
        &self,
        connection: &Arc<Connection>,
        auth: &Auth,
        valid_until: u64,
        tools: Tools<'_>,
    ) -> Result<(), MetaStoreError> {
        let mut members = self.members.lock().await;
        let Some(member) = members.get_mut(&connection.name) else {
            return Ok(());
        };
        member.auth = auth.clone();
        if let (true, Some(outbox)) = (member.valid_until <= now(), &connection.outbox) {
            let view = tools
                .metas
                .after(self.ledger.clone(), member.position)
                .await?;
            let foreign = view
                .metas
                .iter()
                .filter(|meta| meta.owner != connection.name);
            let missed: Vec<_> = foreign.map(|meta| &meta.entry).collect();
            if !missed.is_empty() {
                let event = self.event(member, missed.into_iter(), &view.keys, tools);
                self.send(outbox, &event);
            }
            member.position = last(&view.metas).unwrap_or(member.position);
        }
        // Only now: what fails above is tried again with the next message.
        member.valid_until = valid_until;
        connection.prolong(&self.ledger, valid_until);
        Ok(())
    }

    fn send(&self, outbox: &Outbox, event: &Message) {
        let text = event.encode();
        let len = text.len() as u64;
        if outbox.push(text) {
            self.account.events.add(1);
            self.account.traffic.sent.add(len);
        }
    }

    fn event<'a>(
        &self,
        member: &Member,
        metas: impl Iterator<Item = &'a MetaEntry>,
        keys: &[KeyText],
        tools: Tools<'_>,
    ) -> Message {
        let target = Target {
            verb: Verb::Get,
            ledger: &self.ledger,
            store: Store::Meta.as_str(),
            key: META_KEY,
            expires: now() + tools.url_seconds,
        };
        let signed_url = tools
            .signer
            .url(&member.connection.base, &target, &member.tid);
        let body = Body::EventGetMeta {
            scope: Scope {
                conn: member.connection.name.clone(),
                tenant: Some(member.tenant.clone()),
                method: MethodParam {
                    method: Verb::Get,
                    store: Store::Meta,
                },
                url: member.url.clone(),
            },
            signed_url,
            meta: MetaSet {
                metas: metas.cloned().collect(),
                keys: keys.to_vec(),
            },
        };
        Message::new(member.tid.clone(), member.auth.clone(), body)
    }
}

fn last(metas: &[StoredMeta]) -> Option<i64> {
    metas.last().map(|meta| meta.position)
}
