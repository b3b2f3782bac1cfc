//! Buffers that are lent to the kernel.
//!
//! [`IoBuf`] is memory that the kernel reads, [`IoBufMut`] memory that it writes. Both answer with
//! a pointer and a length, once, when an operation is encoded. The driver owns neither: what it
//! holds meanwhile are plain words.
//!
//! | type | the kernel reads | the kernel writes | and writes its [`slice`](Sliceable::slice) |
//! |---|---|---|---|
//! | `Vec<u8>`, `ArrayVec`, `BytesMut`, [`Aligned`] | its bytes | its spare part | from start |
//! | `&mut [u8]`, `Box<[u8]>`, `[u8; N]` | all | all | in place |
//! | `[MaybeUninit<u8>]` by `&mut` or `Box` | – | all | in place |
//! | `&[u8]`, `&str`, `String`, `Rc<[u8]>`, `Arc<[u8]>`, `Bytes` | all | – | – |
//! | `&B` of one of these | as `B` | – | – |
//! | `&mut B` of one of these | as `B` | as `B` | as `B` |
//! | [`Slice<B>`] | the initialised part | from its begin | from that one's begin |
//!
//! `String` cannot be read into, for its bytes must stay UTF-8. No buffer needs to be `'static`.
//!
//! **No room is legal.** A buffer of zero length, such as a `Vec` that is full, is lent like any
//! other. A read into it yields `Ok(0)`, which looks like the end of the file.
//!
//! # Invariants
//!
//! *Touching* a value means to move it, to drop it or to borrow it mutably; for memory that the
//! kernel writes, to use it in any way. The `SAFETY` comments of this module cite these numbers.
//!
//! * **B1, lent is untouched.** From the call of [`parts`](IoBuf::parts) or
//!   [`parts_mut`](IoBufMut::parts_mut) at encode until the operation's last entry, nobody touches
//!   the value. The driver's contract; `Unpin` does not give it, since inline buffers such as
//!   `[u8; N]` move with their owner.
//! * **B2, valid.** The pointer is valid for reads, or writes, of that many bytes, from any thread,
//!   until the value is next touched, even if other code panics. Until then both words stay the
//!   same.
//! * **B3, no back door.** While the value is untouched, no safe code writes the memory (nor reads
//!   it, where the kernel writes). So no `Cell` and no mutex's inside can be lent.
//! * **B4, initialised stays initialised.** The kernel and the driver only store initialised bytes.
//!   Memory that was initialised before it was lent still is afterwards.
//! * **B5, filled.** [`set_filled(n)`](IoBufMut::set_filled) comes after the memory came back, with
//!   `n` no more than the length that the last `parts_mut` gave and the first `n` bytes of that
//!   region initialised. Between the two the value was at most moved.
//! * **B6, a slice begins inside.** The begin of a [`Slice`] is within the initialised bytes of its
//!   buffer, or within a buffer of fixed size. It is checked once; nothing hands out what could
//!   change it: a slice gives no `&mut` to its buffer and is not `Clone`.
//! * **B7, one start.** The region of [`storage_mut`](Storage::storage_mut) begins with the bytes
//!   that `parts` of the same value reports.
//! * **B8, [`Aligned`] is wholly initialised.** Its pointer owns `capacity` bytes, zeroed at birth,
//!   and its length is at most its capacity.
#![allow(
    unsafe_code,
    reason = "the traits are unsafe: they promise what the kernel relies on"
)]

mod aligned;
mod foreign;
mod native;
mod part;
mod slice;
#[cfg(test)]
mod tests;
mod vectored;

pub use aligned::{Aligned, AlignedError};
pub use part::{Limit, Rest, each_slice, fill, fill_all};
pub use slice::{Slice, Sliceable};
pub(crate) use vectored::Filling;
pub use vectored::{IoBufs, IoBufsMut, IoVec, Table};

/// What comes back of a buffer that was lent: the result, and the buffer.
///
/// ```
/// use completeio_driver::buf::BufResult;
///
/// let (read, buffer): BufResult<usize, Vec<u8>> = (Ok(0), Vec::new());
/// assert_eq!(read.unwrap(), buffer.len());
/// ```
pub type BufResult<T, B> = (std::io::Result<T>, B);

/// Gives back what a wrapper owns: the buffer of an operation or of a [`Slice`].
///
/// ```
/// use completeio_driver::buf::{IntoInner, Sliceable};
///
/// let window = vec![1, 2, 3].slice(1..);
/// assert_eq!(window.into_inner(), [1, 2, 3]);
/// ```
pub trait IntoInner {
    /// What is owned.
    type Inner;

    /// Gives up the wrapper for what it owns.
    ///
    /// ```
    /// use completeio_driver::buf::{IntoInner, Sliceable};
    ///
    /// assert_eq!("a word".slice(2..).into_inner(), "a word");
    /// ```
    fn into_inner(self) -> Self::Inner;
}

/// Memory that the kernel reads: initialised bytes.
///
/// # Safety
///
/// *Touching* the value means to move it, to drop it or to borrow it mutably. Whoever implements
/// this promises, for the pointer and the length that [`parts`](Self::parts) returns:
///
/// * The pointer is not null, and valid for reads of that many initialised bytes, from any thread,
///   until the value is next touched, even if other code panics meanwhile.
/// * As long as the value is not touched, every call returns the same pointer and length.
/// * As long as the value is not touched, no safe code can write this memory: not through `&self`,
///   not through another handle, not on another thread. No `Cell`, no inside of a mutex, no memory
///   shared with a writer.
///
/// `Unpin` does not mean that the address is stable: an inline buffer, such as `[u8; N]`, moves
/// with its owner. That an operation in flight does not move is the driver's contract, not the
/// implementer's. `parts` may panic; then nothing was lent.
///
/// # Examples
///
/// ```
/// use completeio_driver::buf::IoBuf;
///
/// struct Page(Box<[u8]>);
///
/// // SAFETY: the promise is that of the box, which only `&mut Page` reaches for writing.
/// unsafe impl IoBuf for Page {
///     fn parts(&self) -> (*const u8, usize) {
///         self.0.parts()
///     }
/// }
///
/// let (_, len) = Page(Box::new([0; 512])).parts();
/// assert_eq!(len, 512);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent for writing from",
    label = "not a buffer that the kernel can read",
    note = "lend a `Vec<u8>`, `Box<[u8]>`, `&[u8]`, `&str`, an array, or a slice of one of them"
)]
pub unsafe trait IoBuf: Unpin {
    /// Where the initialised bytes begin, and how many they are.
    ///
    /// ```
    /// use completeio_driver::buf::IoBuf;
    ///
    /// let text = String::from("hello");
    /// assert_eq!(text.parts(), (text.as_ptr(), 5));
    /// ```
    fn parts(&self) -> (*const u8, usize);
}

/// Memory that the kernel writes.
///
/// A buffer of fixed size, such as `&mut [u8]`, receives into its whole length; one with a length
/// and a capacity, such as `Vec<u8>`, into its *spare* capacity, and grows in length. To receive
/// into the latter from its start, lend [`buffer.slice(..)`](Sliceable::slice).
///
/// A region of zero length is legal: a read into it yields `Ok(0)`.
///
/// # Safety
///
/// *Touching* the value means to move it, to drop it or to use it in any way, be it by reading.
/// Whoever implements this promises, for the pointer and the length that
/// [`parts_mut`](Self::parts_mut) returns:
///
/// * The pointer is not null, and valid for writes of that many bytes, from any thread, until the
///   value is next touched, even if other code panics meanwhile.
/// * As long as the value is not touched, pointer and length stay what they are.
/// * As long as the value is not touched, no safe code can read or write this memory: not through
///   another handle, not on another thread. No `Cell`, no inside of a mutex, no shared memory.
/// * Initialised bytes may be stored to any part of the region, whether or not
///   [`set_filled`](Self::set_filled) follows.
/// * Once the memory came back the value may be moved, and only then `set_filled` be called: the
///   bytes that were written are to come along.
///
/// `Unpin` does not mean that the address is stable: an inline buffer, such as `[u8; N]`, moves
/// with its owner. That an operation in flight does not move is the driver's contract, not the
/// implementer's. `parts_mut` may panic; then nothing was lent.
///
/// # Examples
///
/// The kernel's part, by hand:
///
/// ```
/// use completeio_driver::buf::IoBufMut;
///
/// let mut buffer = Vec::with_capacity(8);
/// let (at, len) = buffer.parts_mut();
/// assert!(len >= 8);
/// // SAFETY: the region holds at least 8 bytes, and `buffer` was not touched.
/// unsafe { at.copy_from_nonoverlapping(b"received".as_ptr(), 8) };
/// // SAFETY: the first 8 bytes were just written.
/// unsafe { buffer.set_filled(8) };
/// assert_eq!(buffer, b"received");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent for reading into",
    label = "not a buffer that the kernel can write",
    note = "lend a `Vec<u8>`, `Box<[u8]>`, `&mut [u8]`, an array, or a slice of one of them; \
            a `String` is none, for its bytes must stay UTF-8"
)]
pub unsafe trait IoBufMut: Unpin {
    /// Where the kernel writes, and how many bytes have room. Called once per encode.
    ///
    /// The region may be uninitialised: do not read it before it was written. Store initialised
    /// bytes only, never [`MaybeUninit::uninit`](std::mem::MaybeUninit::uninit).
    ///
    /// ```
    /// use completeio_driver::buf::IoBufMut;
    ///
    /// let mut whole = [0u8; 16];
    /// assert_eq!(whole.parts_mut().1, 16);
    /// let mut full = vec![0u8; 16].into_boxed_slice().into_vec();
    /// assert_eq!(full.parts_mut().1, 0);
    /// ```
    fn parts_mut(&mut self) -> (*mut u8, usize);

    /// Tells that the first `n` bytes of the region of the last [`parts_mut`](Self::parts_mut) are
    /// initialised now.
    ///
    /// A `Vec<u8>` becomes `n` bytes longer, the `Vec` of a [`Slice`] exactly `begin + n` long. A
    /// buffer of fixed size has nothing to note.
    ///
    /// # Safety
    ///
    /// `n` is at most the length that the last `parts_mut` returned; the first `n` bytes of that
    /// region are initialised; and since that call the value was at most moved, after the memory
    /// came back.
    ///
    /// ```
    /// use completeio_driver::buf::IoBufMut;
    ///
    /// let mut buffer = Vec::with_capacity(1);
    /// let (at, _) = buffer.parts_mut();
    /// // SAFETY: the region has room for one byte.
    /// unsafe { at.write(7) };
    /// // SAFETY: its first byte was just written.
    /// unsafe { buffer.set_filled(1) };
    /// assert_eq!(buffer, [7]);
    /// ```
    unsafe fn set_filled(&mut self, n: usize);
}

/// A buffer whose memory can be written from its start, as a [`Slice`] of it does.
///
/// [`IoBufMut`] lends what is *free* of a buffer; this trait lends *all* of it, so that a window
/// may cover bytes that are initialised already. Only [`Slice`] uses it. Implement it for a buffer
/// of your own to read into slices of it.
///
/// # Safety
///
/// The promises of [`IoBufMut`] hold for the region that [`storage_mut`](Self::storage_mut)
/// returns, with [`set_initialised`](Self::set_initialised) in place of `set_filled`. If the type
/// implements [`IoBuf`] too, the bytes that [`parts`](IoBuf::parts) reports are the first bytes of
/// that region.
///
/// # Examples
///
/// ```
/// use completeio_driver::buf::Storage;
///
/// let mut buffer = vec![1, 2, 3];
/// let start = buffer.as_ptr();
/// let (at, capacity) = buffer.storage_mut();
/// assert_eq!(at.cast_const(), start);
/// assert_eq!(capacity, buffer.capacity());
/// ```
#[diagnostic::on_unimplemented(
    message = "a slice of `{Self}` cannot be lent for reading into",
    label = "not a buffer whose start the kernel can write"
)]
pub unsafe trait Storage: IoBufMut {
    /// Where the buffer's memory begins, and its capacity in bytes.
    ///
    /// ```
    /// use completeio_driver::buf::Storage;
    ///
    /// assert_eq!([0u8; 32].storage_mut().1, 32);
    /// ```
    fn storage_mut(&mut self) -> (*mut u8, usize);

    /// Makes the buffer exactly `n` bytes long; nothing where the length is fixed.
    ///
    /// # Safety
    ///
    /// `n` is at most the capacity that the last [`storage_mut`](Self::storage_mut) returned; the
    /// first `n` bytes of that region are initialised, unless the buffer is of fixed size and
    /// keeps no account of it (`[MaybeUninit<u8>]`); and since that call the value was at most
    /// moved, after the memory came back.
    ///
    /// ```
    /// use completeio_driver::buf::Storage;
    ///
    /// let mut buffer = vec![1, 2, 3];
    /// buffer.storage_mut();
    /// // SAFETY: two bytes of three that are initialised.
    /// unsafe { buffer.set_initialised(2) };
    /// assert_eq!(buffer, [1, 2]);
    /// ```
    unsafe fn set_initialised(&mut self, n: usize);
}
