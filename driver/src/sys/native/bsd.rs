//! macOS and the BSDs.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Has;
use crate::op::space::{Advice, Space};
use crate::sys::file::RawMetadata;
use crate::sys::message::RawMessage;
use crate::sys::name_flags;
use crate::sys::plain::{result, uninterrupted};
use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;

pub(crate) const HAS: Has = Has {
    splice: false,
    sync_range: false,
    allocate: cfg!(any(target_vendor = "apple", target_os = "freebsd")),
    advise: cfg!(any(target_vendor = "apple", target_os = "freebsd")),
    xattrs: cfg!(target_vendor = "apple"),
    futexes: false,
    unblocked_streams: false,
    quiet_sends: cfg!(not(target_vendor = "apple")),
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

/// Apple's `fsync` leaves the data in the drive's cache. `F_FULLFSYNC` does not; file systems that know
/// no such thing have `fsync`.
pub(crate) fn sync(fd: RawFd) -> i32 {
    #[cfg(target_vendor = "apple")]
    {
        // SAFETY: (K1) takes numbers.
        let full = uninterrupted(|| unsafe { libc::fcntl(fd, libc::F_FULLFSYNC) as isize });
        if full != -libc::ENOTSUP && full != -libc::ENOTTY && full != -libc::EINVAL {
            return full;
        }
    }
    // SAFETY: (K1) takes a number.
    uninterrupted(|| unsafe { libc::fsync(fd) as isize })
}

pub(crate) fn sync_data(fd: RawFd) -> i32 {
    #[cfg(target_vendor = "apple")]
    {
        sync(fd)
    }
    #[cfg(not(target_vendor = "apple"))]
    {
        // SAFETY: (K1) takes a number.
        uninterrupted(|| unsafe { libc::fdatasync(fd) as isize })
    }
}

pub(crate) fn sync_range(_fd: RawFd, _offset: libc::off_t, _len: u32, _flags: u32) -> i32 {
    -libc::EOPNOTSUPP
}

/// [posix_fallocate(2)](https://man.freebsd.org/cgi/man.cgi?query=posix_fallocate): it knows one way.
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

/// `F_PREALLOCATE`, which leaves the size alone, and `F_PUNCHHOLE` of
/// [fcntl(2)](https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/fcntl.2.html).
/// Space is reserved from the end of what there is: nothing else is to be had.
#[cfg(target_vendor = "apple")]
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
#[cfg(target_vendor = "apple")]
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

#[cfg(target_os = "freebsd")]
pub(crate) fn advise(fd: RawFd, advice: Advice, offset: libc::off_t, len: libc::off_t) -> i32 {
    let advice = match advice {
        Advice::Normal => libc::POSIX_FADV_NORMAL,
        Advice::Sequential => libc::POSIX_FADV_SEQUENTIAL,
        Advice::Random => libc::POSIX_FADV_RANDOM,
        Advice::NoReuse => libc::POSIX_FADV_NOREUSE,
        Advice::WillNeed => libc::POSIX_FADV_WILLNEED,
        Advice::DontNeed => libc::POSIX_FADV_DONTNEED,
    };
    // It returns its error.
    // SAFETY: (K1) takes numbers.
    -unsafe { libc::posix_fadvise(fd, offset, len, advice) }
}

/// `F_RDADVISE`, and `F_RDAHEAD` for all of the file; other advice is not taken.
#[cfg(target_vendor = "apple")]
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
    #[cfg(target_vendor = "apple")]
    {
        let flags = match flags {
            name_flags::NO_REPLACE => libc::RENAME_EXCL,
            name_flags::EXCHANGE => libc::RENAME_SWAP,
            _ => return -libc::EINVAL,
        };
        // SAFETY: (W1) the caller's contract.
        result(unsafe { libc::renameatx_np(dirs[0], from, dirs[1], to, flags) } as isize)
    }
    #[cfg(not(target_vendor = "apple"))]
    {
        -libc::EINVAL
    }
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) use self::no_xattr::*;
#[cfg(target_vendor = "apple")]
pub(crate) use self::xattr::*;

#[cfg(target_vendor = "apple")]
mod xattr {
    use super::*;

    /// # Safety
    /// `name` ends with a zero; `ptr` points to `len` bytes that can be written.
    pub(crate) unsafe fn get_xattr(fd: RawFd, name: *const c_char, ptr: *mut u8, len: u32) -> i32 {
        // SAFETY: (W1) the caller's contract.
        uninterrupted(|| unsafe { libc::fgetxattr(fd, name, ptr.cast(), len as usize, 0, 0) })
    }

    /// Called once, as [`rename`].
    ///
    /// # Safety
    /// `name` ends with a zero; `ptr` points to `len` bytes.
    pub(crate) unsafe fn set_xattr(
        fd: RawFd,
        name: *const c_char,
        ptr: *const u8,
        len: u32,
        flags: i32,
    ) -> i32 {
        // SAFETY: (W1) the caller's contract.
        let set = unsafe { libc::fsetxattr(fd, name, ptr.cast(), len as usize, 0, flags) };
        result(set as isize)
    }

    /// # Safety
    /// As [`get_xattr`]; `path` ends with a zero.
    pub(crate) unsafe fn get_path_xattr(
        path: *const c_char,
        name: *const c_char,
        ptr: *mut u8,
        len: u32,
    ) -> i32 {
        // SAFETY: (W1) the caller's contract.
        uninterrupted(|| unsafe { libc::getxattr(path, name, ptr.cast(), len as usize, 0, 0) })
    }

    /// Called once, as [`rename`].
    ///
    /// # Safety
    /// As [`set_xattr`]; `path` ends with a zero.
    pub(crate) unsafe fn set_path_xattr(
        path: *const c_char,
        name: *const c_char,
        ptr: *const u8,
        len: u32,
        flags: i32,
    ) -> i32 {
        // SAFETY: (W1) the caller's contract.
        let set = unsafe { libc::setxattr(path, name, ptr.cast(), len as usize, 0, flags) };
        result(set as isize)
    }
}

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

/// Receives a message; descriptors that it brings are close-on-exec if the flags say so, and on Apple
/// always. It may be interrupted.
///
/// # Safety
/// `msg` describes memory that can be written.
pub(crate) unsafe fn recv_message(fd: RawFd, msg: *mut RawMessage, flags: i32) -> isize {
    // SAFETY: (D1) the caller's contract.
    let received = unsafe { libc::recvmsg(fd, msg, flags) };
    #[cfg(target_vendor = "apple")]
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
#[cfg(target_vendor = "apple")]
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
                // SAFETY: (D1) within the message's data, as its head says.
                let fd = unsafe { data.cast::<RawFd>().wrapping_add(n).read_unaligned() };
                set_flags(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        // SAFETY: (D1) the caller's contract.
        at = unsafe { libc::CMSG_NXTHDR(msg, at) };
    }
}

/// A new connection; close-on-exec, and it blocks.
///
/// # Safety
/// The address and its length can be written, and the length says how much room there is.
pub(crate) unsafe fn accept(
    fd: RawFd,
    addr: *mut libc::sockaddr,
    addr_len: *mut libc::socklen_t,
) -> i32 {
    uninterrupted(|| {
        #[cfg(not(target_vendor = "apple"))]
        // SAFETY: (D1) the caller's contract.
        unsafe {
            libc::accept4(fd, addr, addr_len, libc::SOCK_CLOEXEC) as isize
        }
        // A process that another thread forks between the calls, and that calls exec, inherits it.
        #[cfg(target_vendor = "apple")]
        {
            // SAFETY: (D1) the caller's contract.
            let accepted = unsafe { libc::accept(fd, addr, addr_len) };
            if accepted >= 0 {
                set_flags(accepted, libc::F_SETFD, libc::FD_CLOEXEC);
                // It has the listener's mode.
                set_flags(accepted, libc::F_SETFL, 0);
                silence(accepted);
            }
            accepted as isize
        }
    })
}

/// Sets flags of a descriptor that is open: that does not fail.
#[cfg(target_vendor = "apple")]
fn set_flags(fd: RawFd, which: c_int, flags: c_int) {
    // SAFETY: (K1) takes numbers.
    unsafe { libc::fcntl(fd, which, flags) };
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

/// Sees to it that no write raises `SIGPIPE`: on Apple no flag of a send does, and the descriptor is told
/// (`F_SETNOSIGPIPE`, which is `SO_NOSIGPIPE` for a socket).
pub(crate) fn silence(fd: RawFd) {
    #[cfg(target_vendor = "apple")]
    set_flags(fd, libc::F_SETNOSIGPIPE, 1);
    #[cfg(not(target_vendor = "apple"))]
    let _ = fd;
}

/// Makes a call that may raise `SIGPIPE`: by [`silence`] on Apple. Elsewhere it goes to the thread that
/// makes it: it is blocked meanwhile, and taken away if it came.
pub(crate) fn without_sigpipe(fd: RawFd, call: impl FnOnce() -> i32) -> i32 {
    silence(fd);
    #[cfg(target_vendor = "apple")]
    {
        call()
    }
    #[cfg(not(target_vendor = "apple"))]
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
