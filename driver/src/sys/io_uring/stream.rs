//! What has no positions, and files where they are.

use super::encode::{address, directed};
use super::file::no_signal;
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::StreamCall;
use linux_raw_sys::io_uring::io_uring_op as op;

/// An offset of -1 is where the file is.
const HERE: u64 = u64::MAX;

#[inline(always)]
pub(super) fn encode(target: Target, call: StreamCall) -> Sqe {
    match call {
        StreamCall::Read { ptr, len } => Sqe {
            addr: address(ptr),
            len,
            off: HERE,
            ..directed(op::IORING_OP_READ, target)
        },
        StreamCall::Write { ptr, len } => Sqe {
            addr: address(ptr),
            len,
            off: HERE,
            op_flags: no_signal(),
            ..directed(op::IORING_OP_WRITE, target)
        },
        StreamCall::ReadVectored { places, count } => Sqe {
            addr: address(places),
            len: count,
            off: HERE,
            ..directed(op::IORING_OP_READV, target)
        },
        StreamCall::WriteVectored { places, count, .. } => Sqe {
            addr: address(places),
            len: count,
            off: HERE,
            op_flags: no_signal(),
            ..directed(op::IORING_OP_WRITEV, target)
        },
    }
}
