//! Messages as JSON: one flat object with the fields of all types.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value as Json;

use super::message::{Body, DataKind, ErrorBody, Message, Operation, Scope};
use super::{
    Auth, Conn, Gestalt, MAX_ENTRIES, MAX_ID_LEN, MAX_TEXT_LEN, MetaSet, MethodParam, OpenConn,
    ProtocolError, TenantLedger, UrlParam, limit,
};

/// What is read. Which of it there has to be is the type's business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    tid: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    version: Option<String>,
    auth: Option<Auth>,
    conn: Option<OpenConn>,
    tenant: Option<TenantLedger>,
    method_param: Option<MethodParam>,
    url_param: Option<UrlParam>,
    gestalt: Option<Gestalt>,
    publish: Option<bool>,
    signed_url: Option<String>,
    meta: Option<MetaSet>,
    message: Option<String>,
    targets: Option<Vec<Conn>>,
    reason: Option<String>,
    src: Option<Json>,
    body: Option<Json>,
    stack: Option<Json>,
}

fn need<T>(field: &'static str, value: Option<T>) -> Result<T, ProtocolError> {
    value.ok_or(ProtocolError::Missing(field))
}

impl Wire {
    pub(super) fn message(mut self) -> Result<Message, ProtocolError> {
        self.check()?;
        let kind = need("type", self.kind.take())?;
        let tid = need("tid", self.tid.take())?;
        let auth = need("auth", self.auth.take())?;
        let version = self.version.take().unwrap_or_default();
        Ok(Message {
            tid,
            version,
            auth,
            body: self.body(&kind)?,
        })
    }

    /// The lengths of everything that is there.
    fn check(&self) -> Result<(), ProtocolError> {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        limit("tid", length(&self.tid), MAX_ID_LEN)?;
        limit("type", length(&self.kind), MAX_ID_LEN)?;
        limit("version", length(&self.version), MAX_ID_LEN)?;
        limit("signedUrl", length(&self.signed_url), MAX_TEXT_LEN)?;
        limit("message", length(&self.message), MAX_TEXT_LEN)?;
        self.auth.as_ref().map_or(Ok(()), Auth::check)?;
        self.conn.as_ref().map_or(Ok(()), OpenConn::check)?;
        self.gestalt.as_ref().map_or(Ok(()), Gestalt::check)?;
        self.meta.as_ref().map_or(Ok(()), MetaSet::check)?;
        let targets = self.targets.as_ref().map_or(0, Vec::len);
        limit("targets", targets, MAX_ENTRIES)
    }

    fn body(mut self, kind: &str) -> Result<Body, ProtocolError> {
        use DataKind::{Data, Wal};
        use Operation::{Delete, Get, Put};
        let request = |operation, kind| {
            move |scope| Body::ReqData {
                operation,
                kind,
                scope,
            }
        };
        Ok(match kind {
            "reqGestalt" => Body::ReqGestalt {
                gestalt: need("gestalt", self.gestalt)?,
                publish: self.publish,
            },
            "resGestalt" => Body::ResGestalt {
                gestalt: need("gestalt", self.gestalt)?,
            },
            "reqOpen" => Body::ReqOpen {
                conn: need("conn", self.conn)?,
            },
            "resOpen" => Body::ResOpen {
                conn: self.full_conn()?,
            },
            "reqClose" => Body::ReqClose {
                conn: self.full_conn()?,
            },
            "resClose" => Body::ResClose {
                conn: self.full_conn()?,
            },
            "reqChat" => {
                let (conn, message, targets) = self.chat()?;
                Body::ReqChat {
                    conn,
                    message,
                    targets,
                }
            }
            "resChat" => {
                let (conn, message, targets) = self.chat()?;
                Body::ResChat {
                    conn,
                    message,
                    targets,
                }
            }
            "bindGetMeta" => Body::BindGetMeta {
                scope: self.scope()?.0,
            },
            "eventGetMeta" => {
                let (scope, signed_url, meta) = self.scope()?;
                Body::EventGetMeta {
                    scope,
                    signed_url: need("signedUrl", signed_url)?,
                    meta: need("meta", meta)?,
                }
            }
            "reqPutMeta" => {
                let (scope, _, meta) = self.scope()?;
                Body::ReqPutMeta {
                    scope,
                    meta: need("meta", meta)?,
                }
            }
            "resPutMeta" => {
                let (scope, signed_url, meta) = self.scope()?;
                Body::ResPutMeta {
                    scope,
                    signed_url: need("signedUrl", signed_url)?,
                    meta: need("meta", meta)?,
                }
            }
            "reqDelMeta" => {
                let (scope, _, meta) = self.scope()?;
                Body::ReqDelMeta { scope, meta }
            }
            "resDelMeta" => {
                let (scope, signed_url, meta) = self.scope()?;
                Body::ResDelMeta {
                    scope,
                    signed_url,
                    meta,
                }
            }
            "reqGetData" => request(Get, Data)(self.scope()?.0),
            "reqPutData" => request(Put, Data)(self.scope()?.0),
            "reqDelData" => request(Delete, Data)(self.scope()?.0),
            "reqGetWAL" => request(Get, Wal)(self.scope()?.0),
            "reqPutWAL" => request(Put, Wal)(self.scope()?.0),
            "reqDelWAL" => request(Delete, Wal)(self.scope()?.0),
            "resGetData" => self.signed(Get, Data)?,
            "resPutData" => self.signed(Put, Data)?,
            "resDelData" => self.signed(Delete, Data)?,
            "resGetWAL" => self.signed(Get, Wal)?,
            "resPutWAL" => self.signed(Put, Wal)?,
            "resDelWAL" => self.signed(Delete, Wal)?,
            "error" => {
                let error = ErrorBody {
                    conn: self.conn.and_then(OpenConn::full),
                    src: self.src.unwrap_or_default(),
                    message: need("message", self.message)?,
                    reason: self.reason,
                    body: self.body,
                    stack: self.stack,
                };
                error.check()?;
                Body::Error(error)
            }
            other => return Err(ProtocolError::Type(other.into())),
        })
    }

    fn full_conn(&mut self) -> Result<Conn, ProtocolError> {
        need("conn.resId", need("conn", self.conn.take())?.full())
    }

    fn chat(mut self) -> Result<(Conn, String, Vec<Conn>), ProtocolError> {
        let conn = self.full_conn()?;
        let targets = self.targets.unwrap_or_default();
        Ok((conn, need("message", self.message)?, targets))
    }

    /// What the request is about, and what may come with it.
    fn scope(mut self) -> Result<(Scope, Option<String>, Option<MetaSet>), ProtocolError> {
        let scope = Scope {
            conn: self.full_conn()?,
            tenant: self.tenant,
            method: need("methodParam", self.method_param)?,
            url: need("urlParam", self.url_param)?,
        };
        scope.check()?;
        Ok((scope, self.signed_url, self.meta))
    }

    fn signed(self, operation: Operation, kind: DataKind) -> Result<Body, ProtocolError> {
        let (scope, signed_url, _) = self.scope()?;
        Ok(Body::ResData {
            operation,
            kind,
            scope,
            signed_url: need("signedUrl", signed_url)?,
        })
    }
}

/// A field, to say in which order a type has them.
#[derive(Clone, Copy)]
enum Field {
    Tid,
    Auth,
    Type,
    Version,
    Conn,
    Tenant,
    Method,
    Url,
    SignedUrl,
    Meta,
    Rest,
}

impl Body {
    /// The order in which JavaScript writes the fields.
    fn order(&self) -> &'static [Field] {
        use Field::{Auth, Conn, Meta, Method, Rest, SignedUrl, Tenant, Tid, Type, Url, Version};
        match self {
            Body::ReqGestalt { .. } => &[Tid, Auth, Type, Version, Rest],
            Body::ReqOpen { .. }
            | Body::ResOpen { .. }
            | Body::ReqClose { .. }
            | Body::ResClose { .. }
            | Body::ReqChat { .. }
            | Body::ResChat { .. } => &[Tid, Auth, Type, Version, Conn, Rest],
            Body::BindGetMeta { .. } => &[Auth, Tid, Conn, Tenant, Type, Version, Method, Url],
            Body::ReqPutMeta { .. } | Body::ReqDelMeta { .. } => {
                &[Auth, Type, Tid, Conn, Tenant, Version, Method, Url, Meta]
            }
            Body::ReqData { .. } => &[Tid, Auth, Type, Conn, Tenant, Method, Url, Version],
            Body::ResGestalt { .. } | Body::Error(_) => &[Type, Tid, Version, Auth, Conn, Rest],
            Body::EventGetMeta { .. } => &[
                Type, Tid, Version, Auth, Conn, Tenant, Method, Url, SignedUrl, Meta,
            ],
            Body::ResData { .. } | Body::ResPutMeta { .. } | Body::ResDelMeta { .. } => &[
                Tid, Version, Auth, Conn, Type, Tenant, Method, Url, SignedUrl, Meta,
            ],
        }
    }

    pub(super) fn scope(&self) -> Option<&Scope> {
        match self {
            Body::BindGetMeta { scope }
            | Body::EventGetMeta { scope, .. }
            | Body::ReqPutMeta { scope, .. }
            | Body::ResPutMeta { scope, .. }
            | Body::ReqDelMeta { scope, .. }
            | Body::ResDelMeta { scope, .. }
            | Body::ReqData { scope, .. }
            | Body::ResData { scope, .. } => Some(scope),
            _ => None,
        }
    }

    fn signed_url(&self) -> Option<&String> {
        match self {
            Body::EventGetMeta { signed_url, .. }
            | Body::ResPutMeta { signed_url, .. }
            | Body::ResData { signed_url, .. } => Some(signed_url),
            Body::ResDelMeta { signed_url, .. } => signed_url.as_ref(),
            _ => None,
        }
    }

    fn meta(&self) -> Option<&MetaSet> {
        match self {
            Body::EventGetMeta { meta, .. }
            | Body::ReqPutMeta { meta, .. }
            | Body::ResPutMeta { meta, .. } => Some(meta),
            Body::ReqDelMeta { meta, .. } | Body::ResDelMeta { meta, .. } => meta.as_ref(),
            _ => None,
        }
    }

    /// The fields that only one type has.
    fn serialize_rest<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Body::ReqGestalt { gestalt, publish } => {
                map.serialize_entry("gestalt", &WithId(gestalt, false))?;
                optional(map, "publish", publish.as_ref())
            }
            Body::ResGestalt { gestalt } => map.serialize_entry("gestalt", &WithId(gestalt, true)),
            Body::ReqChat {
                message, targets, ..
            }
            | Body::ResChat {
                message, targets, ..
            } => {
                map.serialize_entry("message", message)?;
                map.serialize_entry("targets", targets)
            }
            Body::Error(error) => {
                optional(map, "reason", error.reason.as_ref())?;
                map.serialize_entry("src", &error.src)?;
                map.serialize_entry("message", &error.message)?;
                optional(map, "body", error.body.as_ref())?;
                optional(map, "stack", error.stack.as_ref())
            }
            _ => Ok(()),
        }
    }
}

fn optional<M: SerializeMap, T: Serialize>(
    map: &mut M,
    name: &'static str,
    value: Option<&T>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, value))
}

struct WithId<'a>(&'a Gestalt, bool);

impl Serialize for WithId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_with_id(serializer, self.1)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = &self.body;
        let mut map = serializer.serialize_map(None)?;
        for field in body.order() {
            match field {
                Field::Tid => map.serialize_entry("tid", &self.tid)?,
                Field::Auth => map.serialize_entry("auth", &self.auth)?,
                Field::Type => map.serialize_entry("type", body.kind())?,
                Field::Version => map.serialize_entry("version", &self.version)?,
                Field::Conn => optional(&mut map, "conn", body.conn().as_ref())?,
                Field::Tenant => {
                    let tenant = body.scope().and_then(|scope| scope.tenant.as_ref());
                    optional(&mut map, "tenant", tenant)?;
                }
                Field::Method => {
                    let method = body.scope().map(|scope| &scope.method);
                    optional(&mut map, "methodParam", method)?;
                }
                Field::Url => {
                    let url = body.scope().map(|scope| &scope.url);
                    optional(&mut map, "urlParam", url)?;
                }
                Field::SignedUrl => optional(&mut map, "signedUrl", body.signed_url())?,
                Field::Meta => optional(&mut map, "meta", body.meta())?,
                Field::Rest => body.serialize_rest(&mut map)?,
            }
        }
        map.end()
    }
}
