//! Programs on simulated hosts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod descriptors;
mod extremes;
mod files;
mod inside;
mod kit;
mod network;
mod panics;
mod worlds;
