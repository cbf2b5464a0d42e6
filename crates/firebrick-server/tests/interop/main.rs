//! Unmodified JavaScript clients on our server, over WebSockets and over HTTP alone.
//!
//! The tests need Node.js and the packages of `interop/`, so they are ignored by a plain
//! `cargo test`; `cargo xtask test --only interop` sets everything up and runs them.
//!
//! What the client cannot do is left out: documents that were written before `attach` in the same
//! session are not uploaded, attachments never are, and a client that only listens never reconnects.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod clients;
#[path = "../../../firebrick/tests/interop/compare.rs"]
#[expect(dead_code, reason = "shared with the library's tests")]
mod compare;
mod mixed;
#[path = "../../../firebrick/tests/interop/peer.rs"]
#[expect(dead_code, reason = "shared with the library's tests")]
mod peer;
mod refusals;
mod site;
mod team;
