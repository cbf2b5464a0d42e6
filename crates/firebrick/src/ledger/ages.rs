//! When the head was what: marks for retention by age. Events hold no time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::{Cid, cbor};

use super::Ledger;
use crate::error::{Error, Result};

const AGES: &str = "ledger/ages";
const MARK_EVERY_MS: u64 = 3_600_000;
const MARKS_MAX: usize = 128;

/// When, in milliseconds since 1970, and the head at that time; oldest first.
type Marks = Vec<(u64, Vec<Cid>)>;

impl Ledger {
    fn marks(&self) -> Result<Marks> {
        let Some(bytes) = self.store().kv(AGES) else {
            return Ok(Marks::new());
        };
        cbor::from_slice(&bytes).map_err(|error| Error::Malformed {
            what: "record of ages",
            cause: error.to_string(),
        })
    }

    /// Adds a mark to what is about to be committed, if the last one is old enough. The further
    /// back, the fewer marks stay.
    pub(super) fn mark_age(&self, head: &[Cid], kv: &mut Vec<(String, Option<Bytes>)>) {
        let now = self.env.unix_ms();
        if now < self.next_mark_ms.load(Ordering::Relaxed) {
            return;
        }
        self.next_mark_ms
            .store(now + MARK_EVERY_MS, Ordering::Relaxed);
        let mut marks = self.marks().unwrap_or_default();
        if marks.last().is_some_and(|(at, _)| now < at + MARK_EVERY_MS) {
            return;
        }
        marks.push((now, head.to_vec()));
        if marks.len() > MARKS_MAX {
            let mut at = 0;
            marks.retain(|_| {
                at += 1;
                at % 2 == 1 || at > MARKS_MAX / 2
            });
        }
        if let Ok(bytes) = cbor::to_vec(&marks) {
            kv.push((AGES.to_owned(), Some(bytes.into())));
        }
    }

    /// The newest known head that is at least this old.
    pub(super) fn head_before(&self, age: Duration) -> Result<Option<Vec<Cid>>> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let limit = self.env.unix_ms().saturating_sub(age);
        let marks = self.marks()?;
        let old = marks.into_iter().rev().find(|(at, _)| *at <= limit);
        Ok(old.map(|(_, head)| head))
    }
}
