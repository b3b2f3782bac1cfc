//! What the processes share that are measured: this program's own, and those of `bench-peers`,
//! which stands outside of the workspace with all that other runtimes depend on.
//!
//! The work is written once, in [`work`], over what a [`Peer`](peer::Peer) offers.

pub mod alloc;
pub mod child;
pub mod histogram;
pub mod machine;
pub mod meter;
pub mod peer;
pub mod server;
pub mod work;
