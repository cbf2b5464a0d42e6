//! Where an event first came from: written here, or brought by a remote.
//!
//! It costs nothing: the store keeps 40 bits beside each event, of which a generation takes 32. The
//! others hold a number: 0 for unknown, 1 for this database, above that a remote's.

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cbor::{CborError, Reader, Writer};

use super::Ledger;
use crate::error::{Error, Result};
use crate::lock;
use crate::subscribe::Origin;

/// Where the store keeps the names of the remotes that are numbered.
const NAMES: &str = "ledger/origins";
/// Bits of a generation, stored one higher so that 0 can mean "not known yet".
const GENERATION_BITS: u32 = 32;
/// The number of this database, and of the first remote.
const LOCAL: u64 = 1;
const FIRST_REMOTE: u64 = 2;
/// Remotes that can be told apart; what others bring is marked as unknown.
const REMOTES_MAX: usize = 254;

/// The generation in what the store keeps beside an event, if it is known.
pub(super) fn generation(stored: u64) -> Option<u64> {
    (stored & ((1 << GENERATION_BITS) - 1)).checked_sub(1)
}

/// Where an event comes from, in the form in which the store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) const LOCAL: Mark = Mark(LOCAL);

    pub(super) fn of(stored: u64) -> Self {
        Mark(stored >> GENERATION_BITS)
    }

    pub(super) fn with(self, generation: u64) -> u64 {
        self.without_generation() | (generation + 1)
    }

    pub(super) fn without_generation(self) -> u64 {
        self.0 << GENERATION_BITS
    }
}

fn encode(names: &[String]) -> Bytes {
    let mut out = Writer::new();
    out.list(names.len());
    names.iter().for_each(|name| out.text(name));
    out.into_vec().into()
}

fn decode(bytes: &[u8]) -> Result<Vec<String>, CborError> {
    let mut input = Reader::new(bytes);
    let count = input.list()?;
    let names = (0..count).map(|_| input.text().map(str::to_owned));
    let names = names.collect::<Result<_, _>>()?;
    input.finish()?;
    Ok(names)
}

impl Ledger {
    /// Looks at the names of the remotes that are numbered.
    fn with_names<T>(&self, look: impl FnOnce(&mut Vec<String>) -> Result<T>) -> Result<T> {
        let mut names = lock::lock(&self.origins);
        if names.is_none() {
            let stored = self.store().kv(NAMES).map(|bytes| decode(&bytes));
            let stored = stored.transpose().map_err(|error| Error::Malformed {
                what: "list of origins",
                cause: error.to_string(),
            })?;
            *names = Some(stored.unwrap_or_default());
        }
        look(names.get_or_insert_default())
    }

    /// The mark for what comes from this remote. The first time, its name is stored.
    pub(super) fn mark_of(&self, remote: &str) -> Result<Mark> {
        self.with_names(|names| {
            let at = match names.iter().position(|name| name == remote) {
                Some(at) => at,
                None if names.len() >= REMOTES_MAX => return Ok(Mark(0)),
                None => {
                    let mut more = names.clone();
                    more.push(remote.to_owned());
                    self.record(&[(NAMES.to_owned(), Some(encode(&more)))])?;
                    *names = more;
                    names.len() - 1
                }
            };
            Ok(Mark(FIRST_REMOTE + at as u64))
        })
    }

    /// Where an event first came from, as far as that was recorded.
    pub(crate) fn origin_of(&self, event: &Cid) -> Result<Option<Origin>> {
        let Mark(number) = Mark::of(self.store().generation(event)?.unwrap_or_default());
        if number == LOCAL {
            return Ok(Some(Origin::Local));
        }
        let Some(at) = number.checked_sub(FIRST_REMOTE) else {
            return Ok(None);
        };
        self.with_names(|names| Ok(names.get(at as usize).cloned().map(Origin::Remote)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_generations_share_forty_bits() {
        let mark = Mark(FIRST_REMOTE + REMOTES_MAX as u64 - 1);
        let stored = mark.with(u64::from(u32::MAX) - 1);
        assert_eq!(stored, (1 << 40) - 1);
        assert_eq!(generation(stored), Some(u64::from(u32::MAX) - 1));
        assert_eq!(Mark::of(stored), mark);
        assert_eq!(generation(mark.without_generation()), None);
        assert_eq!(Mark::of(mark.without_generation()), mark);
        assert_eq!((generation(0), Mark::of(0)), (None, Mark(0)));
        let names = vec!["a".to_owned(), "ü".to_owned()];
        assert_eq!(decode(&encode(&names)).expect("decodes"), names);
    }
}
