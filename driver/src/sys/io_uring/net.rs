//! Sockets.

use super::encode::{address, bits, directed};
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::SocketCall;
use linux_raw_sys::io_uring::io_uring_op as op;

/// Waits before the first try.
#[expect(clippy::cast_possible_truncation, reason = "the first of 16 bits")]
const POLL_FIRST: u16 = linux_raw_sys::io_uring::IORING_RECVSEND_POLL_FIRST as u16;

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
        SocketCall::SendTo {
            ptr,
            len,
            flags,
            addr,
            addr_len,
        } => Sqe {
            addr: address(ptr),
            len,
            op_flags: bits(flags),
            off: address(addr),
            file_index: first_half(addr_len),
            ..directed(op::IORING_OP_SEND, target)
        },
        SocketCall::SendMsg { msg, flags, .. } => Sqe {
            addr: address(msg),
            len: 1,
            op_flags: bits(flags),
            ..directed(op::IORING_OP_SENDMSG, target)
        },
        SocketCall::RecvMsg {
            msg,
            flags,
            control,
            ..
        } => Sqe {
            addr: address(msg),
            len: 1,
            op_flags: bits(flags),
            // A try that finds nothing may use up room for control data. With `MSG_DONTWAIT` there
            // is one try only.
            ioprio: if control && flags & libc::MSG_DONTWAIT == 0 {
                POLL_FIRST
            } else {
                0
            },
            ..directed(op::IORING_OP_RECVMSG, target)
        },
    }
}

/// A length of 16 bits, which lies in the first half of a field of 32: addresses are short.
#[inline(always)]
const fn first_half(len: u32) -> u32 {
    let [a, b, c, d] = len.to_le_bytes();
    let [e, f] = u16::from_le_bytes([a, b]).to_ne_bytes();
    debug_assert!(c == 0 && d == 0, "an address has at most 128 bytes");
    u32::from_ne_bytes([e, f, 0, 0])
}
