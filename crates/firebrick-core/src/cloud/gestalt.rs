//! What a server or a client can do.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value as Json;

use super::{MAX_ID_LEN, MAX_TEXT_LEN, ProtocolError, limit};

/// Greatest number of elements in each of its lists.
const MAX_LIST: usize = 256;

/// How a server takes a kind of object.
///
/// ```
/// use firebrick_core::cloud::{Gestalt, Passing};
///
/// let json = r#"{ "id": "server", "data": { "inband": false, "outband": true } }"#;
/// let gestalt: Gestalt = serde_json::from_str(json)?;
/// assert_eq!(gestalt.data, Some(Passing { inband: false, outband: true }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passing {
    /// Within messages.
    pub inband: bool,
    /// Beside them, over signed URLs.
    pub outband: bool,
}

/// What a server or a client can do.
///
/// ```
/// use firebrick_core::cloud::Gestalt;
///
/// let json = r#"{ "id": "server", "wsEndpoints": ["/ws"], "requiresAuth": true }"#;
/// let gestalt: Gestalt = serde_json::from_str(json)?;
/// assert!(gestalt.requires_auth && gestalt.http_endpoints.is_empty());
/// assert_eq!(gestalt.ws_endpoints, ["/ws"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gestalt {
    /// Its name.
    pub id: String,
    /// The kinds of objects: `meta`, `file`, `car`, `wal`.
    #[serde(default)]
    pub store_types: Vec<String>,
    /// Where messages are `PUT`.
    #[serde(default)]
    pub http_endpoints: Vec<String>,
    /// Where WebSockets are opened.
    #[serde(default)]
    pub ws_endpoints: Vec<String>,
    /// `JSON`.
    #[serde(default)]
    pub encodings: Vec<String>,
    /// `reqRes` for messages by `PUT`, `stream` for WebSockets.
    #[serde(default)]
    pub protocol_capabilities: Vec<String>,
    /// Without meaning here.
    #[serde(default)]
    pub auth: Vec<Json>,
    /// Whether messages need a token.
    #[serde(default)]
    pub requires_auth: bool,
    /// How a server takes CARs; absent in a client's.
    #[serde(default)]
    pub data: Option<Passing>,
    /// How a server takes metas.
    #[serde(default)]
    pub meta: Option<Passing>,
    /// How a server takes write-ahead logs.
    #[serde(default)]
    pub wal: Option<Passing>,
    /// The requests it knows.
    #[serde(default)]
    pub req_types: Vec<String>,
    /// The answers it knows.
    #[serde(default)]
    pub res_types: Vec<String>,
    /// The events it knows.
    #[serde(default)]
    pub event_types: Vec<String>,
}

impl Gestalt {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        limit("gestalt.id", self.id.len(), MAX_ID_LEN)?;
        limit("gestalt.auth", self.auth.len(), MAX_LIST)?;
        for (field, list) in [
            ("gestalt.storeTypes", &self.store_types),
            ("gestalt.httpEndpoints", &self.http_endpoints),
            ("gestalt.wsEndpoints", &self.ws_endpoints),
            ("gestalt.encodings", &self.encodings),
            ("gestalt.protocolCapabilities", &self.protocol_capabilities),
            ("gestalt.reqTypes", &self.req_types),
            ("gestalt.resTypes", &self.res_types),
            ("gestalt.eventTypes", &self.event_types),
        ] {
            limit(field, list.len(), MAX_LIST)?;
            let longest = list.iter().map(String::len).max().unwrap_or(0);
            limit(field, longest, MAX_TEXT_LEN)?;
        }
        Ok(())
    }

    /// Clients write the id last, servers first.
    pub(super) fn serialize_with_id<S: Serializer>(
        &self,
        serializer: S,
        id_first: bool,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if id_first {
            map.serialize_entry("id", &self.id)?;
        }
        map.serialize_entry("storeTypes", &self.store_types)?;
        map.serialize_entry("httpEndpoints", &self.http_endpoints)?;
        map.serialize_entry("wsEndpoints", &self.ws_endpoints)?;
        map.serialize_entry("encodings", &self.encodings)?;
        map.serialize_entry("protocolCapabilities", &self.protocol_capabilities)?;
        map.serialize_entry("auth", &self.auth)?;
        map.serialize_entry("requiresAuth", &self.requires_auth)?;
        for (name, passing) in [("data", self.data), ("meta", self.meta), ("wal", self.wal)] {
            if let Some(passing) = passing {
                map.serialize_entry(name, &passing)?;
            }
        }
        map.serialize_entry("reqTypes", &self.req_types)?;
        map.serialize_entry("resTypes", &self.res_types)?;
        map.serialize_entry("eventTypes", &self.event_types)?;
        if !id_first {
            map.serialize_entry("id", &self.id)?;
        }
        map.end()
    }
}
