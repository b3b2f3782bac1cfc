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

/// Pushes `op` with the first poll, and gives it back with its output.
///
/// A future of it that is dropped cancels the operation and disposes of its result; a
/// [`CancelToken`](super::CancelToken) cancels it and keeps both.
#[inline]
pub(crate) fn submit<O: Op + 'static>(op: O) -> Pending<O> {
    Pending {
        stage: Stage::Waiting(Some(op), None),
        listed: Listed::default(),
    }
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
    stage: Stage<O>,
    listed: Listed,
}

/// | stage | who has the operation | what comes next |
/// |---|---|---|
/// | `Waiting` | this future; with a ticket it is, or was, in the queue for a place | `Pushed`, or its end, by a poll |
/// | `Pushed` | a slot of the driver, until the key gives it back | |
///
/// The driver ends with its runtime, whatever becomes of this.
enum Stage<O: Op + 'static> {
    Waiting(Option<O>, Option<Queued>),
    Pushed(Key<'static, O>, Weak<Inner>),
}

/// One of those who wait for a place, until this is dropped.
struct Queued {
    runtime: Weak<Inner>,
    ticket: u64,
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
        let cancelled = Inner::with_current(|runtime| {
            let cancelled = this.listed.poll(runtime, context).is_ready();
            match &mut this.stage {
                Stage::Pushed(_, begun_in) => check_same(begun_in, runtime),
                Stage::Waiting(..) if cancelled => {}
                Stage::Waiting(op, queued) => {
                    if let Some(key) = begin(runtime, op, queued, context) {
                        this.stage = Stage::Pushed(key, Rc::downgrade(runtime));
                    }
                }
            }
            cancelled
        });
        match &mut this.stage {
            Stage::Pushed(key, _) => {
                if cancelled {
                    key.cancel();
                }
                Pin::new(key).poll(context)
            }
            Stage::Waiting(op, queued) if cancelled => {
                *queued = None;
                let op = op.take().expect(ONCE);
                Poll::Ready((Err(io::Error::from_raw_os_error(CANCELLED)), op))
            }
            Stage::Waiting(..) => Poll::Pending,
        }
    }
}

/// Pushes an operation, or waits for a place.
#[inline]
fn begin<O: Op<Fd: Holds> + 'static>(
    runtime: &Rc<Inner>,
    operation: &mut Option<O>,
    queued: &mut Option<Queued>,
    context: &mut Context<'_>,
) -> Option<Key<'static, O>> {
    let ticket = queued.as_ref().map(|queued| {
        check_same(&queued.runtime, runtime);
        queued.ticket
    });
    let op = operation.take().expect(ONCE);
    let pushed = runtime.push(op, ticket);
    let key = pushed.map_err(|op| *operation = Some(op)).ok();
    if key.is_none() {
        let ticket = runtime.places.wait(ticket, context.waker());
        queued.get_or_insert_with(|| Queued {
            runtime: Rc::downgrade(runtime),
            ticket,
        });
    }
    key
}

const ONCE: &str = "a future is polled until it is ready";

fn check_same(begun_in: &Weak<Inner>, runtime: &Rc<Inner>) {
    assert!(
        begun_in.as_ptr() == Rc::as_ptr(runtime),
        "a future is awaited in the `block_on` in which it began"
    );
}

impl<O: Op + 'static> fmt::Debug for Pending<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.places.leave(self.ticket);
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
