//! What the tests have on Unix.

use super::Temp;
use std::fs;

/// Error numbers.
pub(crate) mod code {
    /// Of a write to a file that was opened for reading.
    pub(crate) use libc::EBADF as NOT_FOR_WRITING;
    /// Of a datagram that nobody takes.
    pub(crate) use libc::ECONNREFUSED as NOBODY;
    /// Of a send to a peer that is gone.
    pub(crate) use libc::EPIPE as NO_PEER;
    pub(crate) use libc::{
        EADDRINUSE, EAGAIN, ECANCELED, ECONNREFUSED, ECONNRESET, EMSGSIZE, ENETUNREACH, ENOTCONN,
    };
}

/// Kills a child, which was not waited for.
pub(crate) fn kill(pid: u32) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: touches no memory.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// How many files, pipes and sockets of this process are open.
pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many descriptors of this process are open on `temp`; other tests open others meanwhile.
pub(crate) fn open_on(temp: &Temp) -> usize {
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    fds.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to == temp.0))
        .count()
}
