//! Reading and writing with buffers that go along.
//!
//! An operation of a future owns its buffer, because the kernel may have it when the future is dropped;
//! it gives the buffer back with its result. So the traits here take buffers by value, unlike those that
//! borrow a slice.

pub use crate::buf::{BufResult, IntoInner, IoBuf, IoBufMut, IoBufs, IoBufsMut, Sliceable};

use std::future::Future;
use std::io;

/// Reads bytes: from a stream, a pipe, the standard input.
pub trait AsyncRead {
    /// Reads once into the buffer's room, and tells how much; 0 is the end, or a buffer without room.
    ///
    /// If the future is dropped, what it has read is lost with the buffer.
    fn read<B: IoBufMut + 'static>(
        &mut self,
        buffer: B,
    ) -> impl Future<Output = BufResult<usize, B>>;

    /// The same into several buffers, each of which is filled before the next one.
    fn read_vectored<V: IoBufsMut + 'static>(
        &mut self,
        buffers: V,
    ) -> impl Future<Output = BufResult<usize, V>>;
}

/// Writes bytes: to a stream, a pipe, the standard output.
pub trait AsyncWrite {
    /// Writes once from the buffer, and tells how much, which may be a part.
    fn write<B: IoBuf + 'static>(&mut self, buffer: B)
    -> impl Future<Output = BufResult<usize, B>>;

    /// The same from several buffers, in their order.
    fn write_vectored<V: IoBufs + 'static>(
        &mut self,
        buffers: V,
    ) -> impl Future<Output = BufResult<usize, V>>;

    /// Hands on what is kept back, if anything is.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Ends the stream for whoever reads it, after what was written.
    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>>;
}
