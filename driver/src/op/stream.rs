//! Operations on what has no positions: pipes, terminals, devices, counters of events; and on
//! files where they are.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, StreamCall};
use super::transfer::Transfer;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::{IoBuf, IoBufMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use std::io;

/// Reads from a pipe, a FIFO, a terminal, a device, a socket or the like into a buffer; from a
/// file at its current position, which moves.
///
/// Completes with the number of bytes read, at most 0x7fff_f000, as soon as there are some; 0 at
/// the end (the last writer of a pipe has closed it, the file ends), and for a buffer without
/// room. A `Vec` is read into its spare capacity, a `&mut [u8]` into its whole length. Of several
/// that wait on one descriptor, readiness serves the first pushed first; io_uring's kernel
/// promises no order, nor is there one among several on a file.
///
/// Errors: as [read(2)](https://man7.org/linux/man-pages/man2/read.2.html), unchanged.
///
/// io_uring: `IORING_OP_READ`, Linux 5.6. readiness: `preadv2` with `RWF_NOWAIT`, tried first, then
/// when readable; files, and what epoll takes no interest in (`EPERM`), are read by `read` on a
/// worker thread. IOCP: `WSARecv` for sockets, `ReadFile` for pipes, on a worker thread where the
/// handle takes no overlapped calls. A file that takes them has no current position:
/// `ERROR_INVALID_PARAMETER`. Of a worker that waits, as for a console or for an anonymous pipe
/// that was inherited, no cancellation ends the read, but the drop of the driver does
/// (`CancelSynchronousIo`); the end of a scope waits.
///
/// # Descriptors in blocking mode
/// The descriptor's `O_NONBLOCK` is never changed here: others may share it. Pipes, sockets, most
/// counters and devices are read without blocking whatever it says. Terminals, and on readiness
/// FIFOs that were opened by their name and pipes that a splice has used, know no such read (Linux
/// 6.18): when they are in blocking
/// mode, the kernel (io_uring) or the driver (readiness) asks
/// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html) first, and reads when that says
/// that there is something. If another process takes it away in between, or if a terminal is set
/// to wait for more (`VTIME`), the read blocks the driver's thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Read};
/// use std::os::fd::OwnedFd;
/// use std::process::{Command, Stdio};
///
/// let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
/// let mut op = Read::new(OwnedFd::from(child.stdout.take().unwrap()), [0; 16]);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let n = unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(&op.buf()[..n], b"hello\n");
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Read<F, B> {
    head: OpHead,
    pub(super) transfer: Transfer<F, B>,
}

impl<F: Descriptor, B: IoBufMut> Read<F, B> {
    /// Reads from `fd` into `buf`.
    pub fn new(fd: F, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            transfer: Transfer::new(fd, buf),
        }
    }
}

/// Writes a buffer to a pipe, a FIFO, a terminal, a device, a socket or the like; to a file at its
/// current position, which moves.
///
/// Completes with the number of bytes written, at most 0x7fff_f000, which may be fewer than given:
/// a pipe takes what it has room for. [`advance`](Self::advance) goes on with the rest.
///
/// Errors: as [write(2)](https://man7.org/linux/man-pages/man2/write.2.html), unchanged. A pipe or
/// socket that nobody reads gives `EPIPE`; readiness never raises `SIGPIPE` beside it, io_uring
/// before Linux 6.18 does (Rust programs ignore that signal unless they say otherwise).
///
/// io_uring: `IORING_OP_WRITE`, Linux 5.6. readiness: `pwritev2` with `RWF_NOWAIT`, tried first,
/// then when writable; files, and what epoll takes no interest in (`EPERM`), are written by `write`
/// on a worker thread. IOCP: `WSASend` for sockets, `WriteFile` for pipes, as reads; of nothing,
/// which a pipe's reader would take for the end, no call.
///
/// # Descriptors in blocking mode
/// As for [`Read`]: `O_NONBLOCK` is left alone, and what cannot be written without blocking is
/// asked by `poll` first. That says that some bytes fit, not how many:
///
/// * Terminals: io_uring's kernel writes all of it, and `submit` returns when the terminal has
///   taken it. readiness writes at most 64 bytes at once, then asks again, and completes with what
///   was taken; a terminal with less room than that blocks the driver's thread until its output
///   moves on.
/// * FIFOs, and pipes that a splice has used, on readiness: 4,096 bytes at once, for which there is
///   room.
/// * Counters ([eventfd(2)]): they block when they would overflow.
///
/// With `O_NONBLOCK` none of them blocks.
///
/// [eventfd(2)]: https://man7.org/linux/man-pages/man2/eventfd.2.html
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Write};
/// use std::os::fd::OwnedFd;
/// use std::process::{Command, Stdio};
///
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut op = Write::new(OwnedFd::from(child.stdin.take().unwrap()), "hello");
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 5);
/// drop(op); // Closes the pipe: `cat` sees the end.
/// assert_eq!(child.wait_with_output()?.stdout, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Write<F, B> {
    head: OpHead,
    pub(super) transfer: Transfer<F, B>,
}

impl<F: Descriptor, B: IoBuf> Write<F, B> {
    /// Writes `buf` to `fd`.
    pub fn new(fd: F, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            transfer: Transfer::new(fd, buf),
        }
    }
}

super::transfer_accessors!(Read, Write);

impl<F, B> Read<F, B> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes.
    ///
    /// Instead of `finish`, for all flights but the last: that one's `finish` then counts every
    /// byte. After an error the count stays, for whoever asks [`advanced`](Self::advanced). With a
    /// `Vec` it is simpler to call `finish` each time: the next flight goes on in what is spare.
    ///
    /// # Safety
    /// The last flight wrote at least `n` bytes: its last entry said so, and `finish` was not
    /// called with it.
    pub unsafe fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

impl<F, B> Write<F, B> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes.
    ///
    /// Instead of `finish`, for all flights but the last: that one's `finish` then counts every
    /// byte. After an error the count stays, for whoever asks [`advanced`](Self::advanced).
    pub fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBufMut> OpCode for Read<F, B> {}

impl<F: Descriptor, B: IoBufMut> Describe for Read<F, B> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let (target, ptr, len) = op.transfer.room();
        let call = StreamCall::Read { ptr, len };
        Ok(Call::Stream { target, call })
    }
}

impl<F: Descriptor, B: IoBufMut> Op for Read<F, B> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.transfer.finish_read(entry) }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBuf> OpCode for Write<F, B> {}

impl<F: Descriptor, B: IoBuf> Describe for Write<F, B> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let (target, ptr, len) = op.transfer.bytes();
        let call = StreamCall::Write { ptr, len };
        Ok(Call::Stream { target, call })
    }
}

impl<F: Descriptor, B: IoBuf> Op for Write<F, B> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}
