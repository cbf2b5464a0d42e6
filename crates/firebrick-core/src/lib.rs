//! The pure core of Firebrick: what a ledger is, byte for byte as Fireproof writes it.
//!
//! Everything here is a function of its arguments: no files, no clock, no threads, no runtime, no
//! state between calls. Time and random bytes are passed in. It builds for wasm32.
//!
//! From the bottom up:
//!
//! - [`cid`], [`block`], [`cbor`]: names, bytes, values;
//! - [`document`], [`mod@file`]: what applications store;
//! - [`pail`]: the trie from ids to documents; [`clock`]: the history; [`merge`]: the state of
//!   several heads;
//! - [`car`], [`header`], [`group`]: the files that hold blocks; [`envelope`], [`keys`]: their
//!   encryption; [`meta`], [`wal`], [`urls`]: what points to them;
//! - [`charwise`], [`prolly`], [`index`]: indexes and queries as JavaScript has them; [`ordered`]: the
//!   tree of our own that a local index is kept in;
//! - [`genesis`]: how every ledger begins; [`ledger`]: opening one that JavaScript wrote.
//! - [`cloud`]: the messages of a sync server and its clients.
//!
//! ```
//! use firebrick_core::keys::Key;
//! use firebrick_core::{document, envelope, group::Car, header::CarHeader};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     title: String,
//! }
//!
//! let task = Task { title: "Read the format".into() };
//! let block = document::encode("task-1", &task)?;
//! let car = Car::commit(&CarHeader::default(), [&block]);
//! let sealed = envelope::seal(&car.bytes, &Key::generate([7; 32]));
//! assert_ne!(sealed, car.bytes);
//! let back: Option<Task> = document::decode(&block.bytes)?;
//! assert_eq!(back.map(|task| task.title).as_deref(), Some("Read the format"));
//! # Ok::<(), document::DocumentError>(())
//! ```

pub mod backup;
pub mod block;
pub mod car;
pub mod cbor;
pub mod charwise;
pub mod cid;
pub mod clock;
pub mod cloud;
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
pub mod ordered;
pub mod pail;
pub mod prolly;
pub mod urls;
pub mod wal;

pub use block::Block;
pub use cid::Cid;
