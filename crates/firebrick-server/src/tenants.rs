//! What tenants may use, and what they use.

mod bucket;
mod limits;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

pub use limits::TenantLimits;

use crate::ServerError;
use crate::ids::Name;
use crate::lock::lock;
use crate::metrics::Counter;
use bucket::Bucket;
use limits::TenantFile;

/// What a tenant has used up. The text goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OverQuota {
    #[error("the tenant {0} may have {1} connections at a time; close some, or try again later")]
    Connections(Name, u64),
    #[error(
        "the tenant {0} may store {1} bytes, which are used up; delete something, or ask for more"
    )]
    Bytes(Name, u64),
    #[error("the tenant {0} may have {1} metas, which are used up; ask for more")]
    Metas(Name, u64),
    #[error("the tenant {0} may have {1} ledgers, which are used up; ask for more")]
    Ledgers(Name, u64),
}

/// A tenant that somebody has used, or that stores something.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: Name,
    limits: RwLock<TenantLimits>,
    bucket: Mutex<Bucket>,
    pub(crate) connections: AtomicU64,
    pub(crate) stored: Mutex<Stored>,
    /// Refused because of a quota, or because there were too many messages.
    pub(crate) over_quota: Counter,
    pub(crate) over_rate: Counter,
}

/// What is stored of a tenant or of a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Those with anything in them. Of a ledger that is itself.
    pub(crate) ledgers: u64,
    pub(crate) cars: u64,
    pub(crate) bytes: u64,
    pub(crate) metas: u64,
    /// Of CARs that are arriving.
    pub(crate) arriving: u64,
}

impl Tenant {
    fn new(name: Name, limits: TenantLimits) -> Self {
        Self {
            name,
            bucket: Mutex::new(Bucket::new(Instant::now())),
            limits: RwLock::new(limits),
            connections: AtomicU64::new(0),
            stored: Mutex::default(),
            over_quota: Counter::default(),
            over_rate: Counter::default(),
        }
    }

    pub(crate) fn limits(&self) -> TenantLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a message has to wait for its turn; nothing if that is too long.
    pub(crate) fn turn(&self) -> Option<Duration> {
        let Some(rate) = self.limits().messages_per_second else {
            return Some(Duration::ZERO);
        };
        let turn = lock(&self.bucket).take(rate, Instant::now());
        if turn.is_none() {
            self.over_rate.add(1);
        }
        turn
    }

    /// A place among the connections. Who opens one again that is there gets it in any case.
    pub(crate) fn connect(self: &Arc<Self>, again: bool) -> Result<Seat, OverQuota> {
        let limit = self.limits().connections.filter(|_| !again);
        let more = |n: u64| limit.is_none_or(|limit| n < limit).then(|| n + 1);
        let taken = self
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match (taken, limit) {
            (Err(_), Some(limit)) => {
                self.over_quota.add(1);
                Err(OverQuota::Connections(self.name.clone(), limit))
            }
            _ => Ok(Seat(self.clone())),
        }
    }

    /// The same as [`allows`](Self::allows), but a refusal is counted.
    pub(crate) fn claim(&self, more: Stored) -> Result<(), OverQuota> {
        self.allows(more).inspect_err(|_| self.over_quota.add(1))
    }

    /// Whether so many more bytes, metas or ledgers are allowed.
    pub(crate) fn allows(&self, more: Stored) -> Result<(), OverQuota> {
        let (limits, stored) = (self.limits(), *lock(&self.stored));
        let over = |limit: Option<u64>, used: u64, more: u64| {
            limit.filter(|limit| more > 0 && used.saturating_add(more) > *limit)
        };
        let name = || self.name.clone();
        if let Some(limit) = over(limits.ledgers, stored.ledgers, more.ledgers) {
            return Err(OverQuota::Ledgers(name(), limit));
        }
        if let Some(limit) = over(limits.metas, stored.metas, more.metas) {
            return Err(OverQuota::Metas(name(), limit));
        }
        let bytes = stored.bytes.saturating_add(stored.arriving);
        if let Some(limit) = over(limits.stored_bytes, bytes, more.bytes) {
            return Err(OverQuota::Bytes(name(), limit));
        }
        Ok(())
    }
}

/// A connection among those of its tenant, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Tenant>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for a CAR while it arrives.
#[derive(Debug)]
pub(crate) struct Arriving {
    tenant: Arc<Tenant>,
    bytes: u64,
}

impl Arriving {
    pub(crate) fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, bytes: 0 }
    }

    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), OverQuota> {
        let more = Stored {
            bytes,
            ..Stored::default()
        };
        self.tenant.claim(more)?;
        lock(&self.tenant.stored).arriving += bytes;
        self.bytes += bytes;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        lock(&self.tenant.stored).arriving -= self.bytes;
    }
}

/// All tenants.
#[derive(Debug)]
pub(crate) struct Tenants {
    all: Mutex<HashMap<Name, Arc<Tenant>>>,
    /// For whom nothing else is said.
    usual: TenantLimits,
    path: Option<PathBuf>,
    file: RwLock<TenantFile>,
}

impl Tenants {
    pub(crate) fn new(usual: TenantLimits, path: Option<PathBuf>) -> Result<Self, ServerError> {
        let file = path.as_deref().map(TenantFile::read).transpose()?;
        Ok(Self {
            all: Mutex::default(),
            usual,
            path,
            file: RwLock::new(file.unwrap_or_default()),
        })
    }

    pub(crate) fn of(&self, name: &Name) -> Arc<Tenant> {
        let mut all = lock(&self.all);
        if let Some(tenant) = all.get(name) {
            return tenant.clone();
        }
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let limits = file.limits(name, self.usual);
        let tenant = Arc::new(Tenant::new(name.clone(), limits));
        all.insert(name.clone(), tenant.clone());
        tenant
    }

    pub(crate) fn list(&self) -> Vec<Arc<Tenant>> {
        lock(&self.all).values().cloned().collect()
    }

    /// What is stored of all tenants.
    pub(crate) fn stored(&self) -> Stored {
        let mut sum = Stored::default();
        for tenant in self.list() {
            let Stored {
                ledgers,
                cars,
                bytes,
                metas,
                arriving,
            } = *lock(&tenant.stored);
            sum.ledgers += ledgers;
            sum.cars += cars;
            sum.bytes += bytes;
            sum.metas += metas;
            sum.arriving += arriving;
        }
        sum
    }

    /// Reads the file again. If it cannot be used, everything stays as it was.
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let fresh = TenantFile::read(path)?;
        let all = lock(&self.all);
        for tenant in all.values() {
            let limits = fresh.limits(&tenant.name, self.usual);
            *tenant
                .limits
                .write()
                .unwrap_or_else(PoisonError::into_inner) = limits;
        }
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(limits: TenantLimits) -> Arc<Tenant> {
        Arc::new(Tenant::new(Name::new("t").unwrap(), limits))
    }

    #[test]
    fn seats_are_given_back() {
        let tenant = tenant(TenantLimits {
            connections: Some(1),
            ..TenantLimits::default()
        });
        let seat = tenant.connect(false).unwrap();
        assert!(tenant.connect(false).is_err());
        drop(tenant.connect(true).unwrap());
        assert!(tenant.connect(false).is_err());
        drop(seat);
        tenant.connect(false).unwrap();
    }

    #[test]
    fn what_arrives_has_its_room() {
        let tenant = tenant(TenantLimits {
            stored_bytes: Some(100),
            ..TenantLimits::default()
        });
        let mut one = Arriving::new(tenant.clone());
        let mut two = Arriving::new(tenant.clone());
        one.grow(60).unwrap();
        two.grow(40).unwrap();
        assert!(two.grow(1).is_err() && one.grow(0).is_ok());
        drop(one);
        two.grow(60).unwrap();
        assert_eq!(two.bytes(), 100);
        drop(two);
        assert_eq!(*lock(&tenant.stored), Stored::default());
    }
}
