//! What must hold of the inside of this crate whatever bytes it is given. Compiled for its tests,
//! and for the programs of `fuzz/` (`--cfg fuzzing`), which have no other door to it.

#[cfg(unix)]
pub use crate::address::written::check as address;
#[cfg(unix)]
pub use crate::ancillary::written::check as control_messages;
pub use crate::timers::model::compare as timers;

/// So many bytes of this seed, by Marsaglia's xorshift64.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(len);
    bytes
}
