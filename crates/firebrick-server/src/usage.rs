//! Counting what is stored: at the start, and now and then, in the background. Between that, puts and
//! deletions through this server keep the numbers current.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cars::CarUsage;
use crate::dispatch::App;
use crate::ids::LedgerId;
use crate::ledgers::Ledger;
use crate::metas::MetaUsage;

/// Counts again and again, until the end begins.
pub(crate) async fn count(app: Arc<App>) {
    loop {
        tokio::select! {
            () = count_once(&app) => {}
            () = app.drain.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(app.limits.count) => {}
            () = app.drain.cancelled() => return,
        }
    }
}

async fn count_once(app: &App) {
    let before: HashMap<LedgerId, u64> = app
        .ledgers
        .list()
        .into_iter()
        .map(|ledger| (ledger.id.clone(), ledger.changes()))
        .collect();
    let (cars, metas) = match tokio::join!(app.cars.usage(), app.metas.usage()) {
        (Ok(cars), Ok(metas)) => (cars, metas),
        (Err(error), _) => return tracing::warn!(%error, "what is stored cannot be counted"),
        (_, Err(error)) => return tracing::warn!(%error, "what is stored cannot be counted"),
    };
    let mut names: HashSet<&LedgerId> = before.keys().collect();
    names.extend(cars.keys());
    names.extend(metas.keys());
    let ledgers = names.len();
    for id in names {
        let cars: CarUsage = cars.get(id).copied().unwrap_or_default();
        let metas: MetaUsage = metas.get(id).copied().unwrap_or_default();
        let ledger: Arc<Ledger> = app.ledgers.of(id);
        // What has changed meanwhile may be in the count or not, so there the kept number stays.
        ledger.counted(cars, metas, before.get(id).copied().unwrap_or(0));
    }
    app.counted
        .store(true, std::sync::atomic::Ordering::Release);
    tracing::debug!(ledgers, "counted what is stored");
}
