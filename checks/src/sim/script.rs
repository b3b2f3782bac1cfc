//! What a run does: drawn from a seed, or spelled by bytes, and the same whatever comes of it.

use crate::random::Random;
use std::fmt;
use std::time::Duration;

/// A step. Its numbers are taken modulo what there is when its turn comes.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Push {
        host: usize,
        way: Way,
        call: Call,
    },
    /// Operations that are lent, of which one may be cancelled, and how often they are waited for.
    Scope {
        host: usize,
        clear: bool,
        calls: Vec<Call>,
        cancelled: Option<usize>,
        waits: Vec<Duration>,
    },
    Submit {
        host: usize,
        wait: Option<Duration>,
        room: usize,
        queue: bool,
    },
    Cancel {
        host: usize,
        what: Cancel,
        pick: usize,
    },
    /// A file is registered in the driver's table, or a place is emptied.
    Register {
        host: usize,
        pick: usize,
        filled: bool,
    },
    /// A descriptor is closed without the driver, whatever is in flight on it.
    Drop {
        host: usize,
        pick: usize,
    },
    /// The key of an owned operation is dropped.
    Orphan {
        host: usize,
        pick: usize,
    },
    /// The driver is dropped, and another is made.
    Renew {
        host: usize,
    },
    Crash {
        host: usize,
    },
    Partition,
    Heal,
    Advance,
}

/// How an operation gets to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Push,
    Dyn,
    Queue,
    Owned,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Cancel {
    UserData,
    Fd,
    All,
    Owned,
}

/// An operation.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) kind: Kind,
    /// What it is directed at.
    pub(super) pick: usize,
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) deadline: Option<Duration>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            pick,
            offset,
            len,
            deadline,
        } = self;
        write!(f, "{kind:?} on {pick}, {len} at {offset}")?;
        deadline.map_or(Ok(()), |deadline| write!(f, ", within {deadline:?}"))
    }
}

macro_rules! kinds {
    ($($kind:ident $weight:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $($kind),*
        }

        /// Each, and how often it is drawn.
        const KINDS: &[(Kind, u64)] = &[$((Kind::$kind, $weight)),*];
    };
}

kinds! {
    Nop 3, Timeout 4, TimeoutUpdate 3,
    Open 3, ReadAt 6, WriteAt 6, ReadVectoredAt 2, WriteVectoredAt 2, ReadExactAt 2, WriteAllAt 2,
    ReadFixed 2, WriteFixed 2, ReadAttached 2, CloseFixed 1,
    Sync 2, Truncate 2, Stat 2, GetXattr 2, SetXattr 2,
    Create 2, MakeDir 2, Unlink 2, RemoveDir 2, Rename 3, StatAt 3,
    Tcp 3, Connect 5, Accept 6, Bind 1, Listen 1,
    Send 8, Recv 8, SendVectored 3, RecvVectored 3, SendAll 2, RecvExact 2, Write 3, Read 3,
    RecvAttached 2, Shutdown 1, Poll 2,
    Udp 1, SendTo 5, RecvFrom 5,
    Pipe 2, Close 4,
}

/// A script.
#[derive(Debug, Clone)]
pub(super) struct Script(pub(super) Vec<Step>);

impl Script {
    pub(super) fn draw(seed: u64, steps: usize) -> Self {
        let mut choices = Choices::Seed(Random(seed ^ 0x5eed_0f5c_1217));
        Self((0..steps).map(|_| choices.step()).collect())
    }

    /// As many steps as there are bytes for.
    pub(super) fn spelled(bytes: &[u8]) -> Self {
        let mut choices = Choices::Bytes(bytes);
        let mut steps = Vec::new();
        while !choices.are_used_up() {
            steps.push(choices.step());
        }
        Self(steps)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

/// What decides between what there is.
enum Choices<'a> {
    Seed(Random),
    /// A byte for a choice of up to 256, two for one of more; the first when they are used up.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        match self {
            Self::Seed(random) => random.below(bound),
            Self::Bytes(bytes) => {
                let taken = bytes.len().min(1 + usize::from(bound > 1 << 8));
                let (number, rest) = bytes.split_at(taken);
                *bytes = rest;
                let number = number
                    .iter()
                    .rev()
                    .fold(0, |n, byte| n << 8 | usize::from(*byte));
                number % bound
            }
        }
    }

    fn are_used_up(&self) -> bool {
        matches!(self, Self::Bytes([]))
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// From 1 µs to 16 ms, short ones as often as long ones.
    fn duration(&mut self) -> Duration {
        Duration::from_micros(1 << self.below(15))
    }

    fn kind(&mut self) -> Kind {
        let all = KINDS.iter().map(|(_, weight)| weight).sum::<u64>();
        let mut at = self.below(usize::try_from(all).unwrap()) as u64;
        for (kind, weight) in KINDS {
            match at.checked_sub(*weight) {
                None => return *kind,
                Some(rest) => at = rest,
            }
        }
        unreachable!("less than all of them")
    }

    fn call(&mut self) -> Call {
        let longest = [64, 700, 5000][self.below(3)];
        Call {
            kind: self.kind(),
            pick: self.below(1 << 16),
            offset: self.below(3000) as u64,
            len: if self.one_in(16) {
                0
            } else {
                1 + self.below(longest)
            },
            deadline: self.one_in(8).then(|| self.duration()),
        }
    }

    fn step(&mut self) -> Step {
        let host = self.below(2);
        let pick = self.below(1 << 16);
        match self.below(1000) {
            0..560 => Step::Push {
                host,
                way: [Way::Push, Way::Dyn, Way::Queue, Way::Owned][self.below(4)],
                call: self.call(),
            },
            560..850 => Step::Submit {
                host,
                wait: match self.below(4) {
                    0 | 1 => Some(Duration::ZERO),
                    2 => Some(self.duration()),
                    _ => None,
                },
                room: [16, 16, 16, 2, 1][self.below(5)],
                queue: self.one_in(4),
            },
            850..870 => Step::Scope {
                host,
                clear: !self.one_in(4),
                calls: (0..=self.below(10)).map(|_| self.call()).collect(),
                cancelled: self.one_in(2).then(|| self.below(4)),
                waits: (0..self.below(6)).map(|_| self.duration()).collect(),
            },
            870..915 => Step::Cancel {
                host,
                what: match self.below(10) {
                    0..4 => Cancel::UserData,
                    4..6 => Cancel::Fd,
                    6..9 => Cancel::Owned,
                    _ => Cancel::All,
                },
                pick,
            },
            915..935 => Step::Register {
                host,
                pick,
                filled: !self.one_in(8),
            },
            935..945 => Step::Drop { host, pick },
            945..960 => Step::Orphan { host, pick },
            960..968 => Step::Renew { host },
            968..971 => Step::Crash { host },
            971..974 => Step::Partition,
            974..980 => Step::Heal,
            _ => Step::Advance,
        }
    }
}
