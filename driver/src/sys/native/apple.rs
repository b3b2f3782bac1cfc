//! What Apple does in other ways than the BSDs, or in more than one call.
#![allow(unsafe_code, reason = "makes the calls")]

use super::unix;
use crate::op::space::{Advice, Space};
use crate::sys::message::RawMessage;
use crate::sys::plain::{result, uninterrupted};
use crate::sys::{name_flags, open_flags};
use std::ffi::{c_char, c_int};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// As [`unix::open`]; past the cache by `F_NOCACHE`.
///
/// # Safety
/// `path` ends with a zero.
pub(crate) unsafe fn open(dir: RawFd, path: *const c_char, flags: i32, mode: u32) -> i32 {
    // SAFETY: (W1) the caller's contract.
    let fd = unsafe { unix::open(dir, path, flags & !open_flags::DIRECT, mode) };
    if fd < 0 || flags & open_flags::DIRECT == 0 {
        return fd;
    }
    // SAFETY: (K1) takes numbers.
    let told = result(unsafe { libc::fcntl(fd, libc::F_NOCACHE, 1) } as isize);
    if told < 0 {
        // SAFETY: (R1) the call has just made it, and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        return told;
    }
    fd
}

/// `fsync` leaves the data in the drive's cache. `F_FULLFSYNC` does not; file systems that know no
/// such thing have `fsync`.
pub(crate) fn sync(fd: RawFd) -> i32 {
    // SAFETY: (K1) takes numbers.
    let full = uninterrupted(|| unsafe { libc::fcntl(fd, libc::F_FULLFSYNC) as isize });
    if full != -libc::ENOTSUP && full != -libc::ENOTTY && full != -libc::EINVAL {
        return full;
    }
    unix::sync(fd)
}

/// Receives a message; descriptors that it brings are close-on-exec. It may be interrupted.
///
/// # Safety
/// `msg` describes memory that can be written.
pub(crate) unsafe fn recv_message(fd: RawFd, msg: *mut RawMessage, flags: i32) -> isize {
    // SAFETY: (D1) the caller's contract.
    let received = unsafe { unix::recv_message(fd, msg, flags) };
    if received >= 0 {
        // SAFETY: (D1) the call has just filled it.
        unsafe { close_on_exec(msg) };
    }
    received
}

/// Makes the descriptors of a message close-on-exec, which no flag does.
///
/// # Safety
/// `msg` was received.
unsafe fn close_on_exec(msg: *const RawMessage) {
    // SAFETY: (D1) the caller's contract.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(msg) };
    while !at.is_null() {
        // SAFETY: (D1) a head within the control data.
        let head = unsafe { at.read_unaligned() };
        if (head.cmsg_level, head.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: (D1) what follows a head.
            let data = unsafe { libc::CMSG_DATA(at) };
            // SAFETY: (K1) arithmetic on a number.
            let none = unsafe { libc::CMSG_LEN(0) };
            let bytes = head.cmsg_len.saturating_sub(none) as usize;
            for n in 0..bytes / size_of::<RawFd>() {
                let fd = data.cast::<RawFd>().wrapping_add(n);
                // SAFETY: (D1) within the message's data, as its head says.
                let fd = unsafe { fd.read_unaligned() };
                set_flags(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        // SAFETY: (D1) the caller's contract.
        at = unsafe { libc::CMSG_NXTHDR(msg, at) };
    }
}

/// As `unix::accept`. A process that another thread forks between the calls, and that calls exec,
/// inherits what was accepted.
///
/// # Safety
/// The address and its length can be written, and the length says how much room there is.
pub(crate) unsafe fn accept(
    fd: RawFd,
    addr: *mut libc::sockaddr,
    addr_len: *mut libc::socklen_t,
) -> i32 {
    uninterrupted(|| {
        // SAFETY: (D1) the caller's contract.
        let accepted = unsafe { libc::accept(fd, addr, addr_len) };
        if accepted >= 0 {
            set_flags(accepted, libc::F_SETFD, libc::FD_CLOEXEC);
            // It has the listener's mode.
            set_flags(accepted, libc::F_SETFL, 0);
            silence(accepted);
        }
        accepted as isize
    })
}

/// `F_PREALLOCATE`, which leaves the size alone, and `F_PUNCHHOLE` of
/// [fcntl(2)](https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/fcntl.2.html).
/// Space is reserved from the end of what there is: nothing else is to be had.
pub(crate) fn allocate(
    fd: RawFd,
    space: Space,
    keep_size: bool,
    offset: libc::off_t,
    len: libc::off_t,
) -> i32 {
    match space {
        Space::Reserve => reserve(fd, keep_size, offset.saturating_add(len)),
        Space::PunchHole => {
            let mut hole = libc::fpunchhole_t {
                fp_flags: 0,
                reserved: 0,
                fp_offset: offset,
                fp_length: len,
            };
            uninterrupted(|| {
                // SAFETY: (K1) the kernel reads a local.
                unsafe { libc::fcntl(fd, libc::F_PUNCHHOLE, &raw mut hole) as isize }
            })
        }
        Space::Zero => -libc::EOPNOTSUPP,
    }
}

/// Reserves what a file lacks to have so many bytes.
fn reserve(fd: RawFd, keep_size: bool, end: libc::off_t) -> i32 {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: (K1) the kernel writes one `stat` to a local.
    let known = result(unsafe { libc::fstat(fd, stat.as_mut_ptr()) } as isize);
    if known < 0 {
        return known;
    }
    // SAFETY: (K1) the call succeeded: it has written all of it.
    let stat = unsafe { stat.assume_init() };
    let lacking = end - stat.st_blocks.saturating_mul(512).max(stat.st_size);
    if lacking > 0 {
        let mut wanted = libc::fstore_t {
            fst_flags: libc::F_ALLOCATEALL,
            fst_posmode: libc::F_PEOFPOSMODE,
            fst_offset: 0,
            fst_length: lacking,
            fst_bytesalloc: 0,
        };
        let reserved = uninterrupted(|| {
            // SAFETY: (K1) the kernel reads and writes a local.
            unsafe { libc::fcntl(fd, libc::F_PREALLOCATE, &raw mut wanted) as isize }
        });
        if reserved < 0 {
            return reserved;
        }
    }
    if keep_size || end <= stat.st_size {
        return 0;
    }
    // SAFETY: (K1) takes numbers.
    uninterrupted(|| unsafe { libc::ftruncate(fd, end) as isize })
}

/// `F_RDADVISE`, and `F_RDAHEAD` for all of the file; other advice is not taken.
pub(crate) fn advise(fd: RawFd, advice: Advice, offset: libc::off_t, len: libc::off_t) -> i32 {
    match advice {
        Advice::WillNeed => {
            let mut range = libc::radvisory {
                ra_offset: offset,
                ra_count: c_int::try_from(len).unwrap_or(c_int::MAX),
            };
            uninterrupted(|| {
                // SAFETY: (K1) the kernel reads a local.
                unsafe { libc::fcntl(fd, libc::F_RDADVISE, &raw mut range) as isize }
            })
        }
        Advice::Normal | Advice::Sequential | Advice::Random => {
            let ahead = c_int::from(advice != Advice::Random);
            uninterrupted(|| {
                // SAFETY: (K1) takes numbers.
                unsafe { libc::fcntl(fd, libc::F_RDAHEAD, ahead) as isize }
            })
        }
        Advice::NoReuse | Advice::DontNeed => 0,
    }
}

/// A rename with flags. Called once: after an interruption nobody knows whether it was done.
///
/// # Safety
/// Both paths end with a zero.
pub(super) unsafe fn rename_as(
    dirs: [RawFd; 2],
    from: *const c_char,
    to: *const c_char,
    flags: u32,
) -> i32 {
    let flags = match flags {
        name_flags::NO_REPLACE => libc::RENAME_EXCL,
        name_flags::EXCHANGE => libc::RENAME_SWAP,
        _ => return -libc::EINVAL,
    };
    // SAFETY: (W1) the caller's contract.
    result(unsafe { libc::renameatx_np(dirs[0], from, dirs[1], to, flags) } as isize)
}

/// Sets flags of a descriptor that is open: that does not fail.
fn set_flags(fd: RawFd, which: c_int, flags: c_int) {
    // SAFETY: (K1) takes numbers.
    unsafe { libc::fcntl(fd, which, flags) };
}

/// Sees to it that no write raises `SIGPIPE`: no flag of a send does, and the descriptor is told
/// (`F_SETNOSIGPIPE`, which is `SO_NOSIGPIPE` for a socket).
pub(crate) fn silence(fd: RawFd) {
    set_flags(fd, libc::F_SETNOSIGPIPE, 1);
}

/// Makes a call that may raise `SIGPIPE`: by [`silence`].
pub(crate) fn without_sigpipe(fd: RawFd, call: impl FnOnce() -> i32) -> i32 {
    silence(fd);
    call()
}
