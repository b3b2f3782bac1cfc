//! Names in the file system.

use super::encode::{address, bits, directed};
use super::file;
use super::ring::Sqe;
use crate::error::Refusal;
use crate::fd::Target;
use crate::op::call::PathCall;
use linux_raw_sys::io_uring::io_uring_op as op;

/// Names are looked up from plain descriptors only. A second directory stands where others have
/// their length.
#[inline(always)]
pub(super) fn encode(call: PathCall) -> Result<Sqe, Refusal> {
    let [dir, Target::Plain(second)] = call.dirs() else {
        return Err(Refusal::FixedDescriptor);
    };
    if let Target::Fixed(_) = dir {
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
        PathCall::Unlink { path, flags, .. } => Sqe {
            addr: address(path),
            op_flags: bits(flags),
            ..directed(op::IORING_OP_UNLINKAT, dir)
        },
        PathCall::Rename {
            from, to, flags, ..
        } => Sqe {
            addr: address(from),
            off: address(to),
            len: bits(second),
            op_flags: flags,
            ..directed(op::IORING_OP_RENAMEAT, dir)
        },
        PathCall::MakeDir { path, mode, .. } => Sqe {
            addr: address(path),
            len: mode,
            ..directed(op::IORING_OP_MKDIRAT, dir)
        },
        PathCall::Symlink { text, path, .. } => Sqe {
            addr: address(text),
            off: address(path),
            ..directed(op::IORING_OP_SYMLINKAT, dir)
        },
        PathCall::HardLink {
            from, to, flags, ..
        } => Sqe {
            addr: address(from),
            off: address(to),
            len: bits(second),
            op_flags: bits(flags),
            ..directed(op::IORING_OP_LINKAT, dir)
        },
        PathCall::Stat {
            path, flags, to, ..
        } => file::stat(dir, path, flags, to),
        PathCall::GetXattr {
            path,
            name,
            ptr,
            len,
        } => Sqe {
            addr: address(name),
            off: address(ptr),
            len,
            addr3: address(path),
            ..directed(op::IORING_OP_GETXATTR, dir)
        },
        PathCall::SetXattr {
            path,
            name,
            ptr,
            len,
            flags,
        } => Sqe {
            addr: address(name),
            off: address(ptr),
            len,
            addr3: address(path),
            op_flags: bits(flags),
            ..directed(op::IORING_OP_SETXATTR, dir)
        },
    })
}
