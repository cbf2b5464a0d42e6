//! What is known of each ledger: what goes through it, and what it stores.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::cars::CarUsage;
use crate::clock::now;
use crate::ids::LedgerId;
use crate::lock::lock;
use crate::metas::MetaUsage;
use crate::metrics::{Counter, Traffic};
use crate::tenants::{OverQuota, Stored, Tenant, Tenants};

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
    pub(crate) tenant: Arc<Tenant>,
    stored: Mutex<Kept>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    stored: Stored,
    /// How often that has changed, other than by counting.
    changes: u64,
}

impl Ledger {
    fn new(id: LedgerId, tenant: Arc<Tenant>) -> Self {
        Self {
            id,
            tenant,
            stored: Mutex::default(),
            published: Counter::default(),
            events: Counter::default(),
            traffic: Traffic::default(),
            last_write: AtomicU64::new(0),
        }
    }

    fn written(&self) {
        self.last_write.fetch_max(now(), Ordering::Relaxed);
    }

    /// In seconds since 1970; 0 is never.
    pub(crate) fn last_write(&self) -> u64 {
        self.last_write.load(Ordering::Relaxed)
    }

    pub(crate) fn stored(&self) -> Stored {
        lock(&self.stored).stored
    }

    /// What this ledger would add to its tenant if it got the first thing in it.
    pub(crate) fn to_begin(&self) -> u64 {
        1 - self.stored().ledgers.min(1)
    }

    /// The least that a new CAR adds to its tenant.
    fn any_car(&self) -> Stored {
        Stored {
            ledgers: self.to_begin(),
            bytes: 1,
            ..Stored::default()
        }
    }

    /// Whether there is room for a new CAR.
    pub(crate) fn allows_car(&self) -> bool {
        self.tenant.allows(self.any_car()).is_ok()
    }

    /// The same, but a refusal is counted.
    pub(crate) fn claim_car(&self) -> Result<(), OverQuota> {
        self.tenant.claim(self.any_car())
    }

    pub(crate) fn changes(&self) -> u64 {
        lock(&self.stored).changes
    }

    pub(crate) fn car_added(&self, bytes: u64) {
        self.change(true, |stored| {
            stored.cars += 1;
            stored.bytes += bytes;
        });
        self.written();
    }

    pub(crate) fn car_deleted(&self, bytes: u64) {
        self.change(true, |stored| {
            stored.cars = stored.cars.saturating_sub(1);
            stored.bytes = stored.bytes.saturating_sub(bytes);
        });
    }

    /// Metas were added, and so many of them stay for good: the others replace what was there.
    pub(crate) fn metas_added(&self, published: u64, more: i64) {
        self.published.add(published);
        self.change(true, |stored| {
            stored.metas = stored.metas.saturating_add_signed(more);
        });
        self.written();
    }

    /// What there is, unless it has changed while it was counted.
    pub(crate) fn counted(&self, cars: CarUsage, metas: MetaUsage, changes: u64) {
        self.last_write
            .fetch_max(metas.last_write, Ordering::Relaxed);
        if self.changes() == changes {
            self.change(false, |stored| {
                stored.cars = cars.cars;
                stored.bytes = cars.bytes;
                stored.metas = metas.metas;
            });
        }
    }

    /// Changes what is stored here, and the tenant's with it.
    fn change(&self, counts: bool, change: impl FnOnce(&mut Stored)) {
        let mut kept = lock(&self.stored);
        let before = kept.stored;
        let mut after = before;
        change(&mut after);
        after.ledgers = u64::from(after.cars > 0 || after.metas > 0);
        kept.stored = after;
        kept.changes += u64::from(counts);
        let mut tenant = lock(&self.tenant.stored);
        let moved = |sum: u64, before: u64, after: u64| (sum + after).saturating_sub(before);
        tenant.ledgers = moved(tenant.ledgers, before.ledgers, after.ledgers);
        tenant.cars = moved(tenant.cars, before.cars, after.cars);
        tenant.bytes = moved(tenant.bytes, before.bytes, after.bytes);
        tenant.metas = moved(tenant.metas, before.metas, after.metas);
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
    pub(crate) tenants: Tenants,
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
    pub(crate) fn new(tenants: Tenants, lines: usize) -> Self {
        Self {
            tenants,
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
        let ledger = Arc::new(Ledger::new(id.clone(), self.tenants.of(&id.tenant)));
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
    use crate::tenants::TenantLimits;

    fn ledgers(lines: usize) -> Ledgers {
        let tenants = Tenants::new(TenantLimits::default(), None).unwrap();
        Ledgers::new(tenants, lines)
    }

    #[test]
    fn what_is_stored_adds_up() {
        let ledgers = ledgers(1);
        let ledger = |name: &str| ledgers.of(&LedgerId::new("t", name).unwrap());
        let (a, b) = (ledger("a"), ledger("b"));
        a.car_added(10);
        a.car_added(5);
        b.metas_added(2, 2);
        b.metas_added(1, -1);
        let stored = *lock(&a.tenant.stored);
        let sum = Stored {
            ledgers: 2,
            cars: 2,
            bytes: 15,
            metas: 1,
            arriving: 0,
        };
        assert_eq!(stored, sum);
        // A count counts unless something has changed since it began.
        let cars = CarUsage {
            cars: 7,
            bytes: 700,
        };
        let metas = MetaUsage {
            metas: 3,
            last_write: 9,
        };
        a.counted(cars, metas, 1);
        assert_eq!(a.stored().bytes, 15);
        a.counted(cars, metas, a.changes());
        assert_eq!((a.stored().bytes, lock(&a.tenant.stored).bytes), (700, 700));
        for (ledger, bytes) in [(&a, 1000), (&b, 1)] {
            ledger.car_deleted(bytes);
        }
        b.metas_added(1, -5);
        a.counted(CarUsage::default(), MetaUsage::default(), a.changes());
        assert_eq!(*lock(&a.tenant.stored), Stored::default());
        assert_eq!(
            (a.to_begin(), a.last_write.load(Ordering::Relaxed) > 9),
            (1, true)
        );
    }

    #[test]
    fn the_busiest_have_lines_and_no_line_goes_down() {
        let ledgers = ledgers(2);
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
