//! How many messages a second.

use std::time::Duration;

use tokio::time::Instant;

/// A message waits this long for its turn before it is refused. JavaScript clients give up after three
/// seconds.
const PATIENCE: f64 = 1.0;
/// So many may come at once: a client that begins has a few things to say.
const BURST: f64 = 20.0;

/// A token bucket. It may go below zero: whoever took the last one waits.
#[derive(Debug)]
pub(super) struct Bucket {
    /// How far it is from full.
    lacking: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(at: Instant) -> Self {
        Self { lacking: 0.0, at }
    }

    /// How long to wait; nothing if that is too long, which costs nothing.
    pub(super) fn take(&mut self, rate: u32, now: Instant) -> Option<Duration> {
        let rate = f64::from(rate);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.lacking = (self.lacking - passed * rate).max(0.0);
        self.at = now;
        let wait = (self.lacking + 1.0 - rate.max(BURST)).max(0.0) / rate;
        // Written so that no rate at all is refused, too.
        if wait <= PATIENCE {
            self.lacking += 1.0;
            return Some(Duration::from_secs_f64(wait));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate_then_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        for _ in 0..20 {
            assert_eq!(bucket.take(10, start), Some(Duration::ZERO));
        }
        for n in 1..=10 {
            let wait = Duration::from_millis(n * 100);
            assert_eq!(bucket.take(10, start), Some(wait));
        }
        assert_eq!(bucket.take(10, start), None);
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.take(10, later), Some(Duration::from_secs(1)));
        let much_later = start + Duration::from_secs(60);
        assert_eq!(bucket.take(10, much_later), Some(Duration::ZERO));
    }

    #[test]
    fn none_at_all() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let taken = (0..100).filter(|_| bucket.take(0, start).is_some());
        assert_eq!(taken.count(), 0);
    }
}
