//! What the tests share: the runner, a driver turned by hand, buffers and wakers that count.

use crate::kit;
use completeio_driver::buf::{IoBuf, IoBufMut};
use completeio_driver::driver::{
    Backend, Builder, Driver, DriverThread, OwnedFd, Wait, spawn_thread,
};
use completeio_driver::op::{Op, Recv};
use completeio_driver::remote::{Pending, Rejected, Rejection, Remote, Server};
use std::fmt::Debug;
use std::future::Future;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// One `#[test]` for each function and each backend of this build.
/// What is about Unix stands under `on_unix`.
macro_rules! on_each_backend {
    ($($name:ident),* $(,)?) => {
        on_each_backend! { everywhere: [$($name),*], on_unix: [] }
    };
    (everywhere: [$($name:ident),* $(,)?], on_unix: [$($unix:ident),* $(,)?] $(,)?) => {
        #[cfg(io_uring)]
        column! { io_uring IoUring $($name)* $($unix)* }
        #[cfg(readiness)]
        column! { readiness Readiness $($name)* $($unix)* }
        #[cfg(iocp)]
        column! { iocp Iocp $($name)* }
    };
}

/// The tests of one backend.
macro_rules! column {
    ($column:ident $backend:ident $($name:ident)*) => {
        mod $column {
            $(#[test]
            fn $name() {
                let name = concat!(module_path!(), "::", stringify!($name));
                let backend = completeio_driver::driver::Backend::$backend;
                crate::rig::run(backend, name, super::$name);
            })*
        }
    };
}

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
pub(crate) const AT_ONCE: Wait = Wait::new().at_least(0);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs one test on one backend, alone in the process; insists on no leaked descriptor (I16) and on
/// an end within two minutes.
pub(crate) fn run(backend: Backend, name: &'static str, body: fn(&Cx)) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match Driver::builder().backend(backend).build() {
        Ok(_) => {}
        Err(error) if error.is_restricted() => {
            // Not `eprintln!`, which the test harness would swallow.
            let _ = writeln!(io::stderr(), "skipped: {name}: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let watchdog = kit::Watchdog::new(name, Duration::from_secs(120));
    let before = kit::open_fds();
    body(&Cx { backend });
    assert_eq!(before, kit::open_fds(), "descriptors before and after");
    drop(watchdog);
}

/// What a test is given.
pub(crate) struct Cx {
    pub(crate) backend: Backend,
}

impl Cx {
    pub(crate) fn builder(&self, slots: usize) -> Builder {
        Driver::builder().backend(self.backend).slots(slots)
    }

    pub(crate) fn thread(&self, slots: usize) -> DriverThread {
        spawn_thread(self.builder(slots)).unwrap()
    }

    /// A driver that the test turns by hand.
    pub(crate) fn hand(&self, slots: usize) -> Hand {
        self.hand_with(self.builder(slots))
    }

    pub(crate) fn hand_with(&self, builder: Builder) -> Hand {
        let (remote, server) = Server::new(builder.build().unwrap()).unwrap();
        Hand { remote, server }
    }
}

/// A remote and its server, on one thread: nothing happens between two turns.
pub(crate) struct Hand {
    pub(crate) remote: Remote,
    pub(crate) server: Server,
}

impl Hand {
    /// A turn that does not wait.
    pub(crate) fn turn(&mut self) {
        self.server.turn(AT_ONCE).unwrap();
    }

    /// Turns until a future is ready.
    pub(crate) fn finish<F: Future + Unpin>(&mut self, mut future: F) -> F::Output {
        let waker = Count::new();
        loop {
            if let Poll::Ready(output) = waker.poll(&mut future) {
                return output;
            }
            self.server.turn(Wait::new()).unwrap();
        }
    }

    /// Turns until the driver has nothing in flight.
    pub(crate) fn settle(&mut self) {
        while self.server.driver().in_flight() > 0 {
            self.server.turn(Wait::new()).unwrap();
        }
        self.turn();
    }

    /// Every cell and every slot is free, and works.
    pub(crate) fn assert_whole(&mut self, slots: usize) {
        self.assert_cells(slots);
        assert_eq!(self.server.driver().owned_capacity_left(), slots);
    }

    /// One cell was lost to a `Pending` that was forgotten; its slot was not.
    pub(crate) fn assert_whole_but_one(&mut self, slots: usize) {
        self.assert_cells(slots - 1);
        assert_eq!(self.server.driver().owned_capacity_left(), slots);
    }

    fn assert_cells(&mut self, cells: usize) {
        let (ends, pendings): (Vec<_>, Vec<_>) = (0..cells)
            .map(|_| {
                let (recv, end) = recv();
                (end, accepted(self.remote.try_push(recv)))
            })
            .unzip();
        assert!(self.remote.try_push(recv().0).is_err(), "all are taken");
        self.turn();
        assert_eq!(self.server.driver().in_flight(), cells);
        for (mut end, pending) in ends.iter().zip(pendings) {
            end.write_all(b"whole").unwrap();
            let (received, op) = self.finish(pending);
            assert_eq!(&op.buf()[..received.unwrap()], b"whole");
        }
    }
}

pub(crate) type Receiving = Recv<OwnedFd, [u8; 16]>;

/// A receive that pends until the other end writes; the other end.
pub(crate) fn recv() -> (Receiving, kit::Stream) {
    let (ours, theirs) = kit::pair();
    (Recv::new(kit::owned(ours), [0; 16]), theirs)
}

/// What was pushed where there was to be room.
#[track_caller]
pub(crate) fn accepted<T, O>(pushed: Result<T, Rejected<O>>) -> T {
    match pushed {
        Ok(pushed) => pushed,
        Err(rejected) => panic!("rejected: {:?}", rejected.reason()),
    }
}

/// Why it was rejected, and what was handed back.
#[track_caller]
pub(crate) fn rejected<T, O>(pushed: Result<T, Rejected<O>>) -> (Rejection, O) {
    match pushed {
        Ok(_) => panic!("it was accepted"),
        Err(rejected) => (rejected.reason(), rejected.into_inner()),
    }
}

/// The error number of an output; 0 for none.
pub(crate) fn errno<T: Debug>(output: &io::Result<T>) -> i32 {
    output
        .as_ref()
        .map_or_else(|error| error.raw_os_error().expect("the system's"), |_| 0)
}

/// A waker that counts how often it was woken.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }
}

/// Wakes a thread: an executor of a few lines.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Counts how many of its buffers were dropped, and remembers on which threads.
#[derive(Clone, Default)]
pub(crate) struct Drops(Arc<Mutex<Vec<thread::ThreadId>>>);

impl Drops {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// A buffer whose drop is counted.
    pub(crate) fn buffer(&self) -> Counted {
        Counted {
            bytes: vec![0; 64],
            drops: self.clone(),
        }
    }
}

/// See [`Drops`].
pub(crate) struct Counted {
    bytes: Vec<u8>,
    drops: Drops,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut drops = self.drops.0.lock().unwrap();
        drops.push(thread::current().id());
    }
}

// SAFETY: the bytes are those of a vector that only `&mut Counted` reaches.
unsafe impl IoBufMut for Counted {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (self.bytes.as_mut_ptr(), self.bytes.len())
    }

    unsafe fn set_filled(&mut self, _n: usize) {}
}

/// Where a [`Fused`] buffer panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Parts,
    Filled,
    Drop,
}

/// A buffer that panics, silently.
#[derive(Debug)]
pub(crate) struct Fused {
    pub(crate) at: At,
    bytes: [u8; 16],
}

impl Fused {
    pub(crate) fn new(at: At) -> Self {
        Self { at, bytes: [7; 16] }
    }

    fn burn(&self, at: At) {
        if self.at == at {
            kit::silent_panic()
        }
    }
}

// SAFETY: the bytes are the array's; a call that panics lends nothing.
unsafe impl IoBufMut for Fused {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        self.burn(At::Parts);
        self.bytes.parts_mut()
    }

    unsafe fn set_filled(&mut self, _n: usize) {
        self.burn(At::Filled);
    }
}

// SAFETY: as above.
unsafe impl IoBuf for Fused {
    fn parts(&self) -> (*const u8, usize) {
        self.burn(At::Parts);
        self.bytes.parts()
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        self.burn(At::Drop);
    }
}

/// What a panic says, which is not shown.
pub(crate) fn message_of(f: impl FnOnce()) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panic = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    std::panic::set_hook(hook);
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .expect("it says why")
}

/// Installs a value on the driver's thread, whose destructor tells the receiver that the thread has
/// come to its end: everything on it has been dropped.
pub(crate) fn tells_its_end(remote: &Remote) -> mpsc::Receiver<()> {
    struct Tells(#[allow(dead_code, reason = "dropped")] mpsc::Sender<()>);
    thread_local! {
        static TELLS: std::cell::RefCell<Option<Tells>> =
            const { std::cell::RefCell::new(None) };
    }
    let (send, receive) = mpsc::channel();
    let (done, installed) = mpsc::channel();
    let install = move |_output, _op| {
        TELLS.with(|tells| *tells.borrow_mut() = Some(Tells(send)));
        done.send(()).unwrap();
    };
    accepted(remote.try_push_with(completeio_driver::op::Nop::new(), install));
    installed.recv().unwrap();
    receive
}

/// Sends, and knows that it was handed to the driver: what is sent later has completed.
pub(crate) fn in_flight<O>(remote: &Remote, op: O) -> Pending<O>
where
    O: Op<Fd: completeio_driver::driver::Holds, Output: Send> + Send + 'static,
{
    let pending = accepted(remote.try_push(op));
    remote
        .run_blocking(completeio_driver::op::Nop::new())
        .0
        .unwrap();
    pending
}
