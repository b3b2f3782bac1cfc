//! What more than one family of platforms has in the same form.
#![allow(unsafe_code, reason = "makes the calls")]

#[cfg(any(epoll, libkqueue, target_os = "freebsd"))]
use crate::op::space::Advice;
use crate::sys::message::RawMessage;
use crate::sys::plain::uninterrupted;
use std::ffi::c_char;
use std::os::fd::RawFd;

/// Opens `path`, relative to `dir`.
///
/// # Safety
/// `path` ends with a zero.
pub(crate) unsafe fn open(dir: RawFd, path: *const c_char, flags: i32, mode: u32) -> i32 {
    // SAFETY: (W1) the caller's contract.
    uninterrupted(|| unsafe { libc::openat(dir, path, flags, mode) as isize })
}

pub(crate) fn sync(fd: RawFd) -> i32 {
    // SAFETY: (K1) takes a number.
    uninterrupted(|| unsafe { libc::fsync(fd) as isize })
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn sync_data(fd: RawFd) -> i32 {
    // SAFETY: (K1) takes a number.
    uninterrupted(|| unsafe { libc::fdatasync(fd) as isize })
}

/// Takes advice about a range of a file.
#[cfg(any(epoll, libkqueue, target_os = "freebsd"))]
pub(crate) fn advise(fd: RawFd, advice: Advice, offset: libc::off_t, len: libc::off_t) -> i32 {
    // It returns its error.
    // SAFETY: (K1) takes numbers.
    -unsafe { libc::posix_fadvise(fd, offset, len, crate::sys::file::advice(advice)) }
}

/// Receives a message; descriptors that it brings are close-on-exec if the flags say so. It may be
/// interrupted.
///
/// # Safety
/// `msg` describes memory that can be written.
pub(crate) unsafe fn recv_message(fd: RawFd, msg: *mut RawMessage, flags: i32) -> isize {
    // SAFETY: (D1) the caller's contract.
    unsafe { libc::recvmsg(fd, msg, flags) }
}

/// A new connection; close-on-exec, and it blocks.
///
/// # Safety
/// The address and its length can be written, and the length says how much room there is.
#[cfg(not(target_vendor = "apple"))]
pub(crate) unsafe fn accept(
    fd: RawFd,
    addr: *mut libc::sockaddr,
    addr_len: *mut libc::socklen_t,
) -> i32 {
    uninterrupted(|| {
        // SAFETY: (D1) the caller's contract.
        unsafe { libc::accept4(fd, addr, addr_len, libc::SOCK_CLOEXEC) as isize }
    })
}

/// Sees to it that no write raises `SIGPIPE`: flags of the calls do, or the thread that makes them.
#[cfg(not(target_vendor = "apple"))]
#[inline]
pub(crate) fn silence(_fd: RawFd) {}
