//! The driver's contract: each promise has a test here, and every test runs on every backend that
//! was compiled in.
//!
//! The tests run one at a time (see [`ledger::run`]), so that each may count the descriptors of
//! the process, send it signals and lower its limits. The ids in the comments (I1, I2, …) are those
//! of the list of invariants.
#![cfg(all(target_os = "linux", any(feature = "io-uring", feature = "readiness")))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[macro_use]
mod ledger;
mod book;
mod kit;
mod region;
mod steps;

mod cancel;
mod children;
mod deadlines;
mod descriptors;
mod errors;
mod forgotten;
mod full;
mod lengths;
mod memory;
mod outputs;
mod panics;
mod polls;
mod queues;
mod races;
mod scope;
mod scope_end;
mod scope_panics;
mod signals;
mod sinks;
mod slots;
mod slots_futures;
mod teardown;
mod timeout_updates;
mod timers;
mod wait;
mod wake;
