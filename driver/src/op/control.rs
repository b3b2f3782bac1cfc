//! Operations on the driver itself.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::Call;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::driver::Entry;
use crate::error::Refusal;
use std::io;

/// Does nothing, and completes at the next submit. For measuring, and for tests.
///
/// io_uring: `IORING_OP_NOP`, Linux 5.1. readiness: completed in place.
/// [io_uring_enter(2)](https://man7.org/linux/man-pages/man2/io_uring_enter.2.html)
///
/// ```
/// let op = completeio_driver::op::Nop::new();
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Nop {
    head: OpHead,
}

impl Nop {
    /// A new one.
    pub const fn new() -> Self {
        Self {
            head: OpHead::new::<Self>(),
        }
    }
}

impl Default for Nop {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl OpCode for Nop {}

impl Describe for Nop {
    #[inline]
    unsafe fn describe(_this: *mut Self) -> Result<Call, Refusal> {
        Ok(Call::Nop)
    }
}

impl Op for Nop {
    type Fd = ();
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}
