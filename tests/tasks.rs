//! Tasks of the small runtime: joined, aborted, woken from elsewhere, left behind.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Temp, bounded, open_on};
use completeio::driver::Driver;
use completeio::fs::File;
use completeio::io::AsyncRead;
use completeio::net::{TcpListener, TcpStream};
use completeio::task::{
    CancelToken, JoinError, JoinHandle, Runtime, block_on, spawn, spawn_blocking, yield_now,
};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

#[test]
fn tasks_run_beside_each_other() {
    let log = Rc::new(RefCell::new(Vec::new()));
    block_on(async {
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let log = log.clone();
                spawn(async move {
                    for round in 0..3 {
                        log.borrow_mut().push((round, task));
                        yield_now().await;
                    }
                    task
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), n);
        }
    });
    let in_turns: Vec<_> = (0..3)
        .flat_map(|round| (0..3).map(move |task| (round, task)))
        .collect();
    assert_eq!(*log.borrow(), in_turns);
}

#[test]
fn a_panic_comes_out_at_the_join() {
    block_on(async {
        let other = spawn(async { 7 });
        let literal = spawn(async { panic!("so be it") });
        let formatted = spawn(async { panic!("{}", 1) });
        let error: JoinError = literal.await.unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(error.to_string(), "the task panicked: so be it");
        let panic = error.try_into_panic().unwrap();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "so be it");
        let error: JoinError = formatted.await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: 1");
        let error = Box::<dyn Error + Send + Sync>::from(error);
        assert!(error.downcast::<JoinError>().unwrap().is_panic());
        assert_eq!(other.await.unwrap(), 7, "the others go on");
    });
}

/// Says when it is dropped.
struct Tell(Rc<Cell<usize>>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn aborted_before_between_and_after() {
    let dropped = Rc::new(Cell::new(0));
    block_on(async {
        let begun = Rc::new(Cell::new(0));
        let task = |end: bool| {
            let (tell, begun) = (Tell(dropped.clone()), begun.clone());
            spawn(async move {
                let _tell = tell;
                begun.set(begun.get() + 1);
                if !end {
                    pending::<()>().await;
                }
                5
            })
        };
        let never = task(false);
        never.abort();
        assert!(!never.is_finished());
        assert!(never.await.unwrap_err().is_cancelled());
        assert_eq!((begun.get(), dropped.get()), (0, 1), "it never ran");

        let waits = task(false);
        yield_now().await;
        assert_eq!(begun.get(), 1);
        waits.abort();
        waits.abort();
        while !waits.is_finished() {
            yield_now().await;
        }
        let error = waits.await.unwrap_err();
        assert_eq!(error.to_string(), "the task was cancelled");
        assert!(error.try_into_panic().unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), 2, "before its handle is ready");

        let over = task(true);
        yield_now().await;
        assert!(over.is_finished());
        over.abort();
        assert_eq!(over.await.unwrap(), 5, "it was too late");
    });
    assert_eq!(dropped.get(), 3);
}

/// A handle that is dropped says nothing to its task, but after an abort.
#[test]
fn left_alone_or_ended() {
    let ended = Rc::new(Cell::new(0));
    let dropped = Rc::new(Cell::new(0));
    block_on(async {
        let (end, tell) = (ended.clone(), Tell(dropped.clone()));
        drop(spawn(async move {
            let _tell = tell;
            yield_now().await;
            end.set(1);
        }));
        let tell = Tell(dropped.clone());
        let aborted = spawn(async move {
            let _tell = tell;
            pending::<()>().await;
        });
        yield_now().await;
        aborted.abort();
        drop(aborted);
        for _ in 0..3 {
            yield_now().await;
        }
        assert_eq!((ended.get(), dropped.get()), (1, 2));
    });
}

/// A read of a whole file, and its task.
fn read_all(temp: &Temp) -> JoinHandle<usize> {
    let file = File::open(&temp.0).unwrap();
    spawn(async move {
        file.read_at(Vec::with_capacity(1 << 16), 0)
            .await
            .0
            .unwrap()
    })
}

/// I5, I16: what 600 tasks have in flight is cancelled, and their buffers and files are given back.
#[test]
fn six_hundred_dropped_at_once() {
    let temp = Temp::new("six-hundred", &vec![7; 1 << 16]);
    bounded(move || {
        for abort in [true, false] {
            block_on(async {
                let tasks: Vec<_> = (0..600).map(|_| read_all(&temp)).collect();
                yield_now().await;
                if abort {
                    tasks.iter().for_each(JoinHandle::abort);
                    for task in tasks {
                        assert!(task.await.is_err_and(|e| e.is_cancelled()));
                    }
                }
                // Otherwise with the runtime.
            });
            assert_eq!(open_on(&temp), 0);
        }
    });
}

#[test]
fn tasks_go_with_their_runtime() {
    let dropped = Rc::new(Cell::new(0));
    let runtime = Runtime::new().unwrap();
    let before = runtime.spawn({
        let tell = Tell(dropped.clone());
        async move {
            let _tell = tell;
            pending::<()>().await;
        }
    });
    let [handle] = runtime.block_on({
        let dropped = dropped.clone();
        async move {
            // Its destructor starts another one.
            struct Again(Rc<Cell<usize>>);
            impl Drop for Again {
                fn drop(&mut self) {
                    self.0.set(self.0.get() + 1);
                }
            }
            let again = Again(dropped);
            yield_now().await;
            [spawn(async move {
                let _again = again;
                pending::<()>().await;
            })]
        }
    });
    assert_eq!(dropped.get(), 0);
    drop(runtime);
    assert_eq!(dropped.get(), 2);
    for mut handle in [before, handle] {
        assert!(handle.is_finished());
        let polled = std::pin::Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Err(error)) if error.is_cancelled()));
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("it goes off");
    }
}

/// The handle tells of the panic if a poll has it, and nobody else has it in any case.
#[test]
fn destructors_that_panic() {
    let dropped = Rc::new(Cell::new(0));
    let (told, again) = (Tell(dropped.clone()), Tell(dropped.clone()));
    block_on(async {
        for polled in [false, true] {
            let bomb = Bomb;
            let aborted = spawn(async move {
                let _bomb = bomb;
                pending::<()>().await;
            });
            if polled {
                yield_now().await;
            }
            aborted.abort();
            assert!(aborted.await.unwrap_err().is_cancelled());
        }
        let ended = spawn(async {
            let _bomb = Bomb;
        });
        assert_eq!(
            ended.await.unwrap_err().to_string(),
            "the task panicked: it goes off"
        );
        let ended = spawn({
            let bomb = Bomb;
            poll_fn(move |_| {
                let _kept = &bomb;
                Poll::Ready(())
            })
        });
        assert_eq!(
            ended.await.unwrap_err().to_string(),
            "the task panicked: it goes off"
        );
        drop(spawn(async { Bomb }));
        let (running, ended) = mpsc::channel::<()>();
        drop(spawn_blocking(|| (Bomb, running)));
        assert!(ended.recv().is_err());
        yield_now().await;
        // One, and what comes behind it, go with their runtime.
        drop(spawn(async move {
            let _told = told;
            let _bomb = Bomb;
            pending::<()>().await;
        }));
        drop(spawn(async move {
            let _again = again;
            pending::<()>().await;
        }));
        yield_now().await;
    });
    assert_eq!(dropped.get(), 2);
}

#[test]
fn they_go_on_in_the_next_call() {
    let runtime = Runtime::new().unwrap();
    let task = runtime.spawn(async {
        yield_now().await;
        3
    });
    runtime.block_on(async {});
    assert_eq!(runtime.block_on(task).unwrap(), 3);
}

#[test]
fn used_outside_of_a_runtime() {
    let panic = catch_unwind(|| drop(spawn(async {}))).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("task::block_on"), "{message}");
    let runtime = Runtime::new().unwrap();
    let nested = AssertUnwindSafe(|| block_on(async { runtime.block_on(async {}) }));
    let panic = catch_unwind(nested).unwrap_err();
    let message = panic.downcast_ref::<&str>().unwrap();
    assert!(message.contains("await the future instead"), "{message}");
    assert_eq!(
        runtime.block_on(async { 1 }),
        1,
        "it can be used after that"
    );
}

/// A waker that panics.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("as it is to");
    }
}

#[test]
fn a_waker_that_panics_keeps_no_other_from_being_woken() {
    bounded(|| {
        block_on(async {
            let (mut first, _peer) = connection().await;
            let (mut second, _other) = connection().await;
            let token = CancelToken::new();
            let mut panics = pin!(token.run(first.read([0; 8])));
            let waker = Waker::from(Arc::new(Panics));
            let polled = panics.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            let waits = spawn({
                let token = token.clone();
                async move { token.run(second.read([0; 8])).await.0 }
            });
            yield_now().await;
            catch_unwind(AssertUnwindSafe(|| token.cancel())).unwrap_err();
            let error = waits.await.unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(common::code::ECANCELED));
        });
    });
}

/// A connection whose other end is a plain socket.
async fn connection() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().await.unwrap().0, peer)
}

/// What waits in the kernel, what waits for a place, and what begins later.
#[test]
fn a_token_gives_the_buffers_back() {
    bounded(|| {
        let driver = Driver::builder().entries(4).in_flight(4).slots(2);
        let runtime = Runtime::builder().driver(driver).build().unwrap();
        runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..6 {
                connections.push(connection().await);
            }
            let (mut stream, mut peer) = connections.pop().unwrap();
            let token = CancelToken::new();
            let (mut peers, mut reads) = (Vec::new(), Vec::new());
            for (n, (mut stream, peer)) in (0..).zip(connections) {
                peers.push(peer);
                let token = token.clone();
                let mut buffer = vec![n; 3];
                buffer.reserve(5);
                let read = async move { token.run(stream.read(buffer)).await };
                reads.push(spawn(read));
            }
            yield_now().await;
            assert!(!token.is_cancelled());
            token.cancel();
            assert!(token.is_cancelled());
            for (n, read) in (0..).zip(reads) {
                let (read, buffer) = read.await.unwrap();
                assert_eq!(
                    read.unwrap_err().raw_os_error(),
                    Some(common::code::ECANCELED)
                );
                assert_eq!(buffer, [n; 3]);
            }
            peer.write_all(b"x").unwrap();
            let (late, buffer) = token.run(stream.read(Vec::with_capacity(7))).await;
            assert_eq!(
                late.unwrap_err().raw_os_error(),
                Some(common::code::ECANCELED)
            );
            let inner = CancelToken::new();
            let read = token.run(inner.run(stream.read(buffer))).await;
            assert_eq!(
                (read.0.unwrap(), &read.1[..]),
                (1, &b"x"[..]),
                "the innermost counts"
            );
        });
    });
}

/// Bytes that come at the moment of a cancellation are in the buffer, or still in the socket.
#[test]
fn a_token_loses_no_bytes() {
    bounded(|| {
        block_on(async {
            let (mut stream, mut peer) = connection().await;
            let (mut cancelled, mut got) = (0, Vec::new());
            for n in 0..=255 {
                let token = CancelToken::new();
                let mut read = Box::pin(token.run(stream.read(Vec::with_capacity(1))));
                let begun = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
                assert!(begun.is_pending());
                if n % 3 > 0 {
                    yield_now().await;
                }
                peer.write_all(&[n]).unwrap();
                if n % 2 > 0 {
                    yield_now().await;
                }
                token.cancel();
                let (read, buffer) = read.await;
                match read {
                    Ok(_) => got.extend(buffer),
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(common::code::ECANCELED));
                        cancelled += 1;
                        let (rest, buffer) = stream.read(Vec::with_capacity(1)).await;
                        assert_eq!(rest.unwrap(), 1);
                        got.extend(buffer);
                    }
                }
            }
            assert!((1..256).contains(&cancelled), "{cancelled}: both happen");
            assert_eq!(got, (0..=255).collect::<Vec<u8>>());
        });
    });
}

/// I38: tasks that are always ready, beside a file that is read.
#[test]
fn busy_tasks_starve_no_operation() {
    let temp = Temp::new("busy", b"x");
    bounded(move || {
        for tasks_per_turn in [1, 64] {
            let builder = Runtime::builder().tasks_per_turn(tasks_per_turn);
            builder.build().unwrap().block_on(async {
                for _ in 0..200 {
                    drop(spawn(async {
                        loop {
                            yield_now().await;
                        }
                    }));
                }
                let file = File::open(&temp.0).unwrap();
                let (read, text) = file.read_at(Vec::with_capacity(8), 0).await;
                assert_eq!((read.unwrap(), &text[..]), (1, &b"x"[..]));
            });
        }
    });
}

/// I38, the other way round: after each completion it is the tasks' turn.
#[test]
fn many_completions_starve_no_task() {
    let temp = Temp::new("completions", b"x");
    bounded(move || {
        let runtime = Runtime::builder().completions_per_turn(1).build().unwrap();
        runtime.block_on(async {
            let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let file = Rc::new(File::open(&temp.0).unwrap());
            let reads: Vec<_> = (0..256)
                .map(|_| {
                    let (file, running, most) = (file.clone(), running.clone(), most.clone());
                    spawn(async move {
                        file.read_at([0; 1], 0).await.0.unwrap();
                        running.set(running.get() + 1);
                        most.set(most.get().max(running.get()));
                    })
                })
                .collect();
            let (counter, before) = (running.clone(), most.clone());
            let beside = spawn(async move {
                // All of them begin before it; some have ended by now.
                yield_now().await;
                before.set(0);
                loop {
                    counter.set(0);
                    yield_now().await;
                }
            });
            for read in reads {
                read.await.unwrap();
            }
            beside.abort();
            assert_eq!(most.get(), 1, "completions between two turns of a task");
        });
    });
}

/// I38: what a turn leaves of the completions is the next one's, which does not wait for others.
#[test]
fn no_completion_is_left_behind() {
    let temp = Temp::new("left-behind", b"x");
    bounded(move || {
        let runtime = Runtime::builder().completions_per_turn(1).build().unwrap();
        runtime.block_on(async {
            let reads: Vec<_> = (0..256).map(|_| read_all(&temp)).collect();
            // The ends of the others wake nobody.
            for read in reads.into_iter().rev() {
                assert_eq!(read.await.unwrap(), 1);
            }
        });
    });
}

/// I14: eight threads wake a task of each.
#[test]
fn no_wake_up_of_a_task_is_lost() {
    const WAKES: usize = 5_000;
    bounded(|| {
        block_on(async {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let told = Arc::new(AtomicUsize::new(0));
                    let (send, wakers) = mpsc::channel::<Waker>();
                    let thread = thread::spawn({
                        let told = told.clone();
                        move || {
                            for waker in wakers {
                                told.fetch_add(1, Ordering::Release);
                                waker.wake();
                            }
                        }
                    });
                    spawn(async move {
                        for round in 1..=WAKES {
                            let mut sent = false;
                            poll_fn(|context| {
                                if told.load(Ordering::Acquire) == round {
                                    return Poll::Ready(());
                                }
                                if !sent {
                                    sent = true;
                                    send.send(context.waker().clone()).unwrap();
                                }
                                Poll::Pending
                            })
                            .await;
                        }
                        drop(send);
                        thread.join().unwrap();
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

/// I14: wake-ups while a runtime is dropped, and after it.
#[test]
fn woken_while_the_runtime_ends() {
    bounded(|| {
        for _ in 0..200 {
            let (send, wakers) = mpsc::channel::<Waker>();
            let over = Arc::new(AtomicBool::new(false));
            let thread = thread::spawn({
                let over = over.clone();
                move || {
                    let waker = wakers.recv().unwrap();
                    while !over.load(Ordering::Acquire) {
                        waker.wake_by_ref();
                    }
                    waker.wake();
                }
            });
            let runtime = Runtime::new().unwrap();
            let dropped = Rc::new(Cell::new(0));
            let tell = Tell(dropped.clone());
            drop(runtime.spawn(async move {
                let _tell = tell;
                let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
                send.send(waker).unwrap();
                pending::<()>().await;
            }));
            runtime.block_on(yield_now());
            drop(runtime);
            assert_eq!(dropped.get(), 1);
            over.store(true, Ordering::Release);
            thread.join().unwrap();
        }
    });
}

#[test]
fn work_that_blocks() {
    bounded(|| {
        block_on(async {
            let here = thread::current().id();
            let there = spawn_blocking(|| thread::current().id()).await.unwrap();
            assert_ne!(here, there);
            let failed: Result<(), JoinError> = spawn_blocking(|| panic!("no work")).await;
            let error = failed.unwrap_err();
            assert_eq!(error.to_string(), "the task panicked: no work");
        });
    });
}

/// A runtime that looks for an hour before it sleeps, and finds what comes.
#[test]
fn found_without_sleeping() {
    let temp = Temp::new("spin", b"x");
    bounded(move || {
        let runtime = Runtime::builder()
            .spin(Duration::from_secs(3600))
            .build()
            .unwrap();
        runtime.block_on(async {
            let file = File::open(&temp.0).unwrap();
            assert_eq!(file.read_at([0; 1], 0).await.0.unwrap(), 1);
            assert_eq!(spawn_blocking(|| 3).await.unwrap(), 3);
            completeio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(spawn(async { 4 }).await.unwrap(), 4);
        });
    });
}

#[test]
fn options_of_the_driver() {
    let driver = Driver::builder().entries(4).in_flight(4).slots(2);
    let runtime = Runtime::builder().driver(driver).build().unwrap();
    let temp = Temp::new("options", b"x");
    runtime.block_on(async {
        let tasks: Vec<_> = (0..100).map(|_| read_all(&temp)).collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 1, "two at a time");
        }
    });
}
