//! Many threads on one driver: each gets exactly its own results.

use crate::kit;
use crate::rig::{Cx, LONG, accepted, block_on, rejected};
use completeio_driver::driver::OwnedFd;
use completeio_driver::op::{Nop, ReadAt, Send, Timeout, WriteAt};
use completeio_driver::remote::{Rejection, Remote};
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

on_each_backend![
    each_gets_its_own,
    written_by_many,
    pendings_change_threads,
    callbacks_from_many,
    wakers_of_many,
    a_few_slots_for_many,
];

const THREADS: u64 = 8;

/// Block `i` holds its own number, and others' nowhere.
fn numbered(blocks: u64) -> Arc<OwnedFd> {
    let content: Vec<u8> = (0..blocks).flat_map(|i| i.to_le_bytes()).collect();
    Arc::new(kit::owned(kit::file(&content)))
}

/// As few as show something under a sanitizer.
fn count(many: u64) -> u64 {
    std::env::var("COMPLETEIO_REMOTE_FEW").map_or(many, |_| many / 10)
}

/// A random number generator, for the mix of ways.
struct Mix(u64);

impl Mix {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// One thread's operations, by all ways; returns the sum of what it has asked for, and of what it
/// was given by callbacks.
fn client(
    remote: &Remote,
    file: &Arc<OwnedFd>,
    thread: u64,
    blocks: u64,
    sum: &Arc<AtomicU64>,
) -> u64 {
    let mut mix = Mix(thread);
    let mut expected = 0;
    let mut pendings = Vec::new();
    let read = |i: u64| ReadAt::new(file.clone(), 8 * i, [0; 8]);
    for n in 0..count(2000) {
        let i = mix.next() % blocks;
        let check = |(read, op): (std::io::Result<usize>, ReadAt<_, [u8; 8]>)| {
            assert_eq!(read.unwrap(), 8);
            assert_eq!(u64::from_le_bytes(*op.buf()), i);
        };
        match mix.next() % 8 {
            0 => check(remote.run_blocking(read(i))),
            1 => check(block_on(remote.run(read(i)))),
            2 => drop(accepted(remote.push_blocking(read(i)))),
            3 => {
                expected += i;
                let sum = sum.clone();
                let mut pushed = Err((read(i), ()));
                while let Err((op, ())) = pushed {
                    let sum = sum.clone();
                    pushed = remote
                        .try_push_with(op, move |output: std::io::Result<usize>, op| {
                            assert_eq!(output.unwrap(), 8);
                            sum.fetch_add(u64::from_le_bytes(*op.buf()), Ordering::Relaxed);
                        })
                        .map_err(|full| {
                            assert_eq!(full.reason(), Rejection::Full);
                            thread::yield_now();
                            (full.into_inner().0, ())
                        });
                }
            }
            4 => match remote.try_push(read(i)) {
                Ok(pending) => check(pending.wait()),
                Err(full) => assert_eq!(full.into_inner().offset(), 8 * i),
            },
            5 => {
                let pending = accepted(remote.push_blocking(read(i)));
                match pending.wait_timeout(Duration::from_nanos(n % 100)) {
                    Ok(outcome) => check(outcome),
                    Err(pending) => check(pending.wait()),
                }
            }
            6 => drop(accepted(remote.push_blocking(Timeout::after(LONG)))),
            _ => pendings.push((accepted(remote.push_blocking(read(i))), i)),
        }
        // A few are held, and never so many that no cell is left for who waits for one.
        if pendings.len() == 3 {
            for (pending, i) in pendings.drain(..) {
                let (read, op) = pending.wait();
                assert_eq!((read.unwrap(), u64::from_le_bytes(*op.buf())), (8, i));
            }
        }
    }
    expected
}

fn all_clients(cx: &Cx, slots: usize) {
    const BLOCKS: u64 = 1 << 12;
    let driver = cx.thread(slots);
    let file = numbered(BLOCKS);
    let sum = Arc::new(AtomicU64::new(0));
    let expected: u64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (remote, file, sum) = (driver.remote(), &file, &sum);
                scope.spawn(move || client(&remote, file, thread, BLOCKS, sum))
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    // Each callback was called once: all cells are free again when all slots can be filled.
    let remote = driver.remote();
    let all: Vec<_> = (0..slots)
        .map(|_| accepted(remote.push_blocking(Timeout::after(LONG))))
        .collect();
    assert_eq!(sum.load(Ordering::Relaxed), expected);
    assert_eq!(rejected(remote.try_push(Nop::new())).0, Rejection::Full);
    drop(all);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
    assert_eq!(Arc::strong_count(&file), 1, "nothing is kept");
}

fn each_gets_its_own(cx: &Cx) {
    all_clients(cx, 64);
}

/// 8 threads, each of which holds up to three.
fn a_few_slots_for_many(cx: &Cx) {
    all_clients(cx, 33);
}

/// What many write is there, whole.
fn written_by_many(cx: &Cx) {
    let driver = cx.thread(16);
    let each = count(500);
    let file = Arc::new(kit::owned(kit::file(b"")));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (remote, file) = (driver.remote(), file.clone());
            scope.spawn(move || {
                for n in 0..each {
                    let i = thread * each + n;
                    let op = WriteAt::new(file.clone(), 8 * i, i.to_le_bytes());
                    assert_eq!(remote.run_blocking(op).0.unwrap(), 8);
                }
            });
        }
    });
    drop(driver);
    let file = std::fs::File::from(Arc::into_inner(file).unwrap());
    let expected: Vec<u8> = (0..THREADS * each).flat_map(u64::to_le_bytes).collect();
    assert_eq!(kit::contents(&file), expected);
}

/// Sent by some, waited for by others.
fn pendings_change_threads(cx: &Cx) {
    let driver = cx.thread(32);
    let each = count(500);
    let file = numbered(1 << 10);
    let (send, receive) = mpsc::channel();
    let receive = Arc::new(std::sync::Mutex::new(receive));
    thread::scope(|scope| {
        for thread in 0..THREADS / 2 {
            let (remote, file, send) = (driver.remote(), file.clone(), send.clone());
            scope.spawn(move || {
                for n in 0..each {
                    let i = (thread + n * 7) % (1 << 10);
                    let op = ReadAt::new(file.clone(), 8 * i, [0; 8]);
                    let pending = accepted(remote.push_blocking(op));
                    send.send((pending, i)).unwrap();
                }
            });
            let receive = receive.clone();
            scope.spawn(move || {
                loop {
                    let next = receive.lock().unwrap().recv();
                    let Ok((pending, i)) = next else { break };
                    let (read, op) = if i % 2 == 0 {
                        pending.wait()
                    } else {
                        block_on(pending)
                    };
                    assert_eq!((read.unwrap(), u64::from_le_bytes(*op.buf())), (8, i));
                }
            });
        }
        drop(send);
    });
}

fn callbacks_from_many(cx: &Cx) {
    let driver = cx.thread(64);
    let each = count(1000);
    let sum = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (remote, sum) = (driver.remote(), sum.clone());
            scope.spawn(move || {
                for n in 0..each {
                    let (send, receive) = mpsc::sync_channel(1);
                    let sum = sum.clone();
                    let callback = move |output: std::io::Result<()>, _| {
                        output.unwrap();
                        sum.fetch_add(n, Ordering::Relaxed);
                        send.send(n).unwrap();
                    };
                    accepted(remote.try_push_with(Nop::new(), callback));
                    assert_eq!(receive.recv().unwrap(), n);
                }
            });
        }
    });
    assert_eq!(sum.load(Ordering::Relaxed), THREADS * each * (each - 1) / 2);
}

/// Everyone sleeps, and everyone is woken.
fn wakers_of_many(cx: &Cx) {
    let driver = cx.thread(16);
    let rounds = count(100);
    let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
    let (ours, mut theirs) = kit::pair();
    let ours = Arc::new(kit::owned(ours));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (remote, ours, barrier) = (driver.remote(), ours.clone(), &barrier);
            scope.spawn(move || {
                for round in 0..rounds {
                    barrier.wait();
                    let send = Send::new(ours.clone(), [1]);
                    if round % 2 == 0 {
                        remote.run_blocking(send).0.unwrap();
                    } else {
                        block_on(remote.run(send)).0.unwrap();
                    }
                }
            });
        }
        let mut arrived = vec![0; usize::try_from(THREADS * rounds).unwrap()];
        theirs.read_exact(&mut arrived).unwrap();
    });
}
