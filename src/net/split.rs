//! Connections in two halves.

use super::TcpStream;
use crate::io::{AsyncRead, AsyncWrite, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::task::runtime::Inner;
use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;

/// The reading half of a connection that is lent: see [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a, S = TcpStream>(pub(super) &'a S);

/// The writing half of a connection that is lent: see [`TcpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a, S = TcpStream>(pub(super) &'a S);

/// The reading half of a connection: see [`TcpStream::into_split`].
///
/// Dropping it ends nothing: the connection is closed with its other half.
#[derive(Debug)]
pub struct OwnedReadHalf<S = TcpStream>(Rc<S>);

/// The writing half of a connection: see [`TcpStream::into_split`].
///
/// Dropping it ends the stream for whoever reads it, as [`shutdown`](AsyncWrite::shutdown) does, by
/// a task of its own.
pub struct OwnedWriteHalf<S = TcpStream>(Rc<S>, Option<fn(Rc<S>)>);

/// Two halves of a stream, for two tasks: of any whose references read and write, as
/// [`TcpStream::into_split`] does it.
///
/// ```
/// use completeio::io::{AsyncReadExt, AsyncWriteExt, split};
/// use completeio::net::UnixStream;
///
/// completeio::task::block_on(async {
///     let (one, mut other) = UnixStream::pair()?;
///     let (mut reader, mut writer) = split(one);
///     writer.write_all("text").await.0?;
///     drop(writer); // It ends its side.
///     assert_eq!(other.read_to_end(Vec::new()).await.1, b"text");
///     drop(other);
///     assert_eq!(reader.read_to_end(Vec::new()).await.0?, 0);
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn split<S: 'static>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>)
where
    for<'s> &'s S: AsyncWrite,
{
    let stream = Rc::new(stream);
    let write = OwnedWriteHalf(stream.clone(), Some(end));
    (OwnedReadHalf(stream), write)
}

fn end<S: 'static>(stream: Rc<S>)
where
    for<'s> &'s S: AsyncWrite,
{
    // Without a runtime, the stream ends when it is closed.
    if let Some(runtime) = Inner::try_current() {
        drop(runtime.spawn(async move { (&*stream).shutdown().await }));
    }
}

impl<S> OwnedReadHalf<S> {
    /// The connection that it is half of again.
    ///
    /// # Errors
    /// [`ReuniteError`] with the halves, if they are of two connections.
    pub fn reunite(self, write: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Rc::ptr_eq(&self.0, &write.0) {
            return Err(ReuniteError(self, write));
        }
        write.forget();
        Ok(Rc::into_inner(self.0).expect("there were two halves"))
    }
}

impl<S> OwnedWriteHalf<S> {
    /// The connection that it is half of again.
    ///
    /// # Errors
    /// [`ReuniteError`] with the halves, if they are of two connections.
    pub fn reunite(self, read: OwnedReadHalf<S>) -> Result<S, ReuniteError<S>> {
        read.reunite(self)
    }

    /// Drops it, and leaves the stream open as long as the other half lives.
    pub fn forget(mut self) {
        self.1 = None;
    }
}

impl<S> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(end) = self.1.take() {
            end(self.0.clone());
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for OwnedWriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedWriteHalf").field(&self.0).finish()
    }
}

/// Two halves that are not of one connection, given back.
pub struct ReuniteError<S = TcpStream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of two connections")
    }
}

impl<S> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReuniteError({self})")
    }
}

impl<S> Error for ReuniteError<S> {}

macro_rules! by_reference {
    ($($Read:ty, $Write:ty);*) => {$(
        impl<S> AsyncRead for $Read
        where
            for<'s> &'s S: AsyncRead,
        {
            async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                (&*self.0).read(buffer).await
            }

            async fn read_vectored<V>(&mut self, buffers: V) -> BufResult<usize, V>
            where
                V: IoBufsMut + 'static,
            {
                (&*self.0).read_vectored(buffers).await
            }
        }

        impl<S> AsyncWrite for $Write
        where
            for<'s> &'s S: AsyncWrite,
        {
            async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                (&*self.0).write(buffer).await
            }

            async fn write_vectored<V>(&mut self, buffers: V) -> BufResult<usize, V>
            where
                V: IoBufs + 'static,
            {
                (&*self.0).write_vectored(buffers).await
            }

            async fn flush(&mut self) -> io::Result<()> {
                (&*self.0).flush().await
            }

            async fn shutdown(&mut self) -> io::Result<()> {
                (&*self.0).shutdown().await
            }
        }
    )*};
}
by_reference!(
    ReadHalf<'_, S>, WriteHalf<'_, S>;
    OwnedReadHalf<S>, OwnedWriteHalf<S>
);

macro_rules! as_ref {
    ($($Half:ty),*) => {$(
        /// The connection, to be asked for its addresses and options.
        impl<S> AsRef<S> for $Half {
            fn as_ref(&self) -> &S {
                &self.0
            }
        }
    )*};
}
as_ref!(
    ReadHalf<'_, S>,
    WriteHalf<'_, S>,
    OwnedReadHalf<S>,
    OwnedWriteHalf<S>
);
