//! What the tracker remembers of a remote, across restarts.

use std::collections::BTreeSet;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cbor::{self, CborError, Reader, Writer};
use serde::{Deserialize, Serialize};

use super::files::Owed;
use super::groups::Group;
use super::reclaim::Retired;
use super::status::Traffic;
use crate::ledger::Ledger;

/// The state of one remote. Saved with every step that changes it, in the same commit as what it
/// speaks of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) url: String,
    /// Attach again at the next opening.
    pub(super) remembered: bool,
    /// Joining a ledger that began apart is allowed.
    pub(super) merge: bool,
    /// The two ledgers are known to belong together.
    pub(super) joined: bool,
    /// They had begun apart.
    pub(super) began_apart: bool,
    /// Heads that the remote was seen to hold completely, and that are applied here.
    pub(super) acked: Vec<Cid>,
    /// A root whose every shard is at the remote.
    pub(super) base: Option<Cid>,
    /// The CAR groups that hold the remote's data, newest first.
    pub(super) live: Vec<Group>,
    /// CARs that merged ones replaced lately, told to the others so that they let go of them too.
    pub(super) replaced: Vec<Cid>,
    /// A compaction by JavaScript has taken the place of CARs, and may have dropped documents.
    #[serde(default)]
    pub(super) compacted_by_others: bool,
    /// CARs of our own that may be deleted at the remote once nobody lists them.
    #[serde(default)]
    pub(super) retired: Vec<Retired>,
    /// CARs that were uploaded and that no header lists yet, with the blocks they hold.
    pub(super) staged: Vec<Cid>,
    /// The group that our last announcement names.
    pub(super) announced: Option<Cid>,
    /// Slots of earlier openings of this store.
    pub(super) slots: Vec<String>,
    pub(super) traffic: Traffic,
    /// Contents of files are fetched without being asked for.
    #[serde(default)]
    pub(super) prefetch: bool,
    /// The head whose documents' files were fetched.
    #[serde(default)]
    pub(super) prefetched: Vec<Cid>,
    /// Files whose documents were sent without them.
    #[serde(default)]
    pub(super) owed: BTreeSet<Owed>,
}

impl Record {
    pub(super) fn encode(&self) -> Result<Bytes, CborError> {
        cbor::to_vec(self).map(Bytes::from)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::from_slice(bytes)
    }
}

/// What is known of one CAR at the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CarRecord {
    /// The local block that lists its blocks in order, the header first.
    pub(super) list: Cid,
    /// Plain bytes.
    pub(super) bytes: u64,
    /// A merged CAR has taken its place.
    pub(super) replaced: bool,
}

impl CarRecord {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64);
        out.list(3);
        out.link(&self.list);
        out.uint(self.bytes);
        out.bool(self.replaced);
        out.into_vec().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut input = Reader::new(bytes);
        input.list()?;
        let list = input.link()?;
        let cbor::Token::Int(bytes) = input.token()? else {
            return Err(CborError::Expected {
                expected: "a length",
                at: input.position(),
            });
        };
        let replaced = input.token()? == cbor::Token::Bool(true);
        Ok(Self {
            list,
            bytes: u64::try_from(bytes).unwrap_or(0),
            replaced,
        })
    }
}

/// The lists of the blocks of every known CAR, with the names of the remotes.
pub(crate) fn stored_lists(ledger: &Ledger) -> Vec<(String, Cid)> {
    let cars = ledger.store().kv_prefix(CARS).into_iter();
    cars.filter_map(|(key, car)| {
        let (remote, _) = key[CARS.len()..].rsplit_once('/')?;
        Some((remote.to_owned(), CarRecord::decode(&car).ok()?.list))
    })
    .collect()
}

/// Keys of the private state.
pub(super) fn record_key(name: &str) -> String {
    format!("{RECORDS}{name}")
}

/// Prefix of all remotes' records.
pub(super) const RECORDS: &str = "remote/";

/// Prefix of all remotes' CARs.
pub(super) const CARS: &str = "car/";

/// Prefix of the CARs of one remote.
pub(super) fn car_prefix(name: &str) -> String {
    format!("{CARS}{name}/")
}

pub(super) fn car_key(name: &str, car: &Cid) -> String {
    format!("{CARS}{name}/{car}")
}

/// The block that lists the blocks of a CAR. It stays in the local store.
pub(super) fn encode_list<'a>(cids: impl IntoIterator<Item = &'a Cid>) -> Bytes {
    cids.into_iter()
        .flat_map(Cid::to_bytes)
        .collect::<Vec<u8>>()
        .into()
}

/// Reads a list that [`encode_list`] wrote.
pub(super) fn decode_list(bytes: &[u8]) -> Vec<Cid> {
    bytes
        .chunks(firebrick_core::cid::BINARY_LEN)
        .filter_map(|cid| Cid::from_bytes(cid).ok())
        .collect()
}
