//! What can be wrong with a ledger.

use super::SourceError;
use crate::car::CarError;
use crate::cbor::CborError;
use crate::cid::Cid;
use crate::clock::ClockError;
use crate::document::DocumentError;
use crate::envelope::EnvelopeError;
use crate::merge::MergeError;
use crate::meta::MetaError;
use crate::pail::PailError;

/// Something that could not be read. The rest of the ledger can.
///
/// ```
/// # use firebrick_core::genesis::GENESIS;
/// # use firebrick_core::keys::Key;
/// # use firebrick_core::ledger::{Ledger, Part, SourceError};
/// # use firebrick_core::meta::MetaEvent;
/// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
/// # // Only the list of meta events is there, no CAR.
/// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
/// #     Ok((path == "meta/main.json").then(|| newest.to_main_json().into()))
/// # };
/// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
/// use firebrick_core::ledger::Problem;
///
/// ledger.problems(|problem| match problem {
///     Problem::MissingCar(car) => assert_eq!(*car, GENESIS.car.cid),
///     other => panic!("{other}"),
/// });
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The source failed.
    #[error("{path} cannot be read: {error}")]
    Source {
        /// The file.
        path: String,
        /// Why.
        error: SourceError,
    },
    /// The list of meta events, or one of them.
    #[error("meta/main.json: {0}")]
    Meta(MetaError),
    /// A CAR is not there.
    #[error("the CAR {0} is missing")]
    MissingCar(Cid),
    /// A CAR cannot be decrypted.
    #[error("the CAR {car} cannot be decrypted: {error}")]
    Locked {
        /// The CAR.
        car: Cid,
        /// Why.
        error: EnvelopeError,
    },
    /// A CAR is damaged; the blocks before the damage are used.
    #[error("the CAR {car} is damaged: {error}")]
    Damaged {
        /// The CAR.
        car: Cid,
        /// Where and how.
        error: CarError,
    },
    /// A CAR's bytes have another hash than its name; those of its blocks that verify are used.
    #[error("the CAR {car} has the content of another: {actual}")]
    WrongName {
        /// The CAR.
        car: Cid,
        /// What its bytes are.
        actual: Cid,
    },
    /// The header of a group cannot be read.
    #[error("the header of the CAR {car} cannot be read: {error}")]
    Header {
        /// The first CAR of the group.
        car: Cid,
        /// Why.
        error: CborError,
    },
    /// An event of a head cannot be placed, because it or its past is not there.
    #[error("the event {event} cannot be placed: {error}")]
    Head {
        /// The event.
        event: Cid,
        /// Why.
        error: ClockError,
    },
}

/// Why a document or a file cannot be had.
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
/// use firebrick_core::cbor::Value;
/// use firebrick_core::document::GENESIS_KEY;
/// use firebrick_core::ledger::ReadError;
///
/// let wrong_type = ledger.document::<Vec<u8>>(GENESIS_KEY);
/// assert!(matches!(wrong_type, Err(ReadError::Document(_))));
/// assert!(ledger.document::<Value>(GENESIS_KEY).is_ok());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A block is in none of the CARs.
    #[error("the block {0} is missing")]
    MissingBlock(Cid),
    /// The state of the head cannot be computed.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A shard is missing or damaged.
    #[error(transparent)]
    Pail(#[from] PailError),
    /// A document cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A file's CAR is missing, locked or damaged.
    #[error(transparent)]
    File(Box<Problem>),
}
