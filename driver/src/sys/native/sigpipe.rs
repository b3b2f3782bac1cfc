//! Calls that must not raise `SIGPIPE`, where it goes to the thread that makes them.
#![allow(unsafe_code, reason = "changes the thread's mask")]

use std::mem::MaybeUninit;
use std::ptr;

/// Makes a call that may raise `SIGPIPE` for the thread that makes it, which blocks the signal
/// meanwhile; `take` is to take it away, if it came.
pub(super) fn block(call: impl FnOnce() -> i32, take: impl FnOnce(*const libc::sigset_t)) -> i32 {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: (K1) fills a local.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: (K1) changes a local that was filled.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: (K1) reads a local, fills another.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) };
    // One that waited already is somebody else's.
    let waits = is_pending();
    let result = call();
    if result == -libc::EPIPE && !waits {
        take(set.as_ptr());
    }
    // SAFETY: (K1) reads a local that was filled.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

pub(super) fn is_pending() -> bool {
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: (K1) fills a local.
    unsafe { libc::sigpending(pending.as_mut_ptr()) };
    // SAFETY: (K1) reads a local that was filled.
    unsafe { libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1 }
}
