//! A window of a buffer.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits")]

use std::mem::MaybeUninit;
use std::ops::{Bound, Deref, RangeBounds};

use super::{IntoInner, IoBuf, IoBufMut, Storage};

/// Gives every buffer the method [`slice`](Self::slice).
///
/// A type of your own has it once it is [`IoBuf`]; its slices can be read into once it is
/// [`Storage`].
///
/// ```
/// use completeio_driver::buf::{IoBuf, Sliceable};
///
/// let (_, len) = "a request".slice(2..5).parts();
/// assert_eq!(len, 3);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that can be sliced",
    label = "cannot be sliced"
)]
pub trait Sliceable: Sized {
    /// A window of this buffer, which it takes by value (`IntoInner` gives it back). To keep the
    /// buffer, slice a reference to it: `(&buffer).slice(..)`, `(&mut buffer).slice(..)`.
    ///
    /// # Panics
    ///
    /// If the range begins after the initialised bytes, or after its end. An end beyond the buffer
    /// is none: it is a limit, and clamped at each use.
    ///
    /// ```
    /// use completeio_driver::buf::{IoBufMut, Sliceable};
    ///
    /// let mut window = Vec::with_capacity(64).slice(..16);
    /// assert_eq!(window.parts_mut().1, 16);
    /// ```
    #[track_caller]
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>;
}

impl<B: IoBuf> Sliceable for B {
    #[track_caller]
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self> {
        let (_, initialised) = self.parts();
        Slice::new(self, initialised, range)
    }
}

impl Sliceable for &mut [MaybeUninit<u8>] {
    #[track_caller]
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self> {
        let len = self.len();
        Slice::new(self, len, range)
    }
}

impl Sliceable for Box<[MaybeUninit<u8>]> {
    #[track_caller]
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self> {
        let len = self.len();
        Slice::new(self, len, range)
    }
}

/// A window of a buffer, made by [`slice`](Sliceable::slice).
///
/// * *The kernel reads* the initialised bytes of the window, which are also what this derefs to.
/// * *The kernel writes* the window from its begin, whether or not that is initialised, up to its
///   end or the buffer's capacity. A `Vec<u8>`, [`Aligned`](super::Aligned), `ArrayVec` or
///   `BytesMut` is then exactly `begin + n` bytes long. An operation that fails leaves its length.
///
/// Positions count from the start of the buffer, so a slice of a slice counts from the start of the
/// window. There is no `get_mut` and no `Clone`: a buffer could come shorter than the begin.
///
/// ```
/// use completeio_driver::buf::{IntoInner, IoBufMut, Sliceable};
///
/// let mut window = b"GET old".to_vec().slice(4..);
/// let (at, _) = window.parts_mut();
/// // SAFETY: the window begins with the three bytes of `old`.
/// unsafe { at.copy_from_nonoverlapping(b"/a".as_ptr(), 2) };
/// // SAFETY: two bytes were just written.
/// unsafe { window.set_filled(2) };
/// assert_eq!(&*window, b"/a");
/// assert_eq!(window.into_inner(), b"GET /a");
/// ```
#[derive(Debug)]
pub struct Slice<B> {
    buf: B,
    /// Within the initialised bytes of `buf`, or within its fixed size (B6).
    begin: usize,
    /// Not before `begin`; may lie beyond the buffer, `usize::MAX` for an open end.
    end: usize,
}

impl<B> Slice<B> {
    /// `begin_max` is how many bytes are initialised, or the length of a buffer of fixed size.
    #[track_caller]
    fn new(buf: B, begin_max: usize, range: impl RangeBounds<usize>) -> Self {
        let begin = match range.start_bound() {
            Bound::Included(&begin) => begin,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => usize::MAX,
        };
        assert!(
            begin <= end,
            "the slice begins at {begin}, after its end at {end}"
        );
        assert!(
            begin <= begin_max,
            "the slice begins at {begin}, but only {begin_max} bytes of the buffer are initialised"
        );
        Self { buf, begin, end }
    }

    /// Where the window begins, in bytes from the start of the buffer.
    ///
    /// ```
    /// use completeio_driver::buf::Sliceable;
    ///
    /// assert_eq!([0u8; 8].slice(2..6).begin(), 2);
    /// ```
    #[must_use]
    pub fn begin(&self) -> usize {
        self.begin
    }

    /// Where the window ends, in bytes from the start of the buffer, as it was asked for: it may
    /// lie beyond the buffer. `None` if it was left open.
    ///
    /// ```
    /// use completeio_driver::buf::Sliceable;
    ///
    /// assert_eq!([0u8; 8].slice(2..6).end(), Some(6));
    /// assert_eq!([0u8; 8].slice(2..).end(), None);
    /// ```
    #[must_use]
    pub fn end(&self) -> Option<usize> {
        (self.end != usize::MAX).then_some(self.end)
    }

    /// The whole buffer.
    ///
    /// ```
    /// use completeio_driver::buf::Sliceable;
    ///
    /// assert_eq!("a word".slice(2..).get_ref(), &"a word");
    /// ```
    #[must_use]
    pub fn get_ref(&self) -> &B {
        &self.buf
    }

    /// The part of the window that lies in the first `len` bytes: its offset and its length.
    fn clamp(&self, len: usize) -> (usize, usize) {
        assert!(self.begin <= len, "B6: a slice begins within its buffer");
        (self.begin, self.end.min(len) - self.begin)
    }
}

impl<B> IntoInner for Slice<B> {
    type Inner = B;

    fn into_inner(self) -> B {
        self.buf
    }
}

/// The initialised bytes of the window.
impl<B: IoBuf> Deref for Slice<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (at, len) = self.parts();
        // SAFETY: B2: `len` initialised bytes are valid at `at` until the value is touched, and B3:
        // nobody writes them till then; `&self` excludes touching for the life of the result.
        unsafe { std::slice::from_raw_parts(at, len) }
    }
}

// SAFETY: what is lent is a part of what `B` lends, and this value is touched when `B` is: B2 and
// B3 are those of `B`. `clamp` stays within `len` bytes.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    fn parts(&self) -> (*const u8, usize) {
        let (at, len) = self.buf.parts();
        let (offset, len) = self.clamp(len);
        (at.wrapping_add(offset), len)
    }
}

// SAFETY: what is lent is a part of what `B` lends as storage, and this value is touched when `B`
// is: B2 and B3 are those of `B`. `clamp` stays within its capacity.
unsafe impl<B: Storage> IoBufMut for Slice<B> {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        let (at, capacity) = self.buf.storage_mut();
        let (offset, len) = self.clamp(capacity);
        (at.wrapping_add(offset), len)
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: B5: `n` bytes from `begin` are initialised and within the capacity. The bytes
        // before `begin` are the first of the storage (B7) and initialised, or need not be (B6).
        unsafe { self.buf.set_initialised(self.begin + n) }
    }
}

// SAFETY: as for `IoBufMut`; the window's begin is that of the bytes that `parts` reports (B7).
unsafe impl<B: Storage> Storage for Slice<B> {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        self.parts_mut()
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        // SAFETY: the caller: the window's first `n` bytes are initialised, and within it.
        unsafe { self.set_filled(n) }
    }
}
