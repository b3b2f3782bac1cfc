//! Waiting for a descriptor to be ready.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, SocketCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys::poll_events as bits;
use std::fmt;
use std::io;

/// Completes when a descriptor is ready, once: for calls that others make, a library's for
/// instance.
///
/// Completes with what it is ready for, of what was asked; with [`READ_CLOSED`], [`HANG_UP`] and
/// [`ERROR`] whether they were asked for or not. So on Linux and Windows a poll of a connection
/// whose peer has ended its side completes at once, though poll(2) would wait on. A poll for both
/// directions completes with either. It takes nothing: other polls and transfers on the descriptor
/// go on beside it, and one of them may have been first when the entry is seen.
///
/// Files that are always ready (regular files, directories) are at once. One that is never ready
/// for what is asked, as they are for [`PRIORITY`], is `EINVAL`.
///
/// Errors: `EBADF` for what is not open, or cannot be polled (`O_PATH`), else as
/// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html), unchanged.
///
/// io_uring: `IORING_OP_POLL_ADD`, Linux 5.1. readiness: `poll`, tried first, then when ready.
/// IOCP: of sockets only (`WSAENOTSOCK` else), by the device that they are on (`IOCTL_AFD_POLL`);
/// they need not be attached, and may be to another port. A socket that is closed meanwhile ends it
/// so, too. An end of both sides that is orderly is [`READ_CLOSED`], and no [`HANG_UP`]: that tells
/// of a reset. Where a layered provider does not tell the socket below it, its error is the poll's.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Poll, PollEvents};
/// use std::os::{fd::AsFd, unix::net::UnixStream};
///
/// let (a, _b) = UnixStream::pair()?;
/// let mut op = Poll::new(a.as_fd(), PollEvents::READABLE | PollEvents::WRITABLE);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it; `a` is open.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let ready = unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(ready, PollEvents::WRITABLE);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`READ_CLOSED`]: PollEvents::READ_CLOSED
/// [`HANG_UP`]: PollEvents::HANG_UP
/// [`ERROR`]: PollEvents::ERROR
/// [`PRIORITY`]: PollEvents::PRIORITY
#[derive(Debug)]
#[repr(C)]
pub struct Poll<F> {
    head: OpHead,
    fd: F,
    events: PollEvents,
}

impl<F: Descriptor> Poll<F> {
    /// Waits until `fd` is ready for one of `events`.
    pub fn new(fd: F, events: PollEvents) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            events,
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Poll<F> {}

impl<F: Descriptor> Describe for Poll<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Socket {
            target: op.fd.target(),
            call: SocketCall::Poll {
                events: op.events.0,
            },
        })
    }
}

impl<F: Descriptor> Op for Poll<F> {
    type Fd = F;
    type Output = PollEvents;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<PollEvents> {
        const ALWAYS: u16 = bits::RDHUP | bits::HUP | bits::ERR;
        let ready = u16::try_from(entry.into_result()?).unwrap_or(u16::MAX);
        Ok(PollEvents(ready & (self.events.0 | ALWAYS)))
    }
}

impl<F> IntoInner for Poll<F> {
    type Inner = F;

    fn into_inner(self) -> F {
        self.fd
    }
}

/// What a descriptor is ready for, or is to be: a set.
///
/// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
///
/// ```
/// use completeio_driver::op::PollEvents;
/// let both = PollEvents::READABLE | PollEvents::WRITABLE;
/// assert!(both.contains(PollEvents::READABLE));
/// assert!(!both.contains(PollEvents::READABLE | PollEvents::ERROR));
/// assert!(both.intersects(PollEvents::READABLE | PollEvents::ERROR));
/// assert_eq!(format!("{both:?}"), "PollEvents(READABLE | WRITABLE)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct PollEvents(u16);

impl PollEvents {
    /// None.
    pub const NONE: Self = Self(0);
    /// A read does not block: there are bytes, a connection to accept, or the end (`POLLIN`).
    pub const READABLE: Self = Self(bits::IN);
    /// A write does not block (`POLLOUT`).
    pub const WRITABLE: Self = Self(bits::OUT);
    /// Something out of the ordinary: urgent data of a socket (`POLLPRI`).
    ///
    /// On io_uring a hint: ordinary data that arrive on a socket while the poll waits are
    /// reported as this, too (seen on Linux 6.18).
    pub const PRIORITY: Self = Self(bits::PRI);
    /// The peer has ended its side (`POLLRDHUP`). Reported whether it was asked for or not, on
    /// Linux, Android and Windows; elsewhere it is empty, and a poll for
    /// [`READABLE`](Self::READABLE) tells.
    pub const READ_CLOSED: Self = Self(bits::RDHUP);
    /// Both sides have ended, or a pipe has no writer (`POLLHUP`); on Windows, the connection was
    /// reset. Reported whether it was asked for or not.
    pub const HANG_UP: Self = Self(bits::HUP);
    /// An error waits, or a pipe has no reader (`POLLERR`). Reported whether it was asked for or
    /// not.
    pub const ERROR: Self = Self(bits::ERR);

    /// Any events of the platform: `POLL…`.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The platform's bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `other` are among them.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is among them.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for PollEvents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for PollEvents {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl fmt::Debug for PollEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::READABLE, "READABLE"),
            (Self::WRITABLE, "WRITABLE"),
            (Self::PRIORITY, "PRIORITY"),
            (Self::READ_CLOSED, "READ_CLOSED"),
            (Self::HANG_UP, "HANG_UP"),
            (Self::ERROR, "ERROR"),
        ];
        let mut rest = self.0;
        let mut first = true;
        f.write_str("PollEvents(")?;
        for (event, name) in names {
            if !event.is_empty() && self.contains(event) {
                rest &= !event.0;
                f.write_str(if first { "" } else { " | " })?;
                f.write_str(name)?;
                first = false;
            }
        }
        if rest != 0 || first {
            let or = if first { "" } else { " | " };
            write!(f, "{or}{rest:#x}")?;
        }
        f.write_str(")")
    }
}
