//! Operations that move bytes between two descriptors inside the kernel.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, SpliceCall, check_offset, clamp_len};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::exact::{GoesOn, Start};
use crate::fd::Descriptor;
use crate::sys::errno;
use std::io;
use std::ptr::NonNull;

/// Moves bytes from one descriptor to another, without a buffer of the program's: one of them is a
/// pipe, the other a pipe, a file or a socket.
///
/// Completes with the number of bytes moved, at most 0x7fff_f000 and what was asked for, as soon
/// as there are some; 0 at the end of `from`, and for no length.
///
/// A file is read or written at its current position, which moves, or at an offset, which leaves
/// it alone. Several on one pipe share what is there; they have no order.
///
/// Errors: as [splice(2)](https://man7.org/linux/man-pages/man2/splice.2.html), unchanged; an
/// offset above `i64::MAX` is refused ([`Refusal::Offset`]). `SIGPIPE` is not raised: `EPIPE`
/// comes. Where several apply, io_uring gives that of the descriptors (`EBADF`) before that of an
/// offset (`ESPIPE`), and a closed descriptor is `EBADF` for no length too, where the call gives 0.
///
/// Both descriptors must name the same files until it completes: io_uring's kernel looks the
/// numbers up on a worker of its own, some time after the submission, and a cancellation by
/// descriptor that comes before that misses it. The entry of one that was cancelled while that
/// worker had it carries the kernel's 512 (`ERESTARTSYS`, Linux 6.18); `finish` makes it
/// `ECANCELED`. A [`Deadline`](super::Deadline) ends it likewise.
///
/// io_uring: `IORING_OP_SPLICE`, Linux 5.7, on a worker of the kernel's. readiness: `splice`,
/// tried first, then when both are ready; on a worker thread where a file is one of them. It sets
/// `O_NONBLOCK` on a socket, attached or not, and leaves it set. Both descriptors may be fixed.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver, OwnedFd};
/// use completeio_driver::op::{Op, Splice};
/// use std::fs::File;
/// use std::process::{Command, Stdio};
///
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let file = OwnedFd::from(File::open("Cargo.toml")?);
/// let stdin = OwnedFd::from(child.stdin.take().unwrap());
/// let mut op = Splice::new(file, stdin, 9).from_offset(0);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 9);
/// drop(op); // Closes the pipe: `cat` sees the end.
/// assert_eq!(child.wait_with_output()?.stdout, b"[package]");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Splice<F, G> {
    head: OpHead,
    from: F,
    to: G,
    from_offset: Option<u64>,
    to_offset: Option<u64>,
    len: usize,
    more: bool,
}

impl<F: Descriptor, G: Descriptor> Splice<F, G> {
    /// Moves at most `len` bytes from `from` to `to`.
    pub fn new(from: F, to: G, len: usize) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            from,
            to,
            from_offset: None,
            to_offset: None,
            len,
            more: false,
        }
    }

    /// Where in the file `from` it starts; a pipe takes none (`ESPIPE`).
    pub fn from_offset(mut self, offset: u64) -> Self {
        self.from_offset = Some(offset);
        self
    }

    /// Where in the file `to` it starts; a pipe takes none (`ESPIPE`).
    pub fn to_offset(mut self, offset: u64) -> Self {
        self.to_offset = Some(offset);
        self
    }

    /// Whether a socket may wait for more before it sends (`SPLICE_F_MORE`).
    pub fn more(mut self, yes: bool) -> Self {
        self.more = yes;
        self
    }
}

/// Copies bytes from one pipe to another, and leaves them in the first one.
///
/// Completes with the number of bytes copied, at most 0x7fff_f000 and what was asked for, as soon
/// as there are some; 0 at the end of `from`, and for no length.
///
/// Errors: as [tee(2)](https://man7.org/linux/man-pages/man2/tee.2.html), unchanged. `SIGPIPE` is
/// not raised: `EPIPE` comes.
///
/// Both descriptors must name the same pipes until it completes; a cancelled one as for
/// [`Splice`].
///
/// io_uring: `IORING_OP_TEE`, Linux 5.8, on a worker of the kernel's. readiness: `tee`, when both
/// are ready. Both descriptors may be fixed.
///
/// ```
/// use completeio_driver::op::Tee;
/// use std::os::fd::OwnedFd;
///
/// let (from, _writer) = std::io::pipe()?;
/// let (_reader, to) = std::io::pipe()?;
/// let op = Tee::new(OwnedFd::from(from), OwnedFd::from(to), 4096);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Tee<F, G> {
    head: OpHead,
    from: F,
    to: G,
    len: usize,
}

impl<F: Descriptor, G: Descriptor> Tee<F, G> {
    /// Copies at most `len` bytes from `from` to `to`.
    pub fn new(from: F, to: G, len: usize) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            from,
            to,
            len,
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, G: Descriptor> OpCode for Splice<F, G> {}

impl<F: Descriptor, G: Descriptor> Describe for Splice<F, G> {
    #[allow(private_interfaces, reason = "sealed")]
    const FOLLOWED: Option<GoesOn> = Some(GoesOn {
        begin: Self::begin,
        moved: whole,
    });

    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Splice(SpliceCall {
            from: op.from.target(),
            to: op.to.target(),
            from_offset: op.from_offset.map(check_offset).transpose()?,
            to_offset: op.to_offset.map(check_offset).transpose()?,
            len: clamp_len(op.len),
            more: op.more,
            tee: false,
        }))
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, G: Descriptor> OpCode for Tee<F, G> {}

impl<F: Descriptor, G: Descriptor> Describe for Tee<F, G> {
    #[allow(private_interfaces, reason = "sealed")]
    const FOLLOWED: Option<GoesOn> = Some(GoesOn {
        begin: Self::begin,
        moved: whole,
    });

    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Splice(SpliceCall {
            from: op.from.target(),
            to: op.to.target(),
            from_offset: None,
            to_offset: None,
            len: clamp_len(op.len),
            more: false,
            tee: true,
        }))
    }
}

/// What such a call has moved is all that it was to move.
///
/// # Safety
/// None is asked for.
unsafe fn whole(_head: NonNull<OpHead>, _moved: i32) -> bool {
    false
}

macro_rules! between_two {
    ($($op:ident)*) => {$(
        impl<F: Descriptor, G: Descriptor> $op<F, G> {
            /// Directed at what io_uring's kernel takes for its descriptor.
            ///
            /// # Safety
            /// (D2) `head` is that of one which is not in flight.
            unsafe fn begin(head: NonNull<OpHead>) -> Start {
                // SAFETY: (D2) the caller's contract.
                let op = unsafe { head.cast::<Self>().as_ref() };
                Start::at(op.to.target())
            }
        }

        impl<F: Descriptor, G: Descriptor> Op for $op<F, G> {
            type Fd = (F, G);
            type Output = usize;

            unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
                match entry.raw_os_error() {
                    Some(errno::RESTART) => Err(io::Error::from_raw_os_error(errno::ECANCELED)),
                    _ => entry.into_result(),
                }
            }
        }

        impl<F, G> $op<F, G> {
            /// Sets how much the next flight moves at most.
            pub fn set_len(&mut self, len: usize) {
                self.len = len;
            }
        }

        impl<F, G> IntoInner for $op<F, G> {
            type Inner = (F, G);

            fn into_inner(self) -> (F, G) {
                (self.from, self.to)
            }
        }
    )*};
}
between_two!(Splice Tee);
