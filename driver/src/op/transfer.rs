//! What all operations share that move bytes between a descriptor and one buffer.
#![allow(unsafe_code, reason = "a buffer is told what the kernel wrote")]

use super::call::clamp_len;
use crate::buf::{IoBuf, IoBufMut};
use crate::driver::Entry;
use crate::fd::{Descriptor, Target};
use std::io;

/// How much earlier flights have moved, and what the last one was lent.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: usize,
    /// How many bytes the last flight was lent: it moved no more, and they are counted once.
    lent: usize,
    /// How many there were to move, of which one flight may be lent fewer.
    rest: usize,
}

impl Progress {
    /// A flight begins, which is lent `lent` of the `rest` bytes that are to be moved.
    #[inline]
    pub(super) fn begin(&mut self, rest: usize, lent: usize) {
        self.rest = rest;
        self.lent = lent;
    }

    /// A flight begins of what a buffer of `len` bytes has left: where it starts, and its length.
    #[inline]
    fn begin_in(&mut self, len: usize) -> (usize, u32) {
        let done = self.done.min(len);
        let rest = len - done;
        let lent = clamp_len(rest);
        self.begin(rest, lent as usize);
        (done, lent)
    }

    /// The bytes that the last flight was lent.
    pub(crate) fn lent(&self) -> u32 {
        clamp_len(self.lent)
    }

    /// Skips `n` more bytes, of those that the last flight was lent.
    pub(crate) fn advance(&mut self, n: usize) {
        let n = n.min(self.lent);
        self.lent -= n;
        self.done += n;
    }

    /// Begins anew with all bytes. Nothing of an earlier flight counts for it.
    pub(crate) fn start_over(&mut self) {
        self.done = 0;
        self.lent = 0;
    }

    /// The bytes moved by earlier flights.
    #[inline]
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// How many bytes were to be moved when the last flight began.
    pub(crate) fn rest(&self) -> usize {
        self.rest
    }

    /// The bytes that were moved before the last flight, which ended otherwise: no more will come.
    pub(crate) fn give_up(&mut self) -> usize {
        self.lent = 0;
        std::mem::take(&mut self.done)
    }

    /// All bytes moved, this flight's included.
    pub(super) fn total(&mut self, entry: Entry) -> io::Result<usize> {
        let n = entry.into_result()?.min(std::mem::take(&mut self.lent));
        let n = n.saturating_sub(usize::from(planted!("count-off-by-one")));
        Ok(std::mem::take(&mut self.done) + n)
    }
}

/// A descriptor, a buffer, and how much of it was moved.
#[derive(Debug)]
pub(crate) struct Transfer<F, B> {
    pub(crate) fd: F,
    pub(crate) buf: B,
    pub(crate) progress: Progress,
}

impl<F, B> Transfer<F, B> {
    pub(crate) fn new(fd: F, buf: B) -> Self {
        Self {
            fd,
            buf,
            progress: Progress::default(),
        }
    }
}

impl<F: Descriptor, B: IoBufMut> Transfer<F, B> {
    /// Where the kernel writes.
    #[inline]
    pub(crate) fn room(&mut self) -> (Target, *mut u8, u32) {
        let (ptr, len) = self.buf.parts_mut();
        // From here on the buffer is not to be borrowed again: it may lie in this very struct.
        let (done, len) = self.progress.begin_in(len);
        (self.fd.target(), ptr.wrapping_add(done), len)
    }

    /// # Safety
    /// `entry` is the last entry of the flight that `room` was asked for.
    pub(crate) unsafe fn finish_read(&mut self, entry: Entry) -> io::Result<usize> {
        let total = self.progress.total(entry)?;
        // SAFETY: (B5) the kernel wrote that many bytes from the start of the room, in this flight
        // and in those that were counted by `advance`: no more than it was lent, each once, and of
        // this very buffer, since `start_over` forgets both.
        unsafe { self.buf.set_filled(total) };
        Ok(total)
    }

    /// As [`Progress::give_up`], and the buffer has what came.
    ///
    /// # Safety
    /// The last flight that `room` was asked for is over.
    pub(crate) unsafe fn give_up_read(&mut self) -> usize {
        let moved = self.progress.give_up();
        // SAFETY: (B5) as in `finish_read`: counted by `advance`, of what was lent.
        unsafe { self.buf.set_filled(moved) };
        moved
    }
}

impl<F: Descriptor, B: IoBuf> Transfer<F, B> {
    /// What the kernel reads.
    #[inline]
    pub(crate) fn bytes(&mut self) -> (Target, *const u8, u32) {
        let (ptr, len) = self.buf.parts();
        let (done, len) = self.progress.begin_in(len);
        (self.fd.target(), ptr.wrapping_add(done), len)
    }

    pub(crate) fn finish_write(&mut self, entry: Entry) -> io::Result<usize> {
        self.progress.total(entry)
    }
}
