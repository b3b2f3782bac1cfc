//! Sockets.

use super::control::poll_mask;
use super::encode::{address, bits, directed, opcode};
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::SocketCall;
use crate::sys::{poll_events, process};
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

/// The kernel ignores wake-ups that are of interest for `POLLPRI` alone (seen on 6.18): sockets wake for
/// `POLLRDBAND` too, always with both.
const fn band_of(events: u16) -> u16 {
    if events & poll_events::PRI != 0 {
        poll_events::RDBAND
    } else {
        0
    }
}

/// What stands in for an opcode that the kernel lacks, if something does: before Linux 6.7 a child's
/// descriptor is polled, and the operation's `finish` asks what became of it.
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
