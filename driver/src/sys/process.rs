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

    /// Asks without waiting what became of a child: 0, or an error, negated. `info` stays empty if
    /// it runs.
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

/// What stands in for a descriptor of a process: a kqueue that reports its end, and that one
/// reports as readable then. On Linux it is compiled for the tests.
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

    /// Stands for a child that nobody has any more: no process has this number.
    const GONE: usize = usize::MAX;

    /// Opens one; close-on-exec.
    pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
        let kqueue = Kqueue::new()?;
        let child = usize::try_from(pid).expect("32 bits");
        match kqueue.change(Kevent::change(child, Filter::Process, flags::ADD, 0)) {
            Ok(()) => {}
            // Some systems do not find a child that has begun to end.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) && is_child(pid) => {
                kqueue.ask(&call(child), &mut [], NOW)?;
            }
            Err(e) => return Err(e),
        }
        Ok(kqueue.into_fd())
    }

    /// Asks without waiting what became of a child: 0, or an error, negated. `info` stays empty if
    /// it runs.
    ///
    /// # Safety
    /// `info` can be written.
    pub(crate) unsafe fn ask(fd: RawFd, info: *mut RawExit, keep: bool) -> i32 {
        let mut events = [Kevent::empty()];
        let [event] = match kqueue::ask(fd, &[], &mut events, NOW) {
            Ok(0) => return 0,
            Ok(_) => events,
            Err(e) => return number(&e),
        };
        let child = event.ident();
        // SAFETY: the caller's contract.
        let (result, next) = match unsafe { look(fd, child, info, keep) } {
            Ok(Found::Ended) if keep => (0, child),
            Ok(Found::Ended) => (0, GONE),
            Ok(Found::Ends) => (0, child),
            Ok(Found::Another) => (-libc::ECHILD, GONE),
            Err(error) => (error, GONE),
        };
        // An end is reported once, but is asked for again.
        match kqueue::ask(fd, &call(next), &mut [], NOW) {
            Ok(_) => result,
            Err(e) => number(&e),
        }
    }

    /// Who has the number of a child whose end was reported.
    #[derive(Debug, PartialEq, Eq)]
    enum Found {
        /// The child. What became of it is told.
        Ended,
        /// The child: its end is reported before it is complete.
        Ends,
        /// Another child, for somebody else has reaped the first.
        Another,
    }

    /// Looks, and never waits: another child may run for ever. An error is its number, negated.
    ///
    /// # Safety
    /// `info` can be written.
    unsafe fn look(
        kqueue: RawFd,
        child: usize,
        info: *mut RawExit,
        keep: bool,
    ) -> Result<Found, i32> {
        let pid = libc::id_t::try_from(child).map_err(|_| -libc::ECHILD)?;
        // SAFETY: the caller's contract.
        let asked = unsafe { super::wait(libc::P_PID, pid, info, options(keep) | libc::WNOHANG) };
        if asked < 0 {
            return Err(asked);
        }
        // SAFETY: the caller's contract: it is empty, or was written.
        if unsafe { &*info }.decode().is_some() {
            return Ok(Found::Ended);
        }
        match is_ending(kqueue, child) {
            Ok(true) => Ok(Found::Ends),
            Ok(false) => Ok(Found::Another),
            Err(e) => Err(number(&e)),
        }
    }

    /// Whether a process has begun to end: then it is not found any more, or reported at once.
    fn is_ending(kqueue: RawFd, child: usize) -> io::Result<bool> {
        let change = |flags| {
            let change = Kevent::change(child, Filter::Process, flags, 0);
            kqueue::ask(kqueue, &[change], &mut [], NOW)
        };
        match change(flags::ADD) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(true),
            added => added?,
        };
        let reported = kqueue::ask(kqueue, &[], &mut [Kevent::empty()], NOW)? > 0;
        if !reported {
            change(flags::DELETE)?;
        }
        Ok(reported)
    }

    fn number(error: &io::Error) -> i32 {
        -error.raw_os_error().unwrap_or(libc::EBADF)
    }

    /// What has a number reported once more, also to a kqueue that watches this one.
    fn call(ident: usize) -> [Kevent; 2] {
        let add = Kevent::change(ident, Filter::User, flags::ADD | flags::CLEAR, 0);
        [add, Kevent::trigger(ident)]
    }

    /// Whether it is a child that nobody has reaped.
    fn is_child(pid: u32) -> bool {
        leave(pid, libc::WNOHANG) == 0
    }

    /// Waits for a child, and leaves it as it is: 0, or an error, negated.
    #[allow(clippy::useless_conversion, reason = "the type is another elsewhere")]
    fn leave(pid: u32, how: i32) -> i32 {
        let mut info = RawExit::empty();
        // SAFETY: (K1) a local.
        unsafe { super::wait(libc::P_PID, pid.into(), &raw mut info, options(true) | how) }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "tests")]
    mod tests {
        use super::*;
        use crate::sys::process::How;
        use std::os::fd::AsRawFd;
        use std::process::{Child, Command, Stdio};
        use std::sync::mpsc;
        use std::thread;

        /// Returns when a child can be reaped.
        fn await_end(pid: u32) {
            assert_eq!(leave(pid, 0), 0);
        }

        /// Lets a child run until it is told to end. Where nobody tells it for long, somebody waits
        /// for the child who may not: it ends then too, so that he fails and does not hang.
        fn runs_until_told(child: &mut Child) -> impl FnOnce() + use<> {
            const LONG: Duration = Duration::from_secs(10);
            let input = child.stdin.take();
            let (tell, told) = mpsc::channel::<()>();
            let holder = thread::spawn(move || {
                let _either_way = told.recv_timeout(LONG);
                drop(input);
            });
            move || {
                drop(tell);
                holder.join().unwrap();
            }
        }

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
            await_end(child.id());
            let fd = open(child.id()).unwrap();
            let expected = (child.id(), How::Exited, 1);
            assert_eq!(asked(&fd, true), Ok(Some(expected)));
            assert_eq!(asked(&fd, false), Ok(Some(expected)));
            assert_eq!(asked(&fd, false), Err(libc::ECHILD));
        }

        #[test]
        fn one_that_others_have_reaped_is_gone() {
            let mut child = Command::new("true").spawn().unwrap();
            let fd = open(child.id()).unwrap();
            let mut end = None;
            while end.is_none() {
                end = asked(&fd, true).unwrap();
            }
            assert!(child.wait().unwrap().success());
            for _ in 0..2 {
                assert_eq!(asked(&fd, true), Err(libc::ECHILD));
            }
        }

        #[test]
        fn another_child_with_its_number_is_neither_waited_for_nor_reaped() {
            let mut another = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let end = runs_until_told(&mut another);
            let child = usize::try_from(another.id()).unwrap();
            let fd = Kqueue::new().unwrap().into_fd();
            // As if an earlier child had had this number, and its end had been reported.
            kqueue::ask(fd.as_raw_fd(), &call(child), &mut [], NOW).unwrap();
            assert_eq!(asked(&fd, false), Err(libc::ECHILD), "it runs");
            end();
            await_end(another.id());
            assert_eq!(asked(&fd, false), Err(libc::ECHILD));
            assert!(another.wait().unwrap().success(), "nobody has reaped it");
        }

        #[test]
        fn who_ends_is_told_from_who_runs() {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let end = runs_until_told(&mut child);
            let ident = usize::try_from(child.id()).unwrap();
            let kqueue = Kqueue::new().unwrap();
            for _ in 0..2 {
                assert!(!is_ending(kqueue.as_raw_fd(), ident).unwrap());
            }
            assert!(is_child(child.id()), "it runs");
            assert!(!is_ending(kqueue.as_raw_fd(), ident).unwrap(), "still");
            end();
            await_end(child.id());
            let reported = kqueue.ask(&[], &mut [Kevent::empty()], NOW);
            assert_eq!(reported.unwrap(), 0, "it is watched no more");
            assert!(is_ending(kqueue.as_raw_fd(), ident).unwrap());
            assert!(is_child(child.id()));
            child.wait().unwrap();
            assert!(!is_child(child.id()));
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
