//! Reading and writing with buffers that go along.
//!
//! An operation of a future owns its buffer, because the kernel may have it when the future is
//! dropped; it gives the buffer back with its result. So the traits here take buffers by value,
//! unlike those that borrow a slice.
//!
//! | what | whole buffers | when its future is dropped |
//! |---|---|---|
//! | [`read`](AsyncRead::read), [`write`](AsyncWrite::write) | may move a part | what was read is lost; what was written is not told |
//! | [`AsyncReadExt`], [`AsyncWriteExt`] | all, or tell how far they came | as above, for all that they have moved |
//! | [`copy`] | to the end | as above, for one buffer |
//! | [`BufReader`], [`BufWriter`], [`Lines`] | by a copy | nothing is lost: the operation goes on in them |
//!
//! Two futures that use one stream share it: streams of [`net`](crate::net) read and write by
//! reference, and so do [`Rc`]s of them, for two tasks.
//!
//! ```
//! use completeio::io::{AsyncReadExt, AsyncWriteExt};
//! use completeio::net::{TcpListener, TcpStream};
//! use completeio::task::{block_on, spawn};
//! use std::rc::Rc;
//!
//! block_on(async {
//!     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     let peer = spawn(async move {
//!         let (mut stream, _) = TcpListener::try_from(listener)?.accept().await?;
//!         stream.write_all("hello").await.0?;
//!         let (read, text) = stream.read_exact([0; 5]).await;
//!         read?;
//!         std::io::Result::Ok(text)
//!     });
//!     let mut stream = Rc::new(TcpStream::connect(address).await?);
//!     let mut other = stream.clone();
//!     let writer = spawn(async move { other.write_all("there").await.0 });
//!     let (read, text) = stream.read_exact(Vec::with_capacity(5)).await;
//!     read?;
//!     assert_eq!(text, b"hello");
//!     writer.await??;
//!     assert_eq!(&peer.await??, b"there");
//!     std::io::Result::Ok(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod buffered;
mod copy;
mod ext;

pub use self::buffered::{AsyncBufRead, AsyncBufReadExt, BufReader, BufWriter, Lines};
pub use self::copy::{copy, copy_bidirectional};
pub(crate) use self::ext::to_end;
pub use self::ext::{AsyncReadExt, AsyncWriteExt, Take, TransferError};
pub use crate::buf::{BufResult, IntoInner, IoBuf, IoBufMut, IoBufs, IoBufsMut, Sliceable};
pub use crate::net::split::split;

use crate::buf::{each_slice, fill, fill_all};
use std::future::Future;
use std::io;
use std::rc::Rc;

/// Reads bytes: from a stream, a pipe, the standard input.
pub trait AsyncRead {
    /// Reads once into the buffer's room, and tells how much; 0 is the end, or a buffer without
    /// room.
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

/// Buffers that one call of the system's takes.
pub(crate) const IOV_MAX: usize = 1024;

/// Whether there is room for a byte. Where there is none, some sockets would wait for one all the
/// same.
pub(crate) fn has_room(buffers: &mut impl IoBufsMut) -> bool {
    let mut found = false;
    buffers.each_part_mut(|_, room| found |= room > 0);
    found
}

// Pointers to streams.

impl<S> AsyncRead for &mut S
where
    S: AsyncRead,
{
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        (**self).read(buffer).await
    }

    async fn read_vectored<V: IoBufsMut + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        (**self).read_vectored(buffers).await
    }
}

/// Shared by those who read it and those who write it.
impl<S> AsyncRead for Rc<S>
where
    for<'s> &'s S: AsyncRead,
{
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        (&**self).read(buffer).await
    }

    async fn read_vectored<V: IoBufsMut + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        (&**self).read_vectored(buffers).await
    }
}

impl<S> AsyncWrite for &mut S
where
    S: AsyncWrite,
{
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        (**self).write(buffer).await
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        (**self).write_vectored(buffers).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        (**self).flush().await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        (**self).shutdown().await
    }
}

/// Shared by those who read it and those who write it.
impl<S> AsyncWrite for Rc<S>
where
    for<'s> &'s S: AsyncWrite,
{
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        (&**self).write(buffer).await
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        (&**self).write_vectored(buffers).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        (&**self).flush().await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        (&**self).shutdown().await
    }
}

// Memory.

impl AsyncRead for &[u8] {
    async fn read<B: IoBufMut + 'static>(&mut self, mut buffer: B) -> BufResult<usize, B> {
        let n = fill(&mut buffer, self);
        *self = &self[n..];
        (Ok(n), buffer)
    }

    async fn read_vectored<V: IoBufsMut + 'static>(
        &mut self,
        mut buffers: V,
    ) -> BufResult<usize, V> {
        let n = fill_all(&mut buffers, self);
        *self = &self[n..];
        (Ok(n), buffers)
    }
}

/// Appends.
impl AsyncWrite for Vec<u8> {
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (written, [buffer]) = self.write_vectored([buffer]).await;
        (written, buffer)
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        let before = self.len();
        each_slice(&buffers, |bytes| self.extend_from_slice(bytes));
        (Ok(self.len() - before), buffers)
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}
