//! The exit for opcodes that are not modelled.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::Call;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::driver::{Entry, Fd};
use crate::error::Refusal;
use std::io;

/// A submission entry of the caller's own making, 64 bytes as in `struct io_uring_sqe`.
///
/// The driver replaces its user data and hands the rest to the kernel as it is. On other backends
/// it completes with [`Refusal::Unsupported`].
/// [io_uring_enter(2)](https://man7.org/linux/man-pages/man2/io_uring_enter.2.html)
///
/// ```
/// use completeio_driver::op::Raw;
/// // SAFETY: opcode 0 is a NOP: it touches no memory and posts one completion.
/// let op = unsafe { Raw::new([0; 64]) };
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Raw {
    head: OpHead,
    entry: [u8; 64],
}

impl Raw {
    /// An operation of the entry `entry`.
    ///
    /// # Safety
    /// What the entry points to stays valid until the operation's last completion. The entry posts
    /// completions as the kernel documents, exactly one of them without `IORING_CQE_F_MORE`: it
    /// sets no `IOSQE_CQE_SKIP_SUCCESS`, nor `IOSQE_IO_LINK`, `IOSQE_IO_HARDLINK` or
    /// `IOSQE_IO_DRAIN`, which would hold back entries of the driver's own. A descriptor that it
    /// makes is the caller's to close.
    pub const unsafe fn new(entry: [u8; 64]) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            entry,
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl OpCode for Raw {}

impl Describe for Raw {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let entry = unsafe { &raw const (*this).entry };
        Ok(Call::Raw { entry })
    }
}

impl Op for Raw {
    // Nothing keeps open what the entry is directed at: not for the safe layer.
    type Fd = Fd;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        entry.into_result()
    }
}
