//! What all operations share that move bytes between a descriptor and one buffer.
#![allow(unsafe_code, reason = "a buffer is told what the kernel wrote")]

use super::call::clamp_len;
use crate::buf::{IoBuf, IoBufMut};
use crate::driver::Entry;
use crate::fd::{Descriptor, Target};
use std::io;

/// A descriptor, a buffer, and how much of it earlier flights have moved.
#[derive(Debug)]
pub(crate) struct Transfer<F, B> {
    pub(crate) fd: F,
    pub(crate) buf: B,
    done: usize,
}

impl<F, B> Transfer<F, B> {
    pub(crate) fn new(fd: F, buf: B) -> Self {
        Self { fd, buf, done: 0 }
    }

    /// Skips `n` more bytes of the buffer.
    pub(crate) fn advance(&mut self, n: usize) {
        self.done = self.done.saturating_add(n);
    }

    /// Begins anew with the whole buffer.
    pub(crate) fn start_over(&mut self) {
        self.done = 0;
    }

    /// The bytes moved by earlier flights.
    #[inline]
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// All bytes moved, this flight's included.
    fn total(&mut self, entry: Entry) -> io::Result<usize> {
        let n = entry.into_result()?;
        Ok(std::mem::take(&mut self.done) + n)
    }
}

impl<F: Descriptor, B: IoBufMut> Transfer<F, B> {
    /// Where the kernel writes.
    #[inline]
    pub(crate) fn room(&mut self) -> (Target, *mut u8, u32) {
        let (ptr, len) = self.buf.parts_mut();
        let done = self.done.min(len);
        (
            self.fd.target(),
            ptr.wrapping_add(done),
            clamp_len(len - done),
        )
    }

    /// # Safety
    /// `entry` is the last entry of the flight that `room` was asked for.
    pub(crate) unsafe fn finish_read(&mut self, entry: Entry) -> io::Result<usize> {
        let total = self.total(entry)?;
        // SAFETY: (B3) the kernel wrote that many bytes from the start of the room, in this flight
        // and in those that were counted by `advance`.
        unsafe { self.buf.set_filled(total) };
        Ok(total)
    }
}

impl<F: Descriptor, B: IoBuf> Transfer<F, B> {
    /// What the kernel reads.
    #[inline]
    pub(crate) fn bytes(&mut self) -> (Target, *const u8, u32) {
        let (ptr, len) = self.buf.parts();
        let done = self.done.min(len);
        (
            self.fd.target(),
            ptr.wrapping_add(done),
            clamp_len(len - done),
        )
    }

    pub(crate) fn finish_write(&mut self, entry: Entry) -> io::Result<usize> {
        self.total(entry)
    }
}
