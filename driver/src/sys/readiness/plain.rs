//! What never waits: plain calls in place.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::file::uninterrupted;
use crate::fd::Target;
use crate::op::call::PlainCall;
use crate::sys::shutdown_how;
use std::os::fd::RawFd;

impl Readiness {
    /// Makes the call; a negative result is an error number.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn perform_plain(&self, call: PlainCall) -> i32 {
        match call {
            PlainCall::Shutdown { target, how } => self.on(target, |fd| {
                // SAFETY: (K1) takes two numbers.
                unsafe { libc::shutdown(fd, shutdown_how(how)) as isize }
            }),
        }
    }

    /// The result of a call on a descriptor.
    fn on(&self, target: Target, call: impl Fn(RawFd) -> isize) -> i32 {
        match self.table.resolve(target) {
            Some((fd, _)) => uninterrupted(|| call(fd)),
            None => -libc::EBADF,
        }
    }
}
