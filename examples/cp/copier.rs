//! The copy: slots, each of which reads a block, writes it, and takes the next one.

use crate::{ALIGN, Options, Result, about};
use completeio::buf::Aligned;
use completeio::clock::Instant;
use completeio::driver::{AsRawFd, CompleteIo, Driver, Entry, Fd};
use completeio::op::{Op, OpObject, ReadAt, WriteAt};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::mem;
use std::ptr::NonNull;
use std::time::Duration;

/// One block on its way. One of its operations is in flight at most, and that one has the buffer.
struct Slot {
    /// Where the block begins.
    at: u64,
    read: ReadAt<Fd, Aligned>,
    write: WriteAt<Fd, Aligned>,
    reading: bool,
    /// Bytes of the block that earlier writes have moved.
    written: usize,
}

/// A copy in progress.
pub(crate) struct Copier {
    // The first field is dropped first: whatever may be in flight outlives the driver.
    driver: Driver<'static>,
    // Cells, since a reference to the slots must not be one to what is in flight.
    slots: Box<[UnsafeCell<Slot>]>,
    queue: VecDeque<OpObject<'static>>,
    options: Options,
    _source: File,
    target: File,
    /// The size of the source when it was opened.
    size: u64,
    /// Where the next block begins.
    next: u64,
    /// Where the source ends, as far as reads have told.
    end: u64,
    progress: Progress,
}

impl Copier {
    /// Makes the slots, none of which does anything yet.
    pub(crate) fn new(
        mut driver: Driver<'static>,
        options: Options,
        source: File,
        target: File,
        size: u64,
    ) -> Result<Self> {
        let source_fd = driver.attach(source.as_raw_fd());
        let source_fd = source_fd.map_err(about(&options.from, "attaching"))?;
        let target_fd = driver.attach(target.as_raw_fd());
        let target_fd = target_fd.map_err(about(&options.to, "attaching"))?;
        let slot = |_| {
            let buffer = Aligned::try_new(options.block, ALIGN).map_err(|e| e.to_string())?;
            let read = ReadAt::new(source_fd, 0, buffer);
            let write = WriteAt::new(target_fd, 0, Aligned::new(0, ALIGN));
            Ok(UnsafeCell::new(Slot {
                at: 0,
                read,
                write,
                reading: true,
                written: 0,
            }))
        };
        Ok(Self {
            driver,
            slots: (0..options.depth).map(slot).collect::<Result<_>>()?,
            queue: VecDeque::with_capacity(options.depth),
            progress: Progress::new(size),
            options,
            _source: source,
            target,
            size,
            next: 0,
            end: u64::MAX,
        })
    }

    /// Copies from the start to the end.
    pub(crate) fn run(&mut self) -> Result<()> {
        let mut entries = Vec::with_capacity(self.slots.len());
        for i in 0..self.slots.len() {
            // SAFETY: nothing was lent yet.
            let slot = unsafe { &mut *self.slots[i].get() };
            if self.next_block(slot) {
                self.lend(slot, i);
            }
        }
        while !self.queue.is_empty() || self.driver.in_flight() > 0 {
            self.driver.push_queue(&mut self.queue);
            // SAFETY: slots stay in their box, and are not touched before the entry of what they
            // have lent came. They and the files are dropped after the driver.
            let submitted = unsafe { self.driver.submit(None, &mut entries) };
            submitted.map_err(|error| format!("the driver failed: {error}"))?;
            for entry in entries.drain(..) {
                self.step(entry)?;
            }
        }
        self.progress.end();
        // Direct IO writes whole blocks: what is too much is cut off.
        self.target
            .set_len(self.end)
            .map_err(about(&self.options.to, "setting its size"))
    }

    /// Goes on with the slot whose operation is complete.
    fn step(&mut self, entry: Entry) -> Result<()> {
        let i = entry.user_data();
        // SAFETY: the only operation of this slot that was in flight is complete.
        let slot = unsafe { &mut *self.slots[i].get() };
        let goes_on = if slot.reading {
            self.was_read(slot, entry)
                .map_err(about(&self.options.from, "reading"))?
        } else {
            self.was_written(slot, entry)
                .map_err(about(&self.options.to, "writing"))?
        };
        if goes_on {
            self.lend(slot, i);
        }
        Ok(())
    }

    /// Reads on, or turns to writing; `false` at the end of the file.
    fn was_read(&mut self, slot: &mut Slot, entry: Entry) -> io::Result<bool> {
        // SAFETY: this is the last entry of the slot's read.
        let n = unsafe { slot.read.finish(entry)? };
        let len = slot.read.buf().len();
        let end = slot.at + len as u64;
        // A file may shrink while it is read; those in `/proc` have no size.
        let at_end = n == 0
            || (self.size > 0 && end >= self.size)
            || (self.options.direct && len % ALIGN != 0);
        if !at_end && len < self.options.block {
            slot.read.set_offset(end);
            return Ok(true);
        }
        if at_end {
            self.end = self.end.min(end);
        }
        mem::swap(slot.read.buf_mut(), slot.write.buf_mut());
        if self.options.direct {
            let buffer = slot.write.buf_mut();
            buffer.set_len(len.next_multiple_of(ALIGN));
            buffer[len..].fill(0);
        }
        slot.write.set_offset(slot.at);
        slot.reading = false;
        Ok(len > 0)
    }

    /// Writes on, or turns to the next block; `false` if there is none.
    fn was_written(&mut self, slot: &mut Slot, entry: Entry) -> io::Result<bool> {
        let n = entry.result()?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.progress.add(n);
        slot.written += n;
        if slot.written < slot.write.buf().len() {
            slot.write.advance(n);
            return Ok(true);
        }
        // SAFETY: this is the last entry of the slot's write.
        unsafe { slot.write.finish(entry)? };
        mem::swap(slot.read.buf_mut(), slot.write.buf_mut());
        Ok(self.next_block(slot))
    }

    /// Takes the next block, if there is one.
    fn next_block(&mut self, slot: &mut Slot) -> bool {
        let size = if self.size > 0 { self.size } else { u64::MAX };
        if self.next >= size.min(self.end) {
            return false;
        }
        slot.at = self.next;
        slot.read.set_offset(slot.at);
        slot.read.buf_mut().clear();
        slot.reading = true;
        slot.written = 0;
        self.next += self.options.block as u64;
        true
    }

    /// Queues the slot's current operation. It is not touched until its entry came (`run`).
    fn lend(&mut self, slot: &mut Slot, i: usize) {
        self.queue.push_back(if slot.reading {
            // SAFETY: neither operation is in flight, and both stay in the box of slots.
            unsafe { OpObject::from_ptr(NonNull::from(&mut slot.read), i) }
        } else {
            // SAFETY: as above.
            unsafe { OpObject::from_ptr(NonNull::from(&mut slot.write), i) }
        });
    }
}

/// A line that tells how far the copy is: on a terminal, or for a large file.
struct Progress {
    shown: bool,
    size: u64,
    done: u64,
    start: Instant,
    next: Instant,
}

impl Progress {
    const STEP: Duration = Duration::from_millis(100);

    fn new(size: u64) -> Self {
        let shown = io::stderr().is_terminal() || size > 64 << 20;
        let start = Instant::now();
        Self {
            shown,
            size,
            done: 0,
            start,
            next: start + Self::STEP,
        }
    }

    fn add(&mut self, n: usize) {
        self.done += n as u64;
        if self.shown && Instant::now() >= self.next {
            self.next += Self::STEP;
            self.print("");
        }
    }

    fn end(&self) {
        if self.shown && self.done > 0 {
            self.print("\n");
        }
    }

    fn print(&self, end: &str) {
        let percent = self.done * 100 / self.size.max(self.done);
        let rate = self.done as f64 / (1 << 20) as f64 / self.start.elapsed().as_secs_f64();
        eprint!("\r{percent:3} %  {rate:.0} MiB/s {end}");
    }
}
