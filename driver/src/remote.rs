//! Operations from any thread, for executors of any kind: a driver on a thread of its own.
//!
//! [`spawn_thread`] starts a driver; its [`Remote`] is `Send + Sync` and cheap to clone. Operations
//! that own their buffers and descriptors (`Send + 'static`) are sent through a preallocated queue,
//! and come back with their typed output:
//!
//! | by | how |
//! |---|---|
//! | a future, on whatever executor | [`Remote::run`], or [`Remote::try_push`] and the [`Pending`] |
//! | a blocking wait | [`Remote::run_blocking`], or [`Pending::wait`] |
//! | a callback, on the driver's thread | [`Remote::try_push_with`] |
//!
//! As many operations are under way at a time as the driver has slots. When there is no room,
//! `try_push` hands the operation back ([`Rejected`]), and the other ways wait. Nothing is
//! allocated for an operation.
//!
//! Dropping a [`Pending`] cancels its operation without waiting; operation, buffer and descriptor
//! live until the kernel is done with them, and are dropped on the driver's thread, or where the
//! `Pending` is if the result was there.
//!
//! Sending wakes the driver's thread only if it sleeps. Still, each operation crosses threads
//! twice: a driver of the own thread is faster wherever the caller can have one.
//!
//! Panics of the user's own code on the driver's thread (a callback, a waker, a destructor) are
//! reported by the panic hook and end there: the others' operations go on. An operation that is
//! lost in one makes [`Pending`] panic.
//!
//! ```
//! use completeio_driver::driver::{Driver, spawn_thread};
//! use completeio_driver::op::ReadAt;
//! use std::{fs::File, os::fd::OwnedFd, time::Duration};
//!
//! let thread = spawn_thread(Driver::builder().slots(64))?;
//! let remote = thread.remote();
//! let file = OwnedFd::from(File::open("Cargo.toml")?);
//! let (read, op) = remote.run_blocking(ReadAt::new(file, 0, Vec::with_capacity(9)));
//! assert_eq!(read?, 9);
//! assert_eq!(op.buf(), b"[package]");
//! assert_eq!(thread.shut_down(Duration::from_secs(5))?, 0, "nothing survives");
//! # Ok::<(), std::io::Error>(())
//! ```
#![allow(unsafe_code, reason = "fills and empties cells that it has claimed")]

mod cells;
mod job;
mod server;
mod sync;
#[cfg(all(test, unix))]
mod tests;

pub use self::server::{DriverThread, Server, spawn_thread};

use self::cells::{Cells, Waiter};
use self::job::{Callback, Cell, Claimed, Job, Receiver};
use crate::driver::{Holds, Notifier};
use crate::op::Op;
use event_listener::{Event, Listener, listener};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A handle to a driver on another thread. See the [module](self).
///
/// When the last one of a driver is dropped, the driver is shut down.
pub struct Remote {
    shared: Arc<Shared>,
}

/// What the handles share with the driver's thread.
struct Shared {
    cells: Cells,
    memory: Box<[Cell]>,
    /// Notified when a cell is free, or the driver is closed.
    room: Event,
    notifier: Notifier,
    handles: AtomicUsize,
    closing: AtomicBool,
    /// Operations that were received, and have no outcome yet.
    under_way: AtomicUsize,
    ended: Mutex<bool>,
    end: Condvar,
}

impl Shared {
    fn new(cells: u32, notifier: Notifier) -> Self {
        Self {
            cells: Cells::new(cells),
            memory: (0..cells).map(|_| Cell::new()).collect(),
            room: Event::new(),
            notifier,
            handles: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            ended: Mutex::new(false),
            end: Condvar::new(),
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.room.notify(usize::MAX);
        self.notifier.notify();
    }

    /// Frees a cell that is empty.
    fn release(&self, index: u32) {
        self.cells.release(index);
        // One more, whether or not those who were notified before have looked.
        self.room.notify_additional(1);
    }

    /// The driver is gone.
    fn end(&self) {
        self.room.notify(usize::MAX);
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.notify_all();
    }

    /// How many operations there still are when the driver is gone, or the time is over.
    fn wait_for_end(&self, timeout: Duration) -> usize {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.end.wait_timeout_while(ended, timeout, |ended| !*ended);
        let ended = *waited.unwrap_or_else(PoisonError::into_inner).0;
        if ended {
            return 0;
        }
        // One at least: the thread has not come to its end.
        self.under_way.load(Ordering::Relaxed).max(1)
    }
}

impl Remote {
    fn new(shared: Arc<Shared>) -> Self {
        shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared }
    }

    /// Sends an operation. Its [`Pending`] is a future, and can be waited for.
    ///
    /// ```
    /// use completeio_driver::driver::{Driver, spawn_thread};
    /// use completeio_driver::op::Nop;
    ///
    /// let thread = spawn_thread(Driver::builder())?;
    /// let pending = thread.remote().try_push(Nop::new()).expect("there is room");
    /// pending.wait().0?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with the operation, when there is no room or the driver is closed.
    pub fn try_push<O>(&self, op: O) -> Result<Pending<O>, Rejected<O>>
    where
        O: Op<Fd: Holds, Output: Send> + Send + 'static,
    {
        match self.send(op, Claimed) {
            Ok(index) => Ok(Pending {
                shared: self.shared.clone(),
                index,
                spent: false,
                _op: PhantomData,
            }),
            Err((reason, op, Claimed)) => Err(Rejected { op, reason }),
        }
    }

    /// Sends an operation whose outcome is given to a function, on the driver's thread: keep it
    /// short, for all others wait meanwhile. It must not wait for this driver.
    ///
    /// ```
    /// use completeio_driver::driver::{Driver, spawn_thread};
    /// use completeio_driver::op::Nop;
    /// use std::sync::mpsc;
    ///
    /// let thread = spawn_thread(Driver::builder())?;
    /// let (send, receive) = mpsc::sync_channel(1);
    /// let callback = move |output, _op| send.send(output).unwrap();
    /// assert!(thread.remote().try_push_with(Nop::new(), callback).is_ok());
    /// receive.recv().unwrap()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with both, when there is no room or the driver is closed.
    pub fn try_push_with<O, F>(&self, op: O, callback: F) -> Result<(), Rejected<(O, F)>>
    where
        O: Op<Fd: Holds, Output: Send> + Send + 'static,
        F: FnOnce(io::Result<O::Output>, O) + Send + 'static,
    {
        match self.send(op, Callback(callback)) {
            Ok(_) => Ok(()),
            Err((reason, op, Callback(callback))) => Err(Rejected {
                op: (op, callback),
                reason,
            }),
        }
    }

    /// Sends an operation, and waits for room if there is none.
    ///
    /// # Errors
    /// [`Rejected`], with the operation, when the driver is closed.
    pub async fn push<O>(&self, op: O) -> Result<Pending<O>, Rejected<O>>
    where
        O: Op<Fd: Holds, Output: Send> + Send + 'static,
    {
        let mut rejected = match self.try_push(op) {
            Err(rejected) if rejected.reason == Rejection::Full => rejected,
            other => return other,
        };
        loop {
            listener!(self.shared.room => listener);
            // Room may have come before the listener was there.
            match self.try_push(rejected.op) {
                Err(again) if again.reason == Rejection::Full => rejected = again,
                other => return other,
            }
            listener.await;
        }
    }

    /// As [`push`](Self::push), and blocks the thread while there is no room.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_blocking<O>(&self, op: O) -> Result<Pending<O>, Rejected<O>>
    where
        O: Op<Fd: Holds, Output: Send> + Send + 'static,
    {
        let mut rejected = match self.try_push(op) {
            Err(rejected) if rejected.reason == Rejection::Full => rejected,
            other => return other,
        };
        loop {
            listener!(self.shared.room => listener);
            match self.try_push(rejected.op) {
                Err(again) if again.reason == Rejection::Full => rejected = again,
                other => return other,
            }
            listener.wait();
        }
    }

    /// Sends an operation and gives its outcome, waiting for both.
    ///
    /// The error of a closed driver is [`BrokenPipe`](io::ErrorKind::BrokenPipe).
    pub async fn run<O>(&self, op: O) -> (io::Result<O::Output>, O)
    where
        O: Op<Fd: Holds, Output: Send> + Send + 'static,
    {
        match self.push(op).await {
            Ok(pending) => pending.await,
            Err(rejected) => (Err(rejected.reason.into()), rejected.op),
        }
    }

    /// As [`run`](Self::run), and blocks the thread meanwhile.
    pub fn run_blocking<O>(&self, op: O) -> (io::Result<O::Output>, O)
    where
        O: Op<Fd: Holds, Output: Send> + Send + 'static,
    {
        match self.push_blocking(op) {
            Ok(pending) => pending.wait(),
            Err(rejected) => (Err(rejected.reason.into()), rejected.op),
        }
    }

    /// Shuts the driver down: it accepts nothing more, cancels what it has, and its thread ends.
    /// Does not wait for that; see [`DriverThread::shut_down`].
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether the driver accepts nothing more.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closing() || self.shared.cells.is_closed()
    }

    fn send<O, R>(&self, op: O, receiver: R) -> Result<u32, (Rejection, O, R)>
    where
        O: Op<Fd: Holds> + Send + 'static,
        R: Receiver<O>,
    {
        // A child of a fork has no such thread.
        if self.is_closed() || self.shared.notifier.is_child() {
            return Err((Rejection::Closed, op, receiver));
        }
        let Some(index) = self.shared.cells.claim() else {
            return Err((Rejection::Full, op, receiver));
        };
        let cell = &self.shared.memory[index as usize];
        // SAFETY: (S5) claimed, so it is empty, and this thread's.
        unsafe { cell.put(op, receiver) };
        if self.shared.cells.start(index) {
            self.shared.notifier.notify();
            return Ok(index);
        }
        // SAFETY: (S5) not sent, so it is still this thread's, with what was put there.
        let job = unsafe { cell.take::<O, R>() };
        self.shared.release(index);
        let Job::Sent(op, receiver) = job else {
            unreachable!("put there above")
        };
        Err((Rejection::Closed, op, receiver))
    }
}

impl Clone for Remote {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}

/// The claim on an operation that was sent.
///
/// It is a future, and [`wait`](Self::wait) blocks. Dropping it cancels the operation.
///
/// # Panics
/// When the operation was lost to a panic of its own buffer on the driver's thread; in a forked
/// child, which has no such thread.
#[must_use = "dropping it cancels the operation"]
pub struct Pending<O: Op + 'static> {
    shared: Arc<Shared>,
    index: u32,
    /// Whether the outcome was fetched.
    spent: bool,
    /// Invariant: the outcome is taken out as the type that was sent.
    _op: PhantomData<fn(O) -> O>,
}

impl<O: Op + 'static> Pending<O> {
    /// Blocks until the operation has completed.
    pub fn wait(mut self) -> (io::Result<O::Output>, O) {
        loop {
            if let Some(outcome) = self.poll_as(Waiter::Thread(sync::current())) {
                return outcome;
            }
            sync::park();
        }
    }

    /// Blocks until the operation has completed, at most for `timeout`.
    ///
    /// # Errors
    /// This value again when the time is over.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<(io::Result<O::Output>, O), Self> {
        let start = Instant::now();
        loop {
            if let Some(outcome) = self.poll_as(Waiter::Thread(sync::current())) {
                return Ok(outcome);
            }
            match timeout.checked_sub(start.elapsed()) {
                Some(left) if !left.is_zero() => sync::park_timeout(left),
                _ => return Err(self),
            }
        }
    }

    /// The outcome, if it is there; else remembers who waits for it.
    fn poll_as(&mut self, waiter: Waiter) -> Option<(io::Result<O::Output>, O)> {
        assert!(!self.spent, "a future is polled until it is ready");
        let (is_done, _replaced) = self.shared.cells.poll(self.index, waiter);
        assert!(
            is_done || !self.shared.notifier.is_child(),
            "a forked child has no driver's thread that could complete it"
        );
        is_done.then(|| {
            self.spent = true;
            // SAFETY: (S5) done, so the cell is this claim's.
            match unsafe { self.fetch() } {
                Job::Done(outcome) => outcome,
                _ => panic!("the operation was lost: a method of its buffer has panicked"),
            }
        })
    }

    /// Takes the job out of its cell, and frees that.
    ///
    /// # Safety
    /// (S5) It is done.
    unsafe fn fetch(&self) -> Job<O, Claimed> {
        // SAFETY: (S5) the caller's contract; sent by `try_push` with these types.
        let job = unsafe { self.shared.memory[self.index as usize].take() };
        self.shared.release(self.index);
        job
    }
}

impl<O: Op + 'static> Future for Pending<O> {
    type Output = (io::Result<O::Output>, O);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waiter = Waiter::Task(context.waker().clone());
        match self.get_mut().poll_as(waiter) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

// Nothing of the operation is in it.
impl<O: Op + 'static> Unpin for Pending<O> {}

impl<O: Op + 'static> Drop for Pending<O> {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        if self.shared.cells.abandon(self.index) {
            // SAFETY: (S5) done, so the cell is this claim's.
            drop(unsafe { self.fetch() });
        } else {
            self.shared.notifier.notify();
        }
    }
}

/// Why an operation was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// As many operations are under way as the driver has slots.
    Full,
    /// The driver was shut down, or has failed.
    Closed,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => {
                "as many operations are under way as the driver has slots: wait for one, or ask \
                 the builder for more `slots`"
            }
            Self::Closed => "the driver's thread was shut down, or has failed",
        })
    }
}

impl Error for Rejection {}

impl From<Rejection> for io::Error {
    fn from(rejection: Rejection) -> Self {
        let kind = match rejection {
            Rejection::Full => io::ErrorKind::WouldBlock,
            Rejection::Closed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, rejection)
    }
}

/// What was not accepted, and why.
pub struct Rejected<T> {
    op: T,
    reason: Rejection,
}

impl<T> Rejected<T> {
    /// Why.
    pub fn reason(&self) -> Rejection {
        self.reason
    }

    /// What was to be sent, unchanged.
    pub fn into_inner(self) -> T {
        self.op
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// Whatever was to be sent.
impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<T> Error for Rejected<T> {}

/// Calls code of the user's: a panic of it has been reported by the panic hook, and ends here. What
/// it panicked with is forgotten, for its destructor is the user's, too.
fn guarded<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            let _forgotten = ManuallyDrop::new(payload);
            None
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("cells", &self.shared.cells)
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl<O: Op + 'static> fmt::Debug for Pending<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
