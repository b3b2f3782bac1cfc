//! Connections of Windows: operations with buffers of their own, from and to which is copied.

use crate::buf::IntoInner;
use crate::driver::OwnedFd;
use crate::fd::SharedFd;
use crate::op::{Exact, Recv, Send};
use crate::task::runtime::Inner;
use crate::task::{Pending, submit};
use crate::time::timeout;
use socket2::SockRef;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// So many bytes are received or sent at once.
const ROOM: usize = 16 * 1024;

/// So long what was copied is tried to be sent when its stream was dropped.
const LINGER: Duration = Duration::from_secs(60);

type Receive = Recv<Rc<OwnedFd>, Vec<u8>>;
type SendAll = Exact<Send<Rc<OwnedFd>, Vec<u8>>>;

#[derive(Debug)]
pub(super) struct Stream {
    fd: SharedFd,
    /// What has come, of which so much was taken. An operation has it meanwhile.
    received: Vec<u8>,
    taken: usize,
    receiving: Option<Pending<Receive>>,
    /// For what is to be sent. An operation has it meanwhile.
    outgoing: Vec<u8>,
    sending: Option<Pending<SendAll>>,
}

impl Stream {
    pub(super) fn new(fd: SharedFd) -> Self {
        Self {
            fd,
            received: Vec::new(),
            taken: 0,
            receiving: None,
            outgoing: Vec::new(),
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
        let (max, mut n) = (bytes.len(), 0);
        let take = |came: &[u8]| {
            n = came.len();
            bytes[..n].copy_from_slice(came);
        };
        ready!(self.poll_take(context, max, take))?;
        Poll::Ready(Ok(n))
    }

    /// Receives at most so many bytes, at least one, for whoever takes them.
    pub(super) fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        max: usize,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        if self.taken == self.received.len() {
            ready!(self.poll_receive(context))?;
        }
        let left = &self.received[self.taken..];
        let part = &left[..left.len().min(max)];
        self.taken += part.len();
        take(part);
        Poll::Ready(Ok(()))
    }

    /// Receives, when all was taken that had come.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let receiving = self.receiving.get_or_insert_with(|| {
            let mut room = mem::take(&mut self.received);
            self.taken = 0;
            room.clear();
            room.reserve_exact(ROOM);
            submit(Recv::new(self.fd.hold(), room))
        });
        let (received, op) = ready!(Pin::new(receiving).poll(context));
        self.receiving = None;
        self.received = op.into_inner();
        Poll::Ready(received)
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        let mut copy = mem::take(&mut self.outgoing);
        copy.clear();
        for part in parts {
            let room = ROOM - copy.len();
            copy.extend_from_slice(&part[..part.len().min(room)]);
        }
        let copied = copy.len();
        self.sending = Some(submit(Exact::new(Send::new(self.fd.hold(), copy))));
        // It begins with its first poll, and is waited for by the next write.
        match self.poll_flush(context)? {
            Poll::Ready(()) | Poll::Pending => Poll::Ready(Ok(copied)),
        }
    }

    /// Waits until what was copied is sent.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let (sent, op) = ready!(Pin::new(sending).poll(context));
        self.sending = None;
        self.outgoing = op.into_inner();
        Poll::Ready(sent.map(drop))
    }

    /// Ends the stream for whoever reads it; what it sends can still be read.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Poll::Ready(match SockRef::from(&self.fd).shutdown(Shutdown::Write) {
            // The peer is gone: there is nobody to be told.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (Some(sending), Some(runtime)) = (self.sending.take(), Inner::try_current()) {
            // The runtime may end before its next turn.
            runtime.hand_over();
            let fd = self.fd.clone(); // It stays attached.
            drop(runtime.spawn(async move {
                let _sent = timeout(LINGER, sending).await;
                drop(fd);
            }));
        }
    }
}
