//! The end of a task, for whoever waits for it.

use super::contained::Contained;
use async_task::FallibleTask;
use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{error, fmt, io};

/// Waits for a task that was [spawned](super::spawn), or ends it.
///
/// It is a future: ready with what the task returns, or with a [`JoinError`]. Dropping it leaves
/// the task to itself.
#[must_use = "a task goes on without its handle; await it for its result and its panics"]
pub struct JoinHandle<T> {
    state: RefCell<State<T>>,
}

enum State<T> {
    Runs(FallibleTask<Contained<T>>),
    /// It was aborted, and was not over when it was polled last, by whom this waker is.
    Ends(Pin<Box<dyn Future<Output = Option<Contained<T>>>>>, Waker),
    Over(Option<Result<T, JoinError>>),
}

impl<T: 'static> JoinHandle<T> {
    pub(super) fn new(task: FallibleTask<Contained<T>>) -> Self {
        Self {
            state: RefCell::new(State::Runs(task)),
        }
    }

    /// Ends the task: its future is dropped instead of being polled again, which cancels what it
    /// waits for. The handle is ready once that is done, with [`JoinError::is_cancelled`]; or, if
    /// the task was over before, with what it returned.
    ///
    /// What [`spawn_blocking`](super::spawn_blocking) has begun goes on to its end.
    pub fn abort(&self) {
        let mut state = self.state.borrow_mut();
        if let State::Runs(_) = *state {
            let State::Runs(task) = mem::replace(&mut *state, State::Over(None)) else {
                unreachable!("asked just now")
            };
            *state = State::Ends(Box::pin(task.cancel()), Waker::noop().clone());
            // It does nothing before it is polled for the first time.
            poll(&mut state, Waker::noop());
        }
    }

    /// Whether the task is over, so that the handle is ready.
    pub fn is_finished(&self) -> bool {
        let mut state = self.state.borrow_mut();
        if let State::Ends(_, waker) = &*state {
            let waker = waker.clone();
            poll(&mut state, &waker);
        }
        match &*state {
            State::Runs(task) => task.is_finished(),
            State::Ends(..) => false,
            State::Over(_) => true,
        }
    }
}

/// Looks whether a task is over.
fn poll<T>(state: &mut State<T>, waker: &Waker) {
    let context = &mut Context::from_waker(waker);
    // A panic of the task comes out of here.
    let polled = panic::catch_unwind(AssertUnwindSafe(|| match state {
        State::Runs(task) => Pin::new(task).poll(context),
        State::Ends(end, last) => {
            last.clone_from(waker);
            end.as_mut().poll(context)
        }
        State::Over(_) => Poll::Pending,
    }));
    *state = State::Over(Some(match polled {
        Ok(Poll::Pending) => return,
        Ok(Poll::Ready(Some(output))) => Ok(output.into_inner()),
        Ok(Poll::Ready(None)) => Err(JoinError { panic: None }),
        Err(panic) => Err(JoinError {
            panic: Some(Mutex::new(panic)),
        }),
    }));
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let state = self.get_mut().state.get_mut();
        poll(state, context.waker());
        match state {
            State::Over(result) => {
                Poll::Ready(result.take().expect("a future is polled until it is ready"))
            }
            State::Runs(_) | State::Ends(..) => Poll::Pending,
        }
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let State::Runs(task) = mem::replace(self.state.get_mut(), State::Over(None)) {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

/// Why a task has no result: it was aborted, or its runtime is gone, or it panicked.
pub struct JoinError {
    /// Behind a lock, so that the error is `Sync`, as other errors are that it is to be one of.
    panic: Option<Mutex<Box<dyn Any + Send>>>,
}

impl JoinError {
    /// Whether the task was aborted, or dropped with its runtime.
    pub fn is_cancelled(&self) -> bool {
        self.panic.is_none()
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        self.panic.is_some()
    }

    /// What the task panicked with, for [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Errors
    /// The error itself, if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        let panic = self.panic.ok_or(Self { panic: None })?;
        Ok(panic.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn message(&self) -> Option<String> {
        let panic = self.panic.as_ref()?.lock();
        let panic = panic.unwrap_or_else(PoisonError::into_inner);
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        text.or_else(|| panic.downcast_ref().cloned())
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_panic(), self.message()) {
            (false, _) => f.write_str("the task was cancelled"),
            (true, Some(message)) => write!(f, "the task panicked: {message}"),
            (true, None) => f.write_str("the task panicked"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error.to_string())
    }
}
