//! Files.

use super::ring::Sqe;
use super::{address, bits, directed};
use crate::error::Refusal;
use crate::fd::Target;
use linux_raw_sys::io_uring::io_uring_op as op;
use std::ffi::c_char;

#[inline(always)]
pub(super) fn read(target: Target, ptr: *mut u8, len: u32, offset: u64) -> Sqe {
    Sqe {
        addr: address(ptr),
        len,
        off: offset,
        ..directed(op::IORING_OP_READ, target)
    }
}

#[inline(always)]
pub(super) fn write(target: Target, ptr: *const u8, len: u32, offset: u64) -> Sqe {
    Sqe {
        addr: address(ptr),
        len,
        off: offset,
        ..directed(op::IORING_OP_WRITE, target)
    }
}

#[inline(always)]
pub(super) fn open(
    dir: Target,
    path: *const c_char,
    flags: i32,
    mode: u32,
) -> Result<Sqe, Refusal> {
    if let Target::Fixed(_) = dir {
        return Err(Refusal::FixedDescriptor);
    }
    Ok(Sqe {
        addr: address(path),
        len: mode,
        op_flags: bits(flags),
        ..directed(op::IORING_OP_OPENAT, dir)
    })
}

#[inline(always)]
pub(super) fn close(target: Target) -> Sqe {
    match target {
        Target::Plain(_) => directed(op::IORING_OP_CLOSE, target),
        // A place of the table is named by its number plus one, and the entry has no file.
        Target::Fixed(id) => {
            let file_index = id.saturating_add(1);
            Sqe {
                file_index,
                ..directed(op::IORING_OP_CLOSE, Target::Plain(0))
            }
        }
    }
}
