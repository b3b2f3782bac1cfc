//! Names in the file system: plain calls on a worker thread, whatever the directory is, since a path
//! may lead anywhere.
//!
//! What changes something is called once: after an interruption nobody knows whether it did.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::file::{Work, result, uninterrupted};
use crate::local::Core;
use crate::op::call::PathCall;
use std::os::fd::RawFd;

/// Makes a call on names.
///
/// # Safety
/// (W1) As [`Work::perform`].
pub(super) unsafe fn perform([dir, second]: [RawFd; 2], call: PathCall) -> i32 {
    match call {
        PathCall::Open {
            path, flags, mode, ..
        } => uninterrupted(|| {
            // SAFETY: (W1) the kernel reads the path, which ends with a zero, and was lent.
            unsafe { libc::openat(dir, path, flags, mode) as isize }
        }),
        PathCall::Unlink { path, flags, .. } => {
            // SAFETY: (W1) the kernel reads the path, as above.
            result(unsafe { libc::unlinkat(dir, path, flags) as isize })
        }
        PathCall::Rename {
            from, to, flags, ..
        } => {
            // Not every C library has a function for it.
            let call = libc::SYS_renameat2;
            // SAFETY: (W1) the kernel reads both paths, as above.
            let returned = unsafe { libc::syscall(call, dir, from, second, to, flags) };
            result(-isize::from(returned < 0))
        }
        PathCall::MakeDir { path, mode, .. } => {
            // SAFETY: (W1) the kernel reads the path, as above.
            result(unsafe { libc::mkdirat(dir, path, mode) as isize })
        }
        PathCall::Symlink { text, path, .. } => {
            // SAFETY: (W1) the kernel reads the text and the path, as above.
            result(unsafe { libc::symlinkat(text, dir, path) as isize })
        }
        PathCall::HardLink {
            from, to, flags, ..
        } => {
            // SAFETY: (W1) the kernel reads both paths, as above.
            result(unsafe { libc::linkat(dir, from, second, to, flags) as isize })
        }
        PathCall::Stat {
            path, flags, to, ..
        } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { super::file::stat(dir, path, flags, to) }
        }
        PathCall::GetXattr {
            path,
            name,
            ptr,
            len,
        } => uninterrupted(|| {
            // SAFETY: (W1) the kernel reads path and name, as above, and writes at most `len` bytes
            // of the buffer that was lent.
            unsafe { libc::getxattr(path, name, ptr.cast(), len as usize) }
        }),
        PathCall::SetXattr {
            path,
            name,
            ptr,
            len,
            flags,
        } => {
            // SAFETY: (W1) the kernel reads path and name, as above, and `len` bytes of the buffer
            // that was lent.
            let set = unsafe { libc::setxattr(path, name, ptr.cast(), len as usize, flags) };
            result(set as isize)
        }
    }
}

impl Readiness {
    /// Starts a call on names.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn start_path(&mut self, core: &mut Core, index: u32, call: PathCall) {
        let [Some(first), Some(second)] = call.dirs().map(|dir| self.place(dir)) else {
            return self.complete(core, index, -libc::EBADF);
        };
        let dirs = [first.fd, second.fd];
        let files = [first.file, second.file];
        // SAFETY: (D1) the caller's contract; the words are the operation's own.
        unsafe { self.perform(core, index, Work::Path { dirs, call }, files, false) };
    }
}
