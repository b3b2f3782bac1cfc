//! What has no positions: tried without blocking, then when ready, in the order of `net`. And
//! files where they are: a plain call on a worker thread.
//!
//! | what | how it is tried |
//! |---|---|
//! | pipes, sockets, most counters and devices | `RWF_NOWAIT`: blocks in no mode |
//! | terminals, FIFOs opened by name: no `RWF_NOWAIT` | by `poll`, then a plain call |
//! | what the selector does not take | not at all: it goes to a worker |
//! | files (regular ones, directories, block devices) | not at all: they go to a worker |
//!
//! No descriptor's mode is changed: others may share it. A write raises no `SIGPIPE`: by
//! `RWF_NOSIGNAL` (Linux 6.18), or else because the signal is blocked and taken away again.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::attach::set_non_blocking;
use super::file::{Resolved, Work, iovec, parts, result, uninterrupted};
use super::flights::Direction;
use super::net::Attempt::{self, Done, WouldBlock};
use super::net::would_block;
use super::table::Kind;
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::{StreamCall, clamp_len};
use crate::sys::keeper::Keeper as _;
use crate::sys::{msg_flags, native};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

/// What is given at once to a FIFO that `poll` calls writable: it has room for so much.
#[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
const FIFO_CHUNK: u32 = libc::PIPE_BUF as u32;
/// The same of a terminal. Some have less room, and none tells how much.
const TERMINAL_CHUNK: u32 = 64;
/// A write in chunks ends after so many bytes, so that it keeps nothing else waiting (I38).
const CHUNKS_MAX: u32 = 1 << 16;

impl Readiness {
    /// Starts a read or a write at the current position.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn start_stream(
        &mut self,
        core: &mut Core,
        index: u32,
        target: Target,
        call: StreamCall,
    ) {
        let (Some(Resolved { fd, file, .. }), Some((_, slot))) =
            (self.resolved(target), self.table.resolve(target))
        else {
            return self.complete(core, index, -libc::EBADF);
        };
        let kind = match self.kind(slot, fd) {
            Ok(kind) => kind,
            Err(error) => return self.complete(core, index, error),
        };
        let work = Work::Stream { fd, call };
        if kind == Kind::File {
            // SAFETY: (D1) the caller's contract; the words are the operation's own.
            return unsafe { self.perform(core, index, work, [file, None], false) };
        }
        if kind == Kind::Socket && !native::HAS.unblocked_streams {
            if let Err(e) = set_non_blocking(fd) {
                return self.complete(core, index, -e.raw_os_error().unwrap_or(libc::EBADF));
            }
        }
        let direction = direction(call);
        let for_bytes = matches!(call, StreamCall::Read { len: 1.., .. });
        let queued = slot.is_some_and(|slot| !self.table[slot].admits(direction, for_bytes));
        let mut tried = None;
        if !queued {
            // SAFETY: (D1) the caller's contract.
            tried = unsafe { without_waiting(fd, call) };
            let result = tried.and_then(|attempt| self.outcome(attempt, slot, direction));
            if let Some(result) = result {
                return self.complete(core, index, result);
            }
        }
        let Some(slot) = slot else {
            return self.complete(core, index, -libc::EMFILE);
        };
        match self.watch(slot, fd, direction.interest(), Some(kind), -libc::EAGAIN) {
            Ok(()) => {}
            // Nothing ever reports about it.
            Err(error) if error == -libc::EAGAIN => {
                // SAFETY: (D1) the caller's contract; the words are the operation's own.
                return unsafe { self.perform(core, index, work, [file, None], false) };
            }
            Err(error) => return self.complete(core, index, error),
        }
        if !queued && tried.is_none() {
            // SAFETY: (D1) the caller's contract.
            if let Done(result) = unsafe { after_a_poll(fd, call) } {
                self.forsake(slot);
                return self.complete(core, index, result);
            }
        }
        let waiters = self.table[slot].waiters_mut(direction);
        self.kept.flights.wait(index, waiters, slot, direction);
    }
}

/// What a call waits for when it would block.
fn direction(call: StreamCall) -> Direction {
    match call {
        StreamCall::Read { .. } | StreamCall::ReadVectored { .. } => Direction::Read,
        StreamCall::Write { .. } | StreamCall::WriteVectored { .. } => Direction::Write,
    }
}

/// Makes the call on a worker: it may block, and no signal reaches it.
///
/// # Safety
/// (W1) As [`Work::perform`].
pub(super) unsafe fn perform(fd: RawFd, call: StreamCall) -> i32 {
    // SAFETY: (W1) the caller's contract.
    uninterrupted(|| unsafe { plain(fd, call) })
}

/// Makes the call for what the selector reports about.
///
/// # Safety
/// (D1) What the call points to is lent, and nobody else touches it now.
pub(super) unsafe fn attempt(fd: RawFd, call: StreamCall) -> Attempt {
    // SAFETY: (D1) the caller's contract.
    match unsafe { without_waiting(fd, call) } {
        Some(attempt) => attempt,
        // SAFETY: (D1) the caller's contract.
        None => unsafe { after_a_poll(fd, call) },
    }
}

/// Makes the call so that it does not block, whatever the descriptor's mode is. None: the kernel
/// cannot do that for this file.
///
/// # Safety
/// (D1) As [`attempt`].
unsafe fn without_waiting(fd: RawFd, call: StreamCall) -> Option<Attempt> {
    if let StreamCall::Write { len: 0, .. } | StreamCall::WriteVectored { len: 0, .. } = call {
        // An empty datagram. The kernel drops vectors that are empty before it looks at the file.
        let result = uninterrupted(|| {
            const FLAGS: i32 = libc::MSG_DONTWAIT | msg_flags::NOSIGNAL;
            // SAFETY: (K1) touches no memory.
            unsafe { libc::send(fd, ptr::null(), 0, FLAGS) }
        });
        return Some(settle(match result {
            // It needs no room, and `poll` may never find any: at the end of a pipe that is read.
            error if error == -libc::ENOTSOCK => {
                // SAFETY: (K1) touches no memory.
                uninterrupted(|| unsafe { libc::write(fd, ptr::null(), 0) })
            }
            result => result,
        }));
    }
    // SAFETY: (D1) the caller's contract.
    let attempt = unsafe { unblocked(fd, call) }.map(settle);
    match call {
        StreamCall::Read { len, .. } => attempt.map(|attempt| attempt.of_a_read(len, 0)),
        StreamCall::ReadVectored { .. }
        | StreamCall::Write { .. }
        | StreamCall::WriteVectored { .. } => attempt,
    }
}

fn settle(result: i32) -> Attempt {
    if would_block(result) {
        WouldBlock
    } else {
        Done(result)
    }
}

/// Makes the call if `poll` says that it has something to do, or if the descriptor does not block.
///
/// # Safety
/// (D1) As [`attempt`].
unsafe fn after_a_poll(fd: RawFd, call: StreamCall) -> Attempt {
    // SAFETY: (K1) takes two numbers.
    let mode = result(unsafe { libc::fcntl(fd, libc::F_GETFL) } as isize);
    if mode < 0 {
        return Done(mode);
    }
    let blocks = mode & libc::O_NONBLOCK == 0;
    let (StreamCall::Write { len, .. } | StreamCall::WriteVectored { len, .. }) = call else {
        let ready = if blocks { ready(fd, libc::POLLIN) } else { 1 };
        return match ready {
            0 => WouldBlock,
            // SAFETY: (D1) the caller's contract.
            1 => settle(uninterrupted(|| unsafe { plain(fd, call) })),
            error => Done(error),
        };
    };
    if !blocks {
        return settle(native::without_sigpipe(fd, || {
            // SAFETY: (D1) the caller's contract.
            uninterrupted(|| unsafe { plain(fd, call) })
        }));
    }
    let chunk = chunk_of(fd, len);
    let mut done = 0;
    loop {
        let rest = if chunk < len {
            // SAFETY: (D1) the caller's contract; less than all of it was written.
            unsafe { piece(call, done, chunk) }
        } else {
            call
        };
        let attempt = match ready(fd, libc::POLLOUT) {
            0 => WouldBlock,
            1 => settle(native::without_sigpipe(fd, || {
                // SAFETY: (D1) the caller's contract; `rest` lies within the buffers.
                uninterrupted(|| unsafe { plain(fd, rest) })
            })),
            error => Done(error),
        };
        match attempt {
            Done(n) if n > 0 => {
                done += n.unsigned_abs();
                assert!(done <= len, "I9: more was moved than there is");
                if done < len && done < CHUNKS_MAX && chunk < len {
                    continue;
                }
            }
            // An error after that is left to the next call.
            _ if done == 0 => return attempt,
            _ => {}
        }
        return Done(i32::try_from(done).expect("I28: lengths are clamped to 31 bits"));
    }
}

/// What comes behind the first `done` bytes of a write: at most `max`, of one part.
///
/// # Safety
/// (D1) As [`attempt`]. There are more than `done` bytes.
unsafe fn piece(call: StreamCall, done: u32, max: u32) -> StreamCall {
    let mut skip = done as usize;
    let cut = |ptr: *const u8, len: usize, skip: usize| StreamCall::Write {
        ptr: ptr.wrapping_add(skip),
        len: clamp_len(len - skip).min(max),
    };
    match call {
        StreamCall::Write { ptr, len } => cut(ptr, len as usize, skip),
        StreamCall::WriteVectored { places, count, .. } => {
            for n in 0..count as usize {
                // SAFETY: (D1) one of the places, which were lent.
                let part = unsafe { places.wrapping_add(n).cast::<libc::iovec>().read() };
                if skip < part.iov_len {
                    return cut(part.iov_base.cast(), part.iov_len, skip);
                }
                skip -= part.iov_len;
            }
            unreachable!("I9: more was moved than there is")
        }
        StreamCall::Read { .. } | StreamCall::ReadVectored { .. } => {
            unreachable!("a read is made at once")
        }
    }
}

/// How much of a write what blocks is given at once. What keeps messages apart gets them whole.
fn chunk_of(fd: RawFd, len: u32) -> u32 {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: (K1) the kernel writes one `stat` to a local.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } < 0 {
        return len;
    }
    // SAFETY: (K1) the call succeeded: it has written all of it.
    let mode = unsafe { stat.assume_init() }.st_mode;
    match mode & libc::S_IFMT {
        libc::S_IFIFO => FIFO_CHUNK,
        // SAFETY: (K1) takes a number.
        libc::S_IFCHR if unsafe { libc::isatty(fd) } == 1 => TERMINAL_CHUNK,
        _ => len,
    }
}

/// 1 if something can be done now, an error included; 0 if not; or an error number, negated.
pub(super) fn ready(fd: RawFd, events: libc::c_short) -> i32 {
    uninterrupted(|| {
        let mut poll = libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        // SAFETY: (K1) the kernel reads and writes one local.
        let n = unsafe { libc::poll(&raw mut poll, 1, 0) };
        n as isize
    })
}

/// The call that does not wait, at the current position. None: there is none.
///
/// # Safety
/// (D1) As [`attempt`].
unsafe fn unblocked(fd: RawFd, call: StreamCall) -> Option<i32> {
    match call {
        StreamCall::Read { ptr, len } => {
            let room = iovec(ptr, len);
            // SAFETY: (D1) the kernel writes at most `len` bytes of the buffer that was lent.
            unsafe { native::read_unblocked(fd, &raw const room, 1) }
        }
        StreamCall::Write { ptr, len } => {
            let bytes = iovec(ptr.cast_mut(), len);
            // SAFETY: (D1) the kernel reads `len` bytes of the buffer that was lent.
            unsafe { native::write_unblocked(fd, &raw const bytes, 1) }
        }
        StreamCall::ReadVectored { places, count } => {
            // SAFETY: (D1) the kernel reads `count` places, and writes to the buffers that were
            // lent.
            unsafe { native::read_unblocked(fd, places.cast(), parts(count)) }
        }
        StreamCall::WriteVectored { places, count, .. } => {
            // SAFETY: (D1) the kernel reads `count` places, and the buffers that were lent.
            unsafe { native::write_unblocked(fd, places.cast(), parts(count)) }
        }
    }
}

/// The plain call.
///
/// # Safety
/// What the call points to is lent, and nobody else touches it now.
unsafe fn plain(fd: RawFd, call: StreamCall) -> isize {
    match call {
        StreamCall::Read { ptr, len } => {
            // SAFETY: (D1, W1) the kernel writes at most `len` bytes of the buffer that was lent.
            unsafe { libc::read(fd, ptr.cast(), len as usize) }
        }
        StreamCall::Write { ptr, len } => {
            // SAFETY: (D1, W1) the kernel reads `len` bytes of the buffer that was lent.
            unsafe { libc::write(fd, ptr.cast(), len as usize) }
        }
        StreamCall::ReadVectored { places, count } => {
            // SAFETY: (D1, W1) the kernel reads `count` places, and writes to the buffers.
            unsafe { libc::readv(fd, places.cast(), parts(count)) }
        }
        StreamCall::WriteVectored { places, count, .. } => {
            // SAFETY: (D1, W1) the kernel reads `count` places, and the buffers.
            unsafe { libc::writev(fd, places.cast(), parts(count)) }
        }
    }
}
