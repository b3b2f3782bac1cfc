//! Sockets.

use super::encode::{address, bits, directed};
use super::ring::Sqe;
use crate::address::{RawAddress, RawAddressLen};
use crate::fd::Target;
use linux_raw_sys::io_uring::io_uring_op as op;

#[inline(always)]
pub(super) fn recv(target: Target, ptr: *mut u8, len: u32, flags: i32) -> Sqe {
    let op_flags = bits(flags);
    Sqe {
        addr: address(ptr),
        len,
        op_flags,
        ..directed(op::IORING_OP_RECV, target)
    }
}

#[inline(always)]
pub(super) fn send(target: Target, ptr: *const u8, len: u32, flags: i32) -> Sqe {
    let op_flags = bits(flags);
    Sqe {
        addr: address(ptr),
        len,
        op_flags,
        ..directed(op::IORING_OP_SEND, target)
    }
}

#[inline(always)]
pub(super) fn accept(target: Target, addr: *mut RawAddress, addr_len: *mut RawAddressLen) -> Sqe {
    Sqe {
        addr: address(addr),
        off: address(addr_len),
        op_flags: bits(libc::SOCK_CLOEXEC),
        ..directed(op::IORING_OP_ACCEPT, target)
    }
}

#[inline(always)]
pub(super) fn connect(target: Target, addr: *const RawAddress, addr_len: RawAddressLen) -> Sqe {
    Sqe {
        addr: address(addr),
        off: u64::from(addr_len),
        ..directed(op::IORING_OP_CONNECT, target)
    }
}
