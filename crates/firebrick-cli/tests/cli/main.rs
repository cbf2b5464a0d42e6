//! The `firebrick` command, run as a user runs it: real processes, real files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod backup;
mod bad_input;
mod bench_server;
mod compact;
mod demo;
mod documents;
mod files;
mod holder;
mod keys;
mod manual;
mod nodes;
mod past;
mod queries;
mod remotes;
mod serve;
mod shell;
mod stats;
mod streams;
mod verify;
