//! A driver on another thread: each way of sending to it and of fetching from it, on every backend
//! that was compiled in.
//!
//! The tests run one at a time (see [`rig::run`]), so that each may count the descriptors of the
//! process. Nothing waits for time to pass: whoever waits is told, or turns the driver by hand.
#![cfg(any(io_uring, readiness, iocp))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]
#![cfg_attr(
    windows,
    allow(
        dead_code,
        unused_imports,
        reason = "what is about Unix has its part in them"
    )
)]

#[macro_use]
mod rig;
#[path = "../contract/kit.rs"]
#[allow(dead_code, reason = "shared with the contract tests")]
mod kit;

mod abandoned;
mod alone;
mod callbacks;
mod ends;
mod panics;
mod room;
mod serving;
mod threads;
mod ways;
