//! Sockets.

use super::control::poll_mask;
use super::encode::{address, bits, directed, opcode};
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::SocketCall;
use crate::sys::{poll_events, process};
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
        SocketCall::Poll { events } => Sqe {
            op_flags: poll_mask(events | band_of(events)),
            ..directed(op::IORING_OP_POLL_ADD, target)
        },
        SocketCall::WaitId { info, keep } => Sqe {
            len: process::P_PIDFD,
            off: address(info),
            file_index: bits(process::options(keep)),
            ..directed(op::IORING_OP_WAITID, target)
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

/// The kernel ignores wake-ups that are of interest for `POLLPRI` alone (seen on 6.18): sockets
/// wake for `POLLRDBAND` too, always with both.
const fn band_of(events: u16) -> u16 {
    if events & poll_events::PRI != 0 {
        poll_events::RDBAND
    } else {
        0
    }
}

/// What stands in for an opcode that the kernel lacks, if something does: before Linux 6.7 a
/// child's descriptor is polled, and the operation's `finish` asks what became of it.
#[cold]
pub(super) fn stand_in(sqe: &Sqe) -> Option<Sqe> {
    let polled = Sqe {
        opcode: opcode(op::IORING_OP_POLL_ADD),
        op_flags: poll_mask(poll_events::IN),
        len: 0,
        off: 0,
        file_index: 0,
        ..*sqe
    };
    (sqe.opcode == opcode(op::IORING_OP_WAITID)).then_some(polled)
}
