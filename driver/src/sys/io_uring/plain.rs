//! What never waits.

use super::encode::{address, bits, directed};
use super::futex;
use super::inline::Opcodes;
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::PlainCall;
use crate::sys::shutdown_how;
use linux_raw_sys::io_uring::{io_uring_op as op, io_uring_socket_op as command};

/// The entry of a call; none if it is to be made in place: the kernel has no entry for it, or none
/// that says the same.
///
/// Options of plain descriptors are set and asked for in place: the command of the kernel says
/// `EOPNOTSUPP` for files that are no sockets, success for some devices, and `EOPNOTSUPP` to
/// whoever asks for an option above the level of sockets (seen on 6.18). Fixed ones have no other
/// way.
#[inline(always)]
pub(super) fn encode(call: PlainCall, opcodes: &Opcodes) -> Option<Sqe> {
    let sqe = match call {
        PlainCall::Shutdown { target, how } => Sqe {
            len: bits(shutdown_how(how)),
            ..directed(op::IORING_OP_SHUTDOWN, target)
        },
        PlainCall::Socket {
            domain,
            kind,
            protocol,
        } => Sqe {
            off: u64::from(bits(kind)),
            len: bits(protocol),
            ..directed(op::IORING_OP_SOCKET, Target::Plain(domain))
        },
        PlainCall::Pipe { flags, ends } => Sqe {
            addr: address(ends),
            op_flags: bits(flags),
            ..directed(op::IORING_OP_PIPE, Target::Plain(0))
        },
        PlainCall::Bind {
            target,
            addr,
            addr_len,
        } => Sqe {
            addr: address(addr),
            off: u64::from(addr_len),
            ..directed(op::IORING_OP_BIND, target)
        },
        PlainCall::Listen { target, backlog } => Sqe {
            len: bits(backlog),
            ..directed(op::IORING_OP_LISTEN, target)
        },
        PlainCall::SetOption {
            target: target @ Target::Fixed(_),
            level,
            name,
            value,
            len,
        } if opcodes.has_socket_options() => Sqe {
            addr: halves(bits(level), bits(name)),
            addr3: address(value),
            file_index: len,
            ..socket_command(command::SOCKET_URING_OP_SETSOCKOPT, target)
        },
        PlainCall::GetOption {
            target: target @ Target::Fixed(_),
            level: level @ libc::SOL_SOCKET,
            name,
            value,
            len,
        } if opcodes.has_socket_options() => Sqe {
            addr: halves(bits(level), bits(name)),
            addr3: address(value),
            file_index: len,
            ..socket_command(command::SOCKET_URING_OP_GETSOCKOPT, target)
        },
        PlainCall::FutexWake { call, count } => futex::wake(call, count),
        PlainCall::SetOption { .. } | PlainCall::GetOption { .. } => return None,
    };
    opcodes.has(sqe.opcode).then_some(sqe)
}

fn socket_command(command: command, target: Target) -> Sqe {
    Sqe {
        off: halves(command as u32, 0),
        ..directed(op::IORING_OP_URING_CMD, target)
    }
}

/// Two fields of 32 bits that lie where most operations have one of 64.
fn halves(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}
