//! What takes a process of its own: this program, started again.

use crate::kit;
use crate::rig::{Cx, LONG, accepted, block_on, errno, recv, rejected};
use completeio_driver::driver::{Backend, Driver, DriverThread, OwnedFd, spawn_thread};
use completeio_driver::op::{Nop, ReadAt, Recv, Timeout};
use completeio_driver::remote::{Rejection, Remote};
use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use std::{env, panic, process, thread};

on_each_backend! {
    everywhere: [no_operation_allocates],
    on_unix: [a_forked_child],
}

/// Counts, while it is told to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Whether the first thread is the harness's, which does what it likes.
static HARNESS: AtomicBool = AtomicBool::new(false);

fn count() {
    if COUNTS.load(Ordering::Relaxed)
        && !(HARNESS.load(Ordering::Relaxed) && kit::on_the_first_thread())
    {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What tells the child what it is to do.
const TASK: &str = "COMPLETEIO_REMOTE_TASK";

fn in_a_process_of_its_own(task: &str, cx: &Cx) {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "alone::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(TASK, format!("{task} {}", cx.backend))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
}

/// Not a test by itself.
#[test]
#[ignore = "the other tests run it in processes of their own"]
fn child() {
    let Ok(task) = env::var(TASK) else { return };
    let (task, backend) = task.split_once(' ').unwrap();
    let backend = match backend {
        "io_uring" => Backend::IoUring,
        "iocp" => Backend::Iocp,
        _ => Backend::Readiness,
    };
    // A thread that panics ends the process: others may wait for it.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        hook(info);
        process::exit(101);
    }));
    // A child that hangs is a failure.
    let _watchdog = kit::Watchdog::new("a process of its own", Duration::from_secs(60));
    HARNESS.store(!kit::on_the_first_thread(), Ordering::Relaxed);
    match task {
        "allocations" => count_allocations(backend),
        #[cfg(unix)]
        _ => fork(backend),
        #[cfg(windows)]
        _ => unreachable!("it was not asked for"),
    }
}

/// I15: neither the sender nor the driver's thread, by any way, once each thread has done it once.
fn no_operation_allocates(cx: &Cx) {
    in_a_process_of_its_own("allocations", cx);
}

/// Wakes a thread; made once.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_with<F: Future>(future: F, waker: &Waker) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Every way, and every end; with what it needs made before.
fn every_way(remote: &Remote, waker: &Waker, read: &mut Option<ReadAt<OwnedFd, [u8; 64]>>) {
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    let (done, op) = remote.run_blocking(read.take().unwrap());
    assert_eq!(done.unwrap(), 64);
    let (done, op) = block_with(remote.run(op), waker);
    assert_eq!(done.unwrap(), 64);
    *read = Some(op);
    accepted(remote.try_push(Nop::new())).wait().0.unwrap();
    let pending = accepted(remote.push_blocking(Timeout::after(Duration::from_micros(20))));
    match pending.wait_timeout(Duration::from_micros(1)) {
        Ok(_) => {}
        Err(pending) => pending.wait().0.unwrap(),
    }
    let (before, me) = (CALLED.load(Ordering::SeqCst), thread::current());
    let callback = move |_, _| {
        CALLED.fetch_add(1, Ordering::SeqCst);
        me.unpark();
    };
    accepted(remote.try_push_with(Nop::new(), callback));
    while CALLED.load(Ordering::SeqCst) == before {
        thread::park();
    }
    drop(accepted(remote.try_push(Timeout::after(LONG))));
    // All cells are taken, and one waits for room, in vain, and one with success.
    let held: [_; 3] =
        std::array::from_fn(|_| accepted(remote.push_blocking(Timeout::after(LONG))));
    let last = accepted(remote.push_blocking(Nop::new()));
    {
        let mut push = pin!(remote.push(Nop::new()));
        let polled = push.as_mut().poll(&mut Context::from_waker(waker));
        if let Poll::Ready(pushed) = polled {
            accepted(pushed).wait().0.unwrap();
        }
    }
    last.wait().0.unwrap();
    drop(held);
    for _ in 0..4 {
        accepted(remote.push_blocking(Nop::new())).wait().0.unwrap();
    }
}

/// What a thread blocks on for room is made when it first does, which `every_way` may never have
/// to.
fn block_for_room(remote: &Remote) {
    let a_moment = || Timeout::after(Duration::from_millis(20));
    while remote.try_push_with(a_moment(), |_, _| {}).is_ok() {}
    accepted(remote.push_blocking(Nop::new())).wait().0.unwrap();
}

fn count_allocations(backend: Backend) {
    let driver = spawn_thread(Driver::builder().backend(backend).slots(4)).unwrap();
    let remote = driver.remote();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let file = kit::owned(kit::file(&[1; 64]));
    let mut read = Some(ReadAt::new(file, 0, [0; 64]));
    for _ in 0..3 {
        block_for_room(&remote);
    }
    for _ in 0..10 {
        every_way(&remote, &waker, &mut read);
    }
    COUNTS.store(true, Ordering::SeqCst);
    for _ in 0..200 {
        every_way(&remote, &waker, &mut read);
    }
    drop(remote.clone());
    COUNTS.store(false, Ordering::SeqCst);
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst), 0, "I15");
    // It does count.
    COUNTS.store(true, Ordering::SeqCst);
    let (send, receive) = std::sync::mpsc::channel();
    accepted(remote.try_push_with(Nop::new(), move |_, _| {
        send.send(Box::new([0; 100])).unwrap();
    }));
    receive.recv().unwrap();
    COUNTS.store(false, Ordering::SeqCst);
    assert!(ALLOCATIONS.load(Ordering::SeqCst) > 1);
}

/// The child has no such thread: nothing is accepted, nothing waits, and the parent's goes on.
#[cfg(unix)]
fn a_forked_child(cx: &Cx) {
    in_a_process_of_its_own("fork", cx);
}

#[cfg(unix)]
fn fork(backend: Backend) {
    let driver = spawn_thread(Driver::builder().backend(backend).slots(4)).unwrap();
    let other = spawn_thread(Driver::builder().backend(backend).slots(4)).unwrap();
    let remote = driver.remote();
    let (op, _end) = recv();
    let pending = crate::rig::in_flight(&remote, op);
    let (op, _other_end) = recv();
    let other_pending = accepted(other.remote().try_push(op));
    // SAFETY: the child calls nothing that another thread may have locked, but the allocator,
    // which glibc makes whole in a child.
    let pid = kit::checked(unsafe { libc::fork() });
    if pid == 0 {
        let good = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            in_the_child(driver, other, &remote);
            // Nobody would ever end this wait.
            panic::set_hook(Box::new(|_| {}));
            let waited = panic::catch_unwind(panic::AssertUnwindSafe(|| pending.wait().1));
            assert!(waited.is_err());
            drop(other_pending);
            drop(remote);
        }));
        // SAFETY: ends the process, and runs nothing else of it.
        unsafe { libc::_exit(i32::from(good.is_err())) };
    }
    let mut status = -1;
    // SAFETY: a child of this process, and a number on the stack.
    let waited = kit::checked(unsafe { libc::waitpid(pid, &raw mut status, 0) });
    assert_eq!((waited, status), (pid, 0));

    // The parent's are what they were.
    remote.run_blocking(Nop::new()).0.unwrap();
    assert!(!remote.is_closed());
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
    assert_eq!(errno(&pending.wait().0), libc::ECANCELED);
    drop(other);
    assert_eq!(errno(&other_pending.wait().0), libc::ECANCELED);
}

#[cfg(unix)]
fn in_the_child(driver: DriverThread, other: DriverThread, remote: &Remote) {
    let (ours, _theirs) = kit::pair();
    let op = Recv::new(kit::owned(ours), *b"mine");
    let (reason, op) = rejected(remote.try_push(op));
    assert_eq!((reason, op.buf()), (Rejection::Closed, b"mine"));
    let callback = |_, _| process::abort();
    assert_eq!(
        rejected(remote.try_push_with(Nop::new(), callback)).0,
        Rejection::Closed
    );
    assert_eq!(
        rejected(remote.push_blocking(Nop::new())).0,
        Rejection::Closed
    );
    assert_eq!(
        rejected(block_on(remote.push(Nop::new()))).0,
        Rejection::Closed
    );
    drop(remote.clone());
    drop(driver);
    // There is nothing to wait for.
    other.shut_down(LONG).unwrap_err();
    remote.close();
}
