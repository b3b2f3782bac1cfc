//! Parts of buffers, and copies: what streams need that keep bytes back, or pass them on in part.
#![allow(unsafe_code, reason = "reads and writes through what buffers lend")]

use super::{IntoInner, IoBufMut, IoBufs, IoBufsMut};

/// Copies as many of `bytes` as `buffer` has room for; returns how many that were.
///
/// ```
/// use completeio_driver::buf::{Sliceable, fill};
///
/// let mut window = vec![0; 8].slice(2..4);
/// assert_eq!(fill(&mut window, b"abc"), 2);
/// assert_eq!(window.get_ref(), b"\0\0ab");
/// ```
pub fn fill(buffer: &mut impl IoBufMut, bytes: &[u8]) -> usize {
    fill_all(&mut [buffer], bytes)
}

/// As [`fill`], into several buffers, in their order.
///
/// ```
/// use completeio_driver::buf::fill_all;
///
/// let mut buffers = ([0; 2], [b'-'; 2]);
/// assert_eq!(fill_all(&mut buffers, b"abc"), 3);
/// assert_eq!(buffers, (*b"ab", *b"c-"));
/// ```
pub fn fill_all(buffers: &mut impl IoBufsMut, bytes: &[u8]) -> usize {
    let mut rest = bytes;
    buffers.each_part_mut(|at, room| {
        let (now, later) = rest.split_at(room.min(rest.len()));
        rest = later;
        // SAFETY: B2: there is room for so many bytes, which nobody else reaches (B3).
        unsafe { at.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
    });
    let filled = bytes.len() - rest.len();
    // SAFETY: B5: so many bytes were written just now, in the order of the parts.
    unsafe { buffers.set_filled(filled) };
    filled
}

/// Shows the bytes of several buffers, in their order. Those of one are what its
/// [`slice`](super::Sliceable::slice) derefs to.
///
/// ```
/// use completeio_driver::buf::each_slice;
///
/// let mut text = Vec::new();
/// each_slice(&("one ", vec![b'2']), |bytes| text.extend_from_slice(bytes));
/// assert_eq!(text, b"one 2");
/// ```
pub fn each_slice(buffers: &impl IoBufs, mut each: impl FnMut(&[u8])) {
    buffers.each_part(|at, len| {
        // SAFETY: B2 and B3: so many bytes are valid, and nobody writes them while `buffers` is
        // borrowed.
        each(unsafe { std::slice::from_raw_parts(at, len) });
    });
}

/// A buffer, or buffers, of whose room a read has a part only, or a write of whose bytes: the first
/// so many of them.
///
/// ```
/// use completeio_driver::buf::{IntoInner, IoBufMut, Limit, each_slice};
///
/// let mut limited = Limit::new(vec![1; 3], 4);
/// limited.get_mut().reserve(100);
/// assert_eq!(IoBufMut::parts_mut(&mut limited).1, 4);
/// assert_eq!(limited.into_inner(), [1; 3]);
///
/// let mut text = Vec::new();
/// each_slice(&Limit::new(("one", "two"), 4), |part| text.extend_from_slice(part));
/// assert_eq!(text, b"onet");
/// ```
#[derive(Debug)]
pub struct Limit<B> {
    buffer: B,
    max: usize,
}

impl<B> Limit<B> {
    /// At most `max` bytes of `buffer`, or of its room.
    pub fn new(buffer: B, max: usize) -> Self {
        Self { buffer, max }
    }

    /// The whole of it.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.buffer
    }
}

impl<B> IntoInner for Limit<B> {
    type Inner = B;

    fn into_inner(self) -> B {
        self.buffer
    }
}

// SAFETY: what is lent is the first part of what `B` lends, and this value is touched when `B` is:
// B2 and B3 are those of `B`.
unsafe impl<B: IoBufMut> IoBufMut for Limit<B> {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        let (at, room) = self.buffer.parts_mut();
        (at, room.min(self.max))
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: B5: the caller's promise is about the first part of what `B` gave.
        unsafe { self.buffer.set_filled(n) }
    }
}

// SAFETY: as above; parts lose bytes at their ends only, and all parts behind the limit lose all of
// theirs, so that `n` bytes are counted as `B` counts them.
unsafe impl<B: IoBufsMut> IoBufsMut for Limit<B> {
    type Table = B::Table;

    fn table(&self) -> Self::Table {
        self.buffer.table()
    }

    fn each_part_mut(&mut self, mut each: impl FnMut(*mut u8, usize)) {
        let mut left = self.max;
        self.buffer.each_part_mut(|at, room| {
            let room = room.min(left);
            left -= room;
            each(at, room);
        });
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: B5: as above.
        unsafe { self.buffer.set_filled(n) }
    }
}

// SAFETY: each part is the first part of one of `V`, and this value is touched when `V` is: B2 and
// B3 are those of `V`.
unsafe impl<V: IoBufs> IoBufs for Limit<V> {
    type Table = V::Table;

    fn table(&self) -> Self::Table {
        self.buffer.table()
    }

    fn each_part(&self, mut each: impl FnMut(*const u8, usize)) {
        let mut left = self.max;
        self.buffer.each_part(|at, len| {
            let len = len.min(left);
            left -= len;
            each(at, len);
        });
    }
}

/// What a write has left of several buffers: all but the first so many bytes.
///
/// ```
/// use completeio_driver::buf::{Rest, each_slice};
///
/// let mut text = Vec::new();
/// each_slice(&Rest::new(("one", "two"), 4), |part| text.extend_from_slice(part));
/// assert_eq!(text, b"wo");
/// ```
#[derive(Debug)]
pub struct Rest<V> {
    buffers: V,
    done: usize,
}

impl<V: IoBufs> Rest<V> {
    /// All but the first `done` bytes of `buffers`.
    pub fn new(buffers: V, done: usize) -> Self {
        Self { buffers, done }
    }
}

impl<V> IntoInner for Rest<V> {
    type Inner = V;

    fn into_inner(self) -> V {
        self.buffers
    }
}

// SAFETY: each part lies within one of `V`, and this value is touched when `V` is: B2 and B3 are
// those of `V`.
unsafe impl<V: IoBufs> IoBufs for Rest<V> {
    type Table = V::Table;

    fn table(&self) -> Self::Table {
        self.buffers.table()
    }

    fn each_part(&self, mut each: impl FnMut(*const u8, usize)) {
        let mut skip = self.done;
        self.buffers.each_part(|at, len| {
            let skipped = skip.min(len);
            skip -= skipped;
            each(at.wrapping_add(skipped), len - skipped);
        });
    }
}
