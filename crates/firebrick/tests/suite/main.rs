//! The library as its users see it: one binary, so that it links once.

mod common;
mod database;
mod sync;
