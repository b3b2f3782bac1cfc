//! Names in the file system: plain calls on a worker thread, whatever the directory is, since a path
//! may lead anywhere.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::file::{Place, Work, uninterrupted};
use crate::local::Core;
use crate::op::call::PathCall;
use std::os::fd::RawFd;

/// Makes a call on names.
///
/// # Safety
/// (W1) As [`Work::perform`].
pub(super) unsafe fn perform(dir: RawFd, call: PathCall) -> i32 {
    match call {
        PathCall::Open {
            path, flags, mode, ..
        } => uninterrupted(|| {
            // SAFETY: (W1) the kernel reads the path, which ends with a zero, and was lent.
            unsafe { libc::openat(dir, path, flags, mode) as isize }
        }),
    }
}

impl Readiness {
    /// Starts a call on names.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn start_path(&mut self, core: &mut Core, index: u32, call: PathCall) {
        let Some(Place { fd, file, .. }) = self.place(call.dir()) else {
            return self.complete(core, index, -libc::EBADF);
        };
        let work = Work::Path { dir: fd, call };
        // SAFETY: (D1) the caller's contract; the words are the operation's own.
        unsafe { self.perform(core, index, work, file, false) };
    }
}
