//! Destructors that may panic.

use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};

/// A value of the user's that is dropped where a panic would end the process: a task, or the output that
/// nobody took. Its panic is told by the panic hook, and goes no further.
pub(super) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(super) fn into_inner(mut self) -> T {
        self.0.take().expect("it is taken once")
    }
}

/// A task of `future`, which drops `listed` when that is dropped.
///
/// A panic of a destructor in a poll is one of the task, as any.
pub(super) fn task<F: Future, L>(
    future: F,
    listed: L,
) -> impl Future<Output = Contained<F::Output>> {
    let future = Contained::new(future);
    async move {
        let _listed = listed;
        let future = pin!(Some(future.into_inner()));
        let mut future = InPlace(future);
        let output = poll_fn(|context| {
            let future = future.0.as_mut().as_pin_mut();
            future.expect("it has not ended").poll(context)
        })
        .await;
        future.0.set(None);
        Contained::new(output)
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        contain(|| self.0 = None);
    }
}

/// The same of what stays where it is.
struct InPlace<'a, F>(Pin<&'a mut Option<F>>);

impl<F> Drop for InPlace<'_, F> {
    fn drop(&mut self) {
        contain(|| self.0.set(None));
    }
}

fn contain(destructor: impl FnOnce()) {
    // The hook has told it.
    let _ = panic::catch_unwind(AssertUnwindSafe(destructor));
}
