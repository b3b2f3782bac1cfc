//! An allocator that counts between two marks, and what was counted at which step.

use crate::system::on_the_first_thread;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts, while it is told to.
pub(crate) struct Counting;

pub(crate) static COUNTS: AtomicBool = AtomicBool::new(false);

pub(crate) static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

pub(crate) static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Whether the first thread is the harness's, which sets up its wait for the test whenever it comes
/// to it.
pub(crate) static HARNESS: AtomicBool = AtomicBool::new(false);

pub(crate) fn count(size: usize) {
    if COUNTS.load(Ordering::Relaxed) && !(HARNESS.load(Ordering::Relaxed) && on_the_first_thread())
    {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
    }
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was counted at which step.
pub(crate) struct Marks {
    pub(crate) steps: Vec<(&'static str, usize, usize)>,
    pub(crate) seen: (usize, usize),
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self {
            steps: Vec::with_capacity(128),
            seen: (0, 0),
        }
    }

    /// Ends a step.
    pub(crate) fn step(&mut self, name: &'static str) {
        let now = (
            ALLOCATIONS.load(Ordering::SeqCst),
            BYTES.load(Ordering::SeqCst),
        );
        assert!(
            self.steps.len() < self.steps.capacity(),
            "the marks do not allocate either"
        );
        self.steps
            .push((name, now.0 - self.seen.0, now.1 - self.seen.1));
        self.seen = now;
    }

    pub(crate) fn check(&self) {
        let guilty: Vec<_> = self
            .steps
            .iter()
            .filter(|(_, count, _)| *count > 0)
            .collect();
        assert!(
            guilty.is_empty(),
            "I15: (step, allocations, bytes): {guilty:#?}"
        );
        assert!(self.steps.len() > 60, "everything was run");
        println!("{} steps without an allocation", self.steps.len());
    }
}
