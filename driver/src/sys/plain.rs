//! The plain system calls of what never waits, for every backend.
#![allow(unsafe_code, reason = "makes the calls")]

use super::{futex, shutdown_how};
use crate::op::call::PlainCall;
#[cfg(not(target_vendor = "apple"))]
use libc::{pipe2, socket};
use std::io;
use std::os::fd::RawFd;

/// For a call that is directed at no descriptor.
#[cfg(any(io_uring, readiness))]
pub(crate) use super::NO_FD;

/// Makes the call on `fd`, whatever descriptor it names itself; a negative result is an error
/// number. An option that was asked for gives its length in bytes.
///
/// # Safety
/// What the call points to is lent to whoever calls this, until it returns.
pub(crate) unsafe fn perform(fd: RawFd, call: PlainCall) -> i32 {
    #[cfg(sim)]
    // SAFETY: (K1) the caller's contract.
    if let Some(result) = unsafe { super::sim::plain(fd, call) } {
        return result;
    }
    match call {
        PlainCall::Shutdown { how, .. } => uninterrupted(|| {
            // SAFETY: (K1) takes two numbers.
            unsafe { libc::shutdown(fd, shutdown_how(how)) as isize }
        }),
        PlainCall::Socket {
            domain,
            kind,
            protocol,
        } => uninterrupted(|| {
            // SAFETY: (K1) takes three numbers.
            unsafe { socket(domain, kind, protocol) as isize }
        }),
        PlainCall::Pipe { flags, ends } => {
            // SAFETY: (K1) the kernel writes two numbers that were lent.
            result(unsafe { pipe2(ends.cast(), flags) as isize })
        }
        PlainCall::Bind { addr, addr_len, .. } => uninterrupted(|| {
            // SAFETY: (K1) the kernel reads an address that was lent.
            unsafe { libc::bind(fd, addr.cast(), addr_len) as isize }
        }),
        PlainCall::Listen { backlog, .. } => uninterrupted(|| {
            // SAFETY: (K1) takes two numbers.
            unsafe { libc::listen(fd, backlog) as isize }
        }),
        PlainCall::SetOption {
            level,
            name,
            value,
            len,
            ..
        } => uninterrupted(|| {
            // SAFETY: (K1) the kernel reads `len` bytes that were lent.
            unsafe { libc::setsockopt(fd, level, name, value.cast(), len) as isize }
        }),
        PlainCall::GetOption {
            level,
            name,
            value,
            len,
            ..
        } => uninterrupted(|| {
            let mut len = len;
            // SAFETY: (K1) the kernel writes at most `len` bytes that were lent, and a local.
            let got = unsafe { libc::getsockopt(fd, level, name, value.cast(), &raw mut len) };
            if got < 0 { -1 } else { len as isize }
        }),
        PlainCall::FutexWake { call, count } => futex::wake(call, count),
    }
}

#[cfg(target_vendor = "apple")]
use self::apple::{pipe2, socket};

/// What Apple has no flags for: a process that another thread forks between the calls, and that
/// calls exec, inherits what was made.
#[cfg(target_vendor = "apple")]
mod apple {
    use crate::sys::options::kind::{CLOEXEC, NONBLOCK};
    use libc::c_int;

    /// As pipe2(2).
    ///
    /// # Safety
    /// As pipe(2).
    pub(super) unsafe fn pipe2(ends: *mut c_int, flags: c_int) -> c_int {
        // SAFETY: (K1) the caller's contract.
        let made = unsafe { libc::pipe(ends) };
        if made == 0 {
            for end in [ends, ends.wrapping_add(1)] {
                // SAFETY: (K1) the call has written both.
                let end = unsafe { *end };
                set(
                    end,
                    flags & libc::O_CLOEXEC != 0,
                    flags & libc::O_NONBLOCK != 0,
                );
            }
        }
        made
    }

    /// As socket(2), with the flags of [`kind`](crate::sys::options::kind); no send raises
    /// `SIGPIPE`.
    ///
    /// # Safety
    /// None is asked for.
    pub(super) unsafe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        let plain = kind & !(CLOEXEC | NONBLOCK);
        // SAFETY: (K1) takes numbers.
        let made = unsafe { libc::socket(domain, plain, protocol) };
        if made >= 0 {
            set(made, kind & CLOEXEC != 0, kind & NONBLOCK != 0);
            // SAFETY: (K1) takes numbers.
            unsafe { libc::fcntl(made, libc::F_SETNOSIGPIPE, 1) };
        }
        made
    }

    /// Sets flags of a new descriptor: that does not fail.
    fn set(fd: c_int, cloexec: bool, non_blocking: bool) {
        if cloexec {
            // SAFETY: (K1) takes numbers.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        if non_blocking {
            // SAFETY: (K1) takes numbers.
            unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
        }
    }
}

/// Makes a call until no signal interrupts it.
pub(crate) fn uninterrupted(mut call: impl FnMut() -> isize) -> i32 {
    loop {
        match result(call()) {
            error if error == -libc::EINTR => {}
            result => return result,
        }
    }
}

/// What a call returned, or its error number, negated.
pub(crate) fn result(returned: isize) -> i32 {
    if returned < 0 {
        -io::Error::last_os_error()
            .raw_os_error()
            .expect("the error of a call has a number")
    } else {
        i32::try_from(returned).expect("I28: lengths are clamped to 31 bits")
    }
}
