#![doc = include_str!("../README.md")]
//!
//! # Modules
//! This crate is the driver crate [`completeio_driver`], re-exported, and an example runtime on its
//! public API (feature `runtime`, on by default): [`task`], [`time`], [`io`], [`fs`], [`net`],
//! [`pipe`], [`stdio`], [`process`], [`event`]; with features of their own `signal`, and `compat`
//! for the traits of the futures crates and of hyper.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "sim")]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub use completeio_driver::sim;
pub use completeio_driver::{
    address, ancillary, buf, clock, driver, guide, op, remote, scope, sink, slots,
};

#[cfg(any(feature = "futures-io", feature = "hyper"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "futures-io", feature = "hyper"))))]
pub mod compat;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod event;
#[cfg(feature = "runtime")]
mod fd;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod fs;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod io;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod net;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod pipe;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod process;
#[cfg(feature = "signal")]
#[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
pub mod signal;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod stdio;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod task;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub mod time;
