//! The future of one operation.

use super::cancel::Listed;
use super::runtime::Inner;
use crate::buf::{BufResult, IntoInner};
use crate::driver::Holds;
use crate::op::Op;
use crate::slots::Key;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

/// What a cancelled operation says: `ERROR_OPERATION_ABORTED` on Windows.
const CANCELLED: i32 = if cfg!(windows) { 995 } else { libc::ECANCELED };

/// Pushes `op`, and gives it back with its output.
///
/// A future of it that is dropped cancels the operation and disposes of its result; a
/// [`CancelToken`](super::CancelToken) cancels it and keeps both.
pub(crate) fn submit<O: Op + 'static>(op: O) -> Pending<O>
where
    O::Fd: Holds,
{
    Pending {
        runtime: Rc::downgrade(&Inner::current()),
        stage: Stage::Waiting(op, None),
        listed: Listed::default(),
    }
}

/// The same of what moves bytes: gives the buffer back.
pub(crate) async fn transfer<O>(op: O) -> BufResult<O::Output, O::Inner>
where
    O: Op<Fd: Holds> + IntoInner + 'static,
{
    let (moved, op) = submit(op).await;
    (moved, op.into_inner())
}

/// The future of one operation.
pub(crate) struct Pending<O: Op + 'static> {
    /// The driver ends with its `block_on`, whatever becomes of this.
    runtime: Weak<Inner>,
    stage: Stage<O>,
    listed: Listed,
}

/// | stage | who has the operation | what comes next |
/// |---|---|---|
/// | `Waiting` | this future; with a ticket it is, or was, among the waiters | `Pushed` by a poll |
/// | `Pushed` | a slot of the driver, until the key gives it back | `Ended` |
/// | `Ended` | the caller | |
enum Stage<O: Op + 'static> {
    Waiting(O, Option<u64>),
    Pushed(Key<'static, O>),
    Ended,
}

// Nothing is pinned: an operation is in flight in its slot only.
impl<O: Op + 'static> Unpin for Pending<O> {}

impl<O: Op + 'static> Future for Pending<O>
where
    O::Fd: Holds,
{
    type Output = (io::Result<O::Output>, O);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let runtime = Inner::current();
        assert!(
            this.runtime.as_ptr() == Rc::as_ptr(&runtime),
            "a future is awaited in the `block_on` in which it began"
        );
        let cancelled = this.listed.poll(&runtime, context).is_ready();
        if let Stage::Waiting(..) = this.stage {
            let Stage::Waiting(op, ticket) = mem::replace(&mut this.stage, Stage::Ended) else {
                unreachable!("asked before")
            };
            if cancelled {
                runtime.places.leave(ticket);
                let error = io::Error::from_raw_os_error(CANCELLED);
                return Poll::Ready((Err(error), op));
            }
            this.stage = match runtime.push(op, ticket) {
                Ok(key) => Stage::Pushed(key),
                Err(op) => Stage::Waiting(op, Some(runtime.places.wait(ticket, context.waker()))),
            };
        }
        match &mut this.stage {
            Stage::Waiting(..) => Poll::Pending,
            Stage::Pushed(key) => {
                if cancelled {
                    key.cancel();
                }
                let output = Pin::new(key).poll(context);
                if output.is_ready() {
                    this.stage = Stage::Ended;
                }
                output
            }
            Stage::Ended => panic!("a future is polled until it is ready"),
        }
    }
}

impl<O: Op + 'static> fmt::Debug for Pending<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl<O: Op + 'static> Drop for Pending<O> {
    fn drop(&mut self) {
        if let Stage::Waiting(_, ticket) = self.stage {
            if let Some(runtime) = self.runtime.upgrade() {
                runtime.places.leave(ticket);
            }
        }
    }
}
