//! What comes back for an operation.
#![allow(unsafe_code, reason = "an entry may name a descriptor")]

use crate::error::Refusal;
use crate::key::Completion;
use crate::sys::fd::{FromRawFd, OwnedFd};
use crate::sys::fd_of;
use std::fmt;
use std::io;

/// One completion: whose it is, and what the kernel said.
///
/// An operation gives exactly one entry, unless it is a multishot: then any number of entries
/// with [`more`](Self::more) come before the last one. Entries are made by the driver only.
///
/// An entry is a plain value: dropping it drops nothing of what it names. Hand it to
/// [`Op::finish`](crate::op::Op::finish) for the typed output, or to
/// [`Op::dispose`](crate::op::Op::dispose), which closes the descriptor of an accept or an open
/// that nobody wants any more.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver, Entry};
/// use completeio_driver::op::Nop;
///
/// let mut op = Nop::new();
/// let mut driver = Driver::new()?;
/// driver.try_push(&mut op, 7).unwrap();
/// let mut entry: Option<Entry> = None;
/// // SAFETY: `op` outlives the driver and is not touched before its entry came.
/// unsafe { driver.submit(None, &mut entry)? };
/// let entry = entry.unwrap();
/// assert_eq!(entry.user_data(), 7);
/// assert_eq!(entry.into_result()?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
// The fields and their order are those of the kernel's completion; the usual one is copied as it
// is.
#[repr(C)]
pub struct Entry {
    user_data: usize,
    result: i32,
    /// The id of a provided buffer in the upper half, and the bits below.
    flags: u32,
}

pub(crate) const BUFFER: u32 = 1;
pub(crate) const MORE: u32 = 1 << 1;
pub(crate) const IS_FD: u32 = 1 << 2;
/// The key is a whole number of the user's that does not fit: the operation was refused for it.
pub(crate) const WHOLE: u32 = 1 << 3;
/// It was never handed over, and never will be.
pub(crate) const DISCARDED: u32 = 1 << 4;

impl Entry {
    /// What a completion says, under the user's own number.
    #[inline]
    pub(crate) fn new(user_data: usize, result: i32, flags: u32) -> Self {
        Self {
            user_data,
            result,
            flags,
        }
    }

    /// The entry of a raw operation.
    #[inline]
    pub(crate) fn raw(completion: &Completion) -> Self {
        Self::new(completion.user_data(), completion.result, completion.flags)
    }

    /// Whether the operation was never handed over: nothing of it has happened.
    pub(crate) fn is_discarded(&self) -> bool {
        self.flags & DISCARDED != 0
    }

    /// The number given at the push.
    #[inline]
    pub fn user_data(&self) -> usize {
        self.user_data
    }

    /// Whether more entries of the same operation follow: it is still in flight.
    #[inline]
    pub fn more(&self) -> bool {
        self.flags & MORE != 0
    }

    /// The id of the provided buffer that was used, if one was.
    #[inline]
    pub fn buffer(&self) -> Option<u16> {
        let [_, _, low, high] = self.flags.to_le_bytes();
        (self.flags & BUFFER != 0).then_some(u16::from_le_bytes([low, high]))
    }

    /// Why the driver itself refused the operation, if it did. The kernel never saw it.
    #[inline]
    pub fn refusal(&self) -> Option<Refusal> {
        Refusal::from_code(self.result)
    }

    /// The kernel's error number, unchanged, if the operation failed there.
    #[inline]
    pub fn raw_os_error(&self) -> Option<i32> {
        (self.result < 0 && self.refusal().is_none()).then(|| -self.result)
    }

    /// The plain result: a count, a descriptor's number, zero, or the error.
    ///
    /// # Errors
    /// The kernel's error, unchanged; [`InvalidInput`](io::ErrorKind::InvalidInput) or
    /// [`Unsupported`](io::ErrorKind::Unsupported) when the driver refused the operation
    /// ([`refusal`](Self::refusal) then says why).
    #[inline]
    pub fn into_result(self) -> io::Result<usize> {
        self.result()
    }

    /// The same by reference, for those who keep the entry for `finish`.
    ///
    /// # Errors
    /// As [`into_result`](Self::into_result).
    #[inline]
    pub fn result(&self) -> io::Result<usize> {
        match usize::try_from(self.result) {
            Ok(count) => Ok(count),
            Err(_) => Err(self.error()),
        }
    }

    /// The descriptor that this entry names, if its operation makes one and succeeded; else the
    /// entry again.
    pub(crate) fn into_fd(self) -> Result<OwnedFd, Self> {
        if self.flags & IS_FD == 0 || self.result < 0 {
            return Err(self);
        }
        // SAFETY: (I16) the kernel made it for the operation of this entry, which is consumed here,
        // is no copy of another, and was made by a backend: nobody else owns the number.
        Ok(unsafe { OwnedFd::from_raw_fd(fd_of(self.result)) })
    }

    /// Why there is no descriptor.
    pub(crate) fn into_error(self) -> io::Error {
        debug_assert!(
            self.result < 0,
            "I16: what makes a descriptor names it, or fails"
        );
        self.error()
    }

    #[cold]
    fn error(&self) -> io::Error {
        match self.refusal() {
            Some(refusal) => io::Error::from(refusal.kind()),
            None => io::Error::from_raw_os_error(-self.result),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("user_data", &self.user_data)
            .field("result", &self.result())
            .field("more", &self.more())
            .field("buffer", &self.buffer())
            .finish()
    }
}

const _: () = assert!(
    size_of::<Entry>() <= 16,
    "entries are copied on the hot path"
);
