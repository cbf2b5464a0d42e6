//! What a database remembers of its keys: which, since when, from where. Never the keys.

use bytes::Bytes;
use firebrick_core::cbor;
use serde::{Deserialize, Serialize};

use crate::store::Store;

/// Prefix of the records in the private state.
const KEYS: &str = "key/";
/// The fingerprint of the key that was the default last.
const DEFAULT: &str = "key-default";

/// How a key came here.
///
/// ```
/// # use firebrick::{Database, Error, KeyOrigin};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let peer = Database::memory("peer").await?;
/// peer.keys().import(&db.keys().export()?)?;
/// let origins: Vec<_> = peer.keys().list().into_iter().map(|key| key.origin).collect();
/// assert_eq!(origins, [Some(KeyOrigin::Imported), Some(KeyOrigin::Created)]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyOrigin {
    /// Made when the database was made.
    Created,
    /// Made by [`Keys::rotate`](crate::Keys::rotate).
    Rotated,
    /// Taken over from somewhere else.
    Imported,
    /// Found in the key store when the database was opened.
    Found,
    /// Given to [`Builder::key`](crate::Builder::key).
    Given,
    /// Sent by a remote to which this ledger's keys are given, too. It only reads.
    Received,
}

/// A key of a ledger, without the key itself.
///
/// ```
/// # use firebrick::{Database, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Database::memory("example").await?;
/// let key = &db.keys().list()[0];
/// assert_eq!(Some(&key.fingerprint), db.keys().fingerprint().as_ref());
/// assert!(key.is_default && key.is_here && key.bits == 256);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Names it: `z…`, the hash of the key.
    pub fingerprint: String,
    /// Whether what is written for remotes is encrypted with it.
    pub is_default: bool,
    /// Whether it is here. A key that once was and is not is listed too.
    pub is_here: bool,
    /// Its length, 128 or 256; 0 if it is not here.
    pub bits: u16,
    /// How it came here, if known.
    pub origin: Option<KeyOrigin>,
    /// When it came here, in milliseconds of Unix time, if known.
    pub added_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) origin: KeyOrigin,
    pub(super) added_ms: u64,
}

/// The change of the private state that remembers a key.
pub(super) fn remember(fingerprint: &str, record: KeyRecord) -> (String, Option<Bytes>) {
    // Writing small numbers into memory cannot fail.
    let bytes = cbor::to_vec(&record).unwrap_or_default();
    (format!("{KEYS}{fingerprint}"), Some(bytes.into()))
}

/// The change of the private state that remembers the default.
pub(super) fn remember_default(fingerprint: &str) -> (String, Option<Bytes>) {
    let bytes = Bytes::copy_from_slice(fingerprint.as_bytes());
    (DEFAULT.to_owned(), Some(bytes))
}

/// The default as it was last remembered.
pub(super) fn last_default(store: &dyn Store) -> Option<String> {
    String::from_utf8(store.kv(DEFAULT)?.to_vec()).ok()
}

/// All keys that were remembered.
pub(super) fn remembered(store: &dyn Store) -> Vec<(String, Option<KeyRecord>)> {
    let records = store.kv_prefix(KEYS).into_iter();
    let read = records.filter_map(|(key, bytes)| {
        let fingerprint = key.strip_prefix(KEYS)?.to_owned();
        Some((fingerprint, cbor::from_slice(&bytes).ok()))
    });
    read.collect()
}
