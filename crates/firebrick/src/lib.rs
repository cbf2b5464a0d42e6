//! Firebrick.
pub mod env;
pub mod gateway;
pub mod store;
