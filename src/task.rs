//! Runs a future on a driver.
//!
//! A small runtime: one future, one driver, one thread. It shows how an executor stands on the
//! driver's public API. An operation's future owns the operation in a box; a future that is dropped
//! cancels it, and the runtime keeps the box until the kernel is done with it.
#![allow(
    unsafe_code,
    reason = "submits operations that it owns: see `Turn` and `Pending`"
)]

use crate::driver::{CompleteIo, Driver, Entry, Wait};
use crate::op::{Op, OpObject};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::{io, mem};

/// Entries handled between two polls of the future.
const ENTRIES_PER_TURN: usize = 64;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

/// Runs `future` to its end on a new driver.
///
/// The driver is the platform's first choice, or what `COMPLETEIO_BACKEND` says.
///
/// ```
/// assert_eq!(completeio::task::block_on(async { 1 + 1 }), 2);
/// ```
///
/// # Panics
/// When it is called inside another `block_on` of the same thread, or when no driver can be made;
/// the message says what to do.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let driver = Driver::new().unwrap_or_else(|error| panic!("no driver: {error}"));
    let entered = Entered::new(Runtime::new(driver));
    let runtime = &entered.runtime;
    let waker = Waker::from(runtime.driver.borrow_mut().notifier());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        runtime
            .turn()
            .unwrap_or_else(|error| panic!("the driver failed: {error}"));
    }
}

/// Pushes `op`, and gives it back with its output.
///
/// A future of it that is dropped cancels the operation and disposes of its result.
pub(crate) async fn submit<O: Op + 'static>(op: O) -> (io::Result<O::Output>, O) {
    Pending {
        op: Some(Lent::new(op)),
        key: None,
        runtime: Runtime::current(),
    }
    .await
}

/// A driver, the operations that it has, and who waits for them.
struct Runtime {
    /// Dropped before the operations in the slots: see `drop`.
    driver: ManuallyDrop<RefCell<Driver<'static>>>,
    /// What did not fit into the driver's queue yet, in order.
    overflow: RefCell<VecDeque<OpObject<'static>>>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    cancels: Cell<bool>,
}

/// One operation's place, by its user data.
///
/// | state | who has the operation | what comes next |
/// |---|---|---|
/// | `Free` | | `Waiting` |
/// | `Waiting` | its future, which does not touch it | `Done`, or `Orphan` when the future is dropped |
/// | `Done` | its future | `Free` when the future takes the entry |
/// | `Orphan` | this slot, which does not touch it | `Free` when its last entry came |
enum Slot {
    Free,
    Waiting(Waker),
    Done(Entry),
    Orphan {
        op: Lent<dyn Orphaned>,
        cancelled: bool,
    },
}

/// A boxed operation that may be in flight: moving this touches nothing but a pointer, where moving
/// a `Box` would claim the operation. It is freed by `into_box` alone: one that is lost on the way,
/// by a panic, leaks, for the kernel may still have it.
struct Lent<O: ?Sized>(NonNull<O>);

impl<O> Lent<O> {
    fn new(op: O) -> Self {
        Self(NonNull::from(Box::leak(Box::new(op))))
    }
}

impl<O: Op + 'static> Lent<O> {
    fn erase(self) -> Lent<dyn Orphaned> {
        let op: NonNull<dyn Orphaned> = ManuallyDrop::new(self).0;
        Lent(op)
    }
}

impl<O: ?Sized> Lent<O> {
    /// Takes the operation back.
    ///
    /// # Safety
    /// It is not in flight.
    unsafe fn into_box(self) -> Box<O> {
        let op = ManuallyDrop::new(self).0;
        // SAFETY: (D1) made by `new` from a box, and nobody else has it, by the caller's contract.
        unsafe { Box::from_raw(op.as_ptr()) }
    }
}

/// An operation whose future is gone.
trait Orphaned {
    /// Gives up what the operation's last entry names.
    fn dispose(&mut self, entry: Entry);
}

impl<O: Op + 'static> Orphaned for O {
    fn dispose(&mut self, entry: Entry) {
        // SAFETY: (D3) called with the last entry of the slot that the operation was pushed with.
        unsafe { Op::dispose(self, entry) };
    }
}

impl Runtime {
    fn new(driver: Driver<'static>) -> Self {
        Self {
            driver: ManuallyDrop::new(RefCell::new(driver)),
            overflow: RefCell::default(),
            slots: RefCell::default(),
            free: RefCell::default(),
            cancels: Cell::new(false),
        }
    }

    fn current() -> Rc<Self> {
        CURRENT
            .with_borrow(Option::clone)
            .expect("completeio's futures run inside `completeio::task::block_on`")
    }

    /// Hands over what was pushed, waits for something to happen, and wakes whom it concerns.
    fn turn(&self) -> io::Result<()> {
        let mut entries = Vec::with_capacity(ENTRIES_PER_TURN);
        {
            let mut driver = self.driver.borrow_mut();
            let mut overflow = self.overflow.borrow_mut();
            driver.push_queue(&mut overflow);
            self.cancel_orphans(&mut driver, &overflow);
            // SAFETY: (D1) every operation in the driver is boxed, and left alone until its last
            // entry came: by its future, or by its slot, which frees nothing before. The driver is
            // dropped before the slots.
            unsafe { driver.submit_queue(&mut overflow, Wait::new(), &mut entries) }?;
        }
        for entry in entries {
            self.complete(entry);
        }
        Ok(())
    }

    /// Asks for the cancellation of orphans, of those that the driver has, as far as there are
    /// places.
    fn cancel_orphans(&self, driver: &mut Driver<'static>, overflow: &VecDeque<OpObject<'static>>) {
        if !self.cancels.take() {
            return;
        }
        for (key, slot) in self.slots.borrow_mut().iter_mut().enumerate() {
            let Slot::Orphan {
                cancelled: cancelled @ false,
                ..
            } = slot
            else {
                continue;
            };
            let waits = overflow.iter().any(|op| op.user_data() == key);
            if waits || driver.try_cancel(key).is_err() {
                self.cancels.set(true);
                continue;
            }
            *cancelled = true;
        }
    }

    fn complete(&self, entry: Entry) {
        let key = entry.user_data();
        let slot = mem::replace(&mut self.slots.borrow_mut()[key], Slot::Free);
        match slot {
            Slot::Waiting(waker) => {
                self.slots.borrow_mut()[key] = Slot::Done(entry);
                waker.wake();
            }
            Slot::Orphan { op, .. } => {
                self.free.borrow_mut().push(key);
                // SAFETY: (D1) its last entry came.
                unsafe { op.into_box() }.dispose(entry);
            }
            Slot::Free | Slot::Done(_) => unreachable!("I1: an entry for nobody"),
        }
    }

    fn push<O: Op + 'static>(&self, op: NonNull<O>, waker: Waker) -> usize {
        let mut slots = self.slots.borrow_mut();
        let key = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot::Free);
            slots.len() - 1
        });
        slots[key] = Slot::Waiting(waker);
        // SAFETY: (D1) boxed, and left alone until its last entry came: see `turn`.
        let object = unsafe { OpObject::from_ptr(op, key) };
        self.overflow.borrow_mut().push_back(object);
        key
    }

    /// The last entry of `key`, if it came; else remembers whom to wake.
    fn poll(&self, key: usize, waker: &Waker) -> Option<Entry> {
        // A waker's clone and drop are the user's code: no borrow is held there.
        let mut replaced = Slot::Waiting(waker.clone());
        let slot = &mut self.slots.borrow_mut()[key];
        match slot {
            Slot::Waiting(_) => {
                mem::swap(slot, &mut replaced);
                None
            }
            Slot::Done(_) => {
                let Slot::Done(entry) = mem::replace(slot, Slot::Free) else {
                    unreachable!()
                };
                self.free.borrow_mut().push(key);
                Some(entry)
            }
            Slot::Free | Slot::Orphan { .. } => unreachable!("a future polls its own slot"),
        }
    }

    /// Takes over the operation of a future that is dropped.
    fn orphan(&self, key: usize, op: Lent<dyn Orphaned>) {
        let mut op = Some(op);
        let old = {
            let slot = &mut self.slots.borrow_mut()[key];
            let next = match slot {
                Slot::Waiting(_) => Slot::Orphan {
                    op: op.take().expect("taken once"),
                    cancelled: false,
                },
                Slot::Done(_) => Slot::Free,
                Slot::Free | Slot::Orphan { .. } => unreachable!("a future drops its own slot"),
            };
            mem::replace(slot, next)
        };
        // The waker's drop and `dispose` are the user's code: no borrow is held here.
        match old {
            Slot::Waiting(waker) => {
                self.cancels.set(true);
                drop(waker);
            }
            Slot::Done(entry) => {
                self.free.borrow_mut().push(key);
                let op = op.take().expect("not taken yet");
                // SAFETY: (D1) its last entry came.
                unsafe { op.into_box() }.dispose(entry);
            }
            Slot::Free | Slot::Orphan { .. } => unreachable!("matched above"),
        }
    }
}

impl Drop for Runtime {
    /// What is still in the slots is freed when nobody has it any more.
    fn drop(&mut self) {
        let slots = mem::take(self.slots.get_mut());
        // SAFETY: (D1) taken once, in the destructor. Its drop returns when nobody can touch an
        // operation's memory any more.
        unsafe { ManuallyDrop::drop(&mut self.driver) };
        for slot in slots {
            if let Slot::Orphan { op, .. } = slot {
                // SAFETY: (D1) the driver is gone.
                drop(unsafe { op.into_box() });
            }
        }
    }
}

/// The runtime as the thread's current one, for as long as this lives.
struct Entered {
    runtime: Rc<Runtime>,
}

impl Entered {
    fn new(runtime: Runtime) -> Self {
        let runtime = Rc::new(runtime);
        CURRENT.with_borrow_mut(|current| {
            assert!(
                current.is_none(),
                "`block_on` inside `block_on`: await the future instead"
            );
            *current = Some(runtime.clone());
        });
        Self { runtime }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.take();
    }
}

/// The future of one operation.
struct Pending<O: Op + 'static> {
    /// Not touched between the push and the last entry.
    op: Option<Lent<O>>,
    key: Option<usize>,
    runtime: Rc<Runtime>,
}

impl<O: Op + 'static> Future for Pending<O> {
    type Output = (io::Result<O::Output>, O);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(
            Rc::ptr_eq(&self.runtime, &Runtime::current()),
            "a future is awaited in the `block_on` in which it began"
        );
        let Some(key) = self.key else {
            let op = self
                .op
                .as_ref()
                .expect("a future is polled until it is ready")
                .0;
            self.key = Some(self.runtime.push(op, context.waker().clone()));
            return Poll::Pending;
        };
        let Some(entry) = self.runtime.poll(key, context.waker()) else {
            return Poll::Pending;
        };
        self.key = None;
        let op = self
            .op
            .take()
            .expect("a future is polled until it is ready");
        // SAFETY: (D1) its last entry came.
        let mut op = unsafe { op.into_box() };
        // SAFETY: (D3) the last entry of this operation's slot.
        let output = unsafe { op.finish(entry) };
        Poll::Ready((output, *op))
    }
}

impl<O: Op + 'static> Drop for Pending<O> {
    fn drop(&mut self) {
        match (self.key.take(), self.op.take()) {
            (Some(key), Some(op)) => self.runtime.orphan(key, op.erase()),
            // SAFETY: (D1) never pushed.
            (None, Some(op)) => drop(unsafe { op.into_box() }),
            (_, None) => {}
        }
    }
}
