//! The driver's contract: each promise has a test here, and every test runs on every backend that
//! was compiled in; on a simulated host those that are not about the system itself.
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
mod ends;
mod kit;
mod region;
mod steps;

mod ancillary;
mod cancel;
mod children;
mod deadlines;
mod descriptors;
mod differences;
mod durable;
mod errors;
mod exact;
mod forgotten;
mod full;
mod futex;
mod kinds;
mod lengths;
mod listeners;
mod memory;
mod message;
mod metadata;
mod outputs;
mod panics;
mod path;
mod path_ends;
mod peers;
mod pipes;
mod polls;
mod queues;
mod races;
mod rw_flags;
mod scope;
mod scope_end;
mod scope_panics;
mod short_reads;
mod signals;
mod sinks;
mod slots;
mod slots_futures;
mod sockets;
mod space;
mod splice;
mod stream;
mod stream_kinds;
mod stream_vectored;
mod teardown;
mod timeout_updates;
mod timers;
mod unix;
mod vectored;
mod wait;
mod wake;
mod whole_deadlines;
mod xattr;
