//! What goes wrong between two ends, drawn from a seed.

use super::relay::LANES;
use crate::random::Random;

/// How a lane of the proxy ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its receiver sees the end, and the other lane goes on.
    HalfCut,
    /// Both receivers see the end.
    Cut,
    /// Both connections are closed, whatever is unread.
    Close,
    /// Both connections are reset.
    Reset,
}

#[derive(Debug, Clone)]
pub(super) struct Faults {
    pub(super) seed: u64,
    /// Behind so many bytes of a lane, one at least.
    pub(super) cut: [Option<(usize, Fault)>; LANES],
}

impl Faults {
    /// For lanes of so many bytes: none, or one in one of them.
    pub(super) fn draw(random: &mut Random, lens: [usize; LANES]) -> Self {
        let mut cut = [None; LANES];
        let lane = random.below(LANES);
        if random.one_in(2) {
            let fault = [Fault::HalfCut, Fault::Cut, Fault::Close, Fault::Reset][random.below(4)];
            cut[lane] = Some((1 + random.below(lens[lane]), fault));
        }
        Self {
            seed: random.word(),
            cut,
        }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.cut.iter().flatten().map(|(_, fault)| *fault).next()
    }
}

/// What a lane does next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Hands on so many bytes at most.
    Pass { most: usize },
    /// Moves nothing for so many polls, or until the other lane has moved so many bytes.
    Hold { polls: usize, bytes: usize },
}

impl Step {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(16) {
            // Trickles.
            0..5 => Self::Pass { most: 1 },
            5..8 => Self::Pass {
                most: 1 + random.below(100),
            },
            8..14 => Self::Pass {
                most: 1 + random.below(16 * 1024),
            },
            _ => Self::Hold {
                polls: 1 << random.below(10),
                bytes: 1 + random.below(1000),
            },
        }
    }
}
