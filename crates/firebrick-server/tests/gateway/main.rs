//! Firebrick clients on a server in this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;
mod conforms;
mod hostile;
mod quotas;
mod sync;
mod tokens;
mod trust;
