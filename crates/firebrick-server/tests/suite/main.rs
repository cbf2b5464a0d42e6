//! The server with plain clients: what they send stands here, not in a library.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod admin;
mod buckets;
mod captures;
mod logs;
mod mangled;
mod merging;
mod metas;
mod metrics;
mod nodes;
mod objects;
mod quotas;
mod support;
mod tls;
mod trouble;
