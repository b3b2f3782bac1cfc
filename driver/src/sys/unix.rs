//! What Unix systems have under the same names: descriptors, flags, error numbers, limits.
#![allow(unsafe_code, reason = "asks the system")]

use std::io;
#[cfg(readiness)]
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// Descriptors: the standard library's.
pub(crate) mod fd {
    pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
}

/// A number that no descriptor has.
pub(crate) const NO_FD: RawFd = -1;

/// The descriptor that a number names which the kernel has given.
#[inline]
pub(crate) fn fd_of(number: i32) -> RawFd {
    number
}

/// Its number, as the kernel takes it.
#[inline]
pub(crate) fn number_of(fd: RawFd) -> i32 {
    fd
}

/// The current directory as a descriptor.
pub(crate) const CWD: RawFd = libc::AT_FDCWD;

/// Error numbers that this crate names.
pub(crate) mod errno {
    /// Linux's `ERESTARTSYS`, which no system call lets out; io_uring does, of a splice that was
    /// interrupted because it was cancelled (6.18).
    pub(crate) const RESTART: i32 = 512;
    #[cfg(not(any(target_os = "freebsd", target_os = "openbsd", target_os = "dragonfly")))]
    pub(crate) use libc::ETIME;
    /// They have no `ETIME`.
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "dragonfly"))]
    pub(crate) use libc::ETIMEDOUT as ETIME;
    pub(crate) use libc::{ECANCELED, EINTR, EMFILE, ENFILE, ENOENT};
}

/// Flags of open(2) that this crate names.
pub(crate) mod open_flags {
    #[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
    pub(crate) use libc::O_DIRECT as DIRECT;
    pub(crate) use libc::{
        O_APPEND as APPEND, O_CLOEXEC as CLOEXEC, O_CREAT as CREAT, O_EXCL as EXCL,
        O_RDONLY as RDONLY, O_RDWR as RDWR, O_TRUNC as TRUNC, O_WRONLY as WRONLY,
    };
    /// A flag of no system: another call stands for it, or it is refused.
    #[cfg(any(target_vendor = "apple", target_os = "openbsd"))]
    pub(crate) const DIRECT: i32 = i32::MIN;
}

/// Flags of pipe2(2).
pub(crate) mod pipe_flags {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    pub(crate) use libc::O_DIRECT as DIRECT;
    pub(crate) use libc::{O_CLOEXEC as CLOEXEC, O_NONBLOCK as NONBLOCK};
    /// Pipes are streams there.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    pub(crate) const DIRECT: i32 = 0;
}

/// Flags of the calls on names that this crate names.
pub(crate) mod name_flags {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) use libc::AT_EMPTY_PATH as EMPTY_PATH;
    pub(crate) use libc::{
        AT_REMOVEDIR as REMOVE_DIR, AT_SYMLINK_FOLLOW as FOLLOW, AT_SYMLINK_NOFOLLOW as NO_FOLLOW,
    };
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    pub(crate) use libc::{XATTR_CREATE, XATTR_REPLACE};
    /// A flag of no system, which stands for the call that needs none.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) const EMPTY_PATH: i32 = 1 << 30;
    /// Nothing takes them.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    mod nobody {
        pub(crate) const XATTR_CREATE: i32 = 1;
        pub(crate) const XATTR_REPLACE: i32 = 2;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    pub(crate) use self::nobody::*;
    // RENAME_NOREPLACE and its kin: libc gives them a type for each target.
    pub(crate) const NO_REPLACE: u32 = 1;
    pub(crate) const EXCHANGE: u32 = 2;
    pub(crate) const WHITEOUT: u32 = 4;
}

/// Flags of send(2) and recv(2) that this crate names.
pub(crate) mod msg_flags {
    #[cfg(not(target_vendor = "apple"))]
    pub(crate) use libc::{MSG_CMSG_CLOEXEC as CMSG_CLOEXEC, MSG_NOSIGNAL as NOSIGNAL};
    pub(crate) use libc::{
        MSG_CTRUNC as CTRUNC, MSG_OOB as OOB, MSG_PEEK as PEEK, MSG_TRUNC as TRUNC,
        MSG_WAITALL as WAITALL,
    };
    /// Linux' `MSG_CMSG_COMPAT`: control data as a 32-bit process has it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) const COMPAT: i32 = i32::MIN;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) const COMPAT: i32 = 0;
    /// Descriptors that come are told one by one.
    #[cfg(target_vendor = "apple")]
    pub(crate) const CMSG_CLOEXEC: i32 = 0;
    /// `SO_NOSIGPIPE` stands in for it.
    #[cfg(target_vendor = "apple")]
    pub(crate) const NOSIGNAL: i32 = 0;
}

/// Events of poll(2) that this crate names.
pub(crate) mod poll_events {
    pub(crate) const IN: u16 = libc::POLLIN as u16;
    pub(crate) const OUT: u16 = libc::POLLOUT as u16;
    pub(crate) const PRI: u16 = libc::POLLPRI as u16;
    #[cfg(io_uring)]
    pub(crate) const RDBAND: u16 = libc::POLLRDBAND as u16;
    pub(crate) const HUP: u16 = libc::POLLHUP as u16;
    pub(crate) const ERR: u16 = libc::POLLERR as u16;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) const RDHUP: u16 = libc::POLLRDHUP as u16;
    /// Only Linux tells.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) const RDHUP: u16 = 0;
}

/// A part of a vectored transfer.
pub(crate) type RawIoVec = libc::iovec;

#[inline]
pub(crate) const fn io_vec(ptr: *mut u8, len: usize) -> RawIoVec {
    RawIoVec {
        iov_base: ptr.cast(),
        iov_len: len,
    }
}

/// Where the bytes lie, and how many there are.
#[inline]
pub(crate) fn io_vec_parts(raw: &RawIoVec) -> (*mut u8, usize) {
    (raw.iov_base.cast(), raw.iov_len)
}

/// How many parts one call takes: `UIO_MAXIOV`, and everywhere else as many.
pub(crate) const IOV_MAX: usize = 1024;

/// The number of a direction that is to be ended.
pub(crate) fn shutdown_how(how: std::net::Shutdown) -> i32 {
    match how {
        std::net::Shutdown::Read => libc::SHUT_RD,
        std::net::Shutdown::Write => libc::SHUT_WR,
        std::net::Shutdown::Both => libc::SHUT_RDWR,
    }
}

/// Whether a descriptor is open.
pub(crate) fn check_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: (K1) F_GETFD reads no memory of ours.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The soft limit of open files.
pub(crate) fn open_files_max() -> usize {
    if cfg!(miri) {
        return 1024; // It knows no getrlimit.
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: (K1) the kernel writes one `rlimit` to a place that has room for it.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0;
    if failed {
        1024
    } else {
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX).max(1)
    }
}

/// Whether the process has more rights than who started it (set-uid): it then trusts no
/// environment.
pub(crate) fn is_privileged() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: (K1) reads the auxiliary vector.
        unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        // SAFETY: (K1) reads a flag of the process.
        unsafe { libc::issetugid() != 0 }
    }
}

/// Blocks every signal in this thread, and in those that it starts, until it is dropped.
#[cfg(readiness)]
pub(crate) struct BlockedSignals {
    before: libc::sigset_t,
}

#[cfg(readiness)]
impl BlockedSignals {
    pub(crate) fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: (K1) fills a local.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: (K1) reads one local, which was filled, and fills another.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        assert_eq!(error, 0, "SIG_SETMASK is a way to change a mask");
        // SAFETY: (K1) the call succeeded: it has written all of it.
        let before = unsafe { before.assume_init() };
        Self { before }
    }
}

#[cfg(readiness)]
impl Drop for BlockedSignals {
    fn drop(&mut self) {
        let nowhere = std::ptr::null_mut();
        // SAFETY: (K1) reads one mask of our own.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, nowhere) };
        debug_assert_eq!(error, 0, "SIG_SETMASK is a way to change a mask");
    }
}
