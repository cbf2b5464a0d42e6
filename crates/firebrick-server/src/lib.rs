//! A sync server for Firebrick and Fireproof clients: one process, one data directory.
//!
//! [`Server::start`] opens the data directory, listens, and serves until [`Server::shutdown`].
//! `firebrick serve` is little more than that.
//!
//! - `http`, `socket`: how messages come in; `dispatch`: what is answered.
//! - `hub`, `room`: who is connected, and who subscribes to which ledger.
//! - [`metas`], [`cars`]: what is stored, behind traits; SQLite and a directory are the defaults.
//! - [`token`]: who may do what; `signed`: URLs that say so for one object.

pub mod cars;
mod clock;
pub mod config;
mod dispatch;
mod error;
mod http;
mod hub;
pub mod ids;
mod lock;
pub mod metas;
mod objects;
mod room;
mod server;
mod signed;
mod socket;
pub mod token;

pub use config::{Config, KeySource, Limits};
pub use error::ServerError;
pub use server::{KEY_FILE, Server, mint, signing_key};

/// The code in the guide runs as doctests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../docs/guide/src/server.md")]
    mod server {}
    #[doc = include_str!("../../../docs/guide/src/cloud.md")]
    mod cloud {}
}
