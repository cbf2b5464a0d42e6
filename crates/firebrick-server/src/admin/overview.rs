//! What the admin page shows, as JSON.
//!
//! Lists are bounded: however many ledgers and connections there are, an answer has at most so many of
//! each, those that matter most first, and says how many there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::dispatch::App;
use crate::hub::Connection;
use crate::ids::LedgerId;
use crate::ledgers::Ledger;
use crate::lock::lock;
use crate::metrics::{Traffic, resident_memory};
use crate::tenants::{Stored, Tenant};

/// Rows of a list if nothing else is asked for, and the most that can be.
const ROWS: usize = 100;
const MOST_ROWS: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// Part of a name of a tenant, a ledger or a user, in any case.
    search: String,
    rows: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    /// Whether what is stored has been counted since the start.
    counted: bool,
    /// Resident memory in bytes, where the system tells it.
    memory: Option<u64>,
    network: u64,
    websockets: u64,
    rooms: u64,
    queue: QueueRow,
    overflows: u64,
    messages: TrafficRow,
    cars: TrafficRow,
    stored: StoredRow,
    tenants: List<TenantRow>,
    ledgers: List<LedgerRow>,
    connections: List<ConnectionRow>,
}

#[derive(Debug, Serialize)]
struct List<T> {
    /// How many fit the search.
    found: usize,
    total: usize,
    rows: Vec<T>,
}

#[derive(Debug, Serialize)]
struct QueueRow {
    messages: u64,
    bytes: u64,
}

/// Bytes since the start.
#[derive(Debug, Serialize)]
struct TrafficRow {
    received: u64,
    sent: u64,
}

#[derive(Debug, Serialize)]
struct StoredRow {
    ledgers: u64,
    metas: u64,
    cars: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantRow {
    name: String,
    connections: u64,
    #[serde(flatten)]
    stored: StoredRow,
    max_connections: Option<u64>,
    max_messages_per_second: Option<u32>,
    max_bytes: Option<u64>,
    max_metas: Option<u64>,
    max_ledgers: Option<u64>,
    over_quota: u64,
    over_rate: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LedgerRow {
    tenant: String,
    name: String,
    subscribers: u64,
    #[serde(flatten)]
    stored: StoredRow,
    traffic: TrafficRow,
    events: u64,
    /// In seconds since 1970; 0 is never.
    last_write: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionRow {
    name: String,
    user: String,
    websocket: bool,
    /// In seconds since 1970.
    since: u64,
    idle_seconds: u64,
    /// Subscribed to, as `tenant/ledger`.
    ledgers: Vec<String>,
    queue: QueueRow,
    traffic: TrafficRow,
}

pub(super) async fn overview(
    State(app): State<Arc<App>>,
    Query(asked): Query<Asked>,
) -> Json<Overview> {
    Json(look(&app, &asked))
}

fn look(app: &App, asked: &Asked) -> Overview {
    let search = asked.search.to_lowercase();
    let most = asked.rows.unwrap_or(ROWS).min(MOST_ROWS);
    let connections = app.hub.list();
    let mut subscribers: HashMap<LedgerId, u64> = HashMap::new();
    for connection in &connections {
        for ledger in connection.ledgers() {
            *subscribers.entry(ledger).or_default() += 1;
        }
    }
    let fits = |name: &str| name.to_lowercase().contains(&search);

    let tenants = app.ledgers.tenants.list();
    let queues = app.hub.queues();
    let metrics = &app.metrics;
    let uptime = SystemTime::now().duration_since(metrics.started);
    Overview {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: uptime.unwrap_or_default().as_secs(),
        draining: app.drain.is_cancelled(),
        counted: app.counted.load(Ordering::Acquire),
        memory: resident_memory(),
        network: metrics.network.present(),
        websockets: metrics.websockets.present(),
        rooms: queues.rooms,
        queue: QueueRow {
            messages: queues.messages,
            bytes: queues.bytes,
        },
        overflows: metrics.overflows.get(),
        messages: traffic(&metrics.messages_traffic),
        cars: traffic(&metrics.cars_traffic),
        stored: stored_row(app.ledgers.tenants.stored()),
        tenants: list(
            &tenants,
            |tenant| fits(tenant.name.as_str()),
            |tenant| lock(&tenant.stored).bytes,
            most,
            tenant_row,
        ),
        ledgers: list(
            &app.ledgers.list(),
            |ledger| fits(&ledger.id.to_string()),
            |ledger| (ledger.last_write(), ledger.stored().bytes),
            most,
            |ledger| ledger_row(ledger, subscribers.get(&ledger.id).copied().unwrap_or(0)),
        ),
        connections: list(
            &connections,
            |connection| {
                fits(&connection.user)
                    || connection.ledgers().iter().any(|id| fits(&id.to_string()))
            },
            |connection| connection.traffic.received.get() + connection.traffic.sent.get(),
            most,
            connection_row,
        ),
    }
}

/// Those that fit, the greatest first, as rows.
fn list<T, K: Ord, R>(
    all: &[Arc<T>],
    fits: impl Fn(&T) -> bool,
    weight: impl Fn(&T) -> K,
    most: usize,
    row: impl Fn(&T) -> R,
) -> List<R> {
    let mut found: Vec<(K, &T)> = all
        .iter()
        .filter(|each| fits(each))
        .map(|each| (weight(each), &**each))
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    List {
        total: all.len(),
        found: found.len(),
        rows: found.iter().take(most).map(|(_, each)| row(each)).collect(),
    }
}

fn traffic(traffic: &Traffic) -> TrafficRow {
    TrafficRow {
        received: traffic.received.get(),
        sent: traffic.sent.get(),
    }
}

fn stored_row(stored: Stored) -> StoredRow {
    StoredRow {
        ledgers: stored.ledgers,
        metas: stored.metas,
        cars: stored.cars,
        bytes: stored.bytes,
    }
}

fn tenant_row(tenant: &Tenant) -> TenantRow {
    let limits = tenant.limits();
    TenantRow {
        name: tenant.name.as_str().to_owned(),
        connections: tenant.connections.load(Ordering::Relaxed),
        stored: stored_row(*lock(&tenant.stored)),
        max_connections: limits.connections,
        max_messages_per_second: limits.messages_per_second,
        max_bytes: limits.stored_bytes,
        max_metas: limits.metas,
        max_ledgers: limits.ledgers,
        over_quota: tenant.over_quota.get(),
        over_rate: tenant.over_rate.get(),
    }
}

fn ledger_row(ledger: &Ledger, subscribers: u64) -> LedgerRow {
    LedgerRow {
        tenant: ledger.id.tenant.as_str().to_owned(),
        name: ledger.id.ledger.as_str().to_owned(),
        subscribers,
        stored: stored_row(ledger.stored()),
        traffic: traffic(&ledger.traffic),
        events: ledger.events.get(),
        last_write: ledger.last_write(),
    }
}

fn connection_row(connection: &Connection) -> ConnectionRow {
    let outbox = connection.outbox.as_ref();
    let (messages, bytes) = outbox.map_or((0, 0), |outbox| outbox.waiting());
    let mut ledgers: Vec<String> = connection
        .ledgers()
        .iter()
        .map(ToString::to_string)
        .collect();
    ledgers.truncate(ROWS);
    ConnectionRow {
        name: connection.name.to_string(),
        user: connection.user.clone(),
        websocket: outbox.is_some(),
        since: connection.opened,
        idle_seconds: connection.idle().as_secs(),
        ledgers,
        queue: QueueRow {
            messages: messages as u64,
            bytes: bytes as u64,
        },
        traffic: traffic(&connection.traffic),
    }
}
