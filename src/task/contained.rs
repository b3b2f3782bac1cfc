//! Destructors that may panic.

use pin_project_lite::pin_project;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A value of the user's that is dropped where a panic would end the process: a task, or the output
/// that nobody took. Its panic is told by the panic hook, and goes no further.
pub(super) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(super) fn into_inner(mut self) -> T {
        self.0.take().expect("it is taken once")
    }
}

pin_project! {
    /// A task of a future, which drops what lists it when it is dropped.
    ///
    /// A panic of a destructor in a poll is one of the task, as any.
    pub(super) struct Task<F, L> {
        #[pin]
        future: Option<F>,
        _listed: L,
    }

    impl<F, L> PinnedDrop for Task<F, L> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            contain(|| future.set(None));
        }
    }
}

impl<F, L> Task<F, L> {
    pub(super) fn new(future: F, listed: L) -> Self {
        Self {
            future: Some(future),
            _listed: listed,
        }
    }
}

impl<F: Future, L> Future for Task<F, L> {
    type Output = Contained<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut place = self.project().future;
        let future = place.as_mut().as_pin_mut().expect("it has not ended");
        let output = ready!(future.poll(context));
        let output = Contained::new(output);
        place.set(None);
        Poll::Ready(output)
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        contain(|| self.0 = None);
    }
}

fn contain(destructor: impl FnOnce()) {
    // The hook has told it. What it panicked with may have a destructor that panics, too.
    let _leaked = panic::catch_unwind(AssertUnwindSafe(destructor)).map_err(ManuallyDrop::new);
}
