//! What the server tells without being asked.

use std::sync::{Mutex, Weak};

use firebrick_core::cloud::{Body, Conn, Message, TenantLedger};
use tokio::sync::oneshot;

use super::link::Link;
use super::session::Session;
use crate::lock::lock;

/// Where events go: in order, the first to the bind as the full set.
pub(super) struct Feed {
    link: Weak<Link>,
    expected: Mutex<Expected>,
}

#[derive(Default)]
struct Expected {
    reader: Option<Conn>,
    ledger: Option<TenantLedger>,
    tid: String,
    bound: Option<oneshot::Sender<()>>,
    answered: bool,
}

impl Feed {
    pub(super) fn new(link: Weak<Link>) -> Self {
        Self {
            link,
            expected: Mutex::default(),
        }
    }

    /// What the bind `tid` of a session's reader will be answered; the receiver is told when it was.
    pub(super) fn expect(&self, session: &Session, tid: &str) -> oneshot::Receiver<()> {
        let (bound, answered) = oneshot::channel();
        *lock(&self.expected) = Expected {
            reader: Some(session.reader.clone()),
            ledger: Some(session.ledger.clone()),
            tid: tid.to_owned(),
            bound: Some(bound),
            answered: false,
        };
        answered
    }

    /// Takes an event; false if there are too many.
    pub(super) fn take(&self, message: &Message) -> bool {
        let Some(link) = self.link.upgrade() else {
            return false;
        };
        let Body::EventGetMeta { scope, meta, .. } = &message.body else {
            return true;
        };
        let mut expected = lock(&self.expected);
        let same_ledger = |told: &TenantLedger| {
            let ours = expected.ledger.as_ref();
            ours.is_some_and(|ours| (&ours.tenant, &ours.ledger) == (&told.tenant, &told.ledger))
        };
        let ours = expected.reader.as_ref() == Some(&scope.conn)
            && scope.tenant.as_ref().is_none_or(same_ledger);
        if !ours {
            tracing::debug!(conn = %scope.conn, "an event for somebody else is left out");
            return true;
        }
        let is_answer = !expected.answered;
        if is_answer && message.tid != expected.tid {
            return true;
        }
        expected.answered = true;
        let enough = link.take(meta, is_answer);
        if let Some(bound) = expected.bound.take() {
            // Whoever bound may have given up.
            let _ = bound.send(());
        }
        enough
    }
}
