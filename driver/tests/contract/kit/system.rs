//! What each system has in its own way, for programs that use nothing else of the kit too.

#[cfg(not(any(target_os = "freebsd", target_os = "openbsd", target_os = "dragonfly")))]
pub(crate) use libc::ETIME;
/// They have no `ETIME`.
#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "dragonfly"))]
pub(crate) use libc::ETIMEDOUT as ETIME;

/// Some operations are of Linux alone, and some of its answers.
pub(crate) const IS_LINUX: bool = cfg!(target_os = "linux");
/// Of an option of TCP on a socket of Unix.
pub(crate) const NO_LEVEL: i32 = if IS_LINUX {
    libc::EOPNOTSUPP
} else {
    libc::EINVAL
};

/// Whether this is the thread that the process began with. Allocates nothing, and may be asked by
/// an allocator.
#[cfg(target_os = "linux")]
pub(crate) fn on_the_first_thread() -> bool {
    // SAFETY: takes nothing, and cannot fail.
    let thread = unsafe { libc::gettid() };
    // SAFETY: as above.
    thread == unsafe { libc::getpid() }
}

/// The same: threads are numbered from 1 on in each process.
#[cfg(target_os = "netbsd")]
pub(crate) fn on_the_first_thread() -> bool {
    // SAFETY: takes nothing, and cannot fail.
    unsafe { libc::_lwp_self() == 1 }
}

/// The same.
#[cfg(not(any(target_os = "linux", target_os = "netbsd")))]
pub(crate) fn on_the_first_thread() -> bool {
    // SAFETY: takes nothing, and cannot fail.
    unsafe { libc::pthread_main_np() != 0 }
}
