//! What is counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use firebrick::core::Cid;

use super::Report;

/// Times in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<u32>);

impl Times {
    pub(super) fn add(&mut self, micros: u64) {
        self.0.push(u32::try_from(micros).unwrap_or(u32::MAX));
    }

    pub(super) fn since(&mut self, start: Instant) {
        self.add(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn extend(&mut self, other: Times) {
        self.0.extend(other.0);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that so many of a hundred do not exceed, in milliseconds.
    pub(super) fn percentile(&mut self, percent: f64) -> f64 {
        self.0.sort_unstable();
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        let micros = self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0);
        f64::from(micros) / 1000.0
    }

    pub(super) fn report(&mut self, what: &str, report: &mut Report) {
        for (name, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)] {
            report.add(format!("{what}, {name}"), self.percentile(percent), "ms");
        }
    }
}

/// Metas that are published once each: when they were sent, and that everybody gets every one.
#[derive(Debug)]
pub(super) struct Deliveries {
    start: Instant,
    numbers: HashMap<Cid, usize>,
    /// Microseconds from the start on; 0 is not yet.
    sent: Vec<AtomicU64>,
}

/// What one subscriber has received.
#[derive(Debug)]
pub(super) struct Received {
    seen: Vec<bool>,
    left: usize,
    pub(super) times: Times,
}

impl Deliveries {
    pub(super) fn new(metas: impl IntoIterator<Item = Cid>) -> Self {
        let numbers: HashMap<_, _> = metas
            .into_iter()
            .enumerate()
            .map(|(number, cid)| (cid, number))
            .collect();
        Self {
            start: Instant::now(),
            sent: numbers.iter().map(|_| AtomicU64::new(0)).collect(),
            numbers,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    pub(super) fn sending(&self, meta: &Cid) {
        if let Some(number) = self.numbers.get(meta) {
            self.sent[*number].store(self.now(), Ordering::Relaxed);
        }
    }

    /// A subscriber that is to receive all but its own.
    pub(super) fn subscriber(&self, own: &[Cid]) -> Received {
        let mut seen = vec![false; self.numbers.len()];
        for number in own.iter().filter_map(|cid| self.numbers.get(cid)) {
            seen[*number] = true;
        }
        Received {
            left: seen.iter().filter(|seen| !**seen).count(),
            seen,
            times: Times::default(),
        }
    }
}

impl Received {
    /// Counts a meta the first time; others are none of ours.
    pub(super) fn got(&mut self, meta: &Cid, deliveries: &Deliveries) {
        let Some(number) = deliveries.numbers.get(meta) else {
            return;
        };
        if !std::mem::replace(&mut self.seen[*number], true) {
            self.left -= 1;
            let sent = deliveries.sent[*number].load(Ordering::Relaxed);
            self.times.add(deliveries.now().saturating_sub(sent));
        }
    }

    /// How many it lacks.
    pub(super) fn left(&self) -> usize {
        self.left
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What many tasks count together.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) times: Mutex<Times>,
    pub(super) count: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// Least squares: how much the second value grows with one more of the first.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut above, mut below) = (0.0, 0.0);
    for point in points {
        above += (point.0 - x) * (point.1 - y);
        below += (point.0 - x) * (point.0 - x);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firebrick::core::cid::Codec;

    #[test]
    fn a_lost_event_is_noticed() {
        let metas: Vec<_> = (0..3u8).map(|n| Cid::of(Codec::DagCbor, &[n])).collect();
        let deliveries = Deliveries::new(metas.clone());
        let mut all = deliveries.subscriber(&[]);
        let mut writer = deliveries.subscriber(&metas[..1]);
        let mut lacks = deliveries.subscriber(&[]);
        for meta in &metas {
            deliveries.sending(meta);
            all.got(meta, &deliveries);
        }
        writer.got(&metas[1], &deliveries);
        writer.got(&metas[2], &deliveries);
        // Twice the same is not another one, and strange ones do not count.
        for meta in [
            &metas[0],
            &metas[0],
            &metas[2],
            &Cid::of(Codec::DagCbor, b"x"),
        ] {
            lacks.got(meta, &deliveries);
        }
        assert_eq!((all.left(), writer.left(), lacks.left()), (0, 0, 1));
        assert_eq!((all.times.len(), lacks.times.len()), (3, 2));
    }

    #[test]
    fn percentiles() {
        let mut times = Times::default();
        assert_eq!(times.percentile(50.0), 0.0);
        for micros in (1..=100).rev() {
            times.add(micros * 1000);
        }
        assert_eq!(times.percentile(50.0), 50.0);
        assert_eq!(times.percentile(99.0), 99.0);
        assert_eq!(times.percentile(100.0), 100.0);
    }

    #[test]
    fn slopes() {
        assert_eq!(slope(&[]), 0.0);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
    }
}
