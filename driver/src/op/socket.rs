//! Operations on sockets that never wait.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, PlainCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use std::io;
use std::net;

/// Ends one direction of a connection, or both.
///
/// Completes when the socket has taken note; what was sent before is still delivered. A receive
/// that waits on the direction that is ended completes with 0.
///
/// Errors: as [shutdown(2)](https://man7.org/linux/man-pages/man2/shutdown.2.html), unchanged.
///
/// io_uring: `IORING_OP_SHUTDOWN`, Linux 5.11. readiness: `shutdown`, in place.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Shutdown};
/// use std::io::Read;
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
///
/// let (a, mut b) = UnixStream::pair()?;
/// let mut op = Shutdown::new(OwnedFd::from(a), std::net::Shutdown::Write);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(b.read(&mut [0])?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Shutdown<F> {
    head: OpHead,
    fd: F,
    how: net::Shutdown,
}

impl<F: Descriptor> Shutdown<F> {
    /// Ends what `how` says of the connection `fd`.
    pub fn new(fd: F, how: net::Shutdown) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            how,
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Shutdown<F> {}

impl<F: Descriptor> Describe for Shutdown<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let how = op.how;
        Ok(Call::Plain(PlainCall::Shutdown { target, how }))
    }
}

impl<F: Descriptor> Op for Shutdown<F> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

impl<F> IntoInner for Shutdown<F> {
    type Inner = F;

    fn into_inner(self) -> F {
        self.fd
    }
}
