//! Both implementations on the same folders: the real JavaScript client writes, Firebrick reads,
//! and the other way round.
//!
//! The tests need Node.js and the packages of `interop/`, so they are ignored by a plain
//! `cargo test`; `cargo xtask test --only interop` sets everything up and runs them. Where the
//! client loses or hides data on its own, `interop/test/faults.test.mjs` shows it without Firebrick.

mod bed;
mod compaction;
mod compare;
mod files;
mod heads;
mod keys;
mod late;
mod live;
mod peer;
mod queries;
mod resolution;
mod round_trip;
mod values;
