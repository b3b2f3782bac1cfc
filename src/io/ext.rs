//! Whole buffers.

use super::{AsyncBufRead, AsyncRead, AsyncWrite};
use crate::buf::{
    BufResult, IntoInner, IoBuf, IoBufMut, IoBufs, IoBufsMut, Limit, Rest, Sliceable, Storage,
};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};

/// What a transfer of several steps failed with, and how many bytes it had moved by then.
///
/// An [`io::Error`] is made of it by `?`: the error as it was.
#[derive(Debug)]
pub struct TransferError {
    error: io::Error,
    moved: u64,
}

impl TransferError {
    pub(crate) fn new(error: impl Into<io::Error>, moved: u64) -> Self {
        let error = error.into();
        Self { error, moved }
    }

    /// The bytes that were read, or written, before the step that failed.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// As [`io::Error::kind`].
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, after {} bytes", self.error, self.moved)
    }
}

impl Error for TransferError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<TransferError> for io::Error {
    fn from(error: TransferError) -> Self {
        error.error
    }
}

/// Reads until there is enough: for everything that is [`AsyncRead`].
///
/// If a future of these is dropped, what it has read is lost with the buffer, and the stream goes
/// on behind that. [`BufReader`](super::BufReader) bounds the loss: what it has read and not given
/// out stays in it.
pub trait AsyncReadExt: AsyncRead {
    /// Fills the room of the buffer: the spare capacity of a `Vec`, all of an array.
    ///
    /// ```
    /// use completeio::{io::AsyncReadExt, task::block_on};
    ///
    /// let (read, text) = block_on((&b"two words"[..]).read_exact([0; 4]));
    /// assert_eq!((read?, &text), ((), b"two "));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the stream, and [`UnexpectedEof`](ErrorKind::UnexpectedEof) when it ends before.
    /// What came by then is in the buffer, which comes back: [`TransferError::moved`] bytes.
    fn read_exact<B: Storage + Sliceable + 'static>(
        &mut self,
        mut buffer: B,
    ) -> impl Future<Output = (Result<(), TransferError>, B)> {
        async move {
            let room = buffer.parts_mut().1;
            // Where the room begins: behind the bytes of a buffer that grows.
            let begin = buffer.storage_mut().1 - room;
            let mut done = 0;
            while done < room {
                let (read, part) = self.read(buffer.slice(begin + done..)).await;
                buffer = part.into_inner();
                let failed = |error| TransferError::new(error, done as u64);
                match read {
                    Ok(0) => return (Err(failed(ErrorKind::UnexpectedEof.into())), buffer),
                    Ok(n) => done += n,
                    Err(error) => return (Err(failed(error)), buffer),
                }
            }
            (Ok(()), buffer)
        }
    }

    /// Reads to the end of the stream, behind the bytes of the buffer, which grows as needed. Gives
    /// the number of bytes read; after an error the buffer holds what came before it.
    ///
    /// There is no limit: [`take`](Self::take) sets one.
    fn read_to_end(&mut self, buffer: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
        to_end(buffer, async |buffer| self.read(buffer).await)
    }

    /// As [`read_to_end`](Self::read_to_end), for text.
    ///
    /// # Errors
    /// Those of the stream, and [`InvalidData`](ErrorKind::InvalidData) if what was read is no
    /// UTF-8: then `text` comes back as it was.
    fn read_to_string(&mut self, text: String) -> impl Future<Output = BufResult<usize, String>> {
        async move {
            let before = text.len();
            let (read, bytes) = self.read_to_end(text.into_bytes()).await;
            match String::from_utf8(bytes) {
                Ok(text) => (read, text),
                Err(error) => {
                    let mut bytes = error.into_bytes();
                    bytes.truncate(before);
                    let text = String::from_utf8(bytes).expect("it was text");
                    (read.and(Err(ErrorKind::InvalidData.into())), text)
                }
            }
        }
    }

    /// The next `limit` bytes of it, as a stream that ends then.
    fn take(self, limit: u64) -> Take<Self>
    where
        Self: Sized,
    {
        Take {
            stream: self,
            limit,
        }
    }
}

impl<R: AsyncRead> AsyncReadExt for R {}

/// Reads until there is nothing more, behind the bytes of the buffer, which grows as needed.
pub(crate) async fn to_end(
    mut buffer: Vec<u8>,
    mut read: impl AsyncFnMut(Vec<u8>) -> BufResult<usize, Vec<u8>>,
) -> BufResult<usize, Vec<u8>> {
    const GROWTH: usize = 4096;
    let before = buffer.len();
    loop {
        if buffer.len() == buffer.capacity() {
            buffer.reserve(GROWTH);
        }
        let (read, back) = read(buffer).await;
        buffer = back;
        match read {
            Ok(0) => return (Ok(buffer.len() - before), buffer),
            Ok(_) => {}
            Err(error) => return (Err(error), buffer),
        }
    }
}

/// Writes until all is written: for everything that is [`AsyncWrite`].
///
/// If a future of these is dropped, nobody tells how much of the buffer was written.
/// [`BufWriter`](super::BufWriter) goes on where it was.
pub trait AsyncWriteExt: AsyncWrite {
    /// Writes the whole buffer.
    ///
    /// ```
    /// use completeio::{io::AsyncWriteExt, task::block_on};
    ///
    /// let mut memory = Vec::new();
    /// block_on(memory.write_all("all of it")).0?;
    /// assert_eq!(memory, b"all of it");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the stream, and [`WriteZero`](ErrorKind::WriteZero) when it takes nothing.
    /// [`TransferError::moved`] bytes were written.
    fn write_all<B: IoBuf + 'static>(
        &mut self,
        mut buffer: B,
    ) -> impl Future<Output = (Result<(), TransferError>, B)> {
        async move {
            let (_, len) = buffer.parts();
            let mut done = 0;
            while done < len {
                let (written, part) = self.write(buffer.slice(done..)).await;
                buffer = part.into_inner();
                if let Err(error) = advance(&mut done, written) {
                    return (Err(error), buffer);
                }
            }
            (Ok(()), buffer)
        }
    }

    /// Writes all of several buffers, in their order. Errors are those of
    /// [`write_all`](Self::write_all).
    ///
    /// # Errors
    /// As [`write_all`](Self::write_all).
    fn write_vectored_all<V: IoBufs + 'static>(
        &mut self,
        mut buffers: V,
    ) -> impl Future<Output = (Result<(), TransferError>, V)> {
        async move {
            let mut len = 0;
            buffers.each_part(|_, part| len += part);
            let mut done = 0;
            while done < len {
                let (written, rest) = self.write_vectored(Rest::new(buffers, done)).await;
                buffers = rest.into_inner();
                if let Err(error) = advance(&mut done, written) {
                    return (Err(error), buffers);
                }
            }
            (Ok(()), buffers)
        }
    }
}

impl<W: AsyncWrite> AsyncWriteExt for W {}

/// Counts what a write has moved.
fn advance(done: &mut usize, written: io::Result<usize>) -> Result<(), TransferError> {
    let written = match written {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        written => written,
    };
    *done += written.map_err(|error| TransferError::new(error, *done as u64))?;
    Ok(())
}

/// The first bytes of a stream: see [`AsyncReadExt::take`].
///
/// ```
/// use completeio::{io::AsyncReadExt, task::block_on};
///
/// let mut head = (&b"head and body"[..]).take(4);
/// let (read, text) = block_on(head.read_to_string(String::new()));
/// assert_eq!((read?, &*text), (4, "head"));
/// assert_eq!(head.into_inner(), b" and body");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Take<R> {
    stream: R,
    limit: u64,
}

impl<R> Take<R> {
    /// How many bytes are left, unless the stream ends before.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The same, in the size of a buffer.
    fn room(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// The stream, with what is left of it.
    pub fn into_inner(self) -> R {
        self.stream
    }

    fn count(&mut self, read: &io::Result<usize>) {
        self.limit -= read.as_ref().map_or(0, |n| *n as u64);
    }
}

impl<R: AsyncRead> AsyncRead for Take<R> {
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        if self.limit == 0 {
            return (Ok(0), buffer); // The stream would wait for what comes behind the part.
        }
        let (read, part) = self.stream.read(Limit::new(buffer, self.room())).await;
        self.count(&read);
        (read, part.into_inner())
    }

    async fn read_vectored<V: IoBufsMut + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        if self.limit == 0 {
            return (Ok(0), buffers);
        }
        let limited = Limit::new(buffers, self.room());
        let (read, part) = self.stream.read_vectored(limited).await;
        self.count(&read);
        (read, part.into_inner())
    }
}

impl<R: AsyncBufRead> AsyncBufRead for Take<R> {
    async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let room = self.room();
        if room == 0 {
            return Ok(&[]);
        }
        let bytes = self.stream.fill_buf().await?;
        Ok(&bytes[..room.min(bytes.len())])
    }

    fn consume(&mut self, n: usize) {
        assert!(n <= self.room(), "consumed too much");
        self.stream.consume(n);
        self.count(&Ok(n));
    }
}
