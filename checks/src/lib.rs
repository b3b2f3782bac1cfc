//! What programs for tests share: `fuzz/` spells scripts for [`sim`] by bytes.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "programs for tests"
)]

pub mod lent;
pub mod progress;
pub mod random;
#[cfg(feature = "sim")]
pub mod sim;
pub mod summary;
