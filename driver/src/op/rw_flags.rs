//! What positioned reads and writes have beside their buffers: where they begin, and flags.

use super::call::check_offset;
use crate::error::Refusal;
use crate::sys::file::rw_flags;

/// Flags of one [`ReadAt`](super::ReadAt) or [`WriteAt`](super::WriteAt), or of one of their
/// vectored kin: `RWF_…`.
///
/// A file system that does not have one gives `EOPNOTSUPP`, unchanged; so does a kernel that does
/// not know it. Devices whose drivers take no flags, and directories, do so on readiness, while
/// io_uring then makes the call without them, or, for `NOWAIT`, gives `EAGAIN`. Where the offset is
/// wrong too (`EINVAL`), io_uring gives the flag's error; without bytes to move readiness looks at
/// no flag. [preadv2(2)](https://man7.org/linux/man-pages/man2/preadv2.2.html)
///
/// ```
/// use completeio_driver::{driver::Cwd, op::{RwFlags, WriteAt}};
/// // What it wrote is on the disk when it completes.
/// let op = WriteAt::new(Cwd, 0, "text").flags(RwFlags::DSYNC | RwFlags::APPEND);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RwFlags(i32);

impl RwFlags {
    /// A write completes when its bytes are on the disk, with what is needed to read them back
    /// (`RWF_DSYNC`): as if a [`Sync::data`](super::Sync::data) of that range came with it.
    pub const DSYNC: Self = Self(rw_flags::DSYNC);
    /// The same with all of the file's metadata (`RWF_SYNC`).
    pub const SYNC: Self = Self(rw_flags::SYNC);
    /// A write goes to the end of the file, whatever its offset says (`RWF_APPEND`). The offset is
    /// checked all the same.
    pub const APPEND: Self = Self(rw_flags::APPEND);
    /// Moves what can be moved without a wait for a disk or a lock (`RWF_NOWAIT`), which may be
    /// fewer bytes than were asked for; `EAGAIN` if that is nothing. A write into the page cache,
    /// which most file systems cannot make so, is `EAGAIN` on io_uring and `EOPNOTSUPP` on
    /// readiness.
    ///
    /// readiness makes such a call in place, where the others go to a worker.
    pub const NOWAIT: Self = Self(rw_flags::NOWAIT);
    /// A write is on the disk whole or not at all, after a failure of the power too
    /// (`RWF_ATOMIC`, Linux 6.11): with `O_DIRECT`, on disks and file systems that
    /// have it.
    pub const ATOMIC: Self = Self(rw_flags::ATOMIC);
    /// Leaves nothing in the page cache that was not there (`RWF_DONTCACHE`, Linux 6.14).
    pub const DONT_CACHE: Self = Self(rw_flags::DONT_CACHE);

    /// Any flags of the platform: `RWF_…`. An operation with `RWF_HIPRI` is refused
    /// ([`Refusal::Flags`]): it needs a ring that polls for completions.
    pub const fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    #[inline]
    fn checked(self) -> Result<i32, Refusal> {
        if self.0 & rw_flags::HIPRI == 0 {
            Ok(self.0)
        } else {
            Err(Refusal::Flags)
        }
    }
}

impl std::ops::BitOr for RwFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where in a file a transfer begins, and how it is made.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) offset: u64,
    pub(super) flags: RwFlags,
}

impl Position {
    pub(super) fn at(offset: u64) -> Self {
        Self {
            offset,
            flags: RwFlags::default(),
        }
    }

    /// Offset and flags of a flight, when earlier ones have moved `done` bytes.
    #[inline]
    pub(super) fn after(&self, done: usize) -> Result<(u64, i32), Refusal> {
        let offset = check_offset(self.offset.saturating_add(done as u64))?;
        Ok((offset, self.flags.checked()?))
    }
}

/// The positioned operations know where they are.
macro_rules! positioned {
    ($($op:ident<$buffer:ident $(: $bound:ident)?>),*) => {$(
        impl<F, $buffer $(: $bound)?> $op<F, $buffer> {
            /// Where in the file it starts.
            pub fn offset(&self) -> u64 {
                self.position.offset
            }

            /// Starts elsewhere at the next push, with all bytes.
            pub fn set_offset(&mut self, offset: u64) {
                self.transfer.progress.start_over();
                self.position.offset = offset;
            }

            /// Sets the flags of its transfers.
            pub fn flags(mut self, flags: $crate::op::RwFlags) -> Self {
                self.position.flags = flags;
                self
            }
        }
    )*};
}
pub(super) use positioned;
