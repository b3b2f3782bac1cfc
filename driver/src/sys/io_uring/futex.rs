//! Words of memory that threads wait for.

use super::encode::{address, bits, directed};
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::FutexCall;
use linux_raw_sys::io_uring::io_uring_op as op;

/// `FUTEX2_SIZE_U32`: the word has 32 bits.
const SIZE_U32: i32 = 2;
/// `FUTEX2_PRIVATE`: this process's own.
const PRIVATE: i32 = 128;

pub(super) fn wait(call: FutexCall, expected: u32) -> Sqe {
    on(op::IORING_OP_FUTEX_WAIT, call, expected)
}

pub(super) fn wake(call: FutexCall, count: i32) -> Sqe {
    on(op::IORING_OP_FUTEX_WAKE, call, bits(count))
}

/// The flags of the word stand where others have a descriptor.
fn on(op: op, call: FutexCall, value: u32) -> Sqe {
    let scope = if call.shared { 0 } else { PRIVATE };
    Sqe {
        addr: address(call.word),
        off: u64::from(value),
        addr3: u64::from(call.bits),
        ..directed(op, Target::Plain(SIZE_U32 | scope))
    }
}
