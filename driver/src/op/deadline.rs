//! Operations that end when their time is over.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::Call;
use super::time::Timespec;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::clock::Instant;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::exact::{GoesOn, Start};
use crate::sys::errno;
use std::io;
use std::ptr::NonNull;
use std::time::Duration;

/// Any operation, with a time by which it is to be complete.
///
/// Completes once, as the operation does. If it has not completed by its deadline it is cancelled,
/// and [`finish`](Op::finish) gives [`TimedOut`](io::ErrorKind::TimedOut) in place of the
/// cancellation's `ECANCELED`, which is what its entry says. What has moved bytes before completes
/// with their count. The deadline is a point of the suspend-aware clock ([`Instant`]); it is never
/// early.
///
/// What it does not promise:
/// * An operation is tried once, even when its deadline has passed; unless a worker is to try it,
///   which may come too late.
/// * What a worker or a disk is busy with is not stopped: it completes late, with its own result.
/// * `finish` tells the two kinds of end apart by the clock: an operation that was cancelled before
///   its deadline by [`try_cancel`](crate::driver::CompleteIo::try_cancel), and is finished after
///   it, has timed out.
/// * On io_uring the kernel finds the operation by its user data. In the raw layer no other one in
///   flight may have the same, or either of them is cancelled at the deadline. In a scope, in a
///   slot and through a `Remote` each has a name of its own.
///
/// The deadline of an [`Exact`](super::Exact) is that of the whole of it, however many flights it
/// takes: none begins after it, and [`advanced`](super::Exact::advanced) says how far it came.
///
/// [`Close`](super::Close) has none: it cannot be cancelled. Nor has a `Deadline` another.
///
/// io_uring: `IORING_OP_LINK_TIMEOUT` behind the operation, Linux 5.5; its clock 5.15. It ends
/// nothing that a worker of the kernel's waits in, for it is armed when the call has returned
/// (Linux 6.15): so [`Splice`](super::Splice) and [`Tee`](super::Tee), which are always there, are
/// stopped by the driver's own timers, and so is an `Exact`, in
/// [`submit`](crate::driver::CompleteIo::submit). readiness: the driver's own timers.
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
/// use completeio_driver::{clock::Instant, op::{Deadline, Nop}};
/// let op = Deadline::at(Deadline::at(Nop::new(), Instant::now()), Instant::now());
/// ```
///
/// ```compile_fail,E0080
/// use completeio_driver::{clock::Instant, op::{Deadline, Exact, Recv}};
/// let (a, _b) = std::os::unix::net::UnixStream::pair()?;
/// let op = Exact::new(Recv::new(std::os::fd::OwnedFd::from(a), [0; 16]));
/// let op = Deadline::at(Deadline::at(op, Instant::now()), Instant::now());
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
            assert!(!O::LIMITED, "one deadline for each operation");
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

    fn deadline(&self) -> Instant {
        Instant::from_since_zero(self.at.into())
    }

    /// The time begins: a relative one is counted from now.
    ///
    /// # Safety
    /// (D2) `this` points to one that is not in flight.
    unsafe fn begin(this: *mut Self) {
        // SAFETY: (D2) the caller's contract.
        if let Some(duration) = unsafe { (*this).within } {
            let at = Instant::now().saturating_add(duration);
            // SAFETY: (D2) as above.
            unsafe { (*this).at = at.since_zero().into() };
        }
    }

    /// The operation inside.
    ///
    /// # Safety
    /// (D2) `this` points to one.
    unsafe fn inside(this: *mut Self) -> *mut O {
        // SAFETY: (D2) the caller's contract; only the field's address is taken.
        unsafe { &raw mut (*this).op }
    }
}

/// How one is followed whose deadline the driver keeps: as the operation inside.
impl<O: Op> Deadline<O> {
    const INSIDE: GoesOn = match O::FOLLOWED {
        Some(followed) => followed,
        None => panic!("the backend keeps its deadline"),
    };

    /// # Safety
    /// (D2) `head` is that of one which is not in flight.
    unsafe fn start(head: NonNull<OpHead>) -> Start {
        let this = head.cast::<Self>();
        // SAFETY: (D2) the caller's contract.
        unsafe { Self::begin(this.as_ptr()) };
        // SAFETY: (D2) the caller's contract.
        let inside = unsafe { Self::head_inside(head) };
        // SAFETY: (D2) not in flight, as a part of the whole.
        let start = unsafe { (Self::INSIDE.begin)(inside) };
        Start {
            // SAFETY: (D2) the caller's contract.
            deadline: Some(unsafe { this.as_ref() }.deadline()),
            ..start
        }
    }

    /// # Safety
    /// (D2) `head` is that of one whose flight is over, and moved `result` bytes.
    unsafe fn moved(head: NonNull<OpHead>, result: i32) -> bool {
        // SAFETY: (D2) the caller's contract.
        let inside = unsafe { Self::head_inside(head) };
        // SAFETY: (D2) its flight was that of the whole.
        unsafe { (Self::INSIDE.moved)(inside, result) }
    }

    /// # Safety
    /// (D2) `head` is that of one.
    unsafe fn head_inside(head: NonNull<OpHead>) -> NonNull<OpHead> {
        // SAFETY: (D2) the caller's contract.
        let op = unsafe { Self::inside(head.cast().as_ptr()) };
        NonNull::new(op.cast()).expect("a field of what is there")
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<O: Op> OpCode for Deadline<O> {}

impl<O: Op> Describe for Deadline<O> {
    const MAKES_FD: bool = O::MAKES_FD;
    const CANCELLABLE: bool = O::CANCELLABLE;
    const LIMITED: bool = true;
    const DEADLINE: bool = O::FOLLOWED.is_none();
    #[allow(private_interfaces, reason = "sealed")]
    const GOES_ON: Option<GoesOn> = match O::FOLLOWED {
        Some(_) => Some(GoesOn {
            begin: Self::start,
            moved: Self::moved,
        }),
        None => None,
    };

    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // Followed, it has begun before its first flight.
        if Self::DEADLINE {
            // SAFETY: (D2) `this` is valid and not in flight.
            unsafe { Self::begin(this) };
        }
        // SAFETY: (D2) as above.
        let op = unsafe { Self::inside(this) };
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
        // What io_uring's threads were interrupted in by a cancellation may say otherwise.
        let stopped = matches!(
            entry.raw_os_error(),
            Some(errno::ECANCELED | errno::EINTR | errno::RESTART)
        );
        let timed_out = stopped && Instant::now() >= self.deadline();
        // SAFETY: (D3) the caller's contract: the flight was the operation's, too.
        match unsafe { self.op.finish(entry) } {
            Err(_) if timed_out && !planted!("deadline-not-told") => {
                Err(io::ErrorKind::TimedOut.into())
            }
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
