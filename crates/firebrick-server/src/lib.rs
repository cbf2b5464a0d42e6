//! A sync server for Firebrick and Fireproof clients: one process, one data directory.
//!
//! [`Server::start`] opens the data directory, listens, and serves until [`Server::shutdown`].
//! `firebrick serve` is little more than that.
//!
//! - `http`, `socket`: how messages come in; `dispatch`: what is answered.
//! - `hub`, `room`: who is connected, and who subscribes to which ledger.
//! - [`metas`], [`cars`]: what is stored, behind traits; SQLite and a directory are the defaults.
//! - `metrics`, `ledgers`, `admin`: what whoever runs the server wants to know.
//! - [`token`]: who may do what; `signed`: URLs that say so for one object.

mod admin;
pub mod cars;
mod clock;
pub mod config;
mod dispatch;
mod error;
mod event;
mod files;
mod http;
mod hub;
pub mod ids;
mod ledgers;
mod listen;
mod location;
mod lock;
pub mod metas;
mod metrics;
mod objects;
mod room;
mod server;
mod signed;
mod socket;
mod start;
mod tenants;
mod tls;
pub mod token;
mod trace;
mod usage;
mod wake;
mod watched;

pub use admin::AdminToken;
pub use config::{Config, KeySource, Limits};
pub use error::ServerError;
pub use location::StoreUrl;
pub use server::{ADMIN_TOKEN_FILE, Server, mint};
pub use start::{KEY_FILE, signing_key};
pub use tenants::TenantLimits;
pub use tls::TlsFiles;

/// The code in the guide runs as doctests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../docs/guide/src/server.md")]
    mod server {}
    #[doc = include_str!("../../../docs/guide/src/cloud.md")]
    mod cloud {}
}
