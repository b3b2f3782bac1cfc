//! Files: plain calls on a worker thread, or in place. And what a worker is given.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::table::Kind;
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::{FileCall, PathCall, SpliceCall, StreamCall};
use crate::sys::keeper::Keeper as _;
use crate::sys::native;
pub(super) use crate::sys::plain::{result, uninterrupted};
use crate::sys::workers;
use std::os::fd::RawFd;

/// One call in plain words, as a worker thread gets it: its descriptors are plain ones.
#[derive(Debug, Clone, Copy)]
pub(in crate::sys) enum Work {
    File {
        fd: RawFd,
        call: FileCall,
    },
    Stream {
        fd: RawFd,
        call: StreamCall,
    },
    Splice {
        from: RawFd,
        to: RawFd,
        call: SpliceCall,
    },
    Path {
        dirs: [RawFd; 2],
        call: PathCall,
    },
    Close {
        fd: RawFd,
    },
}

// SAFETY: (W1) what it points to is lent until the job is done, belongs to no thread, and is
// touched by the one that performs it only.
unsafe impl Send for Work {}

impl workers::Work for Work {
    type Kit = ();
    const NONE: Self = Self::Close { fd: -1 };

    fn kit() {}

    /// Interrupted calls are made again, but for a close: the descriptor is gone whatever that
    /// returns.
    unsafe fn perform(&self, (): &mut ()) -> i32 {
        match *self {
            // SAFETY: (W1) the caller's contract.
            Self::File { fd, call } => unsafe { perform(fd, call) },
            // SAFETY: (W1) the caller's contract.
            Self::Path { dirs, call } => unsafe { super::path::perform(dirs, call) },
            // SAFETY: (W1) the caller's contract.
            Self::Stream { fd, call } => unsafe { super::stream::perform(fd, call) },
            Self::Splice { from, to, call } => super::splice::perform(from, to, call),
            Self::Close { fd } => {
                // SAFETY: (R2) the operation gave up the descriptor: it is closed here and once.
                result(unsafe { libc::close(fd) } as isize)
            }
        }
    }

    fn makes_fd(&self) -> bool {
        match self {
            Self::Path { call, .. } => call.makes_fd(),
            Self::File { .. } | Self::Stream { .. } | Self::Splice { .. } | Self::Close { .. } => {
                false
            }
        }
    }

    fn is_close(&self) -> bool {
        matches!(self, Self::Close { .. })
    }
}

/// # Safety
/// (W1) As [`Work::perform`].
unsafe fn perform(fd: RawFd, call: FileCall) -> i32 {
    match call {
        FileCall::Read {
            ptr,
            len,
            offset,
            flags,
        } => positioned(offset, |offset| {
            if flags == 0 {
                // SAFETY: (W1) the kernel writes at most `len` bytes of the buffer that was lent.
                let read = || unsafe { libc::pread(fd, ptr.cast(), len as usize, offset) };
                return uninterrupted(read);
            }
            let room = iovec(ptr, len);
            // SAFETY: (W1) as above, by way of one vector on the stack.
            unsafe { native::read_at(fd, &raw const room, 1, offset, flags) }
        }),
        FileCall::Write {
            ptr,
            len,
            offset,
            flags,
        } => positioned(offset, |offset| {
            if flags == 0 {
                // SAFETY: (W1) the kernel reads `len` bytes of the buffer that was lent.
                let write = || unsafe { libc::pwrite(fd, ptr.cast(), len as usize, offset) };
                return uninterrupted(write);
            }
            let bytes = iovec(ptr.cast_mut(), len);
            // SAFETY: (W1) as above, by way of one vector on the stack.
            unsafe { native::write_at(fd, &raw const bytes, 1, offset, flags) }
        }),
        FileCall::ReadVectored {
            places,
            count,
            offset,
            flags,
        } => positioned(offset, |offset| {
            // SAFETY: (W1) the kernel reads `count` places, and writes to the buffers that were
            // lent.
            unsafe { native::read_at(fd, places.cast(), parts(count), offset, flags) }
        }),
        FileCall::WriteVectored {
            places,
            count,
            offset,
            flags,
        } => positioned(offset, |offset| {
            // SAFETY: (W1) the kernel reads `count` places, and the buffers that were lent.
            unsafe { native::write_at(fd, places.cast(), parts(count), offset, flags) }
        }),
        FileCall::Sync { data_only: false } => native::sync(fd),
        FileCall::Sync { data_only: true } => native::sync_data(fd),
        FileCall::SyncRange { offset, len, flags } => {
            positioned(offset, |offset| native::sync_range(fd, offset, len, flags))
        }
        FileCall::Truncate { len } => positioned(len, |len| {
            // SAFETY: (K1) takes numbers.
            uninterrupted(|| unsafe { libc::ftruncate(fd, len) as isize })
        }),
        FileCall::Allocate {
            space,
            keep_size,
            offset,
            len,
        } => ranged(offset, len, |offset, len| {
            native::allocate(fd, space, keep_size, offset, len)
        }),
        FileCall::Advise {
            advice,
            offset,
            len,
        } => ranged(offset, len, |offset, len| {
            native::advise(fd, advice, offset, len)
        }),
        FileCall::Stat { to } => {
            // SAFETY: (W1) a place in the operation, which was lent.
            unsafe { native::stat(fd, to) }
        }
        FileCall::GetXattr { name, ptr, len } => {
            // SAFETY: (W1) the kernel reads the name, which ends with a zero, and writes at most
            // `len` bytes of the buffer; both were lent.
            unsafe { native::get_xattr(fd, name, ptr, len) }
        }
        FileCall::SetXattr {
            name,
            ptr,
            len,
            flags,
        } => {
            // SAFETY: (W1) the kernel reads the name, which ends with a zero, and `len` bytes of
            // the buffer; both were lent.
            unsafe { native::set_xattr(fd, name, ptr, len, flags) }
        }
    }
}

/// One vector of memory that was lent.
pub(super) fn iovec(ptr: *mut u8, len: u32) -> libc::iovec {
    libc::iovec {
        iov_base: ptr.cast(),
        iov_len: len as usize,
    }
}

/// A call on a range. No number is above `i64::MAX` (I30); some systems have smaller ones.
fn ranged(offset: u64, len: u64, call: impl Fn(libc::off_t, libc::off_t) -> i32) -> i32 {
    match (offset.try_into(), len.try_into()) {
        (Ok(offset), Ok(len)) => call(offset, len),
        _ => -libc::EOVERFLOW,
    }
}

/// A number of parts as the C library has it.
pub(super) fn parts(count: u32) -> libc::c_int {
    libc::c_int::try_from(count).expect("I31: no more than a call takes")
}

/// A positioned call. No offset is above `i64::MAX` (I30); some systems have smaller ones.
fn positioned(offset: u64, call: impl Fn(libc::off_t) -> i32) -> i32 {
    match libc::off_t::try_from(offset) {
        Ok(offset) => call(offset),
        Err(_) => -libc::EOVERFLOW,
    }
}

/// Where a call on a file goes.
pub(super) struct Resolved {
    pub(super) fd: RawFd,
    /// The held file to keep open until the call is done.
    pub(super) file: Option<u32>,
    /// Whether calls on what lies on a disk do not block: they fail (ESPIPE), for nothing of it
    /// does.
    in_place: bool,
}

impl Readiness {
    /// Starts a call on a file.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn start_file(
        &mut self,
        core: &mut Core,
        index: u32,
        target: Target,
        call: FileCall,
    ) {
        let Some(Resolved { fd, file, in_place }) = self.resolved(target) else {
            return self.complete(core, index, -libc::EBADF);
        };
        let in_place = (in_place && !call.is_on_attributes()) || call.never_waits();
        let work = Work::File { fd, call };
        // SAFETY: (D1) the caller's contract; the words are the operation's own.
        unsafe { self.perform(core, index, work, [file, None], in_place) };
    }

    /// Starts a close. The number is taken out of the tables first, so that nothing of ours is
    /// directed at whatever bears it next.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn start_close(&mut self, core: &mut Core, index: u32, target: Target) {
        let fd = match target {
            Target::Plain(fd) => fd,
            Target::Fixed(id) => {
                // As io_uring has it: EINVAL outside the table, EBADF for an empty place.
                let result = match self.table.fixed(id) {
                    None => -libc::EINVAL,
                    Some(slot) if !self.table[slot].is_occupied() => -libc::EBADF,
                    Some(slot) => {
                        self.retire(core, slot);
                        0
                    }
                };
                return self.complete(core, index, result);
            }
        };
        let mut in_place = false;
        if let Some(slot) = self.table.plain(fd) {
            in_place = self.table[slot].kind().never_blocks();
            self.retire(core, slot);
        }
        // SAFETY: (D1) a close points to nothing.
        unsafe { self.perform(core, index, Work::Close { fd }, [None; 2], in_place) };
    }

    pub(super) fn resolved(&self, target: Target) -> Option<Resolved> {
        let (fd, slot) = self.table.resolve(target)?;
        let (kind, file) = match slot {
            Some(slot) => (self.table[slot].kind(), self.table[slot].file()),
            None => (Kind::Other, None),
        };
        let held = file.filter(|_| !planted!("file-not-held"));
        let fd = held.map_or(fd, |file| self.table.files.fd(file));
        Some(Resolved {
            fd,
            file,
            in_place: kind.never_blocks(),
        })
    }
}
