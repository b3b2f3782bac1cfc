//! An executor in a hundred lines, and an echo server on it: a task for each connection.
//!
//! ```text
//! cargo run --release --example executor -- --listen 127.0.0.1:7777 --exit-after 2
//! ```
//!
//! Shows how futures stand on the driver's slots: an operation moves into a slot, its key is a
//! future, and a turn of the driver wakes the tasks whose operations have completed. No `unsafe`,
//! and one allocation for a task, none for an operation.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::buf::{IntoInner, Sliceable};
use completeio::driver::{Driver, Holds, Notifier, OwnedFd};
use completeio::op::{Accept, Op, Recv, Send};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

const HELP: &str = "\
usage: executor --listen ADDRESS [--exit-after N]
Echoes what TCP clients send, all of them at the same time.
  --listen ADDRESS  port 0 takes a free one
  --exit-after N    serve so many connections (1)";

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let address: Option<SocketAddr> = args.value("--listen");
    let connections = args.value("--exit-after").unwrap_or(1);
    args.end();
    let Some(address) = address else {
        common::wrong("executor needs --listen ADDRESS");
    };
    match run(address, connections) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("executor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: SocketAddr, connections: usize) -> io::Result<()> {
    let listener = TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    println!("listening on {}", listener.local_addr()?);
    let executor = Executor::new(1024)?;
    executor.run(serve(executor.clone(), listener.into(), connections))?
}

/// Accepts connections, gives each to a task, and waits for the tasks.
async fn serve(executor: Rc<Executor>, listener: OwnedFd, connections: usize) -> io::Result<()> {
    let listener = Rc::new(listener);
    let mut tasks = Vec::new();
    while tasks.len() < connections {
        let (accepted, _) = executor.io(Accept::new(listener.clone())).await;
        tasks.push(executor.spawn(echo(executor.clone(), accepted?.fd)));
    }
    let (mut bytes, mut failed) = (0, 0);
    for task in tasks {
        match task.await {
            Ok(echoed) => bytes += echoed,
            Err(error) => {
                eprintln!("executor: a connection failed: {error}");
                failed += 1;
            }
        }
    }
    println!("{bytes} bytes echoed");
    println!("{connections} connections closed, {failed} failed");
    Ok(())
}

/// Sends back what it receives until the client ends; returns how much that was.
async fn echo(executor: Rc<Executor>, connection: OwnedFd) -> io::Result<u64> {
    let connection = Rc::new(connection);
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut bytes = 0;
    loop {
        let (received, op) = executor.io(Recv::new(connection.clone(), buffer)).await;
        buffer = op.into_inner();
        if received? == 0 {
            return Ok(bytes);
        }
        let mut sent = 0;
        while sent < buffer.len() {
            let op = Send::new(connection.clone(), buffer.slice(sent..));
            let (n, op) = executor.io(op).await;
            buffer = op.into_inner().into_inner();
            sent += n?;
        }
        bytes += sent as u64;
        buffer.clear();
    }
}

// The executor: a hundred lines, comments aside.

/// Runs tasks on one thread and one driver. Wakers work from any thread.
struct Executor {
    // None of the cells is borrowed while a task is polled, woken or dropped: it may come back
    // here.
    driver: RefCell<Driver<'static>>,
    /// By number, but for the one that is being polled.
    tasks: RefCell<HashMap<usize, Task>>,
    spawned: Cell<usize>,
    ready: Arc<Ready>,
    /// Those whose operations found no slot.
    waiting: RefCell<VecDeque<Waker>>,
}

type Task = (Pin<Box<dyn Future<Output = ()>>>, Waker);

/// The numbers of the tasks to be polled: any thread may add one, and end the driver's wait.
struct Ready {
    queue: Mutex<VecDeque<usize>>,
    notifier: Notifier,
}

/// Makes a task ready.
struct Wakes(usize, Arc<Ready>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let mut queue = self.1.queue.lock().expect("nobody panics with it");
        if !queue.contains(&self.0) {
            queue.push_back(self.0);
            self.1.notifier.notify();
        }
    }
}

impl Executor {
    /// With so many operations in flight at most, and as many places for submissions: a push fails
    /// for want of a slot only.
    fn new(slots: usize) -> io::Result<Rc<Self>> {
        let limits = Driver::builder().entries(slots).slots(slots);
        let mut driver = limits.build()?;
        let (queue, notifier) = (Mutex::default(), driver.notifier());
        Ok(Rc::new(Self {
            driver: RefCell::new(driver),
            tasks: RefCell::default(),
            spawned: Cell::new(0),
            ready: Arc::new(Ready { queue, notifier }),
            waiting: RefCell::default(),
        }))
    }

    /// Runs a future, and the tasks that it spawns, until it has ended.
    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> io::Result<T> {
        let JoinHandle(main) = self.spawn(main);
        loop {
            self.poll_ready();
            if let Some(output) = main.output.take() {
                // The others may have this executor, and would keep it for ever.
                drop(self.tasks.take());
                return Ok(output);
            }
            self.turn()?;
        }
    }

    /// Runs a future beside the others.
    fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        let (output, waker) = (Cell::new(None), Cell::new(None::<Waker>));
        let joined = Rc::new(Joined { output, waker });
        let handle = JoinHandle(joined.clone());
        let task = Box::pin(async move {
            joined.output.set(Some(future.await));
            joined.waker.take().into_iter().for_each(Waker::wake);
        });
        let number = self.spawned.replace(self.spawned.get() + 1);
        let waker = Waker::from(Arc::new(Wakes(number, self.ready.clone())));
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(number, (task, waker));
        handle
    }

    /// Gives an operation to the driver, and waits until it has completed. Dropping this future
    /// cancels it.
    async fn io<O: Op<Fd: Holds> + 'static>(&self, op: O) -> (io::Result<O::Output>, O) {
        let mut unpushed = Some(op);
        let key = poll_fn(|context| {
            let op = unpushed.take().expect("handed back");
            match self.driver.borrow_mut().try_push_owned(op, 0) {
                Ok(key) => return Poll::Ready(key),
                Err(full) => unpushed = Some(full.into_inner()),
            }
            self.waiting.borrow_mut().push_back(context.waker().clone());
            Poll::Pending
        });
        key.await.await
    }

    fn poll_ready(&self) {
        let next = || self.ready.queue.lock().ok()?.pop_front();
        let take = |number| self.tasks.borrow_mut().remove(&number);
        while let Some(number) = next() {
            // A task may have ended before it is woken.
            if let Some((mut task, waker)) = take(number) {
                let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
                if polled.is_pending() {
                    self.tasks.borrow_mut().insert(number, (task, waker));
                }
            }
        }
    }

    /// Hands over what was pushed, waits, and wakes the tasks whose operations have completed.
    fn turn(&self) -> io::Result<()> {
        // With a slot, one of those that wait is polled before there is a turn, and then the next.
        let slots = self.driver.borrow().owned_capacity_left();
        let first = (slots > 0).then(|| self.waiting.borrow_mut().pop_front());
        if let Some(waker) = first.flatten() {
            waker.wake();
            return Ok(());
        }
        // Nothing is lent to this scope, so that no events come: the sink stays empty.
        let mut driver = self.driver.borrow_mut();
        driver.scope(|s| s.submit(None, &mut None))??;
        drop(driver);
        let next = || self.driver.borrow_mut().next_finished();
        while let Some(finished) = next() {
            finished.wake();
        }
        Ok(())
    }
}

/// Waits for a task's output. Dropping it lets the task run on.
struct JoinHandle<T>(Rc<Joined<T>>);

struct Joined<T> {
    output: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.waker.set(Some(context.waker().clone()));
        self.0.output.take().map_or(Poll::Pending, Poll::Ready)
    }
}
