//! Where in an index the rows of a query are.

use std::sync::Arc;

use firebrick_core::index::Span;
use firebrick_core::ordered::TreeError;

use crate::error::{Error, Result};
use crate::index::{Entry, IndexState, damage};
use crate::ledger::{Ledger, Snapshot};

/// A query that makes sense.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(super) entry: Arc<Entry>,
    pub(super) spans: Vec<Span>,
    pub(super) descending: bool,
    pub(super) offset: u64,
    pub(super) limit: u64,
    pub(super) after: Option<(usize, Vec<u8>)>,
    pub(super) include_docs: bool,
}

/// Rows of one span: from a rank, without the other.
pub(super) struct Part {
    pub(super) span: usize,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Plan {
    /// The newest version, and the index as of it.
    pub(super) async fn ready(
        &self,
        ledger: &Arc<Ledger>,
    ) -> Result<(Arc<Snapshot>, Arc<IndexState>)> {
        ledger.ensure_index(&self.entry).await?;
        let snapshot = ledger.snapshot();
        let state = ledger.index_at(&self.entry, &snapshot)?;
        Ok((snapshot, state))
    }

    /// What `read` makes of the newest version, with a second try if the index turns out to be
    /// damaged, because then it has been made anew.
    pub(super) async fn answer<R>(
        &self,
        ledger: &Arc<Ledger>,
        mut read: impl FnMut(Arc<Snapshot>, Arc<IndexState>) -> Result<R>,
    ) -> Result<R> {
        let mut tried = false;
        loop {
            let ready = self.ready(ledger).await;
            match ready.and_then(|(snapshot, state)| read(snapshot, state)) {
                Err(Error::IndexDamaged { .. }) if !tried => tried = true,
                result => return result,
            }
        }
    }

    pub(super) fn failed(&self, ledger: &Ledger, error: TreeError) -> Error {
        if !damage(&error) {
            return error.into();
        }
        if let Err(error) = ledger.forget_index(&self.entry) {
            return error;
        }
        Error::IndexDamaged {
            name: self.entry.name(),
        }
    }

    /// Where the rows are.
    pub(super) fn parts(&self, ledger: &Ledger, state: &IndexState) -> Result<Vec<Part>> {
        let rank = |key: &[u8]| {
            let rank = state.entries.rank(&ledger.source, key);
            rank.map_err(|error| self.failed(ledger, error))
        };
        let (mut skip, mut left) = (self.offset, self.limit);
        let mut parts = Vec::new();
        for (at, span) in self.spans.iter().enumerate() {
            let mut from = rank(&span.from)?;
            let mut to = match &span.to {
                Some(to) => rank(to)?,
                None => state.entries.len(),
            };
            match &self.after {
                Some((span, _)) if at < *span => continue,
                Some((span, entry)) if at == *span => match self.descending {
                    true => to = to.min(rank(entry)?),
                    false => from = from.max(rank(&[entry.as_slice(), &[0]].concat())?),
                },
                _ => {}
            }
            let rows = to.saturating_sub(from);
            let skipped = rows.min(skip);
            let taken = (rows - skipped).min(left);
            skip -= skipped;
            left -= taken;
            if taken > 0 {
                let first = match self.descending {
                    true => to - skipped - taken,
                    false => from + skipped,
                };
                parts.push(Part {
                    span: at,
                    from: first,
                    to: first + taken,
                });
            }
        }
        Ok(parts)
    }

    pub(super) fn count(&self, ledger: &Ledger, state: &IndexState) -> Result<u64> {
        let parts = self.parts(ledger, state)?;
        Ok(parts.iter().map(|part| part.to - part.from).sum())
    }

    /// Whether rows outside of the result can come into it when others go.
    pub(super) fn is_window(&self) -> bool {
        self.offset > 0 || self.limit < u64::MAX || self.after.is_some()
    }
}

pub(super) fn write_cursor(span: usize, entry: &[u8]) -> String {
    format!("{span}.{}", data_encoding::BASE64URL_NOPAD.encode(entry))
}

pub(super) fn read_cursor(text: &str) -> Result<(usize, Vec<u8>)> {
    let parsed = text.split_once('.').and_then(|(span, entry)| {
        let entry = data_encoding::BASE64URL_NOPAD.decode(entry.as_bytes());
        Some((span.parse().ok()?, entry.ok()?))
    });
    parsed.ok_or_else(|| Error::Config(format!("{text:?} is no cursor; a page has one")))
}
