//! Positioned reads and writes of several buffers in one call.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, FileCall, LEN_MAX};
use super::rw_flags::{Position, positioned};
use super::transfer::Progress;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::{Filling, IoBufs, IoBufsMut, IoVec, Table};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::{Descriptor, Target};
use std::io;

/// A descriptor, several buffers, their places, and how much of them was moved.
#[derive(Debug)]
pub(crate) struct Transfers<F, V, T> {
    pub(crate) fd: F,
    pub(crate) bufs: V,
    table: T,
    pub(crate) progress: Progress,
}

/// Where the kernel reads or writes.
pub(crate) struct Parts {
    pub(crate) target: Target,
    pub(crate) places: *const IoVec,
    pub(crate) count: u32,
    /// Whether there are parts behind these, which have no place.
    pub(crate) more: bool,
}

impl<F, V, T: Table> Transfers<F, V, T> {
    pub(crate) fn new(fd: F, bufs: V, table: T) -> Self {
        Self {
            fd,
            bufs,
            table,
            progress: Progress::default(),
        }
    }

    fn lend(&mut self, name: impl FnOnce(&mut V, &mut Filling<'_>)) -> (*const IoVec, u32, bool) {
        let mut filling = Filling::new(&mut self.table, self.progress.done(), LEN_MAX as usize);
        name(&mut self.bufs, &mut filling);
        let rest = filling.rest();
        let more = filling.is_short();
        let (places, count, bytes) = filling.finish();
        self.progress.begin(rest, bytes);
        (places, count, more)
    }
}

impl<F: Descriptor, V: IoBufsMut> Transfers<F, V, V::Table> {
    /// Where the kernel writes.
    pub(crate) fn room(&mut self) -> Parts {
        let (places, count, more) =
            self.lend(|bufs, filling| bufs.each_part_mut(|ptr, len| filling.add(ptr, len)));
        let target = self.fd.target();
        Parts {
            target,
            places,
            count,
            more,
        }
    }

    /// # Safety
    /// `entry` is the last entry of the flight that `room` was asked for.
    pub(crate) unsafe fn finish_read(&mut self, entry: Entry) -> io::Result<usize> {
        let total = self.progress.total(entry)?;
        // SAFETY: (B5) the kernel wrote that many bytes, in order, in this flight and in those that
        // were counted by `advance`: no more than it was lent, each once, and of these very
        // buffers, since `start_over` forgets both.
        unsafe { self.bufs.set_filled(total) };
        Ok(total)
    }

    /// As [`Progress::give_up`], and the buffers have what came.
    ///
    /// # Safety
    /// The last flight that `room` was asked for is over.
    pub(crate) unsafe fn give_up_read(&mut self) -> usize {
        let moved = self.progress.give_up();
        // SAFETY: (B5) as in `finish_read`: counted by `advance`, of what was lent.
        unsafe { self.bufs.set_filled(moved) };
        moved
    }
}

impl<F: Descriptor, V: IoBufs> Transfers<F, V, V::Table> {
    /// What the kernel reads.
    pub(crate) fn bytes(&mut self) -> Parts {
        let (places, count, more) = self.lend(|bufs, filling| {
            bufs.each_part(|ptr, len| filling.add(ptr.cast_mut(), len));
        });
        let target = self.fd.target();
        Parts {
            target,
            places,
            count,
            more,
        }
    }

    pub(crate) fn finish_write(&mut self, entry: Entry) -> io::Result<usize> {
        self.progress.total(entry)
    }
}

/// Reads from a file at an offset into several buffers, one after the other, without moving the
/// file's position.
///
/// Completes with the number of bytes read, at most 0x7fff_f000, into at most the first 1,024
/// buffers that have room; 0 at the end of the file, and without room. Buffers are filled in order,
/// none before the one that stands before it is full.
///
/// The places of the buffers are kept in the operation for arrays and tuples, and in a box, made by
/// [`new`](Self::new), for vectors and slices.
///
/// Errors: as [preadv2(2)](https://man7.org/linux/man-pages/man2/preadv2.2.html), unchanged; an
/// offset above `i64::MAX` is refused ([`Refusal::Offset`]).
///
/// io_uring: `IORING_OP_READV`, Linux 5.1; on pipes the kernel ignores the offset. readiness:
/// `preadv2` on a worker thread, where files without a position give `ESPIPE`. IOCP: the parts one
/// after the other, on a worker thread; no flags.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, ReadVectoredAt};
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
///
/// let file = OwnedFd::from(File::open("Cargo.toml")?);
/// let mut op = ReadVectoredAt::new(file, 0, ([0; 1], Vec::with_capacity(6)));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let n = unsafe { op.finish(entry.unwrap())? };
/// let (bracket, name) = op.bufs();
/// assert_eq!((bracket, name.len()), (b"[", n - 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct ReadVectoredAt<F, V: IoBufsMut> {
    head: OpHead,
    position: Position,
    pub(super) transfer: Transfers<F, V, V::Table>,
}

/// Writes several buffers to a file at an offset, one after the other, without moving the file's
/// position.
///
/// Completes with the number of bytes written, at most 0x7fff_f000, of at most the first 1,024
/// buffers that have any; it may be fewer than given.
///
/// The places of the buffers are kept as [`ReadVectoredAt`] keeps them.
///
/// Errors: as [pwritev2(2)](https://man7.org/linux/man-pages/man2/pwritev2.2.html), unchanged; an
/// offset above `i64::MAX` is refused ([`Refusal::Offset`]); `SIGPIPE` as for
/// [`WriteAt`](super::WriteAt).
///
/// io_uring: `IORING_OP_WRITEV`, Linux 5.1. readiness: `pwritev2` on a worker thread.
/// IOCP: the parts one after the other, on a worker thread; no flags.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, WriteVectoredAt};
/// use std::fs::OpenOptions;
/// use std::os::fd::OwnedFd;
///
/// let null = OpenOptions::new().write(true).open("/dev/null")?;
/// let mut op = WriteVectoredAt::new(OwnedFd::from(null), 0, ["head", "body"]);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 8);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct WriteVectoredAt<F, V: IoBufs> {
    head: OpHead,
    position: Position,
    pub(super) transfer: Transfers<F, V, V::Table>,
}

impl<F: Descriptor, V: IoBufsMut> ReadVectoredAt<F, V> {
    /// Reads from `fd` at `offset` into `bufs`.
    pub fn new(fd: F, offset: u64, bufs: V) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            position: Position::at(offset),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

impl<F: Descriptor, V: IoBufs> WriteVectoredAt<F, V> {
    /// Writes `bufs` to `fd` at `offset`.
    pub fn new(fd: F, offset: u64, bufs: V) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            position: Position::at(offset),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

/// The accessors of every operation on several buffers.
macro_rules! vectored_accessors {
    ($($op:ident: $buffers:ident),*) => {$(
        impl<F, V: $buffers> $op<F, V> {
            /// The buffers.
            pub fn bufs(&self) -> &V {
                &self.transfer.bufs
            }

            /// The buffers, to be filled or replaced between two flights. The next one begins with
            /// the whole of them. Parts beyond the number that `new` was given have no place.
            pub fn bufs_mut(&mut self) -> &mut V {
                self.transfer.progress.start_over();
                &mut self.transfer.bufs
            }

            /// The descriptor.
            pub fn fd(&self) -> &F {
                &self.transfer.fd
            }

            /// The bytes that `advance` has counted since the last `finish` that succeeded.
            pub fn advanced(&self) -> usize {
                self.transfer.progress.done()
            }

            /// Descriptor and buffers.
            pub fn into_parts(self) -> (F, V) {
                (self.transfer.fd, self.transfer.bufs)
            }
        }

        impl<F, V: $buffers> $crate::buf::IntoInner for $op<F, V> {
            type Inner = V;

            fn into_inner(self) -> V {
                self.transfer.bufs
            }
        }
    )*};
}
pub(crate) use vectored_accessors;
vectored_accessors!(ReadVectoredAt: IoBufsMut, WriteVectoredAt: IoBufs);
positioned!(ReadVectoredAt<V: IoBufsMut>, WriteVectoredAt<V: IoBufs>);

impl<F, V: IoBufsMut> ReadVectoredAt<F, V> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes: see
    /// [`ReadAt::advance`](super::ReadAt::advance).
    ///
    /// # Safety
    /// The last flight wrote at least `n` bytes: its last entry said so, and `finish` was not
    /// called with it.
    pub unsafe fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

impl<F, V: IoBufs> WriteVectoredAt<F, V> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes: see
    /// [`WriteAt::advance`](super::WriteAt::advance).
    pub fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufsMut> OpCode for ReadVectoredAt<F, V> {}

impl<F: Descriptor, V: IoBufsMut> Describe for ReadVectoredAt<F, V> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let (offset, flags) = op.position.after(op.transfer.progress.done())?;
        let Parts {
            target,
            places,
            count,
            more: _,
        } = op.transfer.room();
        let call = FileCall::ReadVectored {
            places,
            count,
            offset,
            flags,
        };
        Ok(Call::File { target, call })
    }
}

impl<F: Descriptor, V: IoBufsMut> Op for ReadVectoredAt<F, V> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.transfer.finish_read(entry) }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufs> OpCode for WriteVectoredAt<F, V> {}

impl<F: Descriptor, V: IoBufs> Describe for WriteVectoredAt<F, V> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let (offset, flags) = op.position.after(op.transfer.progress.done())?;
        let Parts {
            target,
            places,
            count,
            more: _,
        } = op.transfer.bytes();
        let call = FileCall::WriteVectored {
            places,
            count,
            offset,
            flags,
        };
        Ok(Call::File { target, call })
    }
}

impl<F: Descriptor, V: IoBufs> Op for WriteVectoredAt<F, V> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}
