//! The network by itself, and against the kernel.
#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
mod hosts;
#[cfg(all(target_os = "linux", not(miri)))]
mod linux;
// Long, and nothing for Miri to find.
#[cfg(not(miri))]
mod streams;
