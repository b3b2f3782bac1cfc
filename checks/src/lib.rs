//! What other programs use of the checks: `fuzz/` spells scripts for [`sim`] by bytes.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "programs for tests"
)]

pub mod lent;
#[cfg(feature = "sim")]
pub mod sim;
