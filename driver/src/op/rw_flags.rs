//! Flags of positioned reads and writes.

use crate::error::Refusal;
use crate::sys::file::rw_flags;

/// Flags of one [`ReadAt`](super::ReadAt) or [`WriteAt`](super::WriteAt): `RWF_…`.
///
/// A file system that does not have one gives `EOPNOTSUPP`, unchanged; so does a kernel that does
/// not know it. Devices whose drivers take no flags do so on readiness, while io_uring then makes
/// the call without them, or, for `NOWAIT`, gives `EAGAIN`. [preadv2(2)](https://man7.org/linux/man-pages/man2/preadv2.2.html)
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
    /// which most file systems cannot make so, is `EAGAIN` on io_uring and `EOPNOTSUPP` on readiness.
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
    pub(super) fn checked(self) -> Result<i32, Refusal> {
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
