//! Memory to lend: mapped twice, so that it can be watched; or longer than anybody would fill.

use crate::kit;
#[cfg(unix)]
use completeio_driver::{driver::AsRawFd, op::Raw};
use std::ptr;

/// Memory of the process's own that takes up none until it is used: for lengths that no test
/// would fill.
pub(crate) struct Region {
    start: *mut u8,
    len: usize,
}

impl Region {
    pub(crate) fn new(len: usize) -> Self {
        let start = kit::map(len);
        Self { start, len }
    }

    /// One region in two places.
    pub(crate) fn twice(len: usize) -> [Self; 2] {
        kit::map_twice(len).map(|start| Self { start, len })
    }

    /// The memory, for an operation that is gone before this is.
    pub(crate) fn lend(&self, range: std::ops::Range<usize>) -> &'static mut [u8] {
        assert!(range.end <= self.len);
        // SAFETY: within the mapping; the test lends each part once at a time.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(start, range.len()) }
    }

    pub(crate) fn fill(&self, byte: u8) {
        // SAFETY: the mapping, whose other view may be written by others as any memory may.
        unsafe { ptr::write_bytes(self.start, byte, self.len) };
    }

    pub(crate) fn assert_is(&self, byte: u8) {
        assert!(self.lend(0..self.len).iter().all(|found| *found == byte));
    }

    /// Looks again and again whether somebody still writes.
    pub(crate) fn assert_stays(&self, byte: u8) {
        for pass in 0..20 {
            // Read anew each time: another view of the memory may change.
            let bytes = std::hint::black_box(self.lend(0..self.len));
            let changed = bytes
                .chunks(4096)
                .position(|page| page != &[byte; 4096][..page.len()]);
            assert_eq!(
                changed, None,
                "I3: a page was written late, seen in pass {pass}"
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` or `twice`, and lent to nobody any more.
        unsafe { kit::unmap(self.start, self.len) };
    }
}

/// An io_uring entry that reads on one of the kernel's worker threads, whatever is cached.
#[cfg(unix)]
pub(crate) fn read_on_a_worker(file: &impl AsRawFd, offset: u64, buffer: &'static mut [u8]) -> Raw {
    const READ: u8 = 22;
    const ASYNC: u8 = 1 << 4;
    let mut entry = [0; 64];
    entry[..2].copy_from_slice(&[READ, ASYNC]);
    entry[4..8].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
    entry[8..16].copy_from_slice(&offset.to_ne_bytes());
    entry[16..24].copy_from_slice(&(buffer.as_mut_ptr().expose_provenance() as u64).to_ne_bytes());
    entry[24..28].copy_from_slice(&u32::try_from(buffer.len()).unwrap().to_ne_bytes());
    // SAFETY: reads into the buffer, which the test keeps until the driver is gone.
    unsafe { Raw::new(entry) }
}
