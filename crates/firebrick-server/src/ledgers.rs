//! What is known of each ledger: what goes through it, and what it stores.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock::now;
use crate::ids::LedgerId;
use crate::lock::lock;
use crate::metrics::{Counter, Traffic};

/// How often it is decided anew which ledgers are the busiest.
const RANKING: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) id: LedgerId,
    /// Metas that clients have published.
    pub(crate) published: Counter,
    /// Events that were sent to subscribers.
    pub(crate) events: Counter,
    /// Bytes of messages and CARs.
    pub(crate) traffic: Traffic,
    /// In seconds since 1970; 0 is never.
    last_write: AtomicU64,
}

impl Ledger {
    fn new(id: LedgerId) -> Self {
        Self {
            id,
            published: Counter::default(),
            events: Counter::default(),
            traffic: Traffic::default(),
            last_write: AtomicU64::new(0),
        }
    }

    pub(crate) fn written(&self) {
        self.last_write.fetch_max(now(), Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        Counts([
            self.published.get(),
            self.events.get(),
            self.traffic.received.get(),
            self.traffic.sent.get(),
        ])
    }
}

/// Published metas, events, received bytes, sent bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) [u64; 4]);

impl Counts {
    fn add(&mut self, other: Counts) {
        for (mine, other) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(other);
        }
    }

    fn since(self, earlier: Counts) -> Counts {
        let mut counts = self;
        for (mine, earlier) in counts.0.iter_mut().zip(earlier.0) {
            *mine = mine.saturating_sub(earlier);
        }
        counts
    }

    fn bytes(self) -> u64 {
        self.0[2].saturating_add(self.0[3])
    }
}

/// All ledgers that anybody has used, or that store something.
#[derive(Debug)]
pub(crate) struct Ledgers {
    all: Mutex<HashMap<LedgerId, Arc<Ledger>>>,
    ranking: Mutex<Ranking>,
}

/// Which ledgers have a line of their own among the metrics. What a ledger counts while it has none
/// belongs to the line of the rest for ever, so no line ever goes down.
#[derive(Debug)]
struct Ranking {
    lines: usize,
    ranked: Option<Instant>,
    known: HashMap<LedgerId, Ranked>,
    rest: Counts,
}

#[derive(Debug, Default)]
struct Ranked {
    /// What it had counted when it was last looked at.
    seen: Counts,
    /// What was counted while it had a line.
    shown: Counts,
    has_line: bool,
    /// Bytes, the recent ones above all.
    busy: u64,
}

impl Ledgers {
    /// `lines` is how many ledgers have metrics of their own.
    pub(crate) fn new(lines: usize) -> Self {
        Self {
            all: Mutex::default(),
            ranking: Mutex::new(Ranking {
                lines,
                ranked: None,
                known: HashMap::new(),
                rest: Counts::default(),
            }),
        }
    }

    pub(crate) fn of(&self, id: &LedgerId) -> Arc<Ledger> {
        let mut all = lock(&self.all);
        if let Some(ledger) = all.get(id) {
            return ledger.clone();
        }
        let ledger = Arc::new(Ledger::new(id.clone()));
        all.insert(id.clone(), ledger.clone());
        ledger
    }

    pub(crate) fn list(&self) -> Vec<Arc<Ledger>> {
        lock(&self.all).values().cloned().collect()
    }

    /// The busiest ledgers with their counts, and the sum of the others.
    pub(crate) fn busiest(&self) -> (Vec<(LedgerId, Counts)>, Counts) {
        let ledgers = self.list();
        lock(&self.ranking).look(&ledgers, Instant::now())
    }
}

impl Ranking {
    fn look(&mut self, ledgers: &[Arc<Ledger>], now: Instant) -> (Vec<(LedgerId, Counts)>, Counts) {
        let due = self.ranked.is_none_or(|last| now - last >= RANKING);
        for ledger in ledgers {
            let ranked = match self.known.get_mut(&ledger.id) {
                Some(ranked) => ranked,
                None => self.known.entry(ledger.id.clone()).or_default(),
            };
            let counts = ledger.counts();
            let fresh = counts.since(ranked.seen);
            ranked.seen = counts;
            if ranked.has_line {
                ranked.shown.add(fresh);
            } else {
                self.rest.add(fresh);
            }
            if due {
                ranked.busy /= 2;
            }
            // Metas and events without bytes cannot be, but a ledger that was used at all is busier.
            ranked.busy = ranked.busy.saturating_add(fresh.bytes());
        }
        if due {
            self.ranked = Some(now);
            let mut busy: Vec<u64> = self.known.values().map(|ranked| ranked.busy).collect();
            busy.sort_unstable_by(|a, b| b.cmp(a));
            let least = busy.get(self.lines).copied().unwrap_or(0);
            for ranked in self.known.values_mut() {
                ranked.has_line = ranked.busy > least;
            }
        }
        let with_line = self.known.iter().filter(|(_, ranked)| ranked.has_line);
        let mut lines: Vec<_> = with_line
            .map(|(id, ranked)| (id.clone(), ranked.shown))
            .collect();
        lines.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        (lines, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_have_lines_and_no_line_goes_down() {
        let ledgers = Ledgers::new(2);
        let ledger = |name: &str| ledgers.of(&LedgerId::new("t", name).unwrap());
        let start = Instant::now();
        let names = |lines: &[(LedgerId, Counts)]| {
            let names = lines.iter().map(|(id, _)| id.ledger.as_str().to_owned());
            names.collect::<Vec<_>>()
        };
        for (name, bytes) in [("a", 100), ("b", 50), ("c", 10), ("idle", 0)] {
            ledger(name).traffic.received.add(bytes);
        }
        let mut ranking = lock(&ledgers.ranking);
        let (lines, rest) = ranking.look(&ledgers.list(), start);
        // What was counted before a ledger had its line stays with the others.
        assert_eq!(names(&lines), ["a", "b"]);
        assert_eq!(rest.0[2], 160);
        ledger("a").traffic.received.add(1);
        ledger("c").traffic.received.add(500);
        ledger("c").events.add(3);
        let (lines, rest) = ranking.look(&ledgers.list(), start);
        assert_eq!((lines[0].1.0[2], rest.0[1], rest.0[2]), (1, 3, 660));
        let (lines, _) = ranking.look(&ledgers.list(), start + RANKING);
        assert_eq!(names(&lines), ["a", "c"]);
        ledger("b").traffic.received.add(7);
        let (_, rest) = ranking.look(&ledgers.list(), start + RANKING);
        assert_eq!(rest.0[2], 667);
        // It comes back with what it had.
        ledger("a").traffic.sent.add(1000);
        ledger("b").traffic.sent.add(5000);
        let (lines, _) = ranking.look(&ledgers.list(), start + RANKING * 2);
        assert_eq!(names(&lines), ["a", "b"]);
        assert_eq!(lines[0].1.0, [0, 0, 1, 1000]);
    }
}
