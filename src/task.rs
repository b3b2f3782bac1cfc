//! Runs a future on a driver.
//!
//! A small runtime: one future, one driver, one thread. It shows how an executor stands on the
//! driver's [slots](crate::slots): an operation moves into a slot, its [`Key`] is the future, and a
//! turn of the driver wakes whose operation has completed. There is no `unsafe`, and nothing is
//! allocated for an operation. A future that is dropped cancels its operation, and the slot keeps
//! that until the kernel is done with it.

use crate::driver::{Driver, Full, Holds, Notifier};
use crate::op::Op;
use crate::slots::Key;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use std::{io, mem};

/// How many operations a [`block_on`] has at a time, from their first poll until their futures are
/// ready, or, when these are dropped before, until the kernel is done. Further ones wait for a place,
/// first come, first served.
pub const OPERATIONS_MAX: usize = 2048;

/// Operations that one turn hands over.
const ENTRIES: usize = 512;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

/// Runs `future` to its end on a new driver, and polls it only when it was woken.
///
/// The driver is the platform's first choice, or what `COMPLETEIO_BACKEND` says. When the future has
/// ended, what it has left in flight is cancelled and waited for.
///
/// ```
/// assert_eq!(completeio::task::block_on(async { 1 + 1 }), 2);
/// ```
///
/// # Panics
/// When it is called inside another `block_on` of the same thread, or when no driver can be made;
/// the message says what to do.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let entered = Entered::new();
    let runtime = &entered.runtime;
    let alarm = Arc::new(Alarm::new(runtime.driver.borrow_mut().notifier()));
    let waker = Waker::from(alarm.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if alarm.rang() {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        }
        // Whatever user code has freed is offered here, before the thread may sleep.
        let goes_on = runtime.offer_places() || runtime.has_more_to_push();
        let sleeps = !goes_on && alarm.prepare_sleep();
        runtime
            .submit(if sleeps { None } else { Some(Duration::ZERO) })
            .unwrap_or_else(|error| panic!("the driver failed: {error}"));
        alarm.awake();
        runtime.wake_finished();
    }
}

/// Pushes `op`, and gives it back with its output.
///
/// A future of it that is dropped cancels the operation and disposes of its result.
pub(crate) async fn submit<O: Op + 'static>(op: O) -> (io::Result<O::Output>, O)
where
    O::Fd: Holds,
{
    Pending {
        runtime: Rc::downgrade(&Runtime::current()),
        stage: Stage::Waiting(op, None),
    }
    .await
}

/// Wakes a `block_on`, from any thread.
///
/// | state | set by | a waker |
/// |---|---|---|
/// | `AWAKE` | the loop | sets `RANG`: the loop looks before it sleeps |
/// | `ASLEEP` | the loop, which may block in the driver | sets `RANG`, and ends the driver's wait |
/// | `RANG` | a waker; at first | leaves it so |
struct Alarm {
    state: AtomicU8,
    notifier: Notifier,
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const RANG: u8 = 2;

impl Alarm {
    fn new(notifier: Notifier) -> Self {
        Self {
            state: AtomicU8::new(RANG),
            notifier,
        }
    }

    /// Whether somebody woke the future since the last time.
    fn rang(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == RANG
    }

    /// `false`: the loop must not sleep, for it rang.
    fn prepare_sleep(&self) -> bool {
        self.change(AWAKE, ASLEEP)
    }

    /// From here on a waker needs not end a wait.
    fn awake(&self) {
        self.change(ASLEEP, AWAKE);
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RANG, Ordering::AcqRel) == ASLEEP {
            self.notifier.notify();
        }
    }
}

/// A driver, and who waits for one of its places.
///
/// Wakers, destructors of operations and methods of buffers are the user's code, and may come back
/// here. No cell is borrowed while they run, but the driver's in a turn or a push of its own: an
/// operation that begins in there waits as if there was no place.
struct Runtime {
    driver: RefCell<Driver<'static>>,
    waiters: Waiters,
    /// Something was pushed since the last turn: the next one makes room without waiting.
    pushed: Cell<bool>,
}

impl Runtime {
    fn new() -> Self {
        let driver = Driver::builder()
            .entries(ENTRIES)
            .in_flight(OPERATIONS_MAX)
            .slots(OPERATIONS_MAX)
            .build()
            .unwrap_or_else(|error| panic!("no driver: {error}"));
        Self {
            driver: RefCell::new(driver),
            waiters: Waiters::default(),
            pushed: Cell::new(false),
        }
    }

    fn current() -> Rc<Self> {
        CURRENT
            .with_borrow(Option::clone)
            .expect("completeio's futures run inside `completeio::task::block_on`")
    }

    /// Pushes an operation, unless others wait before it, or there is no place.
    fn push<O: Op + 'static>(&self, op: O, ticket: Option<u64>) -> Result<Key<'static, O>, O>
    where
        O::Fd: Holds,
    {
        if !self.waiters.may_try(ticket) {
            return Err(op);
        }
        let Ok(mut driver) = self.driver.try_borrow_mut() else {
            return Err(op);
        };
        let key = driver.try_push_owned(op, 0).map_err(Full::into_inner)?;
        self.pushed.set(true);
        Ok(key)
    }

    /// Wakes as many waiters as there are places; returns whether it woke one.
    fn offer_places(&self) -> bool {
        if self.waiters.is_empty() {
            return false;
        }
        let places = self.driver.borrow().owned_capacity_left();
        self.waiters.call(places)
    }

    /// Whether a turn that does not wait may make a place for somebody.
    fn has_more_to_push(&self) -> bool {
        self.pushed.get() && !self.waiters.is_empty()
    }

    /// Hands over what was pushed, and waits; for nothing if there is a timeout.
    fn submit(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.pushed.set(false);
        let mut driver = self.driver.borrow_mut();
        // Nothing is lent here, so that no events come: the sink stays empty.
        driver.scope(|s| s.submit(timeout, &mut None))?
    }

    /// Wakes whose operations have completed.
    fn wake_finished(&self) {
        // A closure, for `while let` would keep the driver borrowed while it wakes.
        let next = || self.driver.borrow_mut().next_finished();
        while let Some(finished) = next() {
            finished.wake();
        }
    }
}

/// Those whose operation found no place, in the order in which they came.
///
/// A place is offered, not given: whoever is called and does not come holds up nobody, for the next
/// one is called before the thread sleeps. Whoever is called too early waits again where they were.
#[derive(Default)]
struct Waiters {
    /// By ticket, ascending.
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

impl Waiters {
    fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    fn find(queue: &VecDeque<(u64, Waker)>, ticket: u64) -> Result<usize, usize> {
        queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket)
    }

    /// Whether it is the turn of one with this ticket, or of a newcomer.
    fn may_try(&self, ticket: Option<u64>) -> bool {
        let queue = self.queue.borrow();
        match ticket {
            Some(ticket) => Self::find(&queue, ticket).is_err(),
            None => queue.is_empty(),
        }
    }

    /// Waits to be called; returns the ticket.
    fn wait(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let ticket = ticket.unwrap_or_else(|| self.next.replace(self.next.get() + 1));
        // A waker's clone and drop are the user's code: nothing is borrowed there.
        let mut waker = Some(waker.clone());
        let mut queue = self.queue.borrow_mut();
        match Self::find(&queue, ticket) {
            Ok(at) => mem::swap(&mut queue[at].1, waker.as_mut().expect("set above")),
            Err(at) => queue.insert(at, (ticket, waker.take().expect("set above"))),
        }
        drop(queue);
        ticket
    }

    /// Calls the first `n`; returns whether there was one.
    fn call(&self, n: usize) -> bool {
        for i in 0..n {
            let first = self.queue.borrow_mut().pop_front();
            let Some((_, waker)) = first else {
                return i > 0;
            };
            waker.wake();
        }
        n > 0
    }

    /// Somebody waits no more.
    fn leave(&self, ticket: u64) {
        let mut queue = self.queue.borrow_mut();
        let left = match Self::find(&queue, ticket) {
            Ok(at) => queue.remove(at),
            Err(_) => None,
        };
        drop(queue);
        drop(left);
    }
}

/// The runtime as the thread's current one, for as long as this lives.
struct Entered {
    runtime: Rc<Runtime>,
}

impl Entered {
    fn new() -> Self {
        assert!(
            CURRENT.with_borrow(Option::is_none),
            "`block_on` inside `block_on`: await the future instead"
        );
        let runtime = Rc::new(Runtime::new());
        CURRENT.set(Some(runtime.clone()));
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
    /// The driver ends with its `block_on`, whatever becomes of this.
    runtime: Weak<Runtime>,
    stage: Stage<O>,
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
        let runtime = Runtime::current();
        assert!(
            this.runtime.as_ptr() == Rc::as_ptr(&runtime),
            "a future is awaited in the `block_on` in which it began"
        );
        if let Stage::Waiting(..) = this.stage {
            let Stage::Waiting(op, ticket) = mem::replace(&mut this.stage, Stage::Ended) else {
                unreachable!("asked before")
            };
            this.stage = match runtime.push(op, ticket) {
                Ok(key) => Stage::Pushed(key),
                Err(op) => Stage::Waiting(op, Some(runtime.waiters.wait(ticket, context.waker()))),
            };
        }
        match &mut this.stage {
            Stage::Waiting(..) => Poll::Pending,
            Stage::Pushed(key) => {
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

impl<O: Op + 'static> Drop for Pending<O> {
    fn drop(&mut self) {
        if let Stage::Waiting(_, Some(ticket)) = self.stage {
            if let Some(runtime) = self.runtime.upgrade() {
                runtime.waiters.leave(ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Backend;
    use crate::op::Nop;

    /// A wake-up by the loop itself ends no wait, so that an operation costs one entry.
    #[test]
    fn one_turn_for_one_operation() {
        const OPERATIONS: u64 = 100;
        let (backend, enters) = block_on(async {
            let runtime = Runtime::current();
            let enters = || runtime.driver.borrow().stats().enters;
            let before = enters();
            for _ in 0..OPERATIONS {
                submit(Nop::new()).await.0.expect("it does nothing");
            }
            let backend = runtime.driver.borrow().backend();
            (backend, enters() - before)
        });
        if backend == Backend::IoUring {
            assert!(enters < OPERATIONS + OPERATIONS / 10, "{enters} entries");
        }
    }
}
