//! Connections for libraries that read and write by the traits of other crates.
//!
//! | feature | traits |
//! |---|---|
//! | `futures-io` | `AsyncRead` and `AsyncWrite` of the futures crates |
//! | `hyper` | `rt::Read`, `rt::Write`, `rt::Executor` and `rt::Timer` of hyper 1 |
//!
//! These lend a slice for the time of a poll, which an operation cannot keep. So a [`PollStream`] makes the
//! call in place, on the caller's slice, and waits by an operation only when the call would block: nothing
//! is copied but what hyper reads, once, and nothing is allocated. (One case has to copy: a write without
//! room to a peer that has ended its own side.)

#[cfg(feature = "futures-io")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use self::hyper::{HyperExecutor, HyperSleep, HyperTimer};

use crate::driver::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use crate::fd::SharedFd;
use crate::io::IOV_MAX;
use crate::op::{self, Exact, PollEvents, Send};
use crate::task::{JoinHandle, Pending, spawn, submit};
use rustix::io::Errno;
use rustix::net::{self, SendAncillaryBuffer, SendFlags, Shutdown};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// So many calls that do not block are made before the other tasks have their turn.
const STREAK: u32 = 32;

/// So many bytes are copied at most where the system cannot tell when there is room.
const COPIED: usize = 16 * 1024;

/// A connection that is polled: TCP, or a Unix socket.
///
/// It reads and writes whether the socket is in blocking mode or not, and leaves that as it is. Dropping it
/// closes the socket; when it waits for something, with the next turn of the runtime, and when bytes that a
/// write has copied are not sent yet, once they are, for which a task stays behind. It is for the system's sockets: those of a simulated
/// host give errors.
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
    send_flags: SendFlags,
    reading: Side,
    writing: Side,
    /// Sends what was copied.
    sending: Option<JoinHandle<io::Result<()>>>,
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
        // Where there is no such flag, the socket was told when it was made.
        let quiet = SendFlags::from_name("NOSIGNAL").unwrap_or(SendFlags::empty());
        Self {
            fd,
            send_flags: SendFlags::DONTWAIT | quiet,
            reading: Side::new(PollEvents::READABLE),
            writing: Side::new(PollEvents::WRITABLE),
            sending: None,
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
        let flags = self.send_flags;
        self.poll_send(context, &[IoSlice::new(bytes)], |fd| {
            net::send(fd, bytes, flags)
        })
    }

    fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let parts = &parts[..parts.len().min(IOV_MAX)];
        let flags = self.send_flags;
        self.poll_send(context, parts, |fd| {
            net::sendmsg(fd, parts, &mut SendAncillaryBuffer::default(), flags)
        })
    }

    /// Makes a call that sends these parts.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        call: impl FnMut(&SharedFd) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        match ready!(self.writing.poll(&self.fd, context, call)) {
            // The wait for room is over, but there is none: the peer has ended its own side, which ends
            // every such wait. A send waits nevertheless.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let bytes = parts.iter().flat_map(|part| part.iter().copied());
                let copy: Vec<u8> = bytes.take(COPIED).collect();
                let copied = copy.len();
                let fd = self.fd.clone(); // It stays attached.
                self.sending = Some(spawn(async move {
                    let send = Exact::new(Send::new(fd.hold(), copy));
                    submit(send).await.0.map(drop)
                }));
                Poll::Ready(Ok(copied))
            }
            sent => Poll::Ready(sent),
        }
    }

    /// Waits until what was copied is sent.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(task) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(Pin::new(task).poll(context));
        self.sending = None;
        Poll::Ready(sent?)
    }

    /// Ends the stream for whoever reads it; what it sends can still be read.
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Poll::Ready(match net::shutdown(&self.fd, Shutdown::Write) {
            // The peer is gone: there is nobody to be told.
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
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
    /// That the socket is ready, after a call that would have blocked.
    wait: Option<Pending<op::Poll<Rc<OwnedFd>>>>,
    /// Calls since it has waited.
    streak: u32,
}

impl Side {
    fn new(events: PollEvents) -> Self {
        Self {
            events,
            wait: None,
            streak: 0,
        }
    }

    /// Makes a call when it does not block. It is [`WouldBlock`](io::ErrorKind::WouldBlock) where the
    /// socket is ready for something else all the time, so that no wait helps.
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
        let mut in_vain = false;
        loop {
            if let Some(wait) = &mut self.wait {
                let (ready, _) = ready!(Pin::new(wait).poll(context));
                self.wait = None;
                in_vain = !ready?.intersects(self.events);
            }
            match call(fd) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !in_vain => {
                    self.streak = 0;
                    self.wait = Some(submit(op::Poll::new(fd.hold(), self.events)));
                }
                result => {
                    self.streak += 1;
                    return Poll::Ready(result.map_err(io::Error::from));
                }
            }
        }
    }
}
