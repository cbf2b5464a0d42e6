//! The library as its users see it: one binary, so that it links once.

mod at_rest;
mod backup;
mod bad_input;
mod common;
mod compaction;
mod damage;
mod database;
mod documents;
mod files;
mod history;
mod keys;
mod processes;
mod queries;
mod simulation;
mod sync;
mod transactions;
mod verify;
