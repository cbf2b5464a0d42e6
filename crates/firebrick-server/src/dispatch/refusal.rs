//! Why a message is not answered as its sender wished, and what is said to that.

use firebrick_core::cid::Cid;
use firebrick_core::cloud::{Auth, Body, Denied, ErrorBody, Message, Rejected};
use firebrick_core::meta::MetaError;
use serde_json::json;

use crate::ids::{IdError, Name};
use crate::metas::MetaStoreError;
use crate::tenants::OverQuota;
use crate::token::TokenError;

/// The longest text of an error in bytes, not far beyond what people read.
const MAX_QUOTE: usize = 1024;

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
    pub(super) fn reason(&self) -> Option<&'static str> {
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

/// The error to a request. Only that to a bind names the connection: the JavaScript client would end its
/// subscription at any other, and would wait for ever without it.
pub(super) fn failed(message: Message, refusal: &Refusal) -> Message {
    let conn = match &message.body {
        Body::BindGetMeta { scope } => Some(scope.conn.clone()),
        _ => None,
    };
    let body = ErrorBody {
        conn,
        src: json!({"type": message.kind(), "tid": message.tid}),
        message: bounded(refusal.to_string()),
        reason: refusal.reason().map(str::to_owned),
        ..ErrorBody::default()
    };
    Message::new(message.tid, message.auth, Body::Error(body))
}

/// The same to what is no message.
pub(super) fn garbled(rejected: Rejected) -> Message {
    let is_bind = rejected.kind.as_deref() == Some("bindGetMeta");
    let body = ErrorBody {
        conn: rejected.conn.filter(|_| is_bind),
        src: json!({"type": rejected.kind, "tid": rejected.tid}),
        message: bounded(rejected.error.to_string()),
        ..ErrorBody::default()
    };
    let tid = rejected.tid.unwrap_or_else(|| "internal".into());
    Message::new(tid, Auth::none(), Body::Error(body))
}

/// The text of an error may quote what it was sent, which may be as long as a message.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_QUOTE {
        text.truncate(text.floor_char_boundary(MAX_QUOTE));
        text.push('…');
    }
    text
}
