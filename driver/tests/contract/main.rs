//! The driver's contract: each promise has a test here, and every test runs on every backend that
//! was compiled in; on a simulated host those that are not about the system itself.
//!
//! The tests run one at a time (see [`ledger::run`]), so that each may count the descriptors of
//! the process, send it signals and lower its limits. The ids in the comments (I1, I2, …) are those
//! of the list of invariants.
#![cfg(any(io_uring, readiness, iocp))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        unused_imports,
        reason = "what is about Unix, or about Linux, has its part in them"
    )
)]

#[macro_use]
mod ledger;
mod book;
mod ends;
mod kit;
mod region;
mod steps;
mod tree;

// Messages that take descriptors along. What headers say on Windows is in `windows`, what of a
// message with control data is as of any in `message`.
#[cfg(unix)]
mod ancillary;
mod cancel;
mod children;
mod deadlines;
mod descriptors;
mod durable;
mod errors;
mod exact;
mod forgotten;
mod full;
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
mod scope;
mod scope_end;
mod scope_panics;
mod short_reads;
#[cfg(unix)]
mod signals;
mod sinks;
mod slots;
mod slots_futures;
mod sockets;
mod stream;
mod stream_kinds;
mod stream_vectored;
mod teardown;
mod timeout_updates;
mod timers;
mod truncate;
#[cfg(unix)]
mod unix;
mod vectored;
mod wait;
mod wake;
mod whole_deadlines;
#[cfg(windows)]
mod windows;

// Other systems have no such calls, or others in their place: the operations are refused there, or
// are reported to do less. How io_uring differs from the calls is told on Linux.
#[cfg(target_os = "linux")]
mod differences;
#[cfg(target_os = "linux")]
mod futex;
#[cfg(target_os = "linux")]
mod rw_flags;
#[cfg(target_os = "linux")]
mod space;
#[cfg(target_os = "linux")]
mod splice;
#[cfg(target_os = "linux")]
mod xattr;
