//! What a selector is asked for, and what it says. Which one this build has is chosen here.

#[cfg(epoll)]
pub(super) use super::epoll::{CALL, NAME, Selector};
#[cfg(kqueue)]
pub(super) use super::kqueue::{CALL, NAME, Selector};
use crate::sys::flights::Direction;

/// The directions of a descriptor that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    pub(super) const NONE: Self = Self::of(false, false);
    pub(super) const READ: Self = Self::of(true, false);
    pub(super) const WRITE: Self = Self::of(false, true);
    pub(super) const BOTH: Self = Self::of(true, true);

    const fn of(read: bool, write: bool) -> Self {
        Self { read, write }
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self::of(self.read || other.read, self.write || other.write)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self::of(self.read && !other.read, self.write && !other.write)
    }
}

impl Direction {
    /// What is watched for it, unless an operation says what else.
    pub(super) fn interest(self) -> Interest {
        match self {
            Self::Read | Self::Aside | Self::Either => Interest::READ,
            Self::Write => Interest::WRITE,
        }
    }
}

/// What is said about a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// As it was registered.
    pub(super) key: u64,
    /// A read, or an accept, is worth a try.
    pub(super) readable: bool,
    /// A write, or the end of a connect, is worth a try.
    pub(super) writable: bool,
    /// An end, an error or urgent data: a read may stop before all that there is.
    pub(super) broken: bool,
    /// If it is a readable stream: a read that comes back short has emptied it, if it has taken so
    /// many bytes at least.
    pub(super) supply: u32,
    /// Why these directions are not watched after all: an error number.
    pub(super) refused: Option<i32>,
}
