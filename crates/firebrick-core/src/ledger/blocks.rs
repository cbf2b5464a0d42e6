//! The CARs of a ledger and the blocks in them, as sources for the clock and the pail.

use std::sync::Arc;

use super::{Ledger, LoadedCar, Source, cars};
use crate::cbor::CborError;
use crate::cid::Cid;
use crate::clock::{self, ClockError, EventSource};
use crate::header::CarHeader;
use crate::keys::Keys;
use crate::memory::MemoryBlocks;
use crate::pail::{PailError, Shard, ShardSource};

impl<S: Source, K: Keys> Ledger<S, K> {
    /// A CAR that was read.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// # let data = format!("data/{}.car", GENESIS.car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok(match path {
    /// #         "meta/main.json" => Some(newest.to_main_json().into()),
    /// #         _ => (path == data).then(|| GENESIS.car_bytes()),
    /// #     })
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// let car = ledger.car(&GENESIS.car.cid).expect("it was read");
    /// assert_eq!((car.blocks.len(), car.plain_len), (5, 788));
    /// ```
    #[must_use]
    pub fn car(&self, cid: &Cid) -> Option<LoadedCar> {
        self.state.borrow().cars.get(cid).cloned()
    }

    /// The header in a CAR that was read; `None` if the CAR was not, or has no root block.
    pub(super) fn header(&self, car: &Cid) -> Option<Result<CarHeader, CborError>> {
        self.car(car)?.header()
    }

    /// Reads a CAR unless it was tried before.
    pub(super) fn load(&self, cid: &Cid) {
        if !self.state.borrow_mut().tried.insert(*cid) {
            return;
        }
        let path = format!("{}data/{cid}.car", self.part.prefix());
        let car = cars::read(&self.source, self.keys.as_ref(), &path, *cid);
        let mut state = self.state.borrow_mut();
        match car {
            Ok((car, problems)) => {
                car.blocks
                    .iter()
                    .for_each(|block| state.blocks.insert(block));
                state.cars.insert(*cid, car);
                state.problems.extend(problems);
            }
            Err(problem) => state.problems.push(problem),
        }
    }

    /// Looks something up in the blocks; if it is not there, reads replaced CARs until it is.
    pub(super) fn find<T>(&self, look: impl Fn(&MemoryBlocks) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = look(&self.state.borrow().blocks) {
                return Some(found);
            }
            let next = self.state.borrow_mut().replaced.pop()?;
            self.load(&next);
            if let Some(Ok(header)) = self.header(&next) {
                let older = header.compact.into_iter().chain(header.cars).flatten();
                let mut state = self.state.borrow_mut();
                let state = &mut *state;
                let tried = &state.tried;
                state
                    .replaced
                    .extend(older.filter(|car| !tried.contains(car)));
            }
        }
    }
}

impl<S: Source, K: Keys> ShardSource for Ledger<S, K> {
    fn shard(&self, cid: &Cid) -> Result<Shard, PailError> {
        self.find(|blocks| match blocks.shard(cid) {
            Err(PailError::Missing(_)) => None,
            answer => Some(answer),
        })
        .unwrap_or(Err(PailError::Missing(*cid)))
    }
}

impl<S: Source, K: Keys> EventSource for Ledger<S, K> {
    fn event(&self, cid: &Cid) -> Result<Arc<clock::Event>, ClockError> {
        self.find(|blocks| match blocks.event(cid) {
            Err(ClockError::Missing(_)) => None,
            answer => Some(answer),
        })
        .unwrap_or(Err(ClockError::Missing(*cid)))
    }

    fn generation(&self, cid: &Cid) -> Result<u64, ClockError> {
        self.find(|blocks| match blocks.generation(cid) {
            Err(ClockError::Missing(_)) => None,
            answer => Some(answer),
        })
        .unwrap_or(Err(ClockError::Missing(*cid)))
    }
}
