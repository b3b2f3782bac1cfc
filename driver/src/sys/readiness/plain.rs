//! What never waits: plain calls in place.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use crate::op::call::PlainCall;
use crate::sys::{native, plain};

impl Readiness {
    /// Makes the call; a negative result is an error number.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn perform_plain(&mut self, call: PlainCall) -> i32 {
        let fd = match call.target() {
            None => plain::NO_FD,
            Some(target) => match self.table.resolve(target) {
                Some((fd, slot)) => {
                    if let (Some(slot), true) = (slot, parts_records(call)) {
                        self.table[slot].distrust();
                    }
                    fd
                }
                None => return -libc::EBADF,
            },
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { plain::perform(fd, call) }
    }
}

/// Whether it may put a protocol with records on top of a TCP stream.
fn parts_records(call: PlainCall) -> bool {
    match call {
        PlainCall::SetOption { level, name, .. } => native::parts_records(level, name),
        PlainCall::Shutdown { .. }
        | PlainCall::Socket { .. }
        | PlainCall::Pipe { .. }
        | PlainCall::FutexWake { .. }
        | PlainCall::Bind { .. }
        | PlainCall::Listen { .. }
        | PlainCall::GetOption { .. } => false,
    }
}
