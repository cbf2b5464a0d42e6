//! Names that come from clients and end up in paths: of tenants, ledgers, objects.

use std::fmt;

use firebrick_core::Cid;
use firebrick_core::cloud::{Store, UrlParam};

/// Greatest length of a name in bytes. Written for a file system it may be three times as long.
pub const MAX_NAME_LEN: usize = 80;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Empty, too long, `.`, `..`, or with slashes or control characters.
    #[error("{0:?} is no name: 1 to {MAX_NAME_LEN} bytes without slashes and control characters")]
    Name(String),
    /// The key is not a CID.
    #[error("the key {0:?} is not the CID of a CAR")]
    Key(String),
    /// Not a store of CARs.
    #[error("the store {0:?} is not one of CARs: `car` or `file`")]
    Store(String),
}

/// The name of a tenant, a ledger or an index.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// A name that can be a part of a path.
    ///
    /// ```
    /// use firebrick_server::ids::Name;
    ///
    /// assert_eq!(Name::new("acme")?.as_str(), "acme");
    /// assert!(Name::new("../acme").is_err());
    /// # Ok::<(), firebrick_server::ids::IdError>(())
    /// ```
    ///
    /// # Errors
    /// [`IdError::Name`] if it cannot.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let odd = |c: char| matches!(c, '/' | '\\') || c.is_control();
        if text.is_empty()
            || text.len() > MAX_NAME_LEN
            || matches!(text, "." | "..")
            || text.contains(odd)
        {
            return Err(IdError::Name(text.chars().take(MAX_NAME_LEN).collect()));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A ledger of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerId {
    /// Whose.
    pub tenant: Name,
    /// Which.
    pub ledger: Name,
}

impl LedgerId {
    /// A ledger of a tenant.
    ///
    /// ```
    /// use firebrick_server::ids::LedgerId;
    ///
    /// assert_eq!(LedgerId::new("acme", "notes")?.to_string(), "acme/notes");
    /// # Ok::<(), firebrick_server::ids::IdError>(())
    /// ```
    ///
    /// # Errors
    /// [`IdError::Name`] for names that cannot be parts of a path.
    pub fn new(tenant: &str, ledger: &str) -> Result<Self, IdError> {
        Ok(Self {
            tenant: Name::new(tenant)?,
            ledger: Name::new(ledger)?,
        })
    }
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.ledger)
    }
}

/// A CAR of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// Whose.
    pub ledger: LedgerId,
    /// `car` or `file`, with `-` and an index behind if it belongs to one.
    pub store: Name,
    /// Which.
    pub cid: Cid,
}

impl ObjectId {
    /// The object that a message asks for.
    ///
    /// # Errors
    /// [`IdError`] for keys that are no CIDs, stores without CARs, and names that cannot be parts of a
    /// path.
    pub fn of(ledger: LedgerId, store: Store, url: &UrlParam) -> Result<Self, IdError> {
        let store = match &url.index {
            None => store.as_str().to_owned(),
            Some(index) => format!("{}-{index}", store.as_str()),
        };
        Self::new(ledger, &store, &url.key)
    }

    /// The object with these names.
    ///
    /// ```
    /// use firebrick_server::ids::{LedgerId, ObjectId};
    ///
    /// let ledger = LedgerId::new("acme", "notes")?;
    /// let cid = firebrick_core::genesis::GENESIS.car.cid;
    /// let object = ObjectId::new(ledger.clone(), "car", &cid.to_string())?;
    /// assert_eq!(object.cid, cid);
    /// assert!(ObjectId::new(ledger, "car", "no CID").is_err());
    /// # Ok::<(), firebrick_server::ids::IdError>(())
    /// ```
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn new(ledger: LedgerId, store: &str, key: &str) -> Result<Self, IdError> {
        let kind = store.split_once('-').map_or(store, |(kind, _)| kind);
        if !matches!(kind, "car" | "file") {
            return Err(IdError::Store(store.chars().take(MAX_NAME_LEN).collect()));
        }
        let cid = key.parse();
        Ok(Self {
            ledger,
            store: Name::new(store)?,
            cid: cid.map_err(|_| IdError::Key(key.chars().take(MAX_NAME_LEN).collect()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_refused() {
        let long = "x".repeat(81);
        for bad in ["", ".", "..", "a/b", "..\\x", "a\0", "a\nb", &long] {
            assert!(LedgerId::new("t", bad).is_err(), "{bad:?}");
            assert!(LedgerId::new(bad, "l").is_err(), "{bad:?}");
        }
        let ledger = LedgerId::new("t", "a b.é").unwrap();
        let cid = Cid::of(firebrick_core::cid::Codec::Car, b"");
        let url = |key: &str, index: Option<&str>| UrlParam {
            key: key.into(),
            index: index.map(str::to_owned),
            ..UrlParam::default()
        };
        let object = |store, url| ObjectId::of(ledger.clone(), store, &url);
        assert!(object(Store::Car, url(&cid.to_string(), Some("idx"))).is_ok());
        for bad in ["main", "../../x", "", "baembei", &format!("{cid}/..")] {
            assert!(object(Store::Car, url(bad, None)).is_err(), "{bad}");
        }
        assert!(object(Store::Car, url(&cid.to_string(), Some("/../x"))).is_err());
        assert!(object(Store::Meta, url(&cid.to_string(), None)).is_err());
    }
}
