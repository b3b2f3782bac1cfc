//! Entries of the driver's own, timeouts, and the exit for everything else.
#![allow(unsafe_code, reason = "reads the caller's raw entry")]

use super::encode::{address, directed, fixed_fd};
use super::key::Internal;
use super::ring::Sqe;
use crate::clock::Clock;
use crate::fd::Target;
use crate::key::Key;
use crate::op::Timespec;
use crate::op::call::Named;
use linux_raw_sys::io_uring::{self as k, io_uring_op as op};
use std::os::fd::RawFd;

const SKIP_SUCCESS: u8 = 1 << k::io_uring_sqe_flags_bit::IOSQE_CQE_SKIP_SUCCESS_BIT as u8;
const NO_FD: Target = Target::Plain(-1);

#[inline(always)]
pub(super) fn nop() -> Sqe {
    directed(op::IORING_OP_NOP, NO_FD)
}

#[inline(always)]
pub(super) fn timeout(spec: *const Timespec, clock: Clock, absolute: bool) -> Sqe {
    let clock = match clock {
        Clock::Boottime => k::IORING_TIMEOUT_BOOTTIME,
        Clock::Monotonic => 0,
        Clock::Realtime => k::IORING_TIMEOUT_REALTIME,
    };
    let absolute = if absolute { k::IORING_TIMEOUT_ABS } else { 0 };
    Sqe {
        addr: address(spec),
        len: 1, // One timespec.
        op_flags: clock | absolute,
        ..directed(op::IORING_OP_TIMEOUT, NO_FD)
    }
}

pub(super) fn timeout_update(of: Named, spec: *const Timespec, absolute: bool) -> Sqe {
    let absolute = if absolute { k::IORING_TIMEOUT_ABS } else { 0 };
    Sqe {
        addr: of.0.word(),
        off: address(spec),
        op_flags: k::IORING_TIMEOUT_UPDATE | absolute,
        ..directed(op::IORING_OP_TIMEOUT_REMOVE, NO_FD)
    }
}

/// The flag of an entry whose deadline is the next one.
pub(super) const LINKED: u8 = 1 << k::io_uring_sqe_flags_bit::IOSQE_IO_LINK_BIT as u8;

/// Cancels the operation before it when its time is over. Posts nothing, whichever of both is
/// first.
pub(super) fn deadline(spec: *const Timespec) -> Sqe {
    Sqe {
        addr: address(spec),
        len: 1, // One timespec.
        op_flags: k::IORING_TIMEOUT_BOOTTIME | k::IORING_TIMEOUT_ABS,
        flags: SKIP_SUCCESS,
        user_data: Internal::Deadline.key().word(),
        ..directed(op::IORING_OP_LINK_TIMEOUT, NO_FD)
    }
}

/// # Safety
/// The entry can be read.
#[inline(always)]
pub(super) unsafe fn raw(entry: *const [u8; 64]) -> Sqe {
    const { assert!(size_of::<Sqe>() == 64) };
    // SAFETY: (D2) the caller's contract; any bytes are an entry.
    unsafe { entry.cast::<Sqe>().read_unaligned() }
}

/// Polls the notifier's descriptor, a completion each time it rings.
pub(super) fn poll(fd: RawFd) -> Sqe {
    Sqe {
        len: k::IORING_POLL_ADD_MULTI,
        op_flags: poll_mask(crate::sys::poll_events::IN),
        user_data: Internal::Doorbell.key().word(),
        ..directed(op::IORING_OP_POLL_ADD, Target::Plain(fd))
    }
}

/// The kernel reads the mask of a poll with its halves swapped on big-endian machines.
pub(super) const fn poll_mask(events: u16) -> u32 {
    let mask = events as u32;
    if cfg!(target_endian = "big") {
        mask.rotate_left(16)
    } else {
        mask
    }
}

/// Cancels every operation with this key; posts nothing when that works, nor when there is none.
pub(super) fn cancel_key(key: Key) -> Sqe {
    let mut sqe = cancel(NO_FD, k::IORING_ASYNC_CANCEL_ALL);
    sqe.addr = key.word();
    if planted!("cancel-shares-key") {
        sqe.user_data = key.word();
        sqe.flags = 0;
    }
    sqe
}

/// Cancels every operation on this descriptor.
pub(super) fn cancel_target(target: Target) -> Sqe {
    let fixed = match target {
        Target::Plain(_) => 0,
        Target::Fixed(_) => k::IORING_ASYNC_CANCEL_FD_FIXED,
    };
    // The fixed file is named by the flag of the cancellation, not by the entry's.
    let target = match target {
        Target::Plain(fd) => Target::Plain(fd),
        Target::Fixed(id) => Target::Plain(fixed_fd(id)),
    };
    cancel(
        target,
        k::IORING_ASYNC_CANCEL_ALL | k::IORING_ASYNC_CANCEL_FD | fixed,
    )
}

/// Cancels everything, the driver's own poll included.
pub(super) fn cancel_all() -> Sqe {
    cancel(
        NO_FD,
        k::IORING_ASYNC_CANCEL_ALL | k::IORING_ASYNC_CANCEL_ANY,
    )
}

fn cancel(target: Target, flags: u32) -> Sqe {
    Sqe {
        flags: SKIP_SUCCESS,
        op_flags: flags,
        user_data: Internal::Cancel.key().word(),
        ..directed(op::IORING_OP_ASYNC_CANCEL, target)
    }
}
