//! Streams: whole buffers, copies, buffered ones, and what is left of those that are dropped.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod buffered;
#[path = "../common/mod.rs"]
mod common;
mod copies;
#[path = "../common/counting.rs"]
mod counting;
mod kit;
mod shared;
#[cfg(feature = "sim")]
mod simulated;
mod whole;
