//! Runs futures on a driver.
//!
//! A small runtime: one thread, one driver, and tasks. It shows how an executor stands on the
//! driver's [slots](crate::slots): an operation moves into a slot, its [`Key`](crate::slots::Key)
//! is the future, and a turn of the driver wakes whose operation has completed. There is no
//! `unsafe`, and nothing is allocated for an operation; a task is one allocation. A future that is
//! dropped cancels its operation, and the slot keeps that until the kernel is done with it.
//!
//! ```
//! use completeio::task::{block_on, spawn};
//!
//! let sum = block_on(async {
//!     let tasks: Vec<_> = (0..3).map(|n| spawn(async move { n * 2 })).collect();
//!     let mut sum = 0;
//!     for task in tasks {
//!         sum += task.await.unwrap();
//!     }
//!     sum
//! });
//! assert_eq!(sum, 6);
//! ```

mod cancel;
mod contained;
mod join;
mod operation;
mod places;
pub(crate) mod runtime;
mod shared;

pub use self::cancel::CancelToken;
pub use self::join::{JoinError, JoinHandle};
pub(crate) use self::operation::Pending;
pub(crate) use self::operation::{submit, transfer};
pub use self::runtime::{Builder, OPERATIONS_MAX, Runtime};

use self::contained::Contained;
use self::runtime::Inner;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Runs `future` to its end on a new runtime, and polls it only when it was woken.
///
/// When it has ended, the tasks that it has left are dropped, and what is in flight is cancelled
/// and waited for. [`Runtime`] has options.
///
/// ```
/// assert_eq!(completeio::task::block_on(async { 1 + 1 }), 2);
/// ```
///
/// # Panics
/// When it is called inside another `block_on` of the same thread, or when no driver can be made;
/// the message says what to do.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = Runtime::new().unwrap_or_else(|error| panic!("no driver: {error}"));
    runtime.block_on(future)
}

/// Starts a task on the current runtime: `future` runs beside the one that called, on the same
/// thread. It goes on without its handle, until it ends or until the runtime is dropped.
///
/// # Panics
/// Outside of [`block_on`].
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output> {
    Inner::current().spawn(future)
}

/// Runs `work` on a thread of a pool, for what may block: name lookups, computations.
///
/// The pool is the `blocking` crate's, which all runtimes of the process share: it grows to 500
/// threads, or to what `BLOCKING_MAX_THREADS` says, and shrinks when they are idle. Work that has
/// not begun is not done if its handle aborts it; begun work goes on.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let work = Contained::new(work);
    let work = move || Contained::new(work.into_inner()());
    JoinHandle::new(blocking::unblock(work).fallible())
}

/// Lets the other tasks that are ready run before it goes on. The driver makes its turns between
/// them, as [`tasks_per_turn`](Builder::tasks_per_turn) says, and one before the future of
/// [`block_on`] goes on.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs both to their ends, beside each other; the first error ends both.
pub(crate) async fn try_both<A, B, E>(
    a: impl Future<Output = Result<A, E>>,
    b: impl Future<Output = Result<B, E>>,
) -> Result<(A, B), E> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_output, mut b_output) = (None, None);
    poll_fn(|context| {
        if a_output.is_none() {
            if let Poll::Ready(output) = a.as_mut().poll(context) {
                a_output = Some(output?);
            }
        }
        if b_output.is_none() {
            if let Poll::Ready(output) = b.as_mut().poll(context) {
                b_output = Some(output?);
            }
        }
        match (a_output.take(), b_output.take()) {
            (Some(a), Some(b)) => Poll::Ready(Ok((a, b))),
            outputs => {
                (a_output, b_output) = outputs;
                Poll::Pending
            }
        }
    })
    .await
}
