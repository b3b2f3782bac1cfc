//! The traits of hyper 1.

use super::PollStream;
use crate::task::spawn;
use crate::time::{Sleep, sleep};
use hyper::rt::{self, ReadBufCursor};
use send_wrapper::SendWrapper;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
impl rt::Read for PollStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if cursor.remaining() == 0 {
            return Poll::Ready(Ok(())); // The system would wait for a byte.
        }
        let room = cursor.remaining();
        let take = |bytes: &[u8]| cursor.put_slice(bytes);
        self.get_mut().0.poll_take(context, room, take)
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
impl rt::Write for PollStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().0.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().0.poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_shutdown(context)
    }
}

/// Runs what hyper has to run as tasks of the current runtime.
///
/// # Panics
/// When it is used outside of a runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct HyperExecutor;

impl<F: Future + 'static> rt::Executor<F> for HyperExecutor {
    fn execute(&self, future: F) {
        drop(spawn(future));
    }
}

/// Measures hyper's timeouts, by the timers of the current runtime.
///
/// # Panics
/// When a sleep of it is polled outside of a runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct HyperTimer;

impl rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HyperSleep(SendWrapper::new(sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

/// A sleep of a [`HyperTimer`].
///
/// hyper asks that it be `Send`, and keeps it where its connection is: on the thread of the
/// runtime.
///
/// # Panics
/// When it is polled or dropped on another thread.
#[derive(Debug)]
pub struct HyperSleep(SendWrapper<Sleep>);

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut *self.get_mut().0).poll(context)
    }
}

impl rt::Sleep for HyperSleep {}
