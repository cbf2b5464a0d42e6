//! The `firebrick` command, run as a user runs it: real processes, real files.

mod support;

mod bad_input;
mod demo;
mod documents;
mod holder;
mod keys;
mod remotes;
mod streams;
