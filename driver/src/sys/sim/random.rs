//! The generator that everything in a simulated world is drawn from.

use std::ops::Range;
use std::time::Duration;

/// Marsaglia's xorshift64: one seed gives one sequence, on every machine and in every version.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds that follow each other have little in common, and none gives the state 0, which
        // would stay.
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(if mixed == 0 { 1 } else { mixed })
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 up to `bound`, which is not 0; `bound` itself is not drawn.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    /// True with this probability. One number is drawn, also where it is 0: so a fault that is left
    /// out leaves the rest of a run as it was.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 has")]
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }

    /// From the start of `range` up to its end.
    pub(crate) fn between(&mut self, range: &Range<Duration>) -> Duration {
        let span = range.end.saturating_sub(range.start).as_nanos();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        let drawn = if span == 0 { 0 } else { self.below(span) };
        range.start + Duration::from_nanos(drawn)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = last as u64 + 1;
            let other = usize::try_from(self.below(bound)).expect("no more than the length");
            items.swap(last, other);
        }
    }
}
