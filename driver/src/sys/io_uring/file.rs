//! Files.
#![allow(unsafe_code, reason = "one probe")]

use super::encode::{address, directed};
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::FileCall;
use linux_raw_sys::io_uring::io_uring_op as op;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// What makes a write to a pipe that nobody reads an error and no `SIGPIPE`: `RWF_NOSIGNAL` where
/// the kernel has it (6.18), else nothing. A fact about the kernel, so one for the process.
static NO_SIGNAL: AtomicU32 = AtomicU32::new(0);
const RWF_NOSIGNAL: i32 = 0x100;

/// Asks the kernel whether it has `RWF_NOSIGNAL`, by a write of one byte to a pipe of our own.
pub(super) fn probe_no_signal() -> io::Result<bool> {
    let mut fds = [-1; 2];
    // SAFETY: (K1) the kernel writes two descriptors to a local.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (U3) new, and nobody else knows them.
    let [_reader, writer] = fds.map(|fd| unsafe { File::from_raw_fd(fd) });
    let byte = libc::iovec {
        iov_base: (&raw const NO_SIGNAL).cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: (K1) the kernel reads one byte of a static.
    let n = unsafe { libc::pwritev2(writer.as_raw_fd(), &raw const byte, 1, -1, RWF_NOSIGNAL) };
    let has = n == 1;
    NO_SIGNAL.store(
        if has {
            super::encode::bits(RWF_NOSIGNAL)
        } else {
            0
        },
        Ordering::Relaxed,
    );
    Ok(has)
}

/// The flags of a write that raises no `SIGPIPE`.
#[inline(always)]
pub(super) fn no_signal() -> u32 {
    NO_SIGNAL.load(Ordering::Relaxed)
}

#[inline(always)]
pub(super) fn encode(target: Target, call: FileCall) -> Sqe {
    match call {
        FileCall::Read { ptr, len, offset } => Sqe {
            addr: address(ptr),
            len,
            off: offset,
            ..directed(op::IORING_OP_READ, target)
        },
        FileCall::Write { ptr, len, offset } => Sqe {
            addr: address(ptr),
            len,
            off: offset,
            op_flags: no_signal(),
            ..directed(op::IORING_OP_WRITE, target)
        },
    }
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
