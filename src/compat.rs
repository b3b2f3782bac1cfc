//! Connections for libraries that read and write by the traits of other crates.
//!
//! | feature | traits |
//! |---|---|
//! | `futures-io` | `AsyncRead` and `AsyncWrite` of the futures crates |
//! | `hyper` | `rt::Read`, `rt::Write`, `rt::Executor` and `rt::Timer` of hyper 1 |
//!
//! These lend a slice for the time of a poll, which an operation cannot keep. So a [`PollStream`] makes the
//! call in place, on the caller's slice, and waits by an operation only when the call would block: nothing
//! is copied but what hyper reads, once, and nothing is allocated.

#[cfg(feature = "futures-io")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use self::hyper::{HyperExecutor, HyperSleep, HyperTimer};

use crate::driver::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use crate::fd::SharedFd;
use crate::op::{self, PollEvents};
use crate::task::{Pending, submit};
use crate::time::{Duration, Sleep, sleep};
use rustix::io::Errno;
use rustix::net::{self, SendAncillaryBuffer, SendFlags, Shutdown};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// So many calls that do not block are made before the other tasks have their turn.
const STREAK: u32 = 32;

/// How long a writer waits before it tries again, where the system cannot tell when.
const PAUSE: Duration = Duration::from_millis(1);

/// Buffers that one call takes.
const IOV_MAX: usize = 1024;

/// A connection that is polled: TCP, or a Unix socket.
///
/// It reads and writes whether the socket is in blocking mode or not, and leaves that as it is. Dropping it
/// closes the socket; when it waits for something, with the next turn of the runtime. It is for the system's sockets: those of a simulated host give errors.
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
pub struct PollStream {
    fd: SharedFd,
    reading: Side,
    writing: Side,
}

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
        Self {
            fd,
            reading: Side::new(PollEvents::READABLE),
            writing: Side::new(PollEvents::WRITABLE),
        }
    }

    /// Makes a call that receives.
    fn poll_read<T>(
        &mut self,
        context: &mut Context<'_>,
        call: impl FnMut(&SharedFd) -> rustix::io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.reading.poll(&self.fd, context, call)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.writing
            .poll(&self.fd, context, |fd| net::send(fd, bytes, flags))
    }

    fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let parts = &parts[..parts.len().min(IOV_MAX)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.writing.poll(&self.fd, context, |fd| {
            net::sendmsg(fd, parts, &mut SendAncillaryBuffer::default(), flags)
        })
    }

    fn shutdown(&self) -> io::Result<()> {
        match net::shutdown(&self.fd, Shutdown::Write) {
            // The peer is gone: there is nobody to be told.
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for PollStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PollStream {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// One direction.
#[derive(Debug)]
struct Side {
    events: PollEvents,
    wait: Option<Wait>,
    /// Calls since it has waited.
    streak: u32,
}

/// What it waits for, after a call that would have blocked.
#[derive(Debug)]
enum Wait {
    /// That the socket is ready.
    Ready(Pending<op::Poll<Rc<OwnedFd>>>),
    /// A moment: the socket is ready for something else all the time, which ends every wait at once. So
    /// it is for a writer whose peer has ended its own side, and has no room.
    Pause(Sleep),
}

impl Wait {
    /// What the socket is ready for.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<PollEvents>>> {
        match self {
            Self::Ready(wait) => {
                let (events, _) = ready!(Pin::new(wait).poll(context));
                Poll::Ready(events.map(Some))
            }
            Self::Pause(sleep) => Pin::new(sleep).poll(context).map(|()| Ok(None)),
        }
    }
}

impl Side {
    fn new(events: PollEvents) -> Self {
        Self {
            events,
            wait: None,
            streak: 0,
        }
    }

    /// Makes a call when it does not block.
    fn poll<T>(
        &mut self,
        fd: &SharedFd,
        context: &mut Context<'_>,
        mut call: impl FnMut(&SharedFd) -> rustix::io::Result<T>,
    ) -> Poll<io::Result<T>> {
        if self.streak == STREAK {
            self.streak = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let ready = match &mut self.wait {
                Some(wait) => {
                    let ready = ready!(wait.poll(context));
                    self.wait = None;
                    ready?
                }
                None => None,
            };
            match call(fd) {
                Err(Errno::AGAIN) => {
                    self.streak = 0;
                    let in_vain = ready.is_some_and(|ready| !ready.intersects(self.events));
                    self.wait = Some(if in_vain {
                        Wait::Pause(sleep(PAUSE))
                    } else {
                        Wait::Ready(submit(op::Poll::new(fd.hold(), self.events)))
                    });
                }
                Err(Errno::INTR) => {}
                result => {
                    self.streak += 1;
                    return Poll::Ready(result.map_err(io::Error::from));
                }
            }
        }
    }
}
