//! Firebrick.
