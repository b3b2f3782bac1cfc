//! A `Pending` that is dropped, or forgotten, in each state of its operation.

use crate::kit::{self, code};
use crate::rig::{Count, Cx, Drops, accepted, in_flight, recv};
use completeio_driver::driver::{AsRawFd, Cwd, OwnedFd, Wait};
use completeio_driver::op::{Accept, Nop, OpenAt, ReadAt, Recv, Timeout};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

on_each_backend! {
    everywhere: [
    dropped_before_its_start,
    dropped_in_flight,
    dropped_while_the_driver_sleeps,
    dropped_when_it_has_completed_unseen,
    dropped_when_done,
    dropped_at_once_many_times,
    a_connection_that_nobody_wants,
    a_file_that_nobody_wants,
    what_was_abandoned_takes_nothing,
    its_waker_goes_with_it,
    dropped_after_the_driver,
    abandoned_among_others,
    dropped_by_another_thread_as_it_completes,
],
    on_unix: [forgotten],
}

const SLOTS: usize = 3;

type Counted = Recv<OwnedFd, crate::rig::Counted>;

fn counted(drops: &Drops) -> (Counted, kit::Stream) {
    let (ours, theirs) = kit::pair();
    (Recv::new(kit::owned(ours), drops.buffer()), theirs)
}

/// It is never started, and its buffer and descriptor are gone with the next turn.
fn dropped_before_its_start(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let drops = Drops::default();
    let (recv, _end) = counted(&drops);
    let number = recv.fd().as_raw_fd();
    drop(accepted(hand.remote.try_push(recv)));
    assert_eq!((drops.count(), kit::is_open(number)), (0, true));
    hand.turn();
    assert_eq!((drops.count(), kit::is_open(number)), (1, false));
    assert_eq!(hand.server.driver().stats().pushed, 0);
    hand.assert_whole(SLOTS);
}

/// It is cancelled; nothing is dropped before the kernel is done with it.
fn dropped_in_flight(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let drops = Drops::default();
    let (recv, _end) = counted(&drops);
    let number = recv.fd().as_raw_fd();
    let pending = accepted(hand.remote.try_push(recv));
    hand.turn();
    assert_eq!(hand.server.driver().in_flight(), 1);
    drop(pending);
    assert_eq!((drops.count(), kit::is_open(number)), (0, true));
    hand.turn();
    hand.settle();
    assert_eq!((drops.count(), kit::is_open(number)), (1, false));
    hand.assert_whole(SLOTS);
}

/// The drop wakes it: nothing else would free the cell.
fn dropped_while_the_driver_sleeps(cx: &Cx) {
    let driver = cx.thread(2);
    let remote = driver.remote();
    for _ in 0..20 {
        let (op, _end) = recv();
        let pending = in_flight(&remote, op);
        let _held = accepted(remote.try_push(Timeout::after(Duration::from_secs(3600))));
        drop(pending);
        // Waits for room, and rings for no one.
        accepted(remote.push_blocking(Nop::new())).wait().0.unwrap();
    }
}

/// The driver has its completion, and has not looked at it.
fn dropped_when_it_has_completed_unseen(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let drops = Drops::default();
    let (recv, mut end) = counted(&drops);
    let pending = accepted(hand.remote.try_push(recv));
    hand.turn();
    end.write_all(b"x").unwrap();
    drop(pending);
    hand.turn();
    hand.settle();
    assert_eq!(drops.count(), 1);
    hand.assert_whole(SLOTS);
}

/// The result is dropped by who has the claim.
fn dropped_when_done(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let (drops, waker) = (Drops::default(), Count::new());
    let (recv, mut end) = counted(&drops);
    let number = recv.fd().as_raw_fd();
    let mut pending = accepted(hand.remote.try_push(recv));
    assert!(waker.poll(&mut pending).is_pending());
    end.write_all(b"x").unwrap();
    while waker.woken() == 0 {
        hand.server.turn(Wait::new()).unwrap();
    }
    assert_eq!((drops.count(), kit::is_open(number)), (0, true));
    drop(pending);
    assert_eq!((drops.count(), kit::is_open(number)), (1, false));
    hand.assert_whole(SLOTS);
}

/// Each cell comes back every time.
fn dropped_at_once_many_times(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let drops = Drops::default();
    for n in 1..=50 {
        let ends: Vec<_> = (0..SLOTS)
            .map(|_| {
                let (recv, end) = counted(&drops);
                drop(accepted(hand.remote.try_push(recv)));
                end
            })
            .collect();
        hand.turn();
        hand.settle();
        assert_eq!(drops.count(), n * SLOTS);
        drop(ends);
    }
    hand.assert_whole(SLOTS);
}

/// I6: accepted, and closed, for the peer too.
fn a_connection_that_nobody_wants(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let (listener, addr) = kit::listener();
    let listener = Arc::new(kit::owned(listener));
    let before = kit::open_fds();

    // In the result, which the claim drops.
    let waker = Count::new();
    let mut pending = accepted(hand.remote.try_push(Accept::new(listener.clone())));
    assert!(waker.poll(&mut pending).is_pending());
    let client = TcpStream::connect(addr).unwrap();
    while waker.woken() == 0 {
        hand.server.turn(Wait::new()).unwrap();
    }
    drop(pending);
    assert!(kit::becomes_readable(&client), "it is closed");
    drop(client);
    assert_eq!(kit::open_fds(), before);

    // In the driver.
    let pending = accepted(hand.remote.try_push(Accept::new(listener.clone())));
    hand.turn();
    let client = TcpStream::connect(addr).unwrap();
    drop(pending);
    hand.turn();
    hand.settle();
    drop(client);
    assert_eq!(kit::open_fds(), before);
    hand.assert_whole(SLOTS);
}

fn a_file_that_nobody_wants(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let path = kit::TempPath::new();
    fs::write(&*path, "text").unwrap();
    let before = kit::open_fds();
    for turns in 0..3 {
        let pending = accepted(hand.remote.try_push(OpenAt::read(Cwd, path.c_string())));
        for _ in 0..turns {
            hand.turn();
        }
        drop(pending);
        hand.turn();
        hand.settle();
        assert_eq!(kit::open_fds(), before);
    }
    hand.assert_whole(SLOTS);
}

/// What comes after the cancellation is still there for others.
fn what_was_abandoned_takes_nothing(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let (ours, mut theirs) = kit::pair();
    let ours = Arc::new(kit::owned(ours));
    let pending = accepted(hand.remote.try_push(Recv::new(ours.clone(), [0; 16])));
    hand.turn();
    drop(pending);
    hand.turn();
    hand.settle();
    theirs.write_all(b"later").unwrap();
    let next = accepted(hand.remote.try_push(Recv::new(ours, [0; 16])));
    let (received, op) = hand.finish(next);
    assert_eq!(&op.buf()[..received.unwrap()], b"later");
}

fn its_waker_goes_with_it(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let waker = Count::new();
    let (recv, mut end) = recv();
    let mut pending = accepted(hand.remote.try_push(recv));
    assert!(waker.poll(&mut pending).is_pending());
    hand.turn();
    assert!(waker.poll(&mut pending).is_pending());
    drop(pending);
    assert_eq!(Arc::strong_count(&waker), 1);
    let _ = end.write_all(b"x");
    hand.turn();
    hand.settle();
    assert_eq!(waker.woken(), 0);
}

/// The cell is lost, and nothing else: the others go on, and so does the end.
#[cfg(unix)]
fn forgotten(cx: &Cx) {
    let before = kit::open_fds();
    let mut hand = kit::leaking(|| cx.hand(SLOTS));
    let (recv, mut end) = recv();
    let number = recv.fd().as_raw_fd();
    let pending = accepted(hand.remote.try_push(recv));
    #[expect(clippy::mem_forget, reason = "what is tested")]
    std::mem::forget(pending);
    hand.turn();
    end.write_all(b"x").unwrap();
    hand.settle();
    hand.assert_whole_but_one(SLOTS);
    drop((hand, end));
    // What was forgotten is forgotten: the operation's descriptor, and the one that wakes.
    let lost = kit::open_fds()
        .into_keys()
        .filter(|fd| !before.contains_key(fd));
    let lost: Vec<_> = lost.collect();
    assert!(lost.len() == 2 && lost.contains(&number), "{lost:?}");
    for fd in lost {
        // SAFETY: nobody else has it, for nobody can use what was forgotten.
        drop::<OwnedFd>(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) });
    }
}

fn dropped_after_the_driver(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let drops = Drops::default();
    let (first, _end) = counted(&drops);
    let (second, _other_end) = counted(&drops);
    let first = accepted(hand.remote.try_push(first));
    hand.turn();
    let second = accepted(hand.remote.try_push(second));
    drop(hand);
    assert_eq!(drops.count(), 0);
    drop(first);
    assert_eq!(drops.count(), 1);
    let (received, op) = second.wait();
    assert_eq!(crate::rig::errno(&received), code::ECANCELED);
    drop(op);
    assert_eq!(drops.count(), 2);
}

/// The neighbours' results are theirs, whatever is given up between.
fn abandoned_among_others(cx: &Cx) {
    let driver = cx.thread(16);
    let remote = driver.remote();
    let drops = Drops::default();
    for round in 0..20_u8 {
        let mut kept = Vec::new();
        let mut given_up = Vec::new();
        for i in 0..8 {
            let (recv, end) = recv();
            kept.push((accepted(remote.try_push(recv)), end, i));
            let (recv, end) = counted(&drops);
            given_up.push((accepted(remote.try_push(recv)), end));
        }
        for (pending, end) in given_up {
            drop(pending);
            drop(end);
        }
        for (_, end, i) in &mut kept {
            end.write_all(&[round, *i]).unwrap();
        }
        for (pending, _, i) in kept {
            let (received, op) = pending.wait();
            assert_eq!(received.unwrap(), 2);
            assert_eq!(op.buf()[..2], [round, i]);
        }
    }
    assert_eq!(driver.shut_down(crate::rig::LONG).unwrap(), 0);
    assert_eq!(drops.count(), 20 * 8);
}

/// Completed or cancelled, and its buffer dropped once in any case.
fn dropped_by_another_thread_as_it_completes(cx: &Cx) {
    const ROUNDS: usize = 300;
    let driver = cx.thread(4);
    let remote = driver.remote();
    let drops = Drops::default();
    let file = Arc::new(kit::owned(kit::file(b"text")));
    for round in 0..ROUNDS {
        let pending = match round % 2 {
            0 => accepted(remote.push_blocking(ReadAt::new(file.clone(), 0, drops.buffer()))),
            _ => in_flight(&remote, ReadAt::new(file.clone(), 0, drops.buffer())),
        };
        thread::scope(|scope| {
            scope.spawn(|| drop(pending));
            let timeout = Timeout::after(Duration::from_micros(1));
            remote.run_blocking(timeout).0.unwrap();
        });
        remote.run_blocking(Nop::new()).0.unwrap();
    }
    assert_eq!(driver.shut_down(crate::rig::LONG).unwrap(), 0);
    assert_eq!(drops.count(), ROUNDS);
}
