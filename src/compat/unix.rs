//! Connections of Unix: the call is made in place, on the caller's slice, and an operation waits
//! only when the call would block. (One case has to copy: a write without room to a peer that has
//! ended its own side.)

use crate::driver::OwnedFd;
use crate::fd::SharedFd;
use crate::io::IOV_MAX;
use crate::op::{self, Exact, PollEvents, Send};
use crate::task::{JoinHandle, Pending, spawn, submit};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use std::future::Future;
use std::io::{self, IoSlice};
#[cfg(feature = "hyper")]
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// So many calls that do not block are made before the other tasks have their turn.
const STREAK: u32 = 32;

/// So many bytes are copied at most where the system cannot tell when there is room.
const COPIED: usize = 16 * 1024;

/// Bytes that one call receives at most that pass through the stack.
#[cfg(feature = "hyper")]
const CHUNK: usize = 32 * 1024;

/// A socket that is called on the caller's slice.
#[derive(Debug)]
pub(super) struct Stream {
    fd: SharedFd,
    send_flags: SendFlags,
    reading: Side,
    writing: Side,
    /// Sends what was copied.
    sending: Option<JoinHandle<io::Result<()>>>,
}

impl Stream {
    pub(super) fn new(fd: SharedFd) -> Self {
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

    pub(super) fn fd(&self) -> &SharedFd {
        &self.fd
    }

    /// Receives into a slice that has room.
    #[cfg(feature = "futures-io")]
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.reading.poll(&self.fd, context, |fd| {
            net::recv(fd, &mut *bytes, RecvFlags::DONTWAIT).map(|(n, _)| n)
        })
    }

    /// Receives at most so many bytes, at least one, for whoever takes them.
    #[cfg(feature = "hyper")]
    pub(super) fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        max: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        let mut chunk = [const { MaybeUninit::<u8>::uninit() }; CHUNK];
        let room = &mut chunk[..max.min(CHUNK)];
        self.reading.poll(&self.fd, context, |fd| {
            let ((received, _), _) = net::recv(fd, &mut *room, RecvFlags::DONTWAIT)?;
            take(received);
            Ok(())
        })
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let flags = self.send_flags;
        self.poll_send(context, &[IoSlice::new(bytes)], |fd| {
            net::send(fd, bytes, flags)
        })
    }

    pub(super) fn poll_write_vectored(
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
            // The wait for room is over, but there is none: the peer has ended its own side, which
            // ends every such wait. A send waits nevertheless.
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
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(task) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(Pin::new(task).poll(context));
        self.sending = None;
        Poll::Ready(sent?)
    }

    /// Ends the stream for whoever reads it; what it sends can still be read.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Poll::Ready(match net::shutdown(&self.fd, Shutdown::Write) {
            // The peer is gone: there is nobody to be told.
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
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

    /// Makes a call when it does not block. It is [`WouldBlock`](io::ErrorKind::WouldBlock) where
    /// the socket is ready for something else all the time, so that no wait helps.
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
