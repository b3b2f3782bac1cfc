//! Files: plain calls on a worker thread, or in place. And what a worker is given.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::flights::State;
use super::table::Kind;
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::{Call, FileCall, PathCall, SpliceCall, StreamCall};
use std::io;
use std::os::fd::RawFd;

/// One call in plain words, as a worker thread gets it: its descriptors are plain ones.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
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
        dir: RawFd,
        call: PathCall,
    },
    Close {
        fd: RawFd,
    },
}

// SAFETY: (W1) what it points to is lent until the job is done, belongs to no thread, and is
// touched by the one that performs it only.
unsafe impl Send for Work {}

impl Work {
    /// Makes the call; a negative result is an error number. Interrupted calls are made again,
    /// but for a close: the descriptor is gone whatever that returns.
    ///
    /// # Safety
    /// (W1) What it points to is lent to whoever calls this, until it returns.
    pub(super) unsafe fn perform(&self) -> i32 {
        match *self {
            // SAFETY: (W1) the caller's contract.
            Self::File { fd, call } => unsafe { perform(fd, call) },
            // SAFETY: (W1) the caller's contract.
            Self::Path { dir, call } => unsafe { super::path::perform(dir, call) },
            // SAFETY: (W1) the caller's contract.
            Self::Stream { fd, call } => unsafe { super::stream::perform(fd, call) },
            Self::Splice { from, to, call } => super::splice::perform(from, to, call),
            Self::Close { fd } => {
                // SAFETY: (R2) the operation gave up the descriptor: it is closed here and once.
                result(unsafe { libc::close(fd) } as isize)
            }
        }
    }

    /// Whether a result that is no error is a new descriptor.
    pub(super) fn makes_fd(&self) -> bool {
        match self {
            Self::Path { call, .. } => call.makes_fd(),
            Self::File { .. } | Self::Stream { .. } | Self::Splice { .. } | Self::Close { .. } => {
                false
            }
        }
    }
}

/// # Safety
/// (W1) As [`Work::perform`].
unsafe fn perform(fd: RawFd, call: FileCall) -> i32 {
    match call {
        FileCall::Read { ptr, len, offset } => positioned(offset, |offset| {
            // SAFETY: (W1) the kernel writes at most `len` bytes of the buffer that was lent.
            unsafe { libc::pread(fd, ptr.cast(), len as usize, offset) }
        }),
        FileCall::Write { ptr, len, offset } => positioned(offset, |offset| {
            // SAFETY: (W1) the kernel reads `len` bytes of the buffer that was lent.
            unsafe { libc::pwrite(fd, ptr.cast(), len as usize, offset) }
        }),
    }
}

/// A positioned call. No offset is above `i64::MAX` (I30); some systems have smaller ones.
fn positioned(offset: u64, call: impl Fn(libc::off_t) -> isize) -> i32 {
    match libc::off_t::try_from(offset) {
        Ok(offset) => uninterrupted(|| call(offset)),
        Err(_) => -libc::EOVERFLOW,
    }
}

/// Makes a call until no signal interrupts it.
pub(super) fn uninterrupted(call: impl Fn() -> isize) -> i32 {
    loop {
        match result(call()) {
            error if error == -libc::EINTR => {}
            result => return result,
        }
    }
}

/// What a call returned, or its error number, negated.
pub(super) fn result(returned: isize) -> i32 {
    if returned < 0 {
        -io::Error::last_os_error()
            .raw_os_error()
            .expect("the error of a call has a number")
    } else {
        i32::try_from(returned).expect("I28: lengths are clamped to 31 bits")
    }
}

/// Where a call on a file goes.
pub(super) struct Place {
    pub(super) fd: RawFd,
    /// The held file to keep open until the call is done.
    pub(super) file: Option<u32>,
    /// Whether the call does not block: it fails (ESPIPE).
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
        let Some(Place { fd, file, in_place }) = self.place(target) else {
            return self.complete(core, index, -libc::EBADF);
        };
        let work = Work::File { fd, call };
        // SAFETY: (D1) the caller's contract; the words are the operation's own.
        unsafe { self.perform(core, index, work, file, in_place) };
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
        unsafe { self.perform(core, index, Work::Close { fd }, None, in_place) };
    }

    /// Has a worker make a call, or makes it in place.
    ///
    /// # Safety
    /// (D1) `work` are the words of the operation `index`.
    pub(super) unsafe fn perform(
        &mut self,
        core: &mut Core,
        index: u32,
        work: Work,
        file: Option<u32>,
        in_place: bool,
    ) {
        // SAFETY: (D1) the caller's contract.
        unsafe { self.perform_with(core, index, work, [file, None], in_place) };
    }

    /// The same with two held files.
    ///
    /// # Safety
    /// (D1) As [`perform`](Self::perform).
    pub(super) unsafe fn perform_with(
        &mut self,
        core: &mut Core,
        index: u32,
        work: Work,
        files: [Option<u32>; 2],
        in_place: bool,
    ) {
        match &mut self.workers {
            Some(workers) if !in_place => {
                for file in files.into_iter().flatten() {
                    self.table.files.share(file);
                }
                self.flights.hand_over(index, State::Job { files });
                workers.queue(index, work);
            }
            _ => {
                // SAFETY: (W1) by (D1): lent until the operation completes, below.
                let result = unsafe { work.perform() };
                self.complete(core, index, result);
            }
        }
    }

    /// Takes what the workers have finished.
    pub(super) fn finish_jobs(&mut self, core: &mut Core) {
        while let Some((index, result)) = self.workers.as_mut().and_then(|w| w.finished()) {
            self.release_job(index);
            if let Call::Splice(call) = self.flights[index].call {
                if self.splice_returned(core, index, call, result) {
                    self.start_splice(core, index, call, false);
                }
                continue;
            }
            self.complete(core, index, result);
        }
    }

    /// Takes a job back that no worker has begun. `false`: one has.
    pub(super) fn cancel_job(&mut self, index: u32) -> bool {
        let cancelled = self.workers.as_mut().is_some_and(|w| w.cancel(index));
        if cancelled {
            self.release_job(index);
        }
        cancelled
    }

    fn release_job(&mut self, index: u32) {
        match self.flights.take_back(index) {
            State::Job { files } => {
                for file in files.into_iter().flatten() {
                    self.table.files.release(file);
                }
            }
            state => unreachable!("flight {index} is {state:?}, and was with the workers"),
        }
    }

    pub(super) fn place(&self, target: Target) -> Option<Place> {
        let (fd, slot) = self.table.resolve(target)?;
        let (kind, file) = match slot {
            Some(slot) => (self.table[slot].kind(), self.table[slot].file()),
            None => (Kind::Other, None),
        };
        let fd = file.map_or(fd, |file| self.table.files.fd(file));
        Some(Place {
            fd,
            file,
            in_place: kind.never_blocks(),
        })
    }
}
