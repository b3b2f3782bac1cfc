//! Signals to the small runtime. Each test has one of its own: they are the whole process's.
#![cfg(all(feature = "signal", unix))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bounded, poll_once, this_test};
use completeio::process::Command;
use completeio::signal::{Signal, SignalKind, ctrl_c, signal};
use completeio::task::{block_on, yield_now};
use std::io::{BufRead, BufReader, ErrorKind};
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Arc, Barrier};
use std::thread;

fn send(pid: u32, kind: SignalKind) {
    let pid = i32::try_from(pid).unwrap();
    // SAFETY: to a process of this test's.
    assert_eq!(unsafe { libc::kill(pid, kind.as_raw_value()) }, 0);
}

fn raise(kind: SignalKind) {
    send(std::process::id(), kind);
}

/// How many there are without waiting.
async fn drain(signal: &mut Signal) -> usize {
    let mut count = 0;
    loop {
        let mut next = pin!(signal.recv());
        // It is pushed, submitted, completed, and seen.
        for _ in 0..10 {
            if poll_once(&mut next).await.is_ready() {
                count += 1;
                break;
            }
            yield_now().await;
        }
        if poll_once(&mut next).await.is_pending() {
            return count;
        }
    }
}

#[test]
fn one_thousand() {
    bounded(|| {
        block_on(async {
            let kind = SignalKind::user_defined1();
            let mut listener = signal(kind).unwrap();
            for _ in 0..1000 {
                raise(kind);
                listener.recv().await.unwrap();
            }
            // In one go, they may become fewer, but not none.
            for _ in 0..1000 {
                raise(kind);
            }
            listener.recv().await.unwrap();
            // After all of them.
            raise(kind);
            listener.recv().await.unwrap();
        });
    });
}

/// I39: more than the socket holds, while nobody receives.
#[test]
fn more_than_there_is_room_for() {
    bounded(|| {
        block_on(async {
            let kind = SignalKind::window_change();
            let mut listener = signal(kind).unwrap();
            for _ in 0..5000 {
                raise(kind);
            }
            listener.recv().await.unwrap();
            for _ in 0..1000 {
                raise(kind);
                listener.recv().await.unwrap();
            }
        });
    });
}

/// I39: a receive that is dropped, before the signal or after it, loses nothing.
#[test]
fn a_receive_that_is_dropped() {
    bounded(|| {
        block_on(async {
            let kind = SignalKind::user_defined2();
            let mut listener = signal(kind).unwrap();
            for turns in 0..100 {
                {
                    let mut dropped = pin!(listener.recv());
                    assert!(poll_once(&mut dropped).await.is_pending());
                    yield_now().await;
                    raise(kind);
                    for _ in 0..turns % 10 {
                        yield_now().await;
                    }
                }
                listener.recv().await.unwrap();
            }
        });
    });
}

/// I39: listeners of several threads, runtimes and tasks; some have gone, some come later.
#[test]
fn listeners_are_independent() {
    const THREADS: usize = 4;
    let kind = SignalKind::hangup();
    bounded(move || {
        let ready = Arc::new(Barrier::new(THREADS + 1));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let ready = ready.clone();
                thread::spawn(move || {
                    block_on(async {
                        let mut gone = signal(kind).unwrap();
                        let mut other = signal(SignalKind::alarm()).unwrap();
                        let mut two = [signal(kind).unwrap(), signal(kind).unwrap()];
                        {
                            let mut dropped = pin!(gone.recv());
                            assert!(poll_once(&mut dropped).await.is_pending());
                        }
                        drop(gone);
                        for _ in 0..10 {
                            ready.wait();
                            for listener in &mut two {
                                listener.recv().await.unwrap();
                            }
                            let mut late = signal(kind).unwrap();
                            let mut late = pin!(late.recv());
                            assert!(poll_once(&mut late).await.is_pending());
                            yield_now().await;
                            assert!(poll_once(&mut late).await.is_pending(), "from now on");
                            ready.wait();
                        }
                        let mut other = pin!(other.recv());
                        assert!(poll_once(&mut other).await.is_pending());
                    });
                })
            })
            .collect();
        for _ in 0..10 {
            ready.wait();
            raise(kind);
            ready.wait();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// I16: what a listener has taken goes with it.
#[test]
fn listeners_leave_nothing_behind() {
    bounded(|| {
        block_on(async {
            let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            let before = open();
            for _ in 0..1000 {
                let mut listener = signal(SignalKind::pipe()).unwrap();
                let mut dropped = pin!(listener.recv());
                assert!(poll_once(&mut dropped).await.is_pending());
                yield_now().await;
            }
            // Other tests open some, too.
            let left = open().saturating_sub(before);
            assert!(left < 500, "{left} descriptors");
            assert_eq!(drain(&mut signal(SignalKind::pipe()).unwrap()).await, 0);
        });
    });
}

#[test]
fn what_cannot_be_listened_to() {
    block_on(async {
        for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 1000] {
            let error = signal(SignalKind::from_raw(number)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{number}");
        }
    });
}

#[test]
#[ignore = "a program for the test below"]
fn waits_for_control_c() {
    block_on(async {
        for n in 0..2 {
            let mut pressed = pin!(ctrl_c());
            assert!(poll_once(&mut pressed).await.is_pending());
            println!("\nready {n}");
            pressed.await.unwrap();
        }
        println!("\nover");
    });
}

#[test]
fn control_c() {
    bounded(|| {
        let mut child = this_test("waits_for_control_c");
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut expect = |expected: &str| {
            while lines.next().expect("it is not over").unwrap() != expected {}
        };
        for ready in ["ready 0", "ready 1"] {
            expect(ready);
            send(child.id(), SignalKind::interrupt());
        }
        expect("over");
        assert!(child.wait().unwrap().success());
    });
}

/// SIGCHLD comes to who listens, and children are waited for beside it.
#[test]
fn children_and_their_signal() {
    bounded(|| {
        block_on(async {
            let mut ended = signal(SignalKind::child()).unwrap();
            for _ in 0..50 {
                assert!(Command::new("true").status().await.unwrap().success());
                ended.recv().await.unwrap();
            }
        });
    });
}

#[cfg(feature = "sim")]
#[test]
fn a_simulated_host_has_none() {
    use completeio::driver::Driver;
    use completeio::sim::{Faults, World};
    use completeio::task::Runtime;

    let world = World::new(1, Faults::none());
    let driver = world.host("a").driver(Driver::builder()).unwrap();
    let runtime = Runtime::builder().build_on(driver);
    assert!(runtime.block_on(async { signal(SignalKind::hangup()).is_err() }));
}
