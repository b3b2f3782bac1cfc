//! Reads and writes of several buffers in one call, on what has no positions; and on files where
//! they are.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, StreamCall};
use super::vectored::{Parts, Transfers, vectored_accessors};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::{IoBufs, IoBufsMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use std::io;

/// Reads from a pipe, a FIFO, a terminal, a device, a socket or the like into several buffers, one
/// after the other; from a file at its current position, which moves.
///
/// Completes as [`Read`](super::Read) does, with the number of bytes read, at most 0x7fff_f000,
/// into at most the first 1,024 buffers that have room; 0 at the end, and without room. Buffers are
/// filled in order, none before the one that stands before it is full. Their places are kept as
/// [`ReadVectoredAt`](super::ReadVectoredAt) keeps them.
///
/// Errors: as [readv(2)](https://man7.org/linux/man-pages/man2/readv.2.html), unchanged.
///
/// io_uring: `IORING_OP_READV`, Linux 5.6 (without a position). readiness: `preadv2` with
/// `RWF_NOWAIT`, tried first, then when readable; files, and what epoll takes no interest in
/// (`EPERM`), are read by `readv` on a worker thread. Descriptors in blocking mode: as
/// [`Read`](super::Read). IOCP: `WSARecv` for sockets; of pipes the first part.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, ReadVectored};
/// use std::os::fd::OwnedFd;
/// use std::process::{Command, Stdio};
///
/// let mut child = Command::new("echo").arg("head body").stdout(Stdio::piped()).spawn()?;
/// let stdout = OwnedFd::from(child.stdout.take().unwrap());
/// let mut op = ReadVectored::new(stdout, ([0; 5], Vec::with_capacity(16)));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 10);
/// assert_eq!(op.bufs(), &(*b"head ", b"body\n".to_vec()));
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct ReadVectored<F, V: IoBufsMut> {
    head: OpHead,
    pub(super) transfer: Transfers<F, V, V::Table>,
}

/// Writes several buffers, one after the other, to a pipe, a FIFO, a terminal, a device, a socket
/// or the like; to a file at its current position, which moves.
///
/// Completes with the number of bytes written, at most 0x7fff_f000, of at most the first 1,024
/// buffers that have any; it may be fewer than given: a pipe takes what it has room for.
/// [`advance`](Self::advance) goes on with the rest. The places of the buffers are kept as
/// [`ReadVectoredAt`](super::ReadVectoredAt) keeps them. Without any bytes it is a
/// [`Write`](super::Write) of none: an empty datagram, where there are datagrams.
///
/// Errors: as [writev(2)](https://man7.org/linux/man-pages/man2/writev.2.html), unchanged; `EPIPE`
/// and `SIGPIPE` as for [`Write`](super::Write).
///
/// io_uring: `IORING_OP_WRITEV`, Linux 5.6 (without a position). readiness: `pwritev2` with
/// `RWF_NOWAIT`, tried first, then when writable; files, and what epoll takes no interest in
/// (`EPERM`), are written by `writev` on a worker thread. Descriptors in blocking mode: as
/// [`Write`](super::Write); where readiness writes a part at once, that is of one buffer.
/// IOCP: `WSASend` for sockets; of pipes the first part.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, WriteVectored};
/// use std::os::fd::OwnedFd;
/// use std::process::{Command, Stdio};
///
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let stdin = OwnedFd::from(child.stdin.take().unwrap());
/// let mut op = WriteVectored::new(stdin, ["head ", "body"]);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 9);
/// drop(op); // Closes the pipe: `cat` sees the end.
/// assert_eq!(child.wait_with_output()?.stdout, b"head body");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct WriteVectored<F, V: IoBufs> {
    head: OpHead,
    pub(super) transfer: Transfers<F, V, V::Table>,
}

impl<F: Descriptor, V: IoBufsMut> ReadVectored<F, V> {
    /// Reads from `fd` into `bufs`.
    pub fn new(fd: F, bufs: V) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

impl<F: Descriptor, V: IoBufs> WriteVectored<F, V> {
    /// Writes `bufs` to `fd`.
    pub fn new(fd: F, bufs: V) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

vectored_accessors!(ReadVectored: IoBufsMut, WriteVectored: IoBufs);

impl<F, V: IoBufsMut> ReadVectored<F, V> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes: see
    /// [`Read::advance`](super::Read::advance).
    ///
    /// # Safety
    /// The last flight wrote at least `n` bytes: its last entry said so, and `finish` was not
    /// called with it.
    pub unsafe fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

impl<F, V: IoBufs> WriteVectored<F, V> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes: see
    /// [`Write::advance`](super::Write::advance).
    pub fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufsMut> OpCode for ReadVectored<F, V> {}

impl<F: Descriptor, V: IoBufsMut> Describe for ReadVectored<F, V> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let Parts {
            target,
            places,
            count,
            more: _,
        } = op.transfer.room();
        let call = StreamCall::ReadVectored { places, count };
        Ok(Call::Stream { target, call })
    }
}

impl<F: Descriptor, V: IoBufsMut> Op for ReadVectored<F, V> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.transfer.finish_read(entry) }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufs> OpCode for WriteVectored<F, V> {}

impl<F: Descriptor, V: IoBufs> Describe for WriteVectored<F, V> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let Parts {
            target,
            places,
            count,
            more: _,
        } = op.transfer.bytes();
        let len = op.transfer.progress.lent();
        let call = StreamCall::WriteVectored { places, count, len };
        Ok(Call::Stream { target, call })
    }
}

impl<F: Descriptor, V: IoBufs> Op for WriteVectored<F, V> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}
