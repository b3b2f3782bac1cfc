//! Names in the file system.

use super::encode::{address, bits, directed};
use super::ring::Sqe;
use crate::error::Refusal;
use crate::fd::Target;
use crate::op::call::PathCall;
use linux_raw_sys::io_uring::io_uring_op as op;

/// Names are looked up from plain descriptors only.
#[inline(always)]
pub(super) fn encode(call: PathCall) -> Result<Sqe, Refusal> {
    if let Target::Fixed(_) = call.dir() {
        return Err(Refusal::FixedDescriptor);
    }
    Ok(match call {
        PathCall::Open {
            dir,
            path,
            flags,
            mode,
        } => Sqe {
            addr: address(path),
            len: mode,
            op_flags: bits(flags),
            ..directed(op::IORING_OP_OPENAT, dir)
        },
    })
}
