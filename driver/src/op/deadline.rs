//! Operations that end when their time is over.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::Call;
use super::time::Timespec;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::clock::Instant;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::sys::errno;
use std::io;
use std::time::Duration;

/// Any operation, with a time by which it is to be complete.
///
/// Completes once, as the operation does. If it has not completed by its deadline it is cancelled,
/// and [`finish`](Op::finish) gives [`TimedOut`](io::ErrorKind::TimedOut) in place of the
/// cancellation's `ECANCELED`, which is what its entry says. What has moved bytes before completes with
/// their count. The deadline is a point of the suspend-aware clock ([`Instant`]); it is never early.
///
/// What it does not promise:
/// * An operation is tried once, even when its deadline has passed.
/// * What a worker or a disk is busy with is not stopped: it completes late, with its own result.
/// * `finish` tells the two kinds of end apart by the clock: an operation that was cancelled before
///   its deadline by [`try_cancel`](crate::driver::CompleteIo::try_cancel), and is finished after
///   it, has timed out.
/// * On io_uring the kernel finds the operation by its user data. In the raw layer no other one in
///   flight may have the same, or either of them is cancelled at the deadline. In a scope, in a
///   slot and through a `Remote` each has a name of its own.
///
/// [`Close`](super::Close) has none: it cannot be cancelled. [`Splice`](super::Splice) and
/// [`Tee`](super::Tee) have none: io_uring's linked timeout does not end one that its workers have begun
/// (seen on Linux 6.18). Nor has an [`Exact`](super::Exact), which takes several flights, nor a
/// `Deadline` another.
///
/// io_uring: `IORING_OP_LINK_TIMEOUT` behind the operation, Linux 5.5; its clock 5.15. readiness:
/// the driver's own timers.
/// [io_uring_enter(2)](https://man7.org/linux/man-pages/man2/io_uring_enter.2.html),
/// [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html)
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Deadline, Op, Recv};
/// use std::os::{fd::AsFd, unix::net::UnixStream};
/// use std::time::Duration;
///
/// let (a, _silent) = UnixStream::pair()?;
/// let mut op = Deadline::after(Recv::new(a.as_fd(), [0; 16]), Duration::from_millis(1));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it; `a` is open.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let error = unsafe { op.finish(entry.unwrap()) }.unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail,E0080
/// use completeio_driver::{clock::Instant, op::{Close, Deadline}};
/// let (a, _b) = std::os::unix::net::UnixStream::pair()?;
/// let op = Deadline::at(Close::new(std::os::fd::OwnedFd::from(a)), Instant::now());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail,E0080
/// use completeio_driver::{clock::Instant, op::{Deadline, Exact, Recv}};
/// let (a, _b) = std::os::unix::net::UnixStream::pair()?;
/// let op = Exact::new(Recv::new(std::os::fd::OwnedFd::from(a), [0; 16]));
/// let op = Deadline::at(op, Instant::now());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail,E0277
/// use completeio_driver::{clock::Instant, op::{Deadline, Exact, Recv}};
/// let (a, _b) = std::os::unix::net::UnixStream::pair()?;
/// let op = Recv::new(std::os::fd::OwnedFd::from(a), [0; 16]);
/// let op = Exact::new(Deadline::at(op, Instant::now()));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail,E0080
/// use completeio_driver::{clock::Instant, driver::AsFd, op::{Deadline, Splice}};
/// let (a, b) = std::os::unix::net::UnixStream::pair()?;
/// let op = Deadline::at(Splice::new(a.as_fd(), b.as_fd(), 1), Instant::now());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Deadline<O> {
    head: OpHead,
    /// Where a relative one is counted to, at the push.
    at: Timespec,
    within: Option<Duration>,
    op: O,
}

impl<O: Op> Deadline<O> {
    /// `op`, until `deadline`.
    pub fn at(op: O, deadline: Instant) -> Self {
        Self::new(op, deadline, None)
    }

    /// `op`, until `duration` after its push; the same for each push.
    pub fn after(op: O, duration: Duration) -> Self {
        Self::new(op, Instant::now(), Some(duration))
    }

    fn new(op: O, at: Instant, within: Option<Duration>) -> Self {
        const {
            assert!(O::CANCELLABLE, "what cannot be cancelled has no deadline");
            assert!(O::LIMITABLE, "its deadline would not be kept");
            assert!(!O::DEADLINE, "one deadline for each operation");
            assert!(O::GOES_ON.is_none(), "a deadline is that of one flight");
        }
        Self {
            head: OpHead::new::<Self>(),
            at: at.since_zero().into(),
            within,
            op,
        }
    }
}

impl<O> Deadline<O> {
    /// The operation.
    pub fn op(&self) -> &O {
        &self.op
    }

    /// The operation, to be changed between two flights.
    pub fn op_mut(&mut self) -> &mut O {
        &mut self.op
    }

    /// Another deadline for the next flight.
    pub fn set_at(&mut self, deadline: Instant) {
        self.at = deadline.since_zero().into();
        self.within = None;
    }

    /// Another deadline for the next flights, `duration` after their push.
    pub fn set_after(&mut self, duration: Duration) {
        self.within = Some(duration);
    }

    fn has_passed(&self) -> bool {
        Instant::now().since_zero() >= Duration::from(self.at)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<O: Op> OpCode for Deadline<O> {}

impl<O: Op> Describe for Deadline<O> {
    const MAKES_FD: bool = O::MAKES_FD;
    const CANCELLABLE: bool = O::CANCELLABLE;
    const DEADLINE: bool = true;

    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        if let Some(duration) = unsafe { (*this).within } {
            let at = Instant::now().saturating_add(duration);
            // SAFETY: (D2) as above.
            unsafe { (*this).at = at.since_zero().into() };
        }
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let op = unsafe { &raw mut (*this).op };
        // SAFETY: (D2) not in flight, as a part of `this`, and with the provenance of all of it.
        unsafe { O::describe(op) }
    }

    unsafe fn deadline(this: *const Self) -> *const Timespec {
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        unsafe { &raw const (*this).at }
    }
}

impl<O: Op> Op for Deadline<O> {
    type Fd = O::Fd;
    type Output = O::Output;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<O::Output> {
        // What io_uring's threads were interrupted in by a cancellation may say EINTR.
        let stopped = matches!(entry.raw_os_error(), Some(errno::ECANCELED | errno::EINTR));
        let timed_out = stopped && self.has_passed();
        // SAFETY: (D3) the caller's contract: the flight was the operation's, too.
        match unsafe { self.op.finish(entry) } {
            Err(_) if timed_out => Err(io::ErrorKind::TimedOut.into()),
            result => result,
        }
    }

    unsafe fn dispose(&mut self, entry: Entry) {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.op.dispose(entry) };
    }
}

impl<O> IntoInner for Deadline<O> {
    type Inner = O;

    fn into_inner(self) -> O {
        self.op
    }
}
