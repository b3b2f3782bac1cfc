//! An owned buffer at an aligned address, as O_DIRECT asks for.
#![allow(
    unsafe_code,
    reason = "allocates, and implements the unsafe buffer traits"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use super::{IoBuf, IoBufMut, Storage};

/// A buffer at an aligned address, of a fixed capacity.
///
/// It has a length, like a `Vec`: a new one is empty, a read fills its spare capacity and extends
/// it, a write lends its length. Unlike a `Vec` it never grows, and all of its capacity is
/// initialised, with zeros at first, so that [`set_len`](Self::set_len) is safe.
///
/// O_DIRECT wants address, length and file offset to be multiples of the device's block size. The
/// spare capacity begins at an aligned address only where the length is such a multiple:
/// [`clear`](Self::clear) the buffer, or lend a [`slice`](super::Sliceable::slice), to read again.
///
/// ```
/// use completeio_driver::buf::{Aligned, IoBufMut};
///
/// let mut block = Aligned::new(4096, 512);
/// let (at, len) = block.parts_mut();
/// assert_eq!((at.addr() % 512, len), (0, 4096));
/// ```
pub struct Aligned {
    /// Owns `layout.size()` bytes, all of them initialised (B8); dangling if that is zero.
    ptr: NonNull<u8>,
    /// At most `layout.size()`.
    len: usize,
    layout: Layout,
}

// SAFETY: the memory is owned, as that of a `Box<[u8]>`; it has no tie to a thread.
unsafe impl Send for Aligned {}

// SAFETY: as a `Box<[u8]>`: `&Aligned` only reads.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// An empty buffer of `capacity` zeroed bytes at a multiple of `align` bytes.
    ///
    /// # Panics
    ///
    /// Where [`try_new`](Self::try_new) returns an error.
    ///
    /// ```
    /// use completeio_driver::buf::Aligned;
    ///
    /// let block = Aligned::new(4096, 4096);
    /// assert!(block.is_empty());
    /// ```
    #[must_use]
    #[track_caller]
    pub fn new(capacity: usize, align: usize) -> Self {
        match Self::try_new(capacity, align) {
            Ok(buffer) => buffer,
            Err(error) => panic!("{error}"),
        }
    }

    /// An empty buffer of `capacity` zeroed bytes at a multiple of `align` bytes.
    ///
    /// # Errors
    ///
    /// [`AlignedError::Layout`] if `align` is not a power of two or `capacity` is too large,
    /// [`AlignedError::OutOfMemory`] if the allocator has no such memory.
    ///
    /// ```
    /// use completeio_driver::buf::{Aligned, AlignedError};
    ///
    /// let error = Aligned::try_new(4096, 1000).unwrap_err();
    /// assert_eq!(error, AlignedError::Layout { capacity: 4096, align: 1000 });
    /// ```
    pub fn try_new(capacity: usize, align: usize) -> Result<Self, AlignedError> {
        let Ok(layout) = Layout::from_size_align(capacity, align) else {
            return Err(AlignedError::Layout { capacity, align });
        };
        let ptr = if capacity == 0 {
            ptr::without_provenance_mut(align)
        } else {
            // SAFETY: the layout's size is not zero.
            unsafe { alloc_zeroed(layout) }
        };
        let Some(ptr) = NonNull::new(ptr) else {
            return Err(AlignedError::OutOfMemory { capacity, align });
        };
        Ok(Self {
            ptr,
            len: 0,
            layout,
        })
    }

    /// How many bytes there is room for, in all.
    ///
    /// ```
    /// use completeio_driver::buf::Aligned;
    ///
    /// assert_eq!(Aligned::new(4096, 512).capacity(), 4096);
    /// ```
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// What the address is a multiple of, in bytes.
    ///
    /// ```
    /// use completeio_driver::buf::Aligned;
    ///
    /// assert_eq!(Aligned::new(4096, 512).align(), 512);
    /// ```
    #[must_use]
    pub fn align(&self) -> usize {
        self.layout.align()
    }

    /// Makes the buffer `len` bytes long. Bytes that come into view are zero, or what they were
    /// when they were last seen, or what the kernel wrote.
    ///
    /// # Panics
    ///
    /// If `len` is more than the capacity.
    ///
    /// ```
    /// use completeio_driver::buf::Aligned;
    ///
    /// let mut block = Aligned::new(512, 512);
    /// block.set_len(512);
    /// block[..5].copy_from_slice(b"hello");
    /// assert_eq!(block[5..], [0; 507]);
    /// ```
    #[track_caller]
    pub fn set_len(&mut self, len: usize) {
        let capacity = self.capacity();
        assert!(
            len <= capacity,
            "a length of {len} in an aligned buffer of {capacity} bytes"
        );
        self.len = len;
    }

    /// Makes the buffer empty; its bytes stay as they are.
    ///
    /// ```
    /// use completeio_driver::buf::Aligned;
    ///
    /// let mut block = Aligned::new(512, 512);
    /// block.set_len(512);
    /// block.clear();
    /// assert!(block.is_empty());
    /// ```
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        if self.layout.size() != 0 {
            // SAFETY: B8: allocated by `try_new` with this layout, and owned until here.
            unsafe { dealloc(self.ptr.as_ptr(), self.layout) }
        }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: B8: `len` bytes are initialised; `&self` excludes writes to them.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: B8: `len` bytes are initialised; `&mut self` excludes any other use of them.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

/// Sizes only: the bytes are many.
impl fmt::Debug for Aligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aligned")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .field("align", &self.align())
            .finish_non_exhaustive()
    }
}

// SAFETY: B2 and B3 by B8: the value owns `len` initialised bytes outside of itself, and only
// `&mut self` writes or frees them.
unsafe impl IoBuf for Aligned {
    fn parts(&self) -> (*const u8, usize) {
        (self.ptr.as_ptr().cast_const(), self.len)
    }
}

// SAFETY: B2 and B3 by B8: the value owns its spare capacity, outside of itself, and nothing reads
// or writes that before `set_filled` or `set_len`.
unsafe impl IoBufMut for Aligned {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        // Within the allocation, or at its end: `len` is at most the capacity (B8).
        (
            self.ptr.as_ptr().wrapping_add(self.len),
            self.capacity() - self.len,
        )
    }

    unsafe fn set_filled(&mut self, n: usize) {
        self.set_len(self.len + n);
    }
}

// SAFETY: as for `IoBufMut`; the pointer is that of `parts` (B7).
unsafe impl Storage for Aligned {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        (self.ptr.as_ptr(), self.capacity())
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        self.set_len(n);
    }
}

/// Why there is no [`Aligned`] buffer.
///
/// ```
/// use completeio_driver::buf::Aligned;
///
/// let error = Aligned::try_new(512, 3).unwrap_err();
/// assert!(error.to_string().contains("no power of two"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlignedError {
    /// The alignment is not a power of two, or the size, rounded up to it, exceeds `isize::MAX`.
    Layout {
        /// Bytes asked for.
        capacity: usize,
        /// Alignment asked for, in bytes.
        align: usize,
    },
    /// The allocator has no such memory.
    OutOfMemory {
        /// Bytes asked for.
        capacity: usize,
        /// Alignment asked for, in bytes.
        align: usize,
    },
}

impl fmt::Display for AlignedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Layout { capacity, align } => {
                let why = if align.is_power_of_two() {
                    "too large"
                } else {
                    "that is no power of two"
                };
                write!(
                    f,
                    "no layout of {capacity} bytes at a multiple of {align}: {why}"
                )
            }
            Self::OutOfMemory { capacity, align } => {
                write!(f, "no memory of {capacity} bytes at a multiple of {align}")
            }
        }
    }
}

impl Error for AlignedError {}
