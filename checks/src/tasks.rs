//! Tasks on a session: a future for each thing that goes on, and the ledger under all of them.
//!
//! The entry of an operation polls the task that has started it; there is nothing else to wait for.

use crate::session::{Lent, Session};
use completeio_driver::driver::{AsRawFd, CompleteIo, Driver, Fd, OwnedFd};
use completeio_driver::op::{Close, Op};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::IntoRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// So many entries are taken at a time.
const TAKEN: usize = 128;

/// What runs on one driver. A clone is the same.
#[derive(Clone)]
pub(crate) struct Tasks(Rc<Shared>);

struct Shared {
    session: RefCell<Session>,
    tasks: RefCell<HashMap<usize, Task>>,
    spawned: Cell<usize>,
    /// The task that is being polled.
    current: Cell<usize>,
    /// To be polled now, and after the next turn.
    ready: RefCell<VecDeque<usize>>,
    next: RefCell<VecDeque<usize>>,
    /// Who has started what is in flight.
    owners: RefCell<HashMap<usize, usize>>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

impl Tasks {
    pub(crate) fn new(driver: Driver<'static>) -> Self {
        Self(Rc::new(Shared {
            session: RefCell::new(Session::taking(TAKEN, driver)),
            tasks: RefCell::default(),
            spawned: Cell::new(0),
            current: Cell::new(0),
            ready: RefCell::default(),
            next: RefCell::default(),
            owners: RefCell::default(),
        }))
    }

    /// The session, for what is no operation. Not to be kept across an `await`.
    pub(crate) fn session<T>(&self, with: impl FnOnce(&mut Session) -> T) -> T {
        with(&mut self.0.session.borrow_mut())
    }

    pub(crate) fn attach(&self, fd: &impl AsRawFd) -> Fd {
        self.session(|session| session.attach(fd))
    }

    /// Runs a future beside the others.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let number = self.0.spawned.replace(self.0.spawned.get() + 1);
        self.0.tasks.borrow_mut().insert(number, Box::pin(future));
        self.0.ready.borrow_mut().push_back(number);
    }

    /// How many tasks have not ended.
    pub(crate) fn running(&self) -> usize {
        self.0.tasks.borrow().len()
    }

    /// Runs them, turn for turn.
    pub(crate) fn run_until(&self, is_over: impl Fn() -> bool) {
        loop {
            self.poll_ready();
            if is_over() {
                return;
            }
            self.turn();
        }
    }

    /// Runs them to their ends, after which nothing is in flight.
    pub(crate) fn run(&self) {
        self.run_until(|| self.running() == 0);
        self.session(Session::settle);
    }

    /// Starts an operation, as soon as there is room for it.
    pub(crate) async fn start<O: Op + 'static>(&self, op: O) -> Flight<O> {
        let mut op = Lent::new(op);
        loop {
            let started = self.session(|session| session.try_start(&mut op));
            if let Some(id) = started {
                let owner = self.0.current.get();
                self.0.owners.borrow_mut().insert(id, owner);
                return Flight {
                    tasks: self.clone(),
                    id,
                    op: Some(op),
                };
            }
            self.next_turn().await;
        }
    }

    /// Starts an operation and waits for it.
    pub(crate) async fn attempt<O: Op + 'static>(&self, op: O) -> (io::Result<O::Output>, O) {
        self.start(op).await.await
    }

    /// The same for one that cannot fail.
    pub(crate) async fn perform<O: Op + 'static>(&self, what: &str, op: O) -> O::Output {
        let (result, _) = self.attempt(op).await;
        result.unwrap_or_else(|e| crate::fail(format_args!("{what}: {e}")))
    }

    /// Closes a descriptor by an operation.
    pub(crate) async fn close(&self, fd: OwnedFd) {
        let attached = self.attach(&fd);
        // From here on the number is the operation's.
        let _ = fd.into_raw_fd();
        self.perform("close", Close::new(attached)).await;
    }

    /// Waits for the next turn.
    pub(crate) async fn next_turn(&self) {
        let mut waited = false;
        poll_fn(|_| {
            if waited {
                return Poll::Ready(());
            }
            waited = true;
            self.0.next.borrow_mut().push_back(self.0.current.get());
            Poll::Pending
        })
        .await;
    }

    fn poll_ready(&self) {
        let Shared { ready, tasks, .. } = &*self.0;
        loop {
            let Some(number) = ready.borrow_mut().pop_front() else {
                return;
            };
            // It may have ended, and have been ready twice.
            let taken = tasks.borrow_mut().remove(&number);
            let Some(mut task) = taken else {
                continue;
            };
            self.0.current.set(number);
            let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_pending() {
                tasks.borrow_mut().insert(number, task);
            }
        }
    }

    fn turn(&self) {
        let mut next = self.0.next.borrow_mut();
        let mut ready = self.0.ready.borrow_mut();
        let mut owners = self.0.owners.borrow_mut();
        self.session(|session| {
            session.turn((!next.is_empty()).then_some(Duration::ZERO));
            let owner = |id| owners.remove(id).expect("somebody has started it");
            ready.extend(session.latest().iter().map(owner));
        });
        ready.append(&mut next);
    }
}

/// An operation in flight: a future of its result, and of the operation. It must be awaited.
pub(crate) struct Flight<O> {
    tasks: Tasks,
    id: usize,
    op: Option<Lent<O>>,
}

impl<O> Flight<O> {
    /// Asks for its cancellation by its user data.
    pub(crate) async fn cancel(&self) {
        let asked = || {
            self.tasks
                .session(|session| session.driver.try_cancel(self.id))
        };
        while asked().is_err() {
            self.tasks.next_turn().await;
        }
    }
}

impl<O: Op> Future for Flight<O> {
    type Output = (io::Result<O::Output>, O);

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = self.get_mut();
        let Some(entry) = flight.tasks.session(|session| session.take(flight.id)) else {
            return Poll::Pending;
        };
        let mut op = flight.op.take().expect("polled until it is ready");
        Poll::Ready((Session::finish(&mut op, entry), op.into_op()))
    }
}

impl<O> Drop for Flight<O> {
    fn drop(&mut self) {
        ensure!(self.op.is_none(), "{} was given up in flight", self.id);
    }
}
