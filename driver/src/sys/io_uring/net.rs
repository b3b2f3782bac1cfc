//! Sockets.

use super::control::poll_mask;
use super::encode::{address, bits, directed};
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::SocketCall;
use linux_raw_sys::io_uring::io_uring_op as op;

#[inline(always)]
pub(super) fn encode(target: Target, call: SocketCall) -> Sqe {
    match call {
        SocketCall::Recv { ptr, len, flags } => Sqe {
            addr: address(ptr),
            len,
            op_flags: bits(flags),
            ..directed(op::IORING_OP_RECV, target)
        },
        SocketCall::Send { ptr, len, flags } => Sqe {
            addr: address(ptr),
            len,
            op_flags: bits(flags),
            ..directed(op::IORING_OP_SEND, target)
        },
        SocketCall::Accept { addr, addr_len } => Sqe {
            addr: address(addr),
            off: address(addr_len),
            op_flags: bits(libc::SOCK_CLOEXEC),
            ..directed(op::IORING_OP_ACCEPT, target)
        },
        SocketCall::Connect { addr, addr_len } => Sqe {
            addr: address(addr),
            off: u64::from(addr_len),
            ..directed(op::IORING_OP_CONNECT, target)
        },
        SocketCall::Poll { events } => Sqe {
            op_flags: poll_mask(events),
            ..directed(op::IORING_OP_POLL_ADD, target)
        },
    }
}
