//! What is done with the bytes of a fuzzer, a function for each target: it panics when something is
//! not as it has to be. `fuzz_targets/` drives them, and `tests/plain.rs` without a fuzzer.

mod slots;
mod timeouts;

use completeio_driver::fuzzing;

pub use completeio_driver::fuzzing::{address, control_messages};
pub use slots::slots;
pub use timeouts::timeouts;

/// The heap of deadlines, against an ordered map.
pub fn timers(bytes: &[u8]) {
    fuzzing::timers(bytes);
}

/// A script of operations on simulated hosts, with a ledger and models: see `checks sim`.
pub fn script(bytes: &[u8]) {
    if let Some(report) = checks::sim::run_bytes(bytes) {
        panic!("{report}");
    }
}

/// The next bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
