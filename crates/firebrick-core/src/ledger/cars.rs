//! Reading one CAR file.

use bytes::Bytes;

use super::{Problem, Source};
use crate::block::Block;
use crate::car::CarReader;
use crate::cbor::CborError;
use crate::cid::{Cid, Codec};
use crate::envelope::{self, EnvelopeError};
use crate::header::CarHeader;
use crate::keys::Keys;

/// A CAR that was read and decrypted.
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
/// assert_eq!(car.roots, [car.blocks[0].cid]);
/// assert_eq!(car.blocks[1..].len(), GENESIS.blocks().len());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedCar {
    /// The roots that its own header names.
    pub roots: Vec<Cid>,
    /// The verified blocks, in order.
    pub blocks: Vec<Block>,
    /// Length of the plain bytes.
    pub plain_len: usize,
}

impl LoadedCar {
    /// The group header in the root block; `None` if the CAR has no root block.
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
    /// let header = car.header().expect("it has a root")?;
    /// assert_eq!(header.head, Some(vec![GENESIS.event.cid]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn header(&self) -> Option<Result<CarHeader, CborError>> {
        let root = self.roots.first()?;
        let block = self.blocks.iter().find(|block| block.cid == *root)?;
        Some(CarHeader::decode(&block.bytes))
    }
}

/// Reads a CAR. Problems that leave some blocks usable come with it.
pub(super) fn read(
    source: &impl Source,
    keys: Option<&impl Keys>,
    path: &str,
    cid: Cid,
) -> Result<(LoadedCar, Vec<Problem>), Problem> {
    let file = source.read(path).map_err(|error| Problem::Source {
        path: path.into(),
        error,
    })?;
    let file = file.ok_or(Problem::MissingCar(cid))?;
    let plain = match keys {
        // The nonce is the writer's matter: some are configured to use random ones.
        Some(keys) => envelope::open_any_iv(&file, keys)
            .map_err(|error| Problem::Locked { car: cid, error })?,
        None => match envelope::key_id_of(&file) {
            Ok(key_id) => {
                let error = EnvelopeError::UnknownKey { key_id };
                return Err(Problem::Locked { car: cid, error });
            }
            Err(_) => file,
        },
    };
    parse(plain, cid)
}

fn parse(plain: Bytes, cid: Cid) -> Result<(LoadedCar, Vec<Problem>), Problem> {
    let mut problems = Vec::new();
    let actual = Cid::of(Codec::Car, &plain);
    if actual != cid {
        problems.push(Problem::WrongName { car: cid, actual });
    }
    let plain_len = plain.len();
    let damaged = |error| Problem::Damaged { car: cid, error };
    let reader = CarReader::new(plain).map_err(damaged)?;
    let roots = reader.roots().to_vec();
    let mut blocks = Vec::new();
    for block in reader.surviving() {
        match block {
            Ok(block) => blocks.push(block),
            Err(error) => problems.push(damaged(error)),
        }
    }
    let car = LoadedCar {
        roots,
        blocks,
        plain_len,
    };
    Ok((car, problems))
}
