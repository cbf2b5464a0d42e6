//! What messages are made of.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::{MAX_ID_LEN, MAX_TOKEN_LEN, ProtocolError, limit};

/// A connection: one part named by the client, one by the server.
///
/// ```
/// use firebrick_core::cloud::Conn;
///
/// let conn = Conn { req_id: "z1".into(), res_id: "z2".into() };
/// assert_eq!(conn.to_string(), "z1:z2");
/// assert_eq!(serde_json::to_string(&conn)?, r#"{"reqId":"z1","resId":"z2"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conn {
    /// The client's part.
    pub req_id: String,
    /// The server's part.
    pub res_id: String,
}

impl fmt::Display for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.req_id, self.res_id)
    }
}

/// A connection that may not have the server's part yet.
///
/// ```
/// use firebrick_core::cloud::OpenConn;
///
/// let conn = OpenConn { req_id: "z1".into(), res_id: None };
/// assert_eq!(serde_json::to_string(&conn)?, r#"{"reqId":"z1"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenConn {
    /// The client's part.
    pub req_id: String,
    /// The server's part, when a client opens a connection again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub res_id: Option<String>,
}

impl OpenConn {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        limit("conn.reqId", self.req_id.len(), MAX_ID_LEN)?;
        let res_id = self.res_id.as_ref().map_or(0, String::len);
        limit("conn.resId", res_id, MAX_ID_LEN)
    }

    /// Both parts, or nothing.
    pub(super) fn full(self) -> Option<Conn> {
        Some(Conn {
            req_id: self.req_id,
            res_id: self.res_id?,
        })
    }
}

/// Whose ledger.
///
/// ```
/// use firebrick_core::cloud::TenantLedger;
///
/// let json = r#"{ "tenant": "acme", "ledger": "notes", "appId": "editor" }"#;
/// let whose: TenantLedger = serde_json::from_str(json)?;
/// assert_eq!((whose.tenant.as_str(), whose.ledger.as_str()), ("acme", "notes"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantLedger {
    /// The tenant.
    pub tenant: String,
    /// The ledger.
    pub ledger: String,
    /// An application of the tenant; without meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
}

impl TenantLedger {
    /// A ledger of a tenant.
    ///
    /// ```
    /// use firebrick_core::cloud::TenantLedger;
    ///
    /// let whose = TenantLedger::new("acme", "notes");
    /// assert!(whose.ledger == "notes" && whose.app_id.is_none());
    /// ```
    #[must_use]
    pub fn new(tenant: impl Into<String>, ledger: impl Into<String>) -> Self {
        Self {
            tenant: tenant.into(),
            ledger: ledger.into(),
            app_id: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        limit("tenant.tenant", self.tenant.len(), MAX_ID_LEN)?;
        limit("tenant.ledger", self.ledger.len(), MAX_ID_LEN)?;
        let app_id = self.app_id.as_ref().map_or(0, String::len);
        limit("tenant.appId", app_id, MAX_ID_LEN)
    }
}

/// What is done with an object.
///
/// ```
/// use firebrick_core::cloud::Verb;
///
/// assert_eq!(serde_json::from_str::<Verb>(r#""DELETE""#)?, Verb::Delete);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// Read it.
    Get,
    /// Write it.
    Put,
    /// Delete it.
    Delete,
}

impl Verb {
    /// The method of HTTP.
    ///
    /// ```
    /// use firebrick_core::cloud::Verb;
    ///
    /// assert_eq!([Verb::Get, Verb::Put].map(Verb::as_str), ["GET", "PUT"]);
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Delete => "DELETE",
        }
    }
}

/// What kind of object.
///
/// ```
/// use firebrick_core::cloud::Store;
///
/// assert_eq!(serde_json::from_str::<Store>(r#""car""#)?, Store::Car);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Metas.
    Meta,
    /// CARs of documents.
    Car,
    /// Write-ahead logs; no client sends them.
    Wal,
    /// CARs of files.
    File,
}

impl Store {
    /// Its name.
    ///
    /// ```
    /// use firebrick_core::cloud::Store;
    ///
    /// assert_eq!([Store::Meta, Store::File].map(Store::as_str), ["meta", "file"]);
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Store::Meta => "meta",
            Store::Car => "car",
            Store::Wal => "wal",
            Store::File => "file",
        }
    }
}

/// What is done with what.
///
/// ```
/// use firebrick_core::cloud::{MethodParam, Store, Verb};
///
/// let method = MethodParam { method: Verb::Put, store: Store::Car };
/// assert_eq!(serde_json::to_string(&method)?, r#"{"method":"PUT","store":"car"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MethodParam {
    /// The verb.
    pub method: Verb,
    /// The kind of object.
    pub store: Store,
}

/// Which object.
///
/// ```
/// use firebrick_core::cloud::UrlParam;
///
/// let url = UrlParam { key: "main".into(), expires: Some(60), ..UrlParam::default() };
/// assert_eq!(serde_json::to_string(&url)?, r#"{"key":"main","expires":60}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct UrlParam {
    /// The CID of a CAR, or [`META_KEY`](super::META_KEY).
    pub key: String,
    /// As in [`MethodParam`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// As in [`TenantLedger`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// As in [`TenantLedger`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// What the client calls this remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Without meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The index that the object belongs to; no client attaches indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// How long a signed URL should be valid, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

impl UrlParam {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        limit("urlParam.key", self.key.len(), MAX_ID_LEN)?;
        for (field, value) in [
            ("urlParam.store", &self.store),
            ("urlParam.tenant", &self.tenant),
            ("urlParam.ledger", &self.ledger),
            ("urlParam.name", &self.name),
            ("urlParam.path", &self.path),
            ("urlParam.index", &self.index),
        ] {
            limit(field, value.as_ref().map_or(0, String::len), MAX_ID_LEN)?;
        }
        Ok(())
    }
}

/// Who sends a message. `Debug` does not show the token.
///
/// ```
/// use firebrick_core::cloud::Auth;
///
/// let json = r#"{ "type": "fp-cloud-jwk", "params": { "jwk": "a.b.c" } }"#;
/// let auth: Auth = serde_json::from_str(json)?;
/// assert_eq!(auth, Auth::Token("a.b.c".into()));
/// assert!(!format!("{auth:?}").contains("a.b.c"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq)]
pub enum Auth {
    /// A signed token, the only kind that clients send.
    Token(String),
    /// Any other kind, with its parameters.
    Other {
        /// Its name.
        kind: String,
        /// Its parameters.
        params: Option<Json>,
    },
}

const TOKEN_KIND: &str = "fp-cloud-jwk";

impl Auth {
    /// A token.
    ///
    /// ```
    /// use firebrick_core::cloud::Auth;
    ///
    /// assert_eq!(Auth::token("a.b.c"), Auth::Token("a.b.c".into()));
    /// ```
    #[must_use]
    pub fn token(jwt: impl Into<String>) -> Self {
        Self::Token(jwt.into())
    }

    /// What stands in messages that nobody signs.
    ///
    /// ```
    /// use firebrick_core::cloud::Auth;
    ///
    /// assert_eq!(serde_json::to_string(&Auth::none())?, r#"{"type":"error"}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self::Other {
            kind: "error".into(),
            params: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        match self {
            Self::Token(jwt) => limit("auth.params.jwk", jwt.len(), MAX_TOKEN_LEN),
            Self::Other { kind, .. } => limit("auth.type", kind.len(), MAX_ID_LEN),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Token(_) => TOKEN_KIND,
            Self::Other { kind, .. } => kind,
        };
        f.debug_tuple("Auth").field(&kind).finish()
    }
}

impl Serialize for Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            jwk: &'a str,
        }
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Token(jwk) => {
                map.serialize_entry("type", TOKEN_KIND)?;
                map.serialize_entry("params", &Params { jwk })?;
            }
            Self::Other { kind, params } => {
                map.serialize_entry("type", kind)?;
                if let Some(params) = params {
                    map.serialize_entry("params", params)?;
                }
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Parts {
            #[serde(rename = "type")]
            kind: String,
            params: Option<Json>,
        }
        let Parts { kind, params } = Parts::deserialize(deserializer)?;
        if kind != TOKEN_KIND {
            return Ok(Self::Other { kind, params });
        }
        match params.as_ref().and_then(|params| params.get("jwk")) {
            Some(Json::String(jwt)) => Ok(Self::Token(jwt.clone())),
            _ => Err(serde::de::Error::custom("auth has no params.jwk")),
        }
    }
}
