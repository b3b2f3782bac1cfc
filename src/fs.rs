//! Files.

use crate::buf::{BufResult, IntoInner, IoBuf, IoBufMut, Sliceable};
use crate::driver::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use crate::op::{ReadAt, WriteAt};
use crate::task::submit;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// An open file.
///
/// Its positioned reads and writes are futures that own their buffer, and give it back.
/// An operation keeps the file open: dropping the `File`, or the future, closes nothing under it.
/// The driver owns it meanwhile, in a slot of [`SLOT_SIZE`](crate::slots::SLOT_SIZE) bytes: an array
/// that is larger goes into a box.
///
/// ```
/// use completeio::{fs::File, task::block_on};
///
/// let text = block_on(async {
///     let file = File::open("Cargo.toml")?;
///     let (read, buffer) = file.read_at(Vec::with_capacity(9), 0).await;
///     read?;
///     std::io::Result::Ok(buffer)
/// })?;
/// assert_eq!(text, b"[workspac");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct File {
    fd: Rc<OwnedFd>,
}

impl File {
    /// Opens a file for reading, synchronously.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::open(path).map(Self::from)
    }

    /// Makes a file for writing, or empties it, synchronously.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::create(path).map(Self::from)
    }

    /// Reads once, at `offset`, into the buffer's room: see [`ReadAt`].
    pub async fn read_at<B: IoBufMut + 'static>(
        &self,
        buffer: B,
        offset: u64,
    ) -> BufResult<usize, B> {
        let (read, op) = submit(ReadAt::new(self.fd.clone(), offset, buffer)).await;
        (read, op.into_inner())
    }

    /// Reads from `offset` to the end of the file, growing the buffer as needed. Gives the number
    /// of bytes read; after an error the buffer holds what came before it.
    pub async fn read_to_end_at(
        &self,
        mut buffer: Vec<u8>,
        mut offset: u64,
    ) -> BufResult<usize, Vec<u8>> {
        const GROWTH: usize = 4096;
        let before = buffer.len();
        loop {
            if buffer.len() == buffer.capacity() {
                buffer.reserve(GROWTH);
            }
            let (read, back) = self.read_at(buffer, offset).await;
            buffer = back;
            match read {
                Ok(0) => return (Ok(buffer.len() - before), buffer),
                Ok(n) => offset += n as u64,
                Err(error) => return (Err(error), buffer),
            }
        }
    }

    /// Writes once, at `offset`: see [`WriteAt`].
    pub async fn write_at<B: IoBuf + 'static>(
        &self,
        buffer: B,
        offset: u64,
    ) -> BufResult<usize, B> {
        let (written, op) = submit(WriteAt::new(self.fd.clone(), offset, buffer)).await;
        (written, op.into_inner())
    }

    /// Writes the whole buffer at `offset`.
    ///
    /// A write that moves nothing is [`WriteZero`](io::ErrorKind::WriteZero).
    pub async fn write_all_at<B: IoBuf + 'static>(
        &self,
        mut buffer: B,
        offset: u64,
    ) -> BufResult<(), B> {
        let (_, len) = buffer.parts();
        let mut done = 0;
        while done < len {
            let at = offset.saturating_add(done as u64);
            let (written, rest) = self.write_at(buffer.slice(done..), at).await;
            buffer = rest.into_inner();
            match written {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(n) => done += n,
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        Self {
            fd: Rc::new(file.into()),
        }
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
