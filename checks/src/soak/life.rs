//! What becomes of a connection, drawn from its number: both of its ends know it.

use crate::random::Random;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client closes it when all has come back.
    Closed,
    /// The client resets it then.
    Reset,
    /// The client resets it with bytes on their way.
    ResetUnread,
    /// The client says that it has said all, and takes what comes back until the end.
    HalfClosed,
    /// The server closes it, or resets it, when it has sent all back.
    ClosedByServer,
    ResetByServer,
    /// The client closes it, or resets it, without a byte.
    Unsaid,
    UnsaidReset,
}

const ENDS: [End; 8] = [
    End::Closed,
    End::Reset,
    End::ResetUnread,
    End::HalfClosed,
    End::ClosedByServer,
    End::ResetByServer,
    End::Unsaid,
    End::UnsaidReset,
];

/// What is done while nothing is to be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lull {
    None,
    /// A receive is cancelled, in the kernel or before it gets there: by its user data, by its
    /// descriptor.
    Cancelled {
        by_fd: bool,
        submitted: bool,
    },
    /// A receive ends by its deadline.
    Late,
}

/// One message to the server, and back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) len: usize,
    /// Whether it is received by one operation, or by as many as it takes.
    pub(super) exact: bool,
    pub(super) lull: Lull,
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) id: u64,
    pub(super) end: End,
    pub(super) rounds: Vec<Round>,
    /// Before it connects, the client tries a listener with a full backlog: it cancels the attempt,
    /// or lets it come to its deadline.
    pub(super) in_vain: Option<bool>,
}

impl Life {
    pub(super) fn draw(seed: u64, id: u64) -> Self {
        let mut random = Random(seed ^ id.rotate_left(32));
        let end = ENDS[random.below(ENDS.len())];
        let said = !matches!(end, End::Unsaid | End::UnsaidReset);
        let rounds = if said { 1 + random.below(40) } else { 0 };
        Self {
            id,
            end,
            rounds: (0..rounds).map(|_| Round::draw(&mut random)).collect(),
            in_vain: random.one_in(64).then(|| random.one_in(2)),
        }
    }

    /// The bytes of all rounds.
    pub(super) fn len(&self) -> usize {
        self.rounds.iter().map(|round| round.len).sum()
    }

    /// Whether the server may be told that the connection was reset.
    pub(super) fn may_be_reset(&self) -> bool {
        matches!(self.end, End::Reset | End::ResetUnread | End::UnsaidReset)
    }
}

impl Round {
    fn draw(random: &mut Random) -> Self {
        let longest = if random.one_in(64) {
            32 * 1024
        } else {
            [16, 256, 1024, 4096][random.below(4)]
        };
        Self {
            len: 1 + random.below(longest),
            exact: random.one_in(2),
            lull: match random.below(32) {
                0 => Lull::Late,
                1 | 2 => Lull::Cancelled {
                    by_fd: random.one_in(2),
                    submitted: random.one_in(2),
                },
                _ => Lull::None,
            },
        }
    }
}
