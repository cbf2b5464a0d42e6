//! What is counted. Nothing here takes a lock; what can be looked up is looked up when somebody asks.

mod exposition;

use std::array;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::ids::LedgerId;
use crate::metas::{Change, MetaPut, MetaStore, MetaStoreError, MetaUsage, MetaView};

pub(crate) use exposition::{CONTENT_TYPE, exposition};

/// The types of messages that clients send. All others are one.
const TYPES: [&str; 11] = [
    "reqGestalt",
    "reqOpen",
    "reqClose",
    "reqChat",
    "bindGetMeta",
    "reqPutMeta",
    "reqDelMeta",
    "reqPutData",
    "reqGetData",
    "reqDelData",
    "other",
];
/// How a message ended: answered, refused for a reason that programs are told, or for another one.
const OUTCOMES: [&str; 9] = [
    "done",
    "refused",
    "garbled",
    "token",
    "denied",
    "not-ready",
    "full",
    "quota",
    "rate",
];
/// Upper bounds of the latencies that are told apart.
const BOUNDS: [Duration; 14] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are and were.
#[derive(Debug, Default)]
pub(crate) struct Population {
    begun: Counter,
    ended: Counter,
}

impl Population {
    /// Counts one more for as long as the guard lives.
    pub(crate) fn enter(self: &Arc<Self>) -> Present {
        self.begun.add(1);
        Present(self.clone())
    }

    pub(crate) fn present(&self) -> u64 {
        let ended = self.ended.get();
        self.begun.get().saturating_sub(ended)
    }
}

#[derive(Debug)]
pub(crate) struct Present(Arc<Population>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.ended.add(1);
    }
}

/// How long things took.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [Counter; BOUNDS.len()],
    /// Longer than all bounds.
    beyond: Counter,
    nanoseconds: Counter,
}

impl Latency {
    pub(crate) fn observe(&self, took: Duration) {
        let bucket = BOUNDS.iter().position(|bound| took <= *bound);
        bucket.map_or(&self.beyond, |n| &self.buckets[n]).add(1);
        let nanoseconds = took.as_nanos().try_into().unwrap_or(u64::MAX);
        self.nanoseconds.add(nanoseconds);
    }
}

/// Bytes in both directions.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) started: SystemTime,
    /// Connections of the network.
    pub(crate) network: Arc<Population>,
    /// Those that were closed at once: there were too many.
    pub(crate) network_refused: Counter,
    /// Those that did not agree upon TLS.
    pub(crate) tls_refused: Counter,
    pub(crate) websockets: Arc<Population>,
    /// Connections of the protocol that were opened, over a WebSocket and without.
    opened: [Counter; 2],
    messages: [[Counter; OUTCOMES.len()]; TYPES.len()],
    handling: [Latency; TYPES.len()],
    /// Of messages.
    pub(crate) messages_traffic: Traffic,
    /// Of CARs.
    pub(crate) cars_traffic: Traffic,
    pub(crate) car_put: Latency,
    pub(crate) car_get: Latency,
    meta_put: Latency,
    meta_after: Latency,
    /// Slow readers that were disconnected.
    pub(crate) overflows: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            started: SystemTime::now(),
            network: Arc::default(),
            network_refused: Counter::default(),
            tls_refused: Counter::default(),
            websockets: Arc::default(),
            opened: array::from_fn(|_| Counter::default()),
            messages: array::from_fn(|_| array::from_fn(|_| Counter::default())),
            handling: array::from_fn(|_| Latency::default()),
            messages_traffic: Traffic::default(),
            cars_traffic: Traffic::default(),
            car_put: Latency::default(),
            car_get: Latency::default(),
            meta_put: Latency::default(),
            meta_after: Latency::default(),
            overflows: Counter::default(),
        }
    }

    /// A message was handled. `kind` is its type, `outcome` how it ended.
    pub(crate) fn message(&self, kind: &str, outcome: &str, took: Duration) {
        let kind = TYPES.iter().position(|name| *name == kind);
        let kind = kind.unwrap_or(TYPES.len() - 1);
        // What has no word of its own is the second.
        let outcome = OUTCOMES.iter().position(|name| *name == outcome);
        self.messages[kind][outcome.unwrap_or(1)].add(1);
        self.handling[kind].observe(took);
    }

    pub(crate) fn opened(&self, over_websocket: bool) {
        self.opened[usize::from(!over_websocket)].add(1);
    }
}

/// Metas whose store is timed.
pub(crate) struct Timed {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) metrics: Arc<Metrics>,
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl MetaStore for Timed {
    fn put(
        &self,
        ledger: LedgerId,
        put: MetaPut,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        timed(&self.metrics.meta_put, self.store.put(ledger, put))
    }

    fn after(
        &self,
        ledger: LedgerId,
        position: i64,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        timed(&self.metrics.meta_after, self.store.after(ledger, position))
    }

    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, MetaUsage>, MetaStoreError>> {
        self.store.usage()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MetaStoreError>> {
        self.store.check()
    }

    fn changes(&self) -> Option<BoxStream<'static, Change>> {
        self.store.changes()
    }
}

fn timed<'a, T: Send + 'a>(latency: &'a Latency, call: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
    async move {
        let begun = Instant::now();
        let result = call.await;
        latency.observe(begun.elapsed());
        result
    }
    .boxed()
}

/// Resident memory of this process in bytes, where the system tells it for nothing.
pub(crate) fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_their_buckets() {
        let latency = Latency::default();
        for micros in [1, 100, 101, 20_000_000] {
            latency.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = latency.buckets.iter().map(Counter::get).collect();
        assert_eq!((counts[0], counts[1], latency.beyond.get()), (2, 1, 1));
        assert_eq!(latency.nanoseconds.get(), 20_000_202_000);
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn populations_come_and_go() {
        let population = Arc::new(Population::default());
        let (one, two) = (population.enter(), population.enter());
        assert_eq!(population.present(), 2);
        drop(one);
        assert_eq!((population.present(), population.begun.get()), (1, 2));
        drop(two);
        assert_eq!(population.present(), 0);
    }

    #[test]
    fn what_has_no_name_is_counted_all_the_same() {
        let metrics = Metrics::new();
        metrics.message("reqOpen", "done", Duration::ZERO);
        metrics.message("reqPutWAL", "whatever", Duration::ZERO);
        metrics.message("reqPutMeta", "quota", Duration::ZERO);
        assert_eq!(metrics.messages[TYPES.len() - 1][1].get(), 1);
    }
}
