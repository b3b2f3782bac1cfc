//! What never waits: plain calls in place.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use crate::op::call::PlainCall;
use crate::sys::plain;

impl Readiness {
    /// Makes the call; a negative result is an error number.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn perform_plain(&self, call: PlainCall) -> i32 {
        let fd = match call.target() {
            None => plain::NO_FD,
            Some(target) => match self.table.resolve(target) {
                Some((fd, _)) => fd,
                None => return -libc::EBADF,
            },
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { plain::perform(fd, call) }
    }
}
