//! Firebrick.
pub mod env;
pub mod gateway;
