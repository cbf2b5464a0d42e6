//! The pure core of Firebrick.
pub mod block;
pub mod cbor;
pub mod cid;
pub mod document;
mod number;

pub use block::Block;
pub use cid::Cid;
