//! The server with plain clients: what they send stands here, not in a library.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod captures;
mod logs;
mod merging;
mod metrics;
mod objects;
mod quotas;
mod support;
mod trouble;
