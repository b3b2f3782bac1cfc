//! Extended attributes, whose calls have the same names everywhere that has them.
#![allow(unsafe_code, reason = "makes the calls")]

use crate::sys::plain::{result, uninterrupted};
use std::ffi::c_char;
use std::os::fd::RawFd;

/// One that reads.
#[cfg(not(target_vendor = "apple"))]
macro_rules! get {
    ($call:ident($($argument:expr),*)) => { libc::$call($($argument),*) };
}
/// Apple's take a position, which is that of a resource fork, and flags.
#[cfg(target_vendor = "apple")]
macro_rules! get {
    ($call:ident($($argument:expr),*)) => { libc::$call($($argument),*, 0, 0) };
}

/// One that writes.
#[cfg(not(target_vendor = "apple"))]
macro_rules! set {
    ($call:ident($($argument:expr),*; $flags:expr)) => { libc::$call($($argument),*, $flags) };
}
/// Apple's take a position before the flags.
#[cfg(target_vendor = "apple")]
macro_rules! set {
    ($call:ident($($argument:expr),*; $flags:expr)) => { libc::$call($($argument),*, 0, $flags) };
}

/// # Safety
/// `name` ends with a zero; `ptr` points to `len` bytes that can be written.
pub(crate) unsafe fn get_xattr(fd: RawFd, name: *const c_char, ptr: *mut u8, len: u32) -> i32 {
    // SAFETY: (W1) the caller's contract.
    uninterrupted(|| unsafe { get!(fgetxattr(fd, name, ptr.cast(), len as usize)) })
}

/// Called once: after an interruption nobody knows whether it was done.
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
    let set = unsafe { set!(fsetxattr(fd, name, ptr.cast(), len as usize; flags)) };
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
    uninterrupted(|| unsafe { get!(getxattr(path, name, ptr.cast(), len as usize)) })
}

/// Called once, as [`set_xattr`].
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
    let set = unsafe { set!(setxattr(path, name, ptr.cast(), len as usize; flags)) };
    result(set as isize)
}
