//! Linux.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Has;
pub(crate) use super::unix::{accept, advise, open, recv_message, silence, sync, sync_data};
pub(crate) use super::xattr::{get_path_xattr, get_xattr, set_path_xattr, set_xattr};
use crate::op::space::Space;
use crate::sys::file::{RawMetadata, STAT_MASK, allocate_mode};
use crate::sys::plain::{result, uninterrupted};
use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;
use std::ptr;

pub(crate) const HAS: Has = Has {
    direct: true,
    splice: true,
    sync_range: true,
    allocate: true,
    advise: true,
    xattrs: true,
    futexes: true,
    unblocked_streams: true,
    send_flags: true,
};

/// Flags of receives whose data stand in no stream.
pub(crate) const ASIDE: i32 = libc::MSG_OOB | libc::MSG_ERRQUEUE;

/// Linux 6.18.
const RWF_NOSIGNAL: i32 = 0x100;

/// [preadv2(2)](https://man7.org/linux/man-pages/man2/readv.2.html)
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
    // SAFETY: (W1) the caller's contract.
    uninterrupted(|| unsafe { libc::preadv2(fd, places, count, offset, flags) })
}

/// [pwritev2(2)](https://man7.org/linux/man-pages/man2/readv.2.html)
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
    // SAFETY: (W1) the caller's contract.
    uninterrupted(|| unsafe { libc::pwritev2(fd, places, count, offset, flags) })
}

/// Reads what has no positions, or says `EAGAIN`, whatever the descriptor's mode is. None: the
/// kernel cannot do that for this file.
///
/// # Safety
/// As [`read_at`].
pub(crate) unsafe fn read_unblocked(
    fd: RawFd,
    places: *const libc::iovec,
    count: c_int,
) -> Option<i32> {
    // SAFETY: (D1) the caller's contract.
    supported(unsafe { read_at(fd, places, count, HERE, libc::RWF_NOWAIT) })
}

/// The same of a write, which raises no `SIGPIPE`.
///
/// # Safety
/// As [`write_at`].
pub(crate) unsafe fn write_unblocked(
    fd: RawFd,
    places: *const libc::iovec,
    count: c_int,
) -> Option<i32> {
    const QUIET: i32 = libc::RWF_NOWAIT | RWF_NOSIGNAL;
    // SAFETY: (D1) the caller's contract.
    supported(unsafe { write_at(fd, places, count, HERE, QUIET) }).or_else(|| {
        // SAFETY: (D1) the caller's contract.
        let write = || unsafe { write_at(fd, places, count, HERE, libc::RWF_NOWAIT) };
        supported(without_sigpipe(fd, write))
    })
}

/// The current position.
const HERE: libc::off_t = -1;

fn supported(result: i32) -> Option<i32> {
    (result != -libc::EOPNOTSUPP && result != -libc::ENOSYS).then_some(result)
}

pub(crate) fn sync_range(fd: RawFd, offset: libc::off_t, len: u32, flags: u32) -> i32 {
    // SAFETY: (K1) takes numbers.
    uninterrupted(|| unsafe { libc::sync_file_range(fd, offset, len.into(), flags) as isize })
}

pub(crate) fn allocate(
    fd: RawFd,
    space: Space,
    keep_size: bool,
    offset: libc::off_t,
    len: libc::off_t,
) -> i32 {
    let mode = allocate_mode(space, keep_size);
    // SAFETY: (K1) takes numbers.
    uninterrupted(|| unsafe { libc::fallocate(fd, mode, offset, len) as isize })
}

/// What is known of an open file.
///
/// # Safety
/// `to` can be written.
pub(crate) unsafe fn stat(fd: RawFd, to: *mut RawMetadata) -> i32 {
    // SAFETY: (W1) the caller's contract; an empty path is a constant.
    unsafe { stat_at(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, to) }
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
    uninterrupted(|| {
        // SAFETY: (W1) the caller's contract: one `struct statx` is written.
        unsafe { libc::statx(dir, path, flags, STAT_MASK, to.cast()) as isize }
    })
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
    // Not every C library has a function for it.
    let call = libc::SYS_renameat2;
    // SAFETY: (W1) the caller's contract.
    let returned = unsafe { libc::syscall(call, dirs[0], from, dirs[1], to, flags) };
    result(-isize::from(returned < 0))
}

/// [recv(2)](https://man7.org/linux/man-pages/man2/recv.2.html) without the C library's
/// cancellation point: in a process with threads that costs it two atomic exchanges, for a call
/// that does not block. It may be interrupted.
///
/// # Safety
/// `ptr` points to `room` bytes that the kernel may write.
#[expect(clippy::cast_possible_truncation, reason = "Linux's `long` is a word")]
pub(crate) unsafe fn recv(fd: RawFd, ptr: *mut u8, room: usize, flags: i32) -> isize {
    let nobody = ptr::null_mut::<u8>();
    // SAFETY: (K1) the caller's contract; who sent it is not asked for.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, ptr, room, flags, nobody, nobody) as isize }
}

/// [send(2)](https://man7.org/linux/man-pages/man2/send.2.html) in the same way.
///
/// # Safety
/// `ptr` points to `len` bytes that the kernel may read.
#[expect(clippy::cast_possible_truncation, reason = "Linux's `long` is a word")]
pub(crate) unsafe fn send(fd: RawFd, ptr: *const u8, len: usize, flags: i32) -> isize {
    let nobody = ptr::null::<u8>();
    // SAFETY: (K1) the caller's contract; no address is given, of no length.
    unsafe { libc::syscall(libc::SYS_sendto, fd, ptr, len, flags, nobody, 0_usize) as isize }
}

/// Whether an error of a second connect says that the first has succeeded; Bluetooth in its own
/// words.
pub(crate) fn is_connected(error: i32) -> bool {
    error == -libc::EISCONN || error == -libc::EBADFD
}

/// Whether a short read has emptied a socket, but for an end or urgent data: a plain TCP stream.
/// One with a protocol on top (`TCP_ULP`) stops between its records.
pub(crate) fn empties(option: impl Fn(i32, i32) -> Result<i32, i32>) -> bool {
    option(libc::SOL_SOCKET, libc::SO_PROTOCOL) == Ok(libc::IPPROTO_TCP)
        && option(libc::IPPROTO_TCP, libc::TCP_ULP) == Ok(0)
}

/// Whether an option may put a protocol with records on top of a TCP stream.
pub(crate) fn parts_records(level: i32, name: i32) -> bool {
    (level, name) == (libc::IPPROTO_TCP, libc::TCP_ULP)
}

/// Makes a call that may raise `SIGPIPE`, which goes to the thread that makes it: it is blocked
/// meanwhile, and taken away if it came.
pub(crate) fn without_sigpipe(_fd: RawFd, call: impl FnOnce() -> i32) -> i32 {
    super::sigpipe::block(call, |set| {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        uninterrupted(|| {
            // SAFETY: (K1) reads two locals.
            let n = unsafe { libc::sigtimedwait(set, ptr::null_mut(), &raw const now) };
            n as isize
        });
    })
}

/// Moves at most `len` bytes from one to the other, of which one is a pipe, or copies them; it
/// never waits for a pipe.
pub(crate) fn splice(
    [from, to]: [RawFd; 2],
    [mut at, mut onto]: [Option<i64>; 2],
    len: usize,
    more: bool,
    tee: bool,
) -> i32 {
    let more = if more { libc::SPLICE_F_MORE } else { 0 };
    let flags = libc::SPLICE_F_NONBLOCK | more;
    if tee {
        return without_sigpipe(from, || {
            // SAFETY: (K1) takes numbers.
            uninterrupted(|| unsafe { libc::tee(from, to, len, flags) })
        });
    }
    let [at, onto] = [&mut at, &mut onto].map(|offset| match offset {
        Some(offset) => ptr::from_mut(offset),
        None => ptr::null_mut(),
    });
    without_sigpipe(from, || {
        uninterrupted(|| {
            // SAFETY: (K1) the kernel reads and writes two locals, where there are offsets.
            unsafe { libc::splice(from, at, to, onto, len, flags) }
        })
    })
}
