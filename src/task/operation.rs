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
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

/// What a cancelled operation says: `ERROR_OPERATION_ABORTED` on Windows.
const CANCELLED: i32 = if cfg!(windows) { 995 } else { libc::ECANCELED };

/// Pushes `op` at once, and gives it back with its output.
///
/// A future of it that is dropped cancels the operation and disposes of its result; a
/// [`CancelToken`](super::CancelToken) cancels it and keeps both.
#[inline]
pub(crate) fn submit<O: Op + 'static>(op: O) -> Pending<O>
where
    O::Fd: Holds,
{
    Inner::with_current(|runtime| {
        let pushed = if runtime.is_cancelled() {
            Err(op)
        } else {
            runtime.push(op, None)
        };
        Pending {
            runtime: Rc::downgrade(runtime),
            stage: match pushed {
                Ok(key) => Stage::Pushed(key),
                Err(op) => Stage::Waiting(Some(op), None),
            },
            listed: Listed::default(),
        }
    })
}

/// The same of what moves bytes: gives the buffer back.
#[inline]
pub(crate) fn transfer<O>(op: O) -> Transfer<O>
where
    O: Op<Fd: Holds> + IntoInner + 'static,
{
    Transfer(submit(op))
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
/// | `Waiting` | this future; with a ticket it is, or was, among the waiters | `Pushed`, or its end, by a poll |
/// | `Pushed` | a slot of the driver, until the key gives it back | |
enum Stage<O: Op + 'static> {
    Waiting(Option<O>, Option<u64>),
    Pushed(Key<'static, O>),
}

// Nothing is pinned: an operation is in flight in its slot only.
impl<O: Op + 'static> Unpin for Pending<O> {}

impl<O: Op + 'static> Future for Pending<O>
where
    O::Fd: Holds,
{
    type Output = (io::Result<O::Output>, O);

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        Inner::with_current(|runtime| {
            assert!(
                this.runtime.as_ptr() == Rc::as_ptr(runtime),
                "a future is awaited in the `block_on` in which it began"
            );
            let cancelled = this.listed.poll(runtime, context).is_ready();
            if let Stage::Waiting(place, ticket) = &mut this.stage {
                let op = place.take().expect("a future is polled until it is ready");
                if cancelled {
                    if let Some(ticket) = ticket.take() {
                        runtime.places.leave(ticket);
                    }
                    let error = io::Error::from_raw_os_error(CANCELLED);
                    return Poll::Ready((Err(error), op));
                }
                match runtime.push(op, *ticket) {
                    Ok(key) => this.stage = Stage::Pushed(key),
                    Err(op) => {
                        *place = Some(op);
                        *ticket = Some(runtime.places.wait(*ticket, context.waker()));
                        return Poll::Pending;
                    }
                }
            }
            let Stage::Pushed(key) = &mut this.stage else {
                unreachable!("it has a place")
            };
            if cancelled {
                key.cancel();
            }
            Pin::new(key).poll(context)
        })
    }
}

impl<O: Op + 'static> fmt::Debug for Pending<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl<O: Op + 'static> Drop for Pending<O> {
    fn drop(&mut self) {
        if let Stage::Waiting(_, Some(ticket)) = self.stage {
            if let Some(runtime) = self.runtime.upgrade() {
                runtime.places.leave(ticket);
            }
        }
    }
}

/// The future of an operation that gives its buffer back.
#[derive(Debug)]
pub(crate) struct Transfer<O: Op + 'static>(Pending<O>);

impl<O> Future for Transfer<O>
where
    O: Op<Fd: Holds> + IntoInner + 'static,
{
    type Output = BufResult<O::Output, O::Inner>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let moved = Pin::new(&mut self.0).poll(context);
        moved.map(|(moved, op)| (moved, op.into_inner()))
    }
}
