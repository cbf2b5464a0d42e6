//! What a token says: who it is, and what that person may do.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::TenantLedger;

/// The claims of a token. Its signature is checked elsewhere.
///
/// ```
/// use firebrick_core::cloud::{Access, Claims};
///
/// let claims = Claims::new("ada", "ada@example.com", "1843-01-01T00:00:00Z")
///     .grant("acme", "notes", Access::Read);
/// assert!(claims.check("acme", "notes", Access::Read).is_ok());
/// assert!(claims.check("acme", "notes", Access::Write).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Who.
    pub user_id: String,
    /// Their address.
    pub email: String,
    /// When the user was made: an ISO date, or seconds.
    pub created: Json,
    /// The tenants that may be used.
    pub tenants: Vec<TenantClaim>,
    /// The ledgers that may be used.
    pub ledgers: Vec<LedgerClaim>,
    /// What a message means that names no ledger.
    pub selected: TenantLedger,
    /// A name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// Who knows the user: JavaScript accepts `github` and `google`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// When the token was made, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// When it begins to be valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// When it ends. Some tools write milliseconds, which is practically never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Which application asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azp: Option<String>,
}

/// One name or several.
///
/// ```
/// use firebrick_core::cloud::Audience;
///
/// assert_eq!(serde_json::from_str::<Audience>(r#""sync""#)?, Audience::One("sync".into()));
/// let several = serde_json::from_str(r#"["sync", "admin"]"#)?;
/// assert!(matches!(several, Audience::Many(names) if names.len() == 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Audience {
    /// Whether a name is among them.
    ///
    /// ```
    /// use firebrick_core::cloud::Audience;
    ///
    /// let audience = Audience::Many(vec!["sync".into(), "admin".into()]);
    /// assert!(audience.contains("sync") && !audience.contains("other"));
    /// ```
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

/// A tenant that may be used.
///
/// ```
/// use firebrick_core::cloud::{Access, Claims, Role};
///
/// let claims = Claims::new("ada", "ada@example.com", "1843-01-01T00:00:00Z")
///     .grant("acme", "notes", Access::Read);
/// assert_eq!((claims.tenants[0].id.as_str(), claims.tenants[0].role), ("acme", Role::Member));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantClaim {
    /// Its id.
    pub id: String,
    /// As what.
    pub role: Role,
}

/// A ledger that may be used.
///
/// ```
/// use firebrick_core::cloud::{LedgerClaim, Right, Role};
///
/// let json = r#"{ "id": "notes", "role": "owner", "right": "write" }"#;
/// let claim: LedgerClaim = serde_json::from_str(json)?;
/// assert_eq!((claim.role, claim.right), (Role::Owner, Right::Write));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerClaim {
    /// Its id.
    pub id: String,
    /// As what.
    pub role: Role,
    /// How.
    pub right: Right,
}

/// As what somebody acts.
///
/// ```
/// use firebrick_core::cloud::Role;
///
/// assert_eq!(serde_json::from_str::<Role>(r#""admin""#)?, Role::Admin);
/// assert_eq!(serde_json::from_str::<Role>(r#""juggler""#)?, Role::Other);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Admin,
    Owner,
    Member,
    /// One that is not known here.
    #[serde(other)]
    Other,
}

/// What somebody may do.
///
/// ```
/// use firebrick_core::cloud::{Access, Claims, Right};
///
/// let claims = Claims::new("ada", "ada@example.com", "1843-01-01T00:00:00Z")
///     .grant("acme", "notes", Access::Write);
/// assert_eq!(claims.ledgers[0].right, Right::Write);
/// assert_eq!(serde_json::from_str::<Right>(r#""paint""#)?, Right::Other);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Read.
    Read,
    /// Read and write.
    Write,
    /// One that is not known here. It allows nothing.
    #[serde(other)]
    Other,
}

/// What somebody wants to do.
///
/// ```
/// use firebrick_core::cloud::Access;
///
/// assert!(Access::Read < Access::Write);
/// assert_eq!(Access::Write.to_string(), "write");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Access {
    Read,
    Write,
}

/// Why claims do not allow something.
///
/// ```
/// use firebrick_core::cloud::{Access, Claims, Denied};
///
/// let claims = Claims::new("ada", "ada@example.com", "1843-01-01T00:00:00Z")
///     .grant("acme", "notes", Access::Read);
/// match claims.check("acme", "plans", Access::Read) {
///     Err(Denied::Ledger(name)) => assert_eq!(name, "plans"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The tenant is not among the claims.
    #[error("no access to tenant {0:?}; a token that lists it is needed")]
    Tenant(String),
    /// The ledger is not among the claims.
    #[error("no access to ledger {0:?}; a token that lists it is needed")]
    Ledger(String),
    /// The right is not sufficient.
    #[error("no {0} access to ledger {1:?}; a token with that right is needed")]
    Right(Access, String),
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
        })
    }
}

impl Claims {
    /// Somebody who may do nothing yet. `created` is an ISO date.
    ///
    /// ```
    /// use firebrick_core::cloud::Claims;
    ///
    /// let claims = Claims::new("ada", "ada@example.com", "1843-01-01T00:00:00Z");
    /// assert!(claims.user_id == "ada" && claims.ledgers.is_empty());
    /// ```
    #[must_use]
    pub fn new(
        user_id: impl Into<String>,
        email: impl Into<String>,
        created: impl Into<String>,
    ) -> Self {
        Self {
            user_id: user_id.into(),
            email: email.into(),
            created: Json::String(created.into()),
            tenants: Vec::new(),
            ledgers: Vec::new(),
            selected: TenantLedger::new("", ""),
            nickname: None,
            provider: None,
            iat: None,
            nbf: None,
            exp: None,
            iss: None,
            sub: None,
            aud: None,
            jti: None,
            azp: None,
        }
    }

    /// Adds a ledger. The first becomes the selected one.
    ///
    /// ```
    /// use firebrick_core::cloud::{Access, Claims};
    ///
    /// let claims = Claims::new("ada", "ada@example.com", "1843-01-01T00:00:00Z")
    ///     .grant("acme", "notes", Access::Read)
    ///     .grant("acme", "plans", Access::Write);
    /// assert_eq!((claims.tenants.len(), claims.ledgers.len()), (1, 2));
    /// assert_eq!(claims.selected.ledger, "notes");
    /// ```
    #[must_use]
    pub fn grant(mut self, tenant: &str, ledger: &str, access: Access) -> Self {
        let role = Role::Member;
        if self.ledgers.is_empty() {
            self.selected = TenantLedger::new(tenant, ledger);
        }
        if self.tenants.iter().all(|claim| claim.id != tenant) {
            let id = tenant.to_owned();
            self.tenants.push(TenantClaim { id, role });
        }
        self.ledgers.push(LedgerClaim {
            id: ledger.to_owned(),
            role,
            right: match access {
                Access::Read => Right::Read,
                Access::Write => Right::Write,
            },
        });
        self
    }

    /// Whether something is allowed. Of a ledger that is listed twice the greater right counts.
    ///
    /// ```
    /// use firebrick_core::cloud::{Access, Claims, Denied};
    ///
    /// let claims = Claims::new("ada", "ada@example.com", "1843-01-01T00:00:00Z")
    ///     .grant("acme", "notes", Access::Read);
    /// assert_eq!(claims.check("acme", "notes", Access::Read), Ok(()));
    /// let denied = claims.check("acme", "notes", Access::Write);
    /// assert_eq!(denied, Err(Denied::Right(Access::Write, "notes".into())));
    /// ```
    ///
    /// # Errors
    /// [`Denied`] names what is missing.
    pub fn check(&self, tenant: &str, ledger: &str, access: Access) -> Result<(), Denied> {
        if self.tenants.iter().all(|claim| claim.id != tenant) {
            return Err(Denied::Tenant(tenant.into()));
        }
        let mut known = self.ledgers.iter().filter(|claim| claim.id == ledger);
        let granted = known.clone().any(|claim| match claim.right {
            Right::Write => true,
            Right::Read => access == Access::Read,
            Right::Other => false,
        });
        match (granted, known.next()) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Denied::Right(access, ledger.into())),
            (false, None) => Err(Denied::Ledger(ledger.into())),
        }
    }
}
