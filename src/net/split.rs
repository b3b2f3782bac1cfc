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
/// Dropping it ends the stream for whoever reads it, as [`shutdown`](AsyncWrite::shutdown) does, by a task
/// of its own.
pub struct OwnedWriteHalf<S = TcpStream> {
    stream: Rc<S>,
    /// What its drop does.
    end: Option<fn(Rc<S>)>,
}

pub(super) fn into_halves<S: 'static>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>)
where
    for<'s> &'s S: AsyncWrite,
{
    let stream = Rc::new(stream);
    let write = OwnedWriteHalf {
        stream: stream.clone(),
        end: Some(end),
    };
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
        if !Rc::ptr_eq(&self.0, &write.stream) {
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
        self.end = None;
    }
}

impl<S> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(self.stream.clone());
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for OwnedWriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedWriteHalf").field(&self.stream).finish()
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

impl<S> AsRef<S> for ReadHalf<'_, S> {
    fn as_ref(&self) -> &S {
        self.0
    }
}

impl<S> AsRef<S> for WriteHalf<'_, S> {
    fn as_ref(&self) -> &S {
        self.0
    }
}

impl<S> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.0
    }
}

impl<S> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

macro_rules! reads {
    ($($Half:ty),*) => {$(
        impl<S> AsyncRead for $Half
        where
            for<'s> &'s S: AsyncRead,
        {
            async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                self.as_ref().read(buffer).await
            }

            async fn read_vectored<V: IoBufsMut + 'static>(
                &mut self,
                buffers: V,
            ) -> BufResult<usize, V> {
                self.as_ref().read_vectored(buffers).await
            }
        }
    )*};
}
reads!(ReadHalf<'_, S>, OwnedReadHalf<S>);

macro_rules! writes {
    ($($Half:ty),*) => {$(
        impl<S> AsyncWrite for $Half
        where
            for<'s> &'s S: AsyncWrite,
        {
            async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                self.as_ref().write(buffer).await
            }

            async fn write_vectored<V: IoBufs + 'static>(
                &mut self,
                buffers: V,
            ) -> BufResult<usize, V> {
                self.as_ref().write_vectored(buffers).await
            }

            async fn flush(&mut self) -> io::Result<()> {
                self.as_ref().flush().await
            }

            async fn shutdown(&mut self) -> io::Result<()> {
                self.as_ref().shutdown().await
            }
        }
    )*};
}
writes!(WriteHalf<'_, S>, OwnedWriteHalf<S>);
