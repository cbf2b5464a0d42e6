//! The numbers as Prometheus reads them.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::{BOUNDS, Counter, Latency, OUTCOMES, TYPES, resident_memory};
use crate::dispatch::App;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything, as text.
pub(crate) fn exposition(app: &Arc<App>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("firebrick");
    registry.register_collector(Box::new(Scrape(app.clone())));
    let mut page = String::with_capacity(16 * 1024);
    text::encode_registry(&mut page, &registry)?;
    // Under the name that all programs give it.
    if let Some(bytes) = resident_memory() {
        writeln!(
            page,
            "# HELP process_resident_memory_bytes Memory of the process."
        )?;
        writeln!(page, "# TYPE process_resident_memory_bytes gauge")?;
        writeln!(page, "process_resident_memory_bytes {bytes}")?;
    }
    text::encode_eof(&mut page)?;
    Ok(page)
}

#[derive(Debug)]
struct Scrape(Arc<App>);

/// Names and values.
#[derive(Debug, Clone, Copy)]
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.0 {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut written = key.encode_label_value()?;
            EncodeLabelValue::encode(value, &mut written)?;
            written.finish()?;
        }
        Ok(())
    }
}

/// Writes families of metrics.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauges(name, help, &[(Labels(&[]), value)])
    }

    fn gauges(&mut self, name: &str, help: &str, values: &[(Labels<'_>, u64)]) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            // Nothing here comes near to the greatest number.
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            match labels.0 {
                [] => family.encode_gauge(&value)?,
                _ => family.encode_family(labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, &[(Labels(&[]), value)])
    }

    fn counters(&mut self, name: &str, help: &str, values: &[(Labels<'_>, u64)]) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            let none = None::<&Exemplar<NoLabelSet, f64>>;
            match labels.0 {
                [] => family.encode_counter(value, none)?,
                _ => family.encode_family(labels)?.encode_counter(value, none)?,
            }
        }
        Ok(())
    }

    fn latencies(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, &Latency)],
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (value, latency) in values {
            let bounds = BOUNDS.iter().map(Duration::as_secs_f64);
            let counts = latency.buckets.iter().map(Counter::get);
            let mut buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            buckets.push((f64::INFINITY, latency.beyond.get()));
            // The sum of what is shown, whatever is counted meanwhile.
            let count = buckets.iter().map(|(_, count)| count).sum();
            let seconds = latency.nanoseconds.get() as f64 / 1e9;
            let labels = Labels(&[(label, value)]);
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        about(&self.0, &mut page)?;
        connections(&self.0, &mut page)?;
        messages(&self.0, &mut page)?;
        stores(&self.0, &mut page)?;
        ledgers(&self.0, &mut page)
    }
}

fn about(app: &App, page: &mut Page<'_>) -> fmt::Result {
    let version = Labels(&[("version", env!("CARGO_PKG_VERSION"))]);
    page.gauges(
        "build_info",
        "Always 1; the label says what runs",
        &[(version, 1)],
    )?;
    let started = app.metrics.started.duration_since(UNIX_EPOCH);
    page.gauge(
        "start_time_seconds",
        "When the server was started, in seconds since 1970",
        started.map_or(0, |since| since.as_secs()),
    )?;
    page.gauge(
        "draining",
        "1 while the server ends",
        app.drain.is_cancelled().into(),
    )
}

fn connections(app: &App, page: &mut Page<'_>) -> fmt::Result {
    let metrics = &app.metrics;
    let (tcp, websocket) = (Labels(&[("kind", "tcp")]), Labels(&[("kind", "websocket")]));
    page.gauges(
        "network_connections",
        "Connections of the network that are open",
        &[
            (tcp, metrics.network.present()),
            (websocket, metrics.websockets.present()),
        ],
    )?;
    page.counters(
        "network_connections_opened",
        "Connections of the network that were opened",
        &[
            (tcp, metrics.network.begun.get()),
            (websocket, metrics.websockets.begun.get()),
        ],
    )?;
    page.counters(
        "network_connections_refused",
        "Connections of the network that were closed at once",
        &[
            (
                Labels(&[("reason", "limit")]),
                metrics.network_refused.get(),
            ),
            (Labels(&[("reason", "tls")]), metrics.tls_refused.get()),
        ],
    )?;
    let queues = app.hub.queues();
    let (websocket, http) = (
        Labels(&[("transport", "websocket")]),
        Labels(&[("transport", "http")]),
    );
    page.gauges(
        "protocol_connections",
        "Connections of the protocol that are open",
        &[(websocket, queues.connections), (http, queues.polling)],
    )?;
    page.counters(
        "protocol_connections_opened",
        "Connections of the protocol that were opened",
        &[
            (websocket, metrics.opened[0].get()),
            (http, metrics.opened[1].get()),
        ],
    )?;
    page.gauge("rooms", "Ledgers that somebody subscribes to", queues.rooms)?;
    page.gauge(
        "outbox_messages",
        "Messages that wait to be sent",
        queues.messages,
    )?;
    page.gauge("outbox_bytes", "Bytes that wait to be sent", queues.bytes)?;
    page.gauge(
        "outbox_bytes_max",
        "Bytes that wait in the fullest outbox",
        queues.fullest,
    )?;
    page.counter(
        "outbox_overflows",
        "Slow readers that were disconnected",
        metrics.overflows.get(),
    )
}

fn messages(app: &App, page: &mut Page<'_>) -> fmt::Result {
    let metrics = &app.metrics;
    let mut labels = Vec::new();
    for (kind, outcomes) in TYPES.iter().zip(&metrics.messages) {
        for (outcome, count) in OUTCOMES.iter().zip(outcomes) {
            // What has never happened is left out, but each type has a line.
            if count.get() > 0 || *outcome == OUTCOMES[0] {
                labels.push(([("type", *kind), ("outcome", *outcome)], count.get()));
            }
        }
    }
    let values: Vec<_> = labels.iter().map(|(l, n)| (Labels(l), *n)).collect();
    page.counters(
        "messages",
        "Messages of clients, and how they ended",
        &values,
    )?;
    let handling: Vec<_> = TYPES.iter().copied().zip(&metrics.handling).collect();
    page.latencies(
        "message_seconds",
        "Time from a message to its answer",
        "type",
        &handling,
    )?;
    let (message, car) = (Labels(&[("kind", "message")]), Labels(&[("kind", "car")]));
    page.counters(
        "received_bytes",
        "Bytes that clients sent",
        &[
            (message, metrics.messages_traffic.received.get()),
            (car, metrics.cars_traffic.received.get()),
        ],
    )?;
    page.counters(
        "sent_bytes",
        "Bytes that clients were sent",
        &[
            (message, metrics.messages_traffic.sent.get()),
            (car, metrics.cars_traffic.sent.get()),
        ],
    )
}

fn stores(app: &App, page: &mut Page<'_>) -> fmt::Result {
    let metrics = &app.metrics;
    let sum = app.ledgers.tenants.stored();
    for (name, help, value) in [
        (
            "stored_ledgers",
            "Ledgers with anything in them",
            sum.ledgers,
        ),
        ("stored_cars", "CARs that are stored", sum.cars),
        ("stored_bytes", "Bytes of these CARs", sum.bytes),
        ("stored_metas", "Metas that are stored", sum.metas),
        (
            "stored_counted",
            "1 when what was stored before the start is among that",
            app.counted.load(Ordering::Acquire).into(),
        ),
    ] {
        page.gauge(name, help, value)?;
    }
    page.latencies(
        "car_seconds",
        "Time for a CAR to come or go",
        "operation",
        &[("put", &metrics.car_put), ("get", &metrics.car_get)],
    )?;
    page.latencies(
        "meta_store_seconds",
        "Time of the store of metas",
        "operation",
        &[("put", &metrics.meta_put), ("after", &metrics.meta_after)],
    )
}

/// The busiest ledgers; all others are one line without names.
fn ledgers(app: &App, page: &mut Page<'_>) -> fmt::Result {
    let (busiest, rest) = app.ledgers.busiest();
    let mut lines: Vec<_> = busiest
        .iter()
        .map(|(id, counts)| {
            let labels = [
                ("tenant", id.tenant.as_str()),
                ("ledger", id.ledger.as_str()),
            ];
            (labels, *counts)
        })
        .collect();
    lines.push(([("tenant", ""), ("ledger", "")], rest));
    for (n, name, help) in [
        (0, "ledger_metas", "Metas that clients published"),
        (1, "ledger_events", "Events that subscribers were sent"),
        (2, "ledger_received_bytes", "Bytes that clients sent"),
        (3, "ledger_sent_bytes", "Bytes that clients were sent"),
    ] {
        let values: Vec<_> = lines
            .iter()
            .map(|(labels, counts)| (Labels(labels), counts.0[n]))
            .collect();
        page.counters(name, help, &values)?;
    }
    Ok(())
}
