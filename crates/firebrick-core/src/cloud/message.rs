//! The messages.

use serde::Deserialize;
use serde_json::Value as Json;

use super::wire::Wire;
use super::{
    Auth, Conn, Gestalt, MAX_ID_LEN, MAX_MESSAGE_LEN, MAX_TEXT_LEN, MetaSet, MethodParam, OpenConn,
    ProtocolError, TenantLedger, UrlParam, VERSION, limit,
};

/// A message in either direction.
///
/// ```
/// use firebrick_core::cloud::{Auth, Body, Message};
///
/// let json = r#"{ "tid": "z1", "type": "reqOpen", "auth": { "type": "error" }, "conn": { "reqId": "z2" } }"#;
/// let message = Message::parse(json.as_bytes())?;
/// assert_eq!((message.tid.as_str(), &message.auth), ("z1", &Auth::none()));
/// assert!(matches!(message.body, Body::ReqOpen { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Drawn by who asks; the answer has the same.
    pub tid: String,
    /// Without meaning; see [`VERSION`].
    pub version: String,
    /// Who asks. Answers repeat it.
    pub auth: Auth,
    /// The rest.
    pub body: Body,
}

/// What a message says.
///
/// ```
/// use firebrick_core::cloud::{Body, Message};
/// # let json = r#"{"tid":"z1","type":"reqOpen","auth":{"type":"error"},"conn":{"reqId":"z2"}}"#;
///
/// match Message::parse(json.as_bytes())?.body {
///     Body::ReqOpen { conn } => assert_eq!(conn.req_id, "z2"),
///     Body::Error(error) => panic!("{}", error.message),
///     other => panic!("{}", other.kind()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// What the client can do; the first message, by `PUT`.
    ReqGestalt {
        /// The client's.
        gestalt: Gestalt,
        /// Only for tests of the reference.
        publish: Option<bool>,
    },
    /// What the server can do.
    ResGestalt {
        /// The server's.
        gestalt: Gestalt,
    },
    /// Opens a connection, or an old one again.
    ReqOpen {
        /// The client's part, or both.
        conn: OpenConn,
    },
    /// The connection is open.
    ResOpen {
        /// Its name.
        conn: Conn,
    },
    /// Closes a connection; no client sends it.
    ReqClose {
        /// Its name.
        conn: Conn,
    },
    /// The connection is closed.
    ResClose {
        /// Its name.
        conn: Conn,
    },
    /// Traffic of the reference's tests.
    ReqChat {
        /// The sender.
        conn: Conn,
        /// The text.
        message: String,
        /// The receivers.
        targets: Vec<Conn>,
    },
    /// Its answer.
    ResChat {
        /// The sender.
        conn: Conn,
        /// The text.
        message: String,
        /// The receivers.
        targets: Vec<Conn>,
    },
    /// Subscribes the connection to a ledger's metas.
    BindGetMeta {
        /// Which ledger.
        scope: Scope,
    },
    /// Metas that the subscriber lacks. The first answers the subscription.
    EventGetMeta {
        /// Which ledger, and the subscriber's connection.
        scope: Scope,
        /// Present, but nobody uses it.
        signed_url: String,
        /// The metas, and all keys of the ledger.
        meta: MetaSet,
    },
    /// Publishes metas.
    ReqPutMeta {
        /// Which ledger.
        scope: Scope,
        /// The metas, and all keys that the writer knows.
        meta: MetaSet,
    },
    /// They are stored.
    ResPutMeta {
        /// Which ledger.
        scope: Scope,
        /// Present, but nobody uses it.
        signed_url: String,
        /// Ignored by clients.
        meta: MetaSet,
    },
    /// Removes keys; no client sends it.
    ReqDelMeta {
        /// Which ledger.
        scope: Scope,
        /// What to remove.
        meta: Option<MetaSet>,
    },
    /// They are removed.
    ResDelMeta {
        /// Which ledger.
        scope: Scope,
        /// As in other answers.
        signed_url: Option<String>,
        /// What was removed.
        meta: Option<MetaSet>,
    },
    /// Asks for a signed URL.
    ReqData {
        /// What for.
        operation: Operation,
        /// Of which kind.
        kind: DataKind,
        /// Which object.
        scope: Scope,
    },
    /// A signed URL.
    ResData {
        /// What for.
        operation: Operation,
        /// Of which kind.
        kind: DataKind,
        /// Which object.
        scope: Scope,
        /// The URL.
        signed_url: String,
    },
    /// The request failed.
    Error(ErrorBody),
}

/// What a request is about.
///
/// ```
/// use firebrick_core::cloud::{Body, Conn, META_KEY, MethodParam, Scope, Store, UrlParam, Verb};
///
/// let scope = Scope {
///     conn: Conn { req_id: "z1".into(), res_id: "z2".into() },
///     tenant: None, // what the token selects
///     method: MethodParam { method: Verb::Get, store: Store::Meta },
///     url: UrlParam { key: META_KEY.into(), ..UrlParam::default() },
/// };
/// assert_eq!(Body::BindGetMeta { scope }.kind(), "bindGetMeta");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The connection.
    pub conn: Conn,
    /// The ledger; without it the one that the token selects.
    pub tenant: Option<TenantLedger>,
    /// What is done.
    pub method: MethodParam,
    /// With which object.
    pub url: UrlParam,
}

/// What a signed URL is for.
///
/// ```
/// use firebrick_core::cloud::{Body, DataKind, Operation};
/// # use firebrick_core::cloud::{Conn, MethodParam, Scope, Store, UrlParam, Verb};
/// # let scope = Scope {
/// #     conn: Conn { req_id: "z1".into(), res_id: "z2".into() },
/// #     tenant: None,
/// #     method: MethodParam { method: Verb::Get, store: Store::Car },
/// #     url: UrlParam::default(),
/// # };
///
/// let kind = DataKind::Data;
/// let body = |operation| Body::ReqData { operation, kind, scope: scope.clone() };
/// assert_eq!(body(Operation::Get).kind(), "reqGetData");
/// assert_eq!(body(Operation::Delete).kind(), "reqDelData");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    Get,
    Put,
    Delete,
}

/// Whether a signed URL is for a CAR or for a write-ahead log.
///
/// ```
/// use firebrick_core::cloud::{Body, DataKind, Operation};
/// # use firebrick_core::cloud::{Conn, MethodParam, Scope, Store, UrlParam, Verb};
/// # let scope = Scope {
/// #     conn: Conn { req_id: "z1".into(), res_id: "z2".into() },
/// #     tenant: None,
/// #     method: MethodParam { method: Verb::Get, store: Store::Car },
/// #     url: UrlParam::default(),
/// # };
///
/// let operation = Operation::Put;
/// let body = |kind| Body::ReqData { operation, kind, scope: scope.clone() };
/// assert_eq!(body(DataKind::Data).kind(), "reqPutData");
/// assert_eq!(body(DataKind::Wal).kind(), "reqPutWAL");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// A CAR of documents or files.
    Data,
    /// A write-ahead log; no client sends these.
    Wal,
}

/// Why a request failed.
///
/// A JavaScript client ends its subscription at any error that names its connection, except in the
/// answer to [`Body::BindGetMeta`], which it drops otherwise. So only that answer may have `conn`.
///
/// ```
/// use firebrick_core::cloud::{Auth, Body, ErrorBody, Message};
///
/// let error = ErrorBody {
///     message: "the ledger is locked".into(),
///     reason: Some("not-ready".into()),
///     ..ErrorBody::default()
/// };
/// let json = Message::new("z1", Auth::none(), Body::Error(error)).encode();
/// assert!(json.contains(r#""reason":"not-ready""#));
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ErrorBody {
    /// The connection; see above.
    pub conn: Option<Conn>,
    /// What the error is about: the request, or any JSON.
    pub src: Json,
    /// The cause.
    pub message: String,
    /// A word for programs, such as `not-ready`.
    pub reason: Option<String>,
    /// More about the cause.
    pub body: Option<Json>,
    /// Where a JavaScript server failed.
    pub stack: Option<Json>,
}

/// Bytes that are no message, with what could be read of them, for the answer.
///
/// ```
/// use firebrick_core::cloud::{Message, ProtocolError};
///
/// let json = br#"{ "tid": "z1", "type": "reqDance", "auth": { "type": "error" } }"#;
/// let rejected = Message::parse(json).expect_err("there is no such type");
/// assert_eq!(rejected.error, ProtocolError::Type("reqDance".into()));
/// assert_eq!(rejected.tid.as_deref(), Some("z1"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// The transaction.
    pub tid: Option<String>,
    /// The type.
    pub kind: Option<String>,
    /// The connection.
    pub conn: Option<Conn>,
    /// What is wrong.
    pub error: ProtocolError,
}

impl Message {
    /// A message of the current version.
    ///
    /// ```
    /// use firebrick_core::cloud::{Auth, Body, Message, OpenConn, VERSION};
    ///
    /// let conn = OpenConn { req_id: "z2".into(), res_id: None };
    /// let open = Message::new("z1", Auth::token("a.b.c"), Body::ReqOpen { conn });
    /// assert_eq!((open.tid.as_str(), open.version.as_str()), ("z1", VERSION));
    /// ```
    #[must_use]
    pub fn new(tid: impl Into<String>, auth: Auth, body: Body) -> Self {
        Self {
            tid: tid.into(),
            version: VERSION.into(),
            auth,
            body,
        }
    }

    /// Reads a message.
    ///
    /// ```
    /// use firebrick_core::cloud::Message;
    ///
    /// let json = br#"{"tid":"z1","type":"error","auth":{"type":"error"},"message":"no"}"#;
    /// assert_eq!(Message::parse(json)?.tid, "z1");
    /// assert!(Message::parse(b"[]").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`] says what is wrong, and who sent it as far as that can be read.
    pub fn parse(json: &[u8]) -> Result<Self, Box<Rejected>> {
        if json.len() > MAX_MESSAGE_LEN {
            return Err(Box::new(Rejected {
                tid: None,
                kind: None,
                conn: None,
                error: ProtocolError::TooLong(json.len()),
            }));
        }
        serde_json::from_slice::<Wire>(json)
            .map_err(|error| ProtocolError::Json(error.to_string()))
            .and_then(Wire::message)
            .map_err(|error| Box::new(Rejected::new(json, error)))
    }

    /// The message as JSON, its fields in the order of the JavaScript implementation.
    ///
    /// ```
    /// use firebrick_core::cloud::{Auth, Body, Message, OpenConn};
    ///
    /// let conn = OpenConn { req_id: "z2".into(), res_id: None };
    /// let open = Message::new("z1", Auth::none(), Body::ReqOpen { conn });
    /// assert_eq!(
    ///     open.encode(),
    ///     r#"{"tid":"z1","auth":{"type":"error"},"type":"reqOpen","version":"FP-MSG-1.0","conn":{"reqId":"z2"}}"#
    /// );
    /// ```
    #[must_use]
    pub fn encode(&self) -> String {
        // Nothing in a message can fail to be written: no maps but those with text keys.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The name of the message's type.
    ///
    /// ```
    /// use firebrick_core::cloud::{Auth, Body, ErrorBody, Message};
    ///
    /// let message = Message::new("z1", Auth::none(), Body::Error(ErrorBody::default()));
    /// assert_eq!(message.kind(), "error");
    /// ```
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.body.kind()
    }
}

impl Body {
    /// The name of the type.
    ///
    /// ```
    /// use firebrick_core::cloud::{Body, Gestalt};
    ///
    /// let gestalt = Gestalt::default();
    /// assert_eq!(Body::ResGestalt { gestalt }.kind(), "resGestalt");
    /// ```
    #[must_use]
    pub fn kind(&self) -> &'static str {
        use DataKind::{Data, Wal};
        use Operation::{Delete, Get, Put};
        match self {
            Body::ReqGestalt { .. } => "reqGestalt",
            Body::ResGestalt { .. } => "resGestalt",
            Body::ReqOpen { .. } => "reqOpen",
            Body::ResOpen { .. } => "resOpen",
            Body::ReqClose { .. } => "reqClose",
            Body::ResClose { .. } => "resClose",
            Body::ReqChat { .. } => "reqChat",
            Body::ResChat { .. } => "resChat",
            Body::BindGetMeta { .. } => "bindGetMeta",
            Body::EventGetMeta { .. } => "eventGetMeta",
            Body::ReqPutMeta { .. } => "reqPutMeta",
            Body::ResPutMeta { .. } => "resPutMeta",
            Body::ReqDelMeta { .. } => "reqDelMeta",
            Body::ResDelMeta { .. } => "resDelMeta",
            Body::ReqData {
                operation, kind, ..
            } => match (operation, kind) {
                (Get, Data) => "reqGetData",
                (Put, Data) => "reqPutData",
                (Delete, Data) => "reqDelData",
                (Get, Wal) => "reqGetWAL",
                (Put, Wal) => "reqPutWAL",
                (Delete, Wal) => "reqDelWAL",
            },
            Body::ResData {
                operation, kind, ..
            } => match (operation, kind) {
                (Get, Data) => "resGetData",
                (Put, Data) => "resPutData",
                (Delete, Data) => "resDelData",
                (Get, Wal) => "resGetWAL",
                (Put, Wal) => "resPutWAL",
                (Delete, Wal) => "resDelWAL",
            },
            Body::Error(_) => "error",
        }
    }

    /// The connection that it names.
    ///
    /// ```
    /// use firebrick_core::cloud::{Body, Conn, Gestalt};
    ///
    /// let conn = Conn { req_id: "z1".into(), res_id: "z2".into() };
    /// let named = Body::ResOpen { conn }.conn();
    /// assert_eq!(named.and_then(|conn| conn.res_id).as_deref(), Some("z2"));
    /// assert_eq!(Body::ResGestalt { gestalt: Gestalt::default() }.conn(), None);
    /// ```
    #[must_use]
    pub fn conn(&self) -> Option<OpenConn> {
        let conn = match self {
            Body::ReqOpen { conn } => return Some(conn.clone()),
            Body::Error(error) => error.conn.as_ref()?,
            Body::ResOpen { conn }
            | Body::ReqClose { conn }
            | Body::ResClose { conn }
            | Body::ReqChat { conn, .. }
            | Body::ResChat { conn, .. } => conn,
            other => &other.scope()?.conn,
        };
        Some(OpenConn {
            req_id: conn.req_id.clone(),
            res_id: Some(conn.res_id.clone()),
        })
    }
}

impl Scope {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        self.tenant.as_ref().map_or(Ok(()), TenantLedger::check)?;
        self.url.check()
    }
}

impl ErrorBody {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        limit("message", self.message.len(), MAX_TEXT_LEN)?;
        let reason = self.reason.as_ref().map_or(0, String::len);
        limit("reason", reason, MAX_ID_LEN)
    }
}

impl Rejected {
    fn new(json: &[u8], error: ProtocolError) -> Self {
        /// Any types, so that one wrong field does not hide the others.
        #[derive(Default, Deserialize)]
        struct Head {
            #[serde(default)]
            tid: Json,
            #[serde(default, rename = "type")]
            kind: Json,
            #[serde(default)]
            conn: Json,
        }
        let head: Head = serde_json::from_slice(json).unwrap_or_default();
        let text = |json: &Json| {
            let text = json.as_str().filter(|text| text.len() <= MAX_ID_LEN);
            text.map(str::to_owned)
        };
        let conn = OpenConn::deserialize(&head.conn).ok();
        Self {
            tid: text(&head.tid),
            kind: text(&head.kind),
            conn: conn
                .filter(|conn| conn.check().is_ok())
                .and_then(OpenConn::full),
            error,
        }
    }
}
