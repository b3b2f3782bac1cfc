//! An operation in plain words as a submission entry; what the families share.
#![allow(unsafe_code, reason = "reads the caller's raw entry")]

use super::inline::Pushes;
use super::ring::Sqe;
use super::{control, file, futex, net, path, plain, splice, stream};
use crate::error::Refusal;
use crate::fd::Target;
use crate::key::Key;
use crate::op::call::Call;
use linux_raw_sys::io_uring as k;

/// An operation as a submission entry; none if it was put among the calls that are made in place.
///
/// # Safety
/// The entry of a `Call::Raw` can be read.
#[inline(always)]
pub(crate) unsafe fn encode(
    call: &Call,
    key: Key,
    pushes: &mut Pushes,
) -> Result<Option<Sqe>, Refusal> {
    let sqe = match *call {
        Call::Nop => control::nop(),
        Call::Timeout {
            spec,
            clock,
            absolute,
        } => control::timeout(spec, clock, absolute),
        Call::TimeoutUpdate { of, spec, absolute } => control::timeout_update(of, spec, absolute),
        Call::File { target, call } => file::encode(target, call),
        Call::Path(call) => path::encode(call)?,
        Call::Stream { target, call } => stream::encode(target, call),
        Call::Splice(call) => splice::encode(call),
        Call::Socket { target, call } => net::encode(target, call),
        Call::Plain(call) => match plain::encode(call, &pushes.opcodes) {
            Some(sqe) => sqe,
            None => return pushes.keep(call, key).map(|()| None),
        },
        Call::FutexWait { call, expected } => futex::wait(call, expected),
        Call::Close { target } => file::close(target),
        // SAFETY: (D2) the caller's contract.
        Call::Raw { entry } => unsafe { control::raw(entry) },
    };
    Ok(Some(Sqe {
        user_data: key.word(),
        ..sqe
    }))
}

/// An opcode as its byte.
pub(super) const fn opcode(op: k::io_uring_op) -> u8 {
    op as u8
}

/// An entry of `op` that is directed at `target`.
#[inline(always)]
pub(super) fn directed(op: k::io_uring_op, target: Target) -> Sqe {
    const FIXED_FILE: u8 = 1 << k::io_uring_sqe_flags_bit::IOSQE_FIXED_FILE_BIT as u8;
    let (fd, flags) = match target {
        Target::Plain(fd) => (fd, 0),
        Target::Fixed(id) => (fixed_fd(id), FIXED_FILE),
    };
    Sqe {
        opcode: opcode(op),
        fd,
        flags,
        ..Sqe::default()
    }
}

/// The id of a fixed descriptor where the kernel expects a descriptor; both are small numbers.
#[inline(always)]
pub(super) const fn fixed_fd(id: u32) -> i32 {
    i32::from_ne_bytes(id.to_ne_bytes())
}

/// Flags of the C library's type as the kernel's.
#[inline(always)]
pub(super) const fn bits(flags: i32) -> u32 {
    u32::from_ne_bytes(flags.to_ne_bytes())
}

/// An address as the kernel reads it. Its provenance is exposed: the kernel will use it.
#[inline(always)]
pub(super) fn address<T>(ptr: *const T) -> u64 {
    ptr.expose_provenance() as u64
}
