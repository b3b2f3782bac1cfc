//! Drivers for completion-based IO: io_uring, epoll where it is missing, and kqueue.
//!
//! A [`Driver`](driver::Driver) takes operations that the caller owns, whole batches at a time,
//! and gives back one [`Entry`](driver::Entry) for each. It borrows operations and buffers, copies
//! nothing and allocates nothing after it was made.
//!
//! * [`op`]: the operations, one struct each.
//! * [`buf`]: what can be lent for reading and writing.
//! * [`driver`]: [`Driver`](driver::Driver), its limits, its errors.
//! * [`sink`]: where the entries go.
//! * [`scope`], [`slots`], [`remote`]: the same without `unsafe`, for operations that a thread
//!   lends, that the driver owns, and that other threads send.
//! * [`guide::safety`], [`guide::cancellation`]: what the one `unsafe` call asks of you, and how
//!   an operation ends.
//!
//! Three verbs are used in one sense throughout: **push** hands an operation to the driver,
//! **submit** hands it to the kernel and collects, **complete** brings it back to the caller.
#![deny(unsafe_code)]
#![cfg_attr(
    not(any(io_uring, readiness, iocp, sim)),
    allow(
        dead_code,
        unused_imports,
        reason = "without a backend much is asked for by nobody"
    )
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[macro_use]
mod planted;

pub mod address;
pub mod ancillary;
pub mod buf;
mod builder;
pub mod clock;
#[cfg(doctest)]
mod compile_tests;
mod complete_io;
pub mod driver;
mod engine;
mod entry;
mod error;
mod exact;
mod fd;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod guide;
mod key;
mod list;
mod loans;
mod local;
mod notify;
pub mod op;
mod outlet;
pub mod remote;
pub mod scope;
#[cfg(sim)]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
/// Simulated hosts speak with the numbers of Linux: elsewhere the feature brings nothing.
#[cfg(all(feature = "sim", not(sim)))]
pub mod sim {}
pub mod sink;
pub mod slots;
mod stats;
mod sys;
mod timers;
mod wait;
