//! Names in the file system: plain calls on a worker thread, whatever the directory is, since a
//! path may lead anywhere.
//!
//! What changes something is called once: after an interruption nobody knows whether it did.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::file::{Work, result};
use crate::local::Core;
use crate::op::call::PathCall;
use crate::sys::keeper::Keeper as _;
use crate::sys::native;
use std::os::fd::RawFd;

/// Makes a call on names.
///
/// # Safety
/// (W1) As [`Work::perform`].
pub(super) unsafe fn perform([dir, second]: [RawFd; 2], call: PathCall) -> i32 {
    match call {
        PathCall::Open {
            path, flags, mode, ..
        } => {
            // SAFETY: (W1) the kernel reads the path, which ends with a zero, and was lent.
            unsafe { native::open(dir, path, flags, mode) }
        }
        PathCall::Unlink { path, flags, .. } => {
            // SAFETY: (W1) the kernel reads the path, as above.
            result(unsafe { libc::unlinkat(dir, path, flags) as isize })
        }
        PathCall::Rename {
            from, to, flags, ..
        } => {
            // SAFETY: (W1) the kernel reads both paths, as above.
            unsafe { native::rename([dir, second], from, to, flags) }
        }
        PathCall::MakeDir { path, mode, .. } => {
            // SAFETY: (W1) the kernel reads the path, as above.
            result(unsafe { libc::mkdirat(dir, path, permissions(mode)) as isize })
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
            unsafe { native::stat_at(dir, path, flags, to) }
        }
        PathCall::GetXattr {
            path,
            name,
            ptr,
            len,
        } => {
            // SAFETY: (W1) the kernel reads path and name, as above, and writes at most `len` bytes
            // of the buffer that was lent.
            unsafe { native::get_path_xattr(path, name, ptr, len) }
        }
        PathCall::SetXattr {
            path,
            name,
            ptr,
            len,
            flags,
        } => {
            // SAFETY: (W1) the kernel reads path and name, as above, and `len` bytes of the buffer
            // that was lent.
            unsafe { native::set_path_xattr(path, name, ptr, len, flags) }
        }
    }
}

/// The bits of a mode that a new directory may have, of the type that the platform has for them.
#[allow(clippy::useless_conversion, reason = "the type is another elsewhere")]
fn permissions(mode: u32) -> libc::mode_t {
    (mode & 0o7777).try_into().expect("twelve bits")
}

impl Readiness {
    /// Starts a call on names.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn start_path(&mut self, core: &mut Core, index: u32, call: PathCall) {
        let [Some(first), Some(second)] = call.dirs().map(|dir| self.resolved(dir)) else {
            return self.complete(core, index, -libc::EBADF);
        };
        let dirs = [first.fd, second.fd];
        let files = [first.file, second.file];
        // SAFETY: (D1) the caller's contract; the words are the operation's own.
        unsafe { self.perform(core, index, Work::Path { dirs, call }, files, false) };
    }
}
