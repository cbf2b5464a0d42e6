//! The protocol of the cloud: the messages between a sync server and its clients, exact on the wire.
//!
//! A client sends JSON messages over a WebSocket or by `PUT`; CARs travel beside them, over URLs
//! that the server signs. [`Message`] is a message, [`MetaSet`] what it may carry: the pointers to the
//! newest CARs of a ledger, and its keys. [`AttachUrl`] is where the server is, [`Claims`] what a token
//! allows. Signing and sending are elsewhere.
//!
//! Unknown fields are ignored. Everything known has a type and a greatest length, see the constants.
//!
//! ```
//! use firebrick_core::cloud::{Auth, Body, Message, OpenConn};
//!
//! let open = Message::new("z1", Auth::token("a.b.c"), Body::ReqOpen {
//!     conn: OpenConn { req_id: "z2".into(), res_id: None },
//! });
//! let text = open.encode();
//! assert_eq!(Message::parse(text.as_bytes())?, open);
//! # Ok::<(), Box<firebrick_core::cloud::Rejected>>(())
//! ```

mod claims;
mod gestalt;
mod message;
mod meta;
mod parts;
mod url;
mod wire;

pub use claims::{Access, Audience, Claims, Denied, LedgerClaim, Right, Role, TenantClaim};
pub use gestalt::{Gestalt, Passing};
pub use message::{Body, DataKind, ErrorBody, Message, Operation, Rejected, Scope};
pub use meta::{KeyText, MetaEntry, MetaSet, SlotNote};
pub use parts::{Auth, Conn, MethodParam, OpenConn, Store, TenantLedger, UrlParam, Verb};
pub use url::{AttachUrl, Protocol, UrlError};

/// The version that is written into messages. What arrives is not checked, as no client does.
///
/// ```
/// use firebrick_core::cloud::{Auth, Body, ErrorBody, Message, VERSION};
///
/// let message = Message::new("z1", Auth::none(), Body::Error(ErrorBody::default()));
/// assert_eq!(message.version, VERSION);
/// ```
pub const VERSION: &str = "FP-MSG-1.0";
/// The key of a ledger's metas in `urlParam`.
///
/// ```
/// use firebrick_core::cloud::{META_KEY, UrlParam};
///
/// let url = UrlParam { key: META_KEY.into(), ..UrlParam::default() };
/// assert_eq!(url.key, "main");
/// ```
pub const META_KEY: &str = "main";

/// Greatest length of a message in bytes.
///
/// ```
/// use firebrick_core::cloud::{MAX_MESSAGE_LEN, Message, ProtocolError};
///
/// let parsed = Message::parse(&vec![b' '; MAX_MESSAGE_LEN + 1]);
/// let error = parsed.expect_err("it is too long").error;
/// assert_eq!(error, ProtocolError::TooLong(MAX_MESSAGE_LEN + 1));
/// ```
pub const MAX_MESSAGE_LEN: usize = 16 << 20;
/// Greatest length of an id in bytes: transactions, connections, tenants, ledgers, keys of objects.
///
/// ```
/// use firebrick_core::cloud::{MAX_ID_LEN, Message, ProtocolError};
///
/// let json = serde_json::json!({ "tid": "z".repeat(MAX_ID_LEN + 1) }).to_string();
/// let error = Message::parse(json.as_bytes()).expect_err("it is too long").error;
/// assert_eq!(error, ProtocolError::Field { field: "tid", max: MAX_ID_LEN });
/// ```
pub const MAX_ID_LEN: usize = 256;
/// Greatest length of a token in bytes.
///
/// ```
/// use firebrick_core::cloud::{Auth, Body, ErrorBody, MAX_TOKEN_LEN, Message, ProtocolError};
///
/// let auth = Auth::token("x".repeat(MAX_TOKEN_LEN + 1));
/// let json = Message::new("z1", auth, Body::Error(ErrorBody::default())).encode();
/// let error = Message::parse(json.as_bytes()).expect_err("the token is too long").error;
/// assert_eq!(error, ProtocolError::Field { field: "auth.params.jwk", max: MAX_TOKEN_LEN });
/// ```
pub const MAX_TOKEN_LEN: usize = 64 << 10;
/// Greatest length of a URL or of an error's text in bytes.
///
/// ```
/// use firebrick_core::cloud::{Auth, Body, ErrorBody, MAX_TEXT_LEN, Message, ProtocolError};
///
/// let body = ErrorBody { message: "x".repeat(MAX_TEXT_LEN + 1), ..ErrorBody::default() };
/// let json = Message::new("z1", Auth::none(), Body::Error(body)).encode();
/// let error = Message::parse(json.as_bytes()).expect_err("the text is too long").error;
/// assert_eq!(error, ProtocolError::Field { field: "message", max: MAX_TEXT_LEN });
/// ```
pub const MAX_TEXT_LEN: usize = 8 << 10;
/// Greatest number of metas, of keys, and of the parents of a meta.
///
/// ```
/// use firebrick_core::cloud::{MAX_ENTRIES, Message, ProtocolError};
///
/// let keys = vec!["z1"; MAX_ENTRIES + 1];
/// let json = serde_json::json!({ "meta": { "metas": [], "keys": keys } }).to_string();
/// let error = Message::parse(json.as_bytes()).expect_err("they are too many").error;
/// assert_eq!(error, ProtocolError::Field { field: "meta.keys", max: MAX_ENTRIES });
/// ```
pub const MAX_ENTRIES: usize = 1 << 16;
/// Greatest length of a meta's block as text.
///
/// ```
/// use firebrick_core::cloud::{MAX_META_LEN, Message, ProtocolError};
/// # let cid = firebrick_core::pail::EMPTY_ROOT;
///
/// let data = "M".repeat(MAX_META_LEN + 1);
/// let entry = serde_json::json!({ "cid": cid, "parents": [], "data": data });
/// let json = serde_json::json!({ "meta": { "metas": [entry] } }).to_string();
/// let error = Message::parse(json.as_bytes()).expect_err("it is too long").error;
/// assert_eq!(error, ProtocolError::Field { field: "meta.metas.data", max: MAX_META_LEN });
/// ```
pub const MAX_META_LEN: usize = 1 << 20;
/// Greatest length of a key's text.
///
/// ```
/// use firebrick_core::cloud::{KeyText, MAX_KEY_LEN};
/// use firebrick_core::keys::Key;
///
/// let text = KeyText::new(&Key::generate([255; 32]));
/// assert!(text.as_str().len() <= MAX_KEY_LEN);
/// ```
pub const MAX_KEY_LEN: usize = 64;

/// Why bytes are not a message.
///
/// ```
/// use firebrick_core::cloud::{Message, ProtocolError};
///
/// let error = |json: &str| Message::parse(json.as_bytes()).err().map(|rejected| rejected.error);
/// assert_eq!(error("{}"), Some(ProtocolError::Missing("type")));
/// assert!(matches!(error("no message"), Some(ProtocolError::Json(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Longer than [`MAX_MESSAGE_LEN`].
    #[error("a message has at most {MAX_MESSAGE_LEN} bytes, not {0}")]
    TooLong(usize),
    /// Not JSON, or a field has another type.
    #[error("not a message: {0}")]
    Json(String),
    /// No message has this type.
    #[error("unknown message type {0:?}")]
    Type(String),
    /// A field that the type needs is missing.
    #[error("the message has no {0}")]
    Missing(&'static str),
    /// A field is longer than it may be.
    #[error("{field} is longer than {max}")]
    Field {
        /// Its name.
        field: &'static str,
        /// The greatest length.
        max: usize,
    },
}

/// Refuses what is too long.
fn limit(field: &'static str, len: usize, max: usize) -> Result<(), ProtocolError> {
    if len > max {
        return Err(ProtocolError::Field { field, max });
    }
    Ok(())
}
