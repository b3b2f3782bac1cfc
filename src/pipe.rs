//! Pipes.

use crate::driver::{AsFd, BorrowedFd, OwnedFd};
use crate::fd::SharedFd;
use crate::io::{AsyncRead, AsyncWrite, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::op::{Pipe, Read, ReadVectored, Write, WriteVectored};
use crate::task::{submit, transfer};
use std::io;
use std::rc::Rc;

/// Makes a pipe: what is written to one end is read from the other.
///
/// ```
/// use completeio::io::{AsyncRead, AsyncWrite};
/// use completeio::{pipe::pipe, task::block_on};
///
/// block_on(async {
///     let (mut reader, mut writer) = pipe().await?;
///     writer.write("hello").await.0?;
///     let (read, text) = reader.read(Vec::with_capacity(16)).await;
///     assert_eq!((read?, &text[..]), (5, &b"hello"[..]));
///     writer.shutdown().await?;
///     assert_eq!(reader.read([0; 16]).await.0?, 0);
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`Pipe`], and as [`attach`](crate::driver::CompleteIo::attach).
///
/// # Panics
/// Outside of a runtime.
pub async fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = submit(Pipe::new()).await.0?;
    Ok((reader.try_into()?, writer.try_into()?))
}

/// The end of a pipe that is read from: of one that [`pipe`] or std has made, of a child process,
/// or a FIFO that was opened.
///
/// When all writers are gone, a read gives what is left, and then 0. Pipes are left in the mode in
/// which they are: [`Read`] says which of them may block.
#[derive(Debug)]
pub struct PipeReader {
    fd: SharedFd,
}

/// The end of a pipe that is written to: of one that [`pipe`] or std has made, of a child process,
/// or a FIFO that was opened.
///
/// A write waits until there is room, and takes what there is. When all readers are gone, it is a
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe). [`shutdown`](AsyncWrite::shutdown) closes the end, as
/// dropping it does; a write after it is a `BrokenPipe` too.
#[derive(Debug)]
pub struct PipeWriter {
    /// Until it is shut down.
    fd: Option<SharedFd>,
}

/// The descriptor itself; another one if operations of dropped futures have it still.
fn into_owned_fd(fd: SharedFd) -> io::Result<OwnedFd> {
    let file = fd.hold();
    drop(fd);
    Rc::try_unwrap(file).or_else(|shared| shared.try_clone())
}

impl PipeReader {
    /// Gives up the descriptor, for a child process or for std.
    ///
    /// # Errors
    /// None, unless operations of dropped futures have it still: it is duplicated then.
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        into_owned_fd(self.fd)
    }
}

impl PipeWriter {
    fn fd(&self) -> io::Result<&SharedFd> {
        self.fd.as_ref().ok_or(io::ErrorKind::BrokenPipe.into())
    }

    /// Gives up the descriptor, for a child process or for std.
    ///
    /// # Errors
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) after a shutdown. Else none, unless operations of
    /// dropped futures have it still: it is duplicated then.
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        into_owned_fd(self.fd.ok_or(io::ErrorKind::BrokenPipe)?)
    }
}

impl TryFrom<OwnedFd> for PipeReader {
    type Error = io::Error;

    /// # Panics
    /// Outside of a runtime.
    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        SharedFd::new(fd).map(|fd| Self { fd })
    }
}

impl TryFrom<OwnedFd> for PipeWriter {
    type Error = io::Error;

    /// # Panics
    /// Outside of a runtime.
    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        SharedFd::new(fd).map(|fd| Self { fd: Some(fd) })
    }
}

impl AsyncRead for PipeReader {
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        transfer(Read::new(self.fd.hold(), buffer)).await
    }

    async fn read_vectored<V: IoBufsMut + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        transfer(ReadVectored::new(self.fd.hold(), buffers)).await
    }
}

impl AsyncWrite for PipeWriter {
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let fd = match self.fd() {
            Ok(fd) => fd.hold(),
            Err(error) => return (Err(error), buffer),
        };
        transfer(Write::new(fd, buffer)).await
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        let fd = match self.fd() {
            Ok(fd) => fd.hold(),
            Err(error) => return (Err(error), buffers),
        };
        transfer(WriteVectored::new(fd, buffers)).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.fd = None;
        Ok(())
    }
}

impl AsFd for PipeReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
