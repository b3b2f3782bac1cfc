//! The end of a driver's thread: by its handle, by a drop, with operations in every state.

use crate::kit::{self, code};
use crate::rig::{
    Count, Cx, Drops, LONG, accepted, block_on, errno, in_flight, recv, rejected, tells_its_end,
};
use completeio_driver::driver::{Backend, Cwd, spawn_thread};
use completeio_driver::op::{Nop, OpenAt, OpenOptions, Recv, Timeout};
use completeio_driver::remote::{Pending, Rejection, Remote};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

on_each_backend! {
    everywhere: [
    nothing_survives,
    everyone_is_told,
    what_was_never_started_is_cancelled,
    closed_for_everyone,
    survivors_are_counted,
    senders_that_wait_for_room,
    abandoned_before_the_end,
    dropped,
    dropped_in_a_panic,
    closed_by_a_remote,
    many_threads_come_and_go,
    what_cannot_be_made,
    sent_while_it_ends,
],
    on_unix: [what_cannot_be_cancelled_survives],
}

fn nothing_survives(cx: &Cx) {
    let driver = cx.thread(4);
    assert_eq!(driver.shut_down(Duration::ZERO.max(LONG)).unwrap(), 0);
    let driver = cx.thread(4);
    driver.remote().run_blocking(Nop::new()).0.unwrap();
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

/// Each with its own result, or ECANCELED, by whatever way it waits.
fn everyone_is_told(cx: &Cx) {
    let driver = cx.thread(8);
    let remote = driver.remote();
    let drops = Drops::default();
    let (ours, _first_end) = kit::pair();
    let waited = accepted(remote.try_push(Recv::new(kit::owned(ours), drops.buffer())));
    let (recv_2, _second_end) = recv();
    let awaited = accepted(remote.try_push(recv_2));
    let (recv_3, _third_end) = recv();
    let polled_later = accepted(remote.try_push(recv_3));
    let (send, receive) = mpsc::channel();
    let callback = move |output, _| send.send(errno(&output)).unwrap();
    accepted(remote.try_push_with(Timeout::after(LONG), callback));
    let done = in_flight(&remote, Nop::new());

    thread::scope(|scope| {
        let waited = scope.spawn(|| {
            let (received, op) = waited.wait();
            assert_eq!(drops.count(), 0, "the operation comes back too");
            drop(op);
            errno(&received)
        });
        let awaited = scope.spawn(|| errno(&block_on(awaited).0));
        assert_eq!(driver.shut_down(LONG).unwrap(), 0);
        assert_eq!(waited.join().unwrap(), code::ECANCELED);
        assert_eq!(awaited.join().unwrap(), code::ECANCELED);
    });
    assert_eq!(receive.recv(), Ok(code::ECANCELED));
    assert_eq!(errno(&polled_later.wait().0), code::ECANCELED);
    assert_eq!(errno(&done.wait().0), 0);
    assert_eq!(drops.count(), 1);
}

/// The thread is busy when it is shut down: what is in the queue is handed back as cancelled.
fn what_was_never_started_is_cancelled(cx: &Cx) {
    let driver = cx.thread(4);
    let remote = driver.remote();
    let (go, wait) = mpsc::channel::<()>();
    let (entered, is_in) = mpsc::channel();
    let callback = move |_, _| {
        entered.send(()).unwrap();
        wait.recv().unwrap();
    };
    accepted(remote.try_push_with(Nop::new(), callback));
    is_in.recv().unwrap();
    let path = kit::TempPath::new();
    let create = OpenOptions::new().write(true).create_new(true);
    let never = accepted(remote.try_push(OpenAt::new(Cwd, path.c_string(), create)));
    let abandoned = accepted(remote.try_push(Nop::new()));
    remote.close();
    drop(abandoned);
    go.send(()).unwrap();
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
    assert_eq!(errno(&never.wait().0), code::ECANCELED);
    assert!(!path.exists(), "it was not done");
}

fn closed_for_everyone(cx: &Cx) {
    let driver = cx.thread(2);
    let (first, second) = (driver.remote(), driver.remote());
    assert!(!first.is_closed());
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
    assert!(first.is_closed() && second.is_closed() && second.clone().is_closed());
    assert_eq!(rejected(first.try_push(Nop::new())).0, Rejection::Closed);
    assert_eq!(
        rejected(first.push_blocking(Nop::new())).0,
        Rejection::Closed
    );
    assert_eq!(
        rejected(block_on(second.push(Nop::new()))).0,
        Rejection::Closed
    );
    let (ours, mut theirs) = kit::pair();
    let (output, op) = second.run_blocking(Recv::new(kit::owned(ours), *b"unchanged"));
    assert_eq!(output.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(op.buf(), b"unchanged");
    drop(op);
    assert_eq!(
        theirs.read(&mut [0]).unwrap(),
        0,
        "its descriptor was handed back"
    );
    let (output, _) = block_on(first.run(Nop::new()));
    assert_eq!(output.unwrap_err().kind(), ErrorKind::BrokenPipe);
    first.close();
}

/// A thread that does not end in time is left to itself.
fn survivors_are_counted(cx: &Cx) {
    let driver = cx.thread(4);
    let remote = driver.remote();
    let end = tells_its_end(&remote);
    let (recv_1, _end) = recv();
    let pending = in_flight(&remote, recv_1);
    let (recv_2, _other_end) = recv();
    let abandoned = in_flight(&remote, recv_2);
    let (go, wait) = mpsc::channel::<()>();
    let (entered, is_in) = mpsc::channel();
    let callback = move |_, _| {
        entered.send(()).unwrap();
        wait.recv().unwrap();
    };
    accepted(remote.try_push_with(Nop::new(), callback));
    is_in.recv().unwrap();
    drop(abandoned);
    assert_eq!(
        driver.shut_down(Duration::ZERO).unwrap(),
        3,
        "one of them calls back"
    );
    assert!(remote.is_closed());
    go.send(()).unwrap();
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
    assert_eq!(end.recv(), Err(mpsc::RecvError), "the thread has ended");
}

const THREADS: &str = "/proc/self/task";

/// Whether a thread of this process waits for the other end of a named pipe.
#[cfg(unix)]
fn somebody_waits_for_a_partner() -> bool {
    let threads = fs::read_dir(THREADS).unwrap();
    threads.filter_map(Result::ok).any(|thread| {
        let waits_in = fs::read_to_string(thread.path().join("wchan"));
        waits_in.is_ok_and(|name| name.contains("wait_for_partner"))
    })
}

/// An open that waits for the pipe's other end: a worker thread does not come back from it. (On
/// io_uring it does not wait: the kernel tries without blocking first, and succeeds.)
#[cfg(unix)]
fn what_cannot_be_cancelled_survives(cx: &Cx) {
    if cx.backend == Backend::IoUring {
        return;
    }
    if !Path::new(THREADS).is_dir() {
        return kit::skip("this system does not tell what a thread waits for");
    }
    let path = kit::TempPath::new();
    // SAFETY: a path that ends with a zero.
    kit::checked(unsafe { libc::mkfifo(path.c_string().as_ptr(), 0o600) });
    for is_abandoned in [false, true] {
        let driver = cx.thread(4);
        let remote = driver.remote();
        let end = tells_its_end(&remote);
        let pending = in_flight(&remote, OpenAt::read(Cwd, path.c_string()));
        let (recv, _end) = recv();
        let neighbour = in_flight(&remote, recv);
        while !somebody_waits_for_a_partner() {
            thread::yield_now();
        }
        let pending = (!is_abandoned).then_some(pending);
        // However long that is.
        assert_eq!(driver.shut_down(Duration::from_millis(20)).unwrap(), 1);
        assert_eq!(errno(&neighbour.wait().0), code::ECANCELED);
        // The other end, which lets it go on.
        let _writer = File::options().write(true).open(&*path).unwrap();
        if let Some(pending) = pending {
            pending.wait().0.unwrap();
        }
        assert_eq!(end.recv(), Err(mpsc::RecvError), "the thread has ended");
    }
}

fn senders_that_wait_for_room(cx: &Cx) {
    let driver = cx.thread(1);
    let remote = driver.remote();
    let (recv, _end) = recv();
    let held = in_flight_alone(&remote, recv);
    let waker = Count::new();
    let mut push = Box::pin(remote.push(Nop::new()));
    assert!(waker.poll(&mut push).is_pending());
    thread::scope(|scope| {
        let blocked: Vec<_> = (0..4)
            .map(|i| {
                let remote = remote.clone();
                scope.spawn(move || match i % 2 {
                    0 => rejected(remote.push_blocking(Nop::new())).0,
                    _ => rejected(block_on(remote.push(Nop::new()))).0,
                })
            })
            .collect();
        assert_eq!(driver.shut_down(LONG).unwrap(), 0);
        for blocked in blocked {
            assert_eq!(blocked.join().unwrap(), Rejection::Closed);
        }
    });
    assert_eq!(waker.woken(), 1);
    assert_eq!(rejected(block_on(push)).0, Rejection::Closed);
    assert_eq!(errno(&held.wait().0), code::ECANCELED);
}

/// In the only cell.
fn in_flight_alone(remote: &Remote, op: crate::rig::Receiving) -> Pending<crate::rig::Receiving> {
    accepted(remote.try_push(op))
}

/// What nobody waits for is waited for by the thread.
fn abandoned_before_the_end(cx: &Cx) {
    for count in [1, 3, 8] {
        let driver = cx.thread(8);
        let remote = driver.remote();
        let drops = Drops::default();
        let ends: Vec<_> = (0..count)
            .map(|_| {
                let (ours, theirs) = kit::pair();
                let op = Recv::new(kit::owned(ours), drops.buffer());
                (accepted(remote.try_push(op)), theirs)
            })
            .collect();
        let (pendings, ends): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        drop(pendings);
        assert_eq!(driver.shut_down(LONG).unwrap(), 0);
        assert_eq!(drops.count(), count);
        drop(ends);
    }
}

fn dropped(cx: &Cx) {
    let driver = cx.thread(4);
    let remote = driver.remote();
    let (recv_1, _end) = recv();
    let pending = in_flight(&remote, recv_1);
    let (recv_2, _other_end) = recv();
    drop(accepted(remote.try_push(recv_2)));
    drop(driver);
    assert!(remote.is_closed());
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
}

fn dropped_in_a_panic(cx: &Cx) {
    let driver = cx.thread(4);
    let remote = driver.remote();
    let (recv, _end) = recv();
    let pending = in_flight(&remote, recv);
    kit::quietly(move || {
        let _driver = driver;
        kit::silent_panic()
    });
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
}

fn closed_by_a_remote(cx: &Cx) {
    let driver = cx.thread(4);
    let remote = driver.remote();
    let (recv, _end) = recv();
    let pending = in_flight(&remote, recv);
    thread::spawn(move || remote.close()).join().unwrap();
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

fn many_threads_come_and_go(cx: &Cx) {
    let before = kit::open_fds();
    for round in 0..20 {
        let drivers = [(); 3].map(|()| spawn_thread(cx.builder(2).entries(8)).unwrap());
        for driver in &drivers {
            driver.remote().run_blocking(Nop::new()).0.unwrap();
        }
        for driver in drivers {
            match round % 2 {
                0 => drop(driver),
                _ => assert_eq!(driver.shut_down(LONG).unwrap(), 0),
            }
        }
        assert_eq!(kit::open_fds(), before);
    }
}

/// The error is the builder's, and no thread is left.
fn what_cannot_be_made(cx: &Cx) {
    let error = spawn_thread(cx.builder(4).entries(0)).unwrap_err();
    assert!(error.to_string().contains("`entries`"), "{error}");
    let error = spawn_thread(cx.builder(0)).unwrap_err();
    assert!(error.to_string().contains("`slots`"), "{error}");
}

/// Served, cancelled or handed back: one of the three, for each, and the buffer is dropped once.
fn sent_while_it_ends(cx: &Cx) {
    for _ in 0..30 {
        let driver = cx.thread(4);
        let drops = Drops::default();
        let remotes = [(); 4].map(|()| driver.remote());
        let (started, start) = mpsc::channel();
        let file = std::sync::Arc::new(kit::owned(kit::file(b"text")));
        let sent: usize = thread::scope(|scope| {
            let senders = remotes.map(|remote| {
                let (drops, started, file) = (drops.clone(), started.clone(), file.clone());
                scope.spawn(move || {
                    for n in 1.. {
                        let op =
                            completeio_driver::op::ReadAt::new(file.clone(), 0, drops.buffer());
                        let outcome = match n % 3 {
                            0 => remote.run_blocking(op).0,
                            1 => block_on(remote.run(op)).0,
                            _ => match remote.push_blocking(op) {
                                Ok(_abandoned) => Ok(4),
                                Err(rejected) => Err(rejected.reason().into()),
                            },
                        };
                        if n == 10 {
                            started.send(()).unwrap();
                        }
                        match outcome {
                            Ok(n) => assert_eq!(n, 4),
                            Err(error) if error.kind() == ErrorKind::BrokenPipe => return n,
                            Err(error) => {
                                assert_eq!(error.raw_os_error(), Some(code::ECANCELED));
                            }
                        }
                    }
                    0
                })
            });
            for _ in 0..4 {
                start.recv().unwrap();
            }
            assert_eq!(driver.shut_down(LONG).unwrap(), 0);
            senders.map(|sender| sender.join().unwrap()).iter().sum()
        });
        assert_eq!(drops.count(), sent);
    }
}
