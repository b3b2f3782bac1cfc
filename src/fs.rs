//! Files, and their names.
//!
//! Files are read and written at offsets by operations, and so are names looked up, made and
//! removed: it all runs on a [simulated host](crate::sim) too. What the kernel has no operation for
//! runs on the pool of [`spawn_blocking`], and says so.
//!
//! A path is copied for its operation: that is one allocation.
//!
//! ```
//! use completeio::{fs, task::block_on};
//!
//! # let dir = std::env::temp_dir().join(format!("completeio-fs-{}", std::process::id()));
//! block_on(async {
//!     fs::create_dir(&dir).await?;
//!     fs::write(dir.join("one"), "text").await.0?;
//!     assert_eq!(fs::copy(dir.join("one"), dir.join("two")).await?, 4);
//!     assert_eq!(fs::read_to_string(dir.join("two")).await?, "text");
//!     fs::remove_dir_all(&dir).await
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Panics
//! The futures of this module panic outside of a runtime.

mod dir;
mod names;
mod options;

pub use self::dir::{ReadDir, read_dir};
pub use self::names::{
    canonicalize, copy, create_dir, create_dir_all, hard_link, metadata, read, read_link,
    read_to_string, remove_dir, remove_dir_all, remove_file, rename, symlink, symlink_metadata,
    try_exists, write,
};
pub use self::options::OpenOptions;
pub use crate::op::{FileKind, Metadata};
pub use std::fs::DirEntry;

use crate::buf::{BufResult, IntoInner, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::driver::{AsFd, AsRawFd, BorrowedFd, Holds, OwnedFd, RawFd};
use crate::io::{TransferError, to_end};
use crate::op::{
    self, Allocate, Close, Exact, ReadAt, ReadVectoredAt, Stat, Truncate, WriteAt, WriteVectoredAt,
};
use crate::task::{spawn_blocking, submit, transfer};
use std::io;
use std::path::Path;
use std::rc::Rc;

/// An open file.
///
/// Its reads and writes are futures that own their buffer, and give it back. They are positioned: a
/// file here has no position of its own, and several of them may be under way at once. An operation
/// keeps the file open: dropping the `File`, or the future, closes nothing under it. The driver
/// owns it meanwhile, in a slot of [`SLOT_SIZE`](crate::slots::SLOT_SIZE) bytes: an array that is
/// larger goes into a `Box<[u8]>`.
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

/// A transfer of the whole of its buffer.
async fn transfer_all<O>(op: O) -> (Result<(), TransferError>, O::Inner)
where
    O: op::Transfer<Fd: Holds> + IntoInner + 'static,
{
    let (moved, op) = submit(Exact::new(op)).await;
    let moved = moved.map_err(|error| TransferError::new(error, op.advanced() as u64));
    (moved.map(drop), op.into_inner())
}

/// What there is no operation for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await?
}

impl File {
    /// Opens a file for reading, synchronously: [`OpenOptions`] do it by an operation.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::open(path).map(Self::from)
    }

    /// Makes a file for writing, or empties it, synchronously: [`OpenOptions`] do it by an
    /// operation.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::create(path).map(Self::from)
    }

    /// Reads once, at `offset`, into the buffer's room: see [`ReadAt`]. Less than there is room for
    /// is no error; nothing is the end of the file, if there is room.
    pub async fn read_at<B: IoBufMut + 'static>(
        &self,
        buffer: B,
        offset: u64,
    ) -> BufResult<usize, B> {
        transfer(ReadAt::new(self.fd.clone(), offset, buffer)).await
    }

    /// Fills the buffer's room from `offset` on: see [`Exact`].
    ///
    /// An end before that is [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). After an error
    /// [`TransferError::moved`] bytes were read, and a buffer that grows has grown by those.
    pub async fn read_exact_at<B: IoBufMut + 'static>(
        &self,
        buffer: B,
        offset: u64,
    ) -> (Result<(), TransferError>, B) {
        transfer_all(ReadAt::new(self.fd.clone(), offset, buffer)).await
    }

    /// Reads from `offset` to the end of the file, growing the buffer as needed. Gives the number
    /// of bytes read; after an error the buffer holds what came before it.
    pub async fn read_to_end_at(
        &self,
        buffer: Vec<u8>,
        mut offset: u64,
    ) -> BufResult<usize, Vec<u8>> {
        to_end(buffer, async |buffer| {
            let (read, buffer) = self.read_at(buffer, offset).await;
            offset += *read.as_ref().unwrap_or(&0) as u64;
            (read, buffer)
        })
        .await
    }

    /// Reads once, at `offset`, into several buffers, each of which is filled before the next one:
    /// see [`ReadVectoredAt`].
    pub async fn read_vectored_at<V: IoBufsMut + 'static>(
        &self,
        buffers: V,
        offset: u64,
    ) -> BufResult<usize, V> {
        transfer(ReadVectoredAt::new(self.fd.clone(), offset, buffers)).await
    }

    /// Fills all buffers, as [`read_exact_at`](Self::read_exact_at) does one.
    pub async fn read_vectored_exact_at<V: IoBufsMut + 'static>(
        &self,
        buffers: V,
        offset: u64,
    ) -> (Result<(), TransferError>, V) {
        transfer_all(ReadVectoredAt::new(self.fd.clone(), offset, buffers)).await
    }

    /// Writes once, at `offset`: see [`WriteAt`]. Less than the whole is no error.
    pub async fn write_at<B: IoBuf + 'static>(
        &self,
        buffer: B,
        offset: u64,
    ) -> BufResult<usize, B> {
        transfer(WriteAt::new(self.fd.clone(), offset, buffer)).await
    }

    /// Writes the whole buffer at `offset`: see [`Exact`].
    ///
    /// A write that moves nothing is [`WriteZero`](io::ErrorKind::WriteZero). After an error
    /// [`TransferError::moved`] bytes were written.
    pub async fn write_all_at<B: IoBuf + 'static>(
        &self,
        buffer: B,
        offset: u64,
    ) -> (Result<(), TransferError>, B) {
        transfer_all(WriteAt::new(self.fd.clone(), offset, buffer)).await
    }

    /// Writes once, at `offset`, from several buffers, in their order: see [`WriteVectoredAt`].
    pub async fn write_vectored_at<V: IoBufs + 'static>(
        &self,
        buffers: V,
        offset: u64,
    ) -> BufResult<usize, V> {
        transfer(WriteVectoredAt::new(self.fd.clone(), offset, buffers)).await
    }

    /// Writes all buffers, as [`write_all_at`](Self::write_all_at) does one.
    pub async fn write_vectored_all_at<V: IoBufs + 'static>(
        &self,
        buffers: V,
        offset: u64,
    ) -> (Result<(), TransferError>, V) {
        transfer_all(WriteVectoredAt::new(self.fd.clone(), offset, buffers)).await
    }

    /// Waits until all that was written is on the disk, and what is known of the file: see
    /// [`Sync`](op::Sync::new).
    ///
    /// # Errors
    /// As [fsync(2)](https://man7.org/linux/man-pages/man2/fsync.2.html).
    pub async fn sync_all(&self) -> io::Result<()> {
        submit(op::Sync::new(self.fd.clone())).await.0
    }

    /// The same, of what is known of the file only what it takes to read it: see
    /// [`Sync`](op::Sync::data).
    ///
    /// # Errors
    /// As [fdatasync(2)](https://man7.org/linux/man-pages/man2/fsync.2.html).
    pub async fn sync_data(&self) -> io::Result<()> {
        submit(op::Sync::data(self.fd.clone())).await.0
    }

    /// Cuts the file off, or extends it by zeroes, to `len` bytes: see [`Truncate`]. Where io_uring
    /// has no such operation (before Linux 6.9) it is done on the pool.
    ///
    /// # Errors
    /// As [ftruncate(2)](https://man7.org/linux/man-pages/man2/ftruncate.2.html).
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        match submit(Truncate::new(self.fd.clone(), len)).await.0 {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let file = std::fs::File::from(self.fd.try_clone()?);
                blocking(move || file.set_len(len)).await
            }
            done => done,
        }
    }

    /// Takes space for `len` bytes at `offset`; a file that ends before grows: see [`Allocate`].
    ///
    /// # Errors
    /// As [fallocate(2)](https://man7.org/linux/man-pages/man2/fallocate.2.html).
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        submit(Allocate::new(self.fd.clone(), offset, len)).await.0
    }

    /// What is known of the file: see [`Stat`].
    ///
    /// # Errors
    /// As [statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html).
    pub async fn metadata(&self) -> io::Result<Metadata> {
        submit(Stat::new(self.fd.clone())).await.0
    }

    /// Closes the file by an operation, and tells of an error, which a drop does not.
    ///
    /// If operations of futures that were dropped still have the file, the last of them closes it,
    /// later.
    ///
    /// # Errors
    /// As [close(2)](https://man7.org/linux/man-pages/man2/close.2.html). It is closed
    /// nevertheless.
    pub async fn close(self) -> io::Result<()> {
        match Rc::try_unwrap(self.fd) {
            Ok(fd) => submit(Close::new(fd)).await.0,
            Err(_shared) => Ok(()),
        }
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        Self { fd: Rc::new(fd) }
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        OwnedFd::from(file).into()
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
