//! The plain system calls of what never waits, for every backend.
#![allow(unsafe_code, reason = "makes the calls")]

use super::{futex, shutdown_how};
use crate::op::call::PlainCall;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
use libc::pipe2;
use std::io;
use std::os::fd::RawFd;

/// For a call that is directed at no descriptor.
#[cfg(any(io_uring, readiness))]
pub(crate) const NO_FD: RawFd = -1;

/// Makes the call on `fd`, whatever descriptor it names itself; a negative result is an error number.
/// An option that was asked for gives its length in bytes.
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
            unsafe { libc::socket(domain, kind, protocol) as isize }
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

/// No backend makes pipes there yet: they are not close-on-exec.
///
/// # Safety
/// As pipe(2).
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
unsafe fn pipe2(ends: *mut libc::c_int, _flags: libc::c_int) -> libc::c_int {
    // SAFETY: (K1) the caller's contract.
    unsafe { libc::pipe(ends) }
}

/// Makes a call until no signal interrupts it.
pub(crate) fn uninterrupted(call: impl Fn() -> isize) -> i32 {
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
