//! Between two descriptors.

use super::encode::directed;
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::SpliceCall;
use linux_raw_sys::io_uring::{SPLICE_F_FD_IN_FIXED, io_uring_op as op};

/// An offset of -1 is where the file is, or none.
const HERE: u64 = u64::MAX;

#[inline(always)]
pub(super) fn encode(call: SpliceCall) -> Sqe {
    let opcode = if call.tee {
        op::IORING_OP_TEE
    } else {
        op::IORING_OP_SPLICE
    };
    let (from, fixed) = match call.from {
        Target::Plain(fd) => (u32::from_ne_bytes(fd.to_ne_bytes()), 0),
        Target::Fixed(id) => (id, SPLICE_F_FD_IN_FIXED),
    };
    let more = if call.more { libc::SPLICE_F_MORE } else { 0 };
    // A tee has no offsets, and takes none.
    let [from_offset, to_offset] = if call.tee {
        [0, 0]
    } else {
        [call.from_offset, call.to_offset].map(|offset| offset.unwrap_or(HERE))
    };
    Sqe {
        addr: from_offset,
        off: to_offset,
        len: call.len,
        op_flags: more | fixed,
        file_index: from,
        ..directed(opcode, call.to)
    }
}
