//! Buffers that the kernel chooses from.

use crate::raw::Ring;
use io_uring::types::BufRingEntry;
use std::alloc::{self, Layout};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Room for so many bytes of small requests; for large ones there are fewer buffers.
const MANY: u16 = 2048;
const FEW: u16 = 512;
const LARGE: usize = 4096;

/// Buffers that the kernel chooses from when bytes come, and the ring that names them.
pub(super) struct Buffers {
    ring: NonNull<BufRingEntry>,
    memory: Vec<u8>,
    /// Bytes of each.
    bytes: usize,
    count: u16,
    tail: u16,
}

impl Buffers {
    fn layout(count: u16) -> Layout {
        let ring = Layout::array::<BufRingEntry>(count.into());
        ring.and_then(|ring| ring.align_to(4096)).expect("32 KiB")
    }

    /// Buffers of so many bytes each.
    pub(super) fn new(bytes: usize) -> Self {
        let count = if bytes < LARGE { MANY } else { FEW };
        // SAFETY: the layout has a size.
        let ring = unsafe { alloc::alloc_zeroed(Self::layout(count)) };
        let ring = NonNull::new(ring.cast()).expect("32 KiB of memory");
        Self {
            ring,
            memory: vec![0; bytes * usize::from(count)],
            bytes,
            count,
            tail: 0,
        }
    }

    /// Lets the kernel choose from them.
    pub(super) fn register(&mut self, ring: &Ring<'_>) -> io::Result<()> {
        let address = self.ring.as_ptr().expose_provenance() as u64;
        // SAFETY: the memory is as large as said; this value is dropped after the ring.
        unsafe {
            ring.submitter
                .register_buf_ring_with_flags(address, self.count, 0, 0)
        }?;
        for id in 0..self.count {
            self.give_back(id);
        }
        self.publish();
        Ok(())
    }

    /// What the kernel has put into one.
    pub(super) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        &self.memory[usize::from(id) * self.bytes..][..len]
    }

    /// Lets the kernel take it again, from the next [`publish`](Self::publish) on.
    pub(super) fn give_back(&mut self, id: u16) {
        let place = usize::from(self.tail % self.count);
        // SAFETY: within the ring; the kernel reads it after `publish` only.
        let mut entry = unsafe { self.ring.add(place) };
        // SAFETY: as above, and zeroed when it was allocated.
        let entry = unsafe { entry.as_mut() };
        let buffer = &mut self.memory[usize::from(id) * self.bytes..][..self.bytes];
        entry.set_addr(buffer.as_mut_ptr().expose_provenance() as u64);
        entry.set_len(u32::try_from(self.bytes).expect("buffers are small"));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    pub(super) fn publish(&mut self) {
        // SAFETY: the ring is allocated; the tail lies in its first entry.
        let tail = unsafe { BufRingEntry::tail(self.ring.as_ptr()) };
        // SAFETY: aligned, allocated, and touched by atomics only, here and in the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { alloc::dealloc(self.ring.as_ptr().cast(), Self::layout(self.count)) };
    }
}
