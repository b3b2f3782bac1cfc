//! No room: the operation comes back, or its sender waits, and is woken when there is room again.

use crate::kit;
use crate::rig::{Count, Cx, Hand, LONG, accepted, block_on, errno, in_flight, recv, rejected};
use completeio_driver::driver::Wait;
use completeio_driver::op::{Nop, ReadAt, Timeout};
use completeio_driver::remote::{Pending, Rejection, Remote};
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;

on_each_backend![
    full_hands_the_operation_back,
    full_hands_the_callback_back,
    rejections_are_errors,
    a_push_waits_for_room,
    a_blocking_push_waits_for_room,
    as_many_are_woken_as_there_is_room,
    a_notification_is_passed_on,
    a_push_that_is_dropped_has_sent_nothing,
    an_abandoned_operation_makes_room,
    a_callback_makes_room,
    closing_wakes_who_waits_for_room,
    a_server_that_is_gone_wakes_who_waits_for_room,
    many_wait_for_one_cell,
    few_submission_entries,
    few_credits,
];

/// Receives that occupy all cells, and their other ends.
fn fill(remote: &Remote, cells: usize) -> Vec<(Pending<crate::rig::Receiving>, kit::Stream)> {
    (0..cells)
        .map(|_| {
            let (recv, end) = recv();
            (accepted(remote.try_push(recv)), end)
        })
        .collect()
}

/// I2: for each number of slots; nothing else was done, and the buffer is where it was.
fn full_hands_the_operation_back(cx: &Cx) {
    for slots in 1..=4 {
        let mut hand = cx.hand(slots);
        let held = fill(&hand.remote, slots);
        for _ in 0..2 {
            let op = ReadAt::new(kit::owned(kit::file(b"text")), 3, Vec::from(*b"kept"));
            let place = op.buf().as_ptr();
            let (reason, op) = rejected(hand.remote.try_push(op));
            assert_eq!(reason, Rejection::Full);
            assert_eq!((op.offset(), &op.buf()[..]), (3, &b"kept"[..]));
            assert_eq!(op.buf().as_ptr(), place);
            hand.turn();
            assert_eq!(hand.server.driver().in_flight(), slots);
        }
        for (pending, mut end) in held {
            end.write_all(b"x").unwrap();
            hand.finish(pending).0.unwrap();
        }
        hand.assert_whole(slots);
    }
}

fn full_hands_the_callback_back(cx: &Cx) {
    let mut hand = cx.hand(1);
    let held = fill(&hand.remote, 1);
    let (send, receive) = mpsc::channel::<io::Result<()>>();
    let callback = move |output, _op| send.send(output).unwrap();
    let (reason, (op, callback)) = rejected(hand.remote.try_push_with(Nop::new(), callback));
    assert_eq!(reason, Rejection::Full);
    drop(held);
    hand.turn();
    hand.settle();
    accepted(hand.remote.try_push_with(op, callback));
    hand.turn();
    hand.settle();
    receive.try_recv().unwrap().unwrap();
}

fn rejections_are_errors(cx: &Cx) {
    let hand = cx.hand(1);
    let _held = fill(&hand.remote, 1);
    let (full, _) = rejected(hand.remote.try_push(Nop::new()));
    assert!(full.to_string().contains("slots"), "{full}");
    assert_eq!(io::Error::from(full).kind(), io::ErrorKind::WouldBlock);
    hand.remote.close();
    let (closed, _) = rejected(hand.remote.try_push(Nop::new()));
    assert_eq!(closed, Rejection::Closed);
    assert_eq!(io::Error::from(closed).kind(), io::ErrorKind::BrokenPipe);
}

type Pushing<'a> = Pin<Box<dyn Future<Output = Pending<Nop>> + 'a>>;

/// A push that waits for room, polled once.
#[expect(clippy::async_yields_async, reason = "a push gives a claim")]
fn pushing<'a>(remote: &'a Remote, waker: &Arc<Count>) -> Pushing<'a> {
    let mut push: Pushing<'a> = Box::pin(async { accepted(remote.push(Nop::new()).await) });
    assert!(waker.poll(&mut push).is_pending());
    push
}

#[track_caller]
fn ready<T>(polled: Poll<T>) -> T {
    match polled {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it was to be ready"),
    }
}

/// Frees one cell.
fn free(hand: &mut Hand, (pending, mut end): (Pending<crate::rig::Receiving>, kit::Stream)) {
    end.write_all(b"x").unwrap();
    hand.finish(pending).0.unwrap();
}

fn a_push_waits_for_room(cx: &Cx) {
    let mut hand = cx.hand(1);
    let remote = hand.remote.clone();
    let mut held = fill(&remote, 1);
    let waker = Count::new();
    let mut push = pushing(&remote, &waker);
    hand.turn();
    assert!(waker.poll(&mut push).is_pending());
    assert_eq!(waker.woken(), 0);
    free(&mut hand, held.pop().unwrap());
    assert_eq!(waker.woken(), 1);
    let pending = ready(waker.poll(&mut push));
    hand.finish(pending).0.unwrap();
    hand.assert_whole(1);
}

fn a_blocking_push_waits_for_room(cx: &Cx) {
    let driver = cx.thread(1);
    let remote = driver.remote();
    let (held, mut end) = fill(&remote, 1).pop().unwrap();
    let waits = {
        let remote = remote.clone();
        thread::spawn(move || accepted(remote.push_blocking(Nop::new())).wait().0.unwrap())
    };
    let runs = {
        let remote = remote.clone();
        thread::spawn(move || remote.run_blocking(Nop::new()).0.unwrap())
    };
    let awaits = thread::spawn(move || block_on(remote.run(Nop::new())).0.unwrap());
    end.write_all(b"x").unwrap();
    held.wait().0.unwrap();
    for waiting in [waits, runs, awaits] {
        waiting.join().unwrap();
    }
}

/// Each cell that is freed wakes one more, whether or not the ones before have looked.
fn as_many_are_woken_as_there_is_room(cx: &Cx) {
    let mut hand = cx.hand(3);
    let remote = hand.remote.clone();
    let mut held = fill(&remote, 3);
    let wakers = [(); 4].map(|()| Count::new());
    let mut pushes: Vec<_> = wakers.iter().map(|waker| pushing(&remote, waker)).collect();
    for free_cells in 1..=3 {
        free(&mut hand, held.pop().unwrap());
        let woken: usize = wakers.iter().map(|waker| waker.woken()).sum();
        assert_eq!(woken, free_cells, "one for each cell that is free");
    }
    let pendings: Vec<_> = (0..3)
        .map(|i| ready(wakers[i].poll(&mut pushes[i])))
        .collect();
    for pending in pendings {
        hand.finish(pending).0.unwrap();
    }
    let last = ready(wakers[3].poll(&mut pushes[3]));
    hand.finish(last).0.unwrap();
}

/// A push that was woken and is dropped leaves the room to the next one.
fn a_notification_is_passed_on(cx: &Cx) {
    let mut hand = cx.hand(1);
    let remote = hand.remote.clone();
    let mut held = fill(&remote, 1);
    let wakers = [(); 3].map(|()| Count::new());
    let mut pushes: Vec<_> = wakers.iter().map(|waker| pushing(&remote, waker)).collect();
    free(&mut hand, held.pop().unwrap());
    assert_eq!(wakers.each_ref().map(|waker| waker.woken()), [1, 0, 0]);
    drop(pushes.remove(0));
    assert_eq!(wakers.each_ref().map(|waker| waker.woken()), [1, 1, 0]);
    drop(pushes.remove(0));
    assert_eq!(wakers.each_ref().map(|waker| waker.woken()), [1, 1, 1]);
    let pending = ready(wakers[2].poll(&mut pushes[0]));
    hand.finish(pending).0.unwrap();
    drop(pushes);
    assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 1));
    hand.assert_whole(1);
}

fn a_push_that_is_dropped_has_sent_nothing(cx: &Cx) {
    let mut hand = cx.hand(1);
    let remote = hand.remote.clone();
    let mut held = fill(&remote, 1);
    let (waker, drops) = (Count::new(), crate::rig::Drops::default());
    let file = kit::owned(kit::file(b"text"));
    let mut push = Box::pin(remote.push(ReadAt::new(file, 0, drops.buffer())));
    assert!(waker.poll(&mut push).is_pending());
    drop(push);
    assert_eq!(drops.count(), 1);
    free(&mut hand, held.pop().unwrap());
    assert_eq!(waker.woken(), 0);
    hand.assert_whole(1);
}

/// Started or not.
fn an_abandoned_operation_makes_room(cx: &Cx) {
    let mut hand = cx.hand(2);
    let remote = hand.remote.clone();
    let mut held = fill(&remote, 2);
    let wakers = [(); 2].map(|()| Count::new());
    let mut pushes: Vec<_> = wakers.iter().map(|waker| pushing(&remote, waker)).collect();
    drop(held.pop()); // Not started.
    hand.turn();
    assert_eq!(wakers.each_ref().map(|waker| waker.woken()), [1, 0]);
    drop(held.pop()); // In flight.
    hand.turn();
    hand.settle();
    assert_eq!(wakers.each_ref().map(|waker| waker.woken()), [1, 1]);
    for (push, waker) in pushes.iter_mut().zip(&wakers) {
        let pending = ready(waker.poll(push));
        hand.finish(pending).0.unwrap();
    }
    hand.assert_whole(2);
}

fn a_callback_makes_room(cx: &Cx) {
    let mut hand = cx.hand(1);
    let remote = hand.remote.clone();
    accepted(remote.try_push_with(Nop::new(), |_, _| {}));
    let waker = Count::new();
    let mut push = pushing(&remote, &waker);
    while waker.woken() == 0 {
        hand.server.turn(Wait::new()).unwrap();
    }
    let pending = ready(waker.poll(&mut push));
    hand.finish(pending).0.unwrap();
}

/// They get their operations back.
fn closing_wakes_who_waits_for_room(cx: &Cx) {
    let hand = cx.hand(1);
    let _held = fill(&hand.remote, 1);
    let wakers = [(); 3].map(|()| Count::new());
    let mut pushes: Vec<_> = (0..3)
        .map(|_| Box::pin(hand.remote.push(Nop::new())))
        .collect();
    let mut run = Box::pin(hand.remote.run(Nop::new()));
    let waker = Count::new();
    assert!(waker.poll(&mut run).is_pending());
    for (push, waker) in pushes.iter_mut().zip(&wakers) {
        assert!(waker.poll(push).is_pending());
    }
    hand.remote.close();
    for (push, waker) in pushes.iter_mut().zip(&wakers) {
        assert_eq!(waker.woken(), 1);
        assert_eq!(rejected(ready(waker.poll(push))).0, Rejection::Closed);
    }
    let (output, _) = ready(waker.poll(&mut run));
    assert_eq!(output.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

/// Nobody waits for ever, and each gets its own.
/// Though no cell is ever freed, and nobody has closed it.
fn a_server_that_is_gone_wakes_who_waits_for_room(cx: &Cx) {
    let mut hand = cx.hand(1);
    let held = fill(&hand.remote, 1);
    hand.turn();
    let waker = Count::new();
    let remote = hand.remote.clone();
    let mut push = Box::pin(remote.push(Nop::new()));
    assert!(waker.poll(&mut push).is_pending());
    drop(hand);
    assert_eq!(waker.woken(), 1);
    assert_eq!(rejected(ready(waker.poll(&mut push))).0, Rejection::Closed);
    drop(held);
}

fn many_wait_for_one_cell(cx: &Cx) {
    const THREADS: u64 = 8;
    const EACH: u64 = 200;
    let driver = cx.thread(1);
    let file = Arc::new(kit::owned(kit::file(&[7; 4096])));
    thread::scope(|scope| {
        for i in 0..THREADS {
            let (remote, file) = (driver.remote(), file.clone());
            scope.spawn(move || {
                for n in 0..EACH {
                    let len = usize::try_from(1 + (i * EACH + n) % 4000).unwrap();
                    let op = ReadAt::new(file.clone(), 0, vec![0; len].into_boxed_slice());
                    let (read, op) = if n % 2 == 0 {
                        remote.run_blocking(op)
                    } else {
                        block_on(remote.run(op))
                    };
                    assert_eq!((read.unwrap(), op.buf().len()), (len, len));
                }
            });
        }
    });
}

/// Fewer submission entries than cells: what waits for one is not stuck behind what pends.
fn few_submission_entries(cx: &Cx) {
    let driver =
        completeio_driver::driver::spawn_thread(cx.builder(8).entries(1).in_flight(16)).unwrap();
    let remote = driver.remote();
    for _ in 0..20 {
        // All of them before the driver's thread goes on: it is in a callback meanwhile.
        let (go, wait) = mpsc::channel::<()>();
        let (entered, is_in) = mpsc::channel();
        let callback = move |_, _| {
            entered.send(()).unwrap();
            wait.recv().unwrap();
        };
        accepted(remote.try_push_with(Nop::new(), callback));
        is_in.recv().unwrap();
        let before = accepted(remote.try_push(Nop::new()));
        let held = fill(&remote, 4);
        let after = accepted(remote.try_push(Nop::new()));
        go.send(()).unwrap();
        before.wait().0.unwrap();
        after.wait().0.unwrap();
        for (pending, mut end) in held {
            end.write_all(b"x").unwrap();
            assert_eq!(pending.wait().0.unwrap(), 1);
        }
    }
}

/// Fewer operations in flight than cells: the rest waits its turn, and may be given up meanwhile.
fn few_credits(cx: &Cx) {
    let builder = cx.builder(8).entries(2).in_flight(2);
    let driver = completeio_driver::driver::spawn_thread(builder).unwrap();
    let remote = driver.remote();
    let hour = || accepted(remote.try_push(Timeout::after(LONG)));
    let (first, second) = (hour(), hour());
    let mut waiting: Vec<_> = (0..4)
        .map(|_| accepted(remote.try_push(Nop::new())))
        .collect();
    drop(waiting.remove(1));
    drop(first);
    for pending in waiting {
        pending.wait().0.unwrap();
    }
    drop(second);
    let (recv, mut end) = recv();
    let pending = in_flight(&remote, recv);
    end.write_all(b"x").unwrap();
    assert_eq!(errno(&pending.wait().0), 0);
}
