//! The pure core of Firebrick.
pub mod block;
pub mod car;
pub mod cbor;
pub mod charwise;
pub mod cid;
pub mod clock;
pub mod document;
pub mod envelope;
pub mod file;
pub mod genesis;
pub mod group;
pub mod header;
pub mod index;
pub mod keys;
pub mod ledger;
pub mod memory;
pub mod merge;
pub mod meta;
mod number;
pub mod pail;
pub mod prolly;
pub mod urls;
pub mod wal;

pub use block::Block;
pub use cid::Cid;
