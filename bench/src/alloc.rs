//! An allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, which counts what is asked of it: exact as long as one thread allocates
/// at a time, a lower bound otherwise, and about a nanosecond a call.
///
/// What is no smaller than a page is page-aligned: a plain `Vec` of every peer serves for O_DIRECT,
/// and the kernel's copies take as long for all. To other addresses some processors need three
/// times as long.
#[derive(Debug)]
pub struct Counting;

#[global_allocator]
static GLOBAL: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Allocations so far, those that grow included.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

#[inline]
fn count() {
    // No read-modify-write: it would cost more than it counts.
    ALLOCATIONS.store(allocations() + 1, Ordering::Relaxed);
}

#[inline]
fn aligned(layout: Layout) -> Layout {
    match layout.align_to(PAGE) {
        Ok(aligned) if layout.size() >= PAGE => aligned,
        _ => layout,
    }
}

// SAFETY: the system's allocator, asked for more alignment by a rule of the layout alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(aligned(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(aligned(layout)) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract; the rule is that of the allocation.
        unsafe { System.dealloc(memory, aligned(layout)) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract: the size is not too large for the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if aligned(layout).align() == aligned(new).align() {
            count();
            // SAFETY: the caller's contract; the rule is that of the allocation.
            return unsafe { System.realloc(memory, aligned(layout), size) };
        }
        // SAFETY: the caller's contract.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            let len = layout.size().min(size);
            // SAFETY: both have as many bytes, and the new one was nobody's.
            unsafe { memory.copy_to_nonoverlapping(moved, len) };
            // SAFETY: the caller gives it up.
            unsafe { self.dealloc(memory, layout) };
        }
        moved
    }
}
