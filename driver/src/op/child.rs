//! The end of child processes.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, SocketCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::{Descriptor, Target};
use crate::sys::fd::OwnedFd;
use crate::sys::process::{self, How, RawExit};
use std::io;

/// Waits until a child process has ended, and reaps it.
///
/// The child is named by a descriptor (a *pidfd*; on macOS and the BSDs a kqueue that reports its
/// end, `EVFILT_PROC`, which is for this alone and not for a forked child), which always means the
/// same process: [`child`](Self::child) opens one, [`pidfd`](Self::pidfd) takes any. Completes with
/// how it ended; then its number may be given to another process, unless [`keep`](Self::keep) says
/// otherwise. A cancelled one reaps nothing. Stopped and continued children are not reported.
/// Nobody else may reap the child meanwhile ([`Child::wait`](std::process::Child::wait), `SIGCHLD`
/// ignored). On io_uring [`try_cancel_fd`](crate::driver::CompleteIo::try_cancel_fd) does not find
/// it: the kernel takes the pidfd for a number.
///
/// Errors: `ECHILD` for what is not a child of this process, or was reaped by others; `EBADF` or
/// `EINVAL` for what is no pidfd, as
/// [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html) says, unchanged;
/// [`Refusal::FixedDescriptor`] for a fixed descriptor; [`WouldBlock`](io::ErrorKind::WouldBlock)
/// at once on io_uring for a non-blocking pidfd (`PIDFD_NONBLOCK`) whose child runs.
/// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
///
/// io_uring: `IORING_OP_WAITID`, Linux 6.7; before that the pidfd is polled, and `finish` reaps.
/// readiness: `waitid`, tried first, then when the pidfd is ready. kqueue: `waitid`, when the end
/// is reported. IOCP: a registered wait; the exit code alone is told, as often as it is asked for.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, WaitId};
///
/// let child = std::process::Command::new("true").spawn()?;
/// let mut op = WaitId::child(child.id())?;
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let exit = unsafe { op.finish(entry.unwrap())? };
/// assert_eq!((exit.pid(), exit.code()), (child.id(), Some(0)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct WaitId<F> {
    head: OpHead,
    fd: F,
    keep: bool,
    info: RawExit,
}

impl WaitId<OwnedFd> {
    /// Waits for the child with the number `pid`, by a descriptor that is opened here.
    ///
    /// # Errors
    /// As pidfd_open(2): `ESRCH` when there is no such process, `EMFILE`;
    /// [`Unsupported`](io::ErrorKind::Unsupported) where there is neither a pidfd nor a kqueue.
    pub fn child(pid: u32) -> io::Result<Self> {
        process::open(pid).map(Self::pidfd)
    }
}

impl<F: Descriptor> WaitId<F> {
    /// Waits for the child that `fd` stands for; it stays open until `finish`.
    pub fn pidfd(fd: F) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            keep: false,
            info: RawExit::empty(),
        }
    }

    /// Whether the child is left to be waited for again, instead of reaped (`WNOWAIT`).
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for WaitId<F> {}

impl<F: Descriptor> Describe for WaitId<F> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        op.info = RawExit::empty();
        let (target, keep) = (op.fd.target(), op.keep);
        if let Target::Fixed(_) = target {
            return Err(Refusal::FixedDescriptor);
        }
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let info = unsafe { &raw mut (*this).info };
        let call = SocketCall::WaitId { info, keep };
        Ok(Call::Socket { target, call })
    }
}

impl<F: Descriptor> Op for WaitId<F> {
    type Fd = F;
    type Output = ChildExit;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<ChildExit> {
        let ready = entry.into_result()? > 0;
        if let (true, Target::Plain(fd)) = (ready, self.fd.target()) {
            // SAFETY: (K1) a field of the operation, which is not in flight.
            let result = unsafe { process::ask(fd, &raw mut self.info, self.keep) };
            if result < 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
        }
        match self.info.decode() {
            Some((pid, how, status)) => Ok(ChildExit { pid, how, status }),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<F> IntoInner for WaitId<F> {
    type Inner = F;

    fn into_inner(self) -> F {
        self.fd
    }
}

/// How a child process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildExit {
    pid: u32,
    how: How,
    status: i32,
}

impl ChildExit {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The code that it gave to `exit`, 0 to 255, on Windows any; none if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        (self.how == How::Exited).then_some(self.status)
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i32> {
        (self.how != How::Exited).then_some(self.status)
    }

    /// Whether it left its memory in a file.
    pub fn core_dumped(&self) -> bool {
        self.how == How::Dumped
    }

    /// Whether it gave 0 to `exit`.
    pub fn success(&self) -> bool {
        self.code() == Some(0)
    }
}
