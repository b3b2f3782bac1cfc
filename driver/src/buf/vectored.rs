//! Several buffers as one.
#![allow(
    unsafe_code,
    reason = "the traits are unsafe: they promise what the kernel relies on"
)]

use super::{IoBuf, IoBufMut};
use crate::sys::{RawIoVec, io_vec, io_vec_parts};
use std::fmt;

/// Buffers that the kernel reads in order, as if they were one.
///
/// Implemented for arrays, tuples of up to four, vectors, boxed slices and references to slices of
/// whatever is an [`IoBuf`].
///
/// # Safety
/// What [`IoBuf`] promises holds for every part that [`each_part`](Self::each_part) names, until
/// the value is next touched: the parts, their number and their order stay what they are.
///
/// ```
/// use completeio_driver::buf::IoBufs;
///
/// let mut lens = Vec::new();
/// ("head", vec![0; 7]).each_part(|_, len| lens.push(len));
/// assert_eq!(lens, [4, 7]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no buffers that the kernel can read",
    note = "use an array, a tuple, a `Vec` or a slice of buffers, such as `[&[u8]; 2]`"
)]
pub unsafe trait IoBufs: Unpin {
    /// Where an operation keeps the parts' places.
    type Table: Table;

    /// A table for as many parts as there are now: an operation asks for it when it is built, and
    /// that is the only time when anything may be allocated.
    fn table(&self) -> Self::Table;

    /// Names the parts in order: where each begins, and how many bytes it has.
    fn each_part(&self, each: impl FnMut(*const u8, usize));
}

/// Buffers that the kernel writes in order, as if they were one.
///
/// Implemented for arrays, tuples of up to four, vectors, boxed slices and exclusive references to
/// slices of whatever is an [`IoBufMut`].
///
/// # Safety
/// What [`IoBufMut`] promises holds for every part that [`each_part_mut`](Self::each_part_mut)
/// names, until the value is next touched; no two parts overlap; and
/// [`set_filled`](Self::set_filled) counts through the parts in their order.
///
/// ```
/// use completeio_driver::buf::IoBufsMut;
///
/// let mut room = Vec::new();
/// ([0; 4], Vec::with_capacity(8)).each_part_mut(|_, len| room.push(len));
/// assert_eq!(room, [4, 8]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no buffers that the kernel can write",
    note = "use an array, a tuple, a `Vec` or a slice of buffers, such as `[Vec<u8>; 2]`"
)]
pub unsafe trait IoBufsMut: Unpin {
    /// Where an operation keeps the parts' places.
    type Table: Table;

    /// A table for as many parts as there are now: an operation asks for it when it is built, and
    /// that is the only time when anything may be allocated.
    fn table(&self) -> Self::Table;

    /// Names the parts in order: where each begins, and how many bytes have room.
    fn each_part_mut(&mut self, each: impl FnMut(*mut u8, usize));

    /// Tells that the first `n` bytes of all parts together are initialised now.
    ///
    /// # Safety
    /// `n` is at most what the parts of the last `each_part_mut` have together; so many bytes are
    /// initialised, in their order; and since that call the value was at most moved, after the
    /// memory came back.
    unsafe fn set_filled(&mut self, n: usize);
}

/// A part of a vectored transfer, as the kernel is told of it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct IoVec(RawIoVec);

impl IoVec {
    /// No bytes at all.
    pub const EMPTY: Self = Self(io_vec(std::ptr::null_mut(), 0));

    pub(crate) fn new(ptr: *mut u8, len: usize) -> Self {
        Self(io_vec(ptr, len))
    }

    /// Where the bytes lie, and how many there are.
    pub(crate) fn parts(&self) -> (*mut u8, usize) {
        io_vec_parts(&self.0)
    }
}

impl fmt::Debug for IoVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ptr, len) = self.parts();
        f.debug_struct("IoVec")
            .field("ptr", &ptr)
            .field("len", &len)
            .finish()
    }
}

// SAFETY: an address that is followed by the driver alone, while what it names is lent.
unsafe impl Send for IoVec {}
// SAFETY: as above.
unsafe impl Sync for IoVec {}

/// Where an operation keeps the places of its parts: in itself, or on the heap.
pub trait Table: sealed::Table + Unpin {}

impl<const N: usize> Table for [IoVec; N] {}
impl Table for Box<[IoVec]> {}

mod sealed {
    use super::IoVec;

    pub trait Table {
        fn places(&mut self) -> &mut [IoVec];
    }

    impl<const N: usize> Table for [IoVec; N] {
        fn places(&mut self) -> &mut [IoVec] {
            self
        }
    }

    impl Table for Box<[IoVec]> {
        fn places(&mut self) -> &mut [IoVec] {
            self
        }
    }
}

/// A table on the heap.
fn boxed(parts: usize) -> Box<[IoVec]> {
    vec![IoVec::EMPTY; parts].into()
}

// SAFETY: the parts lie in the array or behind it, and keep what `B` promises while the array is
// untouched.
unsafe impl<B: IoBuf, const N: usize> IoBufs for [B; N] {
    type Table = [IoVec; N];

    fn table(&self) -> Self::Table {
        [IoVec::EMPTY; N]
    }

    fn each_part(&self, each: impl FnMut(*const u8, usize)) {
        parts_of(self, each);
    }
}

// SAFETY: as above; elements of an array do not overlap.
unsafe impl<B: IoBufMut, const N: usize> IoBufsMut for [B; N] {
    type Table = [IoVec; N];

    fn table(&self) -> Self::Table {
        [IoVec::EMPTY; N]
    }

    fn each_part_mut(&mut self, each: impl FnMut(*mut u8, usize)) {
        parts_of_mut(self, each);
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: the caller's contract.
        unsafe { fill_all(self, n) };
    }
}

/// Owners of a slice of buffers.
macro_rules! slices {
    ($($reads:ty),*; $($writes:ty),*) => {
        $(
            // SAFETY: the elements keep what `B` promises while their owner is untouched.
            unsafe impl<B: IoBuf> IoBufs for $reads {
                type Table = Box<[IoVec]>;

                fn table(&self) -> Self::Table {
                    boxed(self.len())
                }

                fn each_part(&self, each: impl FnMut(*const u8, usize)) {
                    parts_of(self, each);
                }
            }
        )*
        $(
            // SAFETY: as above; elements of a slice do not overlap.
            unsafe impl<B: IoBufMut> IoBufsMut for $writes {
                type Table = Box<[IoVec]>;

                fn table(&self) -> Self::Table {
                    boxed(self.len())
                }

                fn each_part_mut(&mut self, each: impl FnMut(*mut u8, usize)) {
                    parts_of_mut(self, each);
                }

                unsafe fn set_filled(&mut self, n: usize) {
                    // SAFETY: the caller's contract.
                    unsafe { fill_all(self, n) };
                }
            }
        )*
    };
}
slices!(Vec<B>, Box<[B]>, &[B], &mut [B]; Vec<B>, Box<[B]>, &mut [B]);

fn parts_of<B: IoBuf>(buffers: &[B], mut each: impl FnMut(*const u8, usize)) {
    for buffer in buffers {
        let (ptr, len) = buffer.parts();
        each(ptr, len);
    }
}

fn parts_of_mut<B: IoBufMut>(buffers: &mut [B], mut each: impl FnMut(*mut u8, usize)) {
    for buffer in buffers {
        let (ptr, len) = buffer.parts_mut();
        each(ptr, len);
    }
}

/// # Safety
/// As [`IoBufsMut::set_filled`].
unsafe fn fill_all<B: IoBufMut>(buffers: &mut [B], mut n: usize) {
    for buffer in buffers {
        // SAFETY: the caller's contract.
        n -= unsafe { fill(buffer, n) };
    }
    debug_assert_eq!(n, 0, "filled more than was lent");
}

/// Tells a buffer of as many of `n` bytes as it has room for; returns how many.
///
/// # Safety
/// As [`IoBufsMut::set_filled`], for those that reach this part.
unsafe fn fill<B: IoBufMut>(buffer: &mut B, n: usize) -> usize {
    let n = n.min(buffer.parts_mut().1);
    // SAFETY: B5: within its room, which is what it was; the bytes were written in order.
    unsafe { buffer.set_filled(n) };
    n
}

/// Tuples: buffers of different types.
macro_rules! tuples {
    ($($len:literal: $($buffer:ident . $index:tt),*;)*) => {$(
        // SAFETY: the parts lie in the tuple or behind it, and keep what each type promises while
        // the tuple is untouched.
        unsafe impl<$($buffer: IoBuf),*> IoBufs for ($($buffer,)*) {
            type Table = [IoVec; $len];

            fn table(&self) -> Self::Table {
                [IoVec::EMPTY; $len]
            }

            fn each_part(&self, mut each: impl FnMut(*const u8, usize)) {
                $(
                    let (ptr, len) = self.$index.parts();
                    each(ptr, len);
                )*
            }
        }

        // SAFETY: as above; fields of a tuple do not overlap.
        unsafe impl<$($buffer: IoBufMut),*> IoBufsMut for ($($buffer,)*) {
            type Table = [IoVec; $len];

            fn table(&self) -> Self::Table {
                [IoVec::EMPTY; $len]
            }

            fn each_part_mut(&mut self, mut each: impl FnMut(*mut u8, usize)) {
                $(
                    let (ptr, len) = self.$index.parts_mut();
                    each(ptr, len);
                )*
            }

            unsafe fn set_filled(&mut self, mut n: usize) {
                $(
                    // SAFETY: the caller's contract.
                    n -= unsafe { fill(&mut self.$index, n) };
                )*
                debug_assert_eq!(n, 0, "filled more than was lent");
            }
        }
    )*};
}
tuples! {
    1: A.0;
    2: A.0, B.1;
    3: A.0, B.1, C.2;
    4: A.0, B.1, C.2, D.3;
}

/// Writes the places of parts, but for the first `done` bytes, into a table: as many as it and one
/// call of the kernel's take, and `limit` bytes at most. Returns how many parts and bytes there
/// are.
pub(crate) struct Filling<'t> {
    places: &'t mut [IoVec],
    skip: usize,
    left: usize,
    parts: usize,
    limit: usize,
    /// The bytes of all parts, without those that are skipped.
    rest: usize,
    /// Whether parts with bytes had no place.
    short: bool,
}

impl<'t> Filling<'t> {
    pub(crate) fn new<T: Table>(table: &'t mut T, done: usize, limit: usize) -> Self {
        let places = table.places();
        let len = places.len().min(crate::sys::IOV_MAX);
        Self {
            places: &mut places[..len],
            skip: done,
            left: limit,
            parts: 0,
            limit,
            rest: 0,
            short: false,
        }
    }

    /// The next part. Empty ones take no place.
    pub(crate) fn add(&mut self, ptr: *mut u8, len: usize) {
        let skipped = self.skip.min(len);
        self.skip -= skipped;
        let len = len - skipped;
        self.rest = self.rest.saturating_add(len);
        let len = len.min(self.left);
        if len == 0 {
            return;
        }
        // Without a place for one there is none for those behind it either.
        let Some(place) = self.places.get_mut(self.parts) else {
            self.short = true;
            return;
        };
        *place = IoVec::new(ptr.wrapping_add(skipped), len);
        self.parts += 1;
        self.left -= len;
    }

    /// How many bytes there are to move, of which the table may have fewer.
    pub(crate) fn rest(&self) -> usize {
        self.rest
    }

    /// Whether parts with bytes had no place.
    pub(crate) fn is_short(&self) -> bool {
        self.short
    }

    /// The table, its parts and their bytes.
    pub(crate) fn finish(self) -> (*const IoVec, u32, usize) {
        let parts = u32::try_from(self.parts).expect("no more than a call takes");
        let bytes = self.places[..self.parts]
            .iter()
            .map(|place| place.parts().1)
            .sum();
        debug_assert!(bytes <= self.limit, "I28: lengths are clamped");
        (self.places.as_ptr(), parts, bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The lengths of the parts that are lent, and their sum.
    fn lent(bufs: &mut impl IoBufsMut, done: usize, limit: usize) -> (Vec<usize>, usize) {
        let mut table = bufs.table();
        let mut filling = Filling::new(&mut table, done, limit);
        bufs.each_part_mut(|ptr, len| filling.add(ptr, len));
        let (_, parts, bytes) = filling.finish();
        let places = &sealed::Table::places(&mut table)[..parts as usize];
        (places.iter().map(|place| place.parts().1).collect(), bytes)
    }

    #[test]
    fn parts_are_skipped_clamped_and_never_empty() {
        let mut bufs = ([0; 3], [0; 0], Vec::<u8>::with_capacity(4), [0; 5]);
        assert_eq!(lent(&mut bufs, 0, 100), (vec![3, 4, 5], 12));
        assert_eq!(lent(&mut bufs, 2, 100), (vec![1, 4, 5], 10));
        assert_eq!(lent(&mut bufs, 3, 100), (vec![4, 5], 9));
        assert_eq!(lent(&mut bufs, 12, 100), (vec![], 0));
        assert_eq!(lent(&mut bufs, 99, 100), (vec![], 0));
        assert_eq!(lent(&mut bufs, 1, 3), (vec![2, 1], 3));
        assert_eq!(lent(&mut bufs, 0, 0), (vec![], 0));
        assert_eq!(lent(&mut Vec::<[u8; 1]>::new(), 0, 100), (vec![], 0));
    }

    /// I31: what one call does not take is left for the next, and nothing behind it goes first.
    #[test]
    fn no_more_parts_than_a_call_takes() {
        let mut bufs = vec![[0; 2]; crate::sys::IOV_MAX + 1];
        let (parts, bytes) = lent(&mut bufs, 0, usize::MAX);
        assert_eq!(
            (parts.len(), bytes),
            (crate::sys::IOV_MAX, 2 * crate::sys::IOV_MAX)
        );
        let (parts, _) = lent(&mut bufs, 2 * crate::sys::IOV_MAX, usize::MAX);
        assert_eq!(parts, [2]);
        // Parts that came after the table was made have no place in it.
        let mut table = boxed(1);
        let mut filling = Filling::new(&mut table, 0, 100);
        bufs.each_part_mut(|ptr, len| filling.add(ptr, len));
        assert_eq!(filling.finish().1, 1);
    }

    #[test]
    fn what_was_filled_is_counted_in_order() {
        let mut bufs = ([b'-'; 2], Vec::with_capacity(3), Vec::with_capacity(4));
        let mut table = IoBufsMut::table(&bufs);
        let mut filling = Filling::new(&mut table, 0, 100);
        bufs.each_part_mut(|ptr, len| filling.add(ptr, len));
        let (_, parts, _) = filling.finish();
        let mut text = b"abcdef".iter();
        for place in &table[..parts as usize] {
            let (start, len) = place.parts();
            for (at, byte) in (0..len).zip(&mut text) {
                let at = start.wrapping_add(at);
                // SAFETY: within a part that is lent.
                unsafe { at.write(*byte) };
            }
        }
        // SAFETY: six bytes were written, in order.
        unsafe { bufs.set_filled(6) };
        // The vector's capacity may be larger than asked for.
        let rest = 6 - 2 - bufs.1.len();
        assert_eq!(bufs.0, *b"ab");
        assert_eq!(&bufs.1[..3], b"cde");
        assert_eq!(bufs.2.len(), rest);
    }

    #[test]
    fn each_kind_names_its_parts() {
        fn count(bufs: &impl IoBufs) -> usize {
            let mut count = 0;
            bufs.each_part(|_, len| count += len);
            count
        }
        let parts: [&[u8]; 2] = [b"ab", b"cde"];
        assert_eq!(count(&parts), 5);
        assert_eq!(count(&&parts[..]), 5);
        assert_eq!(count(&parts.to_vec()), 5);
        assert_eq!(count(&Box::<[&[u8]]>::from(parts)), 5);
        assert_eq!(count(&("a", *b"bc", "de".to_owned(), vec![0; 4])), 9);
        assert_eq!(count(&[""; 0]), 0);
    }
}
