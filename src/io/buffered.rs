//! Streams with a buffer of their own.

use super::{AsyncRead, AsyncWrite, AsyncWriteExt, TransferError, has_room};
use crate::buf::{BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut, each_slice, fill_all};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Bytes that a buffer has unless somebody says otherwise.
const CAPACITY: usize = 8 * 1024;

/// Reads into a buffer of its own, and lends the bytes out.
pub trait AsyncBufRead: AsyncRead {
    /// What is in the buffer; reads once if that is nothing. Empty at the end of the stream.
    ///
    /// Whether something is lost if its future is dropped, the implementations tell.
    fn fill_buf(&mut self) -> impl Future<Output = io::Result<&[u8]>>;

    /// Takes the first `n` bytes of the buffer out of it.
    ///
    /// # Panics
    /// If there are not so many.
    fn consume(&mut self, n: usize);
}

/// Lines and the like: for everything that is [`AsyncBufRead`].
///
/// ```
/// use completeio::io::{AsyncBufReadExt, BufReader};
/// use completeio::task::block_on;
///
/// block_on(async {
///     let mut lines = BufReader::new(&b"one\ntwo\r\nthree"[..]).lines();
///     for expected in ["one", "two", "three"] {
///         assert_eq!(lines.next_line().await?.as_deref(), Some(expected));
///     }
///     assert_eq!(lines.next_line().await?, None);
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait AsyncBufReadExt: AsyncBufRead {
    /// Reads up to the next `delimiter`, that included, or to the end of the stream, and appends it
    /// to `bytes`. Tells how many bytes that are: 0 at the end.
    ///
    /// If the future is dropped, `bytes` has what came by then. There is no limit but that of a
    /// [`take`](super::AsyncReadExt::take).
    fn read_until(
        &mut self,
        delimiter: u8,
        bytes: &mut Vec<u8>,
    ) -> impl Future<Output = io::Result<usize>> {
        async move {
            let before = bytes.len();
            loop {
                let filled = self.fill_buf().await?;
                let end = filled.iter().position(|byte| *byte == delimiter);
                let n = end.map_or(filled.len(), |end| end + 1);
                bytes.extend_from_slice(&filled[..n]);
                self.consume(n);
                if end.is_some() || n == 0 {
                    return Ok(bytes.len() - before);
                }
            }
        }
    }

    /// Reads a line, its `\n` included, and appends it to `line`; the last one may have none. Tells
    /// how many bytes that are: 0 at the end.
    ///
    /// If the future is dropped, `line` is empty, and what came of this line is lost:
    /// [`lines`](Self::lines) keeps it.
    ///
    /// # Errors
    /// Those of the stream, and [`InvalidData`](ErrorKind::InvalidData) for what is no UTF-8, which
    /// is dropped.
    fn read_line(&mut self, line: &mut String) -> impl Future<Output = io::Result<usize>> {
        async move {
            let before = line.len();
            let mut bytes = mem::take(line).into_bytes();
            let read = self.read_until(b'\n', &mut bytes).await;
            let is_text = std::str::from_utf8(&bytes[before..]).is_ok();
            if !is_text {
                bytes.truncate(before);
            }
            *line = String::from_utf8(bytes).expect("looked at just now");
            match read {
                Ok(_) if !is_text => Err(ErrorKind::InvalidData.into()),
                read => read,
            }
        }
    }

    /// Its lines, one after the other.
    fn lines(self) -> Lines<Self>
    where
        Self: Sized,
    {
        Lines {
            reader: self,
            line: Vec::new(),
        }
    }
}

impl<R: AsyncBufRead> AsyncBufReadExt for R {}

/// The lines of a stream: see [`AsyncBufReadExt::lines`].
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    /// What came of the next one.
    line: Vec<u8>,
}

impl<R: AsyncBufRead> Lines<R> {
    /// The next line, without its `\n` or `\r\n`; `None` at the end of the stream.
    ///
    /// If the future is dropped, the next call goes on with what came of the line.
    ///
    /// # Errors
    /// Those of the stream, and [`InvalidData`](ErrorKind::InvalidData) for a line that is no
    /// UTF-8, which is left out.
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        self.reader.read_until(b'\n', &mut self.line).await?;
        let mut line = mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        let text = String::from_utf8(line).map_err(|_| ErrorKind::InvalidData)?;
        Ok(Some(text))
    }

    /// What it reads from, buffer included.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }
}

/// A stream and the buffer of its operation, which goes on when nobody waits for it.
///
/// | `idle` | who has stream and buffer | what comes next |
/// |---|---|---|
/// | `Some` | this | an operation takes both |
/// | `None` | the operation's future | its end gives both back |
struct Lane<S, T> {
    idle: Option<(S, Vec<u8>)>,
    operation: Box<dyn Operation<S, T>>,
}

impl<S: 'static, T: 'static> Lane<S, T> {
    fn new<F>(stream: S, capacity: usize, begin: impl FnMut(S, Vec<u8>) -> F + 'static) -> Self
    where
        F: Future<Output = (T, S, Vec<u8>)> + 'static,
    {
        assert!(capacity > 0, "a buffer has room");
        Self {
            idle: Some((stream, Vec::with_capacity(capacity))),
            operation: Box::new((begin, Box::pin(None))),
        }
    }

    /// Runs an operation, or the one that runs, to its end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        if let Some((stream, buffer)) = self.idle.take() {
            self.operation.begin(stream, buffer);
        }
        let (output, stream, buffer) = ready!(self.operation.poll(context));
        self.idle = Some((stream, buffer));
        Poll::Ready(output)
    }
}

impl<S, T> Lane<S, T> {
    fn stream(&self) -> Option<&S> {
        self.idle.as_ref().map(|(stream, _)| stream)
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        let (_, buffer) = self.idle.as_mut().expect("its operation is over");
        buffer
    }
}

/// A future that is made anew in its place, so that nothing is allocated for it.
trait Operation<S, T> {
    fn begin(&mut self, stream: S, buffer: Vec<u8>);
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(T, S, Vec<u8>)>;
}

impl<S, T, M, F> Operation<S, T> for (M, Pin<Box<Option<F>>>)
where
    M: FnMut(S, Vec<u8>) -> F,
    F: Future<Output = (T, S, Vec<u8>)>,
{
    fn begin(&mut self, stream: S, buffer: Vec<u8>) {
        let future = (self.0)(stream, buffer);
        self.1.set(Some(future));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(T, S, Vec<u8>)> {
        let future = self.1.as_mut().as_pin_mut();
        let output = ready!(future.expect("it was begun").poll(context));
        self.1.set(None);
        Poll::Ready(output)
    }
}

/// Reads large parts of a stream, and gives out small ones.
///
/// A read that its future does not wait for goes on, and the next call has what it brings: dropping
/// a future of [`read`](AsyncRead::read), [`fill_buf`](AsyncBufRead::fill_buf) or
/// [`next_line`](Lines::next_line) loses nothing. The read keeps the stream meanwhile, so that a
/// stream that is written to as well is shared, by an `Rc`.
///
/// ```
/// use completeio::io::{AsyncBufReadExt, BufReader};
/// use completeio::task::block_on;
///
/// let mut reader = BufReader::new(&b"a line\nand another"[..]);
/// let mut line = String::new();
/// assert_eq!(block_on(reader.read_line(&mut line))?, 7);
/// assert_eq!(line, "a line\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct BufReader<R> {
    lane: Lane<R, io::Result<usize>>,
    /// The bytes of the buffer that were given out.
    consumed: usize,
}

impl<R: AsyncRead + 'static> BufReader<R> {
    /// With a buffer of 8 KiB.
    pub fn new(stream: R) -> Self {
        Self::with_capacity(CAPACITY, stream)
    }

    /// With a buffer of so many bytes.
    ///
    /// # Panics
    /// If that is none.
    pub fn with_capacity(capacity: usize, stream: R) -> Self {
        let lane = Lane::new(stream, capacity, |mut stream: R, buffer| async move {
            let (read, buffer) = stream.read(buffer).await;
            (read, stream, buffer)
        });
        Self { lane, consumed: 0 }
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lane.idle.is_some() {
            if self.consumed < self.lane.buffer().len() {
                return Poll::Ready(Ok(()));
            }
            self.consumed = 0;
            self.lane.buffer().clear();
        }
        self.lane.poll(context).map_ok(drop)
    }
}

impl<R> BufReader<R> {
    /// The stream; `None` while a read goes on whose future was dropped.
    pub fn get_ref(&self) -> Option<&R> {
        self.lane.stream()
    }

    /// The stream without what is in the buffer; `None` while a read goes on whose future was
    /// dropped.
    pub fn into_inner(self) -> Option<R> {
        self.lane.idle.map(|(stream, _)| stream)
    }
}

impl<R: AsyncRead + 'static> AsyncBufRead for BufReader<R> {
    async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        poll_fn(|context| self.poll_fill(context)).await?;
        Ok(&self.lane.buffer()[self.consumed..])
    }

    fn consume(&mut self, n: usize) {
        let left = self.lane.buffer().len() - self.consumed;
        assert!(n <= left, "consumed too much");
        self.consumed += n;
    }
}

impl<R: AsyncRead + 'static> AsyncRead for BufReader<R> {
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (read, [buffer]) = self.read_vectored([buffer]).await;
        (read, buffer)
    }

    async fn read_vectored<V: IoBufsMut + 'static>(
        &mut self,
        mut buffers: V,
    ) -> BufResult<usize, V> {
        if !has_room(&mut buffers) {
            return (Ok(0), buffers);
        }
        match self.fill_buf().await {
            Ok(bytes) => {
                let n = fill_all(&mut buffers, bytes);
                self.consume(n);
                (Ok(n), buffers)
            }
            Err(error) => (Err(error), buffers),
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for BufReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufReader")
            .field("stream", &self.get_ref())
            .finish_non_exhaustive()
    }
}

/// Gathers small writes into large ones.
///
/// What is written stays in its buffer until that is full, or until a [flush](AsyncWrite::flush),
/// which whoever drops it should do: the rest goes with it. A write whose future is dropped goes
/// on, and the next call waits for it: nothing is lost, and nothing is written twice.
///
/// ```
/// use completeio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
/// use completeio::task::block_on;
///
/// block_on(async {
///     let mut writer = BufWriter::new(Vec::new());
///     for word in ["many ", "small ", "writes"] {
///         writer.write_all(word).await.0?;
///     }
///     writer.flush().await?;
///     assert_eq!(writer.get_ref().unwrap(), b"many small writes");
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct BufWriter<W> {
    lane: Lane<W, Result<(), TransferError>>,
}

impl<W: AsyncWrite + 'static> BufWriter<W> {
    /// With a buffer of 8 KiB.
    pub fn new(stream: W) -> Self {
        Self::with_capacity(CAPACITY, stream)
    }

    /// With a buffer of so many bytes.
    ///
    /// # Panics
    /// If that is none.
    pub fn with_capacity(capacity: usize, stream: W) -> Self {
        let lane = Lane::new(stream, capacity, |mut stream: W, buffer| async move {
            let (written, buffer) = stream.write_all(buffer).await;
            (written, stream, buffer)
        });
        Self { lane }
    }

    /// Writes what is in the buffer.
    fn poll_empty(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lane.idle.is_some() && self.lane.buffer().is_empty() {
            return Poll::Ready(Ok(()));
        }
        let written = ready!(self.lane.poll(context));
        let moved = match &written {
            Ok(()) => self.lane.buffer().len(),
            Err(error) => usize::try_from(error.moved()).expect("a part of the buffer"),
        };
        self.lane.buffer().drain(..moved);
        Poll::Ready(written.map_err(io::Error::from))
    }

    /// The stream, when all is written.
    async fn emptied(&mut self) -> io::Result<&mut W> {
        poll_fn(|context| self.poll_empty(context)).await?;
        let (stream, _) = self.lane.idle.as_mut().expect("its operation is over");
        Ok(stream)
    }
}

impl<W> BufWriter<W> {
    /// The stream; `None` while a write goes on whose future was dropped.
    pub fn get_ref(&self) -> Option<&W> {
        self.lane.stream()
    }

    /// The stream without what is in the buffer; `None` while a write goes on whose future was
    /// dropped.
    pub fn into_inner(self) -> Option<W> {
        self.lane.idle.map(|(stream, _)| stream)
    }
}

impl<W: AsyncWrite + 'static> AsyncWrite for BufWriter<W> {
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (written, [buffer]) = self.write_vectored([buffer]).await;
        (written, buffer)
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        let has_room = |lane: &mut Lane<_, _>| {
            lane.idle.is_some() && lane.buffer().len() < lane.buffer().capacity()
        };
        if !has_room(&mut self.lane) {
            if let Err(error) = self.emptied().await {
                return (Err(error), buffers);
            }
        }
        let kept = self.lane.buffer();
        let before = kept.len();
        each_slice(&buffers, |bytes| {
            let room = kept.capacity() - kept.len();
            kept.extend_from_slice(&bytes[..room.min(bytes.len())]);
        });
        (Ok(kept.len() - before), buffers)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.emptied().await?.flush().await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.emptied().await?.shutdown().await
    }
}

impl<W: fmt::Debug> fmt::Debug for BufWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufWriter")
            .field("stream", &self.get_ref())
            .finish_non_exhaustive()
    }
}
