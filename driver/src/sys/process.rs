//! Children and what becomes of them.
//!
//! [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html),
//! [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
#![allow(unsafe_code, reason = "system calls")]

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};

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

/// A descriptor of a process; close-on-exec.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let pid = i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: (K1) integers in, one out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: (R1) the call has just made it, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks without waiting what became of a child: 0, or an error, negated. `info` stays empty if it runs.
///
/// # Safety
/// `info` can be written.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) unsafe fn ask(fd: RawFd, info: *mut RawExit, keep: bool) -> i32 {
    let id = libc::id_t::from_ne_bytes(fd.to_ne_bytes());
    let options = options(keep) | libc::WNOHANG;
    loop {
        // SAFETY: (K1) the kernel writes one `siginfo_t`, as the caller's contract allows.
        if unsafe { libc::waitid(P_PIDFD, id, info.cast(), options) } == 0 {
            return 0;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            error => return -error.unwrap_or(libc::ECHILD),
        }
    }
}

/// Only Linux has descriptors of processes.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn open(_pid: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux has descriptors of processes.
///
/// # Safety
/// None is asked for.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) unsafe fn ask(_fd: RawFd, _info: *mut RawExit, _keep: bool) -> i32 {
    -libc::ENOSYS
}
