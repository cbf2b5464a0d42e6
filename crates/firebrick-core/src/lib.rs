//! The pure core of Firebrick.
pub mod block;
pub mod car;
pub mod cbor;
pub mod cid;
pub mod document;
pub mod envelope;
pub mod genesis;
pub mod group;
pub mod header;
pub mod keys;
pub mod meta;
mod number;

pub use block::Block;
pub use cid::Cid;
