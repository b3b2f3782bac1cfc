//! What never waits.

use super::encode::{bits, directed};
use super::ring::Sqe;
use crate::op::call::PlainCall;
use crate::sys::shutdown_how;
use linux_raw_sys::io_uring::io_uring_op as op;

#[inline(always)]
pub(super) fn encode(call: PlainCall) -> Sqe {
    match call {
        PlainCall::Shutdown { target, how } => Sqe {
            len: bits(shutdown_how(how)),
            ..directed(op::IORING_OP_SHUTDOWN, target)
        },
    }
}
