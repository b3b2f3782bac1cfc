//! One operation on its way to the driver's thread and back, in memory of one size.
#![allow(
    unsafe_code,
    reason = "keeps operations of any type in one kind of cell"
)]

use crate::driver::{Driver, Holds};
use crate::op::Op;
use crate::slots::{Fits, Key, SLOT_SIZE};
use crate::sys;
use std::cell::UnsafeCell;
use std::future::Future;
use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

/// Bytes of one cell: an operation, its result, and a callback.
pub(super) const CELL_SIZE: usize = SLOT_SIZE + 256;

/// What an operation gives, and the operation.
pub(crate) type Outcome<O> = (io::Result<<O as Op>::Output>, O);

/// Who gets the outcome.
pub(super) trait Receiver<O: Op>: Send + 'static {
    /// Whether a claim has the cell at the end.
    const CLAIMS: bool;

    /// Takes the outcome on the driver's thread; `Some`: it is to be fetched by a claim.
    fn receive(self, outcome: Outcome<O>) -> Option<Outcome<O>>;
}

/// A claim fetches it.
pub(super) struct Claimed;

impl<O: Op> Receiver<O> for Claimed {
    const CLAIMS: bool = true;

    fn receive(self, outcome: Outcome<O>) -> Option<Outcome<O>> {
        Some(outcome)
    }
}

/// A function is called with it.
pub(super) struct Callback<F>(pub(super) F);

impl<O: Op, F: FnOnce(io::Result<O::Output>, O) + Send + 'static> Receiver<O> for Callback<F> {
    const CLAIMS: bool = false;

    fn receive(self, (output, op): Outcome<O>) -> Option<Outcome<O>> {
        (self.0)(output, op);
        None
    }
}

/// What lies in a cell that is not free.
pub(super) enum Job<O: Op + 'static, R> {
    /// On its way to the driver.
    Sent(O, R),
    /// In a slot of the driver.
    InFlight(Key<'static, O>, R),
    /// On its way back.
    Done(Outcome<O>),
    /// Code of the user's has panicked with it in its hands.
    Lost,
}

/// What became of a step of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The driver is full: again later.
    Full,
    InFlight,
    /// The outcome is in the cell, or lost.
    Done,
    /// A callback has taken it: the cell is empty.
    Delivered,
}

/// A job whose type was lost. Called on the driver's thread only.
pub(super) trait AnyJob {
    /// Pushes the operation.
    fn start(&mut self, driver: &mut Driver<'static>, waker: &Waker) -> Step;
    /// Asks for the outcome; `waker` is woken when there is one.
    fn poll(&mut self, waker: &Waker) -> Step;
    fn cancel(&self);
    /// Ends a job that was never started, as if it had been cancelled.
    fn refuse(&mut self) -> Step;
    /// Code of the user's has panicked in one of the above.
    fn lose(&mut self) -> Step;
}

impl<O: Op<Fd: Holds> + 'static, R: Receiver<O>> AnyJob for Job<O, R> {
    fn start(&mut self, driver: &mut Driver<'static>, waker: &Waker) -> Step {
        // If a method of the buffer panics, the operation is lost with it.
        let Self::Sent(op, receiver) = mem::replace(self, Self::Lost) else {
            unreachable!("a job is started once")
        };
        match driver.try_push_owned(op, 0) {
            Ok(key) => {
                *self = Self::InFlight(key, receiver);
                self.poll(waker)
            }
            Err(full) => {
                *self = Self::Sent(full.into_inner(), receiver);
                Step::Full
            }
        }
    }

    fn poll(&mut self, waker: &Waker) -> Step {
        let Self::InFlight(key, _) = self else {
            unreachable!("a job is polled while it is in flight")
        };
        let Poll::Ready(outcome) = Pin::new(key).poll(&mut Context::from_waker(waker)) else {
            return Step::InFlight;
        };
        let Self::InFlight(_, receiver) = mem::replace(self, Self::Lost) else {
            unreachable!("matched above")
        };
        self.deliver(receiver, outcome)
    }

    fn cancel(&self) {
        if let Self::InFlight(key, _) = self {
            key.cancel();
        }
    }

    fn refuse(&mut self) -> Step {
        let Self::Sent(op, receiver) = mem::replace(self, Self::Lost) else {
            unreachable!("a job that was started is polled to its end")
        };
        let error = io::Error::from_raw_os_error(sys::errno::ECANCELED);
        self.deliver(receiver, (Err(error), op))
    }

    fn lose(&mut self) -> Step {
        // What is left of it is dropped here: a key must not leave this thread.
        let left = mem::replace(self, Self::Lost);
        super::guarded(|| drop(left));
        if R::CLAIMS {
            Step::Done
        } else {
            Step::Delivered
        }
    }
}

impl<O: Op + 'static, R: Receiver<O>> Job<O, R> {
    fn deliver(&mut self, receiver: R, outcome: Outcome<O>) -> Step {
        match receiver.receive(outcome) {
            Some(outcome) => {
                *self = Self::Done(outcome);
                Step::Done
            }
            None => Step::Delivered,
        }
    }
}

/// The memory of one job. Who may call what is said by the cell's stage, see
/// [`Cells`](super::cells::Cells).
#[repr(C, align(16))]
pub(super) struct Cell {
    memory: UnsafeCell<MaybeUninit<[u8; CELL_SIZE]>>,
    /// The job in it, if there is one.
    job: UnsafeCell<Option<NonNull<dyn AnyJob>>>,
}

// SAFETY: (S5) a cell is one thread's at a time, and handed over with what was written to it. What
// another thread writes is `Send`; a `Key`, which is not, is made and dropped on the driver's.
unsafe impl Sync for Cell {}
// SAFETY: (S5) as above.
unsafe impl Send for Cell {}

impl Cell {
    pub(super) const fn new() -> Self {
        Self {
            memory: UnsafeCell::new(MaybeUninit::uninit()),
            job: UnsafeCell::new(None),
        }
    }

    /// Puts a job into an empty cell.
    ///
    /// # Safety
    /// (S5) The cell is the caller's, and empty.
    pub(super) unsafe fn put<O, R>(&self, op: O, receiver: R)
    where
        O: Op<Fd: Holds> + Send + 'static,
        R: Receiver<O>,
    {
        const { Fits::<Job<O, R>, CELL_SIZE>::CHECK };
        let place = self.memory.get().cast::<Job<O, R>>();
        // SAFETY: (S5) the caller's; size and alignment are checked above.
        unsafe { place.write(Job::Sent(op, receiver)) };
        let job: NonNull<dyn AnyJob> = NonNull::new(place).expect("a cell has an address");
        // SAFETY: (S5) the caller's contract.
        unsafe { *self.job.get() = Some(job) };
    }

    /// The job in the cell.
    ///
    /// # Safety
    /// (S5) The cell is the caller's, on the driver's thread, and not empty. One reference at a
    /// time.
    #[expect(clippy::mut_from_ref, reason = "the caller has the cell to itself")]
    pub(super) unsafe fn job(&self) -> &mut dyn AnyJob {
        // SAFETY: (S5) the caller's contract.
        let job = unsafe { *self.job.get() };
        // SAFETY: (S5) the caller's contract.
        unsafe { job.expect("S5: there is a job").as_mut() }
    }

    /// Takes the job out.
    ///
    /// # Safety
    /// (S5) The cell is the caller's, and `put` was called with these types.
    pub(super) unsafe fn take<O: Op, R>(&self) -> Job<O, R> {
        // SAFETY: (S5) the caller's contract.
        unsafe { *self.job.get() = None };
        // SAFETY: (S5) the caller's contract.
        unsafe { self.memory.get().cast::<Job<O, R>>().read() }
    }

    /// Drops the job.
    ///
    /// # Safety
    /// (S5) The cell is the caller's, on the driver's thread, and not empty.
    pub(super) unsafe fn clear(&self) {
        // SAFETY: (S5) the caller's contract.
        let job = unsafe { (*self.job.get()).take() };
        // SAFETY: (S5) the caller's contract.
        unsafe { job.expect("S5: there is a job").drop_in_place() };
    }
}
