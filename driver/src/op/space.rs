//! Operations on the size of a file, on the space that it takes, and on what is cached of it.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, FileCall, check_offset};
use super::durable::on_one_descriptor;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use std::io;

/// Cuts a file off, or extends it by zeroes, to a length in bytes.
///
/// Completes when the file has that length; durable it is after a [`Sync`](super::Sync). A read in
/// flight ends at the old end or the new one, or between them, and beyond the new one it may find
/// zeroes.
///
/// Errors: as [ftruncate(2)](https://man7.org/linux/man-pages/man2/ftruncate.2.html), unchanged:
/// `EINVAL` for what is no regular file or is not open for writing; `EFBIG` beyond what the file
/// system holds, or beyond `RLIMIT_FSIZE`. A length above `i64::MAX` is refused
/// ([`Refusal::Offset`]), and before Linux 6.9 io_uring refuses the operation
/// ([`Refusal::Unsupported`]).
///
/// io_uring: `IORING_OP_FTRUNCATE`, Linux 6.9. readiness: `ftruncate` on a worker thread.
/// IOCP: `SetFileInformationByHandle` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Truncate};
/// use std::fs::{self, File};
/// use std::io::ErrorKind;
/// use std::os::fd::OwnedFd;
///
/// let path = std::env::temp_dir().join(format!("truncate-{}", std::process::id()));
/// let mut op = Truncate::new(OwnedFd::from(File::create(&path)?), 100);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// match unsafe { op.finish(entry.unwrap()) } {
///     Ok(()) => assert_eq!(fs::metadata(&path)?.len(), 100),
///     Err(e) => assert_eq!(e.kind(), ErrorKind::Unsupported), // An old kernel.
/// }
/// fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Truncate<F> {
    head: OpHead,
    fd: F,
    len: u64,
}

impl<F: Descriptor> Truncate<F> {
    /// Gives `fd` a length of `len` bytes.
    pub fn new(fd: F, len: u64) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            len,
        }
    }
}

impl<F: Descriptor> Describe for Truncate<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let len = check_offset(op.len)?;
        let call = FileCall::Truncate { len };
        Ok(Call::File { target, call })
    }
}

/// Takes space for a range of a file, gives it back, or makes it read as zeroes.
///
/// Completes when that is done: all of it, or nothing that counts. Offset and length are in bytes;
/// no length is `EINVAL`. A write into a range that was reserved never gives `ENOSPC`, on file
/// systems that write in place.
///
/// Errors: as [fallocate(2)](https://man7.org/linux/man-pages/man2/fallocate.2.html), unchanged:
/// `ENOSPC`, `EFBIG`, `EOPNOTSUPP` where the file system has no such thing, `EBADF` if it is not
/// open for writing, `ESPIPE` or `ENODEV` for what is no file. Offsets and lengths above `i64::MAX`
/// are refused ([`Refusal::Offset`]).
///
/// io_uring: `IORING_OP_FALLOCATE`, Linux 5.6. readiness: `fallocate` on a worker thread.
/// IOCP: `SetFileInformationByHandle` on a worker thread; reserves only.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Allocate, Op};
/// use std::fs::{self, File};
/// use std::io::ErrorKind;
/// use std::os::fd::OwnedFd;
///
/// let path = std::env::temp_dir().join(format!("allocate-{}", std::process::id()));
/// let mut op = Allocate::new(OwnedFd::from(File::create(&path)?), 0, 1 << 16);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// match unsafe { op.finish(entry.unwrap()) } {
///     Ok(()) => assert_eq!(fs::metadata(&path)?.len(), 1 << 16),
///     Err(e) => assert_eq!(e.kind(), ErrorKind::Unsupported), // Another file system.
/// }
/// fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Allocate<F> {
    head: OpHead,
    fd: F,
    space: Space,
    keep_size: bool,
    offset: u64,
    len: u64,
}

/// What becomes of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Reserve,
    PunchHole,
    Zero,
}

impl<F: Descriptor> Allocate<F> {
    fn with(fd: F, space: Space, offset: u64, len: u64) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            space,
            keep_size: space == Space::PunchHole,
            offset,
            len,
        }
    }

    /// Reserves space for `len` bytes of `fd` at `offset`; a file that ends before grows. What was
    /// written stays, and the rest reads as zeroes.
    pub fn new(fd: F, offset: u64, len: u64) -> Self {
        Self::with(fd, Space::Reserve, offset, len)
    }

    /// Gives the space of `len` bytes of `fd` at `offset` back, and makes them zeroes
    /// (`FALLOC_FL_PUNCH_HOLE`). The file keeps its size.
    pub fn punch_hole(fd: F, offset: u64, len: u64) -> Self {
        Self::with(fd, Space::PunchHole, offset, len)
    }

    /// Makes `len` bytes of `fd` at `offset` zeroes, and reserves the space
    /// (`FALLOC_FL_ZERO_RANGE`); a file that ends before grows.
    pub fn zero(fd: F, offset: u64, len: u64) -> Self {
        Self::with(fd, Space::Zero, offset, len)
    }

    /// Never changes the file's size: space beyond its end is reserved for later
    /// (`FALLOC_FL_KEEP_SIZE`).
    pub fn keep_size(mut self) -> Self {
        self.keep_size = true;
        self
    }
}

impl<F: Descriptor> Describe for Allocate<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let call = FileCall::Allocate {
            space: op.space,
            keep_size: op.keep_size,
            offset: check_offset(op.offset)?,
            len: check_offset(op.len)?,
        };
        Ok(Call::File { target, call })
    }
}

/// How a file is going to be used.
///
/// ```
/// use completeio_driver::{driver::Cwd, op::{Advice, Advise}};
/// let op = Advise::new(Cwd, Advice::Sequential);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// In no way that is known.
    Normal,
    /// From its beginning to its end: more is read ahead.
    Sequential,
    /// In no order: nothing is read ahead.
    Random,
    /// Once.
    NoReuse,
    /// Soon: it is read into the page cache now.
    WillNeed,
    /// Not soon: what is clean and cached of whole pages is dropped.
    DontNeed,
}

/// Tells the kernel how a file is going to be used, so that it caches and reads ahead well.
///
/// Completes when the kernel has taken note, or has begun to read ([`Advice::WillNeed`]). It
/// changes no byte, and promises nothing.
///
/// Errors: as [posix_fadvise(2)](https://man7.org/linux/man-pages/man2/posix_fadvise.2.html),
/// unchanged; `ESPIPE` for pipes. Offsets and lengths above `i64::MAX` are refused
/// ([`Refusal::Offset`]).
///
/// io_uring: `IORING_OP_FADVISE`, Linux 5.6; lengths of 4 GiB and more Linux 6.11, `EINVAL` before.
/// readiness: `posix_fadvise` on a worker thread.
/// IOCP: refused.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Advice, Advise, Op};
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
///
/// let file = OwnedFd::from(File::open("Cargo.toml")?);
/// let mut op = Advise::new(file, Advice::WillNeed).range(0, 4096);
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
pub struct Advise<F> {
    head: OpHead,
    fd: F,
    advice: Advice,
    offset: u64,
    len: u64,
}

impl<F: Descriptor> Advise<F> {
    /// About the whole of `fd`.
    pub fn new(fd: F, advice: Advice) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            advice,
            offset: 0,
            len: 0,
        }
    }

    /// About `len` bytes at `offset` only; 0 means "to the end of the file".
    pub fn range(mut self, offset: u64, len: u64) -> Self {
        self.offset = offset;
        self.len = len;
        self
    }
}

impl<F: Descriptor> Describe for Advise<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let call = FileCall::Advise {
            advice: op.advice,
            offset: check_offset(op.offset)?,
            len: check_offset(op.len)?,
        };
        Ok(Call::File { target, call })
    }
}

on_one_descriptor!(Truncate Allocate Advise);
