//! macOS and the BSDs.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Has;
#[cfg(target_vendor = "apple")]
use super::apple::rename_as;
#[cfg(target_vendor = "apple")]
pub(crate) use super::apple::{
    accept, advise, allocate, open, recv_message, silence, sync, sync as sync_data, without_sigpipe,
};
#[cfg(target_os = "freebsd")]
pub(crate) use super::unix::advise;
#[cfg(not(target_vendor = "apple"))]
pub(crate) use super::unix::{accept, open, recv_message, silence, sync, sync_data};
#[cfg(target_vendor = "apple")]
pub(crate) use super::xattr::{get_path_xattr, get_xattr, set_path_xattr, set_xattr};
#[cfg(not(any(target_vendor = "apple", target_os = "freebsd")))]
use crate::op::space::Advice;
#[cfg(not(target_vendor = "apple"))]
use crate::op::space::Space;
use crate::sys::file::RawMetadata;
use crate::sys::name_flags;
use crate::sys::plain::{result, uninterrupted};
use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;

pub(crate) const HAS: Has = Has {
    direct: cfg!(not(target_os = "openbsd")),
    splice: false,
    sync_range: false,
    allocate: cfg!(any(target_vendor = "apple", target_os = "freebsd")),
    advise: cfg!(any(target_vendor = "apple", target_os = "freebsd")),
    xattrs: cfg!(target_vendor = "apple"),
    futexes: false,
    unblocked_streams: false,
    send_flags: cfg!(not(target_vendor = "apple")),
};

/// Flags of receives whose data stand in no stream.
pub(crate) const ASIDE: i32 = libc::MSG_OOB;

/// [preadv(2)](https://man.freebsd.org/cgi/man.cgi?query=preadv&sektion=2), which takes no flags.
///
/// # Safety
/// `places` are `count` places of memory that can be written.
pub(crate) unsafe fn read_at(
    fd: RawFd,
    places: *const libc::iovec,
    count: c_int,
    offset: libc::off_t,
    flags: i32,
) -> i32 {
    if flags != 0 {
        return -libc::EOPNOTSUPP;
    }
    // SAFETY: (W1) the caller's contract.
    uninterrupted(|| unsafe { libc::preadv(fd, places, count, offset) })
}

/// [pwritev(2)](https://man.freebsd.org/cgi/man.cgi?query=pwritev&sektion=2), which takes no flags.
///
/// # Safety
/// `places` are `count` places of memory that can be read.
pub(crate) unsafe fn write_at(
    fd: RawFd,
    places: *const libc::iovec,
    count: c_int,
    offset: libc::off_t,
    flags: i32,
) -> i32 {
    if flags != 0 {
        return -libc::EOPNOTSUPP;
    }
    // SAFETY: (W1) the caller's contract.
    uninterrupted(|| unsafe { libc::pwritev(fd, places, count, offset) })
}

/// There is no such call: the descriptor's mode decides, or a poll.
///
/// # Safety
/// None is asked for.
pub(crate) unsafe fn read_unblocked(
    _fd: RawFd,
    _places: *const libc::iovec,
    _count: c_int,
) -> Option<i32> {
    None
}

/// As [`read_unblocked`].
///
/// # Safety
/// None is asked for.
pub(crate) unsafe fn write_unblocked(
    _fd: RawFd,
    _places: *const libc::iovec,
    _count: c_int,
) -> Option<i32> {
    None
}

pub(crate) fn sync_range(_fd: RawFd, _offset: libc::off_t, _len: u32, _flags: u32) -> i32 {
    -libc::EOPNOTSUPP
}

/// [posix_fallocate(2)](https://man.freebsd.org/cgi/man.cgi?query=posix_fallocate): it knows one
/// way.
#[cfg(target_os = "freebsd")]
pub(crate) fn allocate(
    fd: RawFd,
    space: Space,
    keep_size: bool,
    offset: libc::off_t,
    len: libc::off_t,
) -> i32 {
    if space != Space::Reserve || keep_size {
        return -libc::EOPNOTSUPP;
    }
    loop {
        // It returns its error.
        // SAFETY: (K1) takes numbers.
        match -unsafe { libc::posix_fallocate(fd, offset, len) } {
            error if error == -libc::EINTR => {}
            result => return result,
        }
    }
}

#[cfg(not(any(target_vendor = "apple", target_os = "freebsd")))]
pub(crate) fn allocate(
    _fd: RawFd,
    _space: Space,
    _keep_size: bool,
    _offset: libc::off_t,
    _len: libc::off_t,
) -> i32 {
    -libc::EOPNOTSUPP
}

#[cfg(not(any(target_vendor = "apple", target_os = "freebsd")))]
pub(crate) fn advise(_fd: RawFd, _advice: Advice, _offset: libc::off_t, _len: libc::off_t) -> i32 {
    -libc::EOPNOTSUPP
}

/// What is known of an open file.
///
/// # Safety
/// `to` can be written.
pub(crate) unsafe fn stat(fd: RawFd, to: *mut RawMetadata) -> i32 {
    // SAFETY: (W1) the caller's contract: one `stat` is written.
    uninterrupted(|| unsafe { libc::fstat(fd, to.cast()) as isize })
}

/// What is known of `path`, relative to `dir`.
///
/// # Safety
/// `path` ends with a zero; `to` can be written.
pub(crate) unsafe fn stat_at(
    dir: RawFd,
    path: *const c_char,
    flags: i32,
    to: *mut RawMetadata,
) -> i32 {
    // SAFETY: (W1) the caller's contract: there is one byte at least.
    if flags & name_flags::EMPTY_PATH != 0 && unsafe { *path } == 0 {
        // SAFETY: (W1) the caller's contract.
        return unsafe { stat(dir, to) };
    }
    let flags = flags & !name_flags::EMPTY_PATH;
    // SAFETY: (W1) the caller's contract: one `stat` is written.
    uninterrupted(|| unsafe { libc::fstatat(dir, path, to.cast(), flags) as isize })
}

/// Called once: after an interruption nobody knows whether it was done.
///
/// # Safety
/// Both paths end with a zero.
pub(crate) unsafe fn rename(
    dirs: [RawFd; 2],
    from: *const c_char,
    to: *const c_char,
    flags: u32,
) -> i32 {
    if flags == 0 {
        // SAFETY: (W1) the caller's contract.
        return result(unsafe { libc::renameat(dirs[0], from, dirs[1], to) } as isize);
    }
    // SAFETY: (W1) the caller's contract.
    unsafe { rename_as(dirs, from, to, flags) }
}

/// Nothing but a plain rename is known.
///
/// # Safety
/// None is asked for.
#[cfg(not(target_vendor = "apple"))]
unsafe fn rename_as(_: [RawFd; 2], _: *const c_char, _: *const c_char, _: u32) -> i32 {
    -libc::EINVAL
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) use self::no_xattr::*;

/// They have other names there, and no flags.
#[cfg(not(target_vendor = "apple"))]
mod no_xattr {
    use super::*;

    /// # Safety
    /// None is asked for.
    pub(crate) unsafe fn get_xattr(_: RawFd, _: *const c_char, _: *mut u8, _: u32) -> i32 {
        -libc::EOPNOTSUPP
    }

    /// # Safety
    /// None is asked for.
    pub(crate) unsafe fn set_xattr(
        _: RawFd,
        _: *const c_char,
        _: *const u8,
        _: u32,
        _: i32,
    ) -> i32 {
        -libc::EOPNOTSUPP
    }

    /// # Safety
    /// None is asked for.
    pub(crate) unsafe fn get_path_xattr(
        _: *const c_char,
        _: *const c_char,
        _: *mut u8,
        _: u32,
    ) -> i32 {
        -libc::EOPNOTSUPP
    }

    /// # Safety
    /// None is asked for.
    pub(crate) unsafe fn set_path_xattr(
        _: *const c_char,
        _: *const c_char,
        _: *const u8,
        _: u32,
        _: i32,
    ) -> i32 {
        -libc::EOPNOTSUPP
    }
}

/// It may be interrupted.
///
/// # Safety
/// `ptr` points to `room` bytes that the kernel may write.
pub(crate) unsafe fn recv(fd: RawFd, ptr: *mut u8, room: usize, flags: i32) -> isize {
    // SAFETY: (K1) the caller's contract.
    unsafe { libc::recv(fd, ptr.cast(), room, flags) }
}

/// It may be interrupted.
///
/// # Safety
/// `ptr` points to `len` bytes that the kernel may read.
pub(crate) unsafe fn send(fd: RawFd, ptr: *const u8, len: usize, flags: i32) -> isize {
    // SAFETY: (K1) the caller's contract.
    unsafe { libc::send(fd, ptr.cast(), len, flags) }
}

/// Whether an error of a second connect says that the first has succeeded.
pub(crate) fn is_connected(error: i32) -> bool {
    error == -libc::EISCONN
}

/// Whether a read that has taken as many bytes as were reported has emptied a socket: a stream.
pub(crate) fn empties(option: impl Fn(i32, i32) -> Result<i32, i32>) -> bool {
    option(libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
}

/// Nothing does.
pub(crate) fn parts_records(_level: i32, _name: i32) -> bool {
    false
}

/// Makes a call that may raise `SIGPIPE`, which goes to the thread that makes it: it is blocked
/// meanwhile, and taken away if it came.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn without_sigpipe(_fd: RawFd, call: impl FnOnce() -> i32) -> i32 {
    super::sigpipe::block(call, |set| {
        if super::sigpipe::is_pending() {
            let mut signal = 0;
            // SAFETY: (K1) reads a local, writes another; it waits for this thread.
            unsafe { libc::sigwait(set, &raw mut signal) };
        }
    })
}

pub(crate) fn splice(
    _fds: [RawFd; 2],
    _offsets: [Option<i64>; 2],
    _len: usize,
    _more: bool,
    _tee: bool,
) -> i32 {
    -libc::EOPNOTSUPP
}
