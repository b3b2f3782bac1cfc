//! The driver's side: the thread, and its loop.
#![allow(unsafe_code, reason = "works on cells that are this thread's")]

use super::cells::{Delivery, Message};
use super::job::Step;
use super::{Remote, Shared, guarded};
use crate::builder::{Builder, SLOTS_MAX};
use crate::driver::{Driver, SetupError, Wait};
use crate::scope::Event;
use crate::sink;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Starts a thread with a driver of its own, to which any thread can send operations: see
/// [`remote`](crate::remote).
///
/// The thread is named `completeio`. As many operations can be under way at a time as the builder
/// has [`slots`](Builder::slots).
///
/// # Errors
/// As [`Builder::build`]; or the thread cannot be started.
pub fn spawn_thread(builder: Builder) -> Result<DriverThread, SetupError> {
    let (send, receive) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("completeio".to_owned());
    let thread = thread
        .spawn(move || {
            let (remote, mut server) = match builder.build().and_then(Server::new) {
                Ok(made) => made,
                Err(error) => {
                    // Who asked is waiting for it.
                    let _ = send.send(Err(error));
                    return Ok(());
                }
            };
            let _ = send.send(Ok(remote));
            server.run()
        })
        .map_err(|e| SetupError::os("pthread_create", e))?;
    match receive.recv() {
        Ok(Ok(remote)) => Ok(DriverThread {
            remote,
            thread: Some(thread),
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(SetupError::os(
            "starting the driver's thread",
            io::Error::other("it has panicked"),
        )),
    }
}

/// A driver on a thread of its own; made by [`spawn_thread`].
///
/// Dropping it shuts the driver down and waits for the thread.
#[derive(Debug)]
pub struct DriverThread {
    remote: Remote,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl DriverThread {
    /// A handle to the driver.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Shuts the driver down: accepts nothing more, cancels what is in flight, and waits for the
    /// thread, at most for `timeout`. Returns how many operations survive: the kernel still has
    /// them, and the thread goes on waiting for it, so that no memory is freed too early.
    ///
    /// Every operation completes for whoever waits for it, with its own result or `ECANCELED`.
    ///
    /// # Errors
    /// What has ended the driver's thread before; `Unsupported` in a forked child, which has no
    /// such thread.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub fn shut_down(mut self, timeout: Duration) -> io::Result<usize> {
        if self.remote.shared.notifier.is_child() {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        self.remote.close();
        let survivors = self.remote.shared.wait_for_end(timeout);
        match self.thread.take() {
            Some(thread) if survivors == 0 => {
                let ended = thread.join();
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok(0)
            }
            _ => Ok(survivors),
        }
    }
}

impl Drop for DriverThread {
    fn drop(&mut self) {
        // A forked child has no such thread: none to join, and none to detach.
        if self.remote.shared.notifier.is_child() {
            let _stays = ManuallyDrop::new(self.thread.take());
            return;
        }
        if let Some(thread) = self.thread.take() {
            self.remote.close();
            if thread.thread().id() == thread::current().id() {
                return; // Dropped by a callback: it ends when that has returned.
            }
            // Its panic, or its error, has been told to those who waited for operations.
            let _ = thread.join();
        }
    }
}

/// The driver's side of a [`Remote`], for a thread of one's own.
///
/// [`run`](Self::run) serves until every `Remote` is gone or one was closed. A loop that does other
/// things too calls [`turn`](Self::turn). Dropping it ends all operations: those who wait for
/// them get `ECANCELED`.
///
/// ```
/// use completeio_driver::driver::Driver;
/// use completeio_driver::op::Nop;
/// use completeio_driver::remote::Server;
/// use std::thread;
///
/// let (remote, mut server) = Server::new(Driver::new()?)?;
/// let client = thread::spawn(move || remote.run_blocking(Nop::new()).0);
/// server.run()?; // Until the client has dropped its handle.
/// client.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Server {
    /// There until the server's drop.
    driver: Option<Driver<'static>>,
    shared: Arc<Shared>,
    local: Box<[Local]>,
    /// Sent, and to be started, in order.
    waiting: VecDeque<u32>,
    /// Operations that were started, and have no outcome yet.
    in_flight: usize,
}

/// What this thread knows of a cell.
struct Local {
    state: State,
    waker: Waker,
}

/// | state | what comes next |
/// |---|---|
/// | `Idle` | `Waiting`, or `InFlight`, when it is started |
/// | `Waiting` | `InFlight`, or `Idle` when it is abandoned |
/// | `InFlight` | `Idle`, `Abandoned`, or `Unwanted` when its completion finds it abandoned |
/// | `Abandoned` | `Idle`, when it completes: the message came before, and it was cancelled |
/// | `Unwanted` | `Idle`, when the message comes that says so |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Waiting,
    InFlight,
    Abandoned,
    Unwanted,
}

/// Tells the server that a cell's operation has completed.
struct Bell {
    shared: Arc<Shared>,
    index: u32,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.shared.cells.send(Message::Woken(self.index));
        // No system call on the server's own thread, which is awake, and reads its messages next.
        self.shared.notifier.notify();
    }
}

impl Server {
    /// Serves `driver`: as many operations at a time as it has slots.
    ///
    /// # Errors
    /// [`SetupError::Limit`] for a driver without slots.
    pub fn new(mut driver: Driver<'static>) -> Result<(Remote, Self), SetupError> {
        let slots = driver.engine.core.slots.len();
        if slots == 0 {
            return Err(SetupError::Limit {
                option: "slots",
                value: 0,
                min: 1,
                max: SLOTS_MAX,
            });
        }
        let shared = Arc::new(Shared::new(slots, driver.notifier()));
        let local = (0..slots).map(|index| Local {
            state: State::Idle,
            waker: Waker::from(Arc::new(Bell {
                shared: shared.clone(),
                index,
            })),
        });
        let server = Self {
            driver: Some(driver),
            local: local.collect(),
            waiting: VecDeque::with_capacity(slots as usize),
            in_flight: 0,
            shared: shared.clone(),
        };
        Ok((Remote::new(shared), server))
    }

    /// The driver, for operations of one's own: not to be exchanged for another, for the `Remote`'s
    /// operations would be lost.
    pub fn driver(&mut self) -> &mut Driver<'static> {
        self.driver.as_mut().expect("there until the drop")
    }

    /// Whether every [`Remote`] is gone, or one was closed: a loop of one's own ends then, and
    /// [`run`](Self::run) or a drop winds up.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closing() || self.shared.cells.is_closed()
    }

    /// Serves until every [`Remote`] is gone, or one was closed; then cancels what is in flight and
    /// waits for it.
    ///
    /// # Errors
    /// As [`CompleteIo::submit`](crate::driver::CompleteIo::submit): the driver is of no more use.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.shared.is_closing() {
            self.turn(Wait::new())?;
        }
        self.end()
    }

    /// One turn: starts what was sent, submits, waits as `wait` says, hands results over, and wakes
    /// those who wait for them and for keys of the driver's.
    ///
    /// # Errors
    /// As [`CompleteIo::submit`](crate::driver::CompleteIo::submit);
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) while raw operations are in flight.
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        // What has completed while others submitted, or comes while room is made, ends the wait.
        let mut came = self.wake_finished();
        self.read_messages();
        came |= self.start_waiting()?;
        self.submit(if came { wait.at_least(0) } else { wait })?;
        self.read_messages();
        Ok(())
    }

    fn submit(&mut self, wait: Wait) -> io::Result<()> {
        let driver = self.driver();
        driver.scope(|s| {
            let nothing = |_: Event<'_>| unreachable!("nothing was lent");
            s.submit_until(wait, &mut sink::bounded(usize::MAX, nothing))
        })??;
        self.wake_finished();
        Ok(())
    }

    /// Wakes whom the operations are for that have completed. Returns whether there are any.
    fn wake_finished(&mut self) -> bool {
        let mut any = false;
        while let Some(finished) = self.driver().next_finished() {
            guarded(|| finished.wake());
            any = true;
        }
        any
    }

    fn read_messages(&mut self) {
        while let Some(message) = self.shared.cells.receive() {
            match message {
                Message::Start(index) => self.accept(index),
                Message::Woken(index) => self.poll(index),
                Message::Abandon(index) => self.abandon(index),
            }
        }
    }

    fn accept(&mut self, index: u32) {
        self.shared.under_way.fetch_add(1, Ordering::Relaxed);
        self.local[index as usize].state = State::Waiting;
        self.waiting.push_back(index);
    }

    /// Starts what waits; submits meanwhile as long as that makes room. Returns whether anything
    /// has come by that: a completion, or a wake-up.
    fn start_waiting(&mut self) -> io::Result<bool> {
        while self.start_first() {}
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let before = self.driver().stats();
        while !self.waiting.is_empty() {
            self.submit(Wait::new().at_least(0))?;
            if !self.start_first() {
                break; // What is in flight has the slots, or the credits.
            }
            while self.start_first() {}
        }
        let now = self.driver().stats();
        Ok((now.completed, now.wake_ups) != (before.completed, before.wake_ups))
    }

    /// Starts the first that waits, if there is one and there is room.
    fn start_first(&mut self) -> bool {
        let Some(index) = self.waiting.front().copied() else {
            return false;
        };
        let local = &self.local[index as usize];
        // SAFETY: (S5) its message came, so the cell is this thread's.
        let job = unsafe { self.shared.memory[index as usize].job() };
        let driver = self.driver.as_mut().expect("there until the drop");
        let step = guarded(|| job.start(driver, &local.waker)).unwrap_or_else(|| job.lose());
        if step == Step::Full {
            return false;
        }
        self.waiting.pop_front();
        self.in_flight += 1;
        self.local[index as usize].state = State::InFlight;
        self.after(index, step);
        true
    }

    fn poll(&mut self, index: u32) {
        let local = &self.local[index as usize];
        if !matches!(local.state, State::InFlight | State::Abandoned) {
            return; // Woken for an operation that is gone.
        }
        // SAFETY: (S5) in flight, so the cell is this thread's.
        let job = unsafe { self.shared.memory[index as usize].job() };
        let step = guarded(|| job.poll(&local.waker)).unwrap_or_else(|| job.lose());
        self.after(index, step);
    }

    /// Hands a result over, if there is one.
    fn after(&mut self, index: u32, step: Step) {
        match step {
            Step::Full | Step::InFlight => return,
            Step::Delivered => self.empty(index),
            Step::Done => match self.shared.cells.complete(index) {
                Delivery::Handed(waiter) => {
                    self.local[index as usize].state = State::Idle;
                    if let Some(waiter) = waiter {
                        guarded(|| waiter.wake());
                    }
                }
                Delivery::Unwanted if self.has_message(index) => self.empty(index),
                Delivery::Unwanted => self.local[index as usize].state = State::Unwanted,
            },
        }
        self.in_flight -= 1;
        self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the message that a cell was abandoned has come, or cannot come any more.
    fn has_message(&self, index: u32) -> bool {
        self.local[index as usize].state == State::Abandoned || self.shared.cells.is_closed()
    }

    /// Drops what is in a cell, and frees it.
    fn empty(&mut self, index: u32) {
        self.local[index as usize].state = State::Idle;
        // SAFETY: (S5) this thread's, and not handed over.
        guarded(|| unsafe { self.shared.memory[index as usize].clear() });
        guarded(|| self.shared.release(index));
    }

    /// Nobody wants the result. What is in flight is cancelled, and keeps its cell until it has
    /// completed: so the code of the user's that its drop calls runs here, and not in the driver.
    fn abandon(&mut self, index: u32) {
        match self.local[index as usize].state {
            State::Waiting => {
                self.waiting.retain(|waiting| *waiting != index);
                self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
                self.empty(index);
            }
            State::InFlight => {
                self.local[index as usize].state = State::Abandoned;
                self.cancel(index);
            }
            State::Unwanted => self.empty(index),
            // It was emptied at the end.
            State::Idle => {}
            State::Abandoned => unreachable!("cell {index} is abandoned twice"),
        }
    }

    /// Cancels what is in flight.
    fn cancel(&self, index: u32) {
        // SAFETY: (S5) in flight, so the cell is this thread's.
        unsafe { self.shared.memory[index as usize].job() }.cancel();
    }

    /// Ends everything: nothing more is accepted, what was not started is handed back, what is in
    /// flight is cancelled and waited for.
    fn end(&mut self) -> io::Result<()> {
        self.shared.cells.close();
        self.read_messages();
        while let Some(index) = self.waiting.pop_front() {
            self.in_flight += 1;
            // SAFETY: (S5) its message came, so the cell is this thread's.
            let job = unsafe { self.shared.memory[index as usize].job() };
            let step = guarded(|| job.refuse()).unwrap_or_else(|| job.lose());
            self.after(index, step);
        }
        for index in self.indices() {
            match self.local[index as usize].state {
                State::InFlight | State::Abandoned => self.cancel(index),
                // Its message was refused.
                State::Unwanted => self.empty(index),
                State::Idle => {}
                State::Waiting => unreachable!("cell {index} was refused"),
            }
        }
        self.poll_all();
        while self.in_flight > 0 {
            self.submit(Wait::new())?;
            self.poll_all();
        }
        Ok(())
    }

    fn poll_all(&mut self) {
        for index in self.indices() {
            self.poll(index);
        }
    }

    fn indices(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.local.len()).expect("a limit of 20 bits")
    }
}

impl Drop for Server {
    /// Nobody is left waiting.
    fn drop(&mut self) {
        let ended = guarded(|| self.end());
        debug_assert!(ended.is_some(), "only code of the user's may panic");
        // If the driver has failed, its drop completes what it still had, or ends the process.
        self.driver = None;
        self.poll_all();
        // None is left, but for those in a driver that was exchanged for another.
        for index in self.indices() {
            if let State::InFlight | State::Abandoned = self.local[index as usize].state {
                // SAFETY: (S5) in flight, so the cell is this thread's.
                let step = unsafe { self.shared.memory[index as usize].job() }.lose();
                self.after(index, step);
            }
        }
        self.shared.end();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("driver", &self.driver)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}
