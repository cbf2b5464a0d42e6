//! Services that tests start for themselves. Each test has its own, in a directory that goes with it.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

mod postgres;
mod s3;

pub use postgres::Postgres;
pub use s3::S3;
