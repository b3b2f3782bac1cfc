//! Connections for libraries that read and write by the traits of other crates.
//!
//! | feature | traits |
//! |---|---|
//! | `futures-io` | `AsyncRead` and `AsyncWrite` of the futures crates |
//! | `hyper` | `rt::Read`, `rt::Write`, `rt::Executor` and `rt::Timer` of hyper 1 |
//!
//! These lend a slice for the time of a poll, which an operation cannot keep. On Unix a
//! [`PollStream`] makes the call in place, on the caller's slice, and waits by an operation only
//! when the call would block: nothing is copied but what hyper reads, once, and nothing is
//! allocated. (One case has to copy: a write without room to a peer that has ended its own side.)
//! On Windows, where no call can be told not to wait, its operations have two buffers of its own,
//! of 16 KiB each, and each byte is copied once.

#[cfg(feature = "futures-io")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use self::hyper::{HyperExecutor, HyperSleep, HyperTimer};

#[cfg(unix)]
#[path = "compat/unix.rs"]
mod sys;
#[cfg(windows)]
#[path = "compat/windows.rs"]
mod sys;

use self::sys::Stream;
use crate::driver::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use crate::fd::SharedFd;
use std::io;

/// A connection that is polled: TCP, or a Unix socket.
///
/// It reads and writes whether the socket is in blocking mode or not, and leaves that as it is.
/// Dropping it closes the socket; when it waits for something, with the next turn of the runtime.
/// It is for the system's sockets: those of a simulated host give errors.
///
/// On Windows it may have received more than it was asked for; and a write is over when its bytes
/// were copied, so that an error of it is the next write's, or that of a flush or a close. When it
/// is dropped the system is given what is left of them; what it has no room for is sent by a task
/// that stays behind, for a minute at most. **What was not flushed when the runtime ends** may not
/// be sent: the end of the runtime cancels it.
///
#[cfg_attr(feature = "futures-io", doc = "```")]
#[cfg_attr(not(feature = "futures-io"), doc = "```ignore")]
/// use completeio::{compat::PollStream, task::block_on};
/// use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
/// use std::os::unix::net::UnixStream;
///
/// block_on(async {
///     let (one, other) = UnixStream::pair()?;
///     let (mut one, mut other) = (PollStream::new(one)?, PollStream::new(other)?);
///     one.write_all(b"hello").await?;
///     one.close().await?;
///     let mut text = String::new();
///     other.read_to_string(&mut text).await?;
///     assert_eq!(text, "hello");
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PollStream(Stream);

impl PollStream {
    /// Takes a connected stream socket over: one of std's, for instance.
    ///
    /// # Errors
    /// As [`attach`](crate::driver::CompleteIo::attach).
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        SharedFd::new(socket).map(Self::on)
    }

    pub(crate) fn on(fd: SharedFd) -> Self {
        Self(Stream::new(fd))
    }
}

impl AsFd for PollStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd().as_fd()
    }
}

impl AsRawFd for PollStream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd().as_raw_fd()
    }
}
