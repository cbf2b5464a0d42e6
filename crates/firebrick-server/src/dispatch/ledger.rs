//! What is asked of a ledger: its metas, and URLs for its CARs.

use std::sync::Arc;
use std::time::Duration;

use firebrick_core::cid::Cid;
use firebrick_core::cloud::{
    Access, Body, Claims, DataKind, META_KEY, Message, MetaSet, MethodParam, Operation, Scope,
    Store, TenantLedger, Verb,
};

use super::{App, Refusal};
use crate::clock::now;
use crate::hub::Connection;
use crate::ids::{LedgerId, ObjectId};
use crate::ledgers::Ledger;
use crate::metas::MetaPut;
use crate::room::Bind;
use crate::signed::Target;
use crate::tenants::{OverQuota, Stored};
use crate::trace;

/// A request whose sender is known.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) message: &'a Message,
    /// In bytes.
    pub(super) len: u64,
    pub(super) claims: &'a Claims,
    pub(super) connection: &'a Arc<Connection>,
}

impl Asked<'_> {
    fn metas(&self, scope: &Scope, method: Verb) -> Result<(), Refusal> {
        let expected = MethodParam {
            method,
            store: Store::Meta,
        };
        if scope.method != expected {
            return Err(Refusal::Method);
        }
        if scope.url.key != META_KEY || scope.url.index.is_some() {
            return Err(Refusal::MetaKey);
        }
        Ok(())
    }

    fn valid_until(&self) -> u64 {
        self.claims.exp.unwrap_or(0)
    }

    fn echo(&self, scope: &Scope, tenant: TenantLedger) -> Scope {
        Scope {
            tenant: Some(tenant),
            ..scope.clone()
        }
    }
}

impl App {
    /// The ledger that a request is about, if it may be used so.
    fn ledger(
        &self,
        asked: Asked<'_>,
        scope: &Scope,
        access: Access,
    ) -> Result<(Arc<Ledger>, TenantLedger), Refusal> {
        let tenant = scope.tenant.as_ref().unwrap_or(&asked.claims.selected);
        asked.claims.check(&tenant.tenant, &tenant.ledger, access)?;
        let id = LedgerId::new(&tenant.tenant, &tenant.ledger)?;
        let ledger = self.ledgers.of(&id);
        trace::ledger(&id);
        ledger.traffic.received.add(asked.len);
        Ok((ledger, tenant.clone()))
    }

    pub(super) async fn bind(
        &self,
        asked: Asked<'_>,
        scope: &Scope,
    ) -> Result<Option<Body>, Refusal> {
        asked.metas(scope, Verb::Get)?;
        let (ledger, tenant) = self.ledger(asked, scope, Access::Read)?;
        let bind = Bind {
            connection: asked.connection.clone(),
            tid: asked.message.tid.clone(),
            auth: asked.message.auth.clone(),
            scope: asked.echo(scope, tenant),
            valid_until: asked.valid_until(),
        };
        let event = self.hub.room(&ledger).bind(bind, &self.tools()).await?;
        Ok(event.map(|event| event.body))
    }

    pub(super) async fn put_meta(
        &self,
        asked: Asked<'_>,
        scope: &Scope,
        meta: &MetaSet,
    ) -> Result<Body, Refusal> {
        asked.metas(scope, Verb::Put)?;
        let (ledger, tenant) = self.ledger(asked, scope, Access::Write)?;
        let mut cars = Vec::new();
        for entry in &meta.metas {
            let event = entry.event().map_err(|e| Refusal::Meta(entry.cid, e))?;
            cars.extend(event.cars);
        }
        if meta.keys.iter().any(|key| key.key().is_err()) {
            return Err(Refusal::Key);
        }
        self.renew(asked, &ledger.id).await?;
        if !meta.metas.is_empty() {
            let put = MetaPut {
                owner: asked.connection.name.clone(),
                metas: meta.metas.clone(),
                keys: meta.keys.clone(),
                supersede: self.all_here(&ledger.id, &cars).await,
                limit: self.limits.metas_per_ledger,
            };
            let published = put.metas.len() as u64;
            let growth = asked
                .connection
                .growth(&ledger.id, published, put.supersede);
            ledger.tenant.claim(Stored {
                ledgers: ledger.to_begin(),
                metas: u64::try_from(growth).unwrap_or(0),
                ..Stored::default()
            })?;
            self.hub.room(&ledger).put(put, &self.tools()).await?;
            asked.connection.published(&ledger.id, growth);
            ledger.metas_added(published, growth);
        }
        let signed_url = self.sign(
            asked,
            &ledger.id,
            Verb::Put,
            Store::Meta.as_str(),
            META_KEY,
            scope,
        );
        Ok(Body::ResPutMeta {
            scope: asked.echo(scope, tenant),
            signed_url,
            // The writer's own, nothing of others: it ignores this, and must not count it as delivered.
            meta: meta.clone(),
        })
    }

    /// Whether the CARs of a meta have arrived. Clients send a meta even if their upload failed; then
    /// what it should replace is still needed.
    async fn all_here(&self, ledger: &LedgerId, cars: &[Cid]) -> bool {
        for car in cars {
            let object = ObjectId::new(ledger.clone(), Store::Car.as_str(), &car.to_string());
            let Ok(object) = object else { return false };
            if !matches!(self.cars.contains(object).await, Ok(true)) {
                return false;
            }
        }
        true
    }

    pub(super) async fn data(
        &self,
        asked: Asked<'_>,
        operation: Operation,
        scope: &Scope,
    ) -> Result<Body, Refusal> {
        let (verb, access) = match operation {
            Operation::Get => (Verb::Get, Access::Read),
            Operation::Put => (Verb::Put, Access::Write),
            Operation::Delete => (Verb::Delete, Access::Write),
        };
        if scope.method.method != verb {
            return Err(Refusal::Method);
        }
        let (ledger, tenant) = self.ledger(asked, scope, access)?;
        let object = ObjectId::of(ledger.id.clone(), scope.method.store, &scope.url)?;
        self.renew(asked, &ledger.id).await?;
        if operation == Operation::Put {
            self.room_for(&ledger, &object).await?;
        }
        let store = object.store.clone();
        let valid = Duration::from_secs(self.expires(asked, scope).saturating_sub(now()));
        let signed_url = match self.cars.presign(object, verb, valid).await {
            Some(url) => url,
            None => self.sign(
                asked,
                &ledger.id,
                verb,
                store.as_str(),
                &scope.url.key,
                scope,
            ),
        };
        Ok(Body::ResData {
            operation,
            kind: DataKind::Data,
            scope: asked.echo(scope, tenant),
            signed_url,
        })
    }

    /// Whether a CAR may come: there is room, or it is there already.
    async fn room_for(&self, ledger: &Ledger, object: &ObjectId) -> Result<(), OverQuota> {
        if ledger.allows_car() || matches!(self.cars.contains(object.clone()).await, Ok(true)) {
            return Ok(());
        }
        ledger.claim_car()
    }

    /// A newer token keeps a subscription alive.
    async fn renew(&self, asked: Asked<'_>, ledger: &LedgerId) -> Result<(), Refusal> {
        let valid_until = asked.valid_until();
        if let Some(room) = asked.connection.outlived(ledger, valid_until) {
            let auth = &asked.message.auth;
            room.renew(asked.connection, auth, valid_until, &self.tools())
                .await?;
        }
        Ok(())
    }

    /// When a URL ends: not later than asked for, nor than the server allows, nor than the token.
    fn expires(&self, asked: Asked<'_>, scope: &Scope) -> u64 {
        let most = self.limits.signed_url.as_secs();
        let seconds = scope.url.expires.map_or(most, |asked| asked.min(most));
        (now() + seconds).min(asked.valid_until())
    }

    fn sign(
        &self,
        asked: Asked<'_>,
        ledger: &LedgerId,
        verb: Verb,
        store: &str,
        key: &str,
        scope: &Scope,
    ) -> String {
        let target = Target {
            verb,
            ledger,
            store,
            key,
            expires: self.expires(asked, scope),
        };
        let base = &asked.connection.base;
        self.signer.url(base, &target, &asked.message.tid)
    }
}
