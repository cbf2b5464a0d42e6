//! Limits, and the file that has them.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};

use crate::ServerError;
use crate::ids::Name;

/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// What each tenant may use. `None` is without a limit.
///
/// ```
/// use firebrick_server::{Config, TenantLimits};
///
/// let mut config = Config::new("/srv/firebrick");
/// config.tenants = TenantLimits {
///     connections: Some(100),
///     stored_bytes: Some(10 << 30),
///     ..TenantLimits::default()
/// };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Connections of the protocol at a time, by the tenant that their token selects. A Firebrick
    /// database has a few, a JavaScript client one.
    pub connections: Option<u64>,
    /// Messages and transfers of CARs in a second, over a longer time. A message waits up to a second for
    /// its turn and is refused then.
    pub messages_per_second: Option<u32>,
    /// Bytes of CARs.
    pub stored_bytes: Option<u64>,
    /// Metas: about one for each session that ever wrote.
    pub metas: Option<u64>,
    /// Ledgers with anything in them.
    pub ledgers: Option<u64>,
}

/// What a file says about one tenant or about all: nothing, no limit, or a limit.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Said {
    #[serde(deserialize_with = "said")]
    connections: Option<Option<u64>>,
    #[serde(deserialize_with = "said")]
    messages_per_second: Option<Option<u32>>,
    #[serde(deserialize_with = "said")]
    stored_bytes: Option<Option<u64>>,
    #[serde(deserialize_with = "said")]
    metas: Option<Option<u64>>,
    #[serde(deserialize_with = "said")]
    ledgers: Option<Option<u64>>,
}

fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Said {
    fn over(&self, usual: TenantLimits) -> TenantLimits {
        TenantLimits {
            connections: self.connections.unwrap_or(usual.connections),
            messages_per_second: self
                .messages_per_second
                .unwrap_or(usual.messages_per_second),
            stored_bytes: self.stored_bytes.unwrap_or(usual.stored_bytes),
            metas: self.metas.unwrap_or(usual.metas),
            ledgers: self.ledgers.unwrap_or(usual.ledgers),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TenantFile {
    all: Said,
    tenants: HashMap<String, Said>,
}

impl TenantFile {
    pub(super) fn read(path: &Path) -> Result<Self, ServerError> {
        let failed = ServerError::data(path);
        if std::fs::metadata(path).map_err(&failed)?.len() > MAX_LEN {
            return Err(ServerError::Config(format!(
                "{} has more than {MAX_LEN} bytes",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(&failed)?;
        Self::parse(&text)
            .map_err(|cause| ServerError::Config(format!("{}: {cause}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match file.tenants.keys().find_map(|name| Name::new(name).err()) {
            Some(error) => Err(error.to_string()),
            None => Ok(file),
        }
    }

    pub(super) fn limits(&self, name: &Name, usual: TenantLimits) -> TenantLimits {
        let usual = self.all.over(usual);
        let own = self.tenants.get(name.as_str());
        own.map_or(usual, |own| own.over(usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_special_counts() {
        let text = r#"{"all": {"ledgers": 5, "metas": 7},
            "tenants": {"big": {"ledgers": null, "connections": 9}}}"#;
        let file = TenantFile::parse(text).unwrap();
        let usual = TenantLimits {
            stored_bytes: Some(1),
            ledgers: Some(2),
            ..TenantLimits::default()
        };
        let limits = |name| file.limits(&Name::new(name).unwrap(), usual);
        let small = TenantLimits {
            ledgers: Some(5),
            metas: Some(7),
            ..usual
        };
        assert_eq!(limits("small"), small);
        let big = TenantLimits {
            ledgers: None,
            connections: Some(9),
            ..small
        };
        assert_eq!(limits("big"), big);
    }

    #[test]
    fn mistakes_are_named() {
        for (bad, word) in [
            ("", "EOF"),
            (r#"{"tenants": {"a/b": {}}}"#, "a/b"),
            (r#"{"tenants": {"a": {"legders": 1}}}"#, "legders"),
            (r#"{"all": {"metas": -1}}"#, "-1"),
            (r#"{"everybody": {}}"#, "everybody"),
        ] {
            let error = TenantFile::parse(bad).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
