//! Children and what becomes of them.
//!
//! [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html),
//! [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
#![allow(unsafe_code, reason = "system calls")]

#[cfg(any(target_os = "linux", target_os = "android", kqueue))]
use super::plain::uninterrupted;
use std::fmt;
use std::mem::MaybeUninit;

/// What the kernel writes of a child: `siginfo_t`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct RawExit(libc::siginfo_t);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Exited,
    Killed,
    Dumped,
}

impl RawExit {
    pub(crate) fn empty() -> Self {
        // SAFETY: (K1) integers, of which zero is one.
        Self(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    /// Whose end it is, how it ended, and its exit code or signal; none while it is empty.
    pub(crate) fn decode(&self) -> Option<(u32, How, i32)> {
        // SAFETY: (K1) integers that the kernel wrote, or zero.
        let pid = u32::try_from(unsafe { self.0.si_pid() }).ok()?;
        // SAFETY: (K1) as above.
        let status = unsafe { self.0.si_status() };
        let how = match self.0.si_code {
            libc::CLD_EXITED => How::Exited,
            libc::CLD_DUMPED => How::Dumped,
            _ => How::Killed,
        };
        (pid != 0).then_some((pid, how, status))
    }
}

impl fmt::Debug for RawExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawExit")
    }
}

/// What `waitid` is to wait for; `keep` leaves the child as it is.
pub(crate) const fn options(keep: bool) -> i32 {
    libc::WEXITED | if keep { libc::WNOWAIT } else { 0 }
}

/// The kind of number that names a child by a descriptor.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const P_PIDFD: u32 = 3;

#[cfg(all(kqueue, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) use self::by_kqueue::{ask, open};
#[cfg(not(any(target_os = "linux", target_os = "android", kqueue)))]
pub(crate) use self::nowhere::{ask, open};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use self::pidfd::{ask, open};

/// A descriptor of a process.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod pidfd {
    use super::{P_PIDFD, RawExit, options};
    use std::io;
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};

    /// Opens one; close-on-exec.
    pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
        let pid = i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
        // SAFETY: (K1) integers in, one out.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match i32::try_from(fd) {
            // SAFETY: (R1) the call has just made it, and nobody else knows it.
            Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Asks without waiting what became of a child: 0, or an error, negated. `info` stays empty if it
    /// runs.
    ///
    /// # Safety
    /// `info` can be written.
    pub(crate) unsafe fn ask(fd: RawFd, info: *mut RawExit, keep: bool) -> i32 {
        let id = libc::id_t::from_ne_bytes(fd.to_ne_bytes());
        // SAFETY: the caller's contract.
        unsafe {
            super::wait(
                P_PIDFD as libc::idtype_t,
                id,
                info,
                options(keep) | libc::WNOHANG,
            )
        }
    }
}

/// What stands in for a descriptor of a process: a kqueue that reports its end, and that one reports
/// as readable then. On Linux it is compiled for the tests.
#[cfg(all(
    kqueue,
    any(test, not(any(target_os = "linux", target_os = "android")))
))]
mod by_kqueue {
    use super::{RawExit, options};
    use crate::sys::kqueue::{self, Filter, Kevent, Kqueue, flags};
    use std::io;
    use std::os::fd::{OwnedFd, RawFd};
    use std::time::Duration;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    /// Opens one; close-on-exec.
    pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
        let kqueue = Kqueue::new()?;
        let child = usize::try_from(pid).expect("32 bits");
        match kqueue.change(Kevent::change(child, Filter::Process, flags::ADD, 0)) {
            Ok(()) => {}
            // Some systems do not find a child that has ended.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) && has_ended(pid) => {
                let [add, call] = call(child);
                kqueue.change(add)?;
                kqueue.change(call)?;
            }
            Err(e) => return Err(e),
        }
        Ok(kqueue.into_fd())
    }

    /// Asks without waiting what became of a child: 0, or an error, negated. `info` stays empty if it
    /// runs.
    ///
    /// # Safety
    /// `info` can be written.
    pub(crate) unsafe fn ask(fd: RawFd, info: *mut RawExit, keep: bool) -> i32 {
        let mut events = [Kevent::empty()];
        let [event] = match kqueue::ask(fd, &[], &mut events, NOW) {
            Ok(0) => return 0,
            Ok(_) => events,
            Err(e) => return -e.raw_os_error().unwrap_or(libc::EBADF),
        };
        if event.is(Filter::Process) {
            // An end is reported once, but may be asked for again.
            let changes = call(event.ident());
            if let Err(e) = kqueue::ask(fd, &changes, &mut [], NOW) {
                return -e.raw_os_error().unwrap_or(libc::EBADF);
            }
        }
        let Ok(pid) = libc::id_t::try_from(event.ident()) else {
            return -libc::ECHILD;
        };
        // The end is told before it is complete: it is waited for, which does not take long.
        // SAFETY: the caller's contract.
        unsafe { super::wait(libc::P_PID, pid, info, options(keep)) }
    }

    /// What has a number reported until the kqueue is closed.
    fn call(ident: usize) -> [Kevent; 2] {
        let add = Kevent::change(ident, Filter::User, flags::ADD, 0);
        [add, Kevent::trigger(ident)]
    }

    #[allow(clippy::useless_conversion, reason = "the type is another elsewhere")]
    fn has_ended(pid: u32) -> bool {
        let mut info = RawExit::empty();
        let look = options(true) | libc::WNOHANG;
        // SAFETY: (K1) a local.
        let asked = unsafe { super::wait(libc::P_PID, pid.into(), &raw mut info, look) };
        asked == 0 && info.decode().is_some()
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "tests")]
    mod tests {
        use super::*;
        use crate::sys::process::How;
        use std::os::fd::AsRawFd;
        use std::process::{Command, Stdio};

        fn asked(fd: &OwnedFd, keep: bool) -> Result<Option<(u32, How, i32)>, i32> {
            let mut info = RawExit::empty();
            // SAFETY: (K1) a local.
            match unsafe { ask(fd.as_raw_fd(), &raw mut info, keep) } {
                0 => Ok(info.decode()),
                error => Err(-error),
            }
        }

        #[test]
        fn an_end_is_told_as_often_as_it_is_asked_for_and_reaped_once() {
            #[allow(clippy::zombie_processes, reason = "it is reaped by its number")]
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let fd = open(child.id()).unwrap();
            assert_eq!(asked(&fd, false), Ok(None), "it runs");
            drop(child.stdin.take());
            let mut end = None;
            while end.is_none() {
                end = asked(&fd, true).unwrap();
            }
            let expected = (child.id(), How::Exited, 0);
            assert_eq!(end, Some(expected));
            assert_eq!(asked(&fd, false), Ok(Some(expected)), "it was kept");
            assert_eq!(asked(&fd, false), Err(libc::ECHILD), "it is gone");
            let gone = open(child.id()).unwrap_err();
            assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
        }

        #[test]
        fn an_end_that_came_before_is_told() {
            #[allow(clippy::zombie_processes, reason = "it is reaped by its number")]
            let child = Command::new("false").spawn().unwrap();
            while !has_ended(child.id()) {
                std::thread::yield_now();
            }
            let fd = open(child.id()).unwrap();
            let expected = (child.id(), How::Exited, 1);
            assert_eq!(asked(&fd, true), Ok(Some(expected)));
            assert_eq!(asked(&fd, false), Ok(Some(expected)));
            assert_eq!(asked(&fd, false), Err(libc::ECHILD));
        }
    }
}

/// Only Linux has descriptors of processes, and nothing stands in for them.
#[cfg(not(any(target_os = "linux", target_os = "android", kqueue)))]
mod nowhere {
    use super::RawExit;
    use std::io;
    use std::os::fd::{OwnedFd, RawFd};

    pub(crate) fn open(_pid: u32) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Safety
    /// None is asked for.
    pub(crate) unsafe fn ask(_fd: RawFd, _info: *mut RawExit, _keep: bool) -> i32 {
        -libc::ENOSYS
    }
}

/// 0, or an error, negated.
///
/// # Safety
/// `info` can be written.
#[cfg(any(target_os = "linux", target_os = "android", kqueue))]
unsafe fn wait(kind: libc::idtype_t, id: libc::id_t, info: *mut RawExit, options: i32) -> i32 {
    // SAFETY: (K1) the kernel writes one `siginfo_t`, as the caller's contract allows.
    uninterrupted(|| unsafe { libc::waitid(kind, id, info.cast(), options) as isize })
}
