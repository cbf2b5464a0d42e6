//! One open connection to the server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use firebrick_core::cloud::{
    Conn, META_KEY, MethodParam, Scope, Store, TenantLedger, UrlParam, Verb,
};
use hashbrown::HashMap;
use tokio::time::Instant;

use super::socket::Socket;
use crate::gateway::SlotId;
use crate::lock::lock;

/// An open connection.
pub(super) struct Session {
    pub(super) transport: Transport,
    /// Is told, and asks for URLs. A new one each time, so that the answer to its bind is everything
    /// there is.
    pub(super) reader: Conn,
    /// Publish, one for each slot.
    writers: Mutex<HashMap<SlotId, Conn>>,
    pub(super) ledger: TenantLedger,
    ended: AtomicBool,
    /// Where a WebSocket should be, when to try again.
    until: Option<Instant>,
}

pub(super) enum Transport {
    Socket(Socket),
    Polling {
        endpoint: String,
        tid: String,
        /// One at a time: asking again says that the last answer has arrived.
        turn: tokio::sync::Mutex<()>,
    },
}

/// Ends a session unless all went well.
pub(super) struct EndOnDrop<'a>(pub(super) Option<&'a Session>);

impl EndOnDrop<'_> {
    pub(super) fn dismiss(mut self) {
        self.0 = None;
    }
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.end();
        }
    }
}

impl Session {
    pub(super) fn new(transport: Transport, ledger: TenantLedger, until: Option<Instant>) -> Self {
        Self {
            transport,
            reader: Conn {
                req_id: String::new(),
                res_id: String::new(),
            },
            writers: Mutex::default(),
            ledger,
            ended: AtomicBool::new(false),
            until,
        }
    }

    pub(super) fn writer(&self, slot: &SlotId) -> Option<Conn> {
        lock(&self.writers).get(slot).cloned()
    }

    pub(super) fn keep_writer(&self, slot: SlotId, conn: Conn) {
        lock(&self.writers).insert(slot, conn);
    }

    pub(super) fn lives(&self) -> bool {
        let closed = match &self.transport {
            Transport::Socket(socket) => socket.is_closed(),
            Transport::Polling { .. } => false,
        };
        let over = self.until.is_some_and(|until| Instant::now() >= until);
        !closed && !over && !self.ended.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        if let Transport::Socket(socket) = &self.transport {
            socket.end();
        }
    }

    /// Whether news have to be asked for.
    pub(super) fn is_polling(&self) -> bool {
        matches!(self.transport, Transport::Polling { .. })
    }

    /// The metas of the ledger, on whose behalf.
    pub(super) fn metas(&self, conn: &Conn, name: &str, method: Verb) -> Scope {
        self.scope(conn, name, method, Store::Meta, META_KEY)
    }

    /// Which object, on whose behalf.
    pub(super) fn scope(
        &self,
        conn: &Conn,
        name: &str,
        method: Verb,
        store: Store,
        key: &str,
    ) -> Scope {
        let TenantLedger { tenant, ledger, .. } = &self.ledger;
        Scope {
            conn: conn.clone(),
            tenant: Some(self.ledger.clone()),
            method: MethodParam { method, store },
            url: UrlParam {
                key: key.into(),
                store: Some(store.as_str().into()),
                tenant: Some(tenant.clone()),
                ledger: Some(ledger.clone()),
                name: Some(name.into()),
                ..UrlParam::default()
            },
        }
    }
}
