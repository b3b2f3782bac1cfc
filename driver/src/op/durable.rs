//! Operations that bring a file's bytes to its disk.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, FileCall, check_offset};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys::file::sync_flags;
use std::io;

/// What an operation on one descriptor without a buffer has beside its words: nothing comes out of
/// it but success, and its descriptor is given back.
macro_rules! on_one_descriptor {
    ($($op:ident)*) => {$(
        // SAFETY: (D2) `repr(C)` with its head first.
        unsafe impl<F: Descriptor> OpCode for $op<F> {}

        impl<F: Descriptor> Op for $op<F> {
            type Fd = F;
            type Output = ();

            unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
                entry.into_result().map(drop)
            }
        }

        impl<F> IntoInner for $op<F> {
            type Inner = F;

            fn into_inner(self) -> F {
                self.fd
            }
        }
    )*};
}
pub(super) use on_one_descriptor;

/// Brings what was written to a file to its disk, with its metadata, or as much of that as is
/// needed to read the bytes back.
///
/// Completes when the disk has said that it has them. What it covers are writes that had completed
/// when it was submitted: operations in flight are in no order, so push it after their entries.
/// The name of a new file is durable after a sync of its directory, which is a file too. After an
/// error nobody knows which bytes are on the disk, and a second sync may succeed without them.
///
/// Errors: as [fsync(2)](https://man7.org/linux/man-pages/man2/fsync.2.html), unchanged; `EINVAL`
/// for pipes and sockets.
///
/// io_uring: `IORING_OP_FSYNC`, Linux 5.1. readiness: `fsync` or `fdatasync` on a worker thread.
/// IOCP: `FlushFileBuffers` on a worker thread; of pipes, where it would wait for who reads,
/// `ERROR_INVALID_PARAMETER`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Sync};
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
///
/// let mut op = Sync::data(OwnedFd::from(File::open("Cargo.toml")?));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Sync<F> {
    head: OpHead,
    fd: F,
    data_only: bool,
}

impl<F: Descriptor> Sync<F> {
    /// Bytes and metadata of `fd`: `fsync`.
    pub fn new(fd: F) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            data_only: false,
        }
    }

    /// The bytes of `fd`, and the metadata without which they cannot be read, such as the size:
    /// `fdatasync`.
    pub fn data(fd: F) -> Self {
        Self {
            data_only: true,
            ..Self::new(fd)
        }
    }
}

impl<F: Descriptor> Describe for Sync<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let data_only = op.data_only;
        let call = FileCall::Sync { data_only };
        Ok(Call::File { target, call })
    }
}

/// Writes a range of a file's cached bytes out to its disk, and waits for that, as its flags say.
///
/// Completes when what the flags ask for is done. **It makes nothing durable**: neither the file's
/// metadata nor the disk's own cache is written out. It is made for spreading the work of a later
/// [`Sync`] over time. The length is in bytes, and 0 means "to the end of the file"; the kernel
/// widens the range to whole pages.
///
/// Errors: as
/// [sync_file_range(2)](https://man7.org/linux/man-pages/man2/sync_file_range.2.html), unchanged;
/// `ESPIPE` for pipes and sockets; an offset above `i64::MAX` is refused ([`Refusal::Offset`]).
/// Linux only: elsewhere it is refused ([`Refusal::Unsupported`]).
///
/// io_uring: `IORING_OP_SYNC_FILE_RANGE`, Linux 5.2. readiness: `sync_file_range` on a worker
/// thread.
/// IOCP: refused.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, SyncFlags, SyncRange};
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
///
/// let file = OwnedFd::from(File::open("Cargo.toml")?);
/// let mut op = SyncRange::new(file, 0, 4096).flags(SyncFlags::WRITE);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct SyncRange<F> {
    head: OpHead,
    fd: F,
    offset: u64,
    len: u32,
    flags: SyncFlags,
}

impl<F: Descriptor> SyncRange<F> {
    /// Writes out `len` bytes of `fd` at `offset`, and waits until they are: with all three flags.
    pub fn new(fd: F, offset: u64, len: u32) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            offset,
            len,
            flags: SyncFlags::WAIT_BEFORE | SyncFlags::WRITE | SyncFlags::WAIT_AFTER,
        }
    }

    /// Sets the flags. Without any it does nothing.
    pub fn flags(mut self, flags: SyncFlags) -> Self {
        self.flags = flags;
        self
    }
}

impl<F: Descriptor> Describe for SyncRange<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let call = FileCall::SyncRange {
            offset: check_offset(op.offset)?,
            len: op.len,
            flags: op.flags.0,
        };
        Ok(Call::File { target, call })
    }
}

/// What a [`SyncRange`] does.
///
/// ```
/// use completeio_driver::op::SyncFlags;
/// let flags = SyncFlags::WAIT_BEFORE | SyncFlags::WRITE;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncFlags(u32);

impl SyncFlags {
    /// Waits for what is being written out already (`SYNC_FILE_RANGE_WAIT_BEFORE`).
    pub const WAIT_BEFORE: Self = Self(sync_flags::WAIT_BEFORE);
    /// Begins to write out what is not (`SYNC_FILE_RANGE_WRITE`).
    pub const WRITE: Self = Self(sync_flags::WRITE);
    /// Waits for what is being written out by then (`SYNC_FILE_RANGE_WAIT_AFTER`).
    pub const WAIT_AFTER: Self = Self(sync_flags::WAIT_AFTER);

    /// Any flags of the platform: `SYNC_FILE_RANGE_…`. Unknown ones give `EINVAL`.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl std::ops::BitOr for SyncFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

on_one_descriptor!(Sync SyncRange);
