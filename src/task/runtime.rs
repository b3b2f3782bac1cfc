//! The loop: tasks, timers, and turns of the driver.

use super::places::Places;
use super::shared::Shared;
use super::{CancelToken, JoinHandle, contained};
use crate::clock::Instant;
use crate::driver::{self, CompleteIo, Driver, Fd, Full, Holds, OwnedFd, RawFd, SetupError, Wait};
use crate::op::Op;
use crate::slots::Key;
use crate::time::timers::Timers;
use async_task::Runnable;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fmt, io, thread};

/// How many operations a runtime has at a time unless its driver's builder says otherwise, from
/// their first poll until their futures are ready, or, when these are dropped before, until the
/// kernel is done. Further ones wait for a place, first come, first served.
pub const OPERATIONS_MAX: usize = 2048;

/// Operations that one turn hands over.
const ENTRIES: usize = 512;

const OUTSIDE: &str = "completeio's futures run inside `completeio::task::block_on`";

thread_local! {
    static CURRENT: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
}

/// A driver, the tasks on it, and their timers: all of one thread.
///
/// [`block_on`](super::block_on) makes one for a single future. This is for those who set its
/// options, or who run one future after another.
///
/// ```
/// use completeio::driver::Driver;
/// use completeio::task::Runtime;
///
/// let runtime = Runtime::builder().driver(Driver::builder().in_flight(64)).build()?;
/// assert_eq!(runtime.block_on(async { 1 + 1 }), 2);
/// # Ok::<(), completeio::driver::SetupError>(())
/// ```
///
/// Dropping it drops its tasks, cancels what is in flight, and waits until the kernel is done.
pub struct Runtime {
    inner: Rc<Inner>,
}

impl Runtime {
    /// A runtime on the platform's first choice of a backend, or what `COMPLETEIO_BACKEND` says.
    ///
    /// # Errors
    /// No driver can be made; the message says what to do.
    pub fn new() -> Result<Self, SetupError> {
        Self::builder().build()
    }

    /// Options.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Runs `future` to its end, and the tasks beside it, which wait for the next call when it has
    /// ended.
    ///
    /// # Panics
    /// Inside another `block_on` of the same thread, and when the driver fails.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _entered = Entered::new(&self.inner);
        self.inner.run(future)
    }

    /// As [`spawn`](super::spawn), for those outside of [`block_on`](Self::block_on).
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.inner.spawn(future)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.inner.drop_tasks();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("tasks", &self.inner.tasks.borrow().len())
            .finish_non_exhaustive()
    }
}

/// Options of a [`Runtime`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    driver: driver::Builder,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    tasks: usize,
    completions: usize,
    spin: Duration,
}

impl Builder {
    fn new() -> Self {
        Self {
            driver: Driver::builder()
                .entries(ENTRIES)
                .in_flight(OPERATIONS_MAX)
                .slots(OPERATIONS_MAX),
            limits: Limits {
                tasks: 64,
                completions: 64,
                spin: Duration::ZERO,
            },
        }
    }

    /// The driver's own options, in place of this runtime's: [`slots`](driver::Builder::slots)
    /// bounds the operations of futures.
    pub fn driver(mut self, driver: driver::Builder) -> Self {
        self.driver = driver;
        self
    }

    /// So many tasks run before completions are looked for (64, at least 1), however many are
    /// ready.
    pub fn tasks_per_turn(mut self, tasks: usize) -> Self {
        self.limits.tasks = tasks.max(1);
        self
    }

    /// So many completions wake their tasks before these run (64, at least 1).
    pub fn completions_per_turn(mut self, completions: usize) -> Self {
        self.limits.completions = completions.max(1);
        self
    }

    /// Looks for completions and wake-ups for so long before the thread sleeps (not at all): it
    /// takes a core, and saves what sleeping and waking cost.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.limits.spin = spin;
        self
    }

    /// Makes the driver, and the runtime on it.
    ///
    /// # Errors
    /// No driver can be made; the message says what to do.
    pub fn build(self) -> Result<Runtime, SetupError> {
        let driver = self.driver.clone().build()?;
        Ok(self.build_on(driver))
    }

    /// The runtime on a driver that is there: one of a simulated host, or with files registered.
    /// Options of the driver's builder are not asked for.
    pub fn build_on(self, mut driver: Driver<'static>) -> Runtime {
        let inner = Inner {
            shared: Arc::new(Shared::new(driver.notifier())),
            driver: RefCell::new(driver),
            places: Places::default(),
            pushed: Cell::new(false),
            finished_left: Cell::new(false),
            ready: RefCell::default(),
            tasks: RefCell::default(),
            timers: Timers::new(),
            token: RefCell::default(),
            detached: RefCell::default(),
            limits: self.limits,
        };
        Runtime {
            inner: Rc::new(inner),
        }
    }
}

/// What the futures of a runtime share.
///
/// Wakers, destructors of futures and operations and methods of buffers are the user's code, and
/// may come back here. No cell is borrowed while they run, but the driver's in a turn or a push of
/// its own (an operation that begins in there waits as if there was no place), and `CURRENT`, which
/// only a `block_on` changes, and that is refused in there.
pub(crate) struct Inner {
    shared: Arc<Shared>,
    driver: RefCell<Driver<'static>>,
    pub(super) places: Places,
    /// Something was pushed since the last turn: the next one makes room without waiting.
    pushed: Cell<bool>,
    /// The last turn has left completions to the next one, which is not to wait.
    finished_left: Cell<bool>,
    /// Tasks that are to run, in the order of their wake-ups.
    ready: RefCell<VecDeque<Runnable>>,
    /// A waker for each task that is not over.
    tasks: RefCell<Slab<Waker>>,
    pub(crate) timers: Timers,
    /// What cancels the operations of the future that is being polled.
    pub(super) token: RefCell<Option<CancelToken>>,
    /// What is to be detached after the turn.
    detached: RefCell<Vec<(Fd, Rc<OwnedFd>)>>,
    limits: Limits,
}

impl Inner {
    pub(crate) fn current() -> Rc<Self> {
        Self::try_current().expect(OUTSIDE)
    }

    /// Lends the current one, which costs less than a share of it.
    #[inline]
    pub(crate) fn with_current<R>(f: impl FnOnce(&Rc<Self>) -> R) -> R {
        let found = CURRENT.try_with(|current| current.borrow().as_ref().map(f));
        found.ok().flatten().expect(OUTSIDE)
    }

    /// The current one, if the thread is in one, and has not ended.
    pub(crate) fn try_current() -> Option<Rc<Self>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok()?
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        let waker = Waker::from(self.shared.clone());
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let mut poll = || {
            let woken = self.shared.root_was_woken();
            woken.then(|| future.as_mut().poll(&mut context))
        };
        self.shared.wake_root();
        loop {
            self.shared.awake();
            self.timers.fire();
            // Once in a turn: before the tasks that it spawns, or after those that wake it.
            let before = poll();
            if let Some(Poll::Ready(output)) = before {
                return output;
            }
            self.run_tasks();
            if before.is_none() {
                if let Some(Poll::Ready(output)) = poll() {
                    self.hand_over();
                    return output;
                }
            }
            self.turn()
                .unwrap_or_else(|error| panic!("the driver failed: {error}"));
        }
    }

    pub(crate) fn spawn<F: Future + 'static>(self: &Rc<Self>, future: F) -> JoinHandle<F::Output> {
        let shared = self.shared.clone();
        let schedule = move |task| shared.schedule(task);
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let listed = Listed {
            runtime: Rc::downgrade(self),
            key: entry.key(),
        };
        let (runnable, task) = async_task::Builder::new()
            .propagate_panic(true)
            .spawn_local(|()| contained::Task::new(future, listed), schedule);
        entry.insert(runnable.waker());
        drop(tasks);
        runnable.schedule();
        JoinHandle::new(task.fallible())
    }

    /// Runs tasks, as many as a turn has; those that were woken elsewhere line up.
    fn run_tasks(&self) {
        while let Some(task) = self.shared.next_woken() {
            self.ready.borrow_mut().push_back(task);
        }
        for _ in 0..self.limits.tasks {
            let task = self.ready.borrow_mut().pop_front();
            let Some(task) = task else {
                return;
            };
            task.run();
        }
    }

    /// Hands over what was pushed and wakes whose operations have completed; waits for one, or for
    /// a timer or a wake-up, if there is nothing to do.
    fn turn(&self) -> io::Result<()> {
        // Whatever user code has freed is offered here, before the thread may sleep.
        let goes_on = self.offer_places()
            || self.finished_left.get()
            || (self.pushed.get() && !self.places.is_empty())
            || !self.ready.borrow().is_empty();
        if goes_on || self.found_by_spinning()? || !self.shared.prepare_sleep() {
            return self.look();
        }
        let wait = Wait::new();
        self.submit(match self.timers.next() {
            Some(deadline) => wait.until(deadline),
            None => wait,
        })
    }

    /// Whether something has come while it was looked for without sleeping.
    fn found_by_spinning(&self) -> io::Result<bool> {
        if self.limits.spin.is_zero() {
            return Ok(false);
        }
        let end = Instant::now() + self.limits.spin;
        let end = self.timers.next().map_or(end, |timer| timer.min(end));
        loop {
            self.look()?;
            if self.shared.rang() || !self.ready.borrow().is_empty() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    /// Hands over what was pushed, unless a turn is at that: for what is not to be lost if no other
    /// turn follows. An error is the next turn's too.
    pub(crate) fn hand_over(&self) {
        if self.pushed.get() && self.driver.try_borrow_mut().is_ok() {
            let _told = self.look();
        }
    }

    /// A turn that does not wait; none if there is nothing that it could find.
    fn look(&self) -> io::Result<()> {
        if !self.pushed.get() && self.driver.borrow().in_flight() == 0 {
            self.wake_finished();
            return Ok(());
        }
        self.submit(Wait::new().at_least(0))
    }

    fn submit(&self, wait: Wait) -> io::Result<()> {
        self.pushed.set(false);
        // Nothing is lent here, so that no events come: the sink stays empty.
        let submitted = self
            .driver
            .borrow_mut()
            .scope(|s| s.submit_until(wait, &mut None));
        submitted??;
        self.shared.woke_up();
        self.detach_late();
        self.wake_finished();
        Ok(())
    }

    /// Wakes whose operations have completed, as many as a turn has.
    fn wake_finished(&self) {
        self.finished_left.set(false);
        for _ in 0..self.limits.completions {
            let finished = self.driver.borrow_mut().next_finished();
            let Some(finished) = finished else {
                return;
            };
            finished.wake();
        }
        self.finished_left.set(true);
    }

    /// Wakes as many of those who wait as there are places; returns whether it woke one.
    fn offer_places(&self) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let places = self.driver.borrow().owned_capacity_left();
        self.places.call(places)
    }

    /// Pushes an operation, unless others wait before it, or there is no place.
    #[inline]
    pub(super) fn push<O: Op + 'static>(
        &self,
        op: O,
        ticket: Option<u64>,
    ) -> Result<Key<'static, O>, O>
    where
        O::Fd: Holds,
    {
        if !self.places.may_try(ticket) {
            return Err(op);
        }
        let Ok(mut driver) = self.driver.try_borrow_mut() else {
            return Err(op);
        };
        let key = driver.try_push_owned(op, 0).map_err(Full::into_inner)?;
        self.pushed.set(true);
        Ok(key)
    }

    /// Attaches a descriptor to the driver.
    pub(crate) fn attach(&self, fd: RawFd) -> io::Result<Fd> {
        let mut driver = self.driver.try_borrow_mut();
        let driver = driver.as_mut().map_err(|_| io::ErrorKind::ResourceBusy)?;
        driver.attach(fd)
    }

    /// Detaches a descriptor; its file is kept open until that is done.
    pub(crate) fn detach(&self, fd: Fd, file: &Rc<OwnedFd>) {
        match self.driver.try_borrow_mut() {
            Ok(mut driver) => driver.detach(fd),
            // In a turn, by a destructor.
            Err(_) => self.detached.borrow_mut().push((fd, file.clone())),
        }
    }

    /// Detaches what could not be when it was to be.
    fn detach_late(&self) {
        let next = || self.detached.borrow_mut().pop();
        while let Some((fd, _file)) = next() {
            self.driver.borrow_mut().detach(fd);
        }
    }

    /// Drops all tasks, and what they wait for.
    fn drop_tasks(&self) {
        while !self.tasks.borrow().is_empty() {
            // A task is dropped by whoever gets to run it. One that is being woken by another
            // thread at this moment comes by itself.
            let wakers: Vec<Waker> = self.tasks.borrow().iter().map(|(_, w)| w.clone()).collect();
            wakers.into_iter().for_each(Waker::wake);
            let next = || {
                self.ready
                    .borrow_mut()
                    .pop_front()
                    .or_else(|| self.shared.next_woken())
            };
            while let Some(task) = next() {
                drop(task);
            }
            thread::yield_now();
        }
    }
}

/// A task in the list of those that are not over.
struct Listed {
    runtime: Weak<Inner>,
    key: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            let waker = runtime.tasks.borrow_mut().try_remove(self.key);
            drop(waker);
        }
    }
}

/// The runtime as the thread's current one, for as long as this lives.
struct Entered;

impl Entered {
    fn new(runtime: &Rc<Inner>) -> Self {
        assert!(
            CURRENT.with_borrow(Option::is_none),
            "`block_on` inside `block_on`: await the future instead"
        );
        CURRENT.set(Some(runtime.clone()));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.take();
    }
}

/// Puts a task into the queue of its runtime, if that is the thread's current one; gives it back
/// otherwise.
pub(super) fn schedule_here(shared: &Arc<Shared>, task: Runnable) -> Result<(), Runnable> {
    let mut task = Some(task);
    // A waker may be called while the thread ends.
    let _ = CURRENT.try_with(|current| {
        let is_own = |own: &&Rc<Inner>| Arc::ptr_eq(&own.shared, shared);
        if let Some(own) = current.borrow().as_ref().filter(is_own) {
            own.ready
                .borrow_mut()
                .push_back(task.take().expect("set above"));
        }
    });
    task.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Backend, Cwd};
    use crate::op::{Nop, OpenAt};
    use crate::task::{block_on, submit};
    use crate::time::sleep_until;
    use std::ffi::CStr;
    use std::future::poll_fn;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A wake-up by the loop itself ends no wait, so that an operation costs one entry.
    #[test]
    fn one_turn_for_one_operation() {
        const OPERATIONS: u64 = 100;
        let (backend, enters) = block_on(async {
            let runtime = Inner::current();
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

    /// A sleep is a wait of the driver's and no more, and all that end at once are one. One that
    /// ends before those that are there wakes nobody.
    #[test]
    fn one_wait_for_all_sleeps() {
        block_on(async {
            let runtime = Inner::current();
            let stats = || runtime.driver.borrow().stats();
            let deadline = Instant::now() + Duration::from_millis(20);
            let before = stats();
            let tasks: Vec<_> = (0..100)
                .rev()
                .map(|n| runtime.spawn(sleep_until(deadline + Duration::from_nanos(n))))
                .collect();
            for task in tasks {
                task.await.expect("it only sleeps");
            }
            assert!(Instant::now() >= deadline);
            let enters = stats().enters - before.enters;
            assert!((1..10).contains(&enters), "{enters} entries");
            assert_eq!(stats().wake_ups, before.wake_ups);
        });
    }

    /// The future of `block_on` is polled when a task has woken it, and not after a turn.
    #[test]
    fn no_turn_between_a_wake_up_and_its_future() {
        block_on(async {
            let runtime = Inner::current();
            let enters = || runtime.driver.borrow().stats().enters;
            let woken_at = Rc::new(Cell::new(None));
            let mut task = None;
            let seen = poll_fn(|context| {
                task.get_or_insert_with(|| {
                    let (runtime, woken_at) = (runtime.clone(), woken_at.clone());
                    let waker = context.waker().clone();
                    runtime.clone().spawn(async move {
                        submit(Nop::new()).await.0.expect("it does nothing");
                        let mut nop = pin!(submit(Nop::new()));
                        let pushed = poll_fn(|context| Poll::Ready(nop.as_mut().poll(context)));
                        assert!(pushed.await.is_pending());
                        woken_at.set(Some(runtime.driver.borrow().stats().enters));
                        waker.wake();
                        nop.await.0.expect("it does nothing");
                    })
                });
                woken_at
                    .get()
                    .map_or(Poll::Pending, |at| Poll::Ready((at, enters())))
            });
            let (woken_at, polled_at) = seen.await;
            assert_eq!(woken_at, polled_at);
            task.expect("set above").await.expect("it ends");
        });
    }

    /// An operation that cannot begin, whose path runs a future of its own when it is dropped.
    #[test]
    fn what_is_dropped_outside_may_enter() {
        struct Name(Rc<Cell<bool>>);

        impl AsRef<CStr> for Name {
            fn as_ref(&self) -> &CStr {
                c"/"
            }
        }

        impl Drop for Name {
            fn drop(&mut self) {
                block_on(async { self.0.set(true) });
            }
        }

        let entered = Rc::new(Cell::new(false));
        let op = OpenAt::read(Cwd, Name(entered.clone()));
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let _ = pin!(submit(op)).poll(&mut Context::from_waker(Waker::noop()));
        }));
        let panic = begun.expect_err("there is no runtime");
        assert_eq!(panic.downcast_ref::<String>().expect("a message"), OUTSIDE);
        assert!(entered.get());
    }
}
