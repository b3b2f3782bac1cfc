//! Makes pipes.
#![allow(unsafe_code, reason = "owns descriptors by their numbers")]

use super::call::{Call, PlainCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::sys::fd::{FromRawFd, OwnedFd, RawFd};
use crate::sys::{NO_FD, pipe_flags as flag};
use std::io;
use std::mem;

/// Makes a pipe.
///
/// Completes with both of its ends, the one to read from first. They are close-on-exec.
///
/// Until `finish` gives them out they are the operation's own: it closes them when it is dropped,
/// disposed of or pushed again, whatever became of its entry. So nothing leaks where a driver ends
/// before the entry was taken; forgetting the operation ([`std::mem::forget`]) leaks them.
///
/// Errors: as [pipe2(2)](https://man7.org/linux/man-pages/man2/pipe2.2.html), unchanged.
///
/// io_uring: `IORING_OP_PIPE`, Linux 6.16; before that `pipe2`, in place. readiness: `pipe2`, in
/// place. IOCP: `CreateNamedPipeW` and `CreateFileW` with a name that nobody is told, in place;
/// both ends take overlapped calls, which a program that inherits one has to expect. `non_blocking`
/// is refused.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Pipe};
/// use std::io::Read;
/// use std::{fs::File, process::Command};
///
/// let mut op = Pipe::new();
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let (reader, writer) = unsafe { op.finish(entry.unwrap())? };
/// let mut child = Command::new("echo").arg("hello").stdout(writer).spawn()?;
/// let mut text = String::new();
/// File::from(reader).read_to_string(&mut text)?;
/// assert_eq!(text, "hello\n");
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Pipe {
    head: OpHead,
    flags: i32,
    ends: Ends,
}

impl Pipe {
    /// A pipe in blocking mode.
    pub const fn new() -> Self {
        Self {
            head: OpHead::new::<Self>(),
            flags: flag::CLOEXEC,
            ends: Ends(NONE),
        }
    }

    /// Plain calls on its ends fail where they would block (`O_NONBLOCK`). Operations wait.
    pub const fn non_blocking(self, yes: bool) -> Self {
        self.set(yes, flag::NONBLOCK)
    }

    /// Keeps apart what is written at once (`O_DIRECT`): a read gets one such packet, and what it
    /// has no room for is lost. A write of more than 4,096 bytes is several packets. On Windows
    /// they are messages (`PIPE_TYPE_MESSAGE`) of any length, and the next read gets what one had
    /// no room for.
    pub const fn packets(self, yes: bool) -> Self {
        self.set(yes, flag::DIRECT)
    }

    const fn set(mut self, yes: bool, bits: i32) -> Self {
        self.flags = if yes {
            self.flags | bits
        } else {
            self.flags & !bits
        };
        self
    }
}

impl Default for Pipe {
    fn default() -> Self {
        Self::new()
    }
}

/// The ends of a pipe by their numbers, where the kernel puts them: to read, to write.
#[derive(Debug)]
struct Ends([RawFd; 2]);

/// No descriptors.
const NONE: [RawFd; 2] = [NO_FD; 2];

impl Ends {
    /// Gives them out, if there are any.
    fn take(&mut self) -> Option<[OwnedFd; 2]> {
        let fds = mem::replace(&mut self.0, NONE);
        // SAFETY: (P1) the kernel made them for this place, where they stand no longer.
        (fds != NONE).then(|| fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.take());
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl OpCode for Pipe {}

impl Describe for Pipe {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        drop(op.ends.take());
        Ok(Call::Plain(PlainCall::Pipe {
            flags: op.flags,
            ends: &raw mut op.ends.0,
        }))
    }
}

impl Op for Pipe {
    type Fd = ();
    type Output = (OwnedFd, OwnedFd);

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<(OwnedFd, OwnedFd)> {
        entry.into_result()?;
        let ends = self.ends.take();
        Ok(ends.expect("P1: a pipe that was made has ends").into())
    }

    unsafe fn dispose(&mut self, _entry: Entry) {
        drop(self.ends.take());
    }
}
